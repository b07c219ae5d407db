// Money as the gateway says it: decimals in reais, read digit by digit into BigInt nanos, never through a float.
import { isEnglish } from "./words.js";

const NANOS = 9;
const SPACE = "\u00a0";
const [GROUP, POINT] = isEnglish ? [",", "."] : [".", ","];

export function readNanos(text) {
  const match = /^(-?)(\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (!match) return null;
  const nanos = BigInt(match[2]) * 10n ** BigInt(NANOS) + BigInt((match[3] ?? "").padEnd(NANOS, "0"));
  return match[1] ? -nanos : nanos;
}

// The cost inside a usage object, from its own text: JSON.parse would make a float of it.
export function costOf(text) {
  const match = /"cost"\s*:\s*(-?\d+(?:\.\d+)?)/.exec(text);
  return match ? readNanos(match[1]) : null;
}

function withDecimals(nanos, decimals) {
  const unit = 10n ** BigInt(NANOS - decimals);
  const rounded = (nanos + unit / 2n) / unit;
  const digits = rounded.toString().padStart(decimals + 1, "0");
  const whole = digits.slice(0, -decimals).replace(/\B(?=(\d{3})+$)/g, GROUP);
  return `R$${SPACE}${whole}${POINT}${digits.slice(-decimals)}`;
}

export function showFine(nanos) {
  if (nanos > 0n && nanos < 100_000n) return `<${SPACE}R$${SPACE}0${POINT}0001`;
  return withDecimals(nanos, 4);
}

export const showExact = (nanos) => withDecimals(nanos, NANOS);

// "até R$ 0,03": up to the next centavo, so that it is never told as less than it is; the decimals where a centavo would say nothing.
export function showCeiling(nanos) {
  if (nanos < 10_000_000n) return withDecimals(((nanos + 99_999n) / 100_000n) * 100_000n, 4);
  return withDecimals(((nanos + 9_999_999n) / 10_000_000n) * 10_000_000n, 2);
}

const UNITS = 1_000_000n;

// The most that a call can cost, from the page's bounds (`gateway.playground`): nanos per million tokens, and per call.
export function ceilingOf(facts, name, { bytes, messages, images, maxTokens }) {
  const model = facts.models[name];
  if (!model) return 0n;
  const text = BigInt(Math.ceil(bytes / facts.bytes_per_token)) * BigInt(model.factor_percent) / 100n + 1n;
  const counted = text + BigInt(facts.tokens_per_call + messages * facts.tokens_per_message + images * facts.tokens_per_image);
  const context = BigInt(model.context_tokens);
  const input = counted < context ? counted : context;
  const output = BigInt(Math.min(maxTokens || model.output_tokens_default, model.output_tokens_max));
  const price = BigInt(images ? model.ceiling.media_nanos : model.ceiling.input_nanos);
  const up = (amount) => (amount + UNITS - 1n) / UNITS;
  return up(input * price) + up(output * BigInt(model.ceiling.output_nanos)) + BigInt(model.ceiling.request_nanos);
}
