"""Files and batches by OpenAI's SDK, against real processes: uploaded, run at the batch price, delivered, reconciled."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI

from billing.models import UsageRecord
from billing.pricebooks import price_lists
from billing.pricing import price_usage
from tests.gateway.batch_cast import client_of, jsonl, line_of, order, read_output, run_turn
from tests.gateway.world import Tenant, World

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def client(world: World, tenant: Tenant) -> OpenAI:
    return client_of(world, tenant)


@pytest.fixture(scope="module")
def chat_model(world: World) -> str:
    return world.route("openai", "gpt-4o-mini", name="openai/lote").name


def test_a_batch_is_run_at_the_batch_price_and_settled_line_by_line(
    world: World, tenant: Tenant, client: OpenAI, chat_model: str
) -> None:
    batch = order(client, jsonl(*(line_of(number, chat_model) for number in range(1, 8))), metadata={"de": "teste"})
    assert (batch.status, batch.metadata, batch.endpoint) == ("validating", {"de": "teste"}, "/v1/chat/completions")
    world.sandbox.post("/llm/__reset")
    assert run_turn(world.folder) == 7
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed" and batch.error_file_id is None
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (7, 7, 0)
    answers = read_output(client, batch.output_file_id)
    assert [answer["custom_id"] for answer in answers] == [f"linha-{number}" for number in range(1, 8)]
    records = {str(record.id): record for record in tenant.records()}
    assert len(records) == 7
    prices = price_lists()[chat_model]
    for answer in answers:
        assert answer["error"] is None and answer["response"]["status_code"] == 200
        body: dict[str, Any] = answer["response"]["body"]
        assert body["object"] == "chat.completion" and body["choices"][0]["message"]["content"]
        record = records[answer["response"]["request_id"]]
        assert (record.surface, record.outcome, record.status_code) == ("batch:chat", "completed", 200)
        usage = record_usage(record)
        assert record.gross_nanos == price_usage(prices.scaled(), usage)
        assert record.gross_nanos == -(-price_usage(prices, usage) * 75 // 100)
        assert body["usage"]["prompt_tokens"] == usage.prompt_tokens
        assert round(body["usage"]["cost"] * 10**9) == record.net_nanos
    assert len([entry for entry in world.sandbox.ledger()["calls"]]) == 7


def record_usage(record: UsageRecord) -> Any:
    from billing.pricing import Usage

    return Usage(**{name: getattr(record, name) for name in Usage.__struct_fields__})
