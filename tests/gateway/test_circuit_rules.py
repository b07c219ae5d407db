"""When circuits open and close, by table."""

from __future__ import annotations

import random

import pytest

from gateway.circuit import Circuits
from gateway.circuit_board import Force
from gateway.circuit_rules import (
    CLOSED,
    CREDENTIAL,
    DEFAULT,
    HALF_OPEN,
    JITTER,
    OPEN,
    OUTAGE,
    PROBE_SECONDS,
    RATE_LIMIT,
    Breaker,
    Thresholds,
)
from tests.gateway.circuit_cast import ERRORS, OUTAGES, Clock, make_deployment

RNG = random.Random(1)


def run(steps: str, *, every: float = 1.0, rules: Thresholds = DEFAULT) -> tuple[Breaker, float]:
    """o: success, x: failure, one after the other."""
    breaker, now = Breaker(rules, 0.0), 0.0
    for step in steps:
        now += every
        if step == "o":
            breaker.succeed(now)
        else:
            breaker.fail(now, RNG)
    return breaker, now


@pytest.mark.parametrize(
    ("steps", "every", "state"),
    [
        ("xxxx", 1.0, CLOSED),
        ("xxxxx", 1.0, OPEN),  # five in a row
        ("xxxxoxxxx", 0.1, CLOSED),  # nine, but not in a row, and too few for a part
        ("xxxxoxxxxo", 0.1, CLOSED),  # the tenth is a success: parts are taken at failures
        ("xxxxoxxxxox", 0.1, OPEN),
        ("oxoxoxoxox", 1.0, OPEN),  # half of ten
        ("oooooxoxoxox", 1.0, CLOSED),  # a third
        ("oxoxoxoxox", 6.0, CLOSED),  # never ten within thirty seconds
        ("ooooooooooxxxx", 3.5, CLOSED),
        ("xxxxx", 100.0, OPEN),  # in a row, however slowly
    ],
)
def test_it_opens_by_a_row_or_by_a_part(steps: str, every: float, state: str) -> None:
    breaker, now = run(steps, every=every)
    assert breaker.state(now) == state


def test_it_opens_by_what_others_count_too() -> None:
    breaker, now = run("oxxx")
    breaker.others_succeeded, breaker.others_failed = 2, 3
    breaker.fail(now, RNG)
    assert breaker.state(now) == OPEN
    breaker, now = run("oxxx")
    breaker.others_succeeded = 100
    breaker.fail(now, RNG)
    assert breaker.state(now) == CLOSED


def test_its_pauses_double_up_to_two_minutes() -> None:
    breaker, now = run("xxxxx")
    lengths = []
    for _ in range(8):
        lengths.append(breaker.pause)
        assert breaker.state(breaker.until - 0.001) == OPEN
        now = breaker.until
        assert breaker.state(now) == HALF_OPEN
        assert breaker.take_probe(now)
        breaker.fail(now, RNG)
    for length, wanted in zip(lengths, (5, 10, 20, 40, 80, 120, 120, 120), strict=True):
        assert wanted * (1 - JITTER) <= length <= min(120, wanted * (1 + JITTER))


def test_it_lets_one_call_try_it_and_closes_after_two_successes() -> None:
    breaker, now = run("xxxxx")
    assert not breaker.take_probe(now)
    now = breaker.until
    assert breaker.take_probe(now)
    assert not breaker.take_probe(now)
    breaker.succeed(now)
    assert breaker.state(now) == HALF_OPEN
    assert breaker.take_probe(now)
    breaker.abandon()
    assert breaker.take_probe(now)
    breaker.pass_probe(now)
    assert breaker.state(now) == CLOSED
    assert not breaker.take_probe(now)
    breaker.fail(now, RNG)
    assert breaker.state(now) == CLOSED  # it begins anew


def test_a_probe_that_nobody_ends_is_lost_after_a_while() -> None:
    breaker, _ = run("xxxxx")
    now = breaker.until
    assert breaker.take_probe(now)
    assert not breaker.take_probe(now + PROBE_SECONDS - 1)
    assert breaker.take_probe(now + PROBE_SECONDS)


def test_what_began_before_it_opened_changes_nothing() -> None:
    breaker, now = run("xxxxx")
    until = breaker.until
    for _ in range(20):
        breaker.succeed(now)
        breaker.fail(now, RNG)
        breaker.limit(now, RNG, retry_after=1.0)
    assert (breaker.state(now), breaker.until, breaker.reason) == (OPEN, until, OUTAGE)


def test_a_relapse_waits_longer_and_a_lasting_recovery_is_forgiven() -> None:
    def recover(breaker: Breaker) -> float:
        now = breaker.until
        breaker.succeed(now)
        breaker.succeed(now)
        assert breaker.state(now) == CLOSED
        return now

    breaker, _ = run("xxxxx")
    now = recover(breaker)
    for _ in range(5):
        breaker.fail(now + 1, RNG)
    assert breaker.pause > 8
    now = recover(breaker) + 60
    for _ in range(5):
        breaker.fail(now, RNG)
    assert breaker.pause < 6


@pytest.mark.parametrize(("retry_after", "pause"), [(7.0, 7.0), (30.0, 30.0), (4_000.0, 600.0), (0.0, 1.05), (1.0, 1.05)])
def test_a_limit_opens_for_as_long_as_it_says(retry_after: float, pause: float) -> None:
    breaker = Breaker(DEFAULT, 0.0)
    breaker.limit(1.0, RNG, retry_after=retry_after)
    assert breaker.reason == RATE_LIMIT
    assert breaker.until - 1.0 == pytest.approx(pause, rel=0.06)
    now = breaker.until
    assert breaker.take_probe(now)
    breaker.succeed(now)
    assert breaker.state(now) == CLOSED  # one success is enough


def test_limits_without_a_time_wait_longer_and_longer_but_not_by_a_crowd() -> None:
    breaker, now, pauses = Breaker(DEFAULT, 0.0), 0.0, []
    for _ in range(12):
        for _ in range(50):  # calls that were all under way
            breaker.limit(now, RNG, retry_after=1.0)
        pauses.append(breaker.pause)
        now = breaker.until
    assert pauses[:4] == pytest.approx([1, 2, 4, 8], rel=0.11)
    assert max(pauses) == 600


def test_a_longer_retry_after_is_waited_for() -> None:
    breaker = Breaker(DEFAULT, 0.0)
    breaker.limit(0.0, RNG, retry_after=5.0)
    breaker.limit(1.0, RNG, retry_after=20.0)
    breaker.limit(1.0, RNG, retry_after=2.0)
    assert breaker.until == 21.0
    breaker, _ = run("xxxxx")
    assert breaker.pause < 6
    breaker = Breaker(DEFAULT, 0.0)
    for _ in range(5):
        breaker.fail(0.0, RNG, retry_after=45.0)
    assert breaker.until == 45.0


@pytest.mark.parametrize("name", OUTAGES)
def test_every_outage_counts(name: str) -> None:
    circuits, deployment = Circuits(DEFAULT, clock=Clock()), make_deployment()
    for _ in range(4):
        circuits.note_failure(deployment, ERRORS[name])
    assert circuits.state(deployment) == CLOSED
    circuits.note_failure(deployment, ERRORS[name])
    assert circuits.state(deployment) == OPEN
    assert circuits.state(make_deployment(1, 2)) == CLOSED  # another key
    assert circuits.state(make_deployment(2, 1)) == CLOSED  # another deployment


@pytest.mark.parametrize("name", ["400", "422", "context", "policy"])
def test_a_request_that_nobody_takes_says_nothing(name: str) -> None:
    clock, deployment = Clock(), make_deployment()
    circuits = Circuits(DEFAULT, clock=clock)
    for _ in range(30):
        circuits.note_failure(deployment, ERRORS[name])
    assert circuits.state(deployment) == CLOSED
    for _ in range(5):
        circuits.note_failure(deployment, ERRORS["500"])
        circuits.note_failure(deployment, ERRORS[name])  # nor does it keep a sick one closed
    assert circuits.state(deployment) == OPEN
    clock.now += 6
    for _ in range(2):
        assert circuits.take_probe(deployment)
        circuits.note_failure(deployment, ERRORS[name])
    assert circuits.state(deployment) == CLOSED


def test_a_slow_first_token_counts_as_a_failure() -> None:
    circuits = Circuits(DEFAULT, clock=Clock())
    own, shared = make_deployment(1, first_token_ms_max=500), make_deployment(2)
    for _ in range(5):
        circuits.note_success(own, first_token_ms=501)
        circuits.note_success(shared, first_token_ms=29_999)
    assert circuits.state(own) == OPEN
    assert circuits.state(shared) == CLOSED
    for _ in range(5):
        circuits.note_success(shared, first_token_ms=30_001)
    assert circuits.state(shared) == OPEN


@pytest.mark.parametrize("name", ["401", "402"])
def test_a_refused_key_rests_at_all_of_its_deployments(name: str) -> None:
    clock = Clock()
    circuits = Circuits(DEFAULT, clock=clock)
    one, other, elsewhere = make_deployment(1, 5), make_deployment(2, 5), make_deployment(1, 6)
    circuits.note_failure(one, ERRORS[name])
    assert [circuits.state(deployment) for deployment in (one, other, elsewhere)] == [OPEN, OPEN, CLOSED]
    clock.now += 500
    assert circuits.state(other) == OPEN
    clock.now += 161
    assert circuits.state(other) == HALF_OPEN
    assert circuits.take_probe(other)
    assert not circuits.take_probe(one)
    circuits.note_failure(other, ERRORS[name])
    assert circuits.state(one) == OPEN
    clock.now += 661
    for _ in range(2):
        assert circuits.take_probe(one)
        circuits.note_success(one, first_token_ms=0)
    assert [circuits.state(deployment) for deployment in (one, other)] == [CLOSED, CLOSED]


def test_what_a_key_may_not_use_rests_alone() -> None:
    """A 403 is most often about one model: the others of the same account go on."""
    clock = Clock()
    circuits = Circuits(DEFAULT, clock=clock)
    one, other = make_deployment(1, 5), make_deployment(2, 5)
    circuits.note_failure(one, ERRORS["403"])
    assert [circuits.state(deployment) for deployment in (one, other)] == [OPEN, CLOSED]
    clock.now += 661
    assert circuits.state(one) == HALF_OPEN


def test_an_outage_while_a_refused_key_is_tried_leaves_the_probe_to_another() -> None:
    clock = Clock()
    circuits = Circuits(DEFAULT, clock=clock)
    one, other = make_deployment(1, 5), make_deployment(2, 5)
    circuits.note_failure(one, ERRORS["401"])
    clock.now += 700
    assert circuits.take_probe(one)
    circuits.note_failure(one, ERRORS["500"])
    assert circuits.state(other) == HALF_OPEN
    assert circuits.take_probe(other)


def test_an_administrator_has_the_last_word() -> None:
    clock, deployment = Clock(), make_deployment()
    circuits = Circuits(DEFAULT, clock=clock)
    circuits.force({(1, 1): Force(OPEN, 60.0)})
    assert circuits.state(deployment) == OPEN
    assert not circuits.take_probe(deployment)
    clock.now += 61
    assert circuits.state(deployment) == CLOSED
    for _ in range(5):
        circuits.note_failure(deployment, ERRORS["500"])
    circuits.force({(0, 1): Force(CLOSED, 60.0)})
    assert circuits.state(deployment) == CLOSED
    circuits.force({})
    assert circuits.state(deployment) == OPEN


def test_it_forgets_whom_nobody_asks_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    circuits = Circuits(DEFAULT, clock=clock)
    for number in range(1, 50):
        circuits.note_success(make_deployment(number), first_token_ms=0)
    for _ in range(5):
        circuits.note_failure(make_deployment(50), ERRORS["500"])
    clock.now += 700
    circuits.forget()
    assert list(circuits.breakers) == [(50, 1)]
    clock.now += 3_600
    circuits.forget()
    assert circuits.breakers == {}
    monkeypatch.setattr("gateway.circuit.CIRCUITS_MAX", 100)
    for number in range(1_000):
        circuits.note_failure(make_deployment(number), ERRORS["401" if number % 2 else "500"])
        assert len(circuits.breakers) <= 101


def test_reasons_are_words_of_failures() -> None:
    assert {OUTAGE, RATE_LIMIT, CREDENTIAL} <= {error.kind for error in ERRORS.values()}
