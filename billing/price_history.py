"""What one model has cost here, version by version: the public sale prices of the default book, and when each came into force."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from billing.models import Price, PriceVersion
from billing.units import tell_per
from tokia import clock

VERSIONS_MAX = 60


@dataclass(frozen=True, slots=True)
class PricePoint:
    """From `since` on, until the next point: nano-reais per unit, each per what it is priced per."""

    since: dt.datetime
    number: int  # the version's
    amounts: dict[str, int] = field(default_factory=dict)  # unit → nanos; empty: not for sale
    pers: dict[str, str] = field(default_factory=dict)  # unit → "/1M"
    per_units: dict[str, int] = field(default_factory=dict)

    @property
    def is_on_sale(self) -> bool:
        return bool(self.amounts)


def price_history(route_name: str) -> list[PricePoint]:
    """The oldest first, only where something changed, of the newest VERSIONS_MAX versions that came into force; two queries."""
    versions = PriceVersion.objects.filter(
        book__is_default=True, status=PriceVersion.Status.PUBLISHED, effective_at__lte=clock.now()
    )
    newest = list(versions.order_by("-effective_at", "-number").values_list("pk", "number", "effective_at")[:VERSIONS_MAX])
    lines: dict[int, list[Price]] = {}
    for line in Price.objects.filter(version_id__in=[pk for pk, _, _ in newest], route_name=route_name):
        lines.setdefault(line.version_id, []).append(line)
    points: list[PricePoint] = []
    for pk, number, since in reversed(newest):
        point = _point(since or clock.now(), number, lines.get(pk, []))
        before = points[-1] if points else None
        if before is None and not point.is_on_sale:
            continue  # it was not born yet
        if before is None or (before.amounts, before.per_units) != (point.amounts, point.per_units):
            points.append(point)
    return points


def _point(since: dt.datetime, number: int, lines: list[Price]) -> PricePoint:
    return PricePoint(
        since=since, number=number, amounts={line.unit: line.amount_nanos for line in lines},
        pers={line.unit: tell_per(line.unit, line.per_units) for line in lines},
        per_units={line.unit: line.per_units for line in lines},
    )  # fmt: skip
