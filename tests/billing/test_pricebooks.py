"""Sale prices: exact arithmetic, drafts from costs, versions frozen by publishing, differences, the discounts by volume."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from billing import costs, exchange, price_changes, price_margins, pricebooks, tasks, volume
from billing.models import ExchangeRate, Price, PriceVersion, ProviderCost, VolumePlan
from billing.money import BRL
from billing.pricebooks import PriceLine, PriceRefused
from billing.pricing import Usage, price_usage
from tokia import clock

pytestmark = pytest.mark.django_db

GPT = PriceLine(route_name="openai/gpt-5", provider_name="openai", upstream_model="gpt-5", markup=Decimal("1.8"))
LOCAL = PriceLine(
    route_name="local/smol", provider_name="local", upstream_model="smol", markup=Decimal(1),
    overrides={"input": 100_000_000, "output": 200_000_000},
)  # fmt: skip


@pytest.fixture(autouse=True)
def rate() -> ExchangeRate:
    costs.import_costs([("openai", "openai", "gpt-5", "gpt-5")])
    return exchange.enter_rate(rate=Decimal("5.3604"), by="test", reason="cotação de teste")


def amounts(version: PriceVersion) -> dict[tuple[str, str], int]:
    return {(price.route_name, price.unit): price.amount_nanos for price in Price.objects.filter(version=version)}


@pytest.mark.parametrize(
    ("cost", "rate", "markup", "nanos"),
    [
        ("1.25", "5.3604", "1.8", 12_060_900_000),
        ("0.000000001", "5.3604", "1", 6),
        ("0.1", "5.360001", "1.501", 804_536_151),  # 0.804536150100: up to the next nano
        ("0", "5.3604", "3", 0),
        ("999999999.999999999", "999999.999999", "999.999", 999_998_999_998_000_001_000_000_000),
    ],
)
def test_it_rounds_the_exact_product_up_to_one_nano(cost: str, rate: str, markup: str, nanos: int) -> None:
    computed = price_margins.amount_for(Decimal(cost), Decimal(rate), Decimal(markup))
    exact = Decimal(cost).as_integer_ratio(), Decimal(rate).as_integer_ratio(), Decimal(markup).as_integer_ratio()
    top, bottom = BRL, 1
    for numerator, denominator in exact:
        top, bottom = top * numerator, bottom * denominator
    assert computed == -(-top // bottom)
    if len(str(nanos)) < 20:
        assert computed == nanos


def test_it_drafts_every_unit_with_a_cost_and_lets_an_override_win() -> None:
    version = pricebooks.draft_version(lines=[GPT, LOCAL], note="primeira")
    assert amounts(version) == {
        ("openai/gpt-5", "input"): 12_060_900_000,
        ("openai/gpt-5", "cached_input"): 1_206_090_000,
        ("openai/gpt-5", "output"): 96_487_200_000,
        ("openai/gpt-5", "search"): 96_487_200,
        ("local/smol", "input"): 100_000_000,
        ("local/smol", "output"): 200_000_000,
    }
    assert pricebooks.price_lists() == {}  # a draft is never served


def test_it_serves_the_published_version_with_its_costs() -> None:
    version = pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="ana@tokia.test")
    prices = pricebooks.price_lists()["openai/gpt-5"]
    assert (prices.version_id, prices.version_label) == (version.pk, "v1")
    assert prices.units["input"].cost_nanos == 6_700_500_000
    assert price_usage(prices, Usage(input_tokens=1_000, output_tokens=10)) == 13_025_772


def test_it_serves_a_scheduled_version_from_its_instant() -> None:
    first = pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="ana")
    tomorrow = clock.now() + dt.timedelta(days=1)
    second = pricebooks.publish_version(pricebooks.draft_from_current(), by="ana", effective_at=tomorrow)
    assert pricebooks.price_lists()["openai/gpt-5"].version_id == first.pk
    assert pricebooks.price_lists(tomorrow)["openai/gpt-5"].version_id == second.pk
    assert pricebooks.next_change_at() == tomorrow


def test_it_never_publishes_twice_or_changes_a_published_version() -> None:
    version = pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="ana")
    verbs: list[Callable[[], PriceVersion]] = [
        lambda: pricebooks.publish_version(version, by="ana"),
        lambda: pricebooks.recompute(version),
    ]
    for verb in verbs:
        with pytest.raises(PriceRefused, match="nunca muda"):
            verb()


def test_it_refuses_what_must_not_be_published(rate: ExchangeRate) -> None:
    empty = pricebooks.draft_version(lines=[])
    with pytest.raises(PriceRefused, match="nenhum preço"):
        pricebooks.publish_version(empty, by="ana")
    cheap = pricebooks.draft_version(lines=[replace(GPT, overrides={"input": 1})])
    with pytest.raises(PriceRefused, match="abaixo do custo"):
        pricebooks.publish_version(cheap, by="ana")
    Price.objects.filter(version=cheap, unit="input").update(override_reason="campanha de lançamento")
    with pytest.raises(pricebooks.ApprovalNeeded):  # and not by one administrator alone: test_price_guard.py
        pricebooks.publish_version(cheap, by="ana")
    pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="ana")
    late = pricebooks.draft_from_current()
    with pytest.raises(PriceRefused, match="passado"):
        pricebooks.publish_version(late, by="ana", effective_at=clock.now() - dt.timedelta(hours=1))
    ExchangeRate.objects.filter(pk=rate.pk).update(quoted_at=clock.now() - dt.timedelta(days=30))
    with pytest.raises(PriceRefused, match="câmbio"):
        pricebooks.publish_version(late, by="ana")


def test_it_recomputes_a_draft_at_todays_rate() -> None:
    version = pricebooks.draft_version(lines=[GPT])
    exchange.enter_rate(rate=Decimal(6), by="outro", reason="cotação de teste")
    assert amounts(pricebooks.recompute(version))["openai/gpt-5", "input"] == 13_500_000_000


def test_it_tells_two_versions_apart() -> None:
    old = pricebooks.publish_version(pricebooks.draft_version(lines=[GPT, LOCAL]), by="ana")
    ProviderCost.objects.filter(unit="output").update(usd=Decimal(12))
    new = pricebooks.draft_from_current()
    Price.objects.filter(version=new, route_name="local/smol", unit="output").delete()
    Price.objects.filter(version=new, unit="cached_input").update(amount_nanos=1)
    told = {(change.route_name, change.unit): (change.kind, change.percent) for change in price_changes.diff_versions(old, new)}
    assert told == {
        ("local/smol", "input"): ("same", Decimal("0.0")),
        ("local/smol", "output"): ("gone", None),
        ("openai/gpt-5", "input"): ("same", Decimal("0.0")),
        ("openai/gpt-5", "cached_input"): ("down", Decimal("-100.0")),
        ("openai/gpt-5", "output"): ("up", Decimal("20.0")),
        ("openai/gpt-5", "search"): ("same", Decimal("0.0")),
    }
    assert {change.kind for change in price_changes.diff_versions(None, old)} == {"new"}


def test_the_task_proposes_one_draft_for_changed_costs_and_publishes_none() -> None:
    tasks.propose_costs()
    assert not PriceVersion.objects.exists()  # nothing in force: nothing to compare with
    pricebooks.publish_version(pricebooks.draft_version(lines=[GPT]), by="ana")
    tasks.propose_costs()
    assert PriceVersion.objects.count() == 1
    ProviderCost.objects.filter(unit="input").update(usd=Decimal("1.00"))
    tasks.propose_costs()
    assert PriceVersion.objects.count() == 1  # the import found 1.25 again, which is what is published
    ProviderCost.objects.filter(unit="output").delete()
    ProviderCost.objects.create(
        provider_name="openai", upstream_model="gpt-5", unit="output", usd=Decimal(12), source="genai-prices",
        source_version="0.0", raw={"provider": "openai", "model": "gpt-5"},
    )  # fmt: skip
    assert pricebooks.costs_that_differ() == {("openai/gpt-5", "output")}
    drafts = [pricebooks.propose_draft(), pricebooks.propose_draft()]
    assert drafts[0] is not None and drafts[0] == drafts[1]
    assert PriceVersion.objects.filter(status=PriceVersion.Status.PUBLISHED).count() == 1


def test_it_seeds_the_default_discounts_once_and_freezes_them() -> None:
    VolumePlan.objects.filter(is_default=True).update(is_default=False)
    plan = volume.seed_plan()
    assert [(tier.above_nanos // BRL, tier.discount_bps) for tier in plan.tiers.all()] == [
        (500, 500), (2_000, 800), (5_000, 1_200), (10_000, 1_500),
    ]  # fmt: skip
    assert volume.seed_plan() == plan
    with pytest.raises(volume.PlanRefused):
        volume.publish_plan(plan)
