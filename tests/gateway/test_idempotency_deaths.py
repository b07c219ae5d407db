"""Gateways that die by SIGKILL at every point of a call with an `Idempotency-Key`, or lose their database: never paid twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection

from billing.reconcile import find_violations
from gateway.models import IdempotentCall
from tests.gateway.proxy import Proxy
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body, sse_events

pytestmark = [pytest.mark.torture, pytest.mark.timeout(170)]
CHAT = "/v1/chat/completions"
UNITS = {"input": "10", "output": "30"}
POINTS = ("after_claim", "after_hold_commit", "before_upstream", "mid_stream", "after_draft", "before_settle", "after_settle")


@pytest.fixture(scope="module")
def model(world: World) -> str:
    return world.route("openai", "gpt-4o-mini", name="idem/deaths", units=UNITS).name


@pytest.fixture
def ready(world: World, model: str, tenant: Tenant) -> Tenant:
    world.await_served(tenant, model)
    world.sandbox.post("/llm/__reset")
    return tenant


def post(gateway: Gateway, tenant: Tenant, body: Any, *, key: str = "k") -> httpx.Response:
    headers = {**tenant.headers, "idempotency-key": key}
    return httpx.post(gateway.url + CHAT, json=body, headers=headers, timeout=60)


def reap_sessions_of_the_dead(living: Gateway) -> None:
    """As the reaper does, but without waiting for the session's time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_close_session(id) FROM billing_gatewaysession WHERE state <> 'reaped' AND NOT host LIKE %s",
            (f"%:{living.pid}",),
        )


@pytest.mark.parametrize(
    ("point", "stream"), [(point, stream) for point in POINTS for stream in (False, True) if stream or point != "mid_stream"]
)
def test_a_retry_after_a_death_is_answered_and_paid_at_most_once(
    world: World, model: str, ready: Tenant, tmp_path: Path, point: str, stream: bool
) -> None:
    body = chat_body(model, max_tokens=40, stream=stream)
    doomed = Gateway(tmp_path, CRASHPOINT=point)
    doomed.start()
    world.await_served(ready, model, gateway=doomed)
    with pytest.raises(httpx.TransportError):
        answer = post(doomed, ready, body)
        assert "[DONE]" not in answer.text
        raise httpx.ReadError("it ended without its end")
    await_true(lambda: doomed.process is not None and doomed.process.poll() is not None)
    before = len(world.sandbox.ledger()["calls"])
    if point != "after_settle":  # until the reaper has it, nobody knows that it is dead
        early = post(world.gateway, ready, body)
        assert (early.status_code, early.json()["error"]["code"]) == (409, "idempotency_in_progress")
    reap_sessions_of_the_dead(world.gateway)
    first, again = post(world.gateway, ready, body), post(world.gateway, ready, body)
    assert (first.status_code, again.status_code) == (200, 200), first.text
    assert first.content == again.content
    was_written = point in ("after_draft", "before_settle", "after_settle")
    if stream:
        assert sse_events(first.text)[-1] == "[DONE]"
    if was_written:
        assert first.headers["x-tokia-idempotent-replay"] == "true"
    assert len(world.sandbox.ledger()["calls"]) - before == (0 if was_written else 1)
    records = ready.records()
    assert len(records) == (0 if point in ("after_draft", "before_settle") else 1)
    if point in ("after_draft", "before_settle") and not stream:  # written, and never charged: the answer says what it would be
        assert first.json()["usage"]["cost_details"]["is_estimate"] is True
    assert ready.fresh().posted_nanos == 100 * 10**9 - sum(record.net_nanos for record in records)
    assert ready.fresh().held_nanos == 0
    assert list(find_violations()) == []


def test_two_retries_of_a_dead_call_are_one(world: World, model: str, ready: Tenant, tmp_path: Path) -> None:
    body = chat_body(model, max_tokens=40)
    doomed = Gateway(tmp_path, CRASHPOINT="before_upstream")
    doomed.start()
    world.await_served(ready, model, gateway=doomed)
    with pytest.raises(httpx.TransportError):
        post(doomed, ready, body)
    await_true(lambda: doomed.process is not None and doomed.process.poll() is not None)
    reap_sessions_of_the_dead(world.gateway)
    world.sandbox.script("openai", "slowfirst:300")
    with ThreadPoolExecutor(20) as pool:
        statuses = [answer.status_code for answer in pool.map(lambda _: post(world.gateway, ready, body), range(20))]
    assert set(statuses) <= {200, 409}
    assert 200 in statuses
    assert len(ready.records()) == 1


def test_a_process_that_was_frozen_loses_its_call_to_the_retry(world: World, model: str, ready: Tenant, tmp_path: Path) -> None:
    """It wakes up after a retry was answered: what it has is neither told nor paid."""
    frozen = Gateway(tmp_path, GATEWAY_SESSION_SECONDS="3")
    frozen.start()
    world.await_served(ready, model, gateway=frozen)
    world.sandbox.script("openai", "stallmid:3")
    body = chat_body(model, stream=True, max_tokens=50)
    with ThreadPoolExecutor(1) as pool:
        streaming = pool.submit(post, frozen, ready, body)
        await_true(lambda: world.sandbox.ledger()["stalled"] == 1)
        os.kill(frozen.pid, signal.SIGSTOP)
        reap_sessions_of_the_dead(world.gateway)
        assert post(world.gateway, ready, body).status_code == 200
        world.sandbox.post("/llm/__release")
        time.sleep(0.5)
        os.kill(frozen.pid, signal.SIGCONT)
        events = sse_events(streaming.result().text)
    assert "error" in events[-1]
    assert len([record for record in ready.records() if record.outcome == "completed"]) == 1
    assert sum(record.gross_nanos > 0 for record in ready.records()) == 1
    assert frozen.stop() == 0
    assert list(find_violations()) == []


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(os.environ["DATABASE_URL"])
    yield proxy
    proxy.close()


@pytest.mark.parametrize("stream", [False, True])
def test_the_database_goes_away_in_the_middle(
    world: World, model: str, ready: Tenant, proxy: Proxy, tmp_path: Path, stream: bool
) -> None:
    """A whole answer that can't be kept is not told and not charged. A stream ends well, is charged once, and is not run again."""
    gateway = Gateway(tmp_path, DATABASE_URL=proxy.url, GATEWAY_SPOOL_AFTER_MS="400", GATEWAY_SPOOL_DIR=str(tmp_path / "spool"))
    gateway.start()
    world.await_served(ready, model, gateway=gateway)
    world.sandbox.script("openai", "stallmid:3" if stream else "stall")
    body = chat_body(model, stream=stream, max_tokens=50)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(post, gateway, ready, body)
        await_true(lambda: world.sandbox.ledger()["stalled"] == 1)
        proxy.set_mode("refuse")
        world.sandbox.post("/llm/__release")
        answer = running.result()
    assert answer.status_code == (200 if stream else 503)
    assert post(gateway, ready, body).status_code == 503
    proxy.set_mode("pass")
    await_true(lambda: bool(ready.records()), seconds=20, why="the settlement was not replayed")
    await_true(lambda: httpx.get(f"{gateway.url}/readyz").status_code == 200, seconds=20)
    retried = post(gateway, ready, body)
    if stream:
        assert sse_events(answer.text)[-1] == "[DONE]"
        assert (retried.status_code, retried.json()["error"]["code"]) == (409, "idempotency_call_interrupted")
    else:
        assert retried.status_code == 200
    assert sum(record.gross_nanos > 0 for record in ready.records()) == 1
    gateway.stop()
    assert IdempotentCall.everywhere.filter(organization_id=ready.wallet.organization_id).count() == 1
    assert list(find_violations()) == []
