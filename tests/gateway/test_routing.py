"""Who of a route's deployments is asked first: whoever is excluded is never asked, weights converge, sessions stay."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.money import BRL
from billing.pricing import PriceList, UnitPrice
from gateway.calls import NO_PREFERENCES, LatencyBudget, Preferences, ServedDeployment, ServedOwnKey, ServedRoute, Skipped
from gateway.routing import REASONS, arrange, blend, choose_weighted, hash_draw, is_dearer, with_own_keys
from gateway.vitals import UNMEASURED, Measured
from tests.examples import examples

SLUGS = ("openai", "azure", "groq", "together")


def make_prices(*, input_brl: int = 10, output_brl: int = 30, **units: int) -> PriceList:
    named = {"input": UnitPrice(input_brl * BRL, BRL), "output": UnitPrice(output_brl * BRL, BRL)}
    return PriceList(1, "v1", named | {unit: UnitPrice(brl * BRL, 0, 1) for unit, brl in units.items()})


def make_deployment(number: int = 1, slug: str = "openai", **fields: Any) -> ServedDeployment:
    given_: dict[str, Any] = {"priority": 1, "weight": 100, "credential_id": number, **fields}
    return ServedDeployment(
        id=number, provider_slug=slug, provider_name=slug.title(), dialect="openai", base_url="http://127.0.0.1:9/v1",
        upstream_model="m", secret="s", is_strict=False, is_simulated=False, **given_,
    )  # fmt: skip


def make_route(*deployments: ServedDeployment, **fields: Any) -> ServedRoute:
    given_: dict[str, Any] = {"name": "test/m", "surface": "chat", "prices": make_prices(), "context_tokens": 128_000, **fields}
    return ServedRoute(
        display_name="M", maker="T", description="", output_tokens_max=4_096, output_tokens_default=1_024,
        token_factor_percent=100, capabilities=("tools",), is_reasoning=False, created=0, deployments=deployments, **given_,
    )  # fmt: skip


@dataclass
class Told:
    """What a test says of the world."""

    measured: dict[int, Measured] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)  # credentials

    def state(self, deployment: ServedDeployment) -> str:
        return "open" if deployment.id in self.open else "closed"

    def times(self, deployment: ServedDeployment) -> Measured:
        return self.measured.get(deployment.id, UNMEASURED)

    def may_use(self, deployment: ServedDeployment) -> bool:
        return deployment.credential_id not in self.refused


def order_of(
    *deployments: ServedDeployment, preferences: Preferences = NO_PREFERENCES, told: Told | None = None, session: str = "",
    seed: int = 1, skipped: list[Skipped] | None = None, **route: Any,
) -> list[int]:  # fmt: skip
    found = arrange(
        make_route(*deployments, **route), deployments, preferences, signs=told or Told(), rng=random.Random(seed), session=session,
        skipped=skipped,
    )  # fmt: skip
    return [deployment.id for deployment in found]


FOUR = tuple(make_deployment(number, slug) for number, slug in enumerate(SLUGS, 1))


# ── Order ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_priority_comes_before_weight() -> None:
    late = make_deployment(1, priority=2, weight=1_000_000)
    assert all(order_of(late, make_deployment(2), seed=seed) == [2, 1] for seed in range(50))


def test_open_circuits_come_last_whatever_is_wanted() -> None:
    wanted = Preferences(preferred=("openai",), sort="latency")
    assert order_of(*FOUR[:2], preferences=wanted, told=Told(open={1})) == [2, 1]


def test_the_callers_order_comes_first_and_unknown_slugs_are_nobody() -> None:
    wanted = Preferences(preferred=("nobody", "together", "azure"))
    assert order_of(*FOUR, preferences=wanted)[:2] == [4, 2]


@pytest.mark.parametrize(
    ("sort", "expected"), [("latency", [2, 1, 3, 4]), ("throughput", [3, 1, 2, 4])]
)  # the fourth is not measured
def test_it_sorts_by_what_was_measured(sort: str, expected: list[int]) -> None:
    told = Told(
        {
            1: Measured(first_token_p50_ms=300, tokens_per_second=50),
            2: Measured(first_token_p50_ms=200, tokens_per_second=20),
            3: Measured(first_token_p50_ms=900, tokens_per_second=90),
        }
    )
    assert order_of(*FOUR, preferences=Preferences(sort=sort), told=told) == expected


def test_price_counts_what_is_asked_then_what_is_paid() -> None:
    cheap, dear = make_prices(input_brl=1, output_brl=9), make_prices(input_brl=4, output_brl=1)
    assert blend(cheap) < blend(dear) < blend(make_prices())


def test_a_lenient_budget_prefers_and_takes_the_unmeasured_for_fast() -> None:
    told = Told({1: Measured(total_p50_ms=3_000), 2: Measured(total_p50_ms=900, total_p95_ms=5_000)})
    wanted = Preferences(budget=LatencyBudget(total_ms=1_000))
    assert order_of(*FOUR[:2], preferences=wanted, told=told) == [2, 1]
    assert set(order_of(*FOUR[:3], preferences=wanted, told=told)[:2]) == {2, 3}
    wanted = Preferences(budget=LatencyBudget(total_ms=1_000, percentile=95))
    assert order_of(*FOUR[1:3], preferences=wanted, told=told) == [3, 2]


def test_a_floor_of_throughput_prefers() -> None:
    told = Told({1: Measured(tokens_per_second=10), 2: Measured(tokens_per_second=80)})
    assert order_of(*FOUR[:2], preferences=Preferences(tokens_per_second_min=40), told=told) == [2, 1]


# ── Filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("preferences", "fields", "reason"),
    [
        (Preferences(only=frozenset({"azure"})), {}, "only"),
        (Preferences(ignore=frozenset({"openai"})), {}, "ignore"),
        (Preferences(denies_training=True), {"trains_on_data": True}, "data_collection"),
        (Preferences(needs_zero_retention=True), {}, "zdr"),
        (Preferences(max_price={"input": 10 * BRL - 1}), {}, "max_price"),
        (Preferences(budget=LatencyBudget(total_ms=100, is_strict=True)), {}, "unmeasured"),
        (Preferences(budget=LatencyBudget(first_token_ms=100, is_strict=True)), {"id": 9}, "too_slow"),
        (NO_PREFERENCES, {"credential_id": 66}, "credential"),
    ],
)
def test_whoever_is_excluded_is_told_by_a_reason(preferences: Preferences, fields: dict[str, Any], reason: str) -> None:
    told, skipped = Told({9: Measured(first_token_p50_ms=101)}, refused={66}), list[Skipped]()
    assert order_of(replace(make_deployment(), **fields), preferences=preferences, told=told, skipped=skipped) == []
    assert skipped == [Skipped(reason, "test/m", "openai")]
    assert reason in REASONS


def test_a_price_that_is_exactly_the_limit_is_within() -> None:
    prices = make_prices(request=2)
    route = make_route(prices=prices)
    assert not is_dearer(route, prices, {"input": 10 * BRL, "output": 30 * BRL, "request": 2 * BRL, "image": 0})
    assert is_dearer(route, prices, {"request": 2 * BRL - 1})
    per_thousand = PriceList(1, "v", {"input": UnitPrice(10_000_001, 0, 1_000)})
    assert is_dearer(route, per_thousand, {"input": 10 * BRL})
    pictures = make_route(surface="images")
    assert is_dearer(pictures, PriceList(1, "v", {"image_output": UnitPrice(1)}), {"image": BRL})


def test_a_route_without_prices_has_nobody() -> None:
    skipped: list[Skipped] = []
    assert order_of(*FOUR, prices=None, skipped=skipped) == []
    assert {entry.reason for entry in skipped} == {"unserved"}


deployments_ = st.lists(
    st.builds(
        make_deployment, st.integers(1, 40), st.sampled_from(SLUGS), priority=st.integers(1, 3), weight=st.integers(0, 500),
        trains_on_data=st.booleans(), has_zero_retention=st.booleans(), credential_id=st.integers(1, 5),
    ), unique_by=lambda deployment: deployment.circuit, max_size=8,
)  # fmt: skip
budgets = st.none() | st.builds(
    LatencyBudget, total_ms=st.integers(0, 900), first_token_ms=st.integers(1, 900), percentile=st.sampled_from([50, 95]),
    is_strict=st.booleans(),
)  # fmt: skip
slugs = st.frozensets(st.sampled_from(SLUGS), max_size=3)
wishes = st.builds(
    Preferences, preferred=st.permutations(SLUGS).map(lambda found: tuple(found[:2])), only=slugs, ignore=slugs,
    sort=st.sampled_from(["", "price", "latency", "throughput"]), denies_training=st.booleans(), budget=budgets,
    needs_zero_retention=st.booleans(), max_price=st.dictionaries(st.sampled_from(["input", "output"]), st.integers(0, 40 * BRL)),
)  # fmt: skip
times = st.builds(
    Measured, first_token_p50_ms=st.integers(0, 900), first_token_p95_ms=st.integers(0, 900), total_p50_ms=st.integers(0, 900),
    total_p95_ms=st.integers(0, 900), tokens_per_second=st.floats(0, 200),
)  # fmt: skip
worlds = st.builds(Told, st.dictionaries(st.integers(1, 40), times), st.sets(st.integers(1, 40)), st.sets(st.integers(1, 5)))


@settings(max_examples=examples(400))
@given(deployments_, wishes, worlds, st.booleans(), st.integers())
def test_the_excluded_unpriced_disallowed_or_over_budget_are_never_chosen(
    found: list[ServedDeployment], wish: Preferences, told: Told, is_priced: bool, seed: int
) -> None:
    prices = make_prices() if is_priced else None
    skipped: list[Skipped] = []
    chosen = order_of(*found, preferences=wish, told=told, prices=prices, seed=seed, skipped=skipped)
    assert len(chosen) + len(skipped) == len(found)
    assert len(chosen) == 0 or is_priced
    route = make_route(prices=prices)
    for deployment in arrange(route, found, wish, signs=told, rng=random.Random(seed)):
        assert not wish.only or deployment.provider_slug in wish.only
        assert deployment.provider_slug not in wish.ignore
        assert not (wish.denies_training and deployment.trains_on_data)
        assert not wish.needs_zero_retention or deployment.has_zero_retention
        assert deployment.credential_id not in told.refused
        assert wish.max_price.get("input", 10 * BRL) >= 10 * BRL
        assert wish.max_price.get("output", 30 * BRL) >= 30 * BRL
        if wish.budget is not None and wish.budget.is_strict:
            seen = told.times(deployment)
            median = wish.budget.percentile == 50
            total = seen.total_p50_ms if median else seen.total_p95_ms
            first = seen.first_token_p50_ms if median else seen.first_token_p95_ms
            assert 0 < first <= wish.budget.first_token_ms
            assert not wish.budget.total_ms or 0 < total <= wish.budget.total_ms


@given(deployments_, wishes, worlds, st.integers())
def test_nobody_open_comes_before_somebody_closed(found: list[ServedDeployment], wish: Preferences, told: Told, seed: int) -> None:
    states = [number in told.open for number in order_of(*found, preferences=wish, told=told, seed=seed)]
    assert states == sorted(states)


# ── Weights ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("has_sessions", [False, True])
@pytest.mark.parametrize("weights", [(1, 1), (50, 30, 20), (900, 90, 10)])
def test_weights_converge(weights: tuple[int, ...], has_sessions: bool) -> None:
    """Over many calls, and over many sessions: chi-square at 1 in 10 000."""
    draws, rng = 6_000, random.Random(7)
    found = tuple(make_deployment(number, weight=weight) for number, weight in enumerate(weights, 1))
    route = make_route(*found)
    first = Counter(
        arrange(route, found, NO_PREFERENCES, signs=Told(), rng=rng, session=f"s{turn}" if has_sessions else "")[0].id
        for turn in range(draws)
    )
    expected = [draws * weight / sum(weights) for weight in weights]
    chi_square = sum((first[number] - mean) ** 2 / mean for number, mean in enumerate(expected, 1))
    assert chi_square < {2: 15.1, 3: 18.4}[len(weights)]


def test_a_choice_by_draw_is_weighted_and_never_outside() -> None:
    assert [choose_weighted([1, 3], draw) for draw in (0.0, 0.24, 0.26, 0.999999999999)] == [0, 0, 1, 1]
    assert choose_weighted([1, 1], 1.0) == 1
    assert 0 < hash_draw("") < 1


# ── Sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(deployments_, st.text(min_size=1, max_size=20), st.randoms(), st.integers(), st.integers())
def test_a_session_meets_the_same_one_in_every_process(
    found: list[ServedDeployment], session: str, shuffler: random.Random, seed: int, other_seed: int
) -> None:
    shuffled = found[:]
    shuffler.shuffle(shuffled)
    assert order_of(*found, session=session, seed=seed) == order_of(*shuffled, session=session, seed=other_seed)


@given(deployments_, st.text(min_size=1, max_size=20))
def test_a_session_stays_when_others_come_and_go(found: list[ServedDeployment], session: str) -> None:
    found = [replace(deployment, id=number, priority=1) for number, deployment in enumerate(found, 1)]
    whole = order_of(*found, session=session)
    for gone in found:
        left = [deployment for deployment in found if deployment is not gone]
        assert order_of(*left, session=session) == [number for number in whole if number != gone.id]
    if len(whole) > 1:  # ill, it is left for the next one; well again, it is met again
        assert order_of(*found, session=session, told=Told(open={whole[0]})) == [*whole[1:], whole[0]]


# ── Customers' own keys ──────────────────────────────────────────────────────────────────────────────────────────────
OWN_PRICES = make_prices(input_brl=1, output_brl=1)


@pytest.mark.parametrize(("use", "expected"), [("first", [-7, 1, 2]), ("failover", [1, 2, -7]), ("only", [-7, 2])])
def test_own_keys_stand_where_their_owner_wants_them(use: str, expected: list[int]) -> None:
    found = (make_deployment(1, "openai"), make_deployment(2, "azure", priority=2))
    route, skipped = make_route(*found, own_key_prices=OWN_PRICES), list[Skipped]()
    deployments = with_own_keys(route, found, [ServedOwnKey(7, "openai", "own", use)], skipped=skipped)
    chosen = arrange(route, deployments, NO_PREFERENCES, signs=Told(), rng=random.Random(1), skipped=skipped)
    assert [deployment.credential_id for deployment in chosen] == expected
    own = next(deployment for deployment in chosen if deployment.is_own_key)
    assert (own.secret, own.is_own_key) == ("own", True)
    assert [entry.reason for entry in skipped] == (["own_key_only"] if use == "only" else [])


def test_an_own_key_without_a_price_is_not_used() -> None:
    route = make_route(FOUR[0])
    assert with_own_keys(route, FOUR[:1], [ServedOwnKey(7, "openai", "own", "only")], skipped=[]) == [FOUR[0]]


def test_who_weighs_nothing_is_asked_last() -> None:
    none, some = make_deployment(1, weight=0), make_deployment(2, weight=1)
    assert all(order_of(none, some, seed=seed) == [2, 1] for seed in range(50))
    assert all(order_of(none, some, session=f"s{number}") == [2, 1] for number in range(50))
