"""Prices as a LimitProfile adjusts them: exact, never less than they should be, and held for what they can come to."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import BRL
from billing.pricing import PriceList, UnitPrice, Usage, adjust_amount, cost_of, price_ceiling, price_ceiling_of, price_usage

amounts = st.integers(min_value=0, max_value=10**14)
bps = st.integers(min_value=-9_999, max_value=32_767)
tokens = st.integers(min_value=0, max_value=2_000_000)
lists = st.builds(
    lambda into, cached, out, thought, request, batch: PriceList(
        1, "v1",
        {
            "input": UnitPrice(into, into // 2, 1_000_000, batch), "cached_input": UnitPrice(cached, 0, 1_000_000, batch),
            "output": UnitPrice(out, 7, 1_000_000, batch), "reasoning": UnitPrice(thought), "request": UnitPrice(request, 0, 1),
        },
    ),
    amounts, amounts, amounts, amounts, st.integers(min_value=0, max_value=BRL), st.integers(min_value=1, max_value=100),
)  # fmt: skip


@pytest.mark.parametrize(
    ("amount", "margin", "adjusted"),
    [(10 * BRL, 0, 10 * BRL), (10 * BRL, 250, 10_250_000_000), (3, -5_000, 2), (1, 1, 2), (0, 900, 0)],
)
def test_a_price_is_adjusted_up_to_one_nano(amount: int, margin: int, adjusted: int) -> None:
    assert adjust_amount(amount, margin) == adjusted


@given(amount=amounts, margin=bps)
def test_it_is_the_exact_share_rounded_up_once(amount: int, margin: int) -> None:
    assert adjust_amount(amount, margin) == ceil(Fraction(amount) * (10_000 + margin) / 10_000)


@given(prices=lists, margin=bps, given_=st.tuples(tokens, tokens, tokens, tokens, tokens), is_batch=st.booleans())
def test_what_is_held_covers_what_it_comes_to(
    prices: PriceList, margin: int, given_: tuple[int, int, int, int, int], is_batch: bool
) -> None:
    into, cached, written, out, thought = given_
    usage = Usage(
        input_tokens=into, cached_input_tokens=cached, cache_write_tokens=written, output_tokens=out, reasoning_tokens=thought
    )
    adjusted = prices.adjusted(margin)
    for found in (adjusted.scaled() if is_batch else adjusted, adjusted.for_own_key()):
        gross = price_usage(found, usage)
        assert price_ceiling(found, input_tokens=into + cached + written, output_tokens=out + thought) >= gross
        assert price_ceiling_of(found, usage) >= gross
    assert cost_of(adjusted, usage) == cost_of(prices, usage)  # what it costs us is no matter of whose it is
    assert (adjusted.version_id, adjusted.version_label) == (1, "v1")
    used = {"input": into + written, "cached_input": cached, "output": out, "reasoning": thought, "request": 1}
    exact = sum(
        Fraction(adjust_amount(prices.units[unit].amount_nanos, margin) * quantity, prices.units[unit].per_units)
        for unit, quantity in used.items()
    )
    assert price_usage(adjusted, usage) == ceil(exact)


@given(prices=lists, margin=bps, into=tokens, out=tokens)
def test_more_margin_is_never_cheaper(prices: PriceList, margin: int, into: int, out: int) -> None:
    usage = Usage(input_tokens=into, output_tokens=out)
    plain, adjusted = price_usage(prices, usage), price_usage(prices.adjusted(margin), usage)
    assert adjusted >= plain if margin >= 0 else adjusted <= plain
