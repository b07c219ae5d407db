"""A chat completion, whole or in chunks → a message of Anthropic's, or its events."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.calls import ChatCall, ServedRoute
from gateway.dialects.base import ChatReader, malformed
from gateway.dialects.messages_native import frame_of, show_usage
from gateway.errors import GatewayError
from gateway.surfaces.messages_content import away_id
from gateway.tokens import estimate_chat_input

STOP_REASONS = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal",
}  # fmt: skip
# A provider's own reason, where a dialect keeps it and it says more than chat's.
NATIVE_REASONS = {
    "stop_sequence": "stop_sequence", "STOP_SEQUENCE": "stop_sequence", "pause_turn": "pause_turn",
    "model_context_window_exceeded": "model_context_window_exceeded",
}  # fmt: skip
_NOT_ID = re.compile(r"[^A-Za-z0-9_-]")
_dumps = msgspec.json.encode


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: Any = None
    id: Any = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    """A chunk's delta, or a whole message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    thinking_blocks: Any = None


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None
    native_finish_reason: Any = None
    stop_reason: Any = None  # of vLLM: the sequence that stopped it
    index: Any = 0


class _Completion(msgspec.Struct):
    id: Any = None
    model: Any = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_decode_completion = msgspec.json.Decoder(_Completion).decode


def _decode(completion: bytes) -> _Completion:
    """Raises UpstreamError."""
    try:
        return _decode_completion(completion)
    except (msgspec.DecodeError, RecursionError):
        raise malformed() from None


def message_id(id_: Any) -> str:
    """The provider's id as Anthropic's clients know ids."""
    if not isinstance(id_, str) or not id_:
        return f"msg_{secrets.token_hex(12)}"
    return id_ if id_.startswith("msg_") else "msg_" + _NOT_ID.sub("_", id_.removeprefix("chatcmpl-"))[:100]


def stop_reason_of(finish: str, native: str, *, has_tools: bool, is_refused: bool) -> str:
    """Hosts that call tools and say `stop` mean the tools."""
    if native in NATIVE_REASONS:
        return NATIVE_REASONS[native]
    reason = STOP_REASONS.get(finish, "end_turn")
    if reason in ("end_turn", "tool_use"):
        return "tool_use" if has_tools else "refusal" if is_refused else "end_turn"
    return reason


# ── Whole ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class _End(msgspec.Struct):
    """How an answer ended, as far as it was said."""

    finish: str = ""
    native: str = ""
    sequence: str = ""

    def take(self, choice: _Choice) -> None:
        self.finish = choice.finish_reason or self.finish
        self.native = _text(choice.native_finish_reason) or self.native
        self.sequence = _text(choice.stop_reason) or self.sequence

    def show(self, call: ChatCall, *, has_tools: bool, is_refused: bool) -> dict[str, str | None]:
        """Which sequence stopped it is known where the host says so, or where only one was asked for."""
        asked = call.decoded.get("stop") or []
        if self.sequence and self.sequence in asked:
            return {"stop_reason": "stop_sequence", "stop_sequence": self.sequence}
        reason = stop_reason_of(self.finish, self.native, has_tools=has_tools, is_refused=is_refused)
        return {"stop_reason": reason, "stop_sequence": asked[0] if reason == "stop_sequence" and len(asked) == 1 else None}


def shape_message(call: ChatCall, route: ServedRoute, completion: bytes) -> bytes:
    """Thinking first, then text, then tool calls: a chat completion keeps no other order."""
    answer = _decode(completion)
    choice = answer.choices[0] if answer.choices else _Choice()
    said = choice.message or _Said()
    content: list[dict[str, Any]] = _thinking_of(said)
    if text := (said.content or "") + (said.refusal or ""):
        content.append({"type": "text", "text": text})
    for made in said.tool_calls or ():
        function = made.function or _Function()
        content.append(
            {
                "type": "tool_use",
                "id": away_id(_text(made.id) or _new_id()),
                "name": function.name or "",
                "input": _input(function.arguments),
            }
        )
    end = _End()
    end.take(choice)
    message = {
        "id": message_id(answer.id), "type": "message", "role": "assistant", "model": _text(answer.model) or route.name,
        "content": content, **end.show(call, has_tools=bool(said.tool_calls), is_refused=bool(said.refusal)),
        "usage": msgspec.Raw(show_usage(bytes(answer.usage))),
    }  # fmt: skip
    return _dumps(message)


def _thinking_of(said: _Said) -> list[dict[str, Any]]:
    if blocks := _kept(said):
        return [{name: value for name, value in block.items() if name != "index"} for block in blocks]
    thought = said.reasoning_content or said.reasoning
    return [{"type": "thinking", "thinking": thought, "signature": ""}] if thought else []


def _kept(said: _Said) -> list[dict[str, Any]]:
    """Blocks of thinking with what they must be sent back with."""
    blocks = said.thinking_blocks if isinstance(said.thinking_blocks, list) else []
    return [block for block in blocks if isinstance(block, dict) and block.get("type") in ("thinking", "redacted_thinking")]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _input(arguments: str | None) -> Any:
    """A tool call's arguments as an object; text that is none (cut by the limit of tokens) gives an empty one, as at Anthropic."""
    try:
        decoded = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return msgspec.Raw((arguments or "{}").encode()) if isinstance(decoded, dict) else {}


def _new_id() -> str:
    return f"toolu_{secrets.token_hex(12)}"


# ── Streamed ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class _Tool(msgspec.Struct):
    """A tool call of the stream. Blocks follow one another, so pieces of a call that is not at its turn wait."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    sent: int = 0  # characters of `arguments`
    is_begun: bool = False
    is_ended: bool = False


class MessageShaper:
    """Chunks in, events out: one block open at a time, thinking before text as it comes, tool calls in their order."""

    passes = False

    def __init__(self, call: ChatCall, route: ServedRoute, *, write_error: Callable[[GatewayError, bool], bytes]) -> None:
        self._call = call
        self._route = route
        self._write_error = write_error
        self._first: _Completion | None = None
        self._is_begun = False
        self._index = -1  # of the block that is open, or was last
        self._open = ""  # its kind; empty: none is
        self._tools: dict[int, _Tool] = {}
        self._current: _Tool | None = None
        self._end = _End()
        self._is_refused = False

    def read(self, frames: bytes) -> bytes:
        out: list[bytes] = []
        for frame in frames.split(b"\n\n"):
            if frame[:6] == b"data: " and frame[6:] != b"[DONE]":
                self._read_chunk(_decode(frame[6:]), out)
        return b"".join(out)

    def _read_chunk(self, chunk: _Completion, out: list[bytes]) -> None:
        self._first = self._first or chunk
        for choice in chunk.choices or ():
            if choice.index in (0, None):
                if choice.delta is not None:
                    self._read_delta(choice.delta, out)
                self._end.take(choice)

    def _begin(self, out: list[bytes]) -> None:
        """With the first block, since until then another deployment may still be asked. Clients count with what stands here until
        the end corrects it, so the input is estimated, not left at 0."""
        if self._is_begun:
            return
        self._is_begun = True
        chunk = self._first or _Completion()
        usage = {
            "input_tokens": estimate_chat_input(self._call, factor_percent=self._route.token_factor_percent),
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1,
        }  # fmt: skip
        message: dict[str, Any] = {
            "id": message_id(chunk.id), "type": "message", "role": "assistant", "model": _text(chunk.model) or self._route.name,
            "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        out.append(frame_of("message_start", _dumps({"type": "message_start", "message": message})))
        out.append(frame_of("ping", b'{"type":"ping"}'))

    def _read_delta(self, delta: _Said, out: list[bytes]) -> None:
        if thought := delta.reasoning_content or delta.reasoning:
            if self._open != "thinking":
                self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
            self._send({"type": "thinking_delta", "thinking": thought}, out)
        for block in _kept(delta):
            self._read_kept(block, out)
        if text := delta.content or delta.refusal:
            self._is_refused = self._is_refused or bool(delta.refusal)
            if self._open != "text":
                self._start("text", {"type": "text", "text": ""}, out)
            self._send({"type": "text_delta", "text": text}, out)
        for place, call in enumerate(delta.tool_calls or ()):
            self._read_call(call, place, out)

    def _read_kept(self, block: dict[str, Any], out: list[bytes]) -> None:
        """What thinking must be sent back with: its signature closes the block; thinking that was redacted is one of its own."""
        if block.get("type") == "redacted_thinking":
            self._start("redacted_thinking", {"type": "redacted_thinking", "data": block.get("data") or ""}, out)
            self._stop(out)
        elif isinstance(signature := block.get("signature"), str) and signature:
            if self._open != "thinking":
                self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
                if thought := _text(block.get("thinking")):
                    self._send({"type": "thinking_delta", "thinking": thought}, out)
            self._send({"type": "signature_delta", "signature": signature}, out)
            self._stop(out)

    # ── Tool calls ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _read_call(self, call: _ToolCall, place: int, out: list[bytes]) -> None:
        index = call.index if isinstance(call.index, int) else len(self._tools) if call.id else place
        tool = self._tools.setdefault(index, _Tool())
        function = call.function or _Function()
        tool.id = tool.id or _text(call.id)
        tool.name = tool.name or function.name or ""
        tool.arguments += function.arguments or ""
        self._advance(out)

    def _advance(self, out: list[bytes], *, is_end: bool = False) -> None:
        """Send what can be sent: all of the tool whose turn it is, and the next ones where it is whole."""
        for tool in self._tools.values():
            if tool.is_ended:
                continue
            if not tool.is_begun:
                if not tool.name and not is_end:
                    return
                self._begin_tool(tool, out)
            if tool.sent < len(tool.arguments):
                self._send({"type": "input_json_delta", "partial_json": tool.arguments[tool.sent :]}, out)
                tool.sent = len(tool.arguments)
            is_last = tool is next(reversed(self._tools.values()))
            if not is_end and (is_last or not _is_whole(tool.arguments)):
                return
            self._end_tool(tool, out)

    def _begin_tool(self, tool: _Tool, out: list[bytes]) -> None:
        tool.is_begun = True
        self._start("tool_use", {"type": "tool_use", "id": away_id(tool.id or _new_id()), "name": tool.name, "input": {}}, out)
        self._current = tool

    def _end_tool(self, tool: _Tool, out: list[bytes]) -> None:
        tool.is_ended, self._current = True, None
        if not tool.arguments:  # a call without arguments may stream none, but they must be JSON
            self._send({"type": "input_json_delta", "partial_json": "{}"}, out)
        self._stop(out)

    # ── Blocks ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _start(self, kind: str, block: dict[str, Any], out: list[bytes]) -> None:
        if self._current is not None and not self._current.is_ended:  # text after a tool call: the call is over
            self._end_tool(self._current, out)
        self._stop(out)
        self._begin(out)
        self._index += 1
        self._open = kind
        out.append(
            frame_of("content_block_start", _dumps({"type": "content_block_start", "index": self._index, "content_block": block}))
        )

    def _send(self, delta: dict[str, str], out: list[bytes]) -> None:
        out.append(frame_of("content_block_delta", _dumps({"type": "content_block_delta", "index": self._index, "delta": delta})))

    def _stop(self, out: list[bytes]) -> None:
        if self._open:
            self._open = ""
            out.append(frame_of("content_block_stop", b'{"type":"content_block_stop","index":%d}' % self._index))

    # ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    def end(self, reader: ChatReader, usage_raw: bytes) -> bytes:
        out: list[bytes] = []
        self._begin(out)
        self._advance(out, is_end=True)
        self._stop(out)
        ending = {
            "type": "message_delta",
            "delta": self._end.show(self._call, has_tools=bool(self._tools), is_refused=self._is_refused),
            "usage": msgspec.Raw(show_usage(usage_raw)),
        }
        out.append(frame_of("message_delta", _dumps(ending)))
        out.append(frame_of("message_stop", b'{"type":"message_stop"}'))
        return b"".join(out)

    def fail(self, error: GatewayError, *, is_english: bool) -> bytes:
        return self._write_error(error, is_english)


def _is_whole(arguments: str) -> bool:
    """Whether a call's arguments are JSON already: then another call that begins does not interrupt it."""
    try:
        msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
