"""The price of a call in a batch: a part of the price, frozen with it, exact, never below cost."""

from __future__ import annotations

from decimal import Decimal
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import costs, exchange, pricebooks
from billing.models import ExchangeRate, Price, PriceVersion
from billing.money import to_brl
from billing.price_lines import price_lines
from billing.pricebooks import PriceLine, PriceRefused
from billing.pricing import PriceList, UnitPrice, Usage, cost_of, price_ceiling, price_usage
from tests.make import make_call, make_price, make_wallet

GPT = PriceLine(route_name="openai/gpt-5", provider_name="openai", upstream_model="gpt-5", markup=Decimal("1.8"))


@pytest.fixture
def rate(db: None) -> ExchangeRate:
    costs.import_costs([("openai", "openai", "gpt-5", "gpt-5")])
    return exchange.enter_rate(rate=Decimal("5.3604"), by="test", reason="cotação de teste")


@given(
    amount=st.integers(1, 10**15), percent=st.integers(1, 100), tokens=st.integers(0, 10**7), output=st.integers(0, 10**6),
    cost=st.integers(0, 10**15),
)  # fmt: skip
def test_it_is_rounded_once(amount: int, percent: int, tokens: int, output: int, cost: int) -> None:
    units = {"input": UnitPrice(amount, cost, batch_percent=percent), "output": UnitPrice(3 * amount, cost, 1_000, percent)}
    prices = PriceList(1, "v1", units)
    usage = Usage(input_tokens=tokens, output_tokens=output)
    exact = Decimal(tokens * amount * percent + output * 3 * amount * percent * 1_000) / (100 * 1_000_000)
    assert price_usage(prices.scaled(), usage) == ceil(exact)
    assert price_usage(prices.scaled(), usage) <= price_usage(prices, usage)
    assert cost_of(prices.scaled(), usage) == cost_of(prices, usage)
    assert price_ceiling(prices.scaled(), input_tokens=tokens, output_tokens=output) >= price_usage(prices.scaled(), usage)
    assert (prices.scaled().version_id, prices.scaled().version_label) == (1, "v1")


def test_a_draft_asks_three_quarters_where_that_covers_the_cost(rate: ExchangeRate) -> None:
    thin = PriceLine("openai/fino", "openai", "gpt-5", Decimal("1.1"))
    chosen = PriceLine("openai/escolhido", "openai", "gpt-5", Decimal("1.8"), batch_percent=90)
    version = pricebooks.draft_version(lines=[GPT, thin, chosen])
    found = {(price.route_name, price.batch_percent) for price in Price.objects.filter(version=version)}
    assert found == {("openai/gpt-5", 75), ("openai/fino", 91), ("openai/escolhido", 90)}  # 1 / 1.1, up
    pricebooks.publish_version(version, by="test")
    for prices in pricebooks.price_lists().values():
        usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
        assert price_usage(prices.scaled(), usage) >= cost_of(prices, usage) > 0
    copied = pricebooks.draft_from_current()
    assert {(price.route_name, price.batch_percent) for price in Price.objects.filter(version=copied)} == found


def test_it_is_never_published_below_cost(rate: ExchangeRate) -> None:
    version = pricebooks.draft_version(lines=[GPT])
    Price.objects.filter(version=version).update(batch_percent=50)
    with pytest.raises(PriceRefused, match="em lote"):
        pricebooks.publish_version(version, by="test")
    pricebooks.recompute(version)
    assert set(Price.objects.filter(version=version).values_list("batch_percent", flat=True)) == {56}  # 1 / 1.8, up
    assert pricebooks.publish_version(version, by="test").status == PriceVersion.Status.PUBLISHED


def test_the_page_of_a_call_shows_the_arithmetic_of_its_batch(db: None) -> None:
    make_price(route="test/model", units={"input": "1.01", "output": "3.07"})
    prices = pricebooks.price_lists()["test/model"].scaled()
    usage = Usage(input_tokens=1_003, output_tokens=77)
    wallet = make_wallet()
    from billing import holds
    from billing.models import UsageRecord

    call = make_call(
        wallet=wallet, gross_nanos=price_usage(prices, usage), usage=usage, surface="batch:chat", price_version_id=prices.version_id
    )
    holds.settle([call])
    record = UsageRecord.everywhere.get(pk=call.id)
    lines = price_lines(record)
    assert [line.percent for line in lines] == [75, 75]
    assert 0 <= to_brl(record.gross_nanos) - sum(line.amount for line in lines) < Decimal("1e-9")
