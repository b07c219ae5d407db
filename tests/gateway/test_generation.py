"""What became of a call, told to its organization and nobody else, in OpenRouter's words; and what its caller thinks of it."""

from __future__ import annotations

import asyncio
import json
import uuid
from decimal import Decimal
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from gateway import reading
from gateway.errors import Unavailable
from gateway.feedback_store import reseal_feedback
from gateway.models import Deployment, Feedback
from gateway.secrets import unseal
from tests.gateway.world import Tenant, World, chat_body
from tests.make import make_hold, make_usage

GENERATION = "/v1/generation"


@pytest.fixture(scope="module")
def route(world: World) -> str:
    return world.route("openai", "gpt-4o-mini", name="openai/told", units={"input": "10", "output": "30"}).name


@pytest.fixture(scope="module")
def fallen(world: World) -> str:
    """A model whose first provider is down; the second one answers."""
    route = world.route("deepseek", "fault-500-told", name="told/falls-back")
    Deployment.objects.create(route=route, provider=world.provider("openai"), upstream_model="gpt-4o-mini", priority=2)
    return route.name


@pytest.fixture
def ready(world: World, route: str, fallen: str, tenant: Tenant) -> Tenant:
    world.await_served(tenant, route, fallen)
    return tenant


def call(world: World, tenant: Tenant, model: str, **fields: Any) -> httpx.Response:
    return httpx.post(
        f"{world.gateway.url}/v1/chat/completions", json=chat_body(model, **fields), headers=tenant.headers, timeout=30
    )


def tell(world: World, tenant: Tenant, id_: str) -> dict[str, Any]:
    answer = httpx.get(world.gateway.url + GENERATION, params={"id": id_}, headers=tenant.headers)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = json.loads(answer.text, parse_float=Decimal)["data"]
    return data


def refusal(world: World, tenant: Tenant, **params: str) -> tuple[int, str]:
    answer = httpx.get(world.gateway.url + GENERATION, params=params, headers=tenant.headers)
    return answer.status_code, answer.json()["error"]["code"]


def test_it_tells_a_call_in_openrouters_words(world: World, ready: Tenant, route: str) -> None:
    answer = call(world, ready, route)
    usage = json.loads(answer.text, parse_float=Decimal)["usage"]
    data = tell(world, ready, answer.headers["x-request-id"])
    assert data["id"] == answer.headers["x-request-id"]
    assert (data["model"], data["provider_name"], data["upstream_id"]) == (route, "openai", answer.json()["id"])
    assert (data["streamed"], data["cancelled"], data["status"], data["finish_reason"]) == (False, False, "completed", "stop")
    assert (data["tokens_prompt"], data["tokens_completion"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert data["total_cost"] == data["usage"] == usage["cost"]
    assert data["cost_details"] == {"currency": "BRL", "list_cost": usage["cost"], "discount": 0}
    assert (data["usage_source"], data["is_byok"], data["response_cache"]) == ("upstream", False, None)
    assert data["routing"]["asked"] == route
    [attempt] = data["provider_responses"]
    assert (attempt["provider_name"], attempt["model"], attempt["status"], attempt["error"]) == ("openai", route, 200, None)
    assert attempt["circuit"] == "closed"
    assert "cost_nanos" not in data and "upstream_inference_cost" not in data, "what we pay is nobody's to know"


def test_it_is_there_as_soon_as_the_last_byte_of_a_stream_has_left(world: World, ready: Tenant, route: str) -> None:
    with httpx.Client(base_url=world.gateway.url, headers=ready.headers, timeout=30) as client:
        for _ in range(10):
            with client.stream("POST", "/v1/chat/completions", json=chat_body(route, stream=True)) as stream:
                id_ = stream.headers["x-request-id"]
                assert stream.read().endswith(b"data: [DONE]\n\n")
            data = client.get(GENERATION, params={"id": id_}).json()["data"]
            assert data["streamed"] and data["latency"] <= data["total_time"]
            assert data["generation_time"] == data["total_time"] - data["latency"]


@pytest.mark.parametrize("is_stream", [False, True])
def test_it_shows_every_attempt_of_a_call_that_fell_back(world: World, ready: Tenant, fallen: str, is_stream: bool) -> None:
    answer = call(world, ready, fallen, stream=is_stream)
    assert answer.status_code == 200
    assert (answer.headers["x-tokia-attempts"], answer.headers["x-tokia-provider"]) == ("2", "openai")
    data = tell(world, ready, answer.headers["x-request-id"])
    first, second = data["provider_responses"]
    assert (first["provider_name"], first["status"]) == ("deepseek", 500) and first["error"]
    assert (second["provider_name"], second["status"], second["error"]) == ("openai", 200, None)
    assert data["provider_name"] == "openai"
    assert {first["model"], second["model"]} == {fallen}


def test_it_counts_the_attempts_on_a_refusal_too(world: World, ready: Tenant) -> None:
    broken = world.fault_route("mistral", "500", "told")
    world.await_served(ready, broken)
    answer = call(world, ready, broken)
    assert answer.status_code == 502 or answer.status_code == 503
    assert answer.headers["x-tokia-attempts"] == "1"
    data = tell(world, ready, answer.headers["x-request-id"])
    assert (data["status"], data["http_status"], data["total_cost"]) == ("failed", answer.status_code, 0)
    assert data["provider_responses"][0]["status"] == 500
    assert "x-tokia-attempts" not in call(world, ready, "no/such-model").headers


def test_it_finds_a_call_by_the_id_of_its_answer(world: World, ready: Tenant, route: str) -> None:
    answer = call(world, ready, route)
    call_id = answer.headers["x-request-id"]
    for id_ in (answer.json()["id"], call_id.replace("-", ""), f"gen-{call_id}", f"chatcmpl-{call_id}"):
        assert tell(world, ready, id_)["id"] == call_id, id_


def test_it_tells_nobody_elses(world: World, ready: Tenant, route: str) -> None:
    answer = call(world, ready, route)
    stranger = world.tenant()
    world.await_served(stranger, route)
    for id_ in (answer.headers["x-request-id"], answer.json()["id"]):
        assert refusal(world, stranger, id=id_) == (404, "generation_not_found")
    rated = httpx.post(
        f"{world.gateway.url}{GENERATION}/feedback",
        json={"id": answer.headers["x-request-id"], "score": 1},
        headers=stranger.headers,
    )
    assert (rated.status_code, rated.json()["error"]["code"]) == (404, "generation_not_found")
    assert not Feedback.everywhere.filter(call_id=answer.headers["x-request-id"]).exists()
    assert httpx.get(world.gateway.url + GENERATION, params={"id": "x"}).status_code == 401


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, (400, "missing_required_parameter")),
        ({"id": ""}, (400, "missing_required_parameter")),
        ({"id": "a b"}, (400, "invalid_value")),
        ({"id": "x" * 201}, (400, "invalid_value")),
        ({"id": "é"}, (400, "invalid_value")),
        ({"id": "\x00"}, (400, "invalid_value")),
        ({"id": "' OR 1=1 --".replace(" ", "")}, (404, "generation_not_found")),
        ({"id": "chatcmpl-unknown"}, (404, "generation_not_found")),
        ({"id": str(uuid.UUID(int=0))}, (404, "generation_not_found")),
    ],
)
def test_it_refuses_what_is_no_id(world: World, ready: Tenant, params: dict[str, str], expected: tuple[int, str]) -> None:
    assert refusal(world, ready, **params) == expected


def test_it_knows_its_methods(world: World, ready: Tenant) -> None:
    for method, path, status in (("POST", "", 405), ("GET", "/feedback", 405), ("GET", "/other", 404)):
        assert httpx.request(method, world.gateway.url + GENERATION + path, headers=ready.headers).status_code == status, path


def test_it_says_that_a_call_still_runs(world: World, ready: Tenant) -> None:
    held = make_hold(wallet=ready.wallet)
    assert refusal(world, ready, id=str(held)) == (404, "generation_running")
    assert refusal(world, world.tenant(), id=str(held))[1] in ("generation_not_found", "invalid_api_key")


def test_it_tells_a_hostile_name_as_it_was_and_all_that_routing_kept(world: World, ready: Tenant) -> None:
    hostile = '"><script>alert(1)</script>\u2028'
    routing = {"asked": hostile, "rule": "tokia/balanced", "why": ["latency_budget"], "session": "s-1", "experiment": "Teste",
               "arm": "B", "skipped": [{"reason": "circuit_open", "route": "a/b", "provider": "groq"}]}  # fmt: skip
    call_id = str(make_usage(wallet=ready.wallet, gross_nanos=7, routing=routing).id)
    data = tell(world, ready, call_id)
    assert data["routing"] == routing
    assert (data["router"], data["session_id"], data["total_cost"]) == ("tokia/balanced", "s-1", Decimal("0.000000007"))


def test_it_tells_a_hit_of_the_cache_and_other_surfaces(world: World, ready: Tenant, route: str) -> None:
    cached = {**ready.headers, "x-tokia-cache": "true"}
    ids = [
        httpx.post(f"{world.gateway.url}/v1/chat/completions", json=chat_body(route, seed=7), headers=cached).headers[
            "x-request-id"
        ]
        for _ in range(2)
    ]
    first, second = (tell(world, ready, id_) for id_ in ids)
    assert (first["response_cache"], second["response_cache"]) == (None, "HIT")
    assert first["total_cost"] > 0 and second["total_cost"] == 0 and second["provider_responses"] == []
    embedded = world.route("openai", "text-embedding-3-small", name="openai/told-embed", surface="embeddings", units={"input": "1"})
    world.await_served(ready, embedded.name)
    answer = httpx.post(
        f"{world.gateway.url}/v1/embeddings", json={"model": embedded.name, "input": "bom dia"}, headers=ready.headers
    )
    data = tell(world, ready, answer.headers["x-request-id"])
    assert (data["api_type"], data["tokens_completion"], len(data["provider_responses"])) == ("embeddings", 0, 1)
    assert data["generation_time"] == data["latency"] == data["total_time"]


# ── Feedback ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def rate(world: World, tenant: Tenant, body: object) -> httpx.Response:
    return httpx.post(f"{world.gateway.url}{GENERATION}/feedback", json=body, headers=tenant.headers)


def test_it_keeps_the_last_word_of_feedback_sealed(world: World, ready: Tenant, route: str) -> None:
    call_id = call(world, ready, route).headers["x-request-id"]
    assert tell(world, ready, call_id)["feedback"] is None
    first = rate(world, ready, {"generation_id": call_id, "score": 1, "comment": "Muito bom!"})
    assert (first.status_code, first.json()) == (200, {"data": {"id": call_id, "score": 1}})
    kept = Feedback.everywhere.get(pk=call_id)
    assert b"Muito" not in bytes(kept.comment)
    assert unseal(bytes(kept.comment), organization_id=kept.organization_id) == b"Muito bom!"
    for _ in range(2):
        assert rate(world, ready, {"id": call_id, "rating": "down"}).status_code == 200
    kept.refresh_from_db()
    assert (kept.score, bytes(kept.comment)) == (-1, b"")
    assert tell(world, ready, call_id)["feedback"] == {"score": -1}


@pytest.mark.parametrize(
    "body",
    [
        {"score": 2}, {"score": 0}, {"rating": "meh"}, {"score": 1, "rating": "up"}, {}, [], "x", {"score": "1"},
        {"score": 1, "comment": "x" * 2_001}, {"score": 1, "comment": 7}, {"score": 1, "id": 7}, {"score": True},
    ],
)  # fmt: skip
def test_it_refuses_feedback_that_says_nothing(world: World, ready: Tenant, body: object) -> None:
    given = {"id": str(uuid.UUID(int=0)), **body} if isinstance(body, dict) else body
    answer = rate(world, ready, given)
    assert answer.status_code == 400, answer.text


def test_it_says_so_while_the_database_is_away_and_lets_no_crowd_wait(settings: Any) -> None:
    settings.DATABASE_URL = "postgresql://tokia_app:x@127.0.0.1:9/tokia"

    class Slow(reading.ReadConnection):
        async def _connect(self) -> Any:
            await asyncio.sleep(0.001)
            return await super()._connect()

    async def ask() -> list[str]:
        reads = Slow()
        asked = [reads.fetch_one("SELECT 1 AS one", ()) for _ in range(reading.WAITERS_MAX + 1)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await reads.stop()
        return [answer.code for answer in answers if isinstance(answer, Unavailable)]

    codes = asyncio.run(ask())
    assert (codes.count("ledger_unavailable"), codes.count("overloaded")) == (reading.WAITERS_MAX, 1)


def test_it_seals_comments_anew_with_the_other_secrets(world: World, ready: Tenant, route: str, settings: Any) -> None:
    call_id = call(world, ready, route).headers["x-request-id"]
    rate(world, ready, {"id": call_id, "score": -1, "comment": "Não respondeu."})
    before = bytes(Feedback.everywhere.get(pk=call_id).comment)
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.ENCRYPTION_KEYS]
    assert reseal_feedback() >= 1
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    kept = Feedback.everywhere.get(pk=call_id)
    assert bytes(kept.comment) != before
    assert unseal(bytes(kept.comment), organization_id=kept.organization_id).decode() == "Não respondeu."
