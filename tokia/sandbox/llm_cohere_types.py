"""The request types that Cohere's own package publishes, as a second opinion: a field that they do not have is refused.

The package's classes take any further field, as its API does not, so the types are walked here. It is a development dependency;
without it only `llm_cohere_rules` checks a request.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

Slip = tuple[str, str]  # (path, what is wrong with it)
SCALARS: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (int, float), bool: (bool,)}
UNKNOWN = "is not a valid field"

_hints: dict[str, dict[str, Any]] = {}


def load() -> None:
    """Read the types: a second, once, in the background."""
    try:
        from cohere.v2.raw_client import RawV2Client
    except ImportError:
        return
    for kind, verb in (("chat", RawV2Client.chat), ("embed", RawV2Client.embed), ("rerank", RawV2Client.rerank)):
        hints = typing.get_type_hints(verb, include_extras=True)
        _hints[kind] = {name: hint for name, hint in hints.items() if name not in ("return", "request_options")}


def find_body_slip(body: dict[str, Any], *, kind: str) -> Slip | None:
    """The first thing in a body of chat, embed or rerank that the types do not allow; None before they are loaded."""
    hints = _hints.get(kind)
    if hints is None:
        return None
    for name, value in body.items():
        if name == "stream":
            continue
        if name not in hints:
            return name, UNKNOWN
        if (slip := find_slip(value, hints[name], name)) is not None:
            return slip
    return None


def find_slip(value: Any, hint: Any, path: str) -> Slip | None:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is type(None):
        return None if hint is Any or value is None else (path, "must be null")
    if origin is typing.Annotated:
        return find_slip(value, arguments[0], path)
    if origin is Literal:
        return None if value in arguments else (path, f"must be one of {', '.join(map(str, arguments))}")
    if origin in (typing.Union, types.UnionType):
        return _find_union_slip(value, arguments, path)
    if origin in (list, Sequence):
        if not isinstance(value, list):
            return path, "must be a list"
        slips = (find_slip(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(value))
        return next((slip for slip in slips if slip is not None), None)
    if origin is dict:
        return None if isinstance(value, dict) else (path, "must be an object")
    if hint in SCALARS:
        is_right = isinstance(value, SCALARS[hint]) and (hint is bool or not isinstance(value, bool))
        return None if is_right else (path, f"must be of type {hint.__name__}")
    return _find_model_slip(value, hint, path)


def _find_union_slip(value: Any, members: tuple[Any, ...], path: str) -> Slip | None:
    """Which member was meant is told by its `role` or `type`; where an enumeration is open (`Any`), its names still bind."""
    if value is None and type(None) in members:
        return None
    closed = [member for member in members if member is not type(None) and member is not Any]
    for member in closed:
        fields = getattr(member, "model_fields", {})
        for name in ("role", "type"):
            if name in fields and isinstance(value, dict) and value.get(name) in typing.get_args(fields[name].annotation):
                return _find_model_slip(value, member, path)
    slips = [find_slip(value, member, path) for member in closed]
    found = [slip for slip in slips if slip is not None]
    return max(found, key=lambda slip: len(slip[0])) if len(found) == len(slips) else None


def _find_model_slip(value: Any, model: Any, path: str) -> Slip | None:
    if not isinstance(value, dict):
        return path, "must be an object"
    for name, item in value.items():
        if name not in model.model_fields:
            return f"{path}.{name}", UNKNOWN
        if (slip := find_slip(item, model.model_fields[name].annotation, f"{path}.{name}")) is not None:
            return slip
    for name, field in model.model_fields.items():
        if field.is_required() and name not in value:
            return f"{path}.{name}", "is required"
    return None
