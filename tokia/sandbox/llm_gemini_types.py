"""Google's published types as a second opinion on a request to generateContent: what they do not know, nobody may send.

The `google-genai` package is a development dependency; without it only our own rules check a request.
"""

from __future__ import annotations

import importlib
import json
import warnings
from typing import Any

from pydantic import TypeAdapter, ValidationError

_MEMBERS = {
    "contents": "Content", "systemInstruction": "Content", "tools": "Tool", "toolConfig": "ToolConfig",
    "generationConfig": "GenerationConfig", "safetySettings": "SafetySetting",
}  # fmt: skip
_adapters: dict[str, TypeAdapter[Any]] = {}


def load() -> None:
    """In a thread at the start: the package takes a second or two to import."""
    try:
        types = importlib.import_module("google.genai.types")
    except ImportError:
        return
    for name, kind in _MEMBERS.items():
        _adapters[name] = TypeAdapter(getattr(types, kind))


def find_slip(body: dict[str, Any]) -> tuple[str, str] | None:
    """`(path, message)` of the first thing that the published types do not allow; None when they allow it all."""
    for name, value in body.items():
        adapter = _adapters.get(name)
        if adapter is None or value is None:
            continue
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            path = f"{name}.{index}"
            try:
                with warnings.catch_warnings(record=True) as warned:  # of values that an enumeration does not have
                    warnings.simplefilter("always")
                    adapter.validate_json(json.dumps(item), by_alias=True, by_name=False)
                if warned:
                    return path, str(warned[0].message)
            except ValidationError as error:
                slip = max(error.errors(include_url=False, include_context=False), key=lambda found: len(found["loc"]))
                return ".".join(str(part) for part in (path, *slip["loc"])), slip["msg"]
    return None
