"""Tokens counted offline with OpenAI's o200k vocabulary: an estimate before a call, the measure of a stream that was cut.

Over BYTES_COUNTED the bytes are the bound: a token is at least one byte. Factors and constants are upper bounds. What is only
shown is estimated instead, near the truth: long texts are sampled, and a picture counts as most pictures do.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from gateway.calls import ChatCall, ImageUrl, Part
from gateway.memory import release_file_pages

BYTES_COUNTED = 65_536
TOKENS_PER_MESSAGE = 4
TOKENS_PER_CALL = 3
TOKENS_PER_IMAGE = 6_000  # most that a model we sell asks for one picture at full detail
TOKENS_PER_SMALL_IMAGE = 3_000  # "detail": "low"
BYTES_PER_FILE_TOKEN = 4  # base64 of audio and documents
CHARS_SAMPLED = 32_768  # of a longer text that is estimated, as many are counted, in samples from its whole length
SAMPLES = 8
TOKENS_PER_USUAL_IMAGE = 1_600
BYTES_PER_USUAL_FILE_TOKEN = 20  # base64 of a PDF


@cache
def load_tokenizer() -> Any:
    """Once per process, at the first text that is counted; the gateway asks at its start. Pages and tasks never pay for it."""
    try:
        from rs_bpe.bpe import openai
    except ImportError:  # the package is built per Python version; this one is its twin
        from bpe_openai import _bindings  # type: ignore[import-not-found]

        return _bindings.tokenizer_for_encoding("o200k_base")
    tokenizer = openai.o200k_base()
    release_file_pages("/rs_bpe/")  # 35 MiB of vocabulary inside the library, from which it has built its own tables
    return tokenizer


def count_text(text: str) -> int:
    """Tokens of a text; its bytes where it is longer than BYTES_COUNTED."""
    if not text:
        return 0
    if len(text) > BYTES_COUNTED:
        return len(text.encode())
    tokens: int = load_tokenizer().count(text)
    return tokens


def count_chat_input(call: ChatCall, *, factor_percent: int) -> int:
    """An upper bound of what a provider will count for the prompt."""
    texts: list[str] = []
    extra = TOKENS_PER_CALL
    for message in call.messages:
        extra += TOKENS_PER_MESSAGE
        content = message.content
        if isinstance(content, str):
            texts.append(content)
        elif content is not None:
            for part in content:
                extra += _count_part(part, texts)
        if message.name is not None:
            texts.append(message.name)
        if message.tool_calls is not None:
            texts += [_decode(bytes(value)) for tool_call in message.tool_calls for value in tool_call.values()]
        if message.reasoning_content is not None:
            texts.append(message.reasoning_content)
    for name in ("tools", "functions", "response_format", "documents"):
        raw = call.fields.get(name)
        if raw is not None:
            texts.append(_decode(bytes(raw)))
    return extra + scale(count_texts(texts), factor_percent)


def bound_chat_input(call: ChatCall) -> int:
    """A cruder bound that costs nothing: every byte of the body a token, and the pictures."""
    bound = call.body_bytes + TOKENS_PER_CALL + TOKENS_PER_MESSAGE * len(call.messages)
    for message in call.messages:
        if isinstance(message.content, list):
            bound += TOKENS_PER_IMAGE * sum(part.image_url is not None for part in message.content)
    return bound


def has_media(call: ChatCall) -> bool:
    """Whether the prompt has parts that may be counted as sound or pictures."""
    return any(
        part.image_url is not None or part.input_audio is not None or part.file is not None
        for message in call.messages
        if isinstance(message.content, list)
        for part in message.content
    )


def estimate_chat_input(call: ChatCall, *, factor_percent: int) -> int:
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
                extra += TOKENS_PER_USUAL_IMAGE
            if part.file is not None:
                extra += sum(len(bytes(value)) for value in part.file.values()) // BYTES_PER_USUAL_FILE_TOKEN
        if message.reasoning_content is not None:
            texts.append(message.reasoning_content)
        texts += [_decode(bytes(value)) for made in message.tool_calls or () for value in made.values()]
    texts += [_decode(bytes(call.fields[name])) for name in ("tools", "response_format") if name in call.fields]
    return extra + scale(estimate_text("\n".join(texts)), factor_percent)


def estimate_text(text: str) -> int:
    if len(text) <= CHARS_SAMPLED:
        return count_text(text)
    size = CHARS_SAMPLED // SAMPLES
    step = (len(text) - size) // (SAMPLES - 1)
    counted = sum(count_text(text[start : start + size]) for start in range(0, step * SAMPLES, step))
    return counted * len(text) // CHARS_SAMPLED


def count_texts(texts: Iterable[str]) -> int:
    return count_text("\n".join(texts))


def scale(tokens: int, factor_percent: int) -> int:
    return -(-tokens * factor_percent // 100)


def _count_part(part: Part, texts: list[str]) -> int:
    if part.text is not None:
        texts.append(part.text)
    if part.refusal is not None:
        texts.append(part.refusal)
    extra = 0
    if part.image_url is not None:
        is_small = isinstance(part.image_url, ImageUrl) and part.image_url.detail == "low"
        extra += TOKENS_PER_SMALL_IMAGE if is_small else TOKENS_PER_IMAGE
    for blob in (part.input_audio, part.file):
        if blob is not None:
            extra += sum(len(bytes(value)) for value in blob.values()) // BYTES_PER_FILE_TOKEN
    return extra


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
