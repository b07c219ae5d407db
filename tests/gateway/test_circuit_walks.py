"""Circuits, whatever happens to them in whatever order."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.calls import ServedDeployment
from gateway.circuit import CLOSED, HALF_OPEN, OPEN, Circuits
from gateway.circuit_rules import DEFAULT, JITTER, PROBE_SECONDS
from tests.examples import examples
from tests.gateway.circuit_cast import ERRORS, OUTAGES, Clock, make_deployment

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["success", "slow", "probe", "abandon", "wait", *ERRORS]),
        st.floats(0, 40, allow_nan=False),
    ),
    max_size=120,
)  # fmt: skip


@settings(max_examples=examples(150), deadline=None)
@given(EVENTS)
def test_there_is_never_more_than_one_probe(events: list[tuple[str, float]]) -> None:
    clock, deployment = Clock(), make_deployment()
    circuits = Circuits(DEFAULT, clock=clock)
    probing_since: float | None = None
    for event, seconds in events:
        state = circuits.state(deployment)
        if event == "wait":
            clock.now += seconds
        elif event == "probe":
            taken = circuits.take_probe(deployment)
            assert not (taken and state != HALF_OPEN)
            if taken:
                assert probing_since is None or clock.now - probing_since >= PROBE_SECONDS
                probing_since = clock.now
            elif state == HALF_OPEN:
                assert probing_since is not None
        else:
            if event in ("success", "slow"):
                circuits.note_success(deployment, first_token_ms=40_000 if event == "slow" else 10)
            elif event == "abandon":
                circuits.note_abandoned(deployment)
            else:
                circuits.note_failure(deployment, ERRORS[event])
            probing_since = None  # somebody's result: the probe's, as far as can be told
        breaker = circuits.breakers.get(deployment.circuit)
        if breaker is not None and breaker.reason:
            longest = max(DEFAULT.limit_seconds_max, DEFAULT.pause_seconds_max, DEFAULT.credential_seconds * (1 + JITTER))
            assert breaker.until - clock.now <= longest


@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_whatever_was_before_it_closes_after_a_recovery(events: list[tuple[str, float]]) -> None:
    clock, deployment = Clock(), make_deployment()
    circuits = Circuits(DEFAULT, clock=clock)
    play(circuits, clock, deployment, events)
    for _ in range(8):
        clock.now += 661  # the longest pause
        if circuits.state(deployment) == HALF_OPEN:
            circuits.take_probe(deployment)
        circuits.note_success(deployment, first_token_ms=10)
    assert circuits.state(deployment) == CLOSED


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.sampled_from(OUTAGES), st.integers(1, 100))
def test_whatever_was_before_it_opens_within_its_window(events: list[tuple[str, float]], outage: str, per_second: int) -> None:
    clock, deployment = Clock(), make_deployment()
    circuits = Circuits(DEFAULT, clock=clock)
    play(circuits, clock, deployment, events)
    began = clock.now
    while circuits.state(deployment) != OPEN:
        circuits.note_failure(deployment, ERRORS[outage])
        clock.now += 1 / per_second
    assert clock.now - began <= DEFAULT.failures


def play(circuits: Circuits, clock: Clock, deployment: ServedDeployment, events: list[tuple[str, float]]) -> None:
    for event, seconds in events:
        clock.now += seconds
        if event in ("success", "slow"):
            circuits.note_success(deployment, first_token_ms=40_000 if event == "slow" else 10)
        elif event == "probe":
            circuits.take_probe(deployment)
        elif event == "abandon":
            circuits.note_abandoned(deployment)
        elif event in ERRORS:
            circuits.note_failure(deployment, ERRORS[event])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 0.95), st.integers(2, 50))
def test_it_opens_within_its_window_where_half_of_all_fails(seed: int, part: float, per_second: int) -> None:
    rng, clock, deployment = random.Random(seed), Clock(), make_deployment()
    circuits = Circuits(DEFAULT, clock=clock)
    failed = 0
    for asked in range(1, 30 * per_second):
        clock.now += 1 / per_second
        if rng.random() < part:
            failed += 1
            circuits.note_failure(deployment, ERRORS["500"])
            if asked >= DEFAULT.requests_min and failed * 2 >= asked:
                assert circuits.state(deployment) == OPEN
        else:
            circuits.note_success(deployment, first_token_ms=10)
        if circuits.state(deployment) == OPEN:
            return
