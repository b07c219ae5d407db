"""What we earn: usage by model, provider, organization, day or month, from the days that usage is added up by.

Revenue is the net amount; promotional money in it was given, so the margin is net − promo − cost. Where a customer's own key
served, the net is the platform's price and the cost is theirs.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import connection

from accounts.models import Organization

GROUPS = {
    "modelo": ("Modelo", "route_name"),
    "provedor": ("Provedor", "CASE WHEN is_own_key THEN provider_name || ' (chave do cliente)' ELSE provider_name END"),
    "empresa": ("Empresa", "organization_id"),
    "dia": ("Dia", "day"),
    "mes": ("Mês", "date_trunc('month', day)::date"),
}
LINES_MAX = 500


@dataclass(frozen=True, slots=True)
class MarginLine:
    """Nanos; `margin_bps` is hundredths of a percent of net − promo, None where nothing was earned."""

    label: str
    calls: int
    gross_nanos: int
    net_nanos: int
    promo_nanos: int
    cost_nanos: int
    key: object = None  # what the line is grouped by: an organization's id, a day, a name

    @property
    def margin_nanos(self) -> int:
        return self.net_nanos - self.promo_nanos - self.cost_nanos

    @property
    def margin_bps(self) -> int | None:
        earned = self.net_nanos - self.promo_nanos
        return self.margin_nanos * 10_000 // earned if earned > 0 else None


def margins_by(group: str, *, first_on: dt.date, last_on: dt.date) -> list[MarginLine]:
    """From the first to the last day, both included; days and months in sequence, others by what they earned. Raises KeyError."""
    _, column = GROUPS[group]
    in_time = group in ("dia", "mes")
    query = (
        f"SELECT {column} AS line, sum(calls)::bigint, sum(gross_nanos)::bigint, sum(net_nanos)::bigint AS net,"  # noqa: S608
        " sum(promo_nanos)::bigint, sum(cost_nanos)::bigint FROM billing_usageday WHERE day >= %s AND day <= %s"
        f" GROUP BY line ORDER BY {'line' if in_time else 'net DESC, line'} LIMIT {LINES_MAX}"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [first_on, last_on])
        rows = cursor.fetchall()
    names = (
        dict(Organization.objects.filter(pk__in=[row[0] for row in rows]).values_list("pk", "name")) if group == "empresa" else {}
    )
    return [
        MarginLine(_label(group, line, names), calls, gross, net, promo, cost, key=line)
        for line, calls, gross, net, promo, cost in rows
    ]


def _label(group: str, line: object, names: dict[int, str]) -> str:
    if isinstance(line, int):
        return names.get(line, f"Empresa {line}")
    if isinstance(line, dt.date):
        return f"{line:%m/%Y}" if group == "mes" else f"{line:%d/%m/%Y}"
    return str(line) or "—"


def total_of(lines: list[MarginLine]) -> MarginLine:
    figures = ("calls", "gross_nanos", "net_nanos", "promo_nanos", "cost_nanos")
    return MarginLine("Total", *(sum(getattr(line, name) for line in lines) for name in figures))


def failed_calls(*, first_on: dt.date, last_on: dt.date) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(failed), 0)::bigint FROM billing_usageday WHERE day BETWEEN %s AND %s", [first_on, last_on]
        )
        [(failed,)] = cursor.fetchall()
    return int(failed)


def unbilled_nanos(*, first_on: dt.date, last_on: dt.date) -> int:
    """The most that calls came to whose gateway died before they were settled: held, expired, and billed to nobody."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(x.amount_nanos), 0)::bigint FROM billing_expiredhold x"
            " WHERE (x.created_at AT TIME ZONE 'America/Sao_Paulo')::date BETWEEN %s AND %s"
            " AND NOT EXISTS (SELECT 1 FROM billing_usagerecord u WHERE u.id = x.id)",
            [first_on, last_on],
        )
        [(nanos,)] = cursor.fetchall()
    return int(nanos)
