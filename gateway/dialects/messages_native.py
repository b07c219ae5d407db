"""Anthropic's Messages carried through to deployments that speak it: the caller's own bytes up, the provider's own events down.

Only what is ours is changed: `model` and `max_tokens` on the way up, `usage` (with the cost) on the way down. What would be billed
apart from tokens, or reach into the provider's account, which all customers share, is refused by name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.anthropic import read_error, read_stream_error, stream_type
from gateway.dialects.anthropic_answer import FINISH
from gateway.dialects.base import Tally, UpstreamRequest, bucket_usage, malformed
from gateway.dialects.openai import read_usage
from gateway.errors import BadRequest

__all__ = ["Terms", "chat_request", "open_parser", "open_stream", "read_chat", "read_error", "show_usage", "stream_type"]

open_parser = sse.SseParser

VERSIONS = frozenset({"2023-06-01", "2026-10-21"})
VERSION_DEFAULT = "2023-06-01"
# What a caller may switch on, by the name without its date. Anything else of the header stays here and is named in the answer's
# `x-tokia-dropped-params`: clients send new ones with every release, and most of them change nothing.
BETAS = frozenset(
    {
        "adaptive-thinking", "advanced-tool-use", "cache-diagnosis", "claude-code", "computer-use", "context-management",
        "dev-full-thinking", "effort", "extended-cache-ttl", "fine-grained-tool-streaming", "interleaved-thinking",
        "mid-conversation-output-config", "mid-conversation-system-clear-at", "model-context-window-exceeded", "output-128k",
        "output-300k", "pdfs", "prompt-caching", "prompt-caching-scope", "redact-thinking", "structured-outputs", "task-budgets",
        "thinking-binding-controls", "thinking-display-updates", "thinking-token-count", "token-counting", "token-efficient-tools",
        "tool-examples", "tool-search-tool", "web-fetch", "web-search",
    }
)  # fmt: skip
# Of the provider's account, or billed by what our prices do not say.
CLOSED_FIELDS = frozenset(
    {
        "billing_policy", "compaction", "container", "fallback_credit_token", "fallbacks", "inference_geo", "mcp_servers", "thread",
        "user_profile_id", "workspace_id",
    }
)  # fmt: skip
# Tools by the beginning of their type: run by the caller, or by the provider at no price but their tokens'.
OPEN_TOOLS = ("custom", "bash_", "browser_", "computer_", "memory_", "text_editor_", "tool_search_tool_", "web_fetch_")
SEARCH_TOOL = "web_search_"


class Terms(msgspec.Struct, frozen=True):
    """What the caller's headers ask of Anthropic."""

    version: str = VERSION_DEFAULT
    betas: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def read_terms(version: str, betas: str) -> Terms:
    """From the headers `anthropic-version` and `anthropic-beta`. Raises BadRequest."""
    if version and version not in VERSIONS:
        known = ", ".join(sorted(VERSIONS))
        raise BadRequest(
            f"Valor inválido em 'anthropic-version': esperado {known}.",
            f"Invalid value for 'anthropic-version': expected {known}.", param="anthropic-version",
        )  # fmt: skip
    asked = [name for part in betas[:4_000].split(",") if (name := part.strip())]
    kept = tuple(name for name in asked if _is_open_beta(name))
    dropped = tuple(f"anthropic-beta:{name}" for name in asked if not _is_open_beta(name) and _is_plain(name))
    return Terms(version or VERSION_DEFAULT, kept, dropped)


def _is_open_beta(name: str) -> bool:
    """`interleaved-thinking-2025-05-14` and `claude-code-20250219` by what stands before the date."""
    base = name.rstrip("0123456789-")
    return _is_plain(name) and base in BETAS


def _is_plain(name: str) -> bool:
    return len(name) <= 80 and name.isascii() and name.replace("-", "").isalnum()


# ── There ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def chat_request(call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
    assert call.native is not None  # only the Messages surface comes here
    terms: Terms = call.told if isinstance(call.told, Terms) else Terms()
    refuse_closed(call.native, route)
    fields = dict(call.native)
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


def refuse_closed(native: Any, route: ServedRoute) -> None:
    """Raises BadRequest for what we do not sell, naming it."""
    for name, raw in native.items():
        if name in CLOSED_FIELDS and bytes(raw) != b"null":
            raise _closed(name)
    if bytes(native.get("speed", b"null")) not in (b"null", b'"standard"'):
        raise _closed("speed")
    if "tools" in native:
        sells_search = route.prices is not None and "search" in route.prices.units
        for index, tool in enumerate(_decode_tools(native["tools"]) or ()):
            kind = tool.type or "custom"
            if not kind.startswith(OPEN_TOOLS) and not (sells_search and kind.startswith(SEARCH_TOOL)):
                raise _closed(f"tools[{index}].type")
    if b"compact" in bytes(native.get("context_management", b"")):
        raise _closed("context_management")
    if b'"file"' in bytes(native["messages"]):
        _refuse_files(msgspec.json.decode(native["messages"]), "messages")


def _refuse_files(value: Any, path: str) -> None:
    """Files at the provider belong to our account, whoever put them there."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _refuse_files(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        if value.get("type") == "file" and "file_id" in value:
            raise _closed(f"{path}.file_id")
        for name, inner in value.items():
            if name in ("content", "source") and isinstance(inner, dict | list):
                _refuse_files(inner, f"{path}.{name}")


class _Tool(msgspec.Struct):
    type: str | None = None


_decode_tools = msgspec.json.Decoder(list[_Tool] | None).decode


def _closed(path: str) -> BadRequest:
    return BadRequest(
        f"'{path}' não é oferecido aqui: depende da conta do provedor, ou é cobrado por ele fora dos tokens.",
        f"'{path}' is not offered here: it belongs to the provider's account, or is billed apart from tokens.",
        param=path,
        code="unsupported_parameter",
    )


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
