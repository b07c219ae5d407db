"""What one process sees of a circuit, all know; and without Valkey each goes on by itself."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from django.conf import settings as ours
from pytest_django import Settings
from redis import Redis

from gateway.circuit import CLOSED, HALF_OPEN, OPEN, Circuits
from gateway.circuit_reports import CircuitsUnavailable, close_circuit, force_circuit, lift_force, read_circuits
from gateway.circuit_rules import Thresholds
from tests.examples import IS_LONG
from tests.gateway.circuit_cast import ERRORS, make_deployment
from tests.gateway.proxy import Proxy
from tests.gateway.world import come_true

QUICK = Thresholds(pause_seconds=1.2, pause_seconds_max=5.0)
NUMBERS = itertools.count(901)
DEPLOYMENT = make_deployment(900, 900)


@pytest.fixture(autouse=True)
def deployment() -> None:
    """A circuit of its own for each test: a gateway that runs beside them remembers those of the tests before."""
    global DEPLOYMENT
    number = next(NUMBERS)
    DEPLOYMENT = make_deployment(number, number)


@pytest.fixture(autouse=True)
def valkey() -> Iterator[Redis]:
    with Redis.from_url(ours.VALKEY_URL) as valkey:
        valkey.delete(*valkey.keys("tokia:circuits*"), "none")
        yield valkey
        valkey.delete(*valkey.keys("tokia:circuits*"), "none")


@asynccontextmanager
async def started(count: int, rules: Thresholds = QUICK) -> AsyncIterator[list[Circuits]]:
    all_ = [Circuits(rules) for _ in range(count)]
    for circuits in all_:
        await circuits.start()
    try:
        yield all_
    finally:
        for circuits in all_:
            await circuits.stop()


def break_(circuits: Circuits) -> None:
    for _ in range(5):
        circuits.note_failure(DEPLOYMENT, ERRORS["500"])


def all_in(all_: list[Circuits], state: str) -> Callable[[], bool]:
    return lambda: all(circuits.state(DEPLOYMENT) == state for circuits in all_)


def test_what_one_opens_is_open_to_all_and_what_one_closes_is_closed() -> None:
    async def run() -> None:
        async with started(3) as all_:
            break_(all_[0])
            await come_true(all_in(all_, OPEN), 1 if IS_LONG else 10)
            await come_true(all_in(all_, HALF_OPEN))
            for _ in range(2):
                await come_true(lambda: all_[1].take_probe(DEPLOYMENT))
                all_[1].note_success(DEPLOYMENT, first_token_ms=0)
            await come_true(all_in(all_, CLOSED))
            async with started(1) as [late]:
                assert late.state(DEPLOYMENT) == CLOSED
            break_(all_[2])
            await asyncio.sleep(0.1)
            async with started(1) as [late]:
                assert late.state(DEPLOYMENT) == OPEN  # before its first call

    asyncio.run(run())


def test_only_one_process_at_a_time_tries_a_circuit() -> None:
    async def run() -> None:
        async with started(4, Thresholds(pause_seconds=0.5)) as all_:
            break_(all_[0])
            await come_true(all_in(all_, OPEN))
            await come_true(all_in(all_, HALF_OPEN))
            probing: list[Circuits] = []
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                probing += [circuits for circuits in all_ if circuits.take_probe(DEPLOYMENT)]
                await asyncio.sleep(0.02)
            assert len(probing) == 1
            await asyncio.sleep(2)  # a long one: its permit is renewed
            assert not any(circuits.take_probe(DEPLOYMENT) for circuits in all_)
            probing[0].note_failure(DEPLOYMENT, ERRORS["500"])
            await come_true(all_in(all_, OPEN))

    asyncio.run(run())


def test_what_all_count_together_opens_it() -> None:
    async def run() -> None:
        async with started(3, Thresholds(pause_seconds=60)) as all_:
            for circuits in all_:
                for name in ("500", "", "500"):
                    if name:
                        circuits.note_failure(DEPLOYMENT, ERRORS[name])
                    else:
                        circuits.note_success(DEPLOYMENT, first_token_ms=0)
            await asyncio.sleep(5)  # two exchanges of counts
            assert all_in(all_, CLOSED)()
            all_[0].note_failure(DEPLOYMENT, ERRORS["500"])  # 7 of 10
            await come_true(all_in(all_, OPEN))
            await come_true(lambda: read_circuits()[DEPLOYMENT.circuit].failed == 7)
            state = read_circuits()[DEPLOYMENT.circuit]
            assert (state.state, state.reason, state.succeeded) == (OPEN, "outage", 3)

    asyncio.run(run())


def test_an_administrator_forces_lifts_and_closes() -> None:
    async def run() -> None:
        async with started(2, Thresholds(pause_seconds=60)) as all_:
            force_circuit(*DEPLOYMENT.circuit, OPEN, 60)
            await come_true(all_in(all_, OPEN))
            state = read_circuits()[DEPLOYMENT.circuit]
            assert (state.state, state.forced) == (OPEN, OPEN)
            assert 50 < state.forced_seconds_left <= 60
            lift_force(*DEPLOYMENT.circuit)
            await come_true(all_in(all_, CLOSED))
            break_(all_[0])
            await come_true(all_in(all_, OPEN))
            force_circuit(0, DEPLOYMENT.credential_id, CLOSED, 3)
            await come_true(all_in(all_, CLOSED))
            await come_true(all_in(all_, OPEN))
            close_circuit(*DEPLOYMENT.circuit)
            await come_true(all_in(all_, CLOSED))
            assert read_circuits()[DEPLOYMENT.circuit].state == CLOSED

    asyncio.run(run())
    with pytest.raises(ValueError, match="forced"):
        force_circuit(1, 1, HALF_OPEN, 60)


def test_a_refused_key_is_known_to_all() -> None:
    async def run() -> None:
        async with started(2) as all_:
            all_[0].note_failure(DEPLOYMENT, ERRORS["401"])
            other = make_deployment(next(NUMBERS), DEPLOYMENT.credential_id)
            await come_true(lambda: all_[1].state(other) == OPEN)
            assert read_circuits()[0, DEPLOYMENT.credential_id].reason == "credential"

    asyncio.run(run())


def test_what_valkey_forgot_is_told_again(valkey: Redis) -> None:
    async def run() -> None:
        async with started(2, Thresholds(pause_seconds=60)) as all_:
            break_(all_[0])
            force_circuit(1, 1, CLOSED, 60)
            await come_true(all_in(all_, OPEN))
            await come_true(lambda: bool(all_[0].forced))
            valkey.flushall()
            valkey.script_flush()
            for _ in range(30):
                assert all_in(all_, OPEN)()
                await asyncio.sleep(0.05)
            states = read_circuits()
            assert states[DEPLOYMENT.circuit].state == OPEN
            assert states[1, 1].forced == CLOSED
            assert not any(circuits.is_alone for circuits in all_)
            for key in valkey.keys("tokia:circuits*"):
                assert 0 < valkey.ttl(key) <= 7_200

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["refuse", "swallow"])
def test_without_valkey_each_goes_by_itself_and_tells_afterwards(mode: str, settings: Settings) -> None:
    proxy = Proxy(ours.VALKEY_URL)

    async def run() -> None:
        async with started(1, Thresholds(pause_seconds=0.5)) as [other]:
            settings.VALKEY_URL = proxy.url
            async with started(1, Thresholds(pause_seconds=0.5)) as [cut]:
                assert not cut.is_alone
                proxy.set_mode(mode)
                break_(cut)
                began = time.perf_counter()
                for _ in range(1_000):
                    cut.state(DEPLOYMENT)
                    cut.note_failure(DEPLOYMENT, ERRORS["500"])
                assert time.perf_counter() - began < 5  # nobody waits
                assert cut.state(DEPLOYMENT) == OPEN
                await come_true(lambda: cut.is_alone)
                assert other.state(DEPLOYMENT) == CLOSED
                await come_true(lambda: cut.take_probe(DEPLOYMENT))  # without asking anybody
                cut.note_failure(DEPLOYMENT, ERRORS["500"])
                proxy.set_mode("pass")
                await come_true(lambda: not cut.is_alone)
                await come_true(lambda: other.state(DEPLOYMENT) != CLOSED)

    try:
        asyncio.run(run())
    finally:
        proxy.close()


def test_pages_do_without_valkey(settings: Settings) -> None:
    from gateway import circuit_reports

    circuit_reports._valkey.cache_clear()
    settings.VALKEY_URL = "redis://127.0.0.1:9/0"
    try:
        assert read_circuits() == {}
        with pytest.raises(CircuitsUnavailable):
            force_circuit(1, 1, OPEN, 60)
    finally:
        circuit_reports._valkey.cache_clear()


def test_it_starts_without_valkey(settings: Settings) -> None:
    settings.VALKEY_URL = "redis://127.0.0.1:9/0"

    async def run() -> None:
        async with started(1) as [circuits]:
            break_(circuits)
            assert circuits.state(DEPLOYMENT) == OPEN
            assert circuits.is_alone

    asyncio.run(run())
