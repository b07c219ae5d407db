"""`/v1/messages/count_tokens`: how many tokens a message would have, estimated here. Free: nothing is held, asked or recorded.

An estimate, unlike the bounds of `tokens`, lies near the truth: long texts are sampled, and a picture counts as most pictures do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.calls import CallContext, Caller, ChatCall, Reply
from gateway.catalog import route_for
from gateway.tokens import TOKENS_PER_CALL, TOKENS_PER_MESSAGE, count_text, scale

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

CHARS_COUNTED = 32_768  # of a longer text, as many are counted in samples from its whole length
SAMPLES = 8
TOKENS_PER_PICTURE = 1_600
CHARS_PER_FILE_TOKEN = 20  # base64 of a PDF
JSON_TYPE = (b"content-type", b"application/json")


async def count_tokens(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes) -> Reply:
    """Raises GatewayError."""
    from gateway.surfaces.messages import Messages  # it estimates with this module

    surface = Messages(context)
    call = surface.read_count(body)
    route = route_for(process.snapshots.catalog, call.model, caller=caller, surface="chat")
    await process.limits.admit(caller, context.headers)
    tokens = min(estimate_input(call, factor_percent=route.token_factor_percent), route.context_tokens)
    return Reply(200, [JSON_TYPE], b'{"input_tokens":%d}' % tokens)


def estimate_input(call: ChatCall, *, factor_percent: int) -> int:
    """Tokens of the prompt, near what the provider will count."""
    texts: list[str] = []
    extra = TOKENS_PER_CALL + TOKENS_PER_MESSAGE * len(call.messages)
    for message in call.messages:
        if isinstance(message.content, str):
            texts.append(message.content)
        for part in message.content if isinstance(message.content, list) else ():
            if part.text is not None:
                texts.append(part.text)
            if part.image_url is not None:
                extra += TOKENS_PER_PICTURE
            if part.file is not None:
                extra += sum(len(bytes(value)) for value in part.file.values()) // CHARS_PER_FILE_TOKEN
        if message.reasoning_content is not None:
            texts.append(message.reasoning_content)
        texts += [bytes(value).decode("utf-8", "replace") for made in message.tool_calls or () for value in made.values()]
    texts += [bytes(call.fields[name]).decode("utf-8", "replace") for name in ("tools", "response_format") if name in call.fields]
    return extra + scale(estimate_text("\n".join(texts)), factor_percent)


def estimate_text(text: str) -> int:
    if len(text) <= CHARS_COUNTED:
        return count_text(text)
    size = CHARS_COUNTED // SAMPLES
    step = (len(text) - size) // (SAMPLES - 1)
    counted = sum(count_text(text[start : start + size]) for start in range(0, step * SAMPLES, step))
    return counted * len(text) // CHARS_COUNTED
