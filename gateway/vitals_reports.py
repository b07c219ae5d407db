"""What the pages show of the vitals: uptime and latency per provider and per model. Synchronous; the hot path never comes here.

Vitals are kept by the minute for two days, by the hour for forty and by the day for four hundred (`gateway.tasks.roll_vitals` adds
them up every few minutes), so that a report of 30 days reads some hundreds of rows.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db import connection

from gateway.histogram import BUCKETS, percentiles_of
from tokia import clock

MINUTE, HOUR, DAY = 60, 3_600, 86_400  # seconds that a row spans
KEPT = {MINUTE: dt.timedelta(days=2), HOUR: dt.timedelta(days=40), DAY: dt.timedelta(days=400)}
HOURS_MAX = dt.timedelta(hours=49)  # a longer report reads days


@dataclass(frozen=True, slots=True)
class VitalsRow:
    """One provider (`route_name` empty), one model (`provider_slug` empty), or one model at one provider. Times in ms; 0: none."""

    provider_slug: str
    route_name: str
    succeeded: int
    failed: int
    limited: int
    output_tokens: int
    first_token_p50_ms: int
    first_token_p95_ms: int
    total_p50_ms: int
    total_p95_ms: int
    tokens_per_second: float

    @property
    def uptime(self) -> float | None:
        """The part of the asked answers that came, 0 to 1; None where nobody asked."""
        return uptime_of(self.succeeded, self.failed)


@dataclass(frozen=True, slots=True)
class UptimeSpan:
    """One span of time of one model at one provider."""

    begins_at: dt.datetime
    provider_slug: str
    route_name: str
    succeeded: int
    failed: int

    @property
    def uptime(self) -> float | None:
        return uptime_of(self.succeeded, self.failed)


def uptime_of(succeeded: int, failed: int) -> float | None:
    return succeeded / (succeeded + failed) if succeeded + failed else None


def bucket_sums(name: str) -> str:
    """Each bucket's sum. Subscripts, since unnesting the arrays of a report takes twenty times as long."""
    return "ARRAY[" + ",".join(f"coalesce(sum({name}[{place}]), 0)" for place in range(1, BUCKETS + 1)) + "]::bigint[]"


_REPORT = f"""
SELECT coalesce(provider_slug, ''), coalesce(route_name, ''), sum(succeeded), sum(failed), sum(limited), sum(output_tokens),
       sum(output_ms), {bucket_sums("first_token")}, {bucket_sums("total")}
  FROM gateway_deploymentvitals
 WHERE span_seconds = %s AND begins_at >= %s
 GROUP BY GROUPING SETS ((provider_slug), (route_name), (provider_slug, route_name))
 ORDER BY 1, 2
"""  # noqa: S608 - numbers of our own
_UPTIMES = """
SELECT begins_at, provider_slug, route_name, sum(succeeded), sum(failed)
  FROM gateway_deploymentvitals
 WHERE span_seconds = %s AND begins_at >= %s
 GROUP BY begins_at, provider_slug, route_name
 ORDER BY begins_at, provider_slug, route_name
"""


def span_for(since: dt.datetime) -> int:
    """The span whose rows a report from `since` until now reads."""
    return HOUR if clock.now() - since <= HOURS_MAX else DAY


def read_vitals(*, since: dt.datetime, span: int | None = None) -> list[VitalsRow]:
    """What happened in the spans that began at `since` or later (days begin at midnight UTC): rows of each provider, of each model
    and of each model at each provider. `span`: MINUTE is up to date within seconds; HOUR and DAY within five minutes."""
    with connection.cursor() as cursor:
        cursor.execute(_REPORT, [span or span_for(since), since])
        return [_read_row(*row) for row in cursor.fetchall()]


def read_uptimes(*, since: dt.datetime, span: int | None = None) -> list[UptimeSpan]:
    """The same, span by span and without latencies: for bars."""
    with connection.cursor() as cursor:
        cursor.execute(_UPTIMES, [span or span_for(since), since])
        return [UptimeSpan(begins_at, slug, name, int(good), int(bad)) for begins_at, slug, name, good, bad in cursor.fetchall()]


def _read_row(
    slug: str, name: str, succeeded: Any, failed: Any, limited: Any, tokens: Any, ms: Any, first_token: list[int], total: list[int]
) -> VitalsRow:
    first_p50, first_p95 = percentiles_of(first_token, (50, 95))
    total_p50, total_p95 = percentiles_of(total, (50, 95))
    return VitalsRow(
        slug, name, int(succeeded), int(failed), int(limited), int(tokens), first_p50, first_p95, total_p50, total_p95,
        int(tokens) * 1000 / int(ms) if ms else 0.0,
    )  # fmt: skip
