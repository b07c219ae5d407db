"""What an experiment's sides came to, from the usage records. Reads only.

What counts where (the page says it too): `calls` and `net_nanos` are of all calls, so they equal the ledger's sum to the nano. An
answer from the cache was given by no model: the gateway writes no side on it, and one that had a side would count as a call only.
Errors are of the calls that a model was asked; latency and tokens of those that it finished; the cost per call of those that were
delivered at Tokia's prices: a failure costs nothing and would make its side look cheap, and the customer's own key pays the
provider elsewhere.

One query per experiment, by the partial index of its sides and from the month in which it began; what it found is kept a while.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from django.core.cache import cache
from django.db import OperationalError, connection, transaction

from gateway.models import Experiment, ExperimentArm
from gateway.significance import Rate, Sample
from tokia import clock

RUNNING_SECONDS = 30
ENDED_SECONDS = 600  # only feedback still comes
KEPT_SECONDS = 3_600
STATEMENT_SECONDS = 15
# A call belongs to its side from its first instant; snapshots lag behind an end by two seconds, clocks by less than a minute.
SLACK = dt.timedelta(minutes=1)
_QUERY = """
SELECT u.experiment_arm_id AS arm_id,
  count(*) AS calls,
  coalesce(sum(u.net_nanos), 0)::bigint AS net_nanos,
  count(*) FILTER (WHERE cached) AS cached,
  count(*) FILTER (WHERE u.is_own_key) AS own_key,
  count(*) FILTER (WHERE asked AND u.outcome IN ('failed', 'cut')) AS errors,
  count(*) FILTER (WHERE asked AND u.outcome = 'cancelled') AS cancelled,
  count(*) FILTER (WHERE asked AND u.route_name <> a.route_name) AS elsewhere,
  count(*) FILTER (WHERE paid) AS paid_calls,
  coalesce(sum(u.net_nanos) FILTER (WHERE paid), 0)::bigint AS paid_nanos,
  coalesce(var_samp(u.net_nanos::float8) FILTER (WHERE paid), 0) AS paid_variance,
  count(*) FILTER (WHERE finished) AS finished,
  coalesce(avg(u.latency_ms::float8) FILTER (WHERE finished), 0) AS latency_mean,
  coalesce(var_samp(u.latency_ms::float8) FILTER (WHERE finished), 0) AS latency_variance,
  percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY u.latency_ms) FILTER (WHERE finished) AS latency,
  count(u.first_token_ms) FILTER (WHERE finished) AS streamed,
  coalesce(avg(u.first_token_ms::float8) FILTER (WHERE finished), 0) AS first_token_mean,
  coalesce(var_samp(u.first_token_ms::float8) FILTER (WHERE finished), 0) AS first_token_variance,
  percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY u.first_token_ms) FILTER (WHERE finished) AS first_token,
  coalesce(sum(u.input_tokens::bigint + u.cached_input_tokens + u.cache_write_tokens + u.audio_input_tokens
    + u.image_input_tokens) FILTER (WHERE finished), 0)::bigint AS input_tokens,
  coalesce(sum(u.output_tokens::bigint + u.reasoning_tokens + u.audio_output_tokens + u.image_output_tokens)
    FILTER (WHERE finished), 0)::bigint AS output_tokens,
  count(*) FILTER (WHERE asked AND f.score > 0) AS liked,
  count(*) FILTER (WHERE asked AND f.score < 0) AS disliked
FROM (SELECT *, usage_source = 'cache' AS cached, usage_source <> 'cache' AS asked,
        usage_source <> 'cache' AND outcome = 'completed' AS finished,
        usage_source <> 'cache' AND outcome <> 'failed' AND NOT is_own_key AS paid
      FROM billing_usagerecord
      WHERE experiment_arm_id = ANY(%(arms)s) AND id >= %(first)s AND id < %(last)s
        AND (%(organization)s::bigint IS NULL OR organization_id = %(organization)s)) u
JOIN (SELECT e.id, r.name AS route_name FROM gateway_experimentarm e JOIN gateway_route r ON r.id = e.route_id
      WHERE e.id = ANY(%(arms)s)) a ON a.id = u.experiment_arm_id
LEFT JOIN gateway_feedback f ON f.call_id = u.id AND f.organization_id = u.organization_id
GROUP BY u.experiment_arm_id
"""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One side. Nanos are exact; a quotient is rounded down to the nano, and empty where there is nothing to divide by."""

    id: int
    label: str
    route_name: str
    weight_bps: int
    share_bps: int | None  # of all calls of the experiment
    calls: int
    net_nanos: int
    cached: int
    own_key: int
    elsewhere: int  # answered by another model, after this side's failed
    cancelled: int
    errors: Rate
    feedback: Rate  # good ones of all
    cost: Sample  # nanos per call that was delivered at our prices
    paid_nanos: int  # their sum
    latency: Sample  # milliseconds
    latency_p50_ms: int | None
    latency_p95_ms: int | None
    first_token: Sample
    first_token_p50_ms: int | None
    first_token_p95_ms: int | None
    input_tokens: int  # of the finished ones
    output_tokens: int

    @property
    def mean_nanos(self) -> int | None:
        return self.paid_nanos // self.cost.n if self.cost.n else None

    @property
    def per_thousand_nanos(self) -> int | None:
        return self.paid_nanos * 1_000 // self.cost.n if self.cost.n else None

    @property
    def error_bps(self) -> int | None:
        return self.errors.hits * 10_000 // self.errors.n if self.errors.n else None

    @property
    def feedback_bps(self) -> int | None:
        return self.feedback.hits * 10_000 // self.feedback.n if self.feedback.n else None

    @property
    def disliked(self) -> int:
        return self.feedback.n - self.feedback.hits

    @property
    def input_mean(self) -> int | None:
        return self.input_tokens // self.latency.n if self.latency.n else None

    @property
    def output_mean(self) -> int | None:
        return self.output_tokens // self.latency.n if self.latency.n else None


@dataclass(frozen=True, slots=True)
class Results:
    arms: tuple[ArmResult, ...]
    read_at: dt.datetime
    took_seconds: float = 0.0

    @property
    def calls(self) -> int:
        return sum(arm.calls for arm in self.arms)

    @property
    def net_nanos(self) -> int:
        return sum(arm.net_nanos for arm in self.arms)

    @property
    def errors(self) -> int:
        return sum(arm.errors.hits for arm in self.arms)

    @property
    def rated(self) -> int:
        return sum(arm.feedback.n for arm in self.arms)


# What another release kept is not read: its fields may be others.
_SHAPE = zlib.crc32(repr([[field.name for field in fields(kind)] for kind in (Results, ArmResult, Rate, Sample)]).encode())


def results_of(experiment: Experiment) -> Results | None:
    """As of RUNNING_SECONDS (ENDED_SECONDS) ago, or longer where it takes long. None where STATEMENT_SECONDS are not enough.

    A platform's experiment (no organization) adds up everybody's calls: for staff only.
    """
    key = f"experiment:{_SHAPE}:{experiment.pk}:{experiment.status}"
    kept = cache.get(key)
    if isinstance(kept, Results):
        age = (clock.now() - kept.read_at).total_seconds()
        if age < _fresh_seconds(experiment, kept) or not cache.add(f"{key}:reading", True, STATEMENT_SECONDS):
            return kept  # somebody is reading it anew already
    began = time.monotonic()
    found = read_results(experiment)
    if found is None:
        return kept if isinstance(kept, Results) else None
    found = replace(found, took_seconds=time.monotonic() - began)
    cache.set(key, found, KEPT_SECONDS)
    cache.delete(f"{key}:reading")
    return found


def _fresh_seconds(experiment: Experiment, kept: Results) -> float:
    """At most a twentieth of the time is spent on adding up one experiment, however large it is."""
    is_final = experiment.ended_at is not None and kept.read_at - experiment.ended_at > 10 * SLACK
    return max(ENDED_SECONDS if is_final else RUNNING_SECONDS, 20 * kept.took_seconds)


def read_results(experiment: Experiment) -> Results | None:
    """The same, from the tables now."""
    arms = list(ExperimentArm.everywhere.filter(experiment=experiment).select_related("route").order_by("pk"))
    rows = _rows(experiment, [arm.pk for arm in arms]) if experiment.started_at else {}
    if rows is None:
        return None
    weights, calls = sum(arm.weight for arm in arms), sum(row["calls"] for row in rows.values())
    found = [_result(arm, rows.get(arm.pk, _NOTHING), weights=weights, calls=calls) for arm in arms]
    return Results(tuple(found), clock.now())


def _rows(experiment: Experiment, arm_ids: list[int]) -> dict[int, Mapping[str, Any]] | None:
    assert experiment.started_at is not None
    parameters = {
        "arms": arm_ids,
        "organization": experiment.organization_id,
        "first": _first_id_at(experiment.started_at - SLACK),
        "last": _first_id_at((experiment.ended_at or clock.now()) + SLACK),
    }
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{STATEMENT_SECONDS}s"])
            cursor.execute(_QUERY, parameters)
            names = [column.name for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            cursor.execute("RESET statement_timeout")  # a transaction around this one goes on
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != "57014":  # query_canceled
            raise
        return None
    return {row["arm_id"]: row for row in rows}


def _first_id_at(instant: dt.datetime) -> uuid.UUID:
    """No UUIDv7 made later is smaller."""
    return uuid.UUID(int=int(instant.timestamp() * 1000) << 80)


_NOTHING: Mapping[str, Any] = {
    **dict.fromkeys(
        ("calls", "net_nanos", "cached", "own_key", "errors", "cancelled", "elsewhere", "paid_calls", "paid_nanos", "finished",
         "streamed", "input_tokens", "output_tokens", "liked", "disliked"), 0,
    ),
    **dict.fromkeys(
        ("paid_variance", "latency_mean", "latency_variance", "first_token_mean", "first_token_variance"), 0.0
    ),
    "latency": None,
    "first_token": None,
}  # fmt: skip


def _result(arm: ExperimentArm, row: Mapping[str, Any], *, weights: int, calls: int) -> ArmResult:
    paid = row["paid_calls"]
    latency, first_token = row["latency"] or (None, None), row["first_token"] or (None, None)
    return ArmResult(
        id=arm.pk,
        label=arm.label,
        route_name=arm.route.name,
        weight_bps=arm.weight * 10_000 // weights,
        share_bps=row["calls"] * 10_000 // calls if calls else None,
        calls=row["calls"],
        net_nanos=row["net_nanos"],
        cached=row["cached"],
        own_key=row["own_key"],
        elsewhere=row["elsewhere"],
        cancelled=row["cancelled"],
        errors=Rate(row["errors"], row["calls"] - row["cached"]),
        feedback=Rate(row["liked"], row["liked"] + row["disliked"]),
        cost=Sample(paid, row["paid_nanos"] / paid if paid else 0.0, row["paid_variance"]),
        paid_nanos=row["paid_nanos"],
        latency=Sample(row["finished"], row["latency_mean"], row["latency_variance"]),
        latency_p50_ms=_whole(latency[0]),
        latency_p95_ms=_whole(latency[1]),
        first_token=Sample(row["streamed"], row["first_token_mean"], row["first_token_variance"]),
        first_token_p50_ms=_whole(first_token[0]),
        first_token_p95_ms=_whole(first_token[1]),
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
