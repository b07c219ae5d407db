"""Anthropic Messages → a chat completion in OpenAI's words, whole or streamed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.calls import ChatCall
from gateway.dialects.base import Tally, bucket_usage, malformed, openai_usage
from gateway.errors import UpstreamError

FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length",
    "model_context_window_exceeded": "length", "tool_use": "tool_calls", "refusal": "content_filter",
}  # fmt: skip
_dumps = msgspec.json.encode


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    data: str | None = None
    signature: str | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode


class UsageMerger:
    """Three disjoint input numbers and the output; streams give some at the start, some at the end, cumulative."""

    def __init__(self) -> None:
        self._said = _Usage()
        self.is_suspect = False
        self.has_output = False

    def take(self, raw: msgspec.Raw) -> None:
        text = bytes(raw)
        if text == b"null":
            return
        try:
            said = _decode_usage(text)
        except msgspec.DecodeError:
            self.is_suspect = True
            return
        for name in _Usage.__struct_fields__:
            value = getattr(said, name)
            if value is not None:
                setattr(self._said, name, value)

    def fill(self, tally: Tally) -> None:
        said = self._said
        if said.input_tokens is None or said.output_tokens is None:
            tally.is_suspect = tally.is_suspect or self.is_suspect
            return
        cached, written = said.cache_read_input_tokens or 0, said.cache_creation_input_tokens or 0
        tally.usage, is_suspect = bucket_usage(
            prompt=said.input_tokens + max(0, cached) + max(0, written),
            cached=cached,
            cache_write=written,
            completion=said.output_tokens,
            reasoning=(said.output_tokens_details.thinking_tokens or 0) if said.output_tokens_details else 0,
        )
        tally.is_suspect = tally.is_suspect or self.is_suspect or is_suspect or said.input_tokens < 0
        tally.usage_raw = openai_usage(tally.usage or Usage())


# ── Whole ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class ChatAnswer:
    def __init__(self, completion: dict[str, Any], tally: Tally) -> None:
        self._completion = completion
        self.tally = tally

    def with_usage(self, usage_raw: bytes) -> bytes:
        self._completion["usage"] = msgspec.Raw(usage_raw)
        return _dumps(self._completion)


def read_chat(body: bytes) -> ChatAnswer:
    try:
        message = _decode_message(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise malformed() from None
    if message.id is None or message.stop_reason is None:
        raise malformed("The provider's answer is not a message.")
    tally = Tally(upstream_id=message.id, is_complete=True, finish_reason=FINISH.get(message.stop_reason, "stop"))
    merger = UsageMerger()
    merger.take(message.usage)
    merger.fill(tally)
    choice = {"index": 0, "message": _read_blocks(message.content, tally), "logprobs": None, "finish_reason": tally.finish_reason}
    completion = {
        "id": message.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": message.model or "",
        "choices": [choice],
    }
    return ChatAnswer(completion, tally)


def _read_blocks(blocks: list[_Block], tally: Tally) -> dict[str, Any]:
    texts, thoughts, tool_calls, kept = [], [], [], []
    for block in blocks:
        if block.type == "text":
            texts.append(block.text or "")
        elif block.type == "thinking":
            thoughts.append(block.thinking or "")
            kept.append({"type": "thinking", "thinking": block.thinking or "", "signature": block.signature or ""})
        elif block.type == "redacted_thinking":
            kept.append({"type": "redacted_thinking", "data": block.data or ""})
        elif block.type == "tool_use":
            arguments = json.dumps(block.input or {}, ensure_ascii=False, separators=(",", ":"))
            tool_calls.append({"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}})
            tally.add_text((block.name or "") + arguments)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    for text in (*texts, *thoughts):
        tally.add_text(text)
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if kept:
        message["thinking_blocks"] = kept  # echoed back, they keep a tool loop's thinking whole
    if tool_calls:
        message["tool_calls"] = tool_calls
    return message


# ── Streamed ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class ChatReader:
    """Events in, chunks out: the role, text, reasoning, tool calls by index, one finish reason."""

    may_end_by_eof = False

    def __init__(self, call: ChatCall, tally: Tally, *, read_stream_error: Callable[[bytes], UpstreamError]) -> None:
        self._tally = tally
        self._merger = UsageMerger()
        self._read_stream_error = read_stream_error
        self._usage_null = b',"usage":null' if call.wants_usage else b""
        self._head = b""
        self._tool_index = -1
        self._tool_has_arguments = True
        self._block_kind = ""
        self._thought: list[str] = []  # of the thinking block that is being read
        self._signature = ""
        self._kept = 0  # thinking blocks that were given whole
        self.said = ""

    def read(self, events: list[sse.Event]) -> bytes:
        out: list[bytes] = []
        self.said = ""
        for name, data in events:
            if not data or self._tally.is_complete:
                continue
            try:
                event = _decode_event(data)
            except (msgspec.DecodeError, RecursionError):
                if name == b"error" or b'"error"' in data[:200]:
                    raise self._read_stream_error(data) from None
                raise malformed("An event of the provider's stream could not be read.") from None
            if event.type == "error":
                raise self._read_stream_error(data)
            out.append(self._read_event(event))
        return b"".join(out)

    def _read_event(self, event: _Event) -> bytes:
        match event.type:
            case "content_block_delta":
                return self._read_delta(event.delta or _Delta())
            case "content_block_start":
                return self._start_block(event.content_block or _Block(type=""))
            case "content_block_stop":
                return self._stop_block()
            case "message_start":
                return self._start(event.message or _Message())
            case "message_delta":
                return self._finish(event)
            case "message_stop":
                self._tally.is_complete = True
                self._merger.fill(self._tally)
        return b""  # ping, and events of the future

    def _start(self, message: _Message) -> bytes:
        self._tally.upstream_id = message.id or ""
        self._merger.take(message.usage)
        self._merger.fill(self._tally)
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":' % (
            _dumps(message.id or ""),
            int(time.time()),
            _dumps(message.model or ""),
        )
        return self._chunk(b'{"role":"assistant","content":""}')

    def _chunk(self, delta: bytes, finish_reason: bytes = b"null") -> bytes:
        return b'%b[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b}\n\n' % (
            self._head, delta, finish_reason, self._usage_null,
        )  # fmt: skip

    def _start_block(self, block: _Block) -> bytes:
        self._block_kind = block.type
        if block.type == "tool_use":
            self._tool_index += 1
            self._tool_has_arguments = False
            self._tally.add_text(block.name or "")
            function = b'{"name":%b,"arguments":""}' % _dumps(block.name or "")
            head = b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":%b}]}'
            started = self._chunk(head % (self._tool_index, _dumps(block.id or ""), function))
            if block.input:  # some hosts give the whole input at once
                started += self._arguments(json.dumps(block.input, ensure_ascii=False, separators=(",", ":")))
            return started
        if block.type == "text" and block.text:
            return self._text(block.text)
        if block.type == "thinking" and block.thinking:
            return self._think(block.thinking)
        if block.type == "redacted_thinking":
            return self._keep({"type": "redacted_thinking", "data": block.data or ""})
        return b""

    def _read_delta(self, delta: _Delta) -> bytes:
        if delta.text:
            self.said = delta.text
            return self._text(delta.text)
        if delta.thinking:
            return self._think(delta.thinking)
        if delta.signature:
            self._signature += delta.signature
        if delta.partial_json:
            return self._arguments(delta.partial_json)
        return b""

    def _stop_block(self) -> bytes:
        kind, self._block_kind = self._block_kind, ""
        if kind == "tool_use" and not self._tool_has_arguments:
            return self._arguments("{}")  # a call without arguments streams none, but they must be JSON
        if kind == "thinking" and self._signature:
            thought, signature = "".join(self._thought), self._signature
            self._thought, self._signature = [], ""
            return self._keep({"type": "thinking", "thinking": thought, "signature": signature})
        return b""

    def _text(self, text: str) -> bytes:
        self._tally.add_text(text)
        return self._chunk(b'{"content":%b}' % _dumps(text))

    def _keep(self, block: dict[str, Any]) -> bytes:
        """One of `thinking_blocks`: whole, and with an index, without which SDKs can't gather lists."""
        index, self._kept = self._kept, self._kept + 1
        return self._chunk(b'{"thinking_blocks":[%b]}' % _dumps({"index": index, **block}))

    def _think(self, text: str) -> bytes:
        self._thought.append(text)
        self._tally.add_text(text)
        return self._chunk(b'{"reasoning_content":%b}' % _dumps(text))

    def _arguments(self, text: str) -> bytes:
        self._tool_has_arguments = True
        self._tally.add_text(text)
        delta = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (self._tool_index, _dumps(text))
        return self._chunk(delta)

    def _finish(self, event: _Event) -> bytes:
        self._merger.take(event.usage)
        self._merger.fill(self._tally)
        stop_reason = event.delta.stop_reason if event.delta else None
        if stop_reason is None:
            return b""
        self._tally.finish_reason = FINISH.get(stop_reason, "stop")
        return self._chunk(b"{}", _dumps(self._tally.finish_reason))

    def usage_frame(self, usage_raw: bytes) -> bytes:
        return self._head + b'[],"usage":' + usage_raw + b"}\n\n"
