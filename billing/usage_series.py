"""Usage by day and by group at once, for stacked bars: the greatest few by name, the others together. From the days alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_lazy, gettext_noop

from accounts.tenancy import current_tenant
from billing.figures import in_marks, tell_brl
from billing.usage_sums import (
    ANSWER_TOKENS,
    EVERYTHING,
    GROUPS,
    PROMPT_TOKENS,
    UsageFilter,
    conditions,
    label_of,
    names_of,
    table_of,
)

GREATEST = 5
# The space in them does not break.
BILLIONS, MILLIONS, THOUSANDS = (
    gettext_noop("{number}\u00a0bi"),
    gettext_noop("{number}\u00a0mi"),
    gettext_noop("{number}\u00a0mil"),
)
OTHERS = gettext_noop("Outros")


@dataclass(frozen=True, slots=True)
class Metric:
    """What is counted. `by_tag` is its sum over TagDay, which keeps tokens in two columns."""

    label: str | Promise
    by_day: str
    by_tag: str
    tell: Callable[[int], str]


def tell_money(nanos: int) -> str:
    """A chart's money: `R$ 12,50`; under ten centavos with the decimals that tell it from nothing, and from the mark beside it."""
    if not nanos or nanos >= 100_000_000 or nanos % 10_000_000 == 0:
        return tell_brl(nanos)
    decimals = next((digits for digits in range(3, 9) if nanos >= 10 ** (9 - digits)), 9)
    return in_marks(f"R$\u00a00,{nanos // 10 ** (9 - decimals):0{decimals}d}")


def tell_count(count: int) -> str:
    """`950`, `48 mil`, `1,2 mi`, `3,4 bi`: an axis has little room."""
    for unit, shape in ((10**9, BILLIONS), (10**6, MILLIONS), (10**3, THOUSANDS)):
        if count >= unit:
            whole, tenth = divmod(count * 10 // unit, 10)
            return gettext(shape).format(number=in_marks(f"{whole}{f',{tenth}' if tenth else ''}"))
    return str(count)


METRICS = {
    "gasto": Metric(gettext_lazy("Gasto (R$)"), "net_nanos", "net_nanos", tell_money),
    "tokens": Metric(gettext_lazy("Tokens"), f"{PROMPT_TOKENS} + {ANSWER_TOKENS}", "input_tokens + output_tokens", tell_count),
    "requisicoes": Metric(gettext_lazy("Requisições"), "calls", "calls", tell_count),
}


@dataclass(frozen=True, slots=True)
class UsageSeries:
    group: Any  # None: the others together
    label: str
    by_day: dict[dt.date, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.by_day.values())


def series_by(
    group: str, *, metric: str, first_on: dt.date, last_on: dt.date, only: UsageFilter = EVERYTHING, greatest: int = GREATEST
) -> list[UsageSeries]:
    """The greatest groups first, the others last, of the tenant at work. By day: one series of all. By tag the others are left out,
    because a call may carry several tags. Raises TagStandsAlone."""
    organization = current_tenant()
    by_tag = group == "tag" or only.is_by_tag
    where, arguments = conditions(only, by_tag=by_tag, group=group)
    value = METRICS[metric].by_tag if by_tag else METRICS[metric].by_day
    line = "0" if group == "day" else GROUPS[group]
    query = f"""
        WITH lines AS (
          SELECT day, {line} AS line, sum({value})::bigint AS value FROM {table_of(group, by_tag=by_tag)}
          WHERE organization_id = %s AND day BETWEEN %s AND %s{where} GROUP BY 1, 2
        ), greatest AS (
          SELECT line, sum(value) AS value FROM lines GROUP BY line HAVING sum(value) > 0 ORDER BY value DESC, line LIMIT %s
        )
        SELECT l.day, g.line, g.value, sum(l.value)::bigint FROM lines l LEFT JOIN greatest g ON g.line = l.line
        GROUP BY 1, 2, 3 HAVING sum(l.value) > 0 ORDER BY g.value DESC NULLS LAST, g.line, l.day"""  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(query, [organization.pk, first_on, last_on, *arguments, greatest])
        found = cursor.fetchall()
    names = names_of(group, organization)
    series: dict[Any, UsageSeries] = {}
    for day, of, _, amount in found:
        if of is None and group == "tag":
            continue
        if of not in series:
            label = gettext(OTHERS) if of is None else gettext("Total") if group == "day" else label_of(group, of, names)
            series[of] = UsageSeries(of, label)
        series[of].by_day[day] = amount
    return list(series.values())
