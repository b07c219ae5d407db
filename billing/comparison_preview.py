"""What the comparison's numbers make of some models today, for whoever keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from billing.abroad import BPS, ComparisonRates
from billing.list_prices import ListPrice, list_prices
from billing.models import Unit
from billing.pricebooks import price_lists, version_in_force
from billing.pricing import UnitPrice

MODELS = 5
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One model's output, per million tokens."""

    route_name: str
    usd_nanos: int
    commercial_nanos: int | None
    abroad_nanos: int | None
    ours_nanos: int

    @property
    def over_card_bps(self) -> int | None:
        """How much dearer than by card we are, in hundredths of a percent; below zero: cheaper."""
        if not self.abroad_nanos:
            return None
        return (self.ours_nanos - self.abroad_nanos) * BPS // self.abroad_nanos


def preview(rates: ComparisonRates) -> list[PreviewRow]:
    """Five models from the dearest to the cheapest, evenly apart, of those with a public list price."""
    prices = price_lists()
    listed = {
        route: price
        for (route, unit), price in list_prices(version_in_force()).items()
        if unit == Unit.OUTPUT and route in prices and Unit.OUTPUT in prices[route].units
    }
    names = sorted(listed, key=lambda name: (-_per_million(listed[name]), name))
    if len(names) > MODELS:
        names = [names[place * (len(names) - 1) // (MODELS - 1)] for place in range(MODELS)]
    return [_row(name, _per_million(listed[name]), rates, ours=prices[name].units[Unit.OUTPUT]) for name in names]


def _row(name: str, usd_nanos: int, rates: ComparisonRates, *, ours: UnitPrice) -> PreviewRow:
    amount = ours.amount_nanos * MILLION // ours.per_units
    return PreviewRow(name, usd_nanos, rates.commercial_nanos(usd_nanos), rates.abroad_nanos(usd_nanos), amount)


def _per_million(price: ListPrice) -> int:
    return price.usd_nanos * MILLION // price.per_units
