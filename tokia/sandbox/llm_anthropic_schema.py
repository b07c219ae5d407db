"""What Anthropic refuses in the schema of a structured output or of a strict tool. Written from its page on JSON Schema limits."""

from __future__ import annotations

from tokia.sandbox.asgi import Json

REFUSED = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems", "uniqueItems",
    "minProperties", "maxProperties", "oneOf", "not", "patternProperties",
)  # fmt: skip


def find_schema_slip(schema: Json) -> str | None:
    """The first thing that would be refused, in words; None: it is taken."""
    return _look(schema, schema, (), set())


def _look(node: Json, root: Json, open_refs: tuple[str, ...], seen: set[str]) -> str | None:
    if not isinstance(node, dict):
        return "schemas must be objects"
    reference = node.get("$ref")
    if isinstance(reference, str):
        if reference in open_refs:
            return "Recursive schemas are not supported"
        if reference in seen:
            return None
        slip = _look(_follow(root, reference), root, (*open_refs, reference), seen)
        seen.add(reference)
        return slip
    for word in REFUSED:
        if word in node:
            return f"For '{node.get('type')}' type, property '{word}' is not supported"
    if node.get("minItems") not in (None, 0, 1):
        return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if (node.get("type") == "object" or "properties" in node) and node.get("additionalProperties") is not False:
        return "For 'object' type, 'additionalProperties' must be explicitly set to false"
    inner = [*(node.get("properties") or {}).values(), *(node.get("anyOf") or ()), *(node.get("allOf") or ())]
    inner += [node["items"]] if "items" in node else []
    return next((slip for child in inner if (slip := _look(child, root, open_refs, seen)) is not None), None)


def _follow(root: Json, reference: str) -> Json:
    found = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part) if part and isinstance(found, dict) else found
    return found
