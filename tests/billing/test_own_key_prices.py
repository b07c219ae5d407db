"""The platform fee of a call that the customer's own key served: a part of the price, frozen with it, exact, whatever the cost."""

from __future__ import annotations

from decimal import Decimal
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import costs, exchange, holds, pricebooks
from billing.models import ExchangeRate, Price, PriceVersion, UsageRecord
from billing.money import to_brl
from billing.price_lines import price_lines
from billing.pricebooks import PriceLine
from billing.pricing import PriceList, UnitPrice, Usage, cost_of, price_ceiling, price_usage
from tests.make import make_call, make_price, make_wallet
from tokia import clock

GPT = PriceLine(route_name="openai/gpt-5", provider_name="openai", upstream_model="gpt-5", markup=Decimal("1.8"))
MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


@pytest.fixture
def rate(db: None) -> ExchangeRate:
    costs.import_costs([("openai", "openai", "gpt-5", "gpt-5")])
    return exchange.enter_rate(rate=Decimal("5.3604"), by="test", reason="cotação de teste")


@given(
    amount=st.integers(0, 10**15), percent=st.integers(0, 100), tokens=st.integers(0, 10**7), output=st.integers(0, 10**6),
    cost=st.integers(0, 10**15),
)  # fmt: skip
def test_it_is_rounded_once(amount: int, percent: int, tokens: int, output: int, cost: int) -> None:
    units = {
        "input": UnitPrice(amount, cost, own_key_percent=percent),
        "output": UnitPrice(3 * amount, cost, 1_000, own_key_percent=percent),
    }
    prices = PriceList(1, "v1", units)
    usage = Usage(input_tokens=tokens, output_tokens=output)
    fee = prices.for_own_key()
    exact = Decimal(tokens * amount * percent + output * 3 * amount * percent * 1_000) / (100 * 1_000_000)
    assert price_usage(fee, usage) == ceil(exact)
    assert price_usage(fee, usage) <= price_usage(prices, usage)
    assert cost_of(fee, usage) == 0
    assert price_ceiling(fee, input_tokens=tokens, output_tokens=output) >= price_usage(fee, usage)
    assert (fee.version_id, fee.version_label) == (1, "v1")


def test_a_draft_asks_five_percent_and_keeps_what_a_person_chose(rate: ExchangeRate) -> None:
    chosen = PriceLine("openai/escolhido", "openai", "gpt-5", Decimal("1.8"), own_key_percent=0)
    version = pricebooks.draft_version(lines=[GPT, chosen])
    found = {(price.route_name, price.own_key_percent) for price in Price.objects.filter(version=version)}
    assert found == {("openai/gpt-5", 5), ("openai/escolhido", 0)}
    pricebooks.publish_version(version, by="test")  # five percent of a price is under our cost of it, and nobody minds
    lists = pricebooks.price_lists()
    full = price_usage(lists["openai/gpt-5"], MILLION)
    assert price_usage(lists["openai/gpt-5"].for_own_key(), MILLION) == ceil(Decimal(full * 5) / 100)
    assert price_usage(lists["openai/escolhido"].for_own_key(), MILLION) == 0
    copied = pricebooks.recompute(pricebooks.draft_from_current())
    assert {(price.route_name, price.own_key_percent) for price in Price.objects.filter(version=copied)} == found


def test_a_unit_that_a_provider_begins_to_price_takes_its_routes_percentage(rate: ExchangeRate) -> None:
    version = pricebooks.draft_version(lines=[PriceLine("openai/gpt-5", "openai", "gpt-5", Decimal("1.8"), own_key_percent=7)])
    Price.objects.filter(version=version, unit="cached_input").delete()
    pricebooks.publish_version(version, by="test")
    draft = pricebooks.draft_from_current()
    assert Price.objects.get(version=draft, unit="cached_input").own_key_percent == 7


@pytest.mark.parametrize("percent", [0, 5, 33])
def test_the_page_of_a_call_shows_its_arithmetic(db: None, percent: int) -> None:
    draft = PriceVersion.objects.create(book=pricebooks.default_book(), number=1)
    make_price(route="test/model", units={"input": "1.01", "output": "3.07"}, version=draft)
    Price.objects.filter(version=draft).update(own_key_percent=percent)
    PriceVersion.objects.filter(pk=draft.pk).update(status="published", effective_at=clock.now(), published_at=clock.now())
    lists = pricebooks.price_lists()
    usage = Usage(input_tokens=1_003, output_tokens=77)
    gross = price_usage(lists["test/model"].for_own_key(), usage)
    assert gross == ceil(Decimal((1_003 * 1_010_000_000 + 77 * 3_070_000_000) * percent) / 10**8)
    call = make_call(wallet=make_wallet(), gross_nanos=gross, usage=usage, price_version_id=draft.pk, is_own_key=True)
    holds.settle([call])
    record = UsageRecord.everywhere.get(pk=call.id)
    assert (record.is_own_key, record.cost_nanos, record.gross_nanos) == (True, 0, gross)
    lines = price_lines(record)
    assert [line.percent for line in lines] == [percent, percent]
    assert 0 <= to_brl(record.gross_nanos) - sum(line.amount for line in lines) < Decimal("1e-9")
