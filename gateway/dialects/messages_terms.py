"""What of a caller's Messages may reach Anthropic as it came: versions, betas, fields, tools. Pure.

What would be billed apart from tokens, or reach into the provider's account, which all customers share, is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.calls import ServedRoute
from gateway.errors import BadRequest

VERSIONS = frozenset({"2023-06-01", "2026-10-21"})
VERSION_DEFAULT = "2023-06-01"
BETAS_CHARS_MAX = 4_000
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
    asked = [name for part in betas[:BETAS_CHARS_MAX].split(",") if (name := part.strip())]
    kept = tuple(name for name in asked if _is_open_beta(name))
    dropped = tuple(f"anthropic-beta:{name}" for name in asked if not _is_open_beta(name) and _is_plain(name))
    return Terms(version or VERSION_DEFAULT, kept, dropped)


def _is_open_beta(name: str) -> bool:
    """`interleaved-thinking-2025-05-14` and `claude-code-20250219` by what stands before the date."""
    return _is_plain(name) and name.rstrip("0123456789-") in BETAS


def _is_plain(name: str) -> bool:
    return len(name) <= 80 and name.isascii() and name.replace("-", "").isalnum()


class _Tool(msgspec.Struct):
    type: str | None = None


_decode_tools = msgspec.json.Decoder(list[_Tool] | None).decode


def refuse_closed(native: Mapping[str, msgspec.Raw], route: ServedRoute) -> None:
    """Raises BadRequest for what we do not sell, naming it."""
    for name, raw in native.items():
        if name in CLOSED_FIELDS and bytes(raw) != b"null":
            raise _closed(name)
    if bytes(native.get("speed", b"null")) not in (b"null", b'"standard"'):
        raise _closed("speed")
    if "tools" in native:
        sells_search = route.prices is not None and "search" in route.prices.units
        for index, tool in enumerate(_read_tools(native["tools"])):
            kind = tool.type or "custom"
            if not kind.startswith(OPEN_TOOLS) and not (sells_search and kind.startswith(SEARCH_TOOL)):
                raise _closed(f"tools[{index}].type")
    if b"compact" in bytes(native.get("context_management", b"")):  # its tokens are counted apart from the message's
        raise _closed("context_management")
    if b'"file"' in bytes(native["messages"]):
        _refuse_files(msgspec.json.decode(native["messages"]), "messages")


def _read_tools(raw: msgspec.Raw) -> list[_Tool]:
    try:
        return _decode_tools(raw) or []
    except msgspec.ValidationError:
        raise _closed("tools") from None


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


def _closed(path: str) -> BadRequest:
    return BadRequest(
        f"'{path}' não é oferecido aqui: depende da conta do provedor, ou é cobrado por ele fora dos tokens.",
        f"'{path}' is not offered here: it belongs to the provider's account, or is billed apart from tokens.",
        param=path,
        code="unsupported_parameter",
    )
