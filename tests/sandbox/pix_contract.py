"""Checks of answers against the Banco Central's API Pix 2.9.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema

DEFINITIONS = json.loads((Path(__file__).parent / "pix_schemas_2_9_0.json").read_text())["$defs"]


def conform(value: Any, name: str) -> Any:
    """The value, when it conforms to the definition `name`."""
    jsonschema.validate(value, {"$defs": DEFINITIONS, "$ref": f"#/$defs/{name}"}, cls=jsonschema.Draft202012Validator)
    return value


def problem_of(answer: httpx.Response, *, status: int) -> tuple[str, list[str]]:
    """The problem's type and the properties that its violations name."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = conform(answer.json(), "problem")
    assert body["status"] == status
    return body["type"].rsplit("/", 1)[1], [violation["propriedade"] for violation in body.get("violacoes", ())]
