"""Measures how Tokia and its providers are doing, for `/status/`: percentages and times, never a volume, nobody's name but theirs.

A provider's uptime is the part of its asked answers that came. A model's is by the time: each span counts as its best provider did,
since calls go to whoever is up. Reads the vitals' sums (`gateway.vitals_reports`): some hundreds of rows, once a minute.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from django.conf import settings
from django.db import connection

from billing.models import Charge
from gateway import incidents
from gateway.circuit import CLOSED
from gateway.circuit_reports import read_circuits
from gateway.models import Deployment, Provider, Route
from gateway.vitals_reports import DAY, HOUR, MINUTE, UptimeSpan, VitalsRow, read_uptimes, read_vitals
from tokia import clock

OK, SLOW, DOWN, UNKNOWN = "ok", "slow", "down", "unknown"
HOURS, DAYS = 24, 30
RECENT = dt.timedelta(minutes=3)  # what "now" is
NOT_ADDED_UP = dt.timedelta(minutes=10)
DOWN_BELOW, SLOW_BELOW = 0.5, 0.95  # of the asked answers
FAILURES_MIN = 3  # fewer are chance
SLOWER_TIMES, SLOWER_MS_MIN = 3, 1_500  # than the day's median
PROBE_SECONDS = 3.0
OVERHEAD_CALLS = 10_000
CHARGES = 5
_OVERHEAD = f"""
SELECT percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY recent.overhead_us) FROM (
  SELECT overhead_us FROM billing_usagerecord WHERE id >= %s::uuid AND status_code < 400
  ORDER BY id DESC LIMIT {OVERHEAD_CALLS}) recent
"""  # noqa: S608 - a number of ours
Spans = dict[dt.datetime, float]


def measure() -> dict[str, Any]:
    """The whole report. Raises django.db.DatabaseError."""
    now = clock.now()
    day_since = now.replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=HOURS - 1)
    month_since = now.replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=DAYS - 1)
    # What is not added up yet (every few minutes it is) is read by the minute.
    latest = now - NOT_ADDED_UP
    day = _by_name(read_vitals(since=latest, span=MINUTE)) | _by_name(read_vitals(since=day_since, span=HOUR))
    hours = _with_latest(
        read_uptimes(since=day_since, span=HOUR), read_uptimes(since=latest, span=MINUTE),
        begins_at=day_since + dt.timedelta(hours=HOURS - 1),
    )  # fmt: skip
    measured = Measured(
        now=_by_name(read_vitals(since=now - RECENT, span=MINUTE)),
        day=day,
        month=day | _by_name(read_vitals(since=month_since, span=DAY)),
        hours=hours,
        days=_with_latest(read_uptimes(since=month_since, span=DAY), hours, begins_at=month_since + dt.timedelta(days=DAYS - 1)),
        begins=([day_since + dt.timedelta(hours=at) for at in range(HOURS)],
                [month_since + dt.timedelta(days=at) for at in range(DAYS)]),
    )  # fmt: skip
    providers = [
        measured.tell(slug, name, key=(slug, ""), spans=_part_of_asked, is_mine=_of_provider(slug))
        for slug, name in Provider.objects.filter(is_active=True, deployments__is_active=True).distinct().order_by("name")
        .values_list("slug", "name")
    ]  # fmt: skip
    models = [
        measured.tell(name, display_name, key=("", name), spans=_best_of_providers, is_mine=_of_route(name))
        for name, display_name in _served_routes()
    ]
    return {
        "measured_at": now.isoformat(),
        "components": components(measured),
        "gateway": _overhead(now),
        "incidents": incidents.told(),
        "providers": [item for item in providers if item["is_measured"]],
        "models": [item for item in models if item["is_measured"]],
        "unmeasured": [item["name"] for item in (*providers, *models) if not item["is_measured"]],
    }


def _served_routes() -> list[tuple[str, str]]:
    served = Deployment.objects.filter(is_active=True, provider__is_active=True).values("route_id")
    found = Route.objects.filter(is_active=True, pk__in=served).order_by("maker", "name")
    return list(found.values_list("name", "display_name"))


# ── Providers and models ─────────────────────────────────────────────────────────────────────────────────────────────
class Measured:
    """What the vitals say, by provider and model."""

    def __init__(
        self,
        *,
        now: Mapping[tuple[str, str], VitalsRow],
        day: Mapping[tuple[str, str], VitalsRow],
        month: Mapping[tuple[str, str], VitalsRow],
        hours: Sequence[UptimeSpan],
        days: Sequence[UptimeSpan],
        begins: tuple[list[dt.datetime], list[dt.datetime]],
    ) -> None:
        self.now, self.day, self.month, self.hours, self.days, self.begins = now, day, month, hours, days, begins
        self.open = open_circuits()

    def tell(
        self,
        id_: str,
        name: str,
        *,
        key: tuple[str, str],
        spans: Callable[[list[UptimeSpan]], Spans],
        is_mine: Callable[[UptimeSpan], bool],
    ) -> dict[str, Any]:
        hours, days = spans([span for span in self.hours if is_mine(span)]), spans([span for span in self.days if is_mine(span)])
        told = {
            "id": id_,
            "name": name,
            "state": self.state(key),
            "day": self._tell_span(self.day.get(key), hours, is_model=bool(key[1])),
            "month": self._tell_span(self.month.get(key), days, is_model=bool(key[1])),
            "hours": [_bar(begins_at, hours) for begins_at in self.begins[0]],
            "days": [_bar(begins_at, days) for begins_at in self.begins[1]],
        }
        return {**told, "is_measured": bool(hours or days) or key in self.now}

    def _tell_span(self, row: VitalsRow | None, spans: Spans, *, is_model: bool) -> dict[str, Any]:
        uptime = (sum(spans.values()) / len(spans) if spans else None) if is_model else (row.uptime if row else None)
        return {
            "uptime_bps": _bps(uptime),
            "first_token_p50_ms": (row.first_token_p50_ms or None) if row else None,
            "first_token_p95_ms": (row.first_token_p95_ms or None) if row else None,
            "tokens_per_second": round(row.tokens_per_second, 1) or None if row else None,
        }

    def state(self, key: tuple[str, str]) -> str:
        """How it does now: by what was asked of it in the last minutes; where nothing was, by its circuits."""
        if key[1]:
            return self._state_of_model(key[1])
        return self._state_of(key, is_shut=key[0] in self.open)

    def _state_of_model(self, name: str) -> str:
        """As its best provider does, among those that were asked for it lately."""
        pairs = [pair for pair in self.now if pair[1] == name and pair[0]]
        states = [self._state_of(pair, is_shut=pair[0] in self.open) for pair in pairs] or [OK]
        return min(states, key=(OK, SLOW, DOWN).index)

    def _state_of(self, key: tuple[str, str], *, is_shut: bool) -> str:
        row, usual = self.now.get(key), self.day.get(key)
        if row is None or not row.succeeded + row.failed:
            return DOWN if is_shut else OK
        uptime = row.uptime or 0.0
        if uptime < DOWN_BELOW and (row.failed >= FAILURES_MIN or is_shut):
            return DOWN
        if uptime < SLOW_BELOW and row.failed:
            return SLOW
        median, usually = row.first_token_p50_ms, usual.first_token_p50_ms if usual else 0
        return SLOW if usually and median > max(SLOWER_TIMES * usually, SLOWER_MS_MIN) else OK


def open_circuits() -> frozenset[str]:
    """Providers none of whose circuits is closed, of those that were asked lately. None while Valkey is away."""
    circuits = read_circuits()
    slugs = dict(Deployment.objects.filter(pk__in={id_ for id_, _ in circuits}).values_list("pk", "provider__slug"))
    states: dict[str, set[str]] = defaultdict(set)
    for (deployment_id, _), circuit in circuits.items():
        if deployment_id in slugs:
            states[slugs[deployment_id]].add(circuit.state)
    return frozenset(slug for slug, found in states.items() if CLOSED not in found)


def _by_name(rows: Sequence[VitalsRow]) -> dict[tuple[str, str], VitalsRow]:
    return {(row.provider_slug, row.route_name): row for row in rows}


def _with_latest(spans: list[UptimeSpan], parts: list[UptimeSpan], *, begins_at: dt.datetime) -> list[UptimeSpan]:
    """The last span from its parts, for whom it was not added up yet."""
    known = {(span.provider_slug, span.route_name) for span in spans if span.begins_at == begins_at}
    late = [part for part in parts if part.begins_at >= begins_at and (part.provider_slug, part.route_name) not in known]
    return [*spans, *(dataclasses.replace(part, begins_at=begins_at) for part in late)]


def _of_provider(slug: str) -> Callable[[UptimeSpan], bool]:
    return lambda span: span.provider_slug == slug


def _of_route(name: str) -> Callable[[UptimeSpan], bool]:
    return lambda span: span.route_name == name


def _part_of_asked(spans: list[UptimeSpan]) -> Spans:
    counts: dict[dt.datetime, list[int]] = defaultdict(lambda: [0, 0])
    for span in spans:
        counts[span.begins_at][0] += span.succeeded
        counts[span.begins_at][1] += span.failed
    return {begins_at: good / (good + bad) for begins_at, (good, bad) in counts.items() if good + bad}


def _best_of_providers(spans: list[UptimeSpan]) -> Spans:
    best: Spans = {}
    for slug in {span.provider_slug for span in spans}:
        for begins_at, part in _part_of_asked([span for span in spans if span.provider_slug == slug]).items():
            best[begins_at] = max(best.get(begins_at, 0.0), part)
    return best


def _bar(begins_at: dt.datetime, spans: Spans) -> dict[str, Any]:
    return {"begins_at": begins_at.isoformat(), "uptime_bps": _bps(spans.get(begins_at))}


def _bps(part: float | None) -> int | None:
    """Hundredths of a percent, rounded down: what is not whole is not called 100 %."""
    return None if part is None else int(part * 10_000 + 1e-9)


# ── Tokia itself ─────────────────────────────────────────────────────────────────────────────────────────────────────
def components(measured: Measured | None) -> list[dict[str, str]]:
    """API, pages and PIX; without `measured` the database is away, so no call is admitted."""
    api, pages, pix = (DOWN, DOWN, UNKNOWN) if measured is None else (_api_state(measured), OK, _pix_state())
    return [
        {"id": "api", "name": "API", "state": api},
        {"id": "painel", "name": "Painel", "state": pages},
        {"id": "pix", "name": "PIX", "state": pix},
    ]


def _api_state(measured: Measured) -> str:
    """It answers, or it has answered somebody within the last minutes: from here its public address may not be reachable."""
    try:
        answer = httpx.get(f"{settings.GATEWAY_URL}/v1/models", timeout=PROBE_SECONDS)
        if answer.status_code < 500:
            return OK
    except httpx.HTTPError:
        pass
    return OK if any(row.succeeded for row in measured.now.values()) else DOWN


def _pix_state() -> str:
    """By the last charges of a day: whether the bank took them."""
    since = clock.now() - dt.timedelta(days=1)
    last = list(
        Charge.everywhere.filter(created_at__gte=since).order_by("-created_at").values_list("status", "bank_error")[:CHARGES]
    )
    if not last:
        return UNKNOWN
    bad = sum(1 for status, error in last if status == Charge.Status.FAILED or error)
    if not bad:
        return OK
    return DOWN if bad == len(last) and bad > 1 else SLOW


def _overhead(now: dt.datetime) -> dict[str, float | None]:
    """The gateway's own time on a call, ms; of the last calls of a day."""
    first_ms = int((now - dt.timedelta(hours=HOURS)).timestamp() * 1000)
    digits = f"{first_ms:012x}"
    with connection.cursor() as cursor:
        cursor.execute(_OVERHEAD, [f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"])
        row = cursor.fetchone()
    p50, p95 = row[0] if row and row[0] else (None, None)
    return {"overhead_p50_ms": None if p50 is None else p50 / 1000, "overhead_p95_ms": None if p95 is None else p95 / 1000}
