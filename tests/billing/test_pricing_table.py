"""The table in pricing's docstring, executed, and the laws of a price."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import pricing
from billing.errors import PriceMissing
from billing.money import from_brl
from billing.pricing import PriceList, UnitPrice, Usage, cost_of, price_ceiling, price_usage

AMOUNT = st.integers(0, 10**15)
TOKENS = st.integers(0, 10**7)
UNITS = ("input", "cached_input", "cache_write", "output", "reasoning")


def table_of(docstring: str) -> list[tuple[str, str, str]]:
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in docstring.splitlines() if line.startswith("|")]
    return [(prices, usage, gross) for prices, usage, gross in rows[2:]]


def read_prices(text: str) -> PriceList:
    units = {}
    for part in text.split(","):
        unit, brl = part.split()
        units[unit] = UnitPrice(from_brl(brl), per_units=1 if unit == "request" else 1_000_000)
    return PriceList(1, "v1", units)


def read_usage(text: str) -> Usage:
    fields = {"requests": 0}
    for number, unit in re.findall(r"(\d+) (\w+)", text):
        fields["requests" if unit == "requests" else f"{unit}_tokens"] = int(number)
    return Usage(**fields)


@pytest.mark.parametrize(("prices", "usage", "gross"), table_of(pricing.__doc__ or ""))
def test_it_prices_as_its_docstring_says(prices: str, usage: str, gross: str) -> None:
    assert price_usage(read_prices(prices), read_usage(usage)) == int(gross)


def test_its_docstring_has_the_table() -> None:
    assert len(table_of(pricing.__doc__ or "")) >= 10


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    optional = draw(st.sets(st.sampled_from(["cached_input", "cache_write", "reasoning"])))
    units = {unit: UnitPrice(draw(AMOUNT), draw(AMOUNT)) for unit in ("input", "output", *sorted(optional))}
    if draw(st.booleans()):
        units["request"] = UnitPrice(draw(AMOUNT), draw(AMOUNT), 1)
    return PriceList(1, "v1", units)


usages = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS, st.integers(0, 3))


@given(price_lists(), usages)
def test_it_never_costs_more_than_its_ceiling(prices: PriceList, usage: Usage) -> None:
    ceiling = price_ceiling(
        prices,
        input_tokens=usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens,
        output_tokens=usage.output_tokens + usage.reasoning_tokens,
        requests=usage.requests,
    )
    assert 0 <= price_usage(prices, usage) <= ceiling


@given(price_lists(), usages)
def test_it_rounds_up_once_by_less_than_a_nano(prices: PriceList, usage: Usage) -> None:
    family = {"cached_input": "input", "cache_write": "input", "reasoning": "output"}
    exact = usage.requests * 1_000_000 * (prices.units["request"].amount_nanos if "request" in prices.units else 0)
    for unit in UNITS:
        price = prices.units.get(unit) or prices.units[family[unit]]
        exact += getattr(usage, f"{unit}_tokens") * price.amount_nanos
    assert 0 <= price_usage(prices, usage) * 1_000_000 - exact < 1_000_000


@given(price_lists(), usages)
def test_it_knows_what_the_upstream_asks(prices: PriceList, usage: Usage) -> None:
    at_cost = PriceList(1, "v1", {unit: UnitPrice(price.cost_nanos, 0, price.per_units) for unit, price in prices.units.items()})
    assert cost_of(prices, usage) == price_usage(at_cost, usage)


def test_it_never_serves_an_unpriced_unit_for_free() -> None:
    prices = PriceList(1, "v1", {"input": UnitPrice(from_brl("1"))})
    assert price_usage(prices, Usage(input_tokens=10)) == 10_000
    with pytest.raises(PriceMissing):
        price_usage(prices, Usage(output_tokens=1))
    with pytest.raises(PriceMissing):
        price_ceiling(prices, input_tokens=1, output_tokens=1)


def test_it_mixes_prices_per_million_and_per_thousand() -> None:
    prices = PriceList(1, "v1", {"input": UnitPrice(3, per_units=1_000), "output": UnitPrice(1, per_units=1_000_000)})
    assert price_usage(prices, Usage(input_tokens=1_000, output_tokens=1)) == 4  # 3.000001, up once
