"""Converse → a chat completion in OpenAI's words, whole or streamed."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from gateway import sse
from gateway.calls import ChatCall
from gateway.dialects.base import Tally, bucket_usage, malformed, openai_usage
from gateway.dialects.bedrock_events import EXCEPTION_MARK
from gateway.errors import UpstreamError

FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "model_context_window_exceeded": "length",
    "tool_use": "tool_calls", "guardrail_intervened": "content_filter", "content_filtered": "content_filter",
}  # fmt: skip
BROKEN = frozenset({"malformed_model_output", "malformed_tool_use"})  # what came is no answer
_dumps = msgspec.json.encode


class _ReasoningText(msgspec.Struct):
    text: str = ""
    signature: str = ""


class _Reasoning(msgspec.Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    text: str | None = None  # of a delta
    signature: str | None = None  # of a delta
    redacted_content: str | None = None


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: Any = None  # an object when whole, a piece of its text in a delta


class _Cited(msgspec.Struct):
    text: str = ""


class _Citations(msgspec.Struct):
    content: list[_Cited] = []


class _Block(msgspec.Struct, rename="camel"):
    """A block of a whole answer, or a delta of one."""

    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Citations | None = None


class _Message(msgspec.Struct):
    content: list[_Block] = []


class _Output(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct, rename="camel"):
    output: _Output
    stop_reason: str
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Usage(msgspec.Struct, rename="camel"):
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class _Start(msgspec.Struct, rename="camel"):
    tool_use: _ToolUse | None = None


class _Event(msgspec.Struct, rename="camel"):
    """Any event; its name says which members it has."""

    content_block_index: int = 0
    start: _Start | None = None
    delta: _Block | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode


def read_usage(raw: msgspec.Raw, tally: Tally) -> None:
    """Three disjoint input numbers and the output, thinking within it."""
    if bytes(raw) == b"null":
        return
    try:
        said = _decode_usage(bytes(raw))
    except (msgspec.DecodeError, RecursionError):
        tally.is_suspect = True
        return
    cached, written = said.cache_read_input_tokens or 0, said.cache_write_input_tokens or 0
    tally.usage, is_suspect = bucket_usage(
        prompt=said.input_tokens + max(0, cached) + max(0, written), cached=cached, cache_write=written,
        completion=said.output_tokens, reasoning=0,
    )  # fmt: skip
    tally.is_suspect = tally.is_suspect or is_suspect or said.input_tokens < 0
    tally.usage_raw = openai_usage(tally.usage)


def finish_of(stop_reason: str) -> str:
    """OpenAI's word. Raises UpstreamError where the model's output could not be read by AWS."""
    if stop_reason in BROKEN:
        raise malformed(f"The model's output was malformed ({stop_reason}).")
    return FINISH.get(stop_reason, "stop")


def _new_id() -> str:
    """Converse gives its answers none."""
    return f"chatcmpl-{uuid.uuid4().hex}"


# ── Whole ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class ChatAnswer:
    def __init__(self, completion: dict[str, Any], tally: Tally) -> None:
        self._completion = completion
        self.tally = tally

    def name_model(self, name: str) -> None:
        self._completion["model"] = name

    def with_usage(self, usage_raw: bytes) -> bytes:
        self._completion["usage"] = msgspec.Raw(usage_raw)
        return _dumps(self._completion)


def read_chat(body: bytes) -> ChatAnswer:
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise malformed() from None
    tally = Tally(upstream_id=_new_id(), is_complete=True, finish_reason=finish_of(answer.stop_reason))
    read_usage(answer.usage, tally)
    choice = {
        "index": 0,
        "message": _read_blocks(answer.output.message.content, tally),
        "logprobs": None,
        "finish_reason": tally.finish_reason,
        "native_finish_reason": answer.stop_reason,
    }
    head = {"id": tally.upstream_id, "object": "chat.completion", "created": int(time.time()), "model": ""}
    return ChatAnswer({**head, "choices": [choice]}, tally)


def _read_blocks(blocks: list[_Block], tally: Tally) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    kept: list[dict[str, str]] = []
    tool_calls: list[dict[str, Any]] = []
    for block in blocks:
        if block.text:
            texts.append(block.text)
        elif block.citations_content is not None:
            texts += [cited.text for cited in block.citations_content.content]
        elif block.reasoning_content is not None:
            _read_reasoning(block.reasoning_content, thoughts, kept)
        elif block.tool_use is not None:
            use = block.tool_use
            arguments = json.dumps(use.input if use.input is not None else {}, ensure_ascii=False, separators=(",", ":"))
            tool_calls.append({"id": use.tool_use_id, "type": "function", "function": {"name": use.name, "arguments": arguments}})
            tally.add_text(use.name + arguments)
    for text in (*texts, *thoughts):
        tally.add_text(text)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if kept:
        message["thinking_blocks"] = kept  # echoed back, they keep a tool loop's thinking whole
    if tool_calls:
        message["tool_calls"] = tool_calls
    return message


def _read_reasoning(reasoning: _Reasoning, thoughts: list[str], kept: list[dict[str, str]]) -> None:
    if reasoning.redacted_content is not None:
        kept.append({"type": "redacted_thinking", "data": reasoning.redacted_content})
    if reasoning.reasoning_text is not None:
        said = reasoning.reasoning_text
        thoughts.append(said.text)
        if said.signature:  # without one nobody takes it back
            kept.append({"type": "thinking", "thinking": said.text, "signature": said.signature})


# ── Streamed ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class ChatReader:
    """Events in, chunks out: the role, text, reasoning, tool calls by index, one finish reason."""

    said = ""
    may_end_by_eof = True  # after messageStop only the usage is missing

    def __init__(self, call: ChatCall, tally: Tally, *, read_stream_error: Callable[[bytes, bytes], UpstreamError]) -> None:
        tally.upstream_id = _new_id()
        self._tally = tally
        self._read_stream_error = read_stream_error
        self._usage_null = b',"usage":null' if call.wants_usage else b""
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":' % (
            _dumps(tally.upstream_id),
            int(time.time()),
            _dumps(call.model),
        )
        self._role_is_due = True  # with the first chunk that says something: until then another deployment may still be asked
        self._tools: dict[int, int] = {}  # content block → index of the tool call
        self._has_arguments = False
        self._thought: list[str] = []
        self._signature = ""
        self._kept = 0

    def read(self, events: list[sse.Event]) -> bytes:
        out: list[bytes] = []
        for name, payload in events:
            if self._tally.is_complete:
                break
            if name.startswith(EXCEPTION_MARK):
                raise self._read_stream_error(name[1:], payload)
            try:
                event = _decode_event(payload)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                raise malformed("An event of the provider's stream could not be read.") from None
            out.append(self._read_event(name, event))
        return b"".join(out)

    def _read_event(self, name: bytes, event: _Event) -> bytes:
        match name:
            case b"contentBlockDelta":
                return self._read_delta(event.content_block_index, event.delta or _Block())
            case b"contentBlockStart":
                tool_use = event.start.tool_use if event.start else None
                return self._start_tool(event.content_block_index, tool_use) if tool_use else b""
            case b"contentBlockStop":
                return self._stop_block(event.content_block_index)
            case b"messageStop":
                return self._finish(event.stop_reason or "")
            case b"metadata":
                read_usage(event.usage, self._tally)
                self._tally.is_complete = bool(self._tally.finish_reason)
        return b""  # messageStart, and events of the future

    def _chunk(self, delta: bytes, ending: bytes = b'"finish_reason":null') -> bytes:
        lead = b""
        if self._role_is_due:
            self._role_is_due = False
            lead = self._chunk(b'{"role":"assistant","content":""}')
        return b'%b%b[{"index":0,"delta":%b,"logprobs":null,%b}]%b}\n\n' % (lead, self._head, delta, ending, self._usage_null)

    def _start_tool(self, block: int, use: _ToolUse) -> bytes:
        index = self._tools[block] = len(self._tools)
        self._has_arguments = False
        self._tally.add_text(use.name)
        function = b'{"name":%b,"arguments":""}' % _dumps(use.name)
        head = b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":%b}]}'
        return self._chunk(head % (index, _dumps(use.tool_use_id), function))

    def _read_delta(self, block: int, delta: _Block) -> bytes:
        if delta.text:
            self._tally.add_text(delta.text)
            return self._chunk(b'{"content":%b}' % _dumps(delta.text))
        if delta.tool_use is not None:
            return self._arguments(block, delta.tool_use.input)
        if delta.reasoning_content is not None:
            return self._read_thought(delta.reasoning_content)
        return b""

    def _arguments(self, block: int, piece: Any) -> bytes:
        if block not in self._tools or not isinstance(piece, str):
            raise malformed("An event of the provider's stream could not be read.")
        if not piece:
            return b""
        self._has_arguments = True
        self._tally.add_text(piece)
        return self._chunk(b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (self._tools[block], _dumps(piece)))

    def _read_thought(self, reasoning: _Reasoning) -> bytes:
        if reasoning.redacted_content is not None:
            return self._keep({"type": "redacted_thinking", "data": reasoning.redacted_content})
        if reasoning.signature:
            self._signature += reasoning.signature
        if not reasoning.text:
            return b""
        self._thought.append(reasoning.text)
        self._tally.add_text(reasoning.text)
        return self._chunk(b'{"reasoning_content":%b}' % _dumps(reasoning.text))

    def _keep(self, block: dict[str, Any]) -> bytes:
        """One of `thinking_blocks`: whole, and with an index, without which SDKs can't gather lists."""
        index, self._kept = self._kept, self._kept + 1
        return self._chunk(b'{"thinking_blocks":[%b]}' % _dumps({"index": index, **block}))

    def _stop_block(self, block: int) -> bytes:
        if self._signature:
            thought, signature = "".join(self._thought), self._signature
            self._thought, self._signature = [], ""
            return self._keep({"type": "thinking", "thinking": thought, "signature": signature})
        if block in self._tools and not self._has_arguments:
            return self._arguments(block, "{}")  # a call without arguments streams none, but they must be JSON
        return b""

    def _finish(self, stop_reason: str) -> bytes:
        self._tally.finish_reason = finish_of(stop_reason)
        ending = b'"finish_reason":%b,"native_finish_reason":%b' % (_dumps(self._tally.finish_reason), _dumps(stop_reason))
        return self._chunk(b"{}", ending)

    def usage_frame(self, usage_raw: bytes) -> bytes:
        return self._head + b'[],"usage":' + usage_raw + b"}\n\n"
