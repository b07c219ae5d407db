"""The figures of an organization's overview. Reads only; every figure is exact, and drawn from usage records."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Aggregate, Count, FloatField, Q, Sum
from django.db.models.functions import TruncDate

from accounts.models import Organization
from billing import statements
from billing.models import UsageRecord
from tokia import clock

TOP_ROUTES = 5
OTHERS = "outros"


class Percentile(Aggregate):
    function = "PERCENTILE_CONT"
    template = "%(function)s(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


@dataclass(frozen=True, slots=True)
class Recent:
    """The last 30 days."""

    calls: int
    success_bps: int | None
    input_tokens: int
    output_tokens: int
    first_token_ms: int | None
    first_token_p95_ms: int | None
    overhead_ms: int | None

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Day:
    on: dt.date
    by_route: dict[str, int]  # net nanos

    @property
    def net_nanos(self) -> int:
        return sum(self.by_route.values())


def first_id_at(moment: dt.datetime) -> uuid.UUID:
    """No id made later is smaller: UsageRecord is partitioned and ordered by its UUIDv7."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


def recent(organization: Organization) -> Recent:
    since = clock.now() - dt.timedelta(days=30)
    row = UsageRecord.everywhere.filter(organization=organization, id__gte=first_id_at(since)).aggregate(
        calls=Count("id"),
        good=Count("id", filter=Q(status_code__lt=400)),
        fresh=Sum("input_tokens"),
        cached=Sum("cached_input_tokens"),
        written=Sum("cache_write_tokens"),
        output=Sum("output_tokens"),
        reasoning=Sum("reasoning_tokens"),
        sound_in=Sum("audio_input_tokens"),
        sound_out=Sum("audio_output_tokens"),
        pictures_in=Sum("image_input_tokens"),
        pictures_out=Sum("image_output_tokens"),
        p50=Percentile("first_token_ms", fraction=0.5),
        p95=Percentile("first_token_ms", fraction=0.95),
        overhead=Percentile("overhead_us", fraction=0.5),
    )
    calls = row["calls"]
    return Recent(
        calls=calls,
        success_bps=row["good"] * 10_000 // calls if calls else None,
        input_tokens=sum(row[name] or 0 for name in ("fresh", "cached", "written", "sound_in", "pictures_in")),
        output_tokens=sum(row[name] or 0 for name in ("output", "reasoning", "sound_out", "pictures_out")),
        first_token_ms=_rounded(row["p50"]),
        first_token_p95_ms=_rounded(row["p95"]),
        overhead_ms=_rounded(row["overhead"] / 1_000) if row["overhead"] is not None else None,
    )


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def spend_by_day(organization: Organization, *, days: int) -> list[Day]:
    """The last `days` days of Brasília's calendar, today included, empty ones too; beyond the top five routes: "outros"."""
    today = clock.today_in_brazil()
    first_on = today - dt.timedelta(days=days - 1)
    since = dt.datetime.combine(first_on, dt.time(), clock.SAO_PAULO)
    rows = (
        UsageRecord.everywhere.filter(organization=organization, id__gte=first_id_at(since))
        .annotate(on=TruncDate("created_at", tzinfo=clock.SAO_PAULO))
        .values("on", "route_name")
        .annotate(net=Sum("net_nanos"))
        .filter(net__gt=0)
    )
    totals: dict[str, int] = defaultdict(int)
    found = [(row["on"], row["route_name"], int(row["net"])) for row in rows]
    for _, route, net in found:
        totals[route] += net
    top = set(sorted(totals, key=lambda route: -totals[route])[:TOP_ROUTES])
    by_day: dict[dt.date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for on, route, net in found:
        by_day[on][route if route in top else OTHERS] += net
    return [Day(on=day, by_route=dict(by_day[day])) for day in (first_on + dt.timedelta(days=at) for at in range(days))]


def lasts(*, available_nanos: int) -> str:
    """How long the tenant's balance lasts at the pace of the last seven days; empty under three days of use."""
    if available_nanos <= 0:
        return ""
    used = [net for _, net in statements.spend_by_day(days=7)]
    if sum(1 for net in used if net) < 3:
        return ""
    hours = available_nanos * 24 * 7 // sum(used)
    if hours < 1:
        return "menos de 1 hora"
    if hours < 48:
        return f"{hours} hora{'s' if hours > 1 else ''}"
    return f"{hours // 24} dias" if hours // 24 <= 365 else "mais de um ano"
