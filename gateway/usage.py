"""What is billed for an answer, wherever it ended: the upstream's own count where it can be true, ours where it can't.

| the answer | tokens | source |
|---|---|---|
| whole, usage credible | the upstream's | upstream |
| whole, usage beyond what its bytes allow, negative, contradictory | clamped into the bound | suspect |
| whole, no usage | counted: prompt and delivered text | counted |
| cut or cancelled after text | max(partial usage, counted) | counted |
| cut or cancelled before any text | none | none |
"""

from __future__ import annotations

from msgspec.structs import replace

from billing.pricing import Usage
from gateway.calls import ChatCall
from gateway.dialects.base import Tally, openai_usage
from gateway.tokens import count_chat_input, count_text

NOTHING = Usage(requests=0)
HIDDEN_TOKENS = 4_000  # what providers add to a prompt: tool instructions, templates
IMAGE_TOKENS_BOUND = 60_000
OUTPUT_SLACK_TOKENS = 64
TOKENS_PER_CHARACTER = 4  # no tokenizer makes more of one
WENT_UP = ("cached_input_tokens", "cache_write_tokens", "image_input_tokens", "audio_input_tokens", "input_tokens")
CAME_DOWN = ("output_tokens", "reasoning_tokens", "image_output_tokens", "audio_output_tokens")


def basis_of(call: ChatCall, tally: Tally, *, output_tokens: int) -> tuple[Usage, str]:
    """The usage to bill and its source, for an answer that ended as it should. `output_tokens` was asked for upstream."""
    usage = tally.usage
    if usage is None:
        return _count(call, tally), "suspect" if tally.is_suspect else "counted"
    clamped = _clamp(call, tally, usage, output_tokens)
    is_suspect = tally.is_suspect or clamped is not usage
    if usage.completion_tokens == 0 and tally.delivered_bytes > 0:
        counted = _count(call, tally)
        clamped = _merge(clamped, counted)
        is_suspect = True
    return clamped, "suspect" if is_suspect else "upstream"


def basis_of_part(call: ChatCall, tally: Tally, *, output_tokens: int) -> tuple[Usage, str]:
    """The same for an answer that was cut: nothing delivered costs nothing."""
    if tally.is_complete:
        return basis_of(call, tally, output_tokens=output_tokens)
    if tally.delivered_bytes == 0:
        return NOTHING, "none"
    counted = _count(call, tally)
    if tally.usage is None:
        return counted, "counted"
    return _merge(_clamp(call, tally, tally.usage, output_tokens), counted), "counted"


def shown_usage(tally: Tally, usage: Usage, source: str) -> bytes:
    """The usage object for the caller: the upstream's own bytes where they are what is billed."""
    return tally.usage_raw if source == "upstream" and tally.usage_raw is not None else openai_usage(usage)


def _count(call: ChatCall, tally: Tally) -> Usage:
    return Usage(input_tokens=count_chat_input(call, factor_percent=100), output_tokens=count_text(tally.text))


def _merge(partial: Usage, counted: Usage) -> Usage:
    """An upstream's input is exact wherever it came; its output is only what it had counted so far."""
    return replace(
        partial,
        input_tokens=partial.input_tokens if partial.prompt_tokens > 0 else counted.input_tokens,
        output_tokens=max(partial.output_tokens, counted.output_tokens - partial.reasoning_tokens, 0),
    )


def _clamp(call: ChatCall, tally: Tally, usage: Usage, output_tokens: int) -> Usage:
    """A token is at least a byte of what went up, or a part of a character of what came down (or of what was allowed)."""
    up = call.body_bytes + HIDDEN_TOKENS
    down = max(output_tokens * call.choices, tally.delivered_bytes * TOKENS_PER_CHARACTER) + OUTPUT_SLACK_TOKENS
    if usage.prompt_tokens <= up and usage.completion_tokens <= down:
        return usage
    images = sum(
        part.image_url is not None for message in call.messages if isinstance(message.content, list) for part in message.content
    )
    up += images * IMAGE_TOKENS_BOUND
    if usage.prompt_tokens <= up and usage.completion_tokens <= down:
        return usage
    return replace(usage, **_fit(usage, WENT_UP, up), **_fit(usage, CAME_DOWN, down))


def _fit(usage: Usage, buckets: tuple[str, ...], left: int) -> dict[str, int]:
    """The buckets within `left` tokens, the first ones first."""
    fitted = {}
    for name in buckets:
        fitted[name] = min(getattr(usage, name), left)
        left -= fitted[name]
    return fitted
