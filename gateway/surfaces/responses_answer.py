"""A chat completion, whole or in deltas → a response's output items, and the events that tell of them as they grow. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.surfaces.responses_input import Thoughts

Item = dict[str, Any]

OBFUSCATION_STEP = 32  # a delta and its padding are a multiple of it long


class _Named(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class ToolDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Named | None = None
    custom: _Named | None = None
    extra_content: dict[str, Any] | None = None


class Delta(msgspec.Struct):
    """A chunk's delta, or a whole message: both have the same members."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking_blocks: list[dict[str, Any]] | None = None
    tool_calls: list[ToolDelta] | None = None
    annotations: list[dict[str, Any]] | None = None
    extra_content: dict[str, Any] | None = None


class Told(msgspec.Struct):
    """What the surface remembers of a request until its answer."""

    id: str  # 32 hex digits
    created_at: int  # Unix seconds
    organization_id: int
    shown: dict[str, Any]  # the answer's members that repeat the request
    items: list[Item]  # the request's own input, with ids
    previous_id: str | None = None
    is_stored: bool = False
    wants_sealed: bool = False  # include: reasoning.encrypted_content
    has_obfuscation: bool = False
    kept: bytes = b""  # the whole answer, as it is stored


def item_id(prefix: str, response_id: str, index: int) -> str:
    """An item's id tells its response, so that a reference to it needs no index."""
    return f"{prefix}_{response_id}{index:04x}"


class _Message:
    """A message item that grows: one part of text, maybe one of refusal."""

    def __init__(self, item: Item, index: int) -> None:
        self.item = item
        self.index = index
        self.part: Item | None = None  # the one that grows
        self.pieces: list[str] = []


class _Thinking:
    def __init__(self, item: Item, index: int) -> None:
        self.item = item
        self.index = index
        self.pieces: list[str] = []
        self.blocks: list[Item] = []
        self.is_told = False  # its summary is closed


class _Tool:
    def __init__(self, item: Item, index: int, is_custom: bool) -> None:
        self.item = item
        self.index = index
        self.is_custom = is_custom
        self.pieces: list[str] = []
        self.extra: dict[str, Any] | None = None


class Draft:
    """An answer as it grows. `take` its deltas, `close` it, `respond`; `drain` what there is to tell."""

    def __init__(self, told: Told, model: str, *, is_stream: bool, seal: Callable[[Thoughts], str]) -> None:
        self._told = told
        self._model = model
        self._seal = seal
        self._events: list[bytes] | None = [] if is_stream else None
        self._sequence = 0
        self._items: list[Item] = []
        self._message: _Message | None = None
        self._thinking: _Thinking | None = None
        self._tools: dict[int, _Tool] = {}
        self._extra: dict[str, Any] = {}
        self._has_sealed = told.wants_sealed or told.is_stored

    # ── Events ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def tell(self, kind: str, **fields: Any) -> None:
        if self._events is None:
            return
        event = {"type": kind, **fields, "sequence_number": self._sequence}
        self._sequence += 1
        self._events.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(event)))

    def drain(self) -> bytes:
        if not self._events:
            return b""
        events = b"".join(self._events)
        self._events.clear()
        return events

    def _tell_delta(self, kind: str, delta: str, **fields: Any) -> None:
        if self._told.has_obfuscation:
            fields["obfuscation"] = secrets.token_urlsafe(OBFUSCATION_STEP)[: OBFUSCATION_STEP - len(delta) % OBFUSCATION_STEP]
        self.tell(kind, delta=delta, **fields)

    def _add_item(self, prefix: str, **fields: Any) -> tuple[Item, int]:
        index = len(self._items)
        item = {"id": item_id(prefix, self._told.id, index), **fields}
        self._items.append(item)
        self.tell("response.output_item.added", output_index=index, item=item)
        return item, index

    # ── Deltas ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def take(self, delta: Delta, logprobs: list[Any] | None = None) -> None:
        if thought := delta.reasoning_content or delta.reasoning:
            self._think(thought)
        if delta.thinking_blocks and self._has_sealed:
            self._open_thinking().blocks += [_without_index(block) for block in delta.thinking_blocks]
        if delta.content:
            self._say(delta.content, logprobs or [])
        if delta.annotations:
            for annotation in delta.annotations:
                self._annotate(annotation)
        if delta.refusal:
            self._refuse(delta.refusal)
        for tool in delta.tool_calls or ():
            self._call(tool)
        if delta.extra_content:
            self._extra.update(delta.extra_content)

    def _open_thinking(self) -> _Thinking:
        if self._thinking is None:
            self._close_message("completed")
            self._thinking = _Thinking(*self._add_item("rs", type="reasoning", summary=[]))
        return self._thinking

    def _think(self, text: str) -> None:
        if self._thinking is not None and self._thinking.is_told:  # thoughts after an answer's text are others
            self._close_thinking()
        thinking = self._open_thinking()
        where = {"item_id": thinking.item["id"], "output_index": thinking.index, "summary_index": 0}
        if not thinking.pieces:
            self.tell("response.reasoning_summary_part.added", **where, part={"type": "summary_text", "text": ""})
        thinking.pieces.append(text)
        self._tell_delta("response.reasoning_summary_text.delta", text, **where)

    def _say(self, text: str, logprobs: list[Any]) -> None:
        message = self._open_part("output_text")
        assert message.part is not None
        message.pieces.append(text)
        message.part["logprobs"] += logprobs
        self._tell_delta(
            "response.output_text.delta", text, item_id=message.item["id"], output_index=message.index,
            content_index=len(message.item["content"]), logprobs=logprobs,
        )  # fmt: skip

    def _refuse(self, text: str) -> None:
        message = self._open_part("refusal")
        message.pieces.append(text)
        self._tell_delta(
            "response.refusal.delta", text, item_id=message.item["id"], output_index=message.index,
            content_index=len(message.item["content"]),
        )  # fmt: skip

    def _annotate(self, annotation: Item) -> None:
        cited = annotation.get("url_citation")
        if annotation.get("type") != "url_citation" or not isinstance(cited, dict):
            return
        flat = {"type": "url_citation", "start_index": 0, "end_index": 0, "title": "", "url": "", **cited}
        message = self._open_part("output_text")
        assert message.part is not None
        message.part["annotations"].append(flat)
        self.tell(
            "response.output_text.annotation.added", item_id=message.item["id"], output_index=message.index,
            content_index=len(message.item["content"]), annotation_index=len(message.part["annotations"]) - 1, annotation=flat,
        )  # fmt: skip

    def _open_part(self, kind: str) -> _Message:
        """The part being written is told of, and joins its message's content when it is closed."""
        self._end_summary()
        if self._message is None:
            item, index = self._add_item("msg", type="message", status="in_progress", role="assistant", content=[])
            self._message = _Message(item, index)
        message = self._message
        if message.part is not None and message.part["type"] != kind:
            self._close_part(message)
        if message.part is None:
            message.part = new_part(kind)
            self.tell(
                "response.content_part.added", item_id=message.item["id"], output_index=message.index,
                content_index=len(message.item["content"]), part=message.part,
            )  # fmt: skip
        return message

    def _call(self, delta: ToolDelta) -> None:
        self._end_summary()
        self._close_message("completed")
        number = len(self._tools) if delta.index is None else delta.index
        said = delta.custom or delta.function or _Named()
        tool = self._tools.get(number)
        if tool is None:
            is_custom = delta.type == "custom" or delta.custom is not None
            call_id = delta.id or f"call_{secrets.token_hex(12)}"
            if is_custom:
                item, index = self._add_item("ctc", type="custom_tool_call", call_id=call_id, name=said.name or "", input="")
            else:
                item, index = self._add_item(
                    "fc", type="function_call", status="in_progress", call_id=call_id, name=said.name or "", arguments=""
                )
            tool = self._tools[number] = _Tool(item, index, is_custom)
        if delta.extra_content:
            tool.extra = {**(tool.extra or {}), **delta.extra_content}
        piece = said.input if tool.is_custom else said.arguments
        if piece:
            self._write_call(tool, piece)

    def _write_call(self, tool: _Tool, piece: str) -> None:
        tool.pieces.append(piece)
        kind = "response.custom_tool_call_input.delta" if tool.is_custom else "response.function_call_arguments.delta"
        self._tell_delta(kind, piece, item_id=tool.item["id"], output_index=tool.index)

    # ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    def close(self, *, is_whole: bool) -> None:
        """Nothing more comes: every item that is open is told to be done. Thoughts close late, for what they seal comes late."""
        if is_whole and not self._items:
            self._open_part("output_text")
        status = "completed" if is_whole else "incomplete"
        self._close_thinking()
        self._close_message(status)
        for tool in self._tools.values():
            self._close_tool(tool, status)
        extras = {tool.item["call_id"]: tool.extra for tool in self._tools.values() if tool.extra}
        if (extras or self._extra) and self._has_sealed:
            item, index = self._add_item("rs", type="reasoning", summary=[])
            self._end_item(item, index, Thoughts(extra=self._extra, extras=extras))
        self._tools.clear()

    def _end_summary(self) -> None:
        """The thoughts have led to something. The item stays open while its signature may still come."""
        thinking = self._thinking
        if thinking is None or thinking.is_told:
            return
        thinking.is_told = True
        if thinking.pieces:
            where = {"item_id": thinking.item["id"], "output_index": thinking.index, "summary_index": 0}
            text = "".join(thinking.pieces)
            self.tell("response.reasoning_summary_text.done", **where, text=text)
            self.tell("response.reasoning_summary_part.done", **where, part={"type": "summary_text", "text": text})
            thinking.item["summary"] = [{"type": "summary_text", "text": text}]
        if not self._has_sealed or thinking.blocks:
            self._close_thinking()

    def _close_thinking(self) -> None:
        thinking = self._thinking
        if thinking is None:
            return
        if not thinking.is_told:
            self._end_summary()
        if self._thinking is not None:
            self._thinking = None
            self._end_item(thinking.item, thinking.index, Thoughts("".join(thinking.pieces), thinking.blocks))

    def _close_message(self, status: str) -> None:
        message, self._message = self._message, None
        if message is not None:
            self._close_part(message)
            message.item["status"] = status
            self._end_item(message.item, message.index)

    def _close_part(self, message: _Message) -> None:
        part, text = message.part, "".join(message.pieces)
        if part is None:
            return
        place = len(message.item["content"])
        where = {"item_id": message.item["id"], "output_index": message.index, "content_index": place}
        if part["type"] == "refusal":
            part["refusal"] = text
            self.tell("response.refusal.done", **where, refusal=text)
        else:
            part["text"] = text
            self.tell("response.output_text.done", **where, text=text, logprobs=part["logprobs"])
        self.tell("response.content_part.done", **where, part=part)
        message.item["content"].append(part)
        message.part = None
        message.pieces = []

    def _close_tool(self, tool: _Tool, status: str) -> None:
        if not tool.pieces and not tool.is_custom and status == "completed":
            self._write_call(tool, "{}")  # a call without arguments: they must be JSON
        text, where = "".join(tool.pieces), {"item_id": tool.item["id"], "output_index": tool.index}
        if tool.is_custom:
            tool.item["input"] = text
            self.tell("response.custom_tool_call_input.done", **where, input=text)
        else:
            tool.item["arguments"] = text
            tool.item["status"] = status
            self.tell("response.function_call_arguments.done", **where, name=tool.item["name"], arguments=text)
        self._end_item(tool.item, tool.index)

    def _end_item(self, item: Item, index: int, thoughts: Thoughts | None = None) -> None:
        if thoughts is not None and self._has_sealed:
            item["encrypted_content"] = self._seal(thoughts)
        self.tell("response.output_item.done", output_index=index, item=self._shown(item))

    def _shown(self, item: Item) -> Item:
        """As the caller asked for it: what is sealed is stored in any case, and shown to who included it."""
        if "encrypted_content" in item and not self._told.wants_sealed:
            return {name: value for name, value in item.items() if name != "encrypted_content"}
        return item

    # ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────────
    def respond(
        self,
        status: str,
        *,
        reason: str = "",
        error: Item | None = None,
        usage: Item | None = None,
        completed_at: int | None = None,
    ) -> Item:
        """The response object as it stands."""
        told = self._told
        return {
            "id": f"resp_{told.id}",
            "object": "response",
            "store": told.is_stored,  # its place is known: `responses_store.NOT_STORED` rewrites it
            "created_at": told.created_at,
            "status": status,
            "completed_at": completed_at,
            "error": error,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": self._model,
            "output": [self._shown(item) for item in self._items] if status not in ("in_progress", "queued") else [],
            "usage": usage,
            **told.shown,
        }

    def stored(self, response: Item) -> Item:
        """The same with all that is sealed, as it is kept."""
        return {**response, "output": self._items}


def _without_index(block: Item) -> Item:
    """Streams number them, so that SDKs can gather them; their provider would refuse the number."""
    return {name: value for name, value in block.items() if name != "index"}


def new_part(kind: str) -> Item:
    if kind == "refusal":
        return {"type": "refusal", "refusal": ""}
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
