"""What a month may come to, from the pace of its days. A range between two paces, never a promise of one number."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from billing.money import BRL
from billing.usage_sums import EVERYTHING, UsageFilter, usage_by
from tokia import clock

SHORT, LONG = 7, 28  # days that are over, whose mean is a pace
DAYS_MIN = 3  # with use among the LONG: fewer tell nothing


@dataclass(frozen=True, slots=True)
class Projection:
    """Nanos at the month's end: what is spent, and the days left at the slower and at the faster of the two paces."""

    low_nanos: int
    high_nanos: int

    @property
    def is_one(self) -> bool:
        """The paces are as good as the same: to the centavo."""
        return self.high_nanos - self.low_nanos < BRL // 100


def project_month(*, only: UsageFilter = EVERYTHING) -> Projection | None:
    """This month of the tenant at work; None before three days of use."""
    today = clock.today_in_brazil()
    lines = usage_by("day", first_on=today - dt.timedelta(days=max(LONG, today.day - 1)), last_on=today, only=only)
    return project({line.group: line.net_nanos for line in lines}, today=today)


def project(by_day: Mapping[dt.date, int], *, today: dt.date) -> Projection | None:
    """From nanos by day. Today is not over, so it counts as spent and as left: the part of a day that is left is not guessed."""
    over = {(today - day).days: nanos for day, nanos in by_day.items() if 0 < (today - day).days <= LONG and nanos}
    if len(over) < DAYS_MIN:
        return None
    since = min(LONG, max(over))  # who began last week has no month behind
    paces = [sum(nanos for ago, nanos in over.items() if ago <= days) // min(days, since) for days in (SHORT, LONG)]
    spent = sum(nanos for day, nanos in by_day.items() if (day.year, day.month) == (today.year, today.month))
    after = (today.replace(day=28) + dt.timedelta(days=4)).replace(day=1)
    left = (after - today).days - 1
    return Projection(spent + left * min(paces), spent + left * max(paces))
