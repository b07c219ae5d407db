"""Providers that fall ill by the clock: drawn alike for a seed, never all at once, and played by the running sandbox."""

from __future__ import annotations

import itertools
import time

import httpx
import pytest

from tests.sandbox.conftest import Sandbox
from tokia.sandbox.faults import Fault
from tokia.sandbox.llm_schedule import SICKNESSES, Phase, Schedule, draw_phases, read_schedule

PROVIDERS = ("openai", "anthropic", "google", "groq")
OUTAGE = Phase("groq", 10, 25, (Fault("status", 503),))


@pytest.mark.parametrize("seed", range(20))
def test_it_draws_alike_for_a_seed_and_leaves_somebody_well(seed: int) -> None:
    phases = draw_phases(seed=seed, providers=PROVIDERS, seconds=60, outages=[OUTAGE])
    assert phases == draw_phases(seed=seed, providers=PROVIDERS, seconds=60, outages=[OUTAGE])
    schedule = Schedule(phases)
    counts = [sum(not schedule.faults_of(slug, at=at / 20) for slug in PROVIDERS) for at in range(60 * 20)]
    assert min(counts) == 1
    assert all(schedule.faults_of("groq", at=at / 10) == [Fault("status", 503)] for at in range(100, 250))
    for slug in PROVIDERS:
        mine = phases[slug]
        assert all(one.ends <= next_.begins for one, next_ in itertools.pairwise(mine))
    assert not schedule.faults_of("openai", at=61)


def test_it_draws_every_sickness_before_any_comes_twice() -> None:
    phases = draw_phases(seed=3, providers=PROVIDERS, seconds=60)
    kinds = {tuple(str(fault) for fault in phase.faults) for own in phases.values() for phase in own}
    assert len(kinds) == len(SICKNESSES)


def test_it_says_where_nobody_could_be_well() -> None:
    outages = [Phase(slug, 5, 15, ()) for slug in PROVIDERS]
    with pytest.raises(ValueError, match="nobody"):
        draw_phases(seed=1, providers=PROVIDERS, seconds=30, outages=outages)
    with pytest.raises(ValueError, match="feitico"):
        read_schedule({"phases": [{"provider": "openai", "begins": 0, "ends": 1, "faults": ["feitico"]}]})


def test_the_running_sandbox_plays_it(fresh: Sandbox) -> None:
    def ask() -> int:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Oi"}]}
        key = {"authorization": "Bearer sandbox-openai"}
        return fresh.http.post("/llm/openai/v1/chat/completions", json=body, headers=key, timeout=10).status_code

    told = fresh.post("/llm/__schedule", {"phases": [{"provider": "openai", "begins": 0, "ends": 1, "faults": ["503"]}]})
    assert told["phases"] == [{"provider": "openai", "begins": 0.0, "ends": 1.0, "faults": ["status:503"]}]
    assert ask() == 503
    time.sleep(1.05)
    assert ask() == 200
    refused = fresh.http.post("/llm/__schedule", json={"seed": 7, "providers": ["openai"], "seconds": 9})
    assert (refused.status_code, "nobody" in refused.text) == (400, True)
    fresh.post("/llm/__schedule", {"phases": [{"provider": "openai", "begins": 0, "ends": 60, "faults": ["drop"]}]})
    with pytest.raises(httpx.TransportError):
        ask()
    assert fresh.http.request("DELETE", "/llm/__schedule").status_code == 200
    assert ask() == 200
