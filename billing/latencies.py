"""Percentiles of how long calls took. They have no sum, so they are of the newest calls of a period, never of all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection

from accounts.tenancy import current_tenant
from billing.call_lists import first_id_at
from billing.periods import Period
from billing.usage_sums import UsageFilter

NEWEST = 2_000  # calls that are looked at: they lie together in the index
# Of a usage record, under the groups of `usage_sums`. A day and a tag have none: the newest calls say nothing of them.
_COLUMNS = {
    "route": "c.route_name", "key": "c.api_key_id", "project": "coalesce(c.project_id, 0)", "provider": "c.provider_name",
    "member": "coalesce((SELECT k.created_by_id FROM accounts_apikey k WHERE k.id = c.api_key_id), 0)",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the call's arrival to its end; calls that failed are left out."""

    p50_ms: int
    p75_ms: int
    calls: int


def latencies_by(group: str, *, period: Period, only: UsageFilter) -> dict[Any, Latency]:
    """By group, of the tenant's newest calls of the period; empty where the group or the filter has no such answer."""
    if group not in _COLUMNS or only.is_by_tag:
        return {}
    given: dict[str, Any] = {
        "c.route_name": only.route_name or None,
        "c.api_key_id": only.api_key_id,
        "coalesce(c.project_id, 0)": only.project_id,
        "c.provider_name": only.provider_name or None,
    }
    wanted = {column: value for column, value in given.items() if value is not None}
    filters = "".join(f" AND {column} = %s" for column in wanted)
    query = f"""
        SELECT {_COLUMNS[group]} AS line, percentile_disc(ARRAY[0.5, 0.75]) WITHIN GROUP (ORDER BY c.latency_ms), count(*)
        FROM (SELECT * FROM billing_usagerecord WHERE organization_id = %s AND id >= %s AND id < %s
              ORDER BY id DESC LIMIT {NEWEST}) c
        WHERE c.outcome <> 'failed'{filters} GROUP BY 1"""  # noqa: S608 - column names of ours
    bounds: list[Any] = [current_tenant().pk, first_id_at(period.starts_at()), first_id_at(period.ends_at())]
    with connection.cursor() as cursor:
        cursor.execute(query, [*bounds, *wanted.values()])
        return {line: Latency(p50, p75, calls) for line, (p50, p75), calls in cursor.fetchall()}
