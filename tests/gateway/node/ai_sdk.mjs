// Vercel's AI SDK by chat completions and by Messages: OpenAI's provider, the compatible one, Anthropic's. Any surprise is an exception.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText } from "ai";
import { z } from "zod";
import { baseURL, embedder, key as apiKey, models, question, tools } from "./gateway.mjs";

const openai = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({ name: "tokia", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const anthropic = createAnthropic({ baseURL, apiKey });
const schema = z.object({ name: z.string(), city: z.string() });
const options = { maxRetries: 0, maxOutputTokens: 500 };

for (const name of models) {
  for (const model of [openai.chat(name), compatible(name), anthropic(name)]) {
    const whole = await generateText({ model, system: "Responda em português.", prompt: "Diga olá.", ...options });
    assert.ok(whole.text);
    assert.equal(whole.finishReason, "stop");
    assert.ok(whole.usage.inputTokens > 0 && whole.usage.outputTokens > 0);

    const loop = await generateText({ model, prompt: question, tools, stopWhen: stepCountIs(3), ...options });
    assert.equal(loop.steps.length, 2);
    assert.match(loop.text, /22 graus/);

    let text = "";
    const onError = ({ error }) => { throw error; };
    const flow = streamText({ model, prompt: question, tools, stopWhen: stepCountIs(3), onError, ...options });
    for await (const piece of flow.textStream) text += piece;
    assert.match(text, /22 graus/);
    assert.equal((await flow.steps).length, 2);
    assert.ok((await flow.totalUsage).outputTokens > 0);

    const next = [{ role: "user", content: question }, ...loop.response.messages, { role: "user", content: "E amanhã?" }];
    assert.ok((await generateText({ model, messages: next, tools, ...options })).text);

    const parsed = await generateText({ model, prompt: "Quem é Ana?", output: Output.object({ schema }), ...options });
    assert.equal(parsed.output.city, "São Paulo");
  }
}
const { embeddings } = await embedMany({ model: openai.embedding(embedder), values: ["um", "dois"], maxRetries: 0 });
assert.ok(embeddings.length === 2 && embeddings[0].length > 1);
await assert.rejects(generateText({ model: compatible("acme/nada"), prompt: "oi", maxRetries: 0 }), { statusCode: 404 });
await assert.rejects(generateText({ model: anthropic("acme/nada"), prompt: "oi", maxRetries: 0 }), { statusCode: 404 });
