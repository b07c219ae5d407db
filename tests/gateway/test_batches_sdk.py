"""Batches by OpenAI's SDK, against real processes: checked, run at the batch price, settled line by line, delivered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from openai import BadRequestError, NotFoundError, OpenAI, RateLimitError
from pytest_django import Settings

from billing.models import Hold, UsageRecord
from billing.pricebooks import price_lists
from billing.pricing import Usage, price_usage
from gateway import batch_run
from gateway.batch_run import run_batches
from gateway.models import Batch, BatchLine, StoredFile, StoredResponse
from tests.gateway.batch_cast import CHAT, client_of, jsonl, line_of, order, read_output, row_id
from tests.gateway.world import Tenant, World
from tests.make import make_top_up
from tokia import clock

pytestmark = pytest.mark.timeout(150)
MARK = "segredo-do-cliente"


@pytest.fixture(autouse=True)
def _empty(world: World) -> Iterator[None]:
    world.sandbox.post("/llm/__reset")
    yield
    clock.shift(0)
    Batch.everywhere.all().delete()
    StoredFile.everywhere.all().delete()
    assert not Hold.everywhere.exists()


@pytest.fixture
def client(world: World, tenant: Tenant) -> OpenAI:
    return client_of(world, tenant)


@pytest.fixture(scope="module")
def model(world: World) -> str:
    return world.route("openai", "gpt-4o-mini", name="openai/lote").name


def usage_of(record: UsageRecord) -> Usage:
    return Usage(**{name: getattr(record, name) for name in Usage.__struct_fields__})


def counts_of(batch: Any) -> tuple[int, int, int]:
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


def row_of(batch: Any) -> Batch:
    return Batch.everywhere.get(pk=row_id(batch.id))


# ── What it comes to ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_batch_costs_its_part_of_the_price_line_by_line(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    batch = order(client, jsonl(*(line_of(number, model) for number in range(1, 8))), metadata={"de": "teste"})
    assert (batch.status, batch.metadata, batch.endpoint) == ("validating", {"de": "teste"}, CHAT)
    assert run_batches() == 7
    batch = client.batches.retrieve(batch.id)
    assert (batch.status, batch.error_file_id, counts_of(batch)) == ("completed", None, (7, 7, 0))
    assert batch.created_at <= (batch.in_progress_at or 0) <= (batch.finalizing_at or 0) <= (batch.completed_at or 0)
    assert (batch.expires_at or 0) - batch.created_at == 86_400
    answers = read_output(client, batch.output_file_id)
    assert [answer["custom_id"] for answer in answers] == [f"linha-{number}" for number in range(1, 8)]
    records = {str(record.id): record for record in tenant.records()}
    assert len(records) == 7
    prices = price_lists()[model]
    for answer in answers:
        assert set(answer) == {"id", "custom_id", "response", "error"} and answer["id"].startswith("batch_req_")
        assert answer["error"] is None and answer["response"]["status_code"] == 200
        body: dict[str, Any] = answer["response"]["body"]
        assert body["object"] == "chat.completion" and body["choices"][0]["message"]["content"]
        record = records[answer["response"]["request_id"]]
        assert (record.surface, record.outcome, record.status_code) == ("batch:chat", "completed", 200)
        usage = usage_of(record)
        assert record.gross_nanos == price_usage(prices.scaled(), usage) == -(-price_usage(prices, usage) * 75 // 100)
        assert body["usage"]["prompt_tokens"] == usage.prompt_tokens
        assert round(body["usage"]["cost"] * 10**9) == record.net_nanos
    calls = world.sandbox.ledger()["calls"]
    assert len(calls) == 7
    for kind in ("prompt_tokens", "completion_tokens"):
        assert sum(call["usage"][kind] for call in calls) == sum(getattr(usage_of(record), kind) for record in records.values())
    assert tenant.fresh().posted_nanos == 100 * 10**9 - sum(record.net_nanos for record in records.values())
    file = client.files.retrieve(batch.output_file_id or "")
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")


@pytest.mark.parametrize(
    ("endpoint", "body", "surface", "kind"),
    [
        ("/v1/completions", {"prompt": "Era uma vez", "max_tokens": 16}, "batch:completions", "text_completion"),
        ("/v1/responses", {"input": "Diga olá.", "max_output_tokens": 32, "store": True}, "batch:responses", "response"),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Olá"}], "max_tokens": 32}, "batch:messages", "message"),
    ],
)
def test_every_chat_endpoint_is_a_batchs_too(
    world: World, tenant: Tenant, client: OpenAI, model: str, endpoint: str, body: dict[str, Any], surface: str, kind: str
) -> None:
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": model, **body}}
    batch = order(client, jsonl(line), endpoint=endpoint)
    assert run_batches() == 1
    batch = client.batches.retrieve(batch.id)
    [answer] = read_output(client, batch.output_file_id)
    told = answer["response"]["body"]
    assert kind in (told.get("object"), told.get("type"))
    [record] = tenant.records()
    assert record.surface == surface and record.net_nanos > 0
    if endpoint == "/v1/responses":  # kept in the settlement's own transaction, because it asked
        assert StoredResponse.everywhere.count() == 1
        assert client.responses.retrieve(told["id"]).id == told["id"]
        client.responses.delete(told["id"])


def test_a_hint_that_a_model_does_not_take_is_named_on_its_line(world: World, client: OpenAI) -> None:
    model = world.route("anthropic", "claude-haiku-4-5", name="anthropic/lote").name
    batch = order(client, jsonl(line_of(1, model, seed=7)))
    assert run_batches() == 1
    [answer] = read_output(client, client.batches.retrieve(batch.id).output_file_id)
    assert answer["response"]["dropped_params"] == ["seed"]


def test_embeddings_too(world: World, tenant: Tenant, client: OpenAI) -> None:
    model = world.route(
        "openai", "text-embedding-3-small", name="openai/lote-vetor", surface="embeddings", units={"input": "2"}
    ).name
    lines = [
        {"custom_id": str(number), "method": "POST", "url": "/v1/embeddings", "body": {"model": model, "input": ["um", "dois"]}}
        for number in range(3)
    ]
    batch = order(client, jsonl(*lines), endpoint="/v1/embeddings")
    assert run_batches() == 3
    for answer in read_output(client, client.batches.retrieve(batch.id).output_file_id):
        assert [len(item["embedding"]) > 10 for item in answer["response"]["body"]["data"]] == [True, True]
    prices = price_lists()[model].scaled()
    assert all(record.gross_nanos == price_usage(prices, usage_of(record)) > 0 for record in tenant.records())


# ── Files that are refused ───────────────────────────────────────────────────────────────────────────────────────────
def test_every_bad_line_is_named_and_none_is_called(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    good = line_of(1, model)
    bad: list[tuple[Any, str, str | None]] = [
        ("não é json", "invalid_json", None),
        ("[1, 2]", "invalid_type", None),
        ({**good, "custom_id": "linha-1"}, "duplicate_custom_id", "custom_id"),
        ({**good, "custom_id": ""}, "invalid_value", "custom_id"),
        ({**good, "custom_id": 7}, "invalid_type", "custom_id"),
        ({**good, "custom_id": "b", "method": "GET"}, "invalid_method", "method"),
        ({**good, "custom_id": "c", "url": "/v1/embeddings"}, "invalid_url", "url"),
        ({**good, "custom_id": "d", "body": [1]}, "invalid_value", "body"),
        ({"custom_id": "e", "method": "POST", "url": CHAT}, "missing_required_parameter", "body"),
        ({**good, "custom_id": "f", "body": {"model": model}}, "missing_required_parameter", "messages"),
        ({**good, "custom_id": "g", "body": {**good["body"], "model": "não/existe"}}, "model_not_found", "model"),
        ({**good, "custom_id": "h", "body": {**good["body"], "stream": True}}, "invalid_value", "stream"),
        ({**good, "custom_id": "i", "body": {**good["body"], "n": 0}}, "invalid_value", "n"),
        ('{"custom_id":"j","custom_id":"k","method":"POST","url":"x","body":{}}', "invalid_url", "url"),
        ("[" * 100_000, "invalid_type", None),
        (
            '{"custom_id":"l","method":"POST","url":"' + CHAT + '","body":' + '{"a":' * 50_000 + "1" + "}" * 50_001,
            "invalid_json",
            None,
        ),
        ({**good, "custom_id": "m", "body": {**good["body"], "api_base": "http://127.0.0.1"}}, "unsupported_parameter", "api_base"),
    ]
    content = jsonl(good) + b"".join((text if isinstance(text, str) else json.dumps(text)).encode() + b"\n" for text, _, _ in bad)
    content += b"\n\xff\xfe\x00 bin\xe1rio\n" + b'{"custom_id":"\\ud800","method":"POST","url":"/v1/chat/completions","body":{}}\n'
    batch = order(client, content)
    assert run_batches() == 0
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "failed" and batch.failed_at and batch.errors and batch.errors.data
    found = {error.line: (error.code, error.param) for error in batch.errors.data}
    for number, (_, code, param) in enumerate(bad, start=2):
        assert number in found, number
        if found[number][0] != "invalid_json" or code == "invalid_json":
            assert found[number][0] == code, (number, found[number])
        if param is not None and code != "invalid_json":
            assert found[number][1] == param, (number, found[number])
    assert {len(bad) + 3, len(bad) + 4} <= found.keys()
    assert 1 not in found
    assert not BatchLine.everywhere.exists() and tenant.records() == []
    assert world.sandbox.ledger()["calls"] == []


@pytest.mark.parametrize("content", [b"\n\n  \r\n", b"\xff" * 4_096, b"\x00" * 10, "﻿".encode()])
def test_a_file_that_is_no_list_of_lines_is_refused(client: OpenAI, content: bytes) -> None:
    batch = order(client, content)
    run_batches()
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "failed" and batch.errors and batch.errors.data


def test_a_byte_order_mark_and_windows_lines_do_no_harm(client: OpenAI, model: str) -> None:
    content = b"\xef\xbb\xbf" + jsonl(line_of(1, model), line_of(2, model)).replace(b"\n", b"\r\n")
    batch = order(client, content.rstrip(b"\r\n"))
    assert run_batches() == 2
    assert counts_of(client.batches.retrieve(batch.id)) == (2, 2, 0)


def test_there_are_so_many_lines(client: OpenAI, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.batch_check.LINES_MAX", 3)
    batch = order(client, jsonl(*(line_of(number, model) for number in range(4))))
    run_batches()
    batch = client.batches.retrieve(batch.id)
    assert batch.errors and batch.errors.data and [error.code for error in batch.errors.data] == ["too_many_lines"]
    assert not BatchLine.everywhere.exists()


def test_what_belongs_to_the_caller_is_not_looked_into(client: OpenAI, model: str) -> None:
    """A tool may have a parameter of any name."""
    parameters = {"type": "object", "properties": {"api_key": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "entrar", "parameters": parameters}}
    batch = order(client, jsonl(line_of(1, model, tools=[tool])))
    assert run_batches() == 1
    assert counts_of(client.batches.retrieve(batch.id)) == (1, 1, 0)


def test_a_file_that_was_deleted_meanwhile(client: OpenAI, model: str) -> None:
    batch = order(client, jsonl(line_of(1, model)))
    client.files.delete(batch.input_file_id)
    run_batches()
    batch = client.batches.retrieve(batch.id)
    assert batch.errors and batch.errors.data and batch.errors.data[0].code == "file_not_found"


def test_what_a_batch_is_opened_with_is_checked(world: World, client: OpenAI, model: str, settings: Settings) -> None:
    file = client.files.create(file=("a.jsonl", b"{}"), purpose="batch").id
    other = client.files.create(file=("a.jsonl", b"{}"), purpose="user_data").id
    fine: dict[str, Any] = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"endpoint": "/v1/images/generations"}, "endpoint"), ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": other}, "input_file_id"), ({"input_file_id": 7}, "input_file_id"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"), ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"output_expires_after": {"anchor": "x", "seconds": 3600}}, "output_expires_after.anchor"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ]  # fmt: skip
    for change, param in cases:
        with pytest.raises(BadRequestError) as refused:
            client.batches.create(**{**fine, **change})
        assert refused.value.param == param, change
    with pytest.raises(BadRequestError):
        client.batches.create(**fine, extra_body={"other": 1})
    with pytest.raises(NotFoundError) as missing:
        client_of(world, world.tenant()).batches.create(**fine)  # a stranger's file
    assert missing.value.param == "input_file_id"
    assert not Batch.everywhere.exists()
    for _ in range(django_settings.BATCHES_OPEN_MAX):
        client.batches.create(**fine)
    with pytest.raises(RateLimitError):
        client.batches.create(**fine)


# ── Lines that fail ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_line_that_a_provider_refuses_is_an_error_of_its_own(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    bad = world.fault_route("openai", "400", "gpt-4o-mini")
    strict = line_of(3, model, logit_bias="x")
    batch = order(client, jsonl(line_of(1, model), line_of(2, bad), strict))
    assert run_batches() >= 1
    batch = client.batches.retrieve(batch.id)
    total, completed, failed = counts_of(batch)
    assert (batch.status, total, completed + failed) == ("completed", 3, 3) and failed >= 1
    errors = read_output(client, batch.error_file_id)
    assert "linha-2" in [line["custom_id"] for line in errors]
    for line in errors:
        assert line["error"] is None and 400 <= line["response"]["status_code"] < 500
        assert set(line["response"]["body"]["error"]) == {"message", "type", "param", "code", "doc_url"}
    paid = [record for record in tenant.records() if record.net_nanos]
    assert len(paid) == completed


def test_a_fault_that_passes_is_tried_again(
    world: World, tenant: Tenant, client: OpenAI, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.batch_lines.DELAY_SECONDS", 0)
    world.sandbox.script("openai", "500", "503")
    batch = order(client, jsonl(line_of(1, model), line_of(2, model)))
    run_batches(seconds=8)
    for _ in range(5):
        if client.batches.retrieve(batch.id).status == "completed":
            break
        clock.shift(10)
        run_batches(seconds=8)
    assert counts_of(client.batches.retrieve(batch.id)) == (2, 2, 0)
    outcomes = sorted(record.outcome for record in tenant.records())
    assert outcomes.count("completed") == 2
    assert all(record.net_nanos == 0 for record in tenant.records() if record.outcome == "failed")


def test_a_fault_that_stays_fails_the_line_free_of_charge(
    world: World, tenant: Tenant, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.batch_lines.DELAY_SECONDS", 0)
    monkeypatch.setattr(batch_run, "TRIES_MAX", 2)
    sick = world.fault_route("openai", "500", "gpt-4o-mini")
    batch = order(client, jsonl(line_of(1, sick)))
    run_batches(seconds=5)
    batch = client.batches.retrieve(batch.id)
    assert (batch.status, counts_of(batch)) == ("completed", (1, 0, 1))
    [line] = read_output(client, batch.error_file_id)
    assert line["response"]["status_code"] >= 500
    assert [record.net_nanos for record in tenant.records()] == [0, 0]
    assert tenant.fresh().posted_nanos == 100 * 10**9


# ── Money that is not there ──────────────────────────────────────────────────────────────────────────────────────────
def test_lines_wait_for_a_top_up(world: World, model: str) -> None:
    poor = world.tenant(brl="0.00001")
    client = client_of(world, poor)
    batch = order(client, jsonl(line_of(1, model)))
    assert run_batches() == 0
    batch = client.batches.retrieve(batch.id)
    assert (batch.status, counts_of(batch)) == ("in_progress", (1, 0, 0))
    assert world.sandbox.ledger()["calls"] == [] and poor.records() == []
    make_top_up(wallet=poor.wallet, brl="10.00")
    assert run_batches() == 0  # it asks again in half a minute
    clock.shift(31)
    assert run_batches() == 1
    assert client.batches.retrieve(batch.id).status == "completed"


def test_lines_that_no_balance_covered_say_so_at_the_windows_end(world: World, model: str) -> None:
    poor = world.tenant(brl="0.00001")
    client = client_of(world, poor)
    batch = order(client, jsonl(line_of(1, model)))
    run_batches()
    clock.shift(86_401)
    run_batches()
    clock.shift(0)
    batch = client.batches.retrieve(batch.id)
    assert (batch.status, counts_of(batch)) == ("expired", (1, 0, 1))
    [line] = read_output(client, batch.error_file_id)
    assert (line["response"], line["error"]["code"]) == (None, "insufficient_balance")
