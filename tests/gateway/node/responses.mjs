// Vercel's AI SDK as it comes: by /v1/responses. Any surprise is an exception.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText } from "ai";
import { z } from "zod";
import { baseURL, key, models, question, storingKey, tools } from "./gateway.mjs";

const provider = createOpenAI({ baseURL, apiKey: key });
const storing = createOpenAI({ baseURL, apiKey: storingKey });
const STORE = { openai: { store: true } }, FORGET = { openai: { store: false } };

// A second turn refers to the first one's answer by its id alone, unless `store` is false.
async function talk(model, providerOptions) {
  const messages = [{ role: "user", content: question }];
  const asked = { model, messages, tools, providerOptions, stopWhen: stepCountIs(3), maxRetries: 0 };
  const first = await generateText(asked);
  assert.equal(first.steps.length, 2);
  assert.match(first.text, /22 graus/);
  messages.push(...first.response.messages, { role: "user", content: "E amanhã?" });
  return await generateText(asked);
}

for (const name of models) {
  const model = provider(name);
  const whole = await generateText({ model, system: "Responda em português.", prompt: "Diga olá.", maxRetries: 0 });
  assert.ok(whole.text);
  assert.equal(whole.finishReason, "stop");
  assert.ok(whole.usage.inputTokens > 0 && whole.usage.outputTokens > 0);

  let text = "";
  const streamed = streamText({ model, prompt: "Diga olá.", maxRetries: 0, onError: ({ error }) => { throw error; } });
  for await (const piece of streamed.textStream) text += piece;
  assert.ok(text);
  assert.equal(await streamed.finishReason, "stop");

  const schema = z.object({ name: z.string(), city: z.string() });
  const parsed = await generateText({ model, prompt: "Quem é Ana?", output: Output.object({ schema }), maxRetries: 0 });
  assert.equal(parsed.output.city, "São Paulo");

  assert.ok((await talk(storing(name), undefined)).text);  // its defaults, and a key that stores
  assert.ok((await talk(storing(name), FORGET)).text);
  assert.ok((await talk(model, STORE)).text);
  assert.ok((await talk(model, FORGET)).text);
  for (const [by, providerOptions] of [[storing, undefined], [provider, STORE], [provider, FORGET]]) {
    const flow = streamText({
      model: by(name), prompt: question, tools, providerOptions, stopWhen: stepCountIs(3), maxRetries: 0,
      onError: ({ error }) => { throw error; },
    });
    assert.match(await flow.text, /22 graus/);
    assert.equal((await flow.steps).length, 2);
  }
}

// By a key that stores nothing, its defaults are refused, in words that say what to do.
await assert.rejects(talk(provider(models[0]), undefined), (error) => {
  assert.equal(error.statusCode, 404);
  assert.match(error.message, /"store": true/);
  assert.match(error.message, /Guardar respostas de \/v1\/responses por padrão/);
  return true;
});
