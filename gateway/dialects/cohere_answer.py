"""Cohere v2's answers → a chat completion in OpenAI's words, whole or streamed.

What a model thinks and what it plans before it calls tools leave as `reasoning_content`. Citations leave whole in `citations`, and
those whose source has an address also as `annotations`. Billed are Cohere's `billed_units`, not the `tokens` that it counts with
its own preamble.
"""

from __future__ import annotations

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
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls", "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
}  # fmt: skip
FAILED = frozenset({"ERROR", "TIMEOUT", "USER_CANCEL"})
_dumps = msgspec.json.encode


class _Units(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Usage(msgspec.Struct):
    billed_units: _Units | None = None
    tokens: _Units | None = None
    cached_tokens: float | None = None


class _Block(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Logprob(msgspec.Struct):
    text: str | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None


class _Message(msgspec.Struct):
    content: list[_Block] | None = None
    tool_plan: str | None = None
    tool_calls: list[_ToolCall] | None = None
    citations: list[dict[str, Any]] | None = None


class _Answer(msgspec.Struct):
    id: str
    finish_reason: str
    message: _Message
    usage: msgspec.Raw = msgspec.Raw(b"null")
    logprobs: list[_Logprob] | None = None


class _MessageDelta(msgspec.Struct):
    """Of a streamed message: one block, one tool call, one citation. Only the first event has them as (empty) lists."""

    content: _Block | list[msgspec.Raw] | None = None
    tool_plan: str | None = None
    tool_calls: _ToolCall | list[msgspec.Raw] | None = None
    citations: dict[str, Any] | list[msgspec.Raw] | None = None


class _Delta(msgspec.Struct):
    message: _MessageDelta | None = None
    finish_reason: str | None = None
    error: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct):
    type: str
    id: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    logprobs: _Logprob | None = None


class _EventKind(msgspec.Struct):
    """Of an event whose inside is not read."""

    type: str


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_kind = msgspec.json.Decoder(_EventKind).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode
ReadFailure = Callable[[str, str], UpstreamError]  # (finish reason, what Cohere says of it)


def read_usage(raw: msgspec.Raw, tally: Tally) -> None:
    """`cached_tokens` counts within all tokens, of which only a part is billed: more than what is billed can't be cheaper."""
    if bytes(raw) == b"null":
        return
    try:
        said = _decode_usage(raw)
    except msgspec.DecodeError:
        tally.is_suspect = True
        return
    units = said.billed_units or said.tokens
    if units is None or units.input_tokens is None or units.output_tokens is None:
        return
    prompt = int(units.input_tokens)
    tally.usage, is_suspect = bucket_usage(
        prompt=prompt,
        cached=min(int(said.cached_tokens or 0), max(prompt, 0)),
        cache_write=0,
        completion=int(units.output_tokens),
        reasoning=0,  # Cohere counts it in the output and does not tell how much it is
    )
    tally.is_suspect = tally.is_suspect or is_suspect
    tally.usage_raw = openai_usage(tally.usage or Usage())


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


def read_chat(body: bytes, *, read_failure: ReadFailure) -> ChatAnswer:
    """Raises UpstreamError, also for an answer that says that it failed."""
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise malformed() from None
    if answer.finish_reason in FAILED:
        raise read_failure(answer.finish_reason, "")
    tally = Tally(upstream_id=answer.id, is_complete=True, finish_reason=FINISH.get(answer.finish_reason, "stop"))
    read_usage(answer.usage, tally)
    choice = {
        "index": 0,
        "message": _read_message(answer.message, tally),
        "logprobs": _read_logprobs(answer.logprobs) if answer.logprobs else None,
        "finish_reason": tally.finish_reason,
        "native_finish_reason": answer.finish_reason,
    }
    completion = {
        "id": answer.id, "object": "chat.completion", "created": int(time.time()), "model": "", "choices": [choice],
    }  # fmt: skip
    return ChatAnswer(completion, tally)


def _read_message(said: _Message, tally: Tally) -> dict[str, Any]:
    blocks = said.content or []
    texts = [block.text for block in blocks if block.text]
    thoughts = [block.thinking for block in blocks if block.thinking]
    if said.tool_plan:
        thoughts.append(said.tool_plan)
    tool_calls = []
    for tool_call in said.tool_calls or []:
        function = tool_call.function or _Function()
        named = {"name": function.name or "", "arguments": function.arguments or "{}"}
        tool_calls.append({"id": tool_call.id or "", "type": "function", "function": named})
        tally.add_text(named["name"] + named["arguments"])
    for text in (*texts, *thoughts):
        tally.add_text(text)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if tool_calls:
        message["tool_calls"] = tool_calls
    if said.citations:
        message["citations"] = said.citations
        message["annotations"] = [note for citation in said.citations if (note := annotation_of(citation))]
    return message


def annotation_of(citation: dict[str, Any]) -> dict[str, Any] | None:
    """OpenAI's only kind of annotation is of an address; None where no source has one, or the text is not the answer's."""
    if citation.get("type") not in (None, "TEXT_CONTENT"):
        return None
    sources = citation.get("sources")
    for source in sources if isinstance(sources, list) else []:
        data = (source.get("document") or source.get("tool_output")) if isinstance(source, dict) else None
        url = data.get("url") if isinstance(data, dict) else None
        if isinstance(data, dict) and isinstance(url, str) and url:
            cited = {"start_index": citation.get("start") or 0, "end_index": citation.get("end") or 0, "url": url}
            return {"type": "url_citation", "url_citation": {**cited, "title": str(data.get("title") or source.get("id") or url)}}
    return None


def _read_logprobs(items: list[_Logprob]) -> dict[str, Any]:
    """A piece of several tokens is as likely as all of them together."""
    content = []
    for item in items:
        text = item.text or ""
        content.append({"token": text, "logprob": sum(item.logprobs or []), "bytes": list(text.encode()), "top_logprobs": []})
    return {"content": content, "refusal": None}


# ── Streamed ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class ChatReader:
    """Events in, chunks out: the role, text, reasoning, tool calls and citations by index, one finish reason."""

    said = ""
    may_end_by_eof = False

    def __init__(
        self, call: ChatCall, tally: Tally, *, read_failure: ReadFailure, read_stream_error: Callable[[bytes], UpstreamError]
    ) -> None:
        self._tally = tally
        self._read_failure = read_failure
        self._read_stream_error = read_stream_error
        self._usage_null = b',"usage":null' if call.wants_usage else b""
        self._model = _dumps(call.model)
        self._head = b""
        self._tool_index = -1
        self._tool_has_arguments = True
        self._citations = 0
        self._annotations = 0
        self._thought_kind = ""

    def read(self, events: list[sse.Event]) -> bytes:
        out: list[bytes] = []
        for name, data in events:
            if not data or data == b"[DONE]" or self._tally.is_complete:
                continue
            try:
                event = _decode_event(data)
            except (msgspec.DecodeError, RecursionError):
                event = self._read_unknown(name, data)
            out.append(self._read_event(event))
        return b"".join(out)

    def _read_unknown(self, name: bytes, data: bytes) -> _Event:
        """An event of the future may have another inside. Raises UpstreamError for an error, and for an event that we know."""
        try:
            kind = _decode_kind(data).type
        except (msgspec.DecodeError, RecursionError):
            kind = ""
        if kind and kind not in _KNOWN:
            return _Event(type=kind)
        if not kind and (name == b"error" or b'"message"' in data[:400] or b'"error"' in data[:400]):
            raise self._read_stream_error(data)
        raise malformed("An event of the provider's stream could not be read.")

    def _read_event(self, event: _Event) -> bytes:
        delta = event.delta or _Delta()
        message = delta.message or _MessageDelta()
        match event.type:
            case "content-delta" | "content-start":
                return self._read_content(message.content, event.logprobs)
            case "tool-call-delta":
                return self._arguments(_arguments_of(message.tool_calls))
            case "tool-call-start":
                return self._start_call(message.tool_calls)
            case "tool-call-end" if not self._tool_has_arguments:
                return self._arguments("{}")  # a call without arguments streams none, but they must be JSON
            case "tool-plan-delta":
                return self._thought(message.tool_plan or "", "plan")
            case "citation-start" if isinstance(message.citations, dict):
                return self._cite(message.citations)
            case "message-start":
                return self._start(event)
            case "message-end":
                return self._end(delta)
            case "error":
                raise self._read_stream_error(_dumps({"message": delta.error or ""}))
        return b""  # the other ends, debug, and events of the future

    def _start(self, event: _Event) -> bytes:
        self._tally.upstream_id = event.id or ""
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":' % (
            _dumps(event.id or ""), int(time.time()), self._model,
        )  # fmt: skip
        return self._chunk(b'{"role":"assistant","content":""}')

    def _chunk(self, delta: bytes, *, logprobs: bytes = b"null", finish: bytes = b"null") -> bytes:
        if not self._head:  # it began without its first event
            raise malformed("The provider's stream has no beginning.")
        return b'%b[{"index":0,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b}\n\n' % (
            self._head, delta, logprobs, finish, self._usage_null,
        )  # fmt: skip

    def _read_content(self, block: Any, logprob: _Logprob | None) -> bytes:
        if not isinstance(block, _Block):
            return b""
        out = self._thought(block.thinking, "thinking") if block.thinking else b""
        if block.text:
            self._tally.add_text(block.text)
            logprobs = _dumps(_read_logprobs([logprob])) if logprob is not None else b"null"
            out += self._chunk(b'{"content":%b}' % _dumps(block.text), logprobs=logprobs)
        return out

    def _thought(self, text: str, kind: str) -> bytes:
        if not text:
            return b""
        if self._thought_kind not in ("", kind):  # a plan after thinking is a thought of its own
            text = "\n" + text
        self._thought_kind = kind
        self._tally.add_text(text)
        return self._chunk(b'{"reasoning_content":%b}' % _dumps(text))

    def _start_call(self, said: Any) -> bytes:
        tool_call = said if isinstance(said, _ToolCall) else _ToolCall()
        self._tool_index += 1
        self._tool_has_arguments = False
        name = (tool_call.function.name if tool_call.function else None) or ""
        self._tally.add_text(name)
        head = b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":""}}]}'
        started = self._chunk(head % (self._tool_index, _dumps(tool_call.id or ""), _dumps(name)))
        return started + self._arguments(_arguments_of(tool_call))

    def _arguments(self, text: str) -> bytes:
        if not text:
            return b""
        if self._tool_index < 0:
            raise malformed("The provider's stream has arguments of no tool call.")
        self._tool_has_arguments = True
        self._tally.add_text(text)
        return self._chunk(b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (self._tool_index, _dumps(text)))

    def _cite(self, citation: dict[str, Any]) -> bytes:
        """Every member of a list in a delta has an index: SDKs gather them by it."""
        delta: dict[str, Any] = {"citations": [{"index": self._citations, **citation}]}
        self._citations += 1
        if note := annotation_of(citation):
            delta["annotations"] = [{"index": self._annotations, **note}]
            self._annotations += 1
        return self._chunk(_dumps(delta))

    def _end(self, delta: _Delta) -> bytes:
        read_usage(delta.usage, self._tally)
        reason = delta.finish_reason or ""
        if reason in FAILED or delta.error:
            raise self._read_failure(reason, delta.error or "")
        self._tally.finish_reason = FINISH.get(reason, "stop")
        self._tally.is_complete = True
        finish = b'%b,"native_finish_reason":%b' % (_dumps(self._tally.finish_reason), _dumps(reason))
        return self._chunk(b"{}", finish=finish)

    def usage_frame(self, usage_raw: bytes) -> bytes:
        return self._head + b'[],"usage":' + usage_raw + b"}\n\n"


def _arguments_of(tool_call: Any) -> str:
    return (tool_call.function.arguments if isinstance(tool_call, _ToolCall) and tool_call.function else None) or ""


_KNOWN = frozenset(
    {
        "message-start", "content-start", "content-delta", "content-end", "tool-plan-delta", "tool-call-start", "tool-call-delta",
        "tool-call-end", "citation-start", "citation-end", "message-end",
    }
)  # fmt: skip
