// /v1/responses through Vercel's AI SDK and OpenAI's own, as customers write it. Prints one JSON line; any surprise is an exception.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { z } from "zod";

const { TOKIA_BASE_URL: baseURL, TOKIA_API_KEY: apiKey, TOKIA_MODELS } = process.env;
const provider = createOpenAI({ baseURL, apiKey });
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const question = "Como está o tempo em São Paulo?";
const tools = {
  get_weather: tool({
    description: "O tempo numa cidade",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `22 graus em ${city}`,
  }),
};
const told = {};

for (const name of TOKIA_MODELS.split(",")) {
  const model = provider.responses(name);

  const whole = await generateText({ model, system: "Responda em português.", prompt: "Diga olá.", maxRetries: 0 });
  assert.ok(whole.text.length > 0);
  assert.equal(whole.finishReason, "stop");
  assert.ok(whole.usage.inputTokens > 0 && whole.usage.outputTokens > 0);

  let text = "";
  const streamed = streamText({ model, prompt: "Diga olá.", maxRetries: 0, onError: ({ error }) => { throw error; } });
  for await (const piece of streamed.textStream) text += piece;
  assert.ok(text.length > 0);
  assert.equal(await streamed.finishReason, "stop");

  // A tool loop, stored and stateless.
  for (const store of [true, false]) {
    const providerOptions = { openai: { store } };
    const loop = await generateText({ model, prompt: question, tools, providerOptions, stopWhen: stepCountIs(3), maxRetries: 0 });
    assert.equal(loop.steps.length, 2);
    assert.match(loop.text, /22 graus/);
    const flow = streamText({ model, prompt: question, tools, providerOptions, stopWhen: stepCountIs(3), maxRetries: 0 });
    assert.match(await flow.text, /22 graus/);
    assert.equal((await flow.steps).length, 2);
  }

  const schema = z.object({ name: z.string(), city: z.string() });
  const parsed = await generateText({ model, prompt: "Quem é Ana?", output: Output.object({ schema }), maxRetries: 0 });
  assert.equal(parsed.output.city, "São Paulo");

  const stream = client.responses.stream({ model: name, input: "Diga olá." });
  assert.ok((await stream.finalResponse()).output_text.length > 0);
  told[name] = whole.usage.totalTokens;
}

// A second turn refers to the first one's answer by its id, unless `store` is false. Here nothing is stored that was not asked for,
// and the refusal says what to do.
async function talk(providerOptions) {
  const model = provider.responses(TOKIA_MODELS.split(",")[0]);
  const messages = [{ role: "user", content: "um" }];
  const first = await generateText({ model, messages, providerOptions, maxRetries: 0 });
  messages.push(...first.response.messages, { role: "user", content: "dois" });
  return await generateText({ model, messages, providerOptions, maxRetries: 0 });
}
assert.ok((await talk({ openai: { store: true } })).text);
assert.ok((await talk({ openai: { store: false } })).text);
await assert.rejects(talk({}), /"store": true/);

console.log(JSON.stringify(told));
