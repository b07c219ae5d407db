"""Bedrock's published model, from botocore, as the judge of a Converse request: members, unions, lengths, patterns, enums, bytes.

botocore is a development dependency: without it only our own rules (`llm_bedrock_rules`) check a request.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from tokia.sandbox.asgi import Json

OPERATION = "Converse"
_NUMBERS = {"integer": int, "long": int, "float": (int, float), "double": (int, float)}


@lru_cache(maxsize=1)
def load_shape() -> Any:
    """The shape of a Converse request; None without botocore."""
    if os.environ.get("SANDBOX_LLM_TYPES", "1") == "0":
        return None
    try:
        from botocore.loaders import Loader
        from botocore.model import ServiceModel
    except ImportError:
        return None
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2")).operation_model(OPERATION).input_shape


def find_slip(body: dict[str, Json], *, model: str) -> str | None:
    """The first thing that the published model does not allow, as botocore or AWS would say it."""
    shape = load_shape()
    if shape is None:
        return None
    if "modelId" in body:
        return "Malformed input request: #: extraneous key [modelId] is not permitted, please reformat your input and try again."
    from botocore.validate import ParamValidator

    report = ParamValidator().validate({**body, "modelId": model}, shape)
    if report.has_errors():
        return str(report.generate_report()).split("\n")[0]
    return next((slip for name, value in body.items() for slip in _slips(shape.members[name], value, name)), None)


def _slips(shape: Any, value: Json, path: str) -> Iterator[str]:
    """What botocore leaves to the service: upper bounds, patterns, enums, and bytes that are base64."""
    if getattr(shape, "is_document_type", False):
        return
    limits = shape.metadata
    match shape.type_name:
        case "structure":
            for name, inner in value.items():
                yield from _slips(shape.members[name], inner, f"{path}.{name}")
        case "list":
            yield from _length_slips(limits, len(value), path)
            for index, inner in enumerate(value):
                yield from _slips(shape.member, inner, f"{path}.{index}")
        case "map":
            yield from _length_slips(limits, len(value), path)
            for name, inner in value.items():
                yield from _slips(shape.key, name, f"{path}.{name}")
                yield from _slips(shape.value, inner, f"{path}.{name}")
        case "string":
            yield from _length_slips(limits, len(value), path)
            if limits.get("pattern") and not re.fullmatch(limits["pattern"], value):
                yield _say(path, value, f"Member must satisfy regular expression pattern: {limits['pattern']}")
            if shape.enum and value not in shape.enum:
                yield _say(path, value, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
        case "blob":
            try:
                yield from _length_slips(limits, len(base64.b64decode(value, validate=True)), path)
            except (binascii.Error, ValueError, TypeError):
                yield _say(path, "…", "Member must be base64")
        case kind if kind in _NUMBERS:
            if limits.get("max") is not None and value > limits["max"]:
                yield _say(path, value, f"Member must have value less than or equal to {limits['max']}")


def _length_slips(limits: dict[str, Any], length: int, path: str) -> Iterator[str]:
    if limits.get("max") is not None and length > limits["max"]:
        yield _say(path, "…", f"Member must have length less than or equal to {limits['max']}")
    if limits.get("min") is not None and length < limits["min"]:
        yield _say(path, "…", f"Member must have length greater than or equal to {limits['min']}")


def _say(path: str, value: Json, constraint: str) -> str:
    return f"1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"
