// OpenAI's own SDK, as customers write it: chat, streams, tools, embeddings, responses, models, errors. Any surprise is an exception.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { baseURL, embedder, hastyKey, key, models, poorKey, question } from "./gateway.mjs";

const clientOf = (apiKey) => new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const client = clientOf(key);
const messages = [{ role: "user", content: "Diga olá em uma frase." }];
const person = z.object({ name: z.string(), city: z.string() });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };

for (const model of models) {
  const { data: whole, response, request_id } = await client.chat.completions.create({ model, messages }).withResponse();
  assert.ok(whole.choices[0].message.content);
  assert.equal(whole.choices[0].finish_reason, "stop");
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
  assert.equal(Number(response.headers.get("x-tokia-cost-brl")), whole.usage.cost);
  assert.match(request_id, /^[0-9a-f-]{36}$/);

  let text = "", usage = null;
  const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.ok(text && usage.total_tokens > 0);
  assert.equal((await client.chat.completions.stream({ model, messages }).finalChatCompletion()).choices[0].finish_reason, "stop");

  const runner = client.chat.completions.runTools({
    model,
    messages: [{ role: "user", content: question }],
    tools: [{
      type: "function",
      function: { name: "get_weather", parameters, parse: JSON.parse, function: ({ city }) => `22 graus em ${city}` },
    }],
  });
  assert.match(await runner.finalContent(), /22 graus/);

  const who = [{ role: "user", content: "Quem é Ana?" }];
  const parsed = await client.chat.completions.parse({ model, messages: who, response_format: zodResponseFormat(person, "person") });
  assert.equal(parsed.choices[0].message.parsed.city, "São Paulo");

  const answer = await client.responses.create({ model, input: "Diga olá." });
  assert.ok(answer.output_text && answer.store === false);
  const kept = await client.responses.create({ model, input: "um", store: true });
  assert.ok((await client.responses.create({ model, input: "dois", previous_response_id: kept.id })).output_text);
  await client.responses.delete(kept.id);
  await assert.rejects(client.responses.retrieve(kept.id), OpenAI.NotFoundError);
  const told = await client.responses.parse({ model, input: "Quem é Ana?", text: { format: zodTextFormat(person, "person") } });
  assert.equal(told.output_parsed.city, "São Paulo");
  assert.ok((await client.responses.stream({ model, input: "Diga olá." }).finalResponse()).output_text);
}

const vectors = await client.embeddings.create({ model: embedder, input: ["um", "dois"] });  // the SDK asks for base64, and decodes it
assert.equal(vectors.data.length, 2);
assert.ok(vectors.data.every(({ embedding }) => embedding.length > 1 && embedding.every(Number.isFinite)));

const listed = [];
for await (const model of client.models.list()) listed.push(model.id);
assert.ok([...models, embedder].every((name) => listed.includes(name)));
assert.equal((await client.models.retrieve(models[0])).id, models[0]);

const fails = async (asked, kind, status, code) => {
  const error = await asked.then(() => assert.fail("it answered"), (error) => error);
  assert.ok(error instanceof kind, String(error));
  assert.deepEqual([error.status, error.code], [status, code]);
  assert.ok(error.requestID);
  return error;
};
await fails(clientOf("sk-tokia-errada").models.list(), OpenAI.AuthenticationError, 401, "invalid_api_key");
await fails(client.chat.completions.create({ model: "acme/nada", messages }), OpenAI.NotFoundError, 404, "model_not_found");
const bad = await client.chat.completions.create({ model: models[0], messages: [] }).catch((error) => error);
assert.ok(bad instanceof OpenAI.BadRequestError && bad.param === "messages");
const dear = { model: models[0], messages, max_tokens: 10_000 };
await fails(clientOf(poorKey).chat.completions.create(dear), OpenAI.APIError, 402, "insufficient_balance");
const hasty = clientOf(hastyKey);
await hasty.chat.completions.create({ model: models[0], messages });
const late = await hasty.chat.completions.create({ model: models[0], messages }).catch((error) => error);
assert.ok(late instanceof OpenAI.RateLimitError && Number(late.headers.get("retry-after")) >= 1);
const gone = new AbortController();
const cut = await client.chat.completions.create({ model: models[0], messages, stream: true }, { signal: gone.signal });
for await (const _ of cut) gone.abort();
