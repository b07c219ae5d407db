// One call of /v1/chat/completions, read as it comes. Gives events to `on`: start, text, thought, usage.
import { costOf } from "./money.js";
import { language, say } from "./words.js";

export class CallRefused extends Error {
  constructor(status, error, requestId) {
    super(error?.message ?? say("status", { status }));
    this.status = status;
    this.code = error?.code ?? "";
    this.requestId = requestId;
  }
}

async function post(baseUrl, secret, body, signal) {
  return fetch(`${baseUrl}/chat/completions`, {
    method: "POST", signal, credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer",
    // The gateway refuses in the page's language, not in the browser's.
    headers: { Authorization: `Bearer ${secret}`, "Content-Type": "application/json", "Accept-Language": language }, body: JSON.stringify(body),
  });
}

export async function callModel({ baseUrl, key, body, signal, on }) {
  let secret = await key.get();
  let answer = await post(baseUrl, secret, body, signal);
  if (answer.status === 401) { // another device opened the playground, or the ten minutes are over
    secret = await key.get(secret);
    answer = await post(baseUrl, secret, body, signal);
  }
  const requestId = answer.headers.get("x-request-id") ?? "";
  if (!answer.ok) throw new CallRefused(answer.status, (await answer.json().catch(() => ({}))).error, requestId);
  on.start({ requestId, model: answer.headers.get("x-tokia-model") ?? "", dropped: answer.headers.get("x-tokia-dropped-params") ?? "" });
  for await (const data of events(answer.body)) {
    if (data === "[DONE]") return;
    take(data, on, requestId);
  }
}

function take(data, on, requestId) {
  const event = JSON.parse(data);
  if (event.error) {
    if (event.error.usage) on.usage({ usage: event.error.usage, nanos: costOf(data) });
    throw new CallRefused(event.error.status ?? 502, event.error, requestId);
  }
  for (const choice of event.choices ?? []) {
    const delta = choice.delta ?? {};
    const thought = delta.reasoning_content ?? delta.reasoning;
    if (typeof thought === "string" && thought) on.thought(thought);
    if (typeof delta.content === "string" && delta.content) on.text(delta.content);
    if (typeof delta.refusal === "string" && delta.refusal) on.text(delta.refusal);
    if (choice.finish_reason) on.finish(choice.finish_reason);
  }
  if (event.usage) on.usage({ usage: event.usage, nanos: costOf(data) });
}

// The data of server-sent events, whatever pieces they come in.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? "";
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data) yield data;
    }
    if (done) return;
  }
}
