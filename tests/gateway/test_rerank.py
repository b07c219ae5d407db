"""Rerank: what a body may hold, how many searches it is, and Cohere's SDK against a real gateway."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError
from hypothesis import given
from hypothesis import strategies as st

from billing.money import BRL, to_brl
from gateway.dialects.base import RankedDocument, RerankAnswer
from gateway.dialects.cohere_rerank import read_rerank
from gateway.errors import BadRequest, UpstreamError
from gateway.rerank import basis_of
from gateway.rerank_call import DOCUMENTS_MAX, count_searches, parse_rerank
from tests.gateway.world import Tenant, World, await_true

DOCUMENTS = [
    "Curitiba é a capital do Paraná.",
    "A capital do Brasil é Brasília.",
    "O café é uma bebida.",
    "São Paulo é a maior cidade do Brasil.",
]
QUERY = "Qual é a capital do Brasil?"
BODY: dict[str, Any] = {"model": "cohere/rerank-v3.5", "query": QUERY, "documents": DOCUMENTS}


def parse(**fields: Any) -> Any:
    return parse_rerank(json.dumps({**BODY, **fields}).encode())


# ── Bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_reads_texts_and_objects_with_a_text() -> None:
    call = parse(documents=["um", {"text": "dois"}], top_n=1, max_tokens_per_doc=10, return_documents=True, user="u", priority=None)
    assert call.documents == ["um", "dois"]
    assert (call.top_n, call.tokens_per_document, call.wants_documents, call.dropped) == (1, 10, True, ("user",))
    assert parse(rank_fields=["a"], drop_params=True).dropped == ("rank_fields",)


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"query": " "}, "query"),
    ({"query": ["x"]}, "query"),
    ({"documents": []}, "documents"),
    ({"documents": "x"}, "documents"),
    ({"documents": ["x", ""]}, "documents[1]"),
    ({"documents": [3]}, "documents[0]"),
    ({"documents": [{"title": "x"}]}, "documents[0].text"),
    ({"documents": ["x"] * (DOCUMENTS_MAX + 1)}, "documents"),
    ({"top_n": 0}, "top_n"),
    ({"top_n": 1.5}, "top_n"),
    ({"max_tokens_per_doc": -1}, "max_tokens_per_doc"),
    ({"return_documents": "yes"}, "return_documents"),
    ({"rank_fields": ["a"]}, "rank_fields"),
    ({"relevant_spans": {"mode": "enabled"}}, "relevant_spans"),
    ({"api_base": "http://169.254.169.254"}, "api_base"),
]


@pytest.mark.parametrize(("fields", "param"), HOSTILE, ids=lambda value: str(value)[:30])
def test_it_refuses_a_bad_body_naming_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(**fields)
    assert refused.value.param == param


# ── Search units ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("documents", "fields", "searches"),
    [
        (["x"], {}, 1),
        (["x"] * 100, {}, 1),
        (["x"] * 101, {}, 2),
        (["x"] * 1000, {}, 10),
        ([" a" * 480] * 100, {}, 1),
        ([" a" * 600] * 50, {}, 1),
        ([" a" * 600] * 51, {}, 2),
        ([" a" * 5_000] * 10, {}, 1),  # nothing beyond 4,096 tokens is read: nine parts each
        ([" a" * 5_000] * 12, {}, 2),
        ([" a" * 5_000] * 12, {"max_tokens_per_doc": 400}, 1),
        ([" a" * 600] * 50, {"query": " a" * 300}, 2),  # the query takes at most 256 of the 500
    ],
)
def test_it_counts_searches_as_cohere_does(documents: list[str], fields: dict[str, Any], searches: int) -> None:
    assert count_searches(parse(documents=documents, **fields), factor_percent=100) == (searches, searches)


@given(st.lists(st.text(min_size=1, max_size=3_000), min_size=1, max_size=40), st.text(min_size=1, max_size=2_000))
def test_the_bound_of_searches_is_never_below_the_count(documents: list[str], query: str) -> None:
    documents = [f"d{document}" for document in documents]
    call = parse(documents=documents, query=f"q{query}")
    counted, bound = count_searches(call, factor_percent=125)
    assert 1 <= counted <= bound
    assert -(-len(documents) // 100) <= counted


@pytest.mark.parametrize(
    ("said", "expected"),
    [(2, (2, "upstream")), (None, (3, "counted")), (9, (5, "suspect")), (0, (3, "suspect")), (-4, (3, "suspect"))],
)
def test_it_bills_what_the_upstream_says_within_what_was_held(said: int | None, expected: tuple[int, str]) -> None:
    assert basis_of(RerankAnswer([], said), counted=3, bound=5) == expected


def test_it_reads_an_answer() -> None:
    body = {"id": "r1", "results": [{"index": 1, "relevance_score": 0.5}], "meta": {"billed_units": {"search_units": 2.0}}}
    assert read_rerank(json.dumps(body).encode()) == RerankAnswer([RankedDocument(1, 0.5)], 2, "r1")
    metas: list[Any] = [{}, {"billed_units": {}}, {"billed_units": {"search_units": "2"}}, None, 3]
    for meta in metas:
        assert read_rerank(json.dumps({**body, "meta": meta}).encode()).searches is None
    for broken in (b"", b"<html>", b'{"results":[{"index":"0","relevance_score":1}]}', b'{"message":"x"}'):
        with pytest.raises(UpstreamError):
            read_rerank(broken)


# ── Cohere's SDK ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def route(world: World) -> str:
    return world.route("cohere", "rerank-v3.5", surface="rerank", units={"search": "0.02"}).name


@pytest.fixture(scope="module")
def others(world: World) -> dict[str, str]:
    return {
        "chat": world.route("cohere", "command-a-03-2025").name,
        "lost": world.route("cohere", "rerank-v9", name="test/unpriced-rerank", surface="rerank", units={"input": "1"}).name,
        "foreign": world.route("openai", "gpt-4o-mini", name="test/foreign-rerank", surface="rerank", units={"search": "1"}).name,
    }


@pytest.fixture
def ready(world: World, route: str, others: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, route, *others.values())
    world.sandbox.post("/llm/__reset")
    return tenant


@pytest.fixture
def client(world: World, ready: Tenant) -> Iterator[cohere.ClientV2]:
    with cohere.ClientV2(ready.secret, base_url=world.gateway.url, max_retries=0) as client:
        yield client


def ask(world: World, tenant: Tenant, body: Any, path: str = "/v1/rerank") -> httpx.Response:
    return httpx.post(world.gateway.url + path, json=body, headers=tenant.headers, timeout=30)


def agree(world: World, tenant: Tenant, searches: list[int]) -> None:
    """The sandbox's ledger, our usage records and the wallet say the same."""
    await_true(lambda: world.sandbox.ledger()["in_flight"] == 0)
    billed = {call["id"]: call["usage"] for call in world.sandbox.ledger()["calls"] if call["status"] == "finished"}
    records = tenant.records()
    assert [record.searches for record in records] == searches
    for record in records:
        assert record.searches == billed[record.upstream_id]["searches"]
        assert (record.surface, record.outcome, record.usage_source) == ("rerank", "completed", "upstream")
        assert record.input_tokens == record.output_tokens == 0
        assert record.gross_nanos == record.searches * BRL // 50
    wallet = tenant.fresh()
    assert wallet.held_nanos == 0
    assert wallet.posted_nanos == 100 * BRL - sum(record.net_nanos for record in records)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_sdk_finds_it_below_either_address(world: World, route: str, ready: Tenant, suffix: str) -> None:
    with cohere.ClientV2(ready.secret, base_url=world.gateway.url + suffix, max_retries=0) as client:
        answer = client.rerank(model=route, query=QUERY, documents=DOCUMENTS, top_n=3)
    assert answer.results[0].index == 1
    assert len(answer.results) == 3
    scores = [result.relevance_score for result in answer.results]
    assert scores == sorted(scores, reverse=True)
    assert answer.id
    assert answer.meta is not None
    assert answer.meta.billed_units is not None
    assert answer.meta.billed_units.search_units == 1
    agree(world, ready, [1])


def test_it_serves_the_old_client_and_the_async_one(world: World, route: str, ready: Tenant) -> None:
    with cohere.Client(ready.secret, base_url=world.gateway.url, max_retries=0) as old:
        told = old.rerank(model=route, query=QUERY, documents=[{"text": text} for text in DOCUMENTS], return_documents=True)
    assert told.results[0].document is not None
    assert told.results[0].document.text == DOCUMENTS[told.results[0].index]

    async def ask_both() -> list[Any]:
        async with cohere.AsyncClientV2(ready.secret, base_url=world.gateway.url, max_retries=0) as client:
            calls = (client.rerank(model=route, query=QUERY, documents=DOCUMENTS * 50, max_tokens_per_doc=100) for _ in range(2))
            return list(await asyncio.gather(*calls))

    assert [len(answer.results) for answer in asyncio.run(ask_both())] == [200, 200]
    agree(world, ready, [1, 2, 2])


def test_it_tells_what_it_cost(world: World, route: str, ready: Tenant) -> None:
    told = ask(world, ready, {**BODY, "model": route, "documents": [" prato" * 900] * 60, "top_n": 500, "user": "u1"})
    body = json.loads(told.text, parse_float=Decimal)
    [record] = ready.records()
    assert record.searches == 2
    assert body["usage"]["search_units"] == body["meta"]["billed_units"]["search_units"] == 2
    assert body["usage"]["cost"] == Decimal(told.headers["x-tokia-cost-brl"]) == to_brl(record.net_nanos).normalize()
    assert "document" not in body["results"][0]
    assert told.headers["x-tokia-dropped-params"] == "user"
    assert told.headers["x-request-id"] == str(record.id)
    assert (record.hold_nanos or 0) >= record.gross_nanos
    agree(world, ready, [2])


@pytest.mark.parametrize("fault", ["nousage", "stringusage", "absurdusage", "negativeusage"])
def test_usage_that_can_not_be_true_is_bounded(world: World, route: str, ready: Tenant, fault: str) -> None:
    world.sandbox.script("cohere", fault)
    assert ask(world, ready, {**BODY, "model": route}).status_code == 200
    [record] = ready.records()
    assert (record.searches, record.usage_source) == (1, "suspect" if fault in ("absurdusage", "negativeusage") else "counted")


@pytest.mark.parametrize(
    ("fault", "status"), [("503", 503), ("429", 429), ("401", 502), ("400", 400), ("html", 502), ("truncated", 502), ("reset", 502)]
)
def test_a_failure_costs_nothing(world: World, client: cohere.ClientV2, route: str, ready: Tenant, fault: str, status: int) -> None:
    world.sandbox.script("cohere", fault)
    with pytest.raises(ApiError) as failed:
        client.rerank(model=route, query=QUERY, documents=DOCUMENTS)
    assert failed.value.status_code == status
    [record] = ready.records()
    assert (record.net_nanos, record.searches, record.outcome) == (0, 0, "failed")
    assert ready.fresh().held_nanos == 0


def test_another_deployment_is_asked_when_one_fails(world: World, route: str, ready: Tenant) -> None:
    from gateway.models import Deployment, Route

    spare = Deployment.objects.create(
        route=Route.objects.get(name=route), provider=world.provider("cohere"), upstream_model="rerank-v4.0-fast", priority=900
    )
    try:

        def answered_by_spare() -> bool:
            world.sandbox.script("cohere", "503")
            told = ask(world, ready, {**BODY, "model": route})
            world.sandbox.post("/llm/__reset")
            return told.status_code == 200 and told.headers["x-tokia-attempts"] == "2"

        await_true(answered_by_spare)
        last = ready.records()[-1]
        assert last.upstream_model == "rerank-v4.0-fast"
        assert [attempt["status"] for attempt in last.attempts] == [503, 200]
    finally:
        spare.delete()


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_hostile_bodies_are_refused_fast_and_hold_nothing(world: World, route: str, ready: Tenant) -> None:
    bodies = [json.dumps({**BODY, "model": route, **fields}).encode() for fields, _ in HOSTILE if fields.get("model", "x")]
    bodies += [b"", b"[]", b"\xff", b"{", b'{"query":1e999}', b"[" * 100_000, b'{"a":' * 5_000, b'{"model":"x","model":"y"}']
    bodies.append(json.dumps({**BODY, "model": route, "documents": ["x"] * 200_000}).encode())
    slowest = 0.0
    with httpx.Client(base_url=world.gateway.url, headers=ready.headers) as http:
        http.get("/v1/models")
        for body in bodies:
            times = []
            for _ in range(3):
                started = time.perf_counter()
                told = http.post("/v1/rerank", content=body, headers={"content-type": "application/json"})
                times.append(time.perf_counter() - started)
                assert 400 <= told.status_code < 500, body[:80]
                assert told.json()["error"]["message"]
            slowest = max(slowest, min(times))
    assert slowest < 0.05
    assert ready.records() == []
    assert ready.fresh().held_nanos == 0


def test_it_refuses_who_may_not_and_what_is_not_sold(
    world: World, client: cohere.ClientV2, route: str, others: dict[str, str], ready: Tenant
) -> None:
    url = f"{world.gateway.url}/v1/rerank"
    assert httpx.post(url, json=BODY).status_code == 401
    assert httpx.post(url, json=BODY, headers={"authorization": "Bearer sk-tokia-nope"}).status_code == 401
    wrong = httpx.get(url, headers=ready.headers)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    for model, status in ((others["chat"], 404), ("nobody/nothing", 404)):
        with pytest.raises(cohere.NotFoundError) as refused:
            client.rerank(model=model, query=QUERY, documents=DOCUMENTS)
        assert refused.value.status_code == status
    chat = httpx.post(f"{world.gateway.url}/v1/chat/completions", headers=ready.headers,
                      json={"model": route, "messages": [{"role": "user", "content": "x"}]})  # fmt: skip
    assert chat.status_code == 404
    limited = world.tenant(allowed_routes=[others["chat"]])
    world.await_served(limited, others["chat"])
    assert ask(world, limited, {**BODY, "model": route}).status_code == 403
    assert ask(world, ready, {**BODY, "model": others["lost"]}).status_code == 503  # it has no price per search
    assert ask(world, ready, {**BODY, "model": others["foreign"]}).status_code == 400  # its provider ranks nothing
    assert ready.records() == []
    assert ready.fresh().held_nanos == 0


def test_it_needs_money(world: World, route: str, others: dict[str, str]) -> None:
    poor = world.tenant(brl="0.03")
    world.await_served(poor, route)
    told = ask(world, poor, {**BODY, "model": route, "documents": DOCUMENTS * 30})
    assert (told.status_code, told.json()["error"]["code"]) == (402, "insufficient_balance")
    assert "max_tokens" not in told.json()["error"]["message"]
    assert ask(world, poor, {**BODY, "model": route}).status_code == 200
    assert poor.fresh().posted_nanos == BRL // 100
