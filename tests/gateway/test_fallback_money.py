"""Money where a call goes from one model to another: held for the dearest, settled by the one that served, exact to the nano."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection

from billing.models import ExpiredHold, Hold, UsageRecord
from billing.reconcile import find_violations
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body, sse_events

CHAT = "/v1/chat/completions"
DEAR, CHEAP = "fall/dear", "fall/cheap"
# Reais per million tokens; nanos per token are a thousand times as many.
PRICES = {DEAR: (100, 300), CHEAP: (10, 30)}


@pytest.fixture(scope="module", autouse=True)
def fresh_gateway(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Its own: wallets' numbers begin anew with each module, and what a gateway remembers of a rich one makes holds larger."""
    shared, world.gateway = world.gateway, Gateway(tmp_path_factory.mktemp("gateway"))
    world.gateway.start()
    yield
    assert world.gateway.stop() == 0
    world.gateway = shared


@pytest.fixture(scope="module")
def models(world: World) -> list[str]:
    world.route("anthropic", "claude-haiku-4-5", name=DEAR, units={"input": "100", "output": "300"})
    world.route("openai", "gpt-4o-mini", name=CHEAP, units={"input": "10", "output": "30"})
    return [DEAR, CHEAP]


@pytest.fixture
def ready(world: World, models: list[str], tenant: Tenant) -> Iterator[Tenant]:
    world.await_served(tenant, *models)
    world.sandbox.post("/llm/__reset")
    yield tenant
    world.sandbox.post("/llm/__reset")
    await_true(lambda: tenant.fresh().held_nanos == 0)


def body_of(models: list[str], **fields: Any) -> dict[str, Any]:
    return chat_body(models[0], models=models, **{"max_tokens": 200, **fields})


def ask(gateway: Gateway, tenant: Tenant, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(gateway.url + CHAT, json=body, headers={**tenant.headers, **headers}, timeout=30)


def gross_of(record: UsageRecord) -> int:
    asked, answered = PRICES[record.route_name]
    prompt = record.input_tokens + record.cached_input_tokens + record.cache_write_tokens
    return 1_000 * (asked * prompt + answered * (record.output_tokens + record.reasoning_tokens))


def hold_alone(world: World, name: str, models: list[str]) -> int:
    """What the same call holds where only this model may answer."""
    tenant = world.tenant()
    world.await_served(tenant, *models)
    assert ask(world.gateway, tenant, chat_body(name, max_tokens=200)).status_code == 200
    [record] = tenant.records()
    assert record.hold_nanos
    return record.hold_nanos


def reais(nanos: int) -> str:
    return f"{nanos // 10**9}.{nanos % 10**9:09d}"


@pytest.mark.parametrize(
    ("fault", "stream"),
    [*itertools.product(("503", "429", "reset:0", "html"), (False, True)), ("errorfirst", True), ("truncated", False)],
)
def test_it_holds_for_the_dearest_and_settles_the_one_that_served(
    world: World, models: list[str], ready: Tenant, fault: str, stream: bool
) -> None:
    sick = f"fall/dear-{fault}-{stream}".lower()  # of its own, so that no other test's failures open its circuit
    world.route("anthropic", "claude-haiku-4-5", name=sick, units={"input": "100", "output": "300"})
    world.await_served(ready, sick)
    before = ready.fresh().posted_nanos
    world.sandbox.script("anthropic", fault)
    options = {"include_usage": True} if stream else None
    answer = ask(world.gateway, ready, body_of([sick, CHEAP], stream=stream, stream_options=options))
    assert answer.status_code == 200, answer.text
    told = sse_events(answer.text)[-2]["usage"] if stream else answer.json()["usage"]
    [record] = ready.records()
    assert (record.route_name, record.outcome) == (CHEAP, "completed")
    assert [attempt.get("route") for attempt in record.attempts] == [sick, CHEAP]
    assert record.attempts[0]["error"] and record.attempts[1]["status"] == 200
    assert [call["provider"] for call in world.sandbox.ledger()["calls"][::-1]] == ["anthropic", "openai"]
    assert record.hold_nanos == hold_alone(world, DEAR, models)
    assert record.gross_nanos == gross_of(record) > 0
    assert round(told["cost"] * 10**9) == record.net_nanos
    assert ready.fresh().posted_nanos == before - record.net_nanos


def test_it_holds_for_the_dearest_though_the_cheap_one_is_first(world: World, models: list[str], ready: Tenant) -> None:
    assert ask(world.gateway, ready, body_of([CHEAP, DEAR])).status_code == 200
    [record] = ready.records()
    assert (record.route_name, record.gross_nanos) == (CHEAP, gross_of(record))
    assert record.hold_nanos == hold_alone(world, DEAR, models)


def test_a_balance_for_the_cheap_one_only_asks_the_cheap_one_only(world: World, models: list[str], ready: Tenant) -> None:
    dear, cheap = hold_alone(world, DEAR, models), hold_alone(world, CHEAP, models)
    assert cheap < dear
    world.sandbox.post("/llm/__reset")
    for brl, order in ((reais(dear - 1), models), (reais(cheap), models), (reais(cheap), models[::-1])):
        poor = world.tenant(brl=brl)
        world.await_served(poor, *models)
        answer = ask(world.gateway, poor, body_of(order))
        assert answer.status_code == 200, answer.text
        [record] = poor.records()
        assert (record.route_name, len(record.attempts), record.hold_nanos) == (CHEAP, 1, cheap)
        if order == models:  # it would have been first
            assert {"reason": "balance", "route": DEAR} in (record.routing or {})["skipped"]
        assert poor.fresh().posted_nanos == poor.wallet.posted_nanos >= 0
        assert ask(world.gateway, poor, chat_body(DEAR, max_tokens=200)).status_code == 402
    poorest = world.tenant(brl=reais(cheap - 1))
    world.await_served(poorest, *models)
    assert ask(world.gateway, poorest, body_of(models)).status_code == 402
    assert poorest.records() == []
    assert {call["provider"] for call in world.sandbox.ledger()["calls"]} == {"openai"}


def test_a_balance_for_both_is_enough_to_the_nano(world: World, models: list[str], ready: Tenant) -> None:
    dear = hold_alone(world, DEAR, models)
    exact = world.tenant(brl=reais(dear))
    world.await_served(exact, *models)
    assert ask(world.gateway, exact, body_of(models)).status_code == 200
    [record] = exact.records()
    assert (record.route_name, record.hold_nanos) == (DEAR, dear)


def test_where_all_fail_nothing_is_paid_and_every_attempt_is_kept(world: World, models: list[str], ready: Tenant) -> None:
    before = ready.fresh().posted_nanos
    world.sandbox.script("anthropic", "503")
    world.sandbox.script("openai", "500")
    answer = ask(world.gateway, ready, body_of(models))
    assert answer.status_code in (502, 503)
    [record] = ready.records()
    assert (record.outcome, record.net_nanos, record.gross_nanos) == ("failed", 0, 0)
    assert [(attempt["provider"], attempt["status"]) for attempt in record.attempts] == [("anthropic", 503), ("openai", 500)]
    assert ready.fresh().posted_nanos == before


def test_after_the_first_word_nobody_else_is_asked(world: World, models: list[str], ready: Tenant) -> None:
    before = ready.fresh().posted_nanos
    world.sandbox.script("anthropic", "reset:3")
    events = sse_events(ask(world.gateway, ready, body_of(models, stream=True)).text)
    assert events[-1]["error"]["code"]
    [record] = ready.records()
    assert (record.route_name, record.outcome, len(record.attempts)) == (DEAR, "cut", 1)
    assert record.gross_nanos == gross_of(record) > 0
    assert round(events[-1]["error"]["usage"]["cost"] * 10**9) == record.net_nanos
    assert ready.fresh().posted_nanos == before - record.net_nanos
    assert [call["provider"] for call in world.sandbox.ledger()["calls"]] == ["anthropic"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_gateway_killed_after_its_first_attempt_charges_nothing(
    world: World, models: list[str], ready: Tenant, tmp_path: Path, stream: bool
) -> None:
    doomed = Gateway(tmp_path)
    doomed.start()
    world.await_served(ready, *models, gateway=doomed)
    before = ready.fresh().posted_nanos
    world.sandbox.script("anthropic", "503")
    world.sandbox.script("openai", "stall")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, doomed, ready, body_of(models, stream=stream))
        await_true(lambda: world.sandbox.ledger()["stalled"] == 1)
        doomed.stop(signal.SIGKILL)
        assert isinstance(asked.exception(), httpx.TransportError)
    assert Hold.everywhere.filter(wallet_id=ready.wallet.pk).count() == 1
    with connection.cursor() as cursor:  # as the reaper does, but without waiting for the session's time
        cursor.execute("SELECT billing_close_session(id) FROM billing_gatewaysession WHERE state <> 'reaped'")
    wallet = ready.fresh()
    assert (wallet.posted_nanos, wallet.held_nanos, ready.records()) == (before, 0, [])
    assert ExpiredHold.objects.filter(wallet_id=ready.wallet.pk).count() == 1
    assert list(find_violations()) == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_between_attempts_pays_nothing(world: World, models: list[str], ready: Tenant, stream: bool) -> None:
    before = ready.fresh().posted_nanos
    world.sandbox.script("anthropic", "503")
    world.sandbox.script("openai", "stall")
    client = httpx.Client(headers=ready.headers, timeout=30)

    def leave() -> None:
        await_true(lambda: world.sandbox.ledger()["stalled"] == 1)
        client.close()

    leaver = threading.Thread(target=leave)
    leaver.start()
    with pytest.raises((httpx.HTTPError, RuntimeError, OSError)), client:  # whichever way the socket ends
        client.post(world.gateway.url + CHAT, json=body_of(models, stream=stream), timeout=3)
    leaver.join()
    await_true(lambda: len(ready.records()) == 1 and world.sandbox.ledger()["in_flight"] == 0)
    [record] = ready.records()
    assert (record.outcome, record.net_nanos) == ("cancelled", 0)
    assert [attempt["provider"] for attempt in record.attempts] == ["anthropic", "openai"]
    wallet = ready.fresh()
    assert (wallet.posted_nanos, wallet.held_nanos) == (before, 0)


def test_a_retried_call_with_a_fallback_is_one_call(world: World, models: list[str], ready: Tenant) -> None:
    before = ready.fresh().posted_nanos
    world.sandbox.script("anthropic", "503")
    first = ask(world.gateway, ready, body_of(models), **{"idempotency-key": "fall-1"})
    again = ask(world.gateway, ready, body_of(models), **{"idempotency-key": "fall-1"})
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["x-tokia-model"] == first.headers["x-tokia-model"] == CHEAP
    other = ask(world.gateway, ready, body_of(models[::-1]), **{"idempotency-key": "fall-1"})
    assert other.status_code == 422
    [record] = ready.records()
    assert ready.fresh().posted_nanos == before - record.net_nanos
    assert [call["provider"] for call in world.sandbox.ledger()["calls"][::-1]] == ["anthropic", "openai"]


def test_a_request_sent_again_over_a_new_connection_is_told_and_paid_once(
    world: World, models: list[str], ready: Tenant, tmp_path: Path
) -> None:
    """A kept connection that ends as it is used: most often the provider closed it just then, and never saw the request."""
    fresh = Gateway(tmp_path)
    fresh.start()
    world.await_served(ready, *models, gateway=fresh)
    await_true(lambda: ask(fresh, ready, body_of([CHEAP])).status_code == 200, seconds=20)  # the connection is kept
    world.sandbox.post("/llm/__reset")
    before = ready.fresh().posted_nanos
    world.sandbox.script("openai", "drop")
    answer = ask(fresh, ready, body_of([CHEAP, DEAR]))
    assert answer.status_code == 200, answer.text
    record = ready.records()[-1]
    assert [(attempt["status"], attempt["is_resent"]) for attempt in record.attempts] == [(200, True)]
    assert [(call["provider"], call["status"]) for call in world.sandbox.ledger()["calls"][::-1]] == [
        ("openai", "broken"),
        ("openai", "finished"),
    ]
    assert (record.route_name, ready.fresh().posted_nanos) == (CHEAP, before - record.net_nanos)
    shown = httpx.get(
        f"{fresh.url}/v1/generation", params={"id": answer.headers["x-request-id"]}, headers=ready.headers, timeout=10
    ).json()
    assert shown["data"]["provider_responses"][0]["is_resent"] is True
    assert fresh.stop() == 0
