"""What providers ask in dollars, as they publish it, for the lines of a version: what the shop window sets beside our price.

A line's cost is told only where a source that anybody can read says exactly that number (`billing.costs`): what somebody typed
into a line, perhaps a negotiated price, is nobody's business.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from billing.costs import DECLARED, SOURCE
from billing.models import Price, PriceVersion, ProviderCost
from tokia import clock

NANOS = Decimal(10**9)


@dataclass(frozen=True, slots=True)
class ListPrice:
    """`usd_nanos` (US$ 1 = 10⁹) for `per_units` units, up to one nano."""

    usd_nanos: int
    per_units: int
    provider_name: str  # the provider's slug
    source: str
    read_on: dt.date

    @property
    def is_from_page(self) -> bool:
        """Read by a person from the provider's own price page; else from the public data set of `source`."""
        return self.source == DECLARED


def list_prices(version: PriceVersion | None) -> dict[tuple[str, str], ListPrice]:
    """By route and unit; two queries. Empty without a version."""
    if version is None:
        return {}
    published: dict[tuple[str, str, str, Decimal | None, int], ProviderCost] = {
        (row.provider_name, row.upstream_model, row.unit, row.usd, row.per_units): row
        for row in ProviderCost.objects.filter(source__in=(SOURCE, DECLARED)).order_by("id")
    }
    found: dict[tuple[str, str], ListPrice] = {}
    for line in Price.objects.filter(version=version, cost_usd__isnull=False):
        row = published.get((line.provider_name, line.upstream_model, line.unit, line.cost_usd, line.per_units))
        if row is not None:
            found[line.route_name, line.unit] = ListPrice(
                usd_nanos=int((row.usd * NANOS).to_integral_value(ROUND_CEILING)), per_units=row.per_units,
                provider_name=row.provider_name, source=row.source, read_on=row.fetched_at.astimezone(clock.SAO_PAULO).date(),
            )  # fmt: skip
    return found
