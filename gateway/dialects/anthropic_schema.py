"""Schemas as Claude takes them: of tools, and of structured outputs, for which Anthropic's SDK has the same rules. Pure."""

from __future__ import annotations

from typing import Any

from gateway.dialects.gemini_schema import follow

Schema = dict[str, Any]

UNIONS = ("oneOf", "anyOf", "allOf")
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
DEPTH_MAX = 60
SAYABLE = ("objetos de 'properties' fechadas, sem recursão", "objects of closed 'properties', not recursive")
_KEPT = ("type", "enum", "const", "title", "description", "required", "$ref")


class SchemaUnsayable(ValueError):
    """Where it says what an output can't be held to: an object of any names, one within itself, or nested too deeply."""


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


def fit_output_schema(schema: Any) -> Schema:
    """A schema that outputs, or arguments of a strict tool, are held to: closed objects, and no bounds, which go into the
    description so that the model may follow them. Raises SchemaUnsayable."""
    if _recurs(schema, schema, (), set()):
        raise SchemaUnsayable
    return _fit_output(schema, 0)


def _recurs(node: Any, root: Any, open_refs: tuple[str, ...], closed: set[str]) -> bool:
    """Whether a reference comes back to itself. `closed`: those that do not."""
    if len(open_refs) > DEPTH_MAX:
        return True
    if isinstance(node, list):
        return any(_recurs(inner, root, open_refs, closed) for inner in node)
    if not isinstance(node, dict):
        return False
    reference = node.get("$ref")
    if isinstance(reference, str) and reference not in closed:
        if reference in open_refs or _recurs(follow(root, reference), root, (*open_refs, reference), closed):
            return True
        closed.add(reference)
    return any(_recurs(inner, root, open_refs, closed) for inner in node.values())


def _fit_output(schema: Any, depth: int) -> Schema:
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        raise SchemaUnsayable
    if "$ref" in schema:  # it stands alone; the root's definitions go along
        schema = {name: schema[name] for name in ("$ref", "$defs", "definitions") if name in schema}
    fitted: Schema = {name: schema[name] for name in _KEPT if name in schema}
    if "enum" in fitted or "const" in fitted:
        fitted.pop("type", None)
    left = {name: value for name, value in schema.items() if name not in _KEPT and name not in ("$schema", "$id", "default")}
    for name in ("$defs", "definitions"):
        if isinstance(defs := left.pop(name, None), dict):
            fitted[name] = {key: _fit_output(inner, depth + 1) for key, inner in defs.items()}
    for name in UNIONS:
        if isinstance(branches := left.pop(name, None), list):
            fitted["allOf" if name == "allOf" else "anyOf"] = [_fit_output(branch, depth + 1) for branch in branches]
    _fit_object(fitted, left, depth)
    if "items" in left:
        fitted["items"] = _fit_output(left.pop("items"), depth + 1)
    if left.get("minItems") in (0, 1):
        fitted["minItems"] = left.pop("minItems")
    if isinstance(left.get("format"), str) and left["format"] in FORMATS:
        fitted["format"] = left.pop("format")
    if left:
        said = "{" + ", ".join(f"{name}: {value}" for name, value in left.items()) + "}"
        fitted["description"] = f"{fitted['description']}\n\n{said}" if isinstance(fitted.get("description"), str) else said
    return fitted


def _fit_object(fitted: Schema, left: Schema, depth: int) -> None:
    kind = fitted.get("type")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind) and "properties" not in left:
        return
    properties, others = left.pop("properties", None), left.pop("additionalProperties", None)
    if others not in (None, False) or (properties is None and others is None):  # any names: closed, it could only be empty
        raise SchemaUnsayable
    if isinstance(properties, dict):
        fitted["properties"] = {key: _fit_output(inner, depth + 1) for key, inner in properties.items()}
    fitted.setdefault("properties", {})
    fitted["additionalProperties"] = False
