"""Schemas of tools as Claude takes them: an object at the top, without oneOf, anyOf or allOf there. Pure."""

from __future__ import annotations

from typing import Any

from gateway.dialects.gemini_schema import follow

Schema = dict[str, Any]

UNIONS = ("oneOf", "anyOf", "allOf")


def fit_tool_schema(schema: Any) -> Schema:
    """The parameters of a tool. A union at the top becomes one object with the properties of all its branches, and what every
    branch requires (of allOf: what any does): it allows more than was said, never less."""
    fitted = dict(schema) if isinstance(schema, dict) else {"properties": {}}
    for word in UNIONS:
        branches = fitted.pop(word, None)
        if isinstance(branches, list):
            said = [_followed(branch, fitted) for branch in branches if isinstance(branch, dict)]
            _join(fitted, said, all_hold=word == "allOf")
    fitted["type"] = "object"
    return fitted


def _followed(branch: Schema, root: Schema) -> Schema:
    reference = branch.get("$ref")
    return {**(follow(root, reference) or {}), **branch} if isinstance(reference, str) else branch


def _join(whole: Schema, branches: list[Schema], *, all_hold: bool) -> None:
    properties: Schema = dict(whole.get("properties") or {})
    required: list[str] = list(whole.get("required") or [])
    for branch in branches:
        for name, value in (branch.get("properties") or {}).items():
            properties.setdefault(name, value)
    lists = [[name for name in branch.get("required") or [] if isinstance(name, str)] for branch in branches]
    named = dict.fromkeys(name for names in lists for name in names)
    required += [name for name in named if (all_hold or all(name in names for names in lists)) and name not in required]
    whole["properties"] = properties
    if required:
        whole["required"] = required
    if any(branch.get("additionalProperties") is not False for branch in branches):
        whole.pop("additionalProperties", None)
