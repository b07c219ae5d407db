"""The vitals' rows in PostgreSQL: written by the event loop's own connection, added up and purged by Celery."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable
from typing import Any

import msgspec
import psycopg
from django.db import connection

from gateway.histogram import BUCKETS
from gateway.models import DeploymentVitals
from gateway.vitals_reports import DAY, HOUR, KEPT, MINUTE, bucket_sums
from tokia import clock

log = logging.getLogger(__name__)
MEASURED_SECONDS = 300  # what is measured "now"
LATE = dt.timedelta(hours=3)  # a process that had lost the database may add to minutes as old as this


class Tally(msgspec.Struct):
    """One deployment's minute in one process, as far as it is not written yet; the columns of `DeploymentVitals`."""

    begins_at: int  # Unix seconds
    deployment_id: int
    provider_slug: str
    route_name: str
    succeeded: int = 0
    failed: int = 0
    limited: int = 0
    output_tokens: int = 0
    output_ms: int = 0
    first_token: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)
    total: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)


class Recent(msgspec.Struct):
    """One deployment's last minutes, of all processes."""

    deployment_id: int
    succeeded: int
    failed: int
    output_tokens: int
    output_ms: int
    first_token: list[int]
    total: list[int]


_COLUMNS = "span_seconds, begins_at, deployment_id, provider_slug, route_name, succeeded, failed, limited, output_tokens, output_ms"


def _added(name: str) -> str:
    """Both arrays' sum, place by place."""
    both = f"unnest(kept.{name}, excluded.{name}) WITH ORDINALITY AS both_(one, other, place)"
    return f"{name} = ARRAY(SELECT coalesce(one, 0) + coalesce(other, 0) FROM {both} ORDER BY place)"  # noqa: S608


_ADD = f"""
INSERT INTO gateway_deploymentvitals AS kept ({_COLUMNS}, first_token, total)
SELECT {MINUTE}, to_timestamp(begins_at), deployment_id, provider_slug, route_name, succeeded, failed, limited, output_tokens,
       output_ms, first_token, total
  FROM json_to_recordset(%s::json) AS new(
       begins_at bigint, deployment_id bigint, provider_slug text, route_name text, succeeded integer, failed integer,
       limited integer, output_tokens bigint, output_ms bigint, first_token integer[], total integer[])
 ORDER BY begins_at, deployment_id
ON CONFLICT (span_seconds, begins_at, deployment_id) DO UPDATE SET
       succeeded = kept.succeeded + excluded.succeeded, failed = kept.failed + excluded.failed,
       limited = kept.limited + excluded.limited, output_tokens = kept.output_tokens + excluded.output_tokens,
       output_ms = kept.output_ms + excluded.output_ms, {_added("first_token")}, {_added("total")}
"""  # noqa: S608 - names of our own
_RECENT = f"""
SELECT deployment_id, sum(succeeded)::bigint, sum(failed)::bigint, sum(output_tokens)::bigint, sum(output_ms)::bigint,
       {bucket_sums("first_token")}, {bucket_sums("total")}
  FROM gateway_deploymentvitals
 WHERE span_seconds = {MINUTE} AND begins_at > now() - interval '{MEASURED_SECONDS + MINUTE} seconds'
 GROUP BY deployment_id
"""  # noqa: S608 - numbers of our own
_ROLL = f"""
INSERT INTO gateway_deploymentvitals AS kept ({_COLUMNS}, first_token, total)
SELECT %(into)s, date_bin(make_interval(secs => %(into)s), begins_at, 'epoch'), deployment_id,
       (array_agg(provider_slug ORDER BY begins_at DESC))[1], (array_agg(route_name ORDER BY begins_at DESC))[1],
       sum(succeeded), sum(failed), sum(limited), sum(output_tokens), sum(output_ms),
       {bucket_sums("first_token")}, {bucket_sums("total")}
  FROM gateway_deploymentvitals
 WHERE span_seconds = %(of)s AND begins_at >= %(since)s
 GROUP BY 2, 3
ON CONFLICT (span_seconds, begins_at, deployment_id) DO UPDATE SET
       provider_slug = excluded.provider_slug, route_name = excluded.route_name, succeeded = excluded.succeeded,
       failed = excluded.failed, limited = excluded.limited, output_tokens = excluded.output_tokens,
       output_ms = excluded.output_ms, first_token = excluded.first_token, total = excluded.total
"""  # noqa: S608 - names of our own


async def add_tallies(database: psycopg.AsyncConnection[Any], tallies: Iterable[Tally]) -> None:
    """Add to what all processes counted, in one statement. Raises psycopg.Error, OSError."""
    await database.execute(_ADD, [msgspec.json.encode(list(tallies)).decode()])


async def read_recent(database: psycopg.AsyncConnection[Any]) -> list[Recent]:
    """The last five minutes. Raises psycopg.Error, OSError."""
    cursor = await database.execute(_RECENT)
    return [Recent(*row) for row in await cursor.fetchall()]


# ── By the clock ─────────────────────────────────────────────────────────────────────────────────────────────────────
def roll_vitals() -> int:
    """Add minutes up into hours and hours into days, from where it was done last; gives how many rows were written. Each sum is
    made anew from all of its parts, which are still there, so doing it twice changes nothing."""
    return _roll(of=MINUTE, into=HOUR) + _roll(of=HOUR, into=DAY)


def _roll(*, of: int, into: int) -> int:
    now, last = clock.now(), _last_of(into)
    first = -(-(now - KEPT[of]).timestamp() // into) * into  # of older sums, parts may be purged: those stay as they are
    if last is not None:
        first = max(first, min(last, now - LATE).timestamp() // into * into)
    with connection.cursor() as cursor:
        cursor.execute(_ROLL, {"of": of, "into": into, "since": dt.datetime.fromtimestamp(first, tz=dt.UTC)})
        written: int = cursor.rowcount
    return written


def _last_of(span: int) -> dt.datetime | None:
    rows = DeploymentVitals.objects.filter(span_seconds=span).order_by("-begins_at")
    return rows.values_list("begins_at", flat=True).first()


def purge_vitals() -> int:
    """Minutes after two days, hours after forty, days after four hundred; gives how many rows went."""
    purged = 0
    for span, kept in KEPT.items():
        purged += DeploymentVitals.objects.filter(span_seconds=span, begins_at__lt=clock.now() - kept).delete()[0]
    return purged
