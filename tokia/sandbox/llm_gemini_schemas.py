"""Which schemas Gemini takes: OpenAPI's subset in `parameters` and `responseSchema`, JSON Schema in their newer twins. Pure."""

from __future__ import annotations

import re
from typing import Any

from tokia.sandbox.asgi import Json
from tokia.sandbox.llm_gemini_names import SCHEMA, bad, refuse_unknown

Body = dict[str, Any]

FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
TYPES = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
FORMATS = {"STRING": ("enum", "date-time"), "INTEGER": ("int32", "int64"), "NUMBER": ("float", "double")}


def refuse_bad_declaration(declaration: Body, path: str) -> None:
    name = declaration.get("name", "")
    if not FUNCTION_NAME.fullmatch(name):
        raise bad(f"* GenerateContentRequest.{path}.name: [FIELD_INVALID] Invalid function name. Must start with a letter or an "
                  "underscore.")  # fmt: skip
    if declaration.get("parameters") is not None and declaration.get("parametersJsonSchema") is not None:
        raise bad(f"* GenerateContentRequest.{path}: only one of parameters and parameters_json_schema may be set.")
    if declaration.get("parameters") is not None:
        refuse_bad_schema(declaration["parameters"], f"{path}.parameters")
    if declaration.get("parametersJsonSchema") is not None:
        refuse_bad_json_schema(declaration["parametersJsonSchema"], f"{path}.parameters_json_schema")


def refuse_bad_format(config: Body, *, version: tuple[int, int], has_tools: bool) -> None:
    kind = config.get("responseMimeType", "text/plain")
    if kind not in ("text/plain", "application/json", "text/x.enum"):
        raise bad(f"* GenerateContentRequest.generation_config.response_mime_type: text/plain, application/json and "
                  f"text/x.enum are allowed, not {kind}")  # fmt: skip
    schema, json_schema = config.get("responseSchema"), config.get("responseJsonSchema")
    if schema is not None and json_schema is not None:
        raise bad("Only one of response_schema and response_json_schema may be set.")
    if (schema is not None or json_schema is not None) and kind == "text/plain":
        raise bad("response_mime_type must be application/json or text/x.enum where a response schema is set.")
    if kind == "application/json" and has_tools and version < (3, 0):
        raise bad("Function calling with a response mime type: 'application/json' is unsupported")
    if schema is not None:
        refuse_bad_schema(schema, "generation_config.response_schema")
    if json_schema is not None:
        refuse_bad_json_schema(json_schema, "generation_config.response_json_schema")


def refuse_bad_schema(schema: Json, path: str) -> None:
    refuse_unknown(schema, SCHEMA, path)
    options = schema.get("anyOf")
    if options is not None:
        for index, option in enumerate(options if isinstance(options, list) else [options]):
            refuse_bad_schema(option, f"{path}.any_of[{index}]")
        return
    kind = schema.get("type")
    if kind not in TYPES:
        raise bad(f"Invalid value at '{path}.type' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type), {kind!r}")
    if schema.get("enum") and (kind != "STRING" or not all(schema["enum"])):
        raise bad(f"* GenerateContentRequest.{path}.enum: only allowed for STRING type, without empty values")
    if schema.get("format") is not None and schema["format"] not in FORMATS.get(kind, ()):
        raise bad(
            f"* GenerateContentRequest.{path}.format: only {', '.join(FORMATS.get(kind, ('none',)))} supported for {kind} type"
        )
    if kind == "ARRAY":
        if schema.get("items") is None:
            raise bad(f"* GenerateContentRequest.{path}.items: missing field.")
        refuse_bad_schema(schema["items"], f"{path}.items")
    properties = schema.get("properties")
    if properties is not None:
        if kind != "OBJECT" or not isinstance(properties, dict) or not properties:
            raise bad(f"* GenerateContentRequest.{path}.properties: should be non-empty for OBJECT type")
        for name, inner in properties.items():
            refuse_bad_schema(inner, f"{path}.properties[{name}]")
    for name in [*(schema.get("required") or []), *(schema.get("propertyOrdering") or [])]:
        if name not in (properties or {}):
            raise bad(f"* GenerateContentRequest.{path}.required: property is not defined: {name}")


def refuse_bad_json_schema(schema: Json, path: str) -> None:
    """Nearly all of JSON Schema passes; a reference may have no neighbours, and three words are not known."""
    if isinstance(schema, list):
        for index, inner in enumerate(schema):
            refuse_bad_json_schema(inner, f"{path}[{index}]")
    if not isinstance(schema, dict):
        return
    if "$ref" in schema and any(not name.startswith("$") for name in schema):
        raise bad(f"* GenerateContentRequest.{path}: if $ref is set, no other properties except those starting with $ may be set")
    if isinstance(schema.get("type", ""), str | list):  # not a property that is called so
        for name in ("const", "allOf", "$schema"):
            if name in schema and not path.endswith("properties"):
                raise bad(f"* GenerateContentRequest.{path}: {name} is not supported")
    for name, inner in schema.items():
        if name not in ("enum", "default", "example", "examples", "required"):
            refuse_bad_json_schema(inner, f"{path}.{name}")
