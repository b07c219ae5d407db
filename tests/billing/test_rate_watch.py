"""The dollar moves, the prices don't: staff are told when it is far away, and which prices lose money."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest

from billing import costs, exchange, pricebooks, rate_watch
from billing.models import ExchangeRate, Price, PriceVersion, ProviderCost, RateAlarm
from billing.pricebooks import PriceLine
from tokia import clock

pytestmark = pytest.mark.django_db
GPT = PriceLine(route_name="openai/gpt-5", provider_name="openai", upstream_model="gpt-5", markup=Decimal("1.8"))
Policy = PriceVersion.RatePolicy


def quote(rate: str) -> ExchangeRate:
    return ExchangeRate.objects.create(rate=Decimal(rate), source="PTAX venda", quoted_at=clock.now())


def in_force(policy: str = Policy.LOCKED, *, markup: str = "1.8") -> PriceVersion:
    costs.import_costs([("openai", "openai", "gpt-5", "gpt-5")])
    quote("5")
    draft = pricebooks.draft_version(lines=[replace(GPT, markup=Decimal(markup))])
    PriceVersion.objects.filter(pk=draft.pk).update(rate_policy=policy)
    return pricebooks.publish_version(draft, by="ana")


def drafts() -> list[PriceVersion]:
    return list(PriceVersion.objects.filter(status=PriceVersion.Status.DRAFT))


def test_a_locked_rate_proposes_a_draft_beyond_its_alarm_and_publishes_none(caplog: pytest.LogCaptureFixture) -> None:
    version = in_force()
    assert rate_watch.watch_rate() is None
    quote("5.24")
    assert rate_watch.watch_rate() is None and drafts() == []
    rate = quote("5.25")  # 5 %
    with caplog.at_level("WARNING", logger="billing.rate_watch"):
        alarm = rate_watch.watch_rate()
    assert alarm is not None and "drifted" in caplog.text
    assert (alarm.version, alarm.exchange_rate, alarm.drift_bps, alarm.below_cost) == (version, rate, 500, [])
    [draft] = drafts()
    assert draft == alarm.draft and draft.exchange_rate == rate and draft.note == rate_watch.DRIFT_NOTE
    assert draft.author_ids == []  # nobody's: any two administrators may publish it
    assert Price.objects.get(version=draft, unit="input").amount_nanos == 11_812_500_000  # 1.25 × 5.25 × 1.8
    assert rate_watch.unseen() == 1
    assert rate_watch.watch_rate() == alarm and RateAlarm.objects.count() == 1  # told once
    assert pricebooks.version_in_force() == version
    rate_watch.acknowledge(alarm, by="ana@tokia.test")
    assert rate_watch.unseen() == 0


def test_it_falls_too_and_a_newer_quotation_takes_the_unseen_alarms_place() -> None:
    in_force()
    quote("4.6")
    first = rate_watch.watch_rate()
    assert first is not None and first.drift_bps == -800
    quote("4.5")
    second = rate_watch.watch_rate()
    assert second is not None and (second.drift_bps, rate_watch.unseen()) == (-1_000, 1)
    assert len(drafts()) == 1  # the same proposal, brought up to date
    assert drafts()[0].exchange_rate.rate == Decimal("4.5")  # type: ignore[union-attr]


@pytest.mark.parametrize(("policy", "rate", "is_told"), [
    (Policy.FOLLOWED, "5.0001", False), (Policy.FOLLOWED, "5.001", True), (Policy.FIXED, "6.50", False),
])  # fmt: skip
def test_the_policy_says_when(policy: str, rate: str, is_told: bool) -> None:
    in_force(policy)
    quote(rate)
    assert (rate_watch.watch_rate() is not None) is is_told
    assert bool(drafts()) is is_told


def test_it_names_the_prices_below_their_cost_under_any_policy(caplog: pytest.LogCaptureFixture) -> None:
    in_force(Policy.FIXED, markup="1.2")
    quote("6.1")  # 22 %
    with caplog.at_level("ERROR", logger="billing.rate_watch"):
        alarm = rate_watch.watch_rate()
    assert alarm is not None and alarm.draft is None and "below their landed cost" in caplog.text
    assert {line["unit"] for line in alarm.below_cost} == {"Entrada", "Entrada em cache", "Saída", "Busca"}
    [line] = [line for line in alarm.below_cost if line["unit"] == "Entrada"]
    assert (line["route"], line["price"], line["landed"]) == ("openai/gpt-5", "7.500000000", "7.625000000")


def test_a_dearer_provider_alone_is_told_too() -> None:
    in_force()
    ProviderCost.objects.filter(unit="output").update(usd=Decimal(19))  # it was 10, sold at 18
    alarm = rate_watch.watch_rate()
    assert alarm is not None and [line["unit"] for line in alarm.below_cost] == ["Saída"]


def test_without_prices_or_a_young_rate_there_is_nothing_to_say() -> None:
    assert rate_watch.watch_rate() is None
    in_force()
    ExchangeRate.objects.update(quoted_at=clock.now() - dt.timedelta(days=30))
    assert rate_watch.watch_rate() is None


def test_a_draft_keeps_the_policy_of_the_version_in_force() -> None:
    in_force(Policy.FOLLOWED)
    draft = pricebooks.draft_from_current()
    assert (draft.rate_policy, draft.drift_alarm_bps) == (Policy.FOLLOWED, 500)
    assert exchange.current_rate() == draft.exchange_rate
