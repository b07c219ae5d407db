"""Schemas as Claude takes them, judged by what Anthropic's own SDK makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import transform_schema

from gateway.dialects.anthropic_schema import SchemaUnsayable, fit_output_schema, fit_tool_schema

CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "cep": {"type": "string", "pattern": "^\\d+$", "minLength": 9},
        "data": {"type": "string", "format": "date-time"},
        "nota": {"type": "number", "description": "De 0 a 10", "minimum": 0, "maximum": 10},
        "itens": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "um": {"type": "array", "items": {"$ref": "#/$defs/x"}, "minItems": 1},
        "ou": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "cor": {"type": "string", "enum": ["azul", "verde"]},
        "dois": {"const": 2, "type": "integer", "description": "Sempre dois"},
        "lugar": {"$ref": "#/$defs/x", "description": "O destino"},
    },
    "required": ["cep"],
    "additionalProperties": False,
    "$defs": {"x": {"type": "object", "properties": {"y": {"type": "integer"}}, "required": ["y"], "additionalProperties": False}},
}


def test_it_says_an_output_as_the_sdk_does() -> None:
    assert fit_output_schema(CLOSED) == transform_schema(CLOSED)
    assert fit_output_schema(fit_output_schema(CLOSED)) == fit_output_schema(CLOSED)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"}, {"type": "object", "additionalProperties": {"type": "integer"}}, True,
        {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": True}}},
        {"type": "array", "items": {"type": "object"}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False},
        {"$ref": "#/$defs/x", "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/y"}}, "y": {"$ref": "#/$defs/x"}}},
    ],
)  # fmt: skip
def test_it_refuses_objects_of_any_names(schema: Any) -> None:
    with pytest.raises(SchemaUnsayable):
        fit_output_schema(schema)


def test_it_refuses_what_is_nested_too_deeply() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    with pytest.raises(SchemaUnsayable):
        fit_output_schema(schema)


def test_it_writes_a_tools_unions_into_one_object() -> None:
    by_id, by_name = {"properties": {"id": {"type": "integer"}}, "required": ["id", "x"]}, {"$ref": "#/$defs/n"}
    schema = {
        "oneOf": [by_id, by_name],
        "properties": {"x": {}},
        "$defs": {"n": {"properties": {"nome": {}}, "required": ["nome", "x"]}},
    }
    fitted = fit_tool_schema(schema)
    assert fitted["type"] == "object" and list(fitted["properties"]) == ["x", "id", "nome"] and fitted["required"] == ["x"]
    assert "oneOf" not in fitted and "oneOf" in schema
    assert fit_tool_schema({"allOf": [by_id, {"properties": {"b": {}}, "required": ["b"]}]})["required"] == ["id", "x", "b"]
    assert fit_tool_schema(None) == {"properties": {}, "type": "object"}
