"""A chat completion's body as a compatible host takes it: what need not change goes up byte for byte."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from gateway.calls import ChatCall, ServedRoute
from gateway.dialects.base import refuse
from gateway.dialects.gemini_signatures import MARK, plain_id
from gateway.dialects.openai_hosts import FIXED_WHILE_THINKING, LACKED_WHILE_THINKING, NEUTRAL, OPENAI_FIELDS, HostHabits
from gateway.errors import BadRequest

Fields = dict[str, msgspec.Raw]

# Members of answers that clients echo in their history, and that strict hosts refuse in a request.
ANSWER_ONLY = ("reasoning_content", "reasoning", "thinking_blocks", "annotations", "extra_content", "images")
CACHE_MARKS = ("cache_control", "prompt_cache_breakpoint")  # Anthropic's, and OpenAI's own
NULL_MEMBERS = ("refusal", "audio", "function_call", "tool_calls", "name", "annotations")  # that SDKs write although there is none
_NO_RAW: Final = msgspec.Raw(b"null")
_INCLUDE_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')
_SYSTEM: Final = msgspec.Raw(b'"system"')
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def fit_fields(
    call: ChatCall, route: ServedRoute, habits: HostHabits, *, is_strict: bool, output_tokens: int
) -> tuple[Fields, tuple[str, ...]]:
    """The body's members but for the model, and the names of what was left out. Raises BadRequest for what the host lacks."""
    fields = dict(call.fields)
    dropped: list[str] = []
    if habits.lacks or habits.refuses_hints:
        _fit_parameters(call, fields, habits, dropped)
    if route.is_reasoning and not habits.samples_while_thinking and call.decoded.get("reasoning_effort") != "none":
        _fit_sampling(call, fields, dropped)
    if call.drops_unsupported and habits.knows:
        unknown = [name for name in fields if name not in habits.knows and name != "top_k"]
        dropped += unknown
        for name in unknown:
            del fields[name]
    if habits.stops_max and isinstance(stops := call.decoded.get("stop"), list) and len(stops) > habits.stops_max:
        refuse(call, "stop", dropped)  # all of them: which ones matter is not ours to guess
        fields.pop("stop", None)
    _set_output_tokens(fields, route, habits, output_tokens)
    if call.is_stream and habits.takes_stream_options:
        fields["stream_options"] = _stream_options(fields.get("stream_options"))
    else:
        fields.pop("stream_options", None)
    if habits.seed_name != "seed" and "seed" in fields:
        fields[habits.seed_name] = fields.pop("seed")
    dropped += _fit_messages(call, fields, habits, is_strict=is_strict)
    if is_strict:
        dropped += _drop_cache_marks(fields, CACHE_MARKS if habits.knows is not OPENAI_FIELDS else CACHE_MARKS[:1])
        if "top_k" in fields:  # sampling that the host has no word for: a hint
            del fields["top_k"]
            dropped.append("top_k")
    return fields, tuple(dropped)


def _fit_parameters(call: ChatCall, fields: Fields, habits: HostHabits, dropped: list[str]) -> None:
    for name in call.fields:
        if name in habits.lacks:
            value = call.decoded[name]
            del fields[name]
            if value is not None and not any(value == neutral for neutral in NEUTRAL.get(name, ())):
                refuse(call, name, dropped)
        elif name in habits.refuses_hints:
            if call.decoded[name] is not None:
                dropped.append(name)
            del fields[name]


def _fit_sampling(call: ChatCall, fields: Fields, dropped: list[str]) -> None:
    """Models that reason draw their answers as they will: what asks for something else is a hint, or refused by them."""
    for name in [name for name in fields if name in FIXED_WHILE_THINKING or name in LACKED_WHILE_THINKING]:
        value = call.decoded[name]
        del fields[name]
        if value is None or any(value == neutral for neutral in NEUTRAL.get(name, ())):
            continue
        if name in FIXED_WHILE_THINKING:
            dropped.append(name)
        else:
            refuse(call, name, dropped)


def _set_output_tokens(fields: Fields, route: ServedRoute, habits: HostHabits, output_tokens: int) -> None:
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


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _fit_messages(call: ChatCall, fields: Fields, habits: HostHabits, *, is_strict: bool) -> list[str]:
    """What other providers wrote: reasoning that a strict host refuses, ids that a host can't read, roles it does not know.

    Gives the names of what was left out."""
    text = bytes(fields["messages"]) if len(call.messages) > 1 and (is_strict or habits.tool_id_length) else b""
    has_reasoning = is_strict and any(b'"%b"' % name.encode() in text for name in ANSWER_ONLY)
    has_signatures = is_strict and b'"tool_call' in text and (b'"extra_content"' in text or MARK.encode() in text)
    has_foreign_ids = habits.tool_id_length > 0 and b'"tool_call' in text
    has_developer = not habits.takes_developer and any(message.role == "developer" for message in call.messages)
    has_names = not habits.takes_names and any(message.name is not None for message in call.messages)
    has_nulls = is_strict and b"null" in text
    has_refusals = not habits.takes_refusals and any(word in text for word in (b'"refusal"', b'"audio"', b'"function'))
    is_prefill = call.messages[-1].role == "assistant" and bool(habits.prefill_message or habits.prefill_body)
    is_odd = has_reasoning or has_signatures or has_foreign_ids or has_developer or has_names or has_nulls or has_refusals
    if not (is_odd or is_prefill):
        return []
    messages = _decode_objects(fields["messages"])
    for index, message in enumerate(messages):
        if has_nulls:
            for name in [name for name in NULL_MEMBERS if name in message and bytes(message[name]) == b"null"]:
                del message[name]
        if has_refusals:
            _tell_refusals(message, f"messages[{index}]")
        if has_reasoning:
            for name in ANSWER_ONLY:
                message.pop(name, None)
        if has_signatures:
            _drop_signatures(message)
        if has_foreign_ids:
            _fit_tool_ids(message, habits.tool_id_length)
        if has_developer and bytes(message["role"]) == b'"developer"':
            message["role"] = _SYSTEM
        if has_names and bytes(message["role"]) != b'"tool"':
            message.pop("name", None)
    if is_prefill:
        messages[-1] |= {name: _raw(value) for name, value in habits.prefill_message.items()}
        fields |= {name: _raw(value) for name, value in habits.prefill_body.items() if name not in fields}
    fields["messages"] = _raw(messages)
    return ["messages[].name"] if has_names else []


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _tell_refusals(message: Fields, path: str) -> None:
    """For a host without OpenAI's words for them: a refusal becomes text. Raises BadRequest for what is no text."""
    for name in ("audio", "function_call"):
        if name in message and bytes(message[name]) != b"null":
            raise invalid_for_host(f"{path}.{name}")
    if bytes(message["role"]) == b'"function"':
        raise invalid_for_host(f"{path}.role")
    refusal = message.pop("refusal", _NO_RAW)
    if bytes(refusal) != b"null" and bytes(message.get("content", _NO_RAW)) in (b"null", b'""'):
        message["content"] = refusal
    content = bytes(message.get("content", _NO_RAW))
    if content.startswith(b"[") and b'"refusal"' in content:
        parts = msgspec.json.decode(content)
        message["content"] = _raw(
            [{"type": "text", "text": part.get("refusal") or ""} if part.get("type") == "refusal" else part for part in parts]
        )


def invalid_for_host(path: str) -> BadRequest:
    return BadRequest(
        f"Este modelo não aceita '{path}'.", f"This model does not support '{path}'.", param=path, code="unsupported_value"
    )


def _drop_cache_marks(fields: Fields, marks: tuple[str, ...]) -> list[str]:
    """Marks for a prompt cache, which strict hosts refuse by name and make for themselves: off messages, parts, tools. Gives the
    names of those that there were."""
    found: dict[str, None] = {}
    for name in ("messages", "tools"):
        raw = fields.get(name, _NO_RAW)
        if not any(b'"%b"' % mark.encode() in bytes(raw) for mark in marks):
            continue
        items = msgspec.json.decode(raw)
        for item in items if isinstance(items, list) else ():
            inner = [item.get("content"), item.get("tool_calls"), [item.get("function")]] if isinstance(item, dict) else []
            for marked in [item, *(part for parts in inner if isinstance(parts, list) for part in parts)]:
                if isinstance(marked, dict):
                    found |= {mark: None for mark in marks if marked.pop(mark, None) is not None}
        fields[name] = _raw(items)
    return list(found)


def _fit_tool_ids(message: dict[str, msgspec.Raw], length: int) -> None:
    if "tool_call_id" in message:
        id_ = msgspec.json.decode(message["tool_call_id"])
        message["tool_call_id"] = _raw(_short_id(str(id_), length))
    if "tool_calls" in message and bytes(message["tool_calls"]) != b"null":
        calls = _decode_objects(message["tool_calls"])
        for tool_call in calls:
            if "id" in tool_call:
                id_ = msgspec.json.decode(tool_call["id"])
                tool_call["id"] = _raw(_short_id(str(id_), length))
        message["tool_calls"] = _raw(calls)


def _drop_signatures(message: Fields) -> None:
    """Gemini's, which ride on tool calls and in their ids: OpenAI takes no such member, and no id of that length."""
    if "tool_call_id" in message:
        message["tool_call_id"] = _raw(plain_id(str(msgspec.json.decode(message["tool_call_id"]))))
    if "tool_calls" in message and bytes(message["tool_calls"]) != b"null":
        calls = _decode_objects(message["tool_calls"])
        for tool_call in calls:
            tool_call.pop("extra_content", None)
            if "id" in tool_call:
                tool_call["id"] = _raw(plain_id(str(msgspec.json.decode(tool_call["id"]))))
        message["tool_calls"] = _raw(calls)


def _short_id(id_: str, length: int) -> str:
    """The id itself where it fits, else one derived from it: a call and its answer stay a pair."""
    if len(id_) == length and id_.isascii() and id_.isalnum():
        return id_
    number = int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big")
    return "".join(_BASE62[number // 62**place % 62] for place in range(length))
