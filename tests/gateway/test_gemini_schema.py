"""JSON Schemas as Gemini takes them: nothing that it would refuse, whatever a caller or a model generator writes."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.gemini_schema import SchemaTooLarge, fit_json_schema, fit_subset
from tokia.sandbox.llm_gemini_schemas import refuse_bad_json_schema, refuse_bad_schema

NODE: dict[str, Any] = {"type": "object", "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/Node"}}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"$schema": "x", "properties": {"const": {"const": 1}}}, {"properties": {"const": {"enum": [1]}}}),
        ({"properties": {"a": {"$ref": "#/$defs/A", "description": "d"}}, "$defs": {"A": {"type": "string", "description": "A"}}},
         {"properties": {"a": {"type": "string", "description": "d"}}, "$defs": {"A": {"type": "string", "description": "A"}}}),
        ({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"const": "x"}}},
         {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"enum": ["x"]}}}),
        ({"type": "object", "allOf": [{"properties": {"a": {}}, "required": ["a"]},
                                      {"properties": {"b": {}}, "required": ["a", "b"]}]},
         {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]}),
        ({"oneOf": [{"type": "string"}, {"type": ["integer", "null"]}]},
         {"oneOf": [{"type": "string"}, {"type": ["integer", "null"]}]}),
        ({"type": "object", "additionalProperties": False}, {"type": "object", "additionalProperties": False}),
        ({"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"}, {"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"}),
        ({"x": {"$ref": "https://evil.test/x", "title": "t"}}, {"x": {"$ref": "https://evil.test/x", "title": "t"}}),
        ({"items": {"$ref": "https://evil.test/x", "title": "t"}}, {"items": {"$ref": "https://evil.test/x"}}),
    ],
)  # fmt: skip
def test_nearly_all_of_json_schema_stays(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    fitted = fit_json_schema(schema)
    assert fitted == expected
    if "x" not in schema:
        refuse_bad_json_schema(fitted, "schema")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}),
        ({"const": "x"}, {"type": "STRING", "enum": ["x"], "format": "enum"}),
        ({"enum": ["a", None]}, {"type": "STRING", "nullable": True, "enum": ["a"], "format": "enum"}),
        ({"enum": [1, 2], "description": "n"}, {"type": "INTEGER", "description": "n One of: 1, 2."}),
        ({"type": "string", "format": "email", "minLength": 2}, {"type": "STRING", "minLength": 2}),
        ({"type": "string", "format": "date-time"}, {"type": "STRING", "format": "date-time"}),
        ({"type": "array"}, {"type": "ARRAY", "items": {"type": "STRING"}}),
        ({"type": "array", "items": {}, "uniqueItems": True}, {"type": "ARRAY", "items": {"type": "STRING"}}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "t"}, {"title": "t", "nullable": True, "type": "INTEGER"}),
        ({"oneOf": [{"type": "integer"}, {"const": "x"}]},
         {"anyOf": [{"type": "INTEGER"}, {"type": "STRING", "enum": ["x"], "format": "enum"}]}),
        ({"type": "object", "properties": {"a": {"type": "number", "exclusiveMinimum": 0}}, "required": ["a", "b"],
          "additionalProperties": False},
         {"type": "OBJECT", "properties": {"a": {"type": "NUMBER"}}, "propertyOrdering": ["a"], "required": ["a"]}),
        ({"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
         {"type": "OBJECT", "propertyOrdering": ["value", "next"],
          "properties": {"value": {"type": "INTEGER"}, "next": {"type": "OBJECT"}}}),
        ({"$ref": "#/nowhere"}, {"type": "OBJECT"}), (True, {"type": "STRING"}),
    ],
)  # fmt: skip
def test_the_subset_says_what_it_can(schema: Any, expected: dict[str, Any]) -> None:
    assert fit_subset(schema) == expected
    refuse_bad_schema(expected, "schema")


def test_references_that_multiply_are_refused_in_no_time() -> None:
    """Each definition names the next one twice: 2⁶⁰ nodes if written out."""
    defs: dict[str, Any] = {
        f"D{number}": {"type": "object", "properties": {name: {"$ref": f"#/$defs/D{number + 1}", "title": "t"} for name in "ab"}}
        for number in range(60)
    }
    schema = {"$ref": "#/$defs/D0", "$defs": {**defs, "D60": {"type": "string"}}}
    for fit in (fit_json_schema, fit_subset):
        started = time.process_time()
        with pytest.raises(SchemaTooLarge):
            fit({"properties": {"a": {**schema, "title": "t"}}, "$defs": schema["$defs"]})
        assert time.process_time() - started < 1


keys = st.sampled_from(
    ["type", "properties", "items", "$ref", "$defs", "anyOf", "oneOf", "allOf", "enum", "const", "required", "format",
     "description", "additionalProperties", "nullable", "minimum", "title"]
)  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["string", "object", "array", "null", "x", "#", "#/$defs/a", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.sampled_from(["a", "b"]), inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(keys, values, max_size=6))
def test_any_schema_comes_out_or_is_too_large_and_never_breaks(schema: dict[str, Any]) -> None:
    for fit in (fit_json_schema, fit_subset):
        with contextlib.suppress(SchemaTooLarge):
            json.dumps(fit(schema))
