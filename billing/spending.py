"""What keys, projects and people spent this month, and when a key was last used: from the days, of the tenant at work."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Max, Q, Sum

from accounts.models import ApiKey
from billing.models import UsageDay
from tokia import clock

LAST_USE_DAYS = 90  # how far back a last use is looked for


@dataclass(frozen=True, slots=True)
class Spent:
    """This fiscal month's calls; and the last day with a call, of the last LAST_USE_DAYS, or none."""

    month_nanos: int = 0
    month_calls: int = 0
    last_used_on: dt.date | None = None


def spent_by_key() -> dict[int, Spent]:
    return _spent_by("api_key_id")


def spent_by_project() -> dict[int, Spent]:
    """Under 0, the calls of keys without a project."""
    return _spent_by("project_id")


def spent_by_member() -> dict[int, int]:
    """Nanos of this month by the person who made the keys; keys that nobody made are left out."""
    makers = dict(ApiKey.objects.exclude(created_by=None).values_list("pk", "created_by_id"))
    nanos: dict[int, int] = defaultdict(int)
    for key_id, spent in spent_by_key().items():
        if (maker := makers.get(key_id)) is not None:
            nanos[maker] += spent.month_nanos
    return dict(nanos)


def _spent_by(column: str) -> dict[int, Spent]:
    month = Q(day__gte=clock.Month.current().first_on)
    since = clock.today_in_brazil() - dt.timedelta(days=LAST_USE_DAYS)
    rows = (
        UsageDay.objects.filter(Q(day__gte=since) | month)
        .values(column)
        .annotate(nanos=Sum("net_nanos", filter=month), calls_=Sum("calls", filter=month), last=Max("day"))
        .values_list(column, "nanos", "calls_", "last")
    )
    return {int(of): Spent(int(nanos or 0), int(calls or 0), last) for of, nanos, calls, last in rows}
