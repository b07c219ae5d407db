"""The description of `/api/v1` is the one in deploy/openapi.yaml, whole, and true: its examples are what it says they are."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
import yaml
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from accounts.operations import PUBLIC
from accounts.scopes import SCOPES
from tests.api.operations import Served, operations
from tests.house.sources import ROOT
from tokia import openapi

WRITE = "manage.py spectacular --file deploy/openapi.yaml --validate --fail-on-warn"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    GENERATOR_STATS.reset()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        built: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    assert not GENERATOR_STATS, said.getvalue()
    return built


def test_it_keeps_the_description_that_is_served(document: dict[str, Any]) -> None:
    kept = (ROOT / "deploy" / "openapi.yaml").read_text(encoding="utf-8")
    written = OpenApiYamlRenderer().render(document, renderer_context={}).decode()  # type: ignore[no-untyped-call]
    assert yaml.safe_load(kept) == yaml.safe_load(written), f"The API changed. If you meant it: {WRITE}"
    assert kept == written, WRITE


def test_it_describes_by_the_rules_of_openapi(document: dict[str, Any]) -> None:
    validate_schema(document)  # type: ignore[no-untyped-call]
    assert document["openapi"].startswith("3.1")


def test_it_serves_it_to_everybody(client: Any, document: dict[str, Any]) -> None:
    openapi.document.cache_clear()
    answer = client.get("/api/v1/openapi.json")
    assert answer.status_code == 200 and answer.json() == document
    assert client.post("/api/v1/openapi.json").status_code == 405


@pytest.mark.parametrize("served", operations(), ids=lambda served: served.name)
def test_it_tells_all_of_an_operation(document: dict[str, Any], served: Served) -> None:
    operation = served.operation
    told = document["paths"]["/" + _openapi_path(served.route)][served.method]
    assert told["operationId"] == operation.name
    assert told["summary"] and len(told["description"]) > len(told["summary"]) / 2
    assert told["tags"][0] in {tag["name"] for tag in document["tags"]}
    responses = told["responses"]
    assert str(operation.status) in responses
    needed = {"400", "429"} | ({"401", "403"} if operation.scope != PUBLIC else set()) | ({"404"} if served.has_ids else set())
    assert needed <= set(responses)
    for status, response in responses.items():
        if not status.startswith("2"):
            assert "application/problem+json" in response["content"], status
    if operation.scope in SCOPES:
        assert told["security"] == [{"key": [operation.scope]}, {"session": [operation.scope]}]
        assert f"`{operation.scope}`" in told["description"]
    for parameter in told.get("parameters", ()):
        assert parameter["description"], parameter["name"]


def _openapi_path(route: str) -> str:
    import re

    return re.sub(r"<\w+:(\w+)>", r"{\1}", route)


@pytest.mark.parametrize("served", operations(), ids=lambda served: served.name)
def test_it_shows_examples_that_are_valid(document: dict[str, Any], served: Served) -> None:
    told = document["paths"]["/" + _openapi_path(served.route)][served.method]
    contents = [told["requestBody"]["content"]["application/json"]] if "requestBody" in told else []
    contents += [
        response["content"]["application/json"]
        for status, response in told["responses"].items()
        if status.startswith("2") and "application/json" in response.get("content", {})
    ]
    for content in contents:
        assert content.get("examples"), f"{served.name}: an example on {content['schema']}"
        for example in content["examples"].values():
            Draft202012Validator({**content["schema"], "components": document["components"]}).validate(example["value"])
    if served.operation.body is not None and served.operation.body.example is not None:
        shape = served.operation.body(data=served.operation.body.example, partial=served.method == "patch")
        assert shape.is_valid(), shape.errors


def test_it_names_every_operation_once() -> None:
    names = [served.name for served in operations()]
    assert len(names) == len(set(names)) and len(names) > 40
