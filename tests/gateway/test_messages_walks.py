"""`/v1/messages` between a customer and the providers: refusals in Anthropic's shape, broken answers, hostile bodies, the money."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx
import pytest

from billing.models import UsageRecord
from gateway.models import Deployment
from tests.gateway.world import Tenant, World, await_true

MESSAGES = "/v1/messages"
MODELS = {"anthropic": "claude-sonnet-4-6", "openai": "gpt-4o-mini", "groq": "openai/gpt-oss-120b"}
OTHERS = {
    "google": "gemini-2.5-flash",
    "cohere": "command-a-03-2025",
    "bedrock": "anthropic.claude-sonnet-4-6",
    "mistral": "mistral-large-latest",
}
UNITS = {"input": "10", "cached_input": "2", "cache_write": "12", "output": "30", "reasoning": "20"}
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    named = {slug: world.route(slug, model, name=f"walk/{slug}", units=UNITS).name for slug, model in MODELS.items()}
    mixed = world.route("anthropic", MODELS["anthropic"], name="walk/mixed", units=UNITS)
    Deployment.objects.filter(route=mixed).update(priority=1)
    Deployment.objects.create(route=mixed, provider=world.provider("openai"), upstream_model=MODELS["openai"], priority=2)
    named["new"] = world.route("anthropic", "claude-opus-5-5", name="walk/new", units=UNITS).name
    return {**named, "mixed": mixed.name}


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    return tenant


@pytest.fixture
def client(world: World, ready: Tenant) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=world.gateway.url, api_key=ready.secret, max_retries=0) as client:
        yield client


def body_of(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 60, "messages": [{"role": "user", "content": "Diga olá em uma frase curta."}], **fields}


def ask(world: World, tenant: Tenant, body: dict[str, Any] | bytes, path: str = MESSAGES, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {**tenant.headers, **VERSION, "content-type": "application/json", **headers}
    return httpx.post(world.gateway.url + path, content=content, headers=given, timeout=30)


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: ")]


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def check_error(error: anthropic.APIStatusError, kind: str, code: str) -> None:
    assert (error.type, error.error_code) == (kind, code)
    body: Any = error.body
    assert body["type"] == "error"
    assert body["request_id"] == error.request_id == error.response.headers["request-id"]


def test_its_refusals_are_the_sdks_own(world: World, routes: dict[str, str], client: anthropic.Anthropic, ready: Tenant) -> None:
    base: Any = body_of(routes["openai"])
    with pytest.raises(anthropic.BadRequestError) as bad:
        client.messages.create(**{**base, "thinking": {"type": "heroic"}})
    check_error(bad.value, "invalid_request_error", "invalid_value")
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**{**base, "model": "não/existe"})
    check_error(missing.value, "not_found_error", "model_not_found")
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        client.with_options(api_key="sk-tokia-errada").messages.create(**base)
    check_error(unknown.value, "authentication_error", "invalid_api_key")
    poor = world.tenant(brl="0.0001")
    world.await_served(poor, *routes.values())
    with pytest.raises(anthropic.PaymentRequiredError) as broke:
        client.with_options(api_key=poor.secret).messages.create(**base)
    check_error(broke.value, "billing_error", "insufficient_balance")
    limited = world.tenant(requests_per_minute=1)
    world.await_served(limited, *routes.values())
    while time.time() % 60 > 55:
        time.sleep(0.5)
    theirs = client.with_options(api_key=limited.secret)
    theirs.messages.count_tokens(model=base["model"], messages=base["messages"])
    with pytest.raises(anthropic.RateLimitError) as many:
        for _ in range(8):  # where Valkey is late, the process grants a slice of its own
            theirs.messages.count_tokens(model=base["model"], messages=base["messages"])
    check_error(many.value, "rate_limit_error", "rate_limit_exceeded")
    assert int(many.value.response.headers["retry-after"]) >= 1
    narrow = world.tenant(allowed_routes=[routes["groq"]])
    world.await_served(narrow, routes["groq"])
    with pytest.raises(anthropic.PermissionDeniedError):
        client.with_options(api_key=narrow.secret).messages.create(**base)
    assert ready.records() == []


@pytest.mark.parametrize("slug", ["anthropic", "openai"])
def test_an_overload_upstream_is_one_of_anthropics(
    world: World, routes: dict[str, str], client: anthropic.Anthropic, ready: Tenant, slug: str
) -> None:
    for fault, kind, expected in (
        ("529", anthropic.OverloadedError, "overloaded_error"), ("503", anthropic.OverloadedError, "overloaded_error"),
        ("429", anthropic.RateLimitError, "rate_limit_error"), ("500", anthropic.InternalServerError, "api_error"),
        ("401", anthropic.InternalServerError, "api_error"), ("errorfirst", anthropic.OverloadedError, "overloaded_error"),
    ):  # fmt: skip
        for is_stream in (False, True):
            if fault == "errorfirst" and not is_stream:
                continue
            world.sandbox.script(slug, fault)
            with pytest.raises(kind) as failed:
                client.messages.create(**body_of(routes[slug]), stream=is_stream)
            assert failed.value.type == expected
    assert {record.outcome for record in ready.records()} == {"failed"}
    assert {record.net_nanos for record in ready.records()} == {0}
    assert ready.fresh().held_nanos == 0


def test_it_takes_both_headers_and_both_versions(world: World, routes: dict[str, str], ready: Tenant) -> None:
    body = body_of(routes["anthropic"])
    url = world.gateway.url + MESSAGES
    by_key = {"x-api-key": ready.secret}
    assert httpx.post(url, json=body, headers={**by_key, "anthropic-version": "2023-06-01"}).status_code == 200
    assert (
        httpx.post(url + "?beta=true", json=body, headers={**ready.headers, "anthropic-version": "2026-10-21"}).status_code == 200
    )
    assert httpx.post(url, json=body, headers=ready.headers).status_code == 200
    assert httpx.post(url, json=body, headers={**ready.headers, "anthropic-version": "1"}).status_code == 400
    warm = {**body, "temperature": 0.5}
    assert httpx.post(url, json=warm, headers={**ready.headers, "anthropic-version": "2023-06-01"}).status_code == 200
    refused = httpx.post(url, json=warm, headers={**ready.headers, "anthropic-version": "2026-10-21"})
    assert refused.status_code == 400
    assert "temperature" in refused.json()["error"]["message"]
    answer = httpx.post(
        url, json=body, headers={**ready.headers, "accept-language": "en", "anthropic-beta": "fast-mode-2026-02-01"}
    )
    assert answer.headers["x-tokia-dropped-params"] == "anthropic-beta:fast-mode-2026-02-01"


def test_other_addresses_under_it_speak_the_same_way(world: World, ready: Tenant) -> None:
    for method, path, status in (("GET", MESSAGES, 405), ("POST", f"{MESSAGES}/batches", 404), ("GET", f"{MESSAGES}/x", 404)):
        answer = httpx.request(method, world.gateway.url + path, headers=ready.headers, timeout=5)
        assert answer.status_code == status
        assert answer.json()["type"] == "error"
        assert answer.headers["request-id"]


# ── Broken answers ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("slug", "fault"),  # some of OpenAI's hosts end without [DONE], and are forgiven
    [
        *itertools.product(["anthropic", "openai"], ["reset:3", "cleaneof:3", "errormid:3", "truncated", "malformed"]),
        ("anthropic", "nodone"),
    ],
)
def test_what_breaks_in_the_middle_says_so_and_costs_what_came(
    world: World, routes: dict[str, str], client: anthropic.Anthropic, ready: Tenant, slug: str, fault: str
) -> None:
    world.sandbox.script(slug, fault)
    came: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as failed:
        for event in client.messages.create(**body_of(routes[slug]), stream=True):
            came.append(event.type)
    assert failed.value.type in ("api_error", "overloaded_error")
    assert "content_block_delta" in came or fault == "malformed"
    assert "message_stop" not in came
    [record] = ready.records()
    assert record.outcome in ("cut", "failed")
    if record.outcome == "cut":
        assert isinstance(failed.value.body, dict)
        told = failed.value.body["error"]["details"]["usage"]
        assert round(told["cost"] * 10**9) == record.net_nanos > 0
    assert ready.fresh().held_nanos == 0
    assert ready.fresh().posted_nanos == 100 * 10**9 - record.net_nanos


@pytest.mark.parametrize("slug", ["anthropic", "openai", "groq"])
@pytest.mark.parametrize("fault", ["onebyte", "crlf", "comments", "nospace", "separators", "bom"])
def test_it_reads_any_stream_that_is_legal(
    world: World, routes: dict[str, str], client: anthropic.Anthropic, slug: str, fault: str
) -> None:
    with client.messages.stream(**body_of(routes[slug])) as stream:
        expected = stream.get_final_message()
    world.sandbox.script(slug, fault)
    with client.messages.stream(**body_of(routes[slug])) as stream:
        message = stream.get_final_message()
    kinds = [block.type for block in expected.content]
    assert [block.type for block in message.content] == kinds
    if fault != "separators":
        assert [block.text for block in message.content if block.type == "text"] == [
            block.text for block in expected.content if block.type == "text"
        ]


@pytest.mark.parametrize("slug", ["anthropic", "openai"])
@pytest.mark.parametrize("fault", ["nousage", "absurdusage", "negativeusage", "stringusage"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_its_usage_is_what_is_billed_whatever_the_upstream_says(
    world: World, routes: dict[str, str], ready: Tenant, slug: str, fault: str, is_stream: bool
) -> None:
    world.sandbox.script(slug, fault)
    answer = ask(world, ready, body_of(routes[slug], stream=is_stream))
    assert answer.status_code == 200
    usage = events_of(answer)[-2]["usage"] if is_stream else answer.json()["usage"]
    [record] = ready.records()
    assert (usage["input_tokens"], usage["output_tokens"]) == (record.input_tokens, record.output_tokens + record.reasoning_tokens)
    assert record.usage_source in ("counted", "suspect")
    assert 0 < record.net_nanos < 10**9
    assert usage["cost"] == pytest.approx(record.net_nanos / 10**9)


@pytest.mark.parametrize("slug", ["anthropic", "openai"])
def test_who_hangs_up_pays_for_what_came(world: World, routes: dict[str, str], ready: Tenant, slug: str) -> None:
    world.sandbox.script(slug, "stallmid:3")
    body = body_of(routes[slug], stream=True)
    with httpx.stream("POST", world.gateway.url + MESSAGES, json=body, headers={**ready.headers, **VERSION}, timeout=10) as answer:
        for line in answer.iter_lines():
            if "content_block_delta" in line:
                break
        await_true(lambda: world.sandbox.ledger()["stalled"] == 1)
    await_true(lambda: bool(ready.records()))
    [record] = ready.records()
    assert (record.outcome, record.usage_source) == ("cancelled", "counted")
    assert record.net_nanos > 0
    assert ready.fresh().held_nanos == 0
    world.sandbox.post("/llm/__release")


def test_another_deployment_answers_in_the_same_words(
    world: World, routes: dict[str, str], client: anthropic.Anthropic, ready: Tenant
) -> None:
    for is_stream in (False, True):
        world.sandbox.script("anthropic", "errorfirst" if is_stream else "529")
        if is_stream:
            with client.messages.stream(**body_of(routes["mixed"])) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**body_of(routes["mixed"]))
        assert message.content
        assert message.model.startswith("gpt-4o-mini")
    assert [record.provider_name for record in ready.records()] == ["openai", "openai"]
    hinted = body_of(routes["mixed"], cache_control={"type": "ephemeral"})
    assert "x-tokia-dropped-params" not in ask(world, ready, hinted).headers  # Anthropic answered: it got every word
    world.sandbox.script("anthropic", "529")
    assert ask(world, ready, hinted, **{"anthropic-beta": "effort-2025-11-24"}).headers["x-tokia-dropped-params"] == (
        "cache_control,anthropic-beta"
    )
    world.sandbox.script("anthropic", "529")  # what only Anthropic can read goes nowhere else
    document: Any = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    body = body_of(routes["mixed"], messages=[{"role": "user", "content": [document]}])
    assert ask(world, ready, body).status_code == 529
    assert ask(world, ready, body).status_code == 200


# ── Hostile bodies ───────────────────────────────────────────────────────────────────────────────────────────────────
DEEP = b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":' + b"[" * 5_000 + b"]" * 5_000 + b"}]}"
HOSTILE: list[bytes] = [
    b"", b"null", b"[]", b'"x"', b"{", b'{"model":', b"\xff\xfe", b'{"model":"x"}', b'{"model":1,"max_tokens":1,"messages":[]}',
    DEEP,
    b'{"model":"%b","max_tokens":1e999,"messages":[{"role":"user","content":"x"}]}',
    b'{"model":"%b","max_tokens":99999999999999999999999,"messages":[{"role":"user","content":"x"}]}',
    b'{"model":"%b","max_tokens":-1,"messages":[{"role":"user","content":"x"}]}',
    b'{"model":"%b","max_tokens":5,"max_tokens":6,"messages":[{"role":"user","content":"x"}]}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":null}]}]}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":[null]}]}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":{"type":"text"}}]}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":"x"}],"tools":{"a":1}}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":"x"}],"tools":[1]}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":"x"}],"metadata":[]}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":"x"}],"system":[{"type":"text","text":{}}]}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":"x"}],"output_config":"x"}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":"x"}],"context_management":{"edits":[5]}}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":"x"}],"a\\r\\nb: c":5}',
    b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":"x"}],"tools":['
    + b'{"name":"t","input_schema":{"type":"object"}},' * 10_000 + b"{}]}",
    b'{"model":"%b","max_tokens":5,"messages":[' + b'{"role":"user","content":"x"},' * 10_001 + b'{"role":"user","content":"x"}]}',
]  # fmt: skip


def test_a_hostile_body_is_refused_at_once_and_holds_nothing(world: World, routes: dict[str, str], ready: Tenant) -> None:
    slow = []
    with httpx.Client(base_url=world.gateway.url, headers={**ready.headers, **VERSION}, timeout=10) as client:
        client.post(MESSAGES, content=b"{}")
        for number, template in enumerate(HOSTILE):
            raw = template.replace(b"%b", routes["openai"].encode())
            best = 1e9
            for _ in range(5):
                started = time.perf_counter()
                answer = client.post(MESSAGES, content=raw, headers={"content-type": "application/json"})
                best = min(best, time.perf_counter() - started)
                assert 400 <= answer.status_code < 500, (number, answer.text[:300])
                assert answer.json()["type"] == "error"
                assert set(answer.json()["error"]) == {"type", "message", "details"}
            if best > 0.05:
                slow.append((number, best))
    assert slow == []
    assert ready.records() == []
    assert ready.fresh().held_nanos == 0


def test_a_field_may_be_called_anything(world: World, routes: dict[str, str], ready: Tenant) -> None:
    """Names of fields that were left out go into a header, where a line's end would begin another one."""
    body = body_of(routes["openai"], **{"a\r\nset-cookie: b": 5, "ok_1": 6, "ç": 7})
    answer = ask(world, ready, body, **{"x-tokia-drop-params": "1"})
    assert answer.status_code == 200
    assert answer.headers["x-tokia-dropped-params"] == "ok_1"
    assert "set-cookie" not in answer.headers


# ── Money ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_three_ledgers_agree_to_the_token_and_the_nano(world: World, routes: dict[str, str]) -> None:
    """What the upstreams say that they served, the usage records, and the wallet: with caches, thinking and tools."""
    tenant = world.tenant(brl="500.00")
    others = {slug: world.route(slug, model, name=f"walk/{slug}", units=UNITS).name for slug, model in OTHERS.items()}
    routes = {**{slug: routes[slug] for slug in MODELS}, **others}
    world.await_served(tenant, *routes.values())
    world.sandbox.post("/llm/__reset")
    before = {record.pk for record in UsageRecord.everywhere.all()}
    rng, lock = random.Random(11), threading.Lock()
    shown: list[int] = []

    def one(number: int) -> None:
        with lock:
            slug = rng.choice(list(routes))
            words = " ".join(rng.choice(["carteira", "saldo", "nota", "modelo"]) for _ in range(rng.randint(1, 200)))
            most, thinks = rng.randint(1, 300), rng.random() < 0.4
        system = [{"type": "text", "text": "Prefixo igual. " * 600, "cache_control": {"type": "ephemeral"}}]
        body = body_of(
            routes[slug], system=system, messages=[{"role": "user", "content": words}], max_tokens=most, stream=number % 2 == 0
        )
        if thinks:
            body["thinking"] = {"type": "adaptive"}
        answer = ask(world, tenant, body)
        assert answer.status_code == 200, answer.text
        usage = events_of(answer)[-2]["usage"] if body["stream"] else answer.json()["usage"]
        shown.append(usage["output_tokens"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(140)))
    records = [record for record in tenant.records() if record.pk not in before]
    assert len(records) == 140
    totals = {total["provider"]: total for total in world.sandbox.ledger()["totals"]}
    for slug in routes:
        mine = [record for record in records if record.provider_name == slug]
        billed = totals[slug]
        assert billed["calls"] == billed["finished"] == len(mine)
        prompt = sum(r.input_tokens + r.cached_input_tokens + r.cache_write_tokens for r in mine)
        assert prompt == billed["prompt_tokens"], slug
        assert sum(r.cached_input_tokens for r in mine) == billed["cached_tokens"], slug
        assert sum(r.cache_write_tokens for r in mine) == billed["cache_write_tokens"], slug
        assert sum(r.output_tokens + r.reasoning_tokens for r in mine) == billed["completion_tokens"], slug
    assert sum(shown) == sum(record.output_tokens + record.reasoning_tokens for record in records)
    assert any(record.cached_input_tokens for record in records)
    assert any(record.cache_write_tokens for record in records)
    assert {record.usage_source for record in records} == {"upstream"}
    assert {record.surface for record in records} == {"messages"}
    wallet = tenant.fresh()
    assert wallet.posted_nanos == 500 * 10**9 - sum(record.net_nanos for record in records)
    assert wallet.held_nanos == 0
