"""Batches whose workers die by SIGKILL at every point, or work side by side: each line is answered once and charged once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI
from pytest_django import Settings

from billing.holds import expire_holds, reap_sessions
from billing.models import GatewaySession, Hold, UsageRecord
from billing.reconcile import find_violations
from gateway.batch_run import run_batches
from gateway.models import Batch, BatchLine, StoredFile
from tests.gateway.batch_cast import client_of, jsonl, line_of, order, read_output, row_id, run_turn, start_turn
from tests.gateway.world import ROOT, Tenant, World, await_true
from tokia import clock

pytestmark = [pytest.mark.torture, pytest.mark.timeout(170)]
POINTS = (
    "batch_before_hold_commit", "batch_after_hold_commit", "batch_before_upstream", "batch_after_upstream", "batch_before_commit",
    "batch_after_commit", "batch_before_end_commit",
)  # fmt: skip
LINES = 6
QUICK = {"BATCH_LEASE_SECONDS": "2"}


@pytest.fixture(autouse=True)
def _empty(world: World) -> Iterator[None]:
    world.sandbox.post("/llm/__reset")
    yield
    Batch.everywhere.all().delete()
    StoredFile.everywhere.all().delete()


@pytest.fixture
def client(world: World, tenant: Tenant) -> OpenAI:
    return client_of(world, tenant)


@pytest.fixture(scope="module")
def model(world: World) -> str:
    return world.route("openai", "gpt-4o-mini", name="openai/lote").name


def check_delivered(tenant: Tenant, client: OpenAI, batch_id: str, *, lines: int) -> list[UsageRecord]:
    """Every line once, in order; what is charged is what was delivered, no more and no less. Gives what was paid."""
    batch = client.batches.retrieve(batch_id)
    assert (batch.status, batch.error_file_id) == ("completed", None)
    answers = read_output(client, batch.output_file_id)
    assert [answer["custom_id"] for answer in answers] == [f"linha-{number}" for number in range(1, lines + 1)]
    records = tenant.records()
    paid = [record for record in records if record.net_nanos]
    assert {str(record.id) for record in paid} == {answer["response"]["request_id"] for answer in answers}
    assert len(paid) == lines
    assert {record.outcome for record in records if not record.net_nanos} <= {"failed"}
    wallet = tenant.fresh()
    assert wallet.posted_nanos == 100 * 10**9 - sum(record.net_nanos for record in paid)
    assert wallet.overdraft_nanos == 0
    assert (wallet.held_nanos, Hold.everywhere.count()) == (0, 0)
    assert find_violations() == []
    return paid


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_is_killed_leaves_a_batch_that_another_ends(
    world: World, tenant: Tenant, client: OpenAI, model: str, point: str
) -> None:
    batch = order(client, jsonl(*(line_of(number, model) for number in range(1, LINES + 1))))
    killed = start_turn(world.folder, {"CRASHPOINT": point, **QUICK})
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, (world.folder / "turns.log").read_text()[-3000:]
    paid_before = [record for record in tenant.records() if record.net_nanos]
    assert len(paid_before) == BatchLine.everywhere.filter(status="done").count()  # an answer and a charge, or neither
    assert find_violations() == []
    deadline = time.monotonic() + 60
    while client.batches.retrieve(batch.id).status != "completed":
        assert time.monotonic() < deadline
        run_turn(world.folder, QUICK)
        time.sleep(0.5)
    paid = check_delivered(tenant, client, batch.id, lines=LINES)
    assert {record.id for record in paid_before} <= {record.id for record in paid}
    served = len(world.sandbox.ledger()["calls"])
    assert LINES <= served <= 2 * LINES  # what was served twice is ours to pay
    if point in ("batch_before_hold_commit", "batch_after_commit", "batch_before_end_commit"):
        assert served <= LINES + 8


def test_a_session_that_is_reaped_before_its_batch_goes_on(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    """The dead worker's holds expire first, and their lines run again."""
    batch = order(client, jsonl(*(line_of(number, model) for number in range(1, LINES + 1))))
    killed = start_turn(world.folder, {"CRASHPOINT": "batch_after_upstream", **QUICK})
    killed.communicate(timeout=60)
    assert Hold.everywhere.exists()
    with_owner("UPDATE billing_gatewaysession SET expires_at = now() - interval '1 hour' WHERE host LIKE 'batches %'")
    await_true(lambda: reap_sessions(grace_seconds=0) > 0)  # the dead worker's server process may still have its session
    assert not Hold.everywhere.exists()
    await_true(lambda: run_turn(world.folder, QUICK) or client.batches.retrieve(batch.id).status == "completed", seconds=40)
    check_delivered(tenant, client, batch.id, lines=LINES)
    assert any(record.is_late for record in tenant.records())


def test_a_worker_that_is_fenced_while_it_works_charges_nothing_for_it(
    world: World, tenant: Tenant, client: OpenAI, model: str
) -> None:
    """Its hold is gone, so the money may be, too: the answer is thrown away, and the line runs again."""
    world.sandbox.script("openai", "slowfirst:4000", times=2)
    batch = order(client, jsonl(line_of(1, model), line_of(2, model)))
    turn = start_turn(world.folder, {"GATEWAY_SESSION_SECONDS": "60"}, seconds=30)
    await_true(lambda: Hold.everywhere.count() == 2, seconds=30)
    with_owner("UPDATE billing_gatewaysession SET expires_at = now() - interval '1 hour' WHERE host LIKE 'batches %'")
    reaped = 0
    while reaped < 2:  # its heart may have the session at this very moment
        reaped += reap_sessions(grace_seconds=0)
    turn.communicate(timeout=90)
    assert turn.returncode == 0, (world.folder / "turns.log").read_text()[-3000:]
    await_true(lambda: run_batches() + 1 and client.batches.retrieve(batch.id).status == "completed", seconds=30)
    paid = check_delivered(tenant, client, batch.id, lines=2)
    assert not any(record.is_late for record in paid)


def test_no_batch_ends_while_a_line_of_it_is_under_way(
    world: World, tenant: Tenant, client: OpenAI, model: str, settings: Settings
) -> None:
    """A line that is charged is delivered, even where its answer comes after the window's end, or after a cancellation."""
    settings.BATCH_RUNNERS = 4
    for end in ("expires", "cancel"):
        world.sandbox.script("openai", "slowfirst:5000")
        batch = order(client, jsonl(line_of(1, model)))
        turn = start_turn(world.folder, seconds=2)
        await_true(lambda: Hold.everywhere.exists(), seconds=30)
        if end == "expires":
            Batch.everywhere.filter(pk=row_id(batch.id)).update(expires_at=clock.now())
        else:
            client.batches.cancel(batch.id)
        assert run_batches(seconds=1) == 0  # another worker sees that it is over
        assert client.batches.retrieve(batch.id).status in ("finalizing", "cancelling")
        assert int(turn.communicate(timeout=60)[0]) == 1
        run_batches(seconds=1)
        batch = client.batches.retrieve(batch.id)
        assert batch.status == ("completed" if end == "expires" else "cancelled")
        [answer] = read_output(client, batch.output_file_id)
        assert answer["response"]["request_id"] in {str(record.id) for record in tenant.records() if record.net_nanos}
    assert len(tenant.records()) == 2


def test_workers_side_by_side_never_do_a_line_twice(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    lines = 40
    batch = order(client, jsonl(*(line_of(number, model) for number in range(1, lines + 1))))
    turns = [start_turn(world.folder, seconds=40) for _ in range(3)]
    answered = [int(turn.communicate(timeout=90)[0]) for turn in turns]
    assert sum(answered) == lines
    check_delivered(tenant, client, batch.id, lines=lines)
    assert len(world.sandbox.ledger()["calls"]) == lines
    assert len(tenant.records()) == lines


def test_workers_killed_again_and_again_end_their_batches(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    """No point is chosen: SIGKILL falls where it falls."""
    lines = 60
    world.sandbox.script("openai", "slowfirst:200", times=200)
    batch = order(client, jsonl(*(line_of(number, model) for number in range(1, lines + 1))))
    for seconds in (2.5, 3.0, 3.5, 4.0):
        turns = [start_turn(world.folder, QUICK, seconds=30) for _ in range(2)]
        time.sleep(seconds)
        for turn in turns:
            turn.kill()
            turn.communicate()
    deadline = time.monotonic() + 90
    while client.batches.retrieve(batch.id).status != "completed":
        assert time.monotonic() < deadline
        run_turn(world.folder, QUICK)
    check_delivered(tenant, client, batch.id, lines=lines)
    counted: Counter[Any] = Counter(record.outcome for record in tenant.records())
    assert counted["completed"] == lines
    expire_holds()


def test_a_real_worker_finds_the_row(world: World, tenant: Tenant, client: OpenAI, model: str) -> None:
    """As in `make up`: celery's worker, told by a message as beat sends it."""
    argv = [sys.executable, "-m", "celery", "-A", "tokia.celery", "worker", "--pool", "threads", "--concurrency", "2",
            "--without-gossip", "--without-mingle", "--loglevel", "warning"]  # fmt: skip
    send = [sys.executable, "-m", "celery", "-A", "tokia.celery", "call", "gateway.tasks.run_batches"]
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    left = GatewaySession.objects.filter(host__startswith="batches", state="live").count()  # by those who were killed
    batch = order(client, jsonl(*(line_of(number, model) for number in range(1, 4))))
    with (world.folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        subprocess.run(send, cwd=ROOT, env=env, check=True, capture_output=True, timeout=60)
        await_true(lambda: client.batches.retrieve(batch.id).status == "completed", seconds=60,
                   why=(world.folder / "worker.log").read_text()[-3000:])  # fmt: skip
    finally:
        worker.terminate()
        worker.wait(60)
    check_delivered(tenant, client, batch.id, lines=3)
    assert GatewaySession.objects.filter(host__startswith="batches", state="live").count() == left


def with_owner(statement: str) -> None:
    import psycopg

    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
        connection.execute(statement.encode())
