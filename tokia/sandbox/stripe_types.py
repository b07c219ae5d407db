"""Requests to the sandbox's Stripe against the parameter types that the `stripe` package publishes, generated from its OpenAPI.

A form is flat text ("metadata[id]=1"); `check` gives it back as the types say, or the slip that Stripe would name.
"""

from __future__ import annotations

import importlib
import re
import sys
from functools import cache
from typing import Any, ForwardRef, Literal, NotRequired, Required, Union, get_args, get_origin
from urllib.parse import parse_qsl

from typing_extensions import is_typeddict  # the package's own are of this kind

from tokia.sandbox.asgi import Json

# What the client itself takes: these are headers, never parameters.
CLIENT_OPTIONS = "stripe._request_options.RequestOptions"


class Slip(Exception):
    """A parameter that the published types do not allow."""

    def __init__(self, code: str, param: str, message: str) -> None:
        super().__init__(message)
        self.code, self.param, self.message = code, param, message


def unflatten(raw: str) -> dict[str, Json]:
    """ "a[b][0]=1&c=2" → {"a": {"b": ["1"]}, "c": "2"}. Raises Slip."""
    found: dict[str, Json] = {}
    for name, value in parse_qsl(raw, keep_blank_values=True, strict_parsing=bool(raw)):
        if not re.fullmatch(r"[^\[\]]+(\[[^\[\]]*\])*", name):
            raise Slip("parameter_unknown", name, f"Received unknown parameter: {name}")
        first, *rest = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        place: dict[str, Json] = found
        for part, following in zip([first, *rest], [*rest, None], strict=True):
            key = part or str(len(place))
            if following is None:
                place[key] = value
            else:
                place = place.setdefault(key, {})
                if not isinstance(place, dict):
                    raise Slip("parameter_invalid_hash", name, f"Invalid hash: {name}")
    return {key: _lists(value) for key, value in found.items()}


def _lists(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [_lists(value[key]) for key in sorted(value, key=int)]
    return {key: _lists(inner) for key, inner in value.items()}


def check(parameters: dict[str, Json], *, class_name: str) -> dict[str, Json]:
    """The parameters, typed. `class_name`: of `stripe.params`, or "checkout.SessionCreateParams". Raises Slip."""
    folder, _, name = class_name.rpartition(".")
    module = importlib.import_module(f"stripe.params.{folder}" if folder else "stripe.params")
    typed: dict[str, Json] = _typed_dict(parameters, getattr(module, name), "")
    return typed


@cache
def _client_options() -> frozenset[str]:
    module, _, name = CLIENT_OPTIONS.rpartition(".")
    return frozenset(getattr(importlib.import_module(module), name).__annotations__)


def _typed_dict(value: Json, kind: Any, path: str) -> Json:
    if not isinstance(value, dict):
        raise Slip("parameter_invalid_hash", path, f"Invalid object: {path}")
    hints: dict[str, Any] = dict(kind.__annotations__)
    for name in _client_options():
        hints.pop(name, None)
    namespace = vars(sys.modules[kind.__module__])
    typed = {}
    for name, inner in value.items():
        where = f"{path}[{name}]" if path else name
        if name not in hints:
            raise Slip("parameter_unknown", where, f"Received unknown parameter: {where}")
        typed[name] = _typed(inner, hints[name], namespace, where)
    for name, hint in hints.items():
        if name not in value and _is_required(hint, namespace):
            where = f"{path}[{name}]" if path else name
            raise Slip("parameter_missing", where, f"Missing required param: {where}.")
    return typed


def _is_required(hint: Any, namespace: dict[str, Any]) -> bool:
    return get_origin(_resolved(hint, namespace)) is not NotRequired


def _resolved(hint: Any, namespace: dict[str, Any]) -> Any:
    while isinstance(hint, str | ForwardRef):
        text = hint if isinstance(hint, str) else hint.__forward_arg__
        hint = eval(text, dict(namespace))  # noqa: S307 - an annotation of the installed package
    return hint


def _typed(value: Json, hint: Any, namespace: dict[str, Any], path: str) -> Json:
    hint = _resolved(hint, namespace)
    origin = get_origin(hint)
    if origin in (NotRequired, Required):
        return _typed(value, get_args(hint)[0], namespace, path)
    if origin is Union or type(hint).__name__ == "UnionType":
        return _first_fit(value, get_args(hint), namespace, path)
    if origin is Literal:
        if value in get_args(hint):
            return value
        raise Slip("parameter_invalid_string", path, f"Invalid {path}: must be one of {', '.join(map(str, get_args(hint)))}")
    if origin is list:
        if not isinstance(value, list):
            raise Slip("parameter_invalid_array", path, f"Invalid array: {path}")
        return [_typed(item, get_args(hint)[0], namespace, f"{path}[{number}]") for number, item in enumerate(value)]
    if origin is dict:
        return _text_map(value, path)
    if is_typeddict(hint):
        return _typed_dict(value, hint, path)
    return _scalar(value, hint, path)


def _first_fit(value: Json, kinds: tuple[Any, ...], namespace: dict[str, Any], path: str) -> Json:
    slips = []
    for kind in kinds:
        try:
            return _typed(value, kind, namespace, path)
        except Slip as slip:
            slips.append(slip)
    raise max(slips, key=lambda slip: len(slip.param))  # the branch that was meant went deepest


def _text_map(value: Json, path: str) -> Json:
    if not isinstance(value, dict) or not all(isinstance(inner, str) for inner in value.values()):
        raise Slip("parameter_invalid_hash", path, f"Invalid object: {path}")
    return value


def _scalar(value: Json, kind: Any, path: str) -> Json:
    if not isinstance(value, str):
        raise Slip("parameter_invalid_string", path, f"Invalid string: {path}")
    if kind is str:
        return value
    if kind is bool and value in ("true", "false"):
        return value == "true"
    if kind is bool:
        raise Slip("parameter_invalid_boolean", path, f"Invalid boolean: {value}")
    if kind is int and re.fullmatch(r"-?\d{1,15}", value, re.ASCII):
        return int(value)
    if kind is int:
        raise Slip("parameter_invalid_integer", path, f"Invalid integer: {value}")
    raise Slip("parameter_invalid_string", path, f"Invalid value for {path}")
