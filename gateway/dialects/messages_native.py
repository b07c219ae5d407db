"""Anthropic's Messages carried through to deployments that speak it: the caller's own bytes up, the provider's own events down.

Only what is ours is changed: `model` and `max_tokens` on the way up, `usage` (with the cost) on the way down. `messages_terms` says
what may not pass.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.anthropic import read_error, read_stream_error, stream_type
from gateway.dialects.anthropic_answer import FINISH
from gateway.dialects.base import Tally, UpstreamRequest, bucket_usage, malformed
from gateway.dialects.messages_terms import Terms, refuse_closed
from gateway.dialects.openai import read_usage

__all__ = ["chat_request", "open_parser", "open_stream", "read_chat", "read_error", "show_usage", "stream_type"]

EVENT_BYTES_MAX = 16 * 1_048_576  # what a tool of the provider fetched comes in one event
open_parser = partial(sse.SseParser, bytes_max=EVENT_BYTES_MAX)


# ── There ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def chat_request(call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
    assert call.native is not None  # only the Messages surface comes here
    terms: Terms = call.told if isinstance(call.told, Terms) else Terms()
    refuse_closed(call.native, route)
    fields = dict(call.native)
    fields["messages"] = _without_unsigned(fields["messages"])
    fields["model"] = msgspec.Raw(msgspec.json.encode(deployment.upstream_model))
    fields["max_tokens"] = msgspec.Raw(b"%d" % output_tokens)
    headers = [
        ("x-api-key", deployment.secret),
        ("anthropic-version", terms.version),
        ("content-type", "application/json"),
    ]
    if terms.betas:
        headers.append(("anthropic-beta", ",".join(terms.betas)))
    return UpstreamRequest(deployment.base_url + "/v1/messages", headers, msgspec.json.encode(fields), terms.dropped)


def _without_unsigned(raw: msgspec.Raw) -> msgspec.Raw:
    """Thinking that we gave without a signature, when another model thought it, is refused by Anthropic: it stays out."""
    if b'"signature":""' not in bytes(raw) and b'"signature": ""' not in bytes(raw):
        return raw
    turns = msgspec.json.decode(raw)
    for turn in turns:
        if isinstance(turn["content"], list):
            turn["content"] = [
                block for block in turn["content"] if not (block["type"] == "thinking" and block.get("signature") == "")
            ]
    return msgspec.Raw(msgspec.json.encode([turn for turn in turns if turn["content"] != []]))


# ── Usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _ServerTools(msgspec.Struct):
    web_search_requests: int | None = None


class _Said(msgspec.Struct):
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None
    server_tool_use: _ServerTools | None = None


_decode_said = msgspec.json.Decoder(_Said).decode


class _Merger:
    """Streams say the input at the start and the output at the end, cumulative; some hosts the cached parts only at the end."""

    def __init__(self, tally: Tally) -> None:
        self._said = _Said()
        self._tally = tally

    def take(self, raw: bytes) -> None:
        tally = self._tally
        if raw == b"null":
            return
        try:
            said = _decode_said(raw)
        except (msgspec.DecodeError, RecursionError):
            tally.is_suspect, tally.usage = True, None
            return
        for name in _Said.__struct_fields__:
            if (value := getattr(said, name)) is not None:
                setattr(self._said, name, value)
        merged = self._said
        if merged.input_tokens is None or merged.output_tokens is None:
            return
        cached, written = merged.cache_read_input_tokens or 0, merged.cache_creation_input_tokens or 0
        thought = merged.output_tokens_details.thinking_tokens if merged.output_tokens_details else None
        tally.usage, is_suspect = bucket_usage(
            prompt=merged.input_tokens + max(0, cached) + max(0, written), cached=cached, cache_write=written,
            completion=merged.output_tokens, reasoning=thought or 0,
        )  # fmt: skip
        searches = merged.server_tool_use.web_search_requests if merged.server_tool_use else None
        if searches and searches > 0:
            tally.usage = msgspec.structs.replace(tally.usage, searches=searches)
        tally.is_suspect = tally.is_suspect or is_suspect or merged.input_tokens < 0
        if said.output_tokens is not None:
            tally.usage_raw = raw


def show_usage(usage_raw: bytes) -> bytes:
    """A usage object in Anthropic's words: one that is already so as it came, a chat completion's translated, its cost kept."""
    members = msgspec.json.decode(usage_raw, type=dict[str, msgspec.Raw])
    if "prompt_tokens" not in members:
        return usage_raw
    tally = Tally()
    read_usage(usage_raw, tally)
    usage = tally.usage or Usage()
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    shown: dict[str, Any] = {
        "input_tokens": prompt - usage.cached_input_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": completion,
    }
    if usage.reasoning_tokens:
        shown["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    shown.update({name: members[name] for name in ("cost", "cost_details") if name in members})
    return msgspec.json.encode(shown)


# ── Back, whole ──────────────────────────────────────────────────────────────────────────────────────────────────────
class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    id: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Answer:
    """A message as it came; only `usage` is replaced."""

    def __init__(self, body: bytes, tally: Tally) -> None:
        self._body = body
        self.tally = tally

    def with_usage(self, usage_raw: bytes) -> bytes:
        members = _decode_members(self._body)
        members["usage"] = msgspec.Raw(show_usage(usage_raw))
        return msgspec.json.encode(members)


def read_chat(body: bytes) -> Answer:
    try:
        message = _decode_message(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise malformed() from None
    if message.id is None or message.stop_reason is None:
        raise malformed("The provider's answer is not a message.")
    tally = Tally(upstream_id=message.id, is_complete=True, finish_reason=FINISH.get(message.stop_reason, "stop"))
    for block in message.content or ():
        tally.add_text(
            (block.text or "") + (block.thinking or "") + (block.name or "") + bytes(block.input).decode("utf-8", "replace")
        )
    _Merger(tally).take(bytes(message.usage))
    return Answer(body, tally)


# ── Back, streamed ───────────────────────────────────────────────────────────────────────────────────────────────────
class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_decode_event = msgspec.json.Decoder(_Event).decode
_PRELUDE = frozenset({"message_start", "ping"})


class Reader:
    """Events pass as they came. The opening waits for the first block, since until then another deployment may still be asked;
    the last `message_delta` and `message_stop` wait for the settlement, since they say what the call cost."""

    said = ""
    may_end_by_eof = False

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._merger = _Merger(tally)
        self._opening: list[bytes] = []
        self._is_open = False
        self._delta = b""  # the last message_delta
        self._stop = b'{"type":"message_stop"}'

    def read(self, events: list[sse.Event]) -> bytes:
        out: list[bytes] = []
        for name, data in events:
            if not data or self._tally.is_complete:
                continue
            try:
                event = _decode_event(data)
            except (msgspec.DecodeError, RecursionError):
                if name == b"error" or b'"error"' in data[:200]:
                    raise read_stream_error(data) from None
                raise malformed("An event of the provider's stream could not be read.") from None
            if event.type == "error":
                raise read_stream_error(data)
            self._read_event(event, name, data, out)
        return b"".join(out)

    def _read_event(self, event: _Event, name: bytes, data: bytes, out: list[bytes]) -> None:
        kind = event.type
        self._tally_event(event)
        if kind == "message_stop":
            self._stop = data
            self._tally.is_complete = True
            self._open(out)
        elif kind == "message_delta":
            if self._delta:
                self._open(out)
                out.append(frame_of("message_delta", self._delta))
            self._delta = data
        elif not self._is_open and kind in _PRELUDE:
            self._opening.append(frame_of(kind, data))
        else:
            self._open(out)
            out.append(frame_of(name.decode("utf-8", "replace") or kind, data))

    def _open(self, out: list[bytes]) -> None:
        self._is_open = True
        out += self._opening
        self._opening = []

    def _tally_event(self, event: _Event) -> None:
        tally, delta, block = self._tally, event.delta, event.content_block
        if delta is not None:
            if piece := delta.text or delta.thinking or delta.partial_json:
                tally.add_text(piece)
            if delta.stop_reason is not None:
                tally.finish_reason = FINISH.get(delta.stop_reason, "stop")
        if block is not None and (opened := (block.text or "") + (block.thinking or "") + (block.name or "")):
            tally.add_text(opened)
        if event.message is not None:
            tally.upstream_id = event.message.id or tally.upstream_id
            self._merger.take(bytes(event.message.usage))
        if event.type == "message_delta":
            self._merger.take(bytes(event.usage))

    def usage_frame(self, usage_raw: bytes) -> bytes:
        members = _decode_members(self._delta or b'{"type":"message_delta","delta":{"stop_reason":null,"stop_sequence":null}}')
        members["usage"] = msgspec.Raw(show_usage(usage_raw))
        return frame_of("message_delta", msgspec.json.encode(members)) + frame_of("message_stop", self._stop)


def frame_of(kind: str, data: bytes) -> bytes:
    if b"\n" in data:  # it came over several lines; between JSON's tokens a space is as good
        data = data.replace(b"\n", b" ")
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def open_stream(call: ChatCall) -> tuple[Reader, Tally]:
    tally = Tally()
    return Reader(tally), tally
