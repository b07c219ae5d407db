"""The official OpenAI SDK's embeddings against a gateway whose upstream is Cohere's `/v2/embed`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.gateway.world import Tenant, World


@pytest.fixture(scope="module")
def route(world: World) -> str:
    return world.route("cohere", "embed-v4.0", units={"input": "0.8"}, surface="embeddings").name


@pytest.fixture
def ready(world: World, route: str, tenant: Tenant) -> Tenant:
    world.await_served(tenant, route)
    world.sandbox.post("/llm/__reset")
    return tenant


@pytest.fixture
def client(world: World, ready: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=ready.secret, max_retries=0) as client:
        yield client


def test_it_embeds_in_parts_of_96(world: World, client: openai.OpenAI, route: str, ready: Tenant) -> None:
    texts = [f"texto número {number}" for number in range(200)]
    answer = client.embeddings.create(model=route, input=texts, dimensions=256)
    assert [item.index for item in answer.data] == list(range(200))
    assert len(answer.data[0].embedding) == 256
    calls = world.sandbox.ledger()["calls"]
    assert sorted(call["kind"] for call in calls) == ["embeddings"] * 3
    [record] = ready.records()
    assert record.input_tokens == sum(call["usage"]["prompt_tokens"] for call in calls) == answer.usage.prompt_tokens
    [one] = client.embeddings.create(model=route, input=texts[150], dimensions=256, encoding_format="float").data
    assert one.embedding == pytest.approx(answer.data[150].embedding, abs=1e-6)
    query = client.embeddings.create(model=route, input=texts[150], dimensions=256, extra_body={"input_type": "search_query"})
    assert query.data[0].embedding != answer.data[150].embedding


def test_it_refuses_tokens_of_another_vocabulary(client: openai.OpenAI, route: str, ready: Tenant) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1], [2]]}, "input"),
        ({"input": "x", "extra_body": {"input_type": "poem"}}, "input_type"),
        ({"input": "x", "extra_body": {"foo": 1}}, "foo"),
    ]
    for fields, param in cases:
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model=route, **fields)
        assert refused.value.param == param
    assert ready.records() == []


@pytest.mark.parametrize(("fault", "source"), [("nousage", "counted"), ("stringusage", "counted"), ("absurdusage", "suspect")])
def test_embeddings_without_credible_usage_are_counted(
    world: World, route: str, ready: Tenant, client: openai.OpenAI, fault: str, source: str
) -> None:
    world.sandbox.script("cohere", fault)
    client.embeddings.create(model=route, input="Um texto curto.")
    [record] = ready.records()
    assert record.usage_source == source
    assert 0 < record.input_tokens <= 100
