"""What is paid, whatever happens: races, kills at every step, the database away, and three ledgers that must agree."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection

from billing.models import ExpiredHold, Hold, UsageRecord
from billing.reconcile import find_violations
from tests.gateway.proxy import Proxy
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body, sse_events

CHAT = "/v1/chat/completions"
UNITS = {"input": "10", "cached_input": "2", "cache_write": "12", "output": "30", "reasoning": "20"}
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6", "groq": "openai/gpt-oss-120b"}


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {slug: world.route(slug, model, name=f"test/{slug}", units=UNITS).name for slug, model in MODELS.items()}


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    return tenant


def ask(gateway: Gateway, tenant: Tenant, body: dict[str, Any], **kwargs: Any) -> httpx.Response:
    return httpx.post(gateway.url + CHAT, json=body, headers=tenant.headers, timeout=30, **kwargs)


def expire_sessions() -> None:
    """As the reaper does, but without waiting for the session's time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_close_session(id) FROM billing_gatewaysession WHERE state <> 'reaped'")


def test_it_admits_exactly_what_the_balance_affords(world: World, routes: dict[str, str]) -> None:
    """50 calls at once with the same max_tokens, the upstream stalled until all are decided; the money is for 10."""
    probe = world.tenant()
    world.await_served(probe, *routes.values())
    body = chat_body(routes["openai"], max_tokens=1_000)
    assert ask(world.gateway, probe, body).status_code == 200
    [record] = probe.records()
    assert record.hold_nanos is not None
    tenant = world.tenant(brl=str(record.hold_nanos * 10 // 10**9) + f".{record.hold_nanos * 10 % 10**9:09d}")
    world.await_served(tenant, *routes.values())
    world.sandbox.script("openai", "stall", times=50)

    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(timeout=60, limits=limits, headers=tenant.headers) as client:
            calls = [asyncio.create_task(client.post(world.gateway.url + CHAT, json=body)) for _ in range(50)]
            while sum(call.done() for call in calls) < 40:
                await asyncio.sleep(0.02)
                assert tenant.wallet is not None
            await asyncio.sleep(0.3)
            assert sum(call.done() for call in calls) == 40
            world.sandbox.post("/llm/__release")
            return [(await call).status_code for call in calls]

    statuses = asyncio.run(run())
    world.sandbox.post("/llm/__reset")
    assert (statuses.count(200), statuses.count(402)) == (10, 40)
    wallet = tenant.fresh()
    assert wallet.held_nanos == 0
    assert len(tenant.records()) == 10


def test_it_cuts_the_answer_to_the_balance_where_the_caller_named_no_maximum(world: World, routes: dict[str, str]) -> None:
    tenant = world.tenant(brl="0.02")
    world.await_served(tenant, *routes.values())
    answer = ask(world.gateway, tenant, chat_body(routes["openai"]))
    assert answer.status_code == 200
    [record] = tenant.records()
    assert record.hold_nanos is not None
    assert record.hold_nanos <= 20_000_000
    assert ask(world.gateway, world.tenant(brl="0.0005"), chat_body(routes["openai"])).status_code == 402


def test_three_ledgers_agree_to_the_token_and_the_nano(world: World, routes: dict[str, str]) -> None:
    """What the upstreams say that they served, the usage records, and the wallet; streams cut by their callers included."""
    tenant = world.tenant(brl="500.00", requests_per_minute=100_000)
    world.await_served(tenant, *routes.values())
    world.sandbox.post("/llm/__reset")
    before = {record.pk for record in UsageRecord.everywhere.all()}
    rng = random.Random(7)

    def one(number: int) -> None:
        slug = rng.choice(list(MODELS))
        words = " ".join(rng.choice(["carteira", "saldo", "nota", "modelo"]) for _ in range(rng.randint(1, 200)))
        messages = [{"role": "system", "content": "Prefixo igual. " * 600}, {"role": "user", "content": words}]
        body = {"model": routes[slug], "messages": messages, "max_tokens": rng.randint(1, 300), "stream": number % 2 == 0}
        answer = ask(world.gateway, tenant, body)
        assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(120)))
    records = [record for record in tenant.records() if record.pk not in before]
    assert len(records) == 120
    totals = {total["provider"]: total for total in world.sandbox.ledger()["totals"]}
    for slug in MODELS:
        mine = [record for record in records if record.provider_name == slug]
        billed = totals[slug]
        assert billed["calls"] == billed["finished"] == len(mine)
        prompt = sum(r.input_tokens + r.cached_input_tokens + r.cache_write_tokens for r in mine)
        assert prompt == billed["prompt_tokens"], slug
        assert sum(r.cached_input_tokens for r in mine) == billed["cached_tokens"], slug
        assert sum(r.cache_write_tokens for r in mine) == billed["cache_write_tokens"], slug
        assert sum(r.output_tokens + r.reasoning_tokens for r in mine) == billed["completion_tokens"], slug
        assert sum(r.reasoning_tokens for r in mine) == billed["reasoning_tokens"], slug
    assert any(record.cached_input_tokens for record in records)
    assert any(record.reasoning_tokens for record in records)
    wallet = tenant.fresh()
    assert wallet.posted_nanos == 500 * 10**9 - sum(record.net_nanos for record in records)
    assert wallet.held_nanos == 0
    assert {record.usage_source for record in records} == {"upstream"}


@pytest.mark.parametrize("point", ["recv", "after_hold_commit", "before_upstream", "mid_stream", "before_settle", "after_settle"])
def test_a_gateway_that_dies_charges_nothing_for_what_it_broke(
    world: World, routes: dict[str, str], ready: Tenant, tmp_path: Path, point: str
) -> None:
    doomed = Gateway(tmp_path, CRASHPOINT=point)
    doomed.start()
    world.await_served(ready, *routes.values(), gateway=doomed)
    before = ready.fresh().posted_nanos
    with pytest.raises(httpx.TransportError):
        answer = ask(doomed, ready, chat_body(routes["openai"], stream=True, max_tokens=40))
        assert "[DONE]" not in answer.text
        raise httpx.ReadError("it ended without its end")
    await_true(lambda: doomed.process is not None and doomed.process.poll() is not None)
    assert doomed.process is not None
    assert doomed.process.returncode == -signal.SIGKILL
    held = Hold.everywhere.filter(wallet_id=ready.wallet.pk).count()
    expire_sessions()
    wallet = ready.fresh()
    assert wallet.held_nanos == 0
    if point == "after_settle":  # committed, and the answer's last bytes never left
        [record] = ready.records()
        assert wallet.posted_nanos == before - record.net_nanos
    else:
        assert wallet.posted_nanos == before
        assert ready.records() == []
        assert ExpiredHold.objects.filter(wallet_id=ready.wallet.pk).count() == held == (0 if point == "recv" else 1)
    assert list(find_violations()) == []


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(os.environ["DATABASE_URL"])
    yield proxy
    proxy.close()


@pytest.fixture
def behind(proxy: Proxy, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway whose database can be taken away."""
    gateway = Gateway(tmp_path, DATABASE_URL=proxy.url, GATEWAY_SPOOL_AFTER_MS="400", GATEWAY_SPOOL_DIR=str(tmp_path / "spool"))
    gateway.start()
    yield gateway
    if gateway.process is not None and gateway.process.poll() is None:
        gateway.stop()


@pytest.mark.parametrize("mode", ["refuse", "swallow"])
def test_it_spools_what_it_can_not_settle_and_admits_nothing_meanwhile(
    world: World, routes: dict[str, str], ready: Tenant, behind: Gateway, proxy: Proxy, tmp_path: Path, mode: str
) -> None:
    world.await_served(ready, *routes.values(), gateway=behind)
    before = ready.fresh().posted_nanos
    world.sandbox.script("openai", "stallmid:3")
    body = chat_body(routes["openai"], stream=True, stream_options={"include_usage": True}, max_tokens=50)
    with ThreadPoolExecutor(1) as pool:
        streaming = pool.submit(ask, behind, ready, body)
        await_true(lambda: world.sandbox.ledger()["stalled"] == 1)
        proxy.set_mode(mode)
        world.sandbox.post("/llm/__release")
        events = sse_events(streaming.result().text)
    assert events[-1] == "[DONE]"
    assert events[-2]["usage"]["cost_details"]["is_estimate"] is True
    assert len(list((tmp_path / "spool").glob("*.spool"))) == 1
    refused = ask(behind, ready, chat_body(routes["openai"], max_tokens=5))
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert httpx.get(f"{behind.url}/healthz").status_code == 200
    proxy.set_mode("refuse")
    proxy.set_mode("pass")
    await_true(lambda: any(r.outcome == "completed" for r in ready.records()), seconds=20, why="the settlement was not replayed")
    [record] = [record for record in ready.records() if record.outcome == "completed"]
    assert record.usage_source == "upstream"
    assert ready.fresh().posted_nanos == before - record.net_nanos
    await_true(lambda: not list((tmp_path / "spool").glob("*.spool")), why="the spool was not cleared")
    await_true(lambda: ask(behind, ready, chat_body(routes["openai"], max_tokens=5)).status_code == 200, seconds=15)
    assert ready.fresh().held_nanos == 0


def test_a_successor_replays_the_spool_once(
    world: World, routes: dict[str, str], ready: Tenant, behind: Gateway, proxy: Proxy, tmp_path: Path
) -> None:
    world.await_served(ready, *routes.values(), gateway=behind)
    before = ready.fresh().posted_nanos
    world.sandbox.script("openai", "stallmid:3")
    with ThreadPoolExecutor(1) as pool:
        streaming = pool.submit(ask, behind, ready, chat_body(routes["openai"], stream=True, max_tokens=50))
        await_true(lambda: world.sandbox.ledger()["stalled"] == 1)
        proxy.set_mode("refuse")
        world.sandbox.post("/llm/__release")
        assert sse_events(streaming.result().text)[-1] == "[DONE]"
    behind.stop(signal.SIGKILL)
    [spooled] = (tmp_path / "spool").glob("*.spool")
    kept = spooled.read_bytes()
    expire_sessions()
    for _ in range(2):  # the second time the same records bill nothing
        spooled.write_bytes(kept + kept[: len(kept) // 2])  # and a torn one at the end
        successor = Gateway(tmp_path, GATEWAY_SPOOL_DIR=str(tmp_path / "spool"))
        successor.start()
        await_true(lambda: not spooled.exists(), why="the spool was not replayed")
        assert successor.stop() == 0
    [record] = ready.records()
    assert record.is_late
    assert ready.fresh().posted_nanos == before - record.net_nanos
    assert list(find_violations()) == []


def test_it_repairs_a_broken_connection_unseen(
    world: World, routes: dict[str, str], ready: Tenant, behind: Gateway, proxy: Proxy
) -> None:
    world.await_served(ready, *routes.values(), gateway=behind)
    for _ in range(3):
        assert ask(behind, ready, chat_body(routes["openai"], max_tokens=5)).status_code == 200
        proxy.set_mode("refuse")
        proxy.set_mode("pass")
    await_true(lambda: ready.fresh().held_nanos == 0)
    assert len(ready.records()) == 3


def test_it_drains_on_sigterm_and_ends_with_zero(world: World, routes: dict[str, str], ready: Tenant, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, GATEWAY_DRAIN_SECONDS="3")
    gateway.start()
    world.await_served(ready, *routes.values(), gateway=gateway)
    world.sandbox.script("openai", "stallmid:3", times=2)
    with ThreadPoolExecutor(12) as pool:
        whole = [pool.submit(ask, gateway, ready, chat_body(routes["groq"], stream=True, max_tokens=400)) for _ in range(8)]
        stuck = [pool.submit(ask, gateway, ready, chat_body(routes["openai"], stream=True, max_tokens=50)) for _ in range(2)]
        await_true(lambda: world.sandbox.ledger()["stalled"] == 2)
        started = time.monotonic()
        assert gateway.stop(seconds=25) == 0
        assert time.monotonic() - started < 20
        assert all(sse_events(answer.result().text)[-1] == "[DONE]" for answer in whole)
        assert all(sse_events(answer.result().text)[-1]["error"]["code"] == "service_restarting" for answer in stuck)
    world.sandbox.post("/llm/__reset")
    assert sorted(record.outcome for record in ready.records()) == ["completed"] * 8 + ["cut"] * 2
    assert ready.fresh().held_nanos == 0
    assert list(find_violations()) == []


def test_a_process_that_was_frozen_ends_its_calls_free_of_charge(
    world: World, routes: dict[str, str], ready: Tenant, tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path, GATEWAY_SESSION_SECONDS="3")
    gateway.start()
    world.await_served(ready, *routes.values(), gateway=gateway)
    world.sandbox.script("openai", "stallmid:3")
    with ThreadPoolExecutor(1) as pool:
        streaming = pool.submit(ask, gateway, ready, chat_body(routes["openai"], stream=True, max_tokens=50))
        await_true(lambda: world.sandbox.ledger()["stalled"] == 1)
        os.kill(gateway.pid, signal.SIGSTOP)
        expire_sessions()
        os.kill(gateway.pid, signal.SIGCONT)
        time.sleep(2)  # the next renewal tells it
        world.sandbox.post("/llm/__release")
        events = sse_events(streaming.result().text)
    assert "error" in events[-1]
    assert ready.records() == []
    assert ask(gateway, ready, chat_body(routes["openai"], max_tokens=5)).status_code == 200
    assert gateway.stop() == 0
    assert list(find_violations()) == []


def test_limits_hold_without_valkey(world: World, routes: dict[str, str], tmp_path: Path) -> None:
    tenant = world.tenant(requests_per_minute=20)
    gateway = Gateway(tmp_path, VALKEY_URL="redis://127.0.0.1:9/0", GATEWAY_PROCESSES="2")
    gateway.start()
    world.await_served(tenant, *routes.values(), gateway=gateway)
    while time.time() % 60 > 50:
        time.sleep(0.5)
    statuses = [ask(gateway, tenant, chat_body(routes["openai"], max_tokens=2)).status_code for _ in range(14)]
    assert statuses == [200] * 10 + [429] * 4  # half of the limit: there are two processes
    assert gateway.stop() == 0


def test_two_processes_share_one_limit(world: World, routes: dict[str, str], tmp_path: Path) -> None:
    tenant = world.tenant(requests_per_minute=20)
    other = Gateway(tmp_path)
    other.start()
    world.await_served(tenant, *routes.values(), gateway=other)
    world.await_served(tenant, *routes.values())
    while time.time() % 60 > 50:
        time.sleep(0.5)
    answers = [
        ask(gateway, tenant, chat_body(routes["openai"], max_tokens=2)) for _ in range(12) for gateway in (other, world.gateway)
    ]
    assert [answer.status_code for answer in answers].count(200) == 20
    assert answers[0].headers["x-ratelimit-limit-requests"] == "20"
    assert other.stop() == 0
