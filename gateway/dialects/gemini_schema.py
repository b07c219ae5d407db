"""JSON Schema as Gemini takes it: nearly whole, or in the subset of OpenAPI that its older models know. Pure.

What JSON Schema says and neither form can say is left out: it narrows what a model may write, and the caller validates anyway.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

DEPTH_MAX = 64
ALL_OF_MAX = 8  # within one another
NODES_MAX = 25_000  # of all schemas of a call with their references written out: a few of them can name each other many times
SUBSET_FORMATS = {"STRING": ("date-time",), "INTEGER": ("int32", "int64"), "NUMBER": ("float", "double")}
# Members that are the same in both forms.
_PLAIN = (
    "title", "description", "nullable", "minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength",
    "pattern", "example", "default", "minimum", "maximum",
)  # fmt: skip
_TYPES = {"string", "number", "integer", "boolean", "array", "object", "null"}


class SchemaTooLarge(ValueError):
    """The references make more than NODES_MAX nodes."""


class NodeBudget:
    """Of one call: a thousand schemas, each within bounds, are too much too."""

    def __init__(self) -> None:
        self._left = NODES_MAX

    def spend(self, depth: int) -> None:
        """Raises SchemaTooLarge."""
        self._left -= 1
        if self._left < 0 or depth > DEPTH_MAX:
            raise SchemaTooLarge


# ── Nearly whole ─────────────────────────────────────────────────────────────────────────────────────────────────────
def needs_fit(raw: bytes) -> bool:
    """Whether JSON text that holds schemas may say anything that `fit_json_schema` would change."""
    return any(word in raw for word in (b'"$ref"', b'"const"', b'"allOf"', b'"$schema"', b"\\u"))


def fit_json_schema(schema: Schema, budget: NodeBudget | None = None) -> Schema:
    """For `parametersJsonSchema` and `responseJsonSchema`: no `const`, no `allOf`, and a `$ref` without neighbours.

    Raises SchemaTooLarge.
    """
    fitted: Schema = _Fitter(schema, budget or NodeBudget()).fit(schema, (), 0)
    return fitted


class _Fitter:
    def __init__(self, root: Schema, budget: NodeBudget) -> None:
        self._root = root
        self._budget = budget

    def fit(self, schema: Any, open_refs: tuple[str, ...], depth: int) -> Any:
        if not isinstance(schema, dict):
            return schema
        self._budget.spend(depth)
        reference = schema.get("$ref")
        if isinstance(reference, str) and any(not name.startswith("$") for name in schema):
            found = follow(self._root, reference)
            if found is None or reference in open_refs:
                return {"$ref": reference}
            rest = {name: value for name, value in schema.items() if name != "$ref"}
            return self.fit({**found, **rest}, (*open_refs, reference), depth + 1)
        schema = _without_all_of(schema, self._root)
        fitted: Schema = {}
        for name, value in schema.items():
            if name in ("properties", "$defs", "definitions", "patternProperties") and isinstance(value, dict):
                fitted[name] = {key: self.fit(inner, open_refs, depth + 1) for key, inner in value.items()}
            elif name in ("anyOf", "oneOf", "prefixItems") and isinstance(value, list):
                fitted[name] = [self.fit(inner, open_refs, depth + 1) for inner in value]
            elif name in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
                fitted[name] = self.fit(value, open_refs, depth + 1)
            elif name == "const":
                fitted["enum"] = [value]
            elif name != "$schema":
                fitted[name] = value
        return fitted


# ── The subset ───────────────────────────────────────────────────────────────────────────────────────────────────────
def fit_subset(schema: Schema, budget: NodeBudget | None = None) -> Schema:
    """For `parameters` and `responseSchema`. References are written out; where one comes back to itself, any object may stand.

    Raises SchemaTooLarge.
    """
    return _Narrower(schema, budget or NodeBudget()).fit(schema, (), 0)


class _Narrower:
    def __init__(self, root: Schema, budget: NodeBudget) -> None:
        self._root = root
        self._budget = budget

    def fit(self, schema: Any, open_refs: tuple[str, ...], depth: int) -> Schema:
        self._budget.spend(depth)
        if not isinstance(schema, dict) or not schema:  # true: anything
            return {"type": "STRING"}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            found = follow(self._root, reference)
            rest = {name: value for name, value in schema.items() if name != "$ref"}
            if found is None or reference in open_refs:
                return self.fit({"type": "object", **rest}, open_refs, depth + 1)
            return self.fit({**found, **rest}, (*open_refs, reference), depth + 1)
        schema = _without_all_of(schema, self._root)
        narrow: Schema = {name: schema[name] for name in _PLAIN if schema.get(name) is not None}
        options = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(options, list) and options:
            self._fit_options(narrow, options, open_refs, depth)
            return narrow
        kinds = schema.get("type")
        named = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str)]
        if "null" in named:
            narrow["nullable"] = True
        named = [kind for kind in named if kind != "null" and kind.lower() in _TYPES]
        if len(named) > 1:
            narrow["anyOf"] = [self.fit({**schema, "type": kind}, open_refs, depth + 1) for kind in named]
            return narrow
        kind = named[0].upper() if named else _kind_of(schema)
        narrow["type"] = kind
        self._fit_kind(narrow, schema, kind, open_refs, depth)
        return narrow

    def _fit_options(self, narrow: Schema, options: list[Any], open_refs: tuple[str, ...], depth: int) -> None:
        chosen = [option for option in options if isinstance(option, dict) and option.get("type") != "null"]
        if len(chosen) < len(options):
            narrow["nullable"] = True
        fitted = [self.fit(option, open_refs, depth + 1) for option in chosen]
        if len(fitted) == 1:
            narrow.update({name: value for name, value in fitted[0].items() if name not in narrow})
        else:
            narrow["anyOf"] = fitted

    def _fit_kind(self, narrow: Schema, schema: Schema, kind: str, open_refs: tuple[str, ...], depth: int) -> None:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list):
            if None in values:
                narrow["nullable"] = True
            texts = [value for value in values if isinstance(value, str)]
            if texts and kind == "STRING":
                narrow["enum"], narrow["format"] = texts, "enum"
            elif values and kind in ("INTEGER", "NUMBER"):  # numbers can't be listed: say them in words
                said = ", ".join(str(value) for value in values if value is not None)
                narrow["description"] = f"{narrow.get('description', '')} One of: {said}.".strip()
        if "format" not in narrow and schema.get("format") in SUBSET_FORMATS.get(kind, ()):
            narrow["format"] = schema["format"]
        if kind == "ARRAY":
            narrow["items"] = self.fit(schema.get("items", {"type": "string"}), open_refs, depth + 1)
        if kind == "OBJECT":
            properties = schema.get("properties")
            if isinstance(properties, dict) and properties:
                narrow["properties"] = {key: self.fit(inner, open_refs, depth + 1) for key, inner in properties.items()}
                narrow["propertyOrdering"] = list(properties)
                required = schema.get("required")
                if isinstance(required, list) and (
                    known := [name for name in required if isinstance(name, str) and name in properties]
                ):
                    narrow["required"] = known


def _kind_of(schema: Schema) -> str:
    if "properties" in schema or "additionalProperties" in schema:
        return "OBJECT"
    if "items" in schema:
        return "ARRAY"
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    for value in values if isinstance(values, list) else ():
        if isinstance(value, bool):
            return "BOOLEAN"
        if isinstance(value, int | float):
            return "NUMBER" if isinstance(value, float) else "INTEGER"
    return "STRING"


def follow(root: Schema, reference: str) -> Schema | None:
    """What a `$ref` within the document names; None where it names nothing there."""
    if not reference.startswith("#"):
        return None
    found: Any = root
    for part in reference[1:].split("/"):
        if part:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _without_all_of(schema: Schema, root: Schema) -> Schema:
    """Its parts written into one: properties and required names add up, of the rest the first says it."""
    for _ in range(ALL_OF_MAX):
        parts = schema.get("allOf")
        if not isinstance(parts, list):
            return schema
        schema = {name: value for name, value in schema.items() if name != "allOf"}
        for part in parts:
            if isinstance(part, dict):
                _write_into(schema, part, root)
    return {name: value for name, value in schema.items() if name != "allOf"}


def _write_into(whole: Schema, part: Schema, root: Schema) -> None:
    if isinstance(part.get("$ref"), str):
        part = {**(follow(root, part["$ref"]) or {}), **{name: value for name, value in part.items() if name != "$ref"}}
    for name, value in part.items():
        said = whole.get(name)
        if name == "properties" and isinstance(value, dict) and isinstance(said, dict):
            whole[name] = {**said, **value}
        elif name == "required" and isinstance(value, list) and isinstance(said, list):
            whole[name] = [*said, *(key for key in value if key not in said)]
        else:
            whole.setdefault(name, value)
