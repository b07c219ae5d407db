"""Equal calls answered from the organization's cache: for nothing, by nobody, and never another organization's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis

from accounts.keys import mint_key
from accounts.models import ApiKey, Organization
from billing.reconcile import find_violations
from gateway.models import Route
from gateway.secrets import mark
from tests.gateway.media_cast import make_routes
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body, sse_events
from tests.stores import stores

CHAT = "/v1/chat/completions"
UNITS = {"input": "10", "output": "30"}
ON = {"x-tokia-cache": "true"}
pytestmark = pytest.mark.timeout(170)


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {
        "chat": world.route("openai", "gpt-4o-mini", name="cache/chat", units=UNITS).name,
        "claude": world.route("anthropic", "claude-sonnet-4-6", name="cache/claude", units=UNITS).name,
        "embed": world.route(
            "openai", "text-embedding-3-small", name="cache/embed", units={"input": "1"}, surface="embeddings"
        ).name,
        "rerank": world.route("cohere", "rerank-v3.5", name="cache/rerank", units={"search": "0.02"}, surface="rerank").name,
        **make_routes(world, "image", "tts-1", "moderation"),
    }


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    world.sandbox.post("/llm/__reset")
    return tenant


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stores.valkey.url) as valkey:
        yield valkey


def post(
    world: World, tenant: Tenant, body: Any, path: str = CHAT, *, gateway: Gateway | None = None, **headers: Any
) -> httpx.Response:
    asked = {**tenant.headers, **ON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post((gateway or world.gateway).url + path, headers=asked, json=body, timeout=60)


def upstream_calls(world: World) -> int:
    return len(world.sandbox.ledger()["calls"])


def entries(valkey: redis.Redis, tenant: Tenant) -> list[bytes]:
    return list(valkey.scan_iter(f"tokia:answer:{tenant.wallet.organization_id}:*"))


def test_an_equal_call_is_told_the_answer_for_nothing(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"])
    miss, hit = post(world, ready, body), post(world, ready, body)
    assert (miss.headers["x-tokia-cache"], hit.headers["x-tokia-cache"]) == ("MISS", "HIT")
    assert (hit.headers["x-tokia-cost-brl"], hit.headers["x-tokia-attempts"]) == ("0", "0")
    assert 0 <= int(hit.headers["x-tokia-cache-age"]) <= 5
    assert 290 <= int(hit.headers["x-tokia-cache-ttl"]) <= 300
    assert hit.headers["x-tokia-model"] == routes["chat"]
    assert "x-ratelimit-remaining-requests" in hit.headers
    first, second = json.loads(miss.text, parse_float=Decimal), json.loads(hit.text, parse_float=Decimal)
    assert first["usage"].pop("cost") > 0 and second["usage"].pop("cost") == 0
    assert first["usage"].pop("cost_details")["list_cost"] > 0
    assert second["usage"].pop("cost_details") == {"currency": "BRL", "list_cost": 0, "discount": 0, "cached": True}
    assert first == second
    assert upstream_calls(world) == 1
    paid, free = ready.records()
    assert hit.headers["x-request-id"] == str(free.id) != str(paid.id)
    assert (free.outcome, free.usage_source, free.gross_nanos, free.net_nanos, free.hold_nanos) == (
        "completed",
        "cache",
        0,
        0,
        None,
    )
    assert (free.requests, free.input_tokens, free.output_tokens, free.attempts) == (0, 0, 0, [])
    assert (free.route_name, free.surface, free.finish_reason) == (paid.route_name, "chat", "stop")
    assert free.routing == {"rule": "cache"}
    assert ready.fresh().posted_nanos == 100 * 10**9 - paid.net_nanos
    assert list(find_violations()) == []


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("stream", [False, True])
def test_it_holds_for_every_surface_of_a_chat_model(
    world: World, routes: dict[str, str], ready: Tenant, path: str, stream: bool
) -> None:
    asked: dict[str, Any] = {"model": routes["claude" if path == "/v1/messages" else "chat"], "stream": stream}
    asks: dict[str, dict[str, Any]] = {
        CHAT: {"messages": [{"role": "user", "content": "Oi"}]},
        "/v1/completions": {"prompt": "Oi"},
        "/v1/responses": {"input": "Oi"},
        "/v1/messages": {"messages": [{"role": "user", "content": "Oi"}], "max_tokens": 50},
    }
    asked |= asks[path]
    if stream and path in (CHAT, "/v1/completions"):
        asked["stream_options"] = {"include_usage": True}
    miss, hit = post(world, ready, asked, path), post(world, ready, asked, path)
    assert (miss.status_code, miss.headers["x-tokia-cache"], hit.headers["x-tokia-cache"]) == (200, "MISS", "HIT")
    assert hit.headers["content-type"] == miss.headers["content-type"]
    assert b'"cached":true' in hit.content and b'"cost":0,' in hit.content
    assert b'"cached":true' not in miss.content
    if stream:
        assert len(sse_events(hit.text)) == len(sse_events(miss.text))
        assert hit.headers["x-tokia-cost-brl"] == "0"
    assert upstream_calls(world) == 1
    assert [record.usage_source for record in ready.records()] == ["upstream", "cache"]
    assert [record.is_stream for record in ready.records()] == [stream] * 2


def test_it_holds_for_every_other_surface(world: World, routes: dict[str, str], ready: Tenant) -> None:
    asked = {
        "/v1/embeddings": {"model": routes["embed"], "input": "Oi"},
        "/v1/rerank": {"model": routes["rerank"], "query": "oi", "documents": ["a", "b"]},
        "/v1/images/generations": {"model": routes["image"], "prompt": "Um tucano"},
        "/v1/moderations": {"model": routes["moderation"], "input": "Oi"},
        "/v1/audio/speech": {"model": routes["tts-1"], "input": "Oi, tudo bem?", "voice": "alloy"},
    }
    for path, body in asked.items():
        miss, hit = post(world, ready, body, path), post(world, ready, body, path)
        assert (miss.status_code, hit.status_code, hit.headers["x-tokia-cache"]) == (200, 200, "HIT"), path
        assert hit.headers["x-tokia-cost-brl"] == "0"
        assert hit.headers["content-type"] == miss.headers["content-type"]
        if path == "/v1/audio/speech":
            assert hit.content == miss.content
    assert upstream_calls(world) == len(asked)
    records = ready.records()
    assert [record.usage_source == "cache" for record in records] == [False, True] * len(asked)
    assert [record.surface for record in records[1::2]] == [record.surface for record in records[::2]]


def test_openais_sdk_reads_a_cached_stream(world: World, routes: dict[str, str], ready: Tenant) -> None:
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=ready.secret, max_retries=0) as client:

        def ask() -> str:
            chunks = client.chat.completions.create(
                model=routes["chat"], messages=[{"role": "user", "content": "Conte até dez."}], stream=True, extra_headers=ON
            )
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

        assert ask() == ask() != ""
    assert upstream_calls(world) == 1


def test_what_makes_two_calls_equal(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"], temperature=0)
    assert post(world, ready, body).headers["x-tokia-cache"] == "MISS"
    turned = {**dict(reversed(list(body.items()))), "user": "ana", "metadata": {"a": "b"}}
    assert post(world, ready, turned).headers["x-tokia-cache"] == "HIT"
    for other in (
        {**body, "temperature": 1}, {**body, "seed": 1}, {**body, "stream": True}, {**body, "max_tokens": 9},
        {**body, "model": routes["claude"]}, {**body, "messages": [{"role": "user", "content": "Outra coisa."}]},
        {**body, "provider": {"sort": "price"}},
    ):  # fmt: skip
        assert post(world, ready, other).headers["x-tokia-cache"] == "MISS", other


def test_tenants_never_share(world: World, routes: dict[str, str], ready: Tenant, valkey: redis.Redis) -> None:
    """Not even where another organization's entry turns up under this one's name: it can't be opened."""
    stranger = world.tenant()
    world.await_served(stranger, *routes.values())
    body = chat_body(routes["chat"], max_tokens=33)
    assert [post(world, ready, body).headers["x-tokia-cache"] for _ in range(2)] == ["MISS", "HIT"]
    [name] = entries(valkey, ready)
    assert post(world, stranger, body).headers["x-tokia-cache"] == "MISS"
    [theirs] = entries(valkey, stranger)
    assert theirs.rsplit(b":", 1)[1] != name.rsplit(b":", 1)[1]
    assert mark(b"x", organization_id=1) != mark(b"x", organization_id=2)
    stolen = valkey.get(name)
    assert isinstance(stolen, bytes)
    valkey.set(theirs, stolen)
    assert post(world, stranger, body).headers["x-tokia-cache"] == "MISS"
    assert upstream_calls(world) == 3
    for text in (b"Tokia", b"choices", b"chat.completion", b"openai", b"x-tokia"):
        assert text not in stolen and text not in name


def test_keys_of_one_organization_share_what_both_may_use(world: World, routes: dict[str, str], ready: Tenant) -> None:
    organization = Organization.objects.get(pk=ready.wallet.organization_id)
    other, secret = mint_key(organization, user=None, name="outra")
    barred, barred_secret = mint_key(organization, user=None, name="sem", allowed_routes=[routes["claude"]])
    for name in (secret, barred_secret):
        world.await_served(Tenant(ready.wallet, other, name), routes["claude"])
    body = chat_body(routes["chat"])
    assert post(world, ready, body).headers["x-tokia-cache"] == "MISS"
    assert post(world, Tenant(ready.wallet, other, secret), body).headers["x-tokia-cache"] == "HIT"
    refused = post(world, Tenant(ready.wallet, barred, barred_secret), body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")


def test_a_suspended_organization_is_told_nothing(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"])
    post(world, ready, body)
    Organization.objects.filter(pk=ready.wallet.organization_id).update(is_suspended=True)
    await_true(lambda: post(world, ready, body).status_code == 403)
    Organization.objects.filter(pk=ready.wallet.organization_id).update(is_suspended=False)


def test_a_model_that_is_taken_away_is_not_told(world: World, routes: dict[str, str], ready: Tenant) -> None:
    route = world.route("openai", "gpt-4o-mini", name="cache/leaving", units=UNITS)
    world.await_served(ready, route.name)
    body = chat_body(route.name)
    assert [post(world, ready, body).headers["x-tokia-cache"] for _ in range(2)] == ["MISS", "HIT"]
    Route.objects.filter(pk=route.pk).update(is_active=False)
    await_true(lambda: post(world, ready, body).status_code == 404)


def test_it_is_kept_for_as_long_as_was_asked(world: World, routes: dict[str, str], ready: Tenant, valkey: redis.Redis) -> None:
    body = chat_body(routes["chat"])
    assert post(world, ready, body, x_tokia_cache_ttl="86400").headers["x-tokia-cache"] == "MISS"
    [name] = entries(valkey, ready)
    assert 86_390 <= valkey.ttl(name) <= 86_400
    time.sleep(1.1)
    assert post(world, ready, body).headers["x-tokia-cache"] == "HIT"
    assert post(world, ready, body, x_tokia_cache_ttl="1").headers["x-tokia-cache"] == "MISS"  # older than this caller takes
    assert valkey.ttl(name) in (1, 0, -2)  # -2: over already
    time.sleep(1.2)
    assert post(world, ready, body).headers["x-tokia-cache"] == "MISS"


def test_clearing_computes_anew_and_replaces(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"])
    first = post(world, ready, body).json()["id"]
    cleared = post(world, ready, body, x_tokia_cache_clear="true")
    assert cleared.headers["x-tokia-cache"] == "MISS" and cleared.json()["id"] != first
    assert post(world, ready, body).json()["id"] == cleared.json()["id"]


def test_a_key_may_ask_for_it_always(world: World, routes: dict[str, str]) -> None:
    tenant = world.tenant(cache_seconds=3_600)
    world.await_served(tenant, *routes.values())
    body = chat_body(routes["chat"])

    def ask(**headers: str) -> httpx.Response:
        return httpx.post(world.gateway.url + CHAT, headers={**tenant.headers, **headers}, json=body, timeout=30)

    assert [ask().headers["x-tokia-cache"] for _ in range(2)] == ["MISS", "HIT"]
    assert int(ask().headers["x-tokia-cache-ttl"]) > 3_500
    assert "x-tokia-cache" not in ask(**{"x-tokia-cache": "false"}).headers
    ApiKey.everywhere.filter(pk=tenant.key.pk).update(cache_seconds=None)
    await_true(lambda: "x-tokia-cache" not in ask().headers)


def test_openrouters_headers_are_understood(world: World, routes: dict[str, str], ready: Tenant) -> None:
    headers = {**ready.headers, "x-openrouter-cache": "true", "x-openrouter-cache-ttl": "60"}
    body = chat_body(routes["chat"])
    answers = [httpx.post(world.gateway.url + CHAT, headers=headers, json=body, timeout=30) for _ in range(2)]
    assert [answer.headers["x-openrouter-cache-status"] for answer in answers] == ["MISS", "HIT"]
    assert int(answers[1].headers["x-tokia-cache-ttl"]) <= 60


@pytest.mark.parametrize(
    "headers",
    [{"x-tokia-cache": "sim"}, {"x-tokia-cache": ""}, {"x_tokia_cache_ttl": "0"}, {"x_tokia_cache_ttl": "86401"},
     {"x_tokia_cache_ttl": "-1"}, {"x_tokia_cache_ttl": "9" * 5_000}, {"x_tokia_cache_ttl": "1e3"}, {"x_tokia_cache_clear": "1"}],
)  # fmt: skip
def test_a_header_that_means_nothing_is_refused(
    world: World, routes: dict[str, str], ready: Tenant, headers: dict[str, Any]
) -> None:
    refused = post(world, ready, chat_body(routes["chat"]), **headers)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"].startswith("x-tokia-cache")
    assert ready.records() == []


def test_what_is_stored_continued_or_broken_is_not_cached(
    world: World, routes: dict[str, str], ready: Tenant, valkey: redis.Redis
) -> None:
    stored = {"model": routes["chat"], "input": "Oi", "store": True}
    answers = [post(world, ready, stored, "/v1/responses") for _ in range(2)]
    assert [answer.headers["x-tokia-cache"] for answer in answers] == ["BYPASS"] * 2
    continued = {"model": routes["chat"], "input": "E?", "previous_response_id": answers[0].json()["id"]}
    assert post(world, ready, continued, "/v1/responses").headers["x-tokia-cache"] == "BYPASS"
    world.sandbox.script("openai", "reset:3")
    assert "error" in sse_events(post(world, ready, chat_body(routes["chat"], stream=True)).text)[-1]
    world.sandbox.script("openai", "500", times=4)
    assert post(world, ready, chat_body(routes["chat"])).status_code == 502
    assert post(world, ready, {"model": routes["chat"]}).status_code == 400
    assert entries(valkey, ready) == []
    world.sandbox.post("/llm/__reset")
    long = {"model": routes["embed"], "input": ["x" * 8_000] * 140}
    assert post(world, ready, long, "/v1/embeddings").headers["x-tokia-cache"] == "BYPASS"
    large = {"model": routes["embed"], "input": ["Oi"] * 60, "encoding_format": "float"}
    answer = post(world, ready, large, "/v1/embeddings")
    assert len(answer.content) > 1_048_576
    assert entries(valkey, ready) == []


def test_a_hit_needs_no_balance(world: World, routes: dict[str, str]) -> None:
    tenant = world.tenant(brl="0.02")
    world.await_served(tenant, *routes.values())
    body = chat_body(routes["chat"], max_tokens=600)
    assert post(world, tenant, body).status_code == 200
    dear = {**body, "max_tokens": 900}
    assert post(world, tenant, dear).status_code == 402
    assert post(world, tenant, body).headers["x-tokia-cache"] == "HIT"


def test_without_valkey_everything_is_a_miss(
    world: World, routes: dict[str, str], ready: Tenant, tmp_path: Path, valkey: redis.Redis
) -> None:
    body = chat_body(routes["chat"])
    assert [post(world, ready, body).headers["x-tokia-cache"] for _ in range(2)] == ["MISS", "HIT"]
    valkey.flushall()
    assert post(world, ready, body).headers["x-tokia-cache"] == "MISS"
    [name] = entries(valkey, ready)
    valkey.set(name, b"nonsense")
    assert post(world, ready, body).headers["x-tokia-cache"] == "MISS"
    alone = Gateway(tmp_path, VALKEY_URL="redis://127.0.0.1:9/0")
    alone.start()
    world.await_served(ready, *routes.values(), gateway=alone)
    answers = [post(world, ready, body, gateway=alone) for _ in range(3)]
    assert [answer.headers["x-tokia-cache"] for answer in answers] == ["MISS"] * 3
    assert alone.stop() == 0


def test_an_organization_fills_its_part_of_a_day_and_no_more(
    world: World, routes: dict[str, str], ready: Tenant, tmp_path: Path
) -> None:
    small = Gateway(tmp_path, ANSWER_CACHE_BYTES_MAX="5000")
    small.start()
    world.await_served(ready, *routes.values(), gateway=small)
    for number in range(6):
        post(world, ready, chat_body(routes["chat"], seed=number), gateway=small)
    kept = [post(world, ready, chat_body(routes["chat"], seed=number), gateway=small) for number in range(6)]
    words = [answer.headers["x-tokia-cache"] for answer in kept]
    assert words[0] == "HIT" and words[-1] == "MISS"
    assert small.stop() == 0


def test_a_hit_counts_against_the_rate_limit(world: World, routes: dict[str, str]) -> None:
    tenant = world.tenant(requests_per_minute=5)
    world.await_served(tenant, *routes.values())
    statuses = [post(world, tenant, chat_body(routes["chat"])).status_code for _ in range(12)]
    assert 429 in statuses and set(statuses) == {200, 429}


def test_a_hit_under_an_idempotency_key_is_told_again(world: World, routes: dict[str, str], ready: Tenant) -> None:
    for stream in (False, True):
        body = chat_body(routes["chat"], stream=stream)
        post(world, ready, body)
        hit, again = (post(world, ready, body, idempotency_key=f"k{stream}") for _ in range(2))
        assert (hit.headers["x-tokia-cache"], again.headers["x-tokia-idempotent-replay"]) == ("HIT", "true")
        assert hit.content == again.content
        assert again.headers["x-request-id"] == hit.headers["x-request-id"]
    assert len(ready.records()) == 4


def test_the_statement_of_usage_says_so(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = chat_body(routes["chat"])
    post(world, ready, body)
    hit = post(world, ready, body)
    told = httpx.get(f"{world.gateway.url}/v1/generation", params={"id": hit.headers["x-request-id"]}, headers=ready.headers)
    assert told.status_code == 200, told.text
    assert told.json()["data"]["total_cost"] == 0
