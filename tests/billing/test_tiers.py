"""The volume discount F: exact, in any order, and the same in Python and in SQL."""

from __future__ import annotations

from random import Random

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.money import BRL
from billing.pricing import Tier, net_between, net_of, next_tier, tier_at
from tests.examples import examples

DEFAULT = [Tier(500 * BRL, 500), Tier(2_000 * BRL, 800), Tier(5_000 * BRL, 1_200), Tier(10_000 * BRL, 1_500)]
plans = st.dictionaries(st.integers(0, 10**15), st.integers(0, 10_000), max_size=6).map(
    lambda tiers: [Tier(above, bps) for above, bps in sorted(tiers.items())]
)
GROSS = st.integers(0, 10**12)


@given(plans, GROSS, st.lists(GROSS, min_size=1, max_size=12), st.randoms())
def test_a_month_comes_to_the_same_in_any_order(tiers: list[Tier], start: int, amounts: list[int], random: Random) -> None:
    def total(order: list[int]) -> int:
        position, net = start, 0
        for amount in order:
            part = net_between(position, amount, tiers)
            assert 0 <= part <= amount
            position, net = position + amount, net + part
        return net

    shuffled = amounts[:]
    random.shuffle(shuffled)
    assert total(amounts) == total(shuffled) == net_of(start + sum(amounts), tiers) - net_of(start, tiers)


@given(plans, GROSS, GROSS, GROSS)
def test_a_call_that_is_split_costs_the_same(tiers: list[Tier], start: int, one: int, other: int) -> None:
    whole = net_between(start, one + other, tiers)
    assert whole == net_between(start, one, tiers) + net_between(start + one, other, tiers)


def test_the_default_plan_takes_each_share_above_its_threshold() -> None:
    assert net_of(500 * BRL, DEFAULT) == 500 * BRL
    assert net_of(600 * BRL, DEFAULT) == 595 * BRL
    assert net_of(2_100 * BRL, DEFAULT) == (500 + 1_425 + 92) * BRL
    assert net_of(500 * BRL + 1, DEFAULT) == 500 * BRL  # 0.95 nano of it, down
    assert net_of(7, []) == 7


def test_it_says_how_far_the_next_tier_is() -> None:
    assert next_tier(0, DEFAULT) == DEFAULT[0]
    assert next_tier(500 * BRL, DEFAULT) == DEFAULT[1]
    assert next_tier(10_000 * BRL, DEFAULT) is None
    assert tier_at(499 * BRL, DEFAULT) is None
    assert tier_at(500 * BRL, DEFAULT) == DEFAULT[0]


@pytest.mark.django_db
@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans, st.integers(0, 2**62))
def test_the_database_computes_the_same(tiers: list[Tier], gross: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_net_of(%s, %s::bigint[], %s::int[])",
            [gross, [tier.above_nanos for tier in tiers] or None, [tier.discount_bps for tier in tiers] or None],
        )
        assert cursor.fetchall() == [(net_of(gross, tiers),)]
