"""The processes of `make up` under load while they are killed, stopped and flushed: nobody pays twice, nobody pays for nothing.

Every scenario is seeded and ends alike: dead gateways' sessions reaped, the spool replayed, then every invariant is empty, every
wallet is its credits less its usage to the nano, every answer that a caller saw whole has one completed record with the tokens
that the provider billed, and a refusal cost nothing. `TORTURE=long` or `TORTURE_SEEDS` (comma-separated) run more of it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.conftest import Stack
from tests.torture.stack_books import Arena, Books, Payer, Reader, await_true
from tests.torture.stack_load import Load, Seen, usual_kinds
from tests.torture.stack_setup import KEY_LIMIT, Tenant

pytestmark = [pytest.mark.torture, pytest.mark.timeout(300)]
IS_LONG = os.environ.get("TORTURE") == "long"
SEEDS = [int(seed) for seed in os.environ.get("TORTURE_SEEDS", "1,2,3,4,5" if IS_LONG else "1").split(",")]
SCENARIOS = 5  # below
OUTAGE_CODES = {"ledger_unavailable", "service_unavailable"}
USUAL_CODES = {"insufficient_balance"}
FAULT_SECONDS = 4.0 if IS_LONG else 2.0  # of load between two blows


@pytest.fixture(scope="module")
def arena(stack: Stack) -> Arena:
    return Arena.of(stack, casts=SCENARIOS * len(SEEDS))


@pytest.fixture
def cast(arena: Arena) -> Iterator[list[Tenant]]:
    """Four tenants that no other test has."""
    await_true(arena.is_ready, seconds=60, why="the gateway is ready")
    yield arena.casts.pop()
    arena.sandbox("/llm/__script", method="DELETE")
    arena.sandbox("/llm/__release", {})
    arena.sandbox("/llm/__delay", {"ms": 15})
    await_true(arena.is_ready, seconds=60, why="the gateway is ready again")


@contextmanager
def watched(arena: Arena, cast: list[Tenant], seed: int) -> Iterator[Reader]:
    """With a reader of all wallets, and with top-ups of the poor one."""
    print(f"seed {seed}")
    reader, payer = Reader(arena), Payer(arena, cast[2], seed=seed)
    reader.start()
    payer.start()
    try:
        yield reader
    finally:
        payer.stop()
        reader.stop()


def check(arena: Arena, cast: list[Tenant], calls: list[Seen], reader: Reader, **told: object) -> Books:
    books = Books.close(arena, cast)
    print({**books.figures(calls), "reads": reader.reads, **told})
    assert books.find_slips(cast, calls)[:5] == []
    assert reader.below_zero == []
    assert reader.reads > 50
    return books


def codes(calls: list[Seen]) -> set[str]:
    """The errors of calls whose provider did nothing wrong."""
    return {seen.error_code for seen in calls if seen.error_code and seen.kind not in ("fails", "cuts")}


def restarts(arena: Arena, name: str, pid: int) -> float:
    return await_true(lambda: arena.stack.pid_of(name) != pid, seconds=40, why=f"{name} was started again")


def stop_database(arena: Arena, *, seconds: float) -> None:
    """Immediately, and again until so much time is over; the supervisor starts it each time."""
    until = time.monotonic() + seconds
    while True:
        pid = arena.signal("postgres", signal.SIGQUIT)
        restarts(arena, "postgres", pid)
        if time.monotonic() > until:
            return


@pytest.mark.parametrize("seed", SEEDS)
def test_it_finishes_open_streams_when_it_is_asked_to_stop(arena: Arena, cast: list[Tenant], seed: int) -> None:
    arena.sandbox("/llm/__delay", {"ms": 60})  # streams of some seconds

    async def play(load: Load) -> tuple[list[Seen], float]:
        load.start()
        await load.await_whole(30)
        before = time.monotonic()
        pid = arena.signal("gateway", signal.SIGTERM)
        open_then = {id(seen) for seen in load.calls}
        took = await asyncio.to_thread(restarts, arena, "gateway", pid)
        await load.await_whole(20)
        await load.stop()
        return [seen for seen in load.calls if id(seen) not in open_then and seen.began < before], took

    with watched(arena, cast, seed) as reader:
        load = Load(arena.port, cast[:3], usual_kinds(arena.routes), seed=seed)
        open_streams, took = asyncio.run(play(load))
    streams = [seen for seen in open_streams if seen.is_stream and seen.status == 200 and seen.kind in ("openai", "anthropic")]
    books = check(arena, cast, load.calls, reader, open=len(open_streams), streams=len(streams), restarted=f"{took:.1f} s")
    assert len(streams) > 3
    assert [seen for seen in open_streams if seen.is_broken and not seen.has_left] == []
    assert codes(load.calls) <= USUAL_CODES | {"service_restarting"}
    assert books.expired == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_it_survives_kills_of_the_gateway(arena: Arena, cast: list[Tenant], seed: int) -> None:
    rng = random.Random(seed)

    async def play(load: Load) -> list[float]:
        load.start()
        await load.await_whole(40)
        back = []
        for _ in range(4 if IS_LONG else 2):
            await asyncio.sleep(rng.uniform(0.5, FAULT_SECONDS))
            pid = arena.signal("gateway", signal.SIGKILL)
            await asyncio.to_thread(restarts, arena, "gateway", pid)
            back.append(await load.await_whole(20))
        await load.stop()
        return back

    with watched(arena, cast, seed) as reader:
        load = Load(arena.port, cast[:3], usual_kinds(arena.routes), seed=seed)
        back = asyncio.run(play(load))
    books = check(arena, cast, load.calls, reader, kills=len(back))
    assert books.expired, "no call was in flight when the gateway was killed"
    assert codes(load.calls) <= USUAL_CODES | OUTAGE_CODES


@pytest.mark.parametrize("seed", SEEDS)
def test_it_survives_an_immediate_stop_of_postgresql(arena: Arena, cast: list[Tenant], seed: int) -> None:
    """Twice: back at once; away for longer than settlements wait, so that the spool has them."""
    rng = random.Random(seed)
    seen_spool: list[int] = []

    async def play(load: Load) -> list[float]:
        load.start()
        await load.await_whole(40)
        back = []
        for seconds in (0.0, 2.5):
            await asyncio.sleep(rng.uniform(0.5, FAULT_SECONDS))
            await asyncio.to_thread(stop_database, arena, seconds=seconds)
            seen_spool.append(len(arena.spooled()))
            back.append(await load.await_whole(20))
        await load.stop()
        return back

    with watched(arena, cast, seed) as reader:
        load = Load(arena.port, cast[:3], usual_kinds(arena.routes), seed=seed)
        back = asyncio.run(play(load))
    books = check(arena, cast, load.calls, reader, back=[round(seconds, 1) for seconds in back], spools=seen_spool)
    assert codes(load.calls) <= USUAL_CODES | OUTAGE_CODES
    assert codes(load.calls) & OUTAGE_CODES
    assert books.expired == {}  # the gateway lived: every call of it has its record


@pytest.mark.parametrize("seed", SEEDS)
def test_it_bills_once_what_a_killed_gateway_had_spooled(arena: Arena, cast: list[Tenant], seed: int) -> None:
    """The worst order: answers finished by the spool, the gateway killed, its holds expired, only then its spool replayed."""

    def is_spooled_while_down() -> bool:
        pid = arena.signal("postgres", signal.SIGQUIT)
        while arena.stack.pid_of("postgres") == pid:
            if arena.spooled_bytes():
                time.sleep(0.3)  # a few answers more
                return arena.stack.pid_of("postgres") == pid
            time.sleep(0.02)
        return False

    def blow() -> int:
        while not is_spooled_while_down():
            continue
        dead = arena.signal("gateway", signal.SIGKILL)
        restarts(arena, "gateway", dead)
        successor = arena.signal("gateway", signal.SIGSTOP)
        try:
            await_true(arena.is_database_up, seconds=40, why="the database is back")
            return arena.reap(dead=dead)
        finally:
            os.kill(successor, signal.SIGCONT)

    async def play(load: Load) -> int:
        load.start()
        await load.await_whole(40)
        expired = await asyncio.to_thread(blow)
        await load.await_whole(20)
        await load.stop()
        return expired

    with watched(arena, cast, seed) as reader:
        load = Load(arena.port, cast[:3], usual_kinds(arena.routes), seed=seed)
        expired = asyncio.run(play(load))
    books = check(arena, cast, load.calls, reader, reaped=expired)
    assert any(record.is_late for record in books.records.values())
    assert codes(load.calls) <= USUAL_CODES | OUTAGE_CODES


@pytest.mark.parametrize("seed", SEEDS)
def test_it_survives_the_loss_of_valkey(arena: Arena, cast: list[Tenant], seed: int) -> None:
    valkey = redis.Redis.from_url(arena.stack.env["VALKEY_URL"])
    rng = random.Random(seed)

    async def play(load: Load, limited: Load) -> None:
        load.start()
        limited.start()
        await load.await_whole(40)
        await asyncio.sleep(rng.uniform(0.3, 1))
        await asyncio.to_thread(valkey.flushall)
        await asyncio.sleep(FAULT_SECONDS)
        pid = arena.signal("valkey", signal.SIGKILL)
        await load.await_whole(20)
        await asyncio.to_thread(restarts, arena, "valkey", pid)
        await load.await_whole(20)
        await asyncio.to_thread(await_true, arena.kill_nobody(), seconds=30, why="the worker still reaps dead gateways")
        await asyncio.gather(load.stop(), limited.stop())

    began = time.time()
    with watched(arena, cast, seed) as reader:
        load = Load(arena.port, cast[:3], usual_kinds(arena.routes), seed=seed)
        limited = Load(arena.port, cast[3:], usual_kinds(arena.routes)[:1], seed=seed, callers=4)
        asyncio.run(play(load, limited))
    valkey.close()
    minutes = int(time.time() // 60) - int(began // 60) + 1
    admitted = limited.count(lambda seen: seen.status != 429)
    check(arena, cast, load.calls + limited.calls, reader, admitted=admitted, minutes=minutes)
    assert codes(load.calls) <= USUAL_CODES
    assert load.count(lambda seen: seen.is_broken and not seen.has_left) == 0
    assert limited.count(lambda seen: seen.status == 429) > 0
    assert admitted <= KEY_LIMIT * (minutes + 2)  # the flush and the outage may each give what was spent once more
