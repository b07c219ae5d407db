"""The description of `/v1` is true: every address, field and example of it stands against the gateway itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.test import Client
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from gateway import asgi
from gateway.batches import BatchBody
from gateway.error_bodies import as_openai
from gateway.errors import BadRequest, BudgetExceeded
from gateway.generation import FeedbackBody, read_feedback
from gateway.images_call import FORMATS as IMAGE_FORMATS
from gateway.images_call import ImagesBody, parse_generation
from gateway.moderation_call import ModerationBody, parse_moderation
from gateway.parameters import PROBES
from gateway.parsing import ChatBody, EmbeddingsBody, parse_chat, parse_embeddings
from gateway.preferences import _NAMES as ROUTING
from gateway.preferences import NEUTRAL, take_preferences
from gateway.rerank_call import RerankBody, parse_rerank
from gateway.speech_call import FORMATS as SOUND_FORMATS
from gateway.speech_call import SpeechBody, parse_speech
from gateway.surfaces.completions import CompletionsBody
from gateway.surfaces.messages_request import KNOWN as MESSAGE_FIELDS
from gateway.surfaces.responses_body import KNOWN as RESPONSES_FIELDS
from gateway.surfaces.responses_body import NOT_SERVED
from gateway.transcription_call import FORMATS as TEXT_FORMATS
from gateway.transcription_call import TranscriptionBody
from tokia import postman, v1_openapi
from tokia.openapi import document as management

METHODS = v1_openapi.METHODS
# What lies below an address of RESOURCES and READS, as their own modules read paths.
BELOW = {
    "/v1/responses": {"/{response_id}": "get delete", "/{response_id}/input_items": "get", "/input_tokens": "post"},
    "/v1/files": {"": "get post", "/{file_id}": "get delete", "/{file_id}/content": "get"},
    "/v1/batches": {"": "get post", "/{batch_id}": "get", "/{batch_id}/cancel": "post"},
    "/v1/generation": {"": "get", "/feedback": "post"},
    "/v1/images/edits": {"": "post"},
    "/v1/audio/transcriptions": {"": "post"},
    "/v1/audio/translations": {"": "post"},
}
OTHER_NAMES = {"/v2/rerank", "/v1/v2/rerank"}  # told in the text of /v1/rerank


def fields(body: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(body)}


BODIES: dict[str, set[str]] = {
    "V1ChatRequest": fields(ChatBody) | (set(PROBES) - {"structured_outputs"}) | set(ROUTING),
    "V1CompletionRequest": fields(CompletionsBody) | {"prompt"} | set(ROUTING),
    "V1ResponsesRequest": set(RESPONSES_FIELDS) - set(NOT_SERVED) | set(ROUTING),
    "V1MessageRequest": set(MESSAGE_FIELDS) | set(ROUTING),
    "V1EmbeddingsRequest": fields(EmbeddingsBody),
    "V1RerankRequest": fields(RerankBody),
    "V1ImagesRequest": fields(ImagesBody),
    "V1SpeechRequest": fields(SpeechBody),
    "V1TranscriptionRequest": fields(TranscriptionBody) | {"file"},
    "V1ModerationRequest": fields(ModerationBody),
    "V1BatchRequest": fields(BatchBody),
}
PARSERS: dict[str, Callable[[bytes], Any]] = {
    "create_chat_completion": lambda body: parse_chat(take_preferences(body, {}, is_chat=True)[0]),
    "create_embedding": parse_embeddings,
    "create_rerank": parse_rerank,
    "create_image": parse_generation,
    "create_speech": parse_speech,
    "create_moderation": parse_moderation,
    "give_feedback": read_feedback,
    "create_batch": msgspec.json.Decoder(BatchBody).decode,
}


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return v1_openapi.whole_document()


def schema_named(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def operations(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        address[method]["operationId"]: (path, method, address[method])
        for path, address in document["paths"].items()
        for method in METHODS
        if method in address
    }


def properties_of(document: dict[str, Any], name: str) -> set[str]:
    schema = document["components"]["schemas"][name]
    found = set(schema.get("properties", ()))
    for part in schema.get("allOf", ()):
        found |= properties_of(document, part["$ref"].rpartition("/")[2]) if "$ref" in part else set(part["properties"])
    return found


def test_it_is_openapi_and_holds_both_apis(told: dict[str, Any]) -> None:
    validate_schema(told)  # type: ignore[no-untyped-call]
    assert set(management()["paths"]) < set(told["paths"]) and not set(management()["components"]["schemas"]) & {
        name for name in told["components"]["schemas"] if name.startswith("V1")
    }
    assert len(operations(told)) == len(operations(management())) + len(operations(v1_openapi.v1_document())), "ids meet"
    known = {tag["name"] for tag in told["tags"]}
    for path, _, operation in operations(told).values():
        assert operation["tags"][0] in known and operation["summary"] and operation["description"], path


def test_it_tells_every_address_of_the_gateway_and_no_other() -> None:
    described = {
        (path, method) for path, address in v1_openapi.v1_document()["paths"].items() for method in METHODS if method in address
    }
    served = {(path, "post") for path in asgi.PARENTS if path not in OTHER_NAMES} | {(path, "get") for path in asgi.READS}
    served |= {("/v1/models/{model}", "get"), ("/v1/models/{model}/endpoints", "get")}
    assert set(asgi.RESOURCES) == set(BELOW)
    for path, tails in BELOW.items():
        served |= {(path + tail, method) for tail, methods in tails.items() for method in methods.split()}
    assert described == served


@pytest.mark.parametrize("name", BODIES)
def test_it_names_every_field_and_no_other(told: dict[str, Any], name: str) -> None:
    assert properties_of(told, name) == BODIES[name]


def test_its_choices_are_the_gateways(told: dict[str, Any]) -> None:
    schemas = told["components"]["schemas"]
    assert tuple(schemas["V1ImagesRequest"]["properties"]["output_format"]["enum"]) == IMAGE_FORMATS
    assert set(schemas["V1SpeechRequest"]["properties"]["response_format"]["enum"]) == set(SOUND_FORMATS)
    assert tuple(schemas["V1TranscriptionRequest"]["properties"]["response_format"]["enum"]) == TEXT_FORMATS
    assert set(schemas["V1ProviderPreferences"]["properties"]) >= NEUTRAL
    for name in [*schemas["V1ProviderPreferences"]["properties"], "made_up"]:
        body = json.dumps({"model": "m", "messages": [], "provider": {name: "x"}}).encode()
        with contextlib.suppress(BadRequest) if name != "made_up" else pytest.raises(BadRequest, match="um destes campos"):
            try:
                take_preferences(body, {}, is_chat=True)
            except BadRequest as refusal:
                assert name == "made_up" or "um destes campos" not in refusal.message, name
                raise
    feedback = operations(told)["give_feedback"][2]["requestBody"]["content"]["application/json"]["schema"]
    assert set(feedback["properties"]) == fields(FeedbackBody)


def test_its_examples_are_valid_and_understood(told: dict[str, Any]) -> None:
    seen = set()
    for name, (path, _, operation) in operations(v1_openapi.v1_document()).items():
        contents = [operation.get("requestBody", {}).get("content", {}).get("application/json", {})]
        contents += [answer.get("content", {}).get("application/json", {}) for answer in operation["responses"].values()]
        for content in contents:
            for example in content.get("examples", {}).values():
                schema = {**content["schema"], "components": told["components"]}
                Draft202012Validator(schema).validate(example["value"])
                if content is contents[0] and name in PARSERS:
                    PARSERS[name](json.dumps(example["value"]).encode())
                    seen.add(name)
        if path not in ("/v1/images/edits",) and "application/json" in operation.get("requestBody", {}).get("content", {}):
            assert contents[0].get("examples"), f"{name}: an example"
    assert seen == set(PARSERS)


def test_its_refusals_are_the_gateways(told: dict[str, Any]) -> None:
    budget = BudgetExceeded("não", "no")
    budget.budget_raw = b'{"name": "a"}'
    for error in (BadRequest("não", "no", param="model"), budget):
        Draft202012Validator(schema_named(told, "V1Error")).validate(json.loads(as_openai(error)))
    with pytest.raises(BadRequest):
        parse_chat(json.dumps({"model": "", "messages": []}).encode())


# ── What is served of it ─────────────────────────────────────────────────────────────────────────────────────────────
def test_it_is_served_as_yaml_without_anchors(client: Client, told: dict[str, Any]) -> None:
    import yaml

    response = client.get("/openapi.yaml")
    text = response.content.decode()
    assert response["Cache-Control"] == "public, max-age=300" and "&id0" not in text and "Cookie" not in response.get("Vary", "")
    assert yaml.load(text, Loader=yaml.CSafeLoader)["paths"].keys() == told["paths"].keys()


def test_the_postman_collection_has_every_operation(client: Client, told: dict[str, Any]) -> None:
    collection = json.loads(client.get("/postman.json").content)
    assert collection["info"]["schema"] == postman.SCHEMA
    Draft202012Validator(COLLECTION).validate(collection)
    requests = [item["request"] for folder in collection["item"] for item in folder["item"]]
    assert len(requests) == len(operations(told))
    chat = next(request for request in requests if request["url"]["raw"] == "{{gatewayUrl}}/v1/chat/completions")
    assert json.loads(chat["body"]["raw"])["messages"]
    file = next(request for request in requests if request["url"]["raw"].endswith("/v1/files/:file_id"))
    assert [variable["key"] for variable in file["url"]["variable"]] == ["file_id"]
    assert {variable["key"] for variable in collection["variable"]} == {"gatewayUrl", "baseUrl", "apiKey"}
    prices = next(request for request in requests if request["url"]["raw"].endswith("/api/v1/prices"))
    assert prices["url"]["host"] == ["{{baseUrl}}"]


_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_LINES = {"type": "array", "items": {"type": "object", "required": ["key"], "properties": {"key": _TEXT, "value": _TEXT}}}
_TYPED = {"type": "object", "required": ["type"]}
_URL = {
    "type": "object", "required": ["raw", "host", "path"], "additionalProperties": False,
    "properties": {"raw": _TEXT, "host": _TEXTS, "path": _TEXTS, "query": _LINES, "variable": _LINES},
}  # fmt: skip
_BODY = {"type": "object", "required": ["mode"], "properties": {"mode": {"enum": ["raw", "formdata"]}}}
_REQUEST = {
    "type": "object", "required": ["method", "url", "header"], "additionalProperties": False,
    "properties": {"method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]}, "description": _TEXT, "header": _LINES,
                   "auth": _TYPED, "url": _URL, "body": _BODY},
}  # fmt: skip
_ITEM = {
    "type": "object", "required": ["name", "request"], "additionalProperties": False,
    "properties": {"name": _TEXT, "request": _REQUEST},
}  # fmt: skip
_FOLDER = {"type": "object", "required": ["name", "item"], "properties": {"item": {"type": "array", "minItems": 1, "items": _ITEM}}}
# The part of the format v2.1.0 that we write, strictly.
COLLECTION: dict[str, Any] = {
    "type": "object", "required": ["info", "item"], "additionalProperties": False,
    "properties": {"info": {"type": "object", "required": ["name", "schema"]}, "auth": _TYPED, "variable": _LINES,
                   "item": {"type": "array", "minItems": 1, "items": _FOLDER}},
}  # fmt: skip
