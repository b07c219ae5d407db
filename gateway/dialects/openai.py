"""OpenAI's Chat Completions, and the hosts that speak it. Bytes that we need not change pass as they came."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway import sse
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.base import Tally, UpstreamRequest, bucket_usage, error_of_status, malformed, text_of
from gateway.errors import UpstreamError

# Members of answers that clients echo in their history, and that strict hosts refuse in a request.
ANSWER_ONLY = ("reasoning_content", "reasoning", "thinking_blocks", "annotations")
_NO_RAW: Final = msgspec.Raw(b"null")
_INCLUDE_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class HostHabits:
    """Where a compatible host differs from OpenAI."""

    takes_stream_options: bool = True
    takes_max_completion_tokens: bool = False
    tool_id_length: int = 0  # ids of tool calls have exactly so many base62 characters; 0: any
    seed_name: str = "seed"


HABITS = {
    "openai": HostHabits(takes_max_completion_tokens=True),
    "groq": HostHabits(takes_max_completion_tokens=True),
    "mistral": HostHabits(takes_stream_options=False, tool_id_length=9, seed_name="random_seed"),
}
_COMMON = HostHabits()


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


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
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


stream_type = "text/event-stream"
open_parser = sse.SseParser


# ── There ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def chat_request(call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
    habits = HABITS.get(deployment.provider_slug, _COMMON)
    fields = dict(call.fields)
    fields["model"] = msgspec.Raw(msgspec.json.encode(deployment.upstream_model))
    _set_output_tokens(fields, route, habits, output_tokens)
    if call.is_stream and habits.takes_stream_options:
        fields["stream_options"] = _stream_options(fields.get("stream_options"))
    else:
        fields.pop("stream_options", None)
    if habits.seed_name != "seed" and "seed" in fields:
        fields[habits.seed_name] = fields.pop("seed")
    if (deployment.is_strict or habits.tool_id_length) and len(call.messages) > 1:
        fields["messages"] = _fit_messages(fields["messages"], habits, is_strict=deployment.is_strict)
    dropped: tuple[str, ...] = ()
    if deployment.is_strict:
        _drop_cache_marks(fields)
        if "top_k" in fields:  # sampling that the host has no word for: a hint
            del fields["top_k"]
            dropped = ("top_k",)
    body = msgspec.json.encode(fields)
    return UpstreamRequest(deployment.base_url + "/chat/completions", request_headers(deployment), body, dropped)


def request_headers(deployment: ServedDeployment) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {deployment.secret}"), ("content-type", "application/json")]


def _set_output_tokens(fields: dict[str, msgspec.Raw], route: ServedRoute, habits: HostHabits, output_tokens: int) -> None:
    asked_new = "max_completion_tokens" in fields
    fields.pop("max_tokens", None)
    fields.pop("max_completion_tokens", None)
    is_new = habits.takes_max_completion_tokens and (asked_new or route.is_reasoning)
    fields["max_completion_tokens" if is_new else "max_tokens"] = msgspec.Raw(b"%d" % output_tokens)


def _stream_options(asked: msgspec.Raw | None) -> msgspec.Raw:
    if asked is None or bytes(asked) == b"null":
        return _INCLUDE_USAGE
    options = _decode_members(asked)
    options["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(msgspec.json.encode(options))


def _fit_messages(raw: msgspec.Raw, habits: HostHabits, *, is_strict: bool) -> msgspec.Raw:
    """History that another provider wrote: reasoning that a strict host refuses, ids that a host can't read."""
    text = bytes(raw)
    has_reasoning = is_strict and any(b'"%b"' % name.encode() in text for name in ANSWER_ONLY)
    has_foreign_ids = habits.tool_id_length > 0 and b'"tool_call' in text
    if not has_reasoning and not has_foreign_ids:
        return raw
    messages = _decode_objects(text)
    for message in messages:
        if has_reasoning:
            for name in ANSWER_ONLY:
                message.pop(name, None)
        if has_foreign_ids:
            _fit_tool_ids(message, habits.tool_id_length)
    return msgspec.Raw(msgspec.json.encode(messages))


def _drop_cache_marks(fields: dict[str, msgspec.Raw]) -> None:
    """Marks for a prompt cache, which strict hosts refuse by name and make for themselves: off messages, parts, tools."""
    for name in ("messages", "tools"):
        raw = fields.get(name, _NO_RAW)
        if b'"cache_control"' not in bytes(raw):
            continue
        items = msgspec.json.decode(raw)
        for item in items if isinstance(items, list) else ():
            inner = [item.get("content"), item.get("tool_calls"), [item.get("function")]] if isinstance(item, dict) else []
            for marked in [item, *(part for parts in inner if isinstance(parts, list) for part in parts)]:
                if isinstance(marked, dict):
                    marked.pop("cache_control", None)
        fields[name] = msgspec.Raw(msgspec.json.encode(items))


def _fit_tool_ids(message: dict[str, msgspec.Raw], length: int) -> None:
    if "tool_call_id" in message:
        id_ = msgspec.json.decode(message["tool_call_id"])
        message["tool_call_id"] = msgspec.Raw(msgspec.json.encode(_short_id(str(id_), length)))
    if "tool_calls" in message and bytes(message["tool_calls"]) != b"null":
        calls = _decode_objects(message["tool_calls"])
        for tool_call in calls:
            if "id" in tool_call:
                id_ = msgspec.json.decode(tool_call["id"])
                tool_call["id"] = msgspec.Raw(msgspec.json.encode(_short_id(str(id_), length)))
        message["tool_calls"] = msgspec.Raw(msgspec.json.encode(calls))


def _short_id(id_: str, length: int) -> str:
    """The id itself where it fits, else one derived from it: a call and its answer stay a pair."""
    if len(id_) == length and id_.isascii() and id_.isalnum():
        return id_
    number = int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big")
    return "".join(_BASE62[number // 62**place % 62] for place in range(length))


# ── Back, whole ──────────────────────────────────────────────────────────────────────────────────────────────────────
class ChatAnswer:
    """A chat completion as it came; only `usage` is replaced."""

    __slots__ = ("_body", "tally")

    def __init__(self, body: bytes, tally: Tally) -> None:
        self._body = body
        self.tally = tally

    def with_usage(self, usage_raw: bytes) -> bytes:
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
    for choice in answer.choices:
        tally.finish_reason = choice.finish_reason or tally.finish_reason
        if choice.message is not None:
            _tally_delta(choice.message, tally)
    read_usage(bytes(answer.usage), tally)
    return ChatAnswer(body, tally)


def _tally_delta(delta: _Delta, tally: Tally) -> None:
    if delta.content:
        tally.add_text(delta.content)
    if delta.reasoning_content:
        tally.add_text(delta.reasoning_content)
    elif delta.reasoning:
        tally.add_text(delta.reasoning)
    if delta.refusal:
        tally.add_text(delta.refusal)
    if delta.tool_calls:
        for tool_call in delta.tool_calls:
            if tool_call.function is not None:
                tally.add_text((tool_call.function.name or "") + (tool_call.function.arguments or ""))


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
    tally.usage, is_suspect = bucket_usage(
        prompt=said.prompt_tokens,
        cached=cached,
        cache_write=(prompt.cache_write_tokens if prompt else None) or 0,
        completion=said.completion_tokens or 0,
        reasoning=(completion.reasoning_tokens if completion else None) or 0,
        audio_input=(prompt.audio_tokens if prompt else None) or 0,
        image_input=(prompt.image_tokens if prompt else None) or 0,
        audio_output=(completion.audio_tokens if completion else None) or 0,
        image_output=(completion.image_tokens if completion else None) or 0,
    )
    tally.is_suspect = tally.is_suspect or is_suspect
    tally.usage_raw = raw


# ── Back, streamed ───────────────────────────────────────────────────────────────────────────────────────────────────
class ChatReader:
    """Chunks pass as they came. The usage is kept for the last chunk, which is ours."""

    __slots__ = ("_call", "_last", "_tally", "_usage_chunk")
    may_end_by_eof = True  # some hosts forget [DONE]

    def __init__(self, call: ChatCall, tally: Tally) -> None:
        self._call = call
        self._tally = tally
        self._last = b""  # the last chunk with choices
        self._usage_chunk = b""

    def read(self, events: list[sse.Event]) -> bytes:
        out: list[bytes] = []
        tally = self._tally
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
        for choice in chunk.choices:
            if choice.delta is not None:
                _tally_delta(choice.delta, tally)
            if choice.finish_reason:
                tally.finish_reason = choice.finish_reason
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
