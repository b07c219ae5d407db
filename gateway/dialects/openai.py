"""OpenAI's Chat Completions, and the hosts that speak it. Bytes that we need not change pass as they came."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway import sse
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.base import Tally, UpstreamRequest, bucket_usage, error_of_status, malformed, openai_usage, text_of
from gateway.dialects.openai_hosts import habits_of
from gateway.dialects.openai_request import fit_fields
from gateway.dialects.openai_shapes import Content, is_odd_finish, openai_finish, reshape, split_content
from gateway.errors import UpstreamError

_NO_RAW: Final = msgspec.Raw(b"null")


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: Content = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = _NO_RAW  # Moonshot
    message: msgspec.Raw = _NO_RAW  # Perplexity: all that came so far, in every chunk


class _Chunk(msgspec.Struct):
    id: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NO_RAW
    error: msgspec.Raw = _NO_RAW


class _Answered(msgspec.Struct):
    message: _Delta | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Answered]
    id: str | None = None
    usage: msgspec.Raw = _NO_RAW
    citations: msgspec.Raw = _NO_RAW  # Perplexity
    search_results: msgspec.Raw = _NO_RAW  # Perplexity


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None  # Perplexity, beside the completion
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


stream_type = "text/event-stream"
open_parser = sse.SseParser


# ── There ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def chat_request(call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
    habits = habits_of(deployment.provider_slug)
    fields, dropped = fit_fields(call, route, habits, is_strict=deployment.is_strict, output_tokens=output_tokens)
    fields["model"] = msgspec.Raw(msgspec.json.encode(deployment.upstream_model))
    body = msgspec.json.encode(fields)
    return UpstreamRequest(deployment.base_url + "/chat/completions", request_headers(deployment), body, dropped)


def request_headers(deployment: ServedDeployment) -> tuple[tuple[str, str], ...]:
    return _bearer(deployment.secret)


@lru_cache(maxsize=4_096)  # the same texts each time: their hashes, by which the head is found again, are worked out once
def _bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"), ("content-type", "application/json"))


# ── Back, whole ──────────────────────────────────────────────────────────────────────────────────────────────────────
class ChatAnswer:
    """A chat completion as it came, but for `usage` and what the host writes otherwise than OpenAI."""

    __slots__ = ("_body", "_usage", "tally")

    def __init__(self, body: bytes, tally: Tally, usage: bytes = b"") -> None:
        self._body = body
        self._usage = usage  # as it stands in the body
        self.tally = tally

    def with_usage(self, usage_raw: bytes) -> bytes:
        # An object (no `null`, which is also what an answer without usage says here), and nowhere else.
        if self._usage[:1] == b"{" and self._body.count(self._usage) == 1:
            return self._body.replace(self._usage, usage_raw)
        members = _decode_members(self._body)
        members["usage"] = msgspec.Raw(usage_raw)
        return msgspec.json.encode(members)


def read_chat(body: bytes) -> ChatAnswer:
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise malformed() from None
    if not answer.choices:
        raise malformed("The provider's answer has no choices.")
    tally = Tally(upstream_id=answer.id or "", is_complete=True)
    is_odd = answer.citations is not _NO_RAW or answer.search_results is not _NO_RAW
    for choice in answer.choices:
        is_odd = is_odd_finish(choice.finish_reason) or is_odd
        tally.finish_reason = openai_finish(choice.finish_reason) if choice.finish_reason else tally.finish_reason
        if choice.message is not None:
            is_odd = _tally_delta(choice.message, tally) or is_odd
    usage = bytes(answer.usage)
    read_usage(usage, tally)
    return ChatAnswer(reshape(body), tally) if is_odd else ChatAnswer(body, tally, usage)


def _tally_delta(delta: _Delta, tally: Tally) -> bool:
    """Counts what a message or a delta brings; says whether OpenAI would write it otherwise."""
    is_odd = False
    if isinstance(delta.content, list):
        is_odd = True
        tally.add_text("".join(split_content(delta.content)))
    elif delta.content:
        tally.add_text(delta.content)
    if delta.reasoning_content:
        tally.add_text(delta.reasoning_content)
    elif delta.reasoning:
        tally.add_text(delta.reasoning)
        is_odd = True
    if delta.refusal:
        tally.add_text(delta.refusal)
    if delta.tool_calls:
        for tool_call in delta.tool_calls:
            if tool_call.function is not None:
                tally.add_text((tool_call.function.name or "") + (tool_call.function.arguments or ""))
    return is_odd


def _plain_text(choice: _Choice) -> str:
    """What it brings, where that is nothing but a text."""
    delta = choice.delta
    if delta is None or choice.finish_reason or choice.usage is not _NO_RAW or not isinstance(delta.content, str):
        return ""
    return "" if delta.reasoning_content or delta.refusal or delta.tool_calls else delta.content


def read_usage(raw: bytes, tally: Tally) -> None:
    """The upstream's usage into the tally. One that can't be read counts as absent, and is suspect."""
    if raw == b"null":
        return
    try:
        said = _decode_usage(raw)
    except (msgspec.DecodeError, RecursionError):
        tally.is_suspect = True
        tally.usage = None
        return
    prompt, completion = said.prompt_tokens_details, said.completion_tokens_details
    cached = (prompt.cached_tokens if prompt else None) or said.prompt_cache_hit_tokens or 0
    answered, reasoning = said.completion_tokens or 0, (completion.reasoning_tokens if completion else None) or 0
    # xAI and Perplexity tell their reasoning beside the completion, where OpenAI tells it as a part of it.
    is_beside = reasoning > 0 and said.total_tokens == said.prompt_tokens + answered + reasoning
    if not reasoning and said.reasoning_tokens:
        is_beside, reasoning = True, said.reasoning_tokens
    tally.usage, is_suspect = bucket_usage(
        prompt=said.prompt_tokens,
        cached=cached,
        cache_write=(prompt.cache_write_tokens if prompt else None) or 0,
        completion=answered + reasoning if is_beside else answered,
        reasoning=reasoning,
        audio_input=(prompt.audio_tokens if prompt else None) or 0,
        image_input=(prompt.image_tokens if prompt else None) or 0,
        audio_output=(completion.audio_tokens if completion else None) or 0,
        image_output=(completion.image_tokens if completion else None) or 0,
    )
    tally.is_suspect = tally.is_suspect or is_suspect
    tally.usage_raw = openai_usage(tally.usage) if is_beside else raw


# ── Back, streamed ───────────────────────────────────────────────────────────────────────────────────────────────────
class ChatReader:
    """Chunks pass as they came. The usage is kept for the last chunk, which is ours."""

    __slots__ = ("_call", "_last", "_tally", "_usage_chunk", "said")
    may_end_by_eof = True  # some hosts forget [DONE]

    def __init__(self, call: ChatCall, tally: Tally) -> None:
        self._call = call
        self._tally = tally
        self._last = b""  # the last chunk with choices
        self._usage_chunk = b""
        self.said = ""

    def read(self, events: list[sse.Event]) -> bytes:
        out: list[bytes] = []
        tally = self._tally
        self.said = ""
        for _, data in events:
            if data == b"[DONE]":
                tally.is_complete = True
                continue
            if not data or tally.is_complete:
                continue
            try:
                chunk = _decode_chunk(data)
            except (msgspec.DecodeError, RecursionError):
                raise malformed("An event of the provider's stream could not be read.") from None
            if bytes(chunk.error) != b"null":
                raise stream_error(bytes(chunk.error))
            frame = self._read_chunk(chunk, data)
            if frame:
                out.append(frame)
        return b"".join(out)

    def _read_chunk(self, chunk: _Chunk, data: bytes) -> bytes:
        tally = self._tally
        if chunk.id and not tally.upstream_id:
            tally.upstream_id = chunk.id
        has_usage = chunk.usage is not _NO_RAW and bytes(chunk.usage) != b"null"
        if has_usage:
            read_usage(bytes(chunk.usage), tally)
        if not chunk.choices:
            if has_usage:
                self._usage_chunk = data
            return b""  # without choices there is nothing to deliver, and clients index choices[0]
        is_odd = False
        for choice in chunk.choices:
            delta = choice.delta
            if delta is None or choice.message is not _NO_RAW:
                is_odd = True
            if delta is not None and (_tally_delta(delta, tally) or (delta.tool_calls and delta.tool_calls[0].index is None)):
                is_odd = True
            if choice.finish_reason:
                is_odd = is_odd_finish(choice.finish_reason) or is_odd
                tally.finish_reason = openai_finish(choice.finish_reason)
            if choice.usage is not _NO_RAW and not has_usage:
                read_usage(bytes(choice.usage), tally)
        if is_odd:
            data = reshape(data)
        elif len(chunk.choices) == 1 and not has_usage:
            self.said = _plain_text(chunk.choices[0])
        self._last = data
        if has_usage:
            members = _decode_members(data)
            del members["usage"]
            data = msgspec.json.encode(members)
        elif b"\n" in data:  # it came over several lines; between JSON's tokens a space is as good
            data = data.replace(b"\n", b" ")
        return b"data: " + data + b"\n\n"

    def usage_frame(self, usage_raw: bytes) -> bytes:
        members = _decode_members(self._usage_chunk or self._last)
        members["choices"] = msgspec.Raw(b"[]")
        members["usage"] = msgspec.Raw(usage_raw)
        return sse.frame(msgspec.json.encode(members))


def open_stream(call: ChatCall) -> tuple[ChatReader, Tally]:
    tally = Tally()
    return ChatReader(call, tally), tally


# ── Back, refused ────────────────────────────────────────────────────────────────────────────────────────────────────
def read_error(status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError:
    """OpenAI's `{"error": {...}}`, and the shapes of vLLM, Mistral, Cohere and Google's list of one."""
    message, code, param = _explain(body)
    return error_of_status(status, message=message, code=code, param=param, retry_after=retry_after, secret=deployment.secret)


def stream_error(raw: bytes) -> UpstreamError:
    message, code, _ = _explain(b'{"error":' + raw + b"}")
    status = int(code) if code.isdigit() else {"rate_limit_exceeded": 429, "overloaded_error": 529}.get(code, 500)
    error = error_of_status(status if status >= 400 else 500, message=message, code=code)
    error.retryable = True
    return error


def _explain(body: bytes) -> tuple[str, str, str | None]:
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "", "", None
    if isinstance(said, list) and said:
        said = said[0]
    if not isinstance(said, dict):
        return "", "", None
    error = said.get("error", said)
    if not isinstance(error, dict):
        return text_of(error), "", None
    message = text_of(error.get("message")) or text_of(error.get("detail"))
    code = error.get("code")
    code = code if isinstance(code, str) else text_of(error.get("type")) if not isinstance(code, int) else str(code)
    param = error.get("param")
    return message, _known_code(code), param if isinstance(param, str) else None


def _known_code(code: str) -> str:
    """A code that programs may read: short, and of our alphabet; OpenAI's general type says nothing."""
    if code in ("invalid_request_error", "BadRequestError", "400") or len(code) > 40 or not code.replace("_", "").isalnum():
        return ""
    return code
