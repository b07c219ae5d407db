"""The table in pricing's docstring, executed, and the laws of a price."""

from __future__ import annotations

import re
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import pricing
from billing.errors import PriceMissing
from billing.models import Unit, UsageRecord
from billing.money import from_brl
from billing.pricing import (
    BUCKETS,
    PriceList,
    UnitPrice,
    Usage,
    cost_of,
    per_units_of,
    price_ceiling,
    price_ceiling_of,
    price_usage,
)

AMOUNT = st.integers(0, 10**15)
TOKENS = st.integers(0, 10**7)
FAMILIES = {"cached_input": "input", "cache_write": "input", "reasoning": "output", "audio_input": "input", "image_input": "input",
            "audio_output": "output", "image_output": "output"}  # fmt: skip
SINGLES = {"image": "images", "audio_second": "audio_seconds", "character": "characters", "search": "searches"}


def table_of(docstring: str) -> list[tuple[str, str, str]]:
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in docstring.splitlines() if line.startswith("|")]
    return [(prices, usage, gross) for prices, usage, gross in rows[2:]]


def read_prices(text: str) -> PriceList:
    units = {}
    for part in text.split(","):
        unit, brl = part.split()
        units[unit] = UnitPrice(from_brl(brl), per_units=per_units_of(unit))
    return PriceList(1, "v1", units)


def read_usage(text: str) -> Usage:
    fields = {"requests": 0}
    for number, unit in re.findall(r"(\d+) (\w+)", text):
        fields[unit if unit in Usage.__struct_fields__ else f"{unit}_tokens"] = int(number)
    return Usage(**fields)


@pytest.mark.parametrize(("prices", "usage", "gross"), table_of(pricing.__doc__ or ""))
def test_it_prices_as_its_docstring_says(prices: str, usage: str, gross: str) -> None:
    assert price_usage(read_prices(prices), read_usage(usage)) == int(gross)


def test_its_docstring_has_the_table() -> None:
    rows = table_of(pricing.__doc__ or "")
    assert len(rows) >= 20
    priced = {part.split()[0] for prices, _, _ in rows for part in prices.split(",")}
    assert priced >= {unit for _, units in BUCKETS for unit in units} - {"cache_write"}


def test_every_bucket_is_a_column_and_every_unit_has_a_label() -> None:
    assert {name for name, _ in BUCKETS} == set(Usage.__struct_fields__)
    assert {unit for _, units in BUCKETS for unit in units} == set(Unit.values)
    assert set(Usage.__struct_fields__) <= {field.name for field in UsageRecord._meta.get_fields()}


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    optional = draw(st.sets(st.sampled_from([*FAMILIES, "request"])))
    names = ["input", "output", *sorted(optional), *SINGLES]
    return PriceList(1, "v1", {unit: UnitPrice(draw(AMOUNT), draw(AMOUNT), per_units_of(unit)) for unit in names})


texts = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS, st.integers(0, 3))
usages = st.builds(Usage, **dict.fromkeys(Usage.__struct_fields__, st.integers(0, 3) | TOKENS))


@given(price_lists(), texts)
def test_it_never_costs_more_than_its_ceiling(prices: PriceList, usage: Usage) -> None:
    ceiling = price_ceiling(
        prices,
        input_tokens=usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens,
        output_tokens=usage.output_tokens + usage.reasoning_tokens,
        requests=usage.requests,
    )
    assert 0 <= price_usage(prices, usage) <= ceiling


@given(price_lists(), usages)
def test_it_never_costs_more_than_a_ceiling_that_knows_of_media(prices: PriceList, usage: Usage) -> None:
    tokens = msgspec.structs.replace(usage, images=0, audio_seconds=0, characters=0, searches=0)
    ceiling = price_ceiling(
        prices, input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, requests=usage.requests,
        has_media_input=True, has_media_output=True,
    )  # fmt: skip
    assert price_usage(prices, tokens) <= ceiling
    assert price_usage(prices, usage) <= price_ceiling_of(prices, usage)


@given(price_lists(), usages, usages)
def test_a_bound_covers_whatever_stays_within_it(prices: PriceList, bound: Usage, used: Usage) -> None:
    """Each bucket at most as much, and some of the bounded tokens in another bucket of their family."""
    within = {name: min(getattr(bound, name), getattr(used, name)) for name in Usage.__struct_fields__}
    moved = min(within["audio_input_tokens"], used.cached_input_tokens)  # sound that was read from a cache
    written, reasoned = within["input_tokens"] // 2, within["output_tokens"] // 2
    spent = Usage(**within | {
        "audio_input_tokens": within["audio_input_tokens"] - moved, "cached_input_tokens": within["cached_input_tokens"] + moved,
        "input_tokens": within["input_tokens"] - written, "cache_write_tokens": within["cache_write_tokens"] + written,
        "output_tokens": within["output_tokens"] - reasoned, "reasoning_tokens": within["reasoning_tokens"] + reasoned,
    })  # fmt: skip
    assert price_usage(prices, spent) <= price_ceiling_of(prices, bound)


@given(price_lists(), texts)
def test_a_call_of_text_is_held_as_if_there_were_no_other_units(prices: PriceList, usage: Usage) -> None:
    of_text = {unit: price for unit, price in prices.units.items() if unit.split("_")[0] not in ("audio", "image")}
    plain = PriceList(1, "v1", of_text)
    for tokens in ((usage.input_tokens, 0), (0, usage.output_tokens)):
        held = price_ceiling(prices, input_tokens=tokens[0], output_tokens=tokens[1])
        assert held == price_ceiling(plain, input_tokens=tokens[0], output_tokens=tokens[1])
    if not prices.has_dearer_media:
        assert price_ceiling(prices, input_tokens=9, output_tokens=9) == price_ceiling(
            prices, input_tokens=9, output_tokens=9, has_media_input=True, has_media_output=True
        )


@given(price_lists(), usages)
def test_it_rounds_up_once_by_less_than_a_nano(prices: PriceList, usage: Usage) -> None:
    exact = Fraction(usage.requests * (prices.units["request"].amount_nanos if "request" in prices.units else 0))
    for unit in ("input", "output", *FAMILIES, *SINGLES):
        price = prices.units.get(unit) or prices.units[FAMILIES[unit]]
        exact += Fraction(getattr(usage, SINGLES.get(unit, f"{unit}_tokens")) * price.amount_nanos, price.per_units)
    assert 0 <= price_usage(prices, usage) - exact < 1


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


@pytest.mark.parametrize("bucket", [*SINGLES.values(), "audio_output_tokens", "image_output_tokens", "reasoning_tokens"])
def test_a_unit_without_a_price_or_a_family_stops_the_call(bucket: str) -> None:
    prices = PriceList(1, "v1", {"input": UnitPrice(from_brl("1"))})
    with pytest.raises(PriceMissing):
        price_usage(prices, Usage(**{bucket: 1}))
    with pytest.raises(PriceMissing):
        price_ceiling_of(prices, Usage(**{bucket: 1}))
    assert price_usage(prices, Usage(audio_input_tokens=10, image_input_tokens=5)) == 15_000


def test_it_mixes_prices_per_million_and_per_thousand() -> None:
    prices = PriceList(1, "v1", {"input": UnitPrice(3, per_units=1_000), "output": UnitPrice(1, per_units=1_000_000)})
    assert price_usage(prices, Usage(input_tokens=1_000, output_tokens=1)) == 4  # 3.000001, up once
