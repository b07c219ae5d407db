"""What other prices would have done to the last 30 days: the same usage at the prices in force and at a draft's.

An estimate, at list prices: without discounts, adjustments, batches and promotional money, and without calls by customers' own
keys. Nobody's use changes with its price here. A unit without a price of its own is priced by its family, as in `billing.pricing`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from django.db.models import Sum

from billing.models import Price, UsageDay
from billing.price_changes import cost_of_line
from billing.pricing import BUCKETS
from tokia import clock

DAYS = 30
BPS = 10_000
Volumes = Mapping[str, Mapping[str, int]]  # route → bucket of `pricing.BUCKETS` → how much was used


@dataclass(frozen=True, slots=True)
class Effect:
    """Nanos over DAYS. Costs are each side's own lines' at its own rate; what has no known cost counts as nothing."""

    revenue_before: int
    revenue_after: int
    cost_before: int
    cost_after: int
    by_line: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (route, unit) → what the revenue changes by

    @property
    def margin_before(self) -> int:
        return self.revenue_before - self.cost_before

    @property
    def margin_after(self) -> int:
        return self.revenue_after - self.cost_after

    @property
    def margin_change(self) -> int:
        return self.margin_after - self.margin_before

    @property
    def bps_before(self) -> int | None:
        return self.margin_before * BPS // self.revenue_before if self.revenue_before else None

    @property
    def bps_after(self) -> int | None:
        return self.margin_after * BPS // self.revenue_after if self.revenue_after else None


def recent_volumes() -> Volumes:
    """What was used in the last DAYS days, today included, by the days that usage is added up by."""
    since = clock.today_in_brazil() - dt.timedelta(days=DAYS - 1)
    sums = [Sum("calls") - Sum("failed") if name == "requests" else Sum(name) for name, _ in BUCKETS]
    rows = UsageDay.everywhere.filter(day__gte=since, is_own_key=False).order_by().values_list("route_name")
    found = rows.annotate(**{f"of_{name}": total for (name, _), total in zip(BUCKETS, sums, strict=True)})
    return {route: {name: used for (name, _), used in zip(BUCKETS, quantities, strict=True)} for route, *quantities in found}


def effect_of(
    before: Iterable[Price], after: Iterable[Price], *, rates: tuple[Decimal | None, Decimal | None], volumes: Volumes
) -> Effect:
    """`rates`: reais per dollar of either side."""
    sides = [_by_route(before), _by_route(after)]
    revenues, costs = [Fraction(0), Fraction(0)], [Fraction(0), Fraction(0)]
    changes: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for route, used in volumes.items():
        for bucket, units in BUCKETS:
            if not (quantity := used.get(bucket, 0)):
                continue
            for side, sign in ((0, -1), (1, 1)):
                price = next((sides[side][route][unit] for unit in units if unit in sides[side].get(route, {})), None)
                if price is None:
                    continue
                revenue = Fraction(quantity * price.amount_nanos, price.per_units)
                revenues[side] += revenue
                costs[side] += Fraction(quantity * cost_of_line(price, rates[side]), price.per_units)
                changes[route, price.unit] += sign * revenue
    return Effect(
        revenue_before=int(revenues[0]), revenue_after=int(revenues[1]), cost_before=int(costs[0]), cost_after=int(costs[1]),
        by_line={name: int(change) for name, change in changes.items() if change},
    )  # fmt: skip


def _by_route(prices: Iterable[Price]) -> dict[str, dict[str, Price]]:
    found: dict[str, dict[str, Price]] = defaultdict(dict)
    for price in prices:
        found[price.route_name][price.unit] = price
    return dict(found)
