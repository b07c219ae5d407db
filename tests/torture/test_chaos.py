"""Four providers that fall ill and recover on a seeded schedule, under load: the customers hardly notice, and the books agree.

The processes of `make up` and two more gateways of the same kind; real keys, wallets, limits and routes. `TORTURE=long` or
`CHAOS_SEEDS` (comma-separated) play more schedules; `CHAOS_CALLS` other numbers of calls.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.upstream import IDLE_SECONDS
from tests.conftest import Stack
from tests.gateway.world import Sandbox
from tests.torture.chaos_books import ChaosBooks, count_sockets, find_hidden_attempts
from tests.torture.chaos_load import ChaosCall, ChaosLoad, StackGateway, await_served, make_tenants, percentile, run_setup
from tests.torture.chaos_setup import PROVIDERS
from tests.torture.stack_books import Arena, await_true
from tests.torture.stack_setup import Tenant

pytestmark = [pytest.mark.torture, pytest.mark.timeout(300)]
IS_LONG = os.environ.get("TORTURE") == "long"
SEEDS = [int(seed) for seed in os.environ.get("CHAOS_SEEDS", "4,5,6,7,8" if IS_LONG else "4").split(",")]
CALLS = int(os.environ.get("CHAOS_CALLS", "5000"))
PER_SECOND, CALLERS = 125.0, 48
SERVED_SHARE = 0.999
OPENS_SECONDS = 1.5  # so soon after the outage begins the circuit is open
OPENING_REQUESTS_MAX = 60  # those that find it out, and those that were under way
PROBES_MAX = 70  # without a circuit it would be asked some 300 times
CLOSES_SECONDS = 8.0
HEALTHY_MS = 100
CALLS_OF_PHASE = 480
PLAYS = 4  # with the provider dead, the best counts: a shared machine's own stumbles are longer than an attempt
DEATHS = ("503", "refused", "stall")
# Of one provider: well, out of order, and well again.
VICTIM, WELL_BEGINS, OUTAGE_BEGINS, OUTAGE_ENDS, WELL_ENDS = "groq", 6.0, 14.0, 25.0, 37.0


@pytest.fixture(scope="module")
def arena(stack: Stack) -> Arena:
    return Arena(stack, {}, [])


@pytest.fixture(scope="module")
def gateways(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[StackGateway]]:
    folder = tmp_path_factory.mktemp("chaos")
    gateways = [StackGateway(stack, Path(folder)) for _ in range(2)]
    for gateway in gateways:
        gateway.start()
    yield gateways
    for gateway in gateways:
        code = gateway.stop(seconds=60)
        log = gateway.log.read_text()
        assert "Traceback" not in log, log[-6000:]
        assert code == 0, log[-2000:]


@pytest.fixture
def tenants(stack: Stack, arena: Arena) -> Iterator[list[Tenant]]:
    tenants = make_tenants(stack, 3)
    arena.sandbox("/llm/__reset", {})
    arena.sandbox("/llm/__delay", {"ms": 2})
    yield tenants
    arena.sandbox("/llm/__reset", {})
    arena.sandbox("/llm/__delay", {"ms": 15})


def begin_schedule(arena: Arena, seed: int) -> dict[str, Any]:
    outages = [
        {"provider": VICTIM, "begins": WELL_BEGINS, "ends": OUTAGE_BEGINS, "faults": []},
        {"provider": VICTIM, "begins": OUTAGE_BEGINS, "ends": OUTAGE_ENDS, "faults": ["503"]},
        {"provider": VICTIM, "begins": OUTAGE_ENDS, "ends": WELL_ENDS, "faults": []},  # it has recovered
    ]
    seconds = max(WELL_ENDS, CALLS / PER_SECOND)
    return arena.sandbox("/llm/__schedule", {"seed": seed, "providers": list(PROVIDERS), "seconds": seconds, "outages": outages})


@pytest.mark.parametrize("seed", SEEDS)
def test_it_serves_through_chaos_and_bills_each_call_once(
    arena: Arena, gateways: list[StackGateway], tenants: list[Tenant], seed: int
) -> None:
    print(f"seed {seed}")
    load = ChaosLoad([gateway.port for gateway in gateways], tenants, seed, CALLS, callers=CALLERS, per_second=PER_SECOND)
    await_served(gateways, tenants)
    schedule = begin_schedule(arena, seed)
    calls = load.run()
    books = ChaosBooks.close(arena, tenants)
    late = [call for call in calls if call.is_cut_late]
    unserved = load.failures()
    print({**books.figures(), "seconds": round(load.seconds, 1), "cut late": len(late), "unserved": dict(unserved)})
    print({f"p{percent}": round(percentile(calls, percent)) for percent in (50, 90, 99, 100)})
    assert books.find_slips(tenants, calls)[:5] == []
    assert unserved.total() <= (1 - SERVED_SHARE) * (len(calls) - len(late)), unserved
    assert find_hidden_attempts(books, tenants, gateways[0].url, sample=40)[:3] == []
    check_circuit(books, schedule["began_at"])
    check_sockets(arena, gateways)


def check_sockets(arena: Arena, gateways: list[StackGateway]) -> None:
    """Nothing is under way, so what is open is kept for the next call, and for so long only."""
    pids, port = [gateway.pid for gateway in gateways], urlsplit(arena.stack.demo["sandbox_url"]).port or 80
    await_true(lambda: not count_sockets(pids, port)["close wait"], seconds=5, why="no half-closed connection is kept")
    assert count_sockets(pids, port)["established"] <= 2 * CALLERS
    if IS_LONG:
        await_true(lambda: not count_sockets(pids, port), seconds=IDLE_SECONDS + 5, why="idle connections are closed")


def check_circuit(books: ChaosBooks, began_at: float) -> None:
    """It opens within its window, only probes while the outage lasts, and closes after it."""
    begins, ends, well_ends = (began_at + seconds for seconds in (OUTAGE_BEGINS, OUTAGE_ENDS, WELL_ENDS))
    before = books.requests_at(VICTIM, since=begins - 2, until=begins)
    opening = books.requests_at(VICTIM, since=begins, until=begins + OPENS_SECONDS)
    probes = books.requests_at(VICTIM, since=begins + OPENS_SECONDS, until=ends)
    after = books.requests_at(VICTIM, since=ends + CLOSES_SECONDS, until=well_ends)
    asked = books.attempts_at(VICTIM, since=ends + CLOSES_SECONDS, until=well_ends)
    told = {"before": len(before), "opening": len(opening), "probes": len(probes), "after": len(after)}
    print(f"requests at {VICTIM}, whose outage lasts {OUTAGE_ENDS - OUTAGE_BEGINS:.0f} s: {told}")
    assert len(before) > 10
    assert 0 < len(opening) <= OPENING_REQUESTS_MAX
    assert len(probes) <= PROBES_MAX
    assert len(after) > 20
    assert [attempt for attempt in asked if attempt.get("circuit")] == []


# ── One provider dies ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def outpost(stack: Stack, tmp_path: Path) -> Iterator[Sandbox]:
    """The victim's provider, in a process of its own that can be killed."""
    outpost = Sandbox(tmp_path)
    outpost.start()
    run_setup(stack, "--move", VICTIM, outpost.url)
    yield outpost
    if outpost.process is not None and outpost.process.poll() is None:
        outpost.stop()
    run_setup(stack, "--move", VICTIM, stack.demo["sandbox_url"])


@pytest.mark.parametrize("death", DEATHS if IS_LONG else DEATHS[:1])
def test_a_dead_provider_adds_less_than_one_attempt_to_the_slowest(
    arena: Arena, gateways: list[StackGateway], tenants: list[Tenant], outpost: Sandbox, death: str
) -> None:
    ports = [gateway.port for gateway in gateways]
    healthy = [{"provider": slug, "begins": 0, "ends": 600, "faults": [f"slowfirst:{HEALTHY_MS}"]} for slug in PROVIDERS]
    arena.sandbox("/llm/__schedule", {"phases": healthy})
    outpost.post("/llm/__schedule", {"phases": healthy})
    await_served(gateways, tenants)

    def play(calls_max: int, seed: int) -> list[ChaosCall]:
        load = ChaosLoad(ports, tenants, seed, calls_max, per_second=60.0, leaver_share=0)
        calls = load.run()
        assert load.failures() == {}
        return calls

    await_true(
        lambda: bool(play(8, 0) and outpost.ledger()["calls"]), seconds=15, why="the gateways know the provider's new address"
    )
    alive = play(CALLS_OF_PHASE, 1)
    if death == "refused":
        outpost.stop(signal.SIGKILL)
    else:
        outpost.post("/llm/__schedule", {"phases": [{"provider": VICTIM, "begins": 0, "ends": 600, "faults": [death]}]})
    play(120, 2)  # the circuit opens
    p99 = {"alive": percentile(alive, 99), "dead": float("inf")}
    attempt = percentile(alive, 50)
    for turn in range(PLAYS):
        p99["dead"] = min(p99["dead"], percentile(play(CALLS_OF_PHASE, 3 + turn), 99))
        if p99["dead"] - p99["alive"] < attempt:
            break
    print(f"{death}: one healthy attempt {attempt:.0f} ms, p99 {p99['alive']:.0f} ms, with a dead provider {p99['dead']:.0f} ms")
    assert p99["dead"] - p99["alive"] < attempt
