"""The figures of an organization's overview, from the days that usage is added up by; only latencies come from the last calls."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass

from django.db import connection

from accounts.models import Organization
from accounts.tenancy import tenant
from billing import statements
from billing.usage_sums import totals
from tokia import clock

TOP_ROUTES = 5
OTHERS = "outros"
LATENCIES_OF = 1_000  # the newest calls


@dataclass(frozen=True, slots=True)
class Recent:
    """The last 30 days of Brasília's calendar, today included; latencies of the newest LATENCIES_OF calls among them."""

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


# A percentile has no sum, so it can't be added up by day: it is of the newest calls, which the index has at hand.
_LATENCIES = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY c.first_token_ms),
           percentile_cont(0.95) WITHIN GROUP (ORDER BY c.first_token_ms),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY c.overhead_us) / 1000
    FROM (SELECT first_token_ms, overhead_us FROM billing_usagerecord
          WHERE organization_id = %s AND id >= billing_first_id_of_month(%s) AND created_at >= %s
          ORDER BY id DESC LIMIT %s) c
"""


def recent(organization: Organization) -> Recent:
    today = clock.today_in_brazil()
    first_on = today - dt.timedelta(days=29)
    with tenant(organization):
        month = totals(first_on=first_on, last_on=today)
    since = dt.datetime.combine(first_on, dt.time(), clock.SAO_PAULO)
    with connection.cursor() as cursor:
        cursor.execute(_LATENCIES, [organization.pk, first_on.replace(day=1), since, LATENCIES_OF])
        [(p50, p95, overhead)] = cursor.fetchall()
    return Recent(
        calls=month.calls,
        success_bps=(month.calls - month.failed) * 10_000 // month.calls if month.calls else None,
        input_tokens=month.input_tokens,
        output_tokens=month.output_tokens,
        first_token_ms=_rounded(p50),
        first_token_p95_ms=_rounded(p95),
        overhead_ms=_rounded(overhead),
    )


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def spend_by_day(organization: Organization, *, days: int) -> list[Day]:
    """The last `days` days of Brasília's calendar, today included, empty ones too; beyond the top five routes: "outros"."""
    today = clock.today_in_brazil()
    first_on = today - dt.timedelta(days=days - 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT day, route_name, sum(net_nanos)::bigint FROM billing_usageday"
            " WHERE organization_id = %s AND day BETWEEN %s AND %s"
            " GROUP BY day, route_name HAVING sum(net_nanos) > 0 ORDER BY day, route_name",
            [organization.pk, first_on, today],
        )
        found = cursor.fetchall()
    spent: dict[str, int] = defaultdict(int)
    for _, route, net in found:
        spent[route] += net
    top = set(sorted(spent, key=lambda route: -spent[route])[:TOP_ROUTES])
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
