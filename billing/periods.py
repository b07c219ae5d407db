"""The period of a list: 7, 30 or 90 days, or from one day to another, as it stands in a page's address. Days are Brazil's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from tokia import clock

CHOICES = (7, 30, 90)
DAYS_MAX = 366


@dataclass(frozen=True, slots=True)
class Period:
    """From the first to the last day, both included. `days` is one of CHOICES, or 0 for another period."""

    first_on: dt.date
    last_on: dt.date
    days: int

    @property
    def first_iso(self) -> str:
        return self.first_on.isoformat()

    @property
    def last_iso(self) -> str:
        return self.last_on.isoformat()

    def starts_at(self) -> dt.datetime:
        return dt.datetime.combine(self.first_on, dt.time(), clock.SAO_PAULO)

    def ends_at(self) -> dt.datetime:
        return dt.datetime.combine(self.last_on + dt.timedelta(days=1), dt.time(), clock.SAO_PAULO)


def read_period(query: Mapping[str, str], *, default_days: int = 30) -> Period:
    """`?dias=30`, or `?de=2026-11-01&ate=2026-11-22`; what can't be read gives the default."""
    today = clock.today_in_brazil()
    try:
        first_on, last_on = dt.date.fromisoformat(query.get("de", "")), dt.date.fromisoformat(query.get("ate", "") or str(today))
        if dt.timedelta() <= last_on - first_on <= dt.timedelta(days=DAYS_MAX) and first_on.year >= 2020:
            return Period(first_on, last_on, days=0)
    except ValueError:
        pass
    days = next((days for days in CHOICES if query.get("dias") == str(days)), default_days)
    return Period(today - dt.timedelta(days=days - 1), today, days=days)
