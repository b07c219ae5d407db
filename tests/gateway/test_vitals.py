"""What is measured of the deployments: counted in memory, written and read in the background, whatever happens to the database."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from django.conf import settings as ours
from pytest_django import Settings

from gateway import vitals as vitals_module
from gateway.models import DeploymentVitals
from gateway.vitals import UNMEASURED, Vitals
from tests.gateway.circuit_cast import make_deployment
from tests.gateway.proxy import Proxy
from tests.gateway.world import come_true

ONE, OTHER, OWN = make_deployment(801), make_deployment(802), make_deployment(803, -4)


@pytest.fixture(autouse=True)
def often(settings: Settings) -> None:
    settings.GATEWAY_VITALS_SECONDS = 0.1


def count(vitals: Vitals, times: int, *, first_token_ms: int = 200, total_ms: int = 1_200, output_tokens: int = 100) -> None:
    for _ in range(times):
        vitals.note_answer(ONE, "m/one", first_token_ms=first_token_ms, total_ms=total_ms, output_tokens=output_tokens)


def sums() -> tuple[int, int, int, int]:
    rows = DeploymentVitals.objects.filter(deployment_id=ONE.id, span_seconds=60)
    return (
        sum(row.succeeded for row in rows), sum(row.failed for row in rows), sum(row.limited for row in rows),
        sum(sum(row.total) for row in rows),
    )  # fmt: skip


def test_processes_measure_together(committed_db: None) -> None:
    async def run() -> None:
        one, other = Vitals(), Vitals()
        assert one.of(ONE.id) is UNMEASURED
        await one.start()
        await other.start()
        count(one, 30)
        count(other, 70, first_token_ms=2_000, total_ms=4_000)
        one.note_failure(ONE, "m/one", kind="outage")
        one.note_failure(ONE, "m/one", kind="rate_limit")
        for kind in ("refused", "context_window", "content_policy", "credential"):
            one.note_failure(ONE, "m/one", kind=kind)
        one.note_failure(OWN, "m/one", kind="rate_limit")  # the customer's own limit
        await come_true(lambda: one.of(ONE.id).answers == other.of(ONE.id).answers == 100)
        measured = other.of(ONE.id)
        assert measured.failures == 1
        assert measured.first_token_p50_ms == pytest.approx(2_000, rel=0.125)
        assert measured.total_p95_ms == pytest.approx(4_000, rel=0.125)
        assert measured.tokens_per_second == pytest.approx(100 * 100 / (30 * 1 + 70 * 2))
        assert other.of(OTHER.id) is UNMEASURED
        assert other.of(OWN.id) is UNMEASURED
        await one.stop()
        await other.stop()

    asyncio.run(run())
    assert sums() == (100, 1, 1, 100)
    late = Vitals()

    async def restart() -> None:
        await late.start()
        await come_true(lambda: late.of(ONE.id).answers == 100)  # a new process knows what the old ones measured
        await late.stop()

    asyncio.run(restart())


def test_the_last_of_it_is_written_at_the_end(committed_db: None, settings: Settings) -> None:
    settings.GATEWAY_VITALS_SECONDS = 60.0

    async def run() -> None:
        vitals = Vitals()
        await vitals.start()
        await asyncio.sleep(0.3)
        count(vitals, 7)
        await vitals.stop()

    asyncio.run(run())
    assert sums()[0] == 7


@pytest.mark.parametrize("mode", ["refuse", "swallow"])
def test_without_the_database_it_goes_by_its_own_and_loses_nothing(
    mode: str, committed_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals_module, "DATABASE_SECONDS", 0.5)
    proxy = Proxy(ours.DATABASE_URL)
    settings.DATABASE_URL = proxy.url

    async def run() -> None:
        vitals = Vitals()
        await vitals.start()
        count(vitals, 5)
        await come_true(lambda: vitals.of(ONE.id).answers == 5)
        proxy.set_mode(mode)
        count(vitals, 10)
        await come_true(lambda: vitals.of(ONE.id).answers == 15)
        count(vitals, 10)
        await come_true(lambda: vitals.of(ONE.id).answers == 25)
        assert vitals.of(ONE.id).total_p50_ms == pytest.approx(1_200, rel=0.125)
        proxy.set_mode("refuse")  # what was swallowed is gone
        proxy.set_mode("pass")
        await come_true(lambda: not vitals._pending and not vitals._is_away)
        await vitals.stop()

    try:
        asyncio.run(run())
    finally:
        proxy.close()
    assert sums() == (25, 0, 0, 25)


def test_an_end_without_the_database_is_quick(committed_db: None, settings: Settings) -> None:
    settings.DATABASE_URL = "postgresql://x:y@127.0.0.1:9/none"

    async def run() -> float:
        vitals = Vitals()
        await vitals.start()
        count(vitals, 3)
        began = time.monotonic()
        await vitals.stop()
        return time.monotonic() - began

    assert asyncio.run(run()) < 4


def test_a_worker_that_shares_nothing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals_module, "TALLIES_MAX", 50)
    now = [0.0]
    vitals = Vitals(clock=lambda: now[0])
    for _ in range(500):
        now[0] += 60
        count(vitals, 1)
        assert len(vitals._pending) <= 50
    assert max(minute for minute, _ in vitals._pending) == 500
    assert vitals.of(ONE.id) is UNMEASURED


def test_it_forgets_after_five_minutes(committed_db: None, settings: Settings) -> None:
    settings.DATABASE_URL = "postgresql://x:y@127.0.0.1:9/none"
    now = [1_000_000.0]

    async def run() -> None:
        vitals = Vitals(clock=lambda: now[0])
        await vitals.start()
        count(vitals, 3)
        await come_true(lambda: vitals.of(ONE.id).answers == 3)
        now[0] += 420
        await come_true(lambda: vitals.of(ONE.id) is UNMEASURED)
        await vitals.stop()

    asyncio.run(run())


def test_its_percentiles_are_those_of_what_was_told(committed_db: None) -> None:
    rng = random.Random(4)
    first, total = [], []

    async def run() -> None:
        vitals = Vitals()
        await vitals.start()
        for _ in range(2_000):
            first.append(min(300_000, max(10, round(rng.lognormvariate(6, 0.8)))))
            total.append(first[-1] + round(rng.lognormvariate(7, 0.5)))
            vitals.note_answer(ONE, "m/one", first_token_ms=first[-1], total_ms=total[-1], output_tokens=10)
        await come_true(lambda: vitals.of(ONE.id).answers == 2_000)
        measured = vitals.of(ONE.id)
        for times, p50, p95 in (
            (sorted(first), measured.first_token_p50_ms, measured.first_token_p95_ms),
            (sorted(total), measured.total_p50_ms, measured.total_p95_ms),
        ):
            assert p50 == pytest.approx(times[999], rel=0.125)
            assert p95 == pytest.approx(times[1_899], rel=0.125)
        await vitals.stop()

    asyncio.run(run())
