"""Series of usage as bars and as the table beside them; a piece of a bar leads to the calls that it is made of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from billing.usage_series import METRICS, UsageSeries, series_by
from billing.usage_sums import EVERYTHING, UsageFilter
from tokia import bars

# The filter of the list of calls that a group is.
FILTERS = {"route": "modelo", "key": "chave", "project": "projeto", "tag": "etiqueta", "day": ""}


@dataclass(frozen=True, slots=True)
class Row:
    on: dt.date
    values: list[int]  # of each series
    total: int


@dataclass(frozen=True, slots=True)
class UsageChart:
    bars: bars.Chart
    names: list[str]
    rows: list[Row]  # days with something, newest first
    metric: str

    @property
    def is_money(self) -> bool:
        return self.metric == "gasto"


def chart_by(
    group: str,
    *,
    metric: str,
    first_on: dt.date,
    last_on: dt.date,
    only: UsageFilter = EVERYTHING,
    keep: Mapping[str, str] | None = None,
) -> UsageChart | None:
    """Of the tenant at work; None where nothing was used. `keep`: the filters of the page, for the links of the bars."""
    days = [first_on + dt.timedelta(days=at) for at in range((last_on - first_on).days + 1)]
    series = series_by(group, metric=metric, first_on=first_on, last_on=last_on, only=only)
    drawn = bars.draw(
        days,
        [
            bars.Series(
                one.label, [one.by_day.get(day, 0) for day in days], _links(one, days, group, keep or {}), one.group is None
            )
            for one in series
        ],
        tell=METRICS[metric].tell,
    )
    if drawn is None:
        return None
    rows = [Row(day, values := [one.by_day.get(day, 0) for one in series], sum(values)) for day in reversed(days)]
    return UsageChart(drawn, [one.label for one in series], [row for row in rows if row.total], metric)


def _links(one: UsageSeries, days: Sequence[dt.date], group: str, keep: Mapping[str, str]) -> list[str]:
    if group not in FILTERS:
        return []
    address = reverse("requests")
    which = {FILTERS[group]: str(one.group)} if FILTERS[group] and one.group is not None else {}
    return [f"{address}?{urlencode({**keep, **which, 'de': day.isoformat(), 'ate': day.isoformat()})}" for day in days]
