"""What was measured, in PostgreSQL: added by many processes, rolled up by the clock, read by the pages."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from gateway.histogram import BOUNDS_MS, BUCKETS, percentiles_of, place_of
from gateway.models import DeploymentVitals
from gateway.vitals_reports import DAY, HOUR, MINUTE, read_uptimes, read_vitals
from gateway.vitals_store import Tally, add_tallies, purge_vitals, read_recent, roll_vitals
from tokia import clock


def tally(*, minute: int, deployment: int = 1, slug: str = "acme", route: str = "acme/one", **counts: int) -> Tally:
    made = Tally(minute * 60, deployment, slug, route)
    first_ms, total_ms = counts.pop("first_ms", 0), counts.pop("total_ms", 0)
    for name, count in counts.items():
        setattr(made, name, count)
    if first_ms:
        made.first_token[place_of(first_ms)] = made.succeeded
    if total_ms:
        made.total[place_of(total_ms)] = made.succeeded
    return made


def add(*tallies: Tally) -> None:
    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(settings.DATABASE_URL, autocommit=True) as database:
            await add_tallies(database, tallies)

    asyncio.run(run())


def minutes_ago(count: int) -> int:
    return int(time.time() // 60) - count


def test_it_adds_what_several_processes_counted(committed_db: None) -> None:
    minute = minutes_ago(1)
    add(tally(minute=minute, succeeded=3, failed=1, output_tokens=90, output_ms=900, first_ms=200, total_ms=500))
    short = tally(minute=minute, succeeded=2, limited=4, output_tokens=10, output_ms=100)
    short.first_token, short.total = [7], []  # of a release with other buckets
    add(short, tally(minute=minute, deployment=2, succeeded=1))
    row = DeploymentVitals.objects.get(deployment_id=1)
    assert (row.succeeded, row.failed, row.limited, row.output_tokens, row.output_ms) == (5, 1, 4, 100, 1000)
    assert (row.first_token[0], row.first_token[place_of(200)], sum(row.first_token)) == (7, 3, 10)
    assert len(row.total) == BUCKETS
    assert sum(row.total) == 3


def test_it_reads_the_last_five_minutes_of_all(committed_db: None) -> None:
    add(
        tally(minute=minutes_ago(0), succeeded=4, total_ms=100),
        tally(minute=minutes_ago(3), succeeded=6, failed=2, total_ms=1000),
        tally(minute=minutes_ago(9), succeeded=100, total_ms=9),
    )

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(settings.DATABASE_URL) as database:
            [recent] = await read_recent(database)
            assert (recent.succeeded, recent.failed, sum(recent.total)) == (10, 2, 10)

    asyncio.run(run())


def test_it_rolls_minutes_into_hours_and_days_and_may_do_it_twice(committed_db: None) -> None:
    hour = minutes_ago(0) // 60 * 60
    for minute in (hour - 61, hour - 60, hour - 1, hour):
        add(tally(minute=minute, succeeded=2, failed=1, first_ms=100, total_ms=300, output_tokens=5, output_ms=50))
    roll_vitals()
    first = list(DeploymentVitals.objects.order_by("span_seconds", "begins_at").values())
    roll_vitals()
    assert list(DeploymentVitals.objects.order_by("span_seconds", "begins_at").values()) == first
    hours = DeploymentVitals.objects.filter(span_seconds=HOUR).order_by("begins_at")
    assert [(row.begins_at.timestamp() // 60 - hour, row.succeeded) for row in hours] == [(-120, 2), (-60, 4), (0, 2)]
    for span in (MINUTE, HOUR, DAY):
        rows = DeploymentVitals.objects.filter(span_seconds=span)
        assert (sum(row.succeeded for row in rows), sum(row.failed for row in rows)) == (8, 4)
        assert sum(row.first_token[place_of(100)] for row in rows) == 8
        assert sum(row.output_tokens for row in rows) == 20
    add(tally(minute=hour - 60, succeeded=1))  # a process that had lost the database
    roll_vitals()
    assert [row.succeeded for row in hours.all()] == [2, 5, 2]


def test_it_keeps_sums_whose_parts_are_gone(committed_db: None) -> None:
    now = clock.now()
    old = (now - dt.timedelta(days=5)).replace(minute=0, second=0, microsecond=0)
    for age, span in ((3, MINUTE), (1, MINUTE), (5, HOUR), (41, HOUR), (300, DAY), (401, DAY)):
        DeploymentVitals.objects.create(
            begins_at=old if (age, span) == (5, HOUR) else now - dt.timedelta(days=age), span_seconds=span, deployment_id=7,
            provider_slug="acme", route_name="acme/one", succeeded=age, first_token=[age], total=[age],
        )  # fmt: skip
    assert purge_vitals() == 3
    roll_vitals()
    kept = DeploymentVitals.objects.filter(span_seconds=HOUR, succeeded=5)
    assert kept.count() == 1
    assert DeploymentVitals.objects.filter(span_seconds=HOUR, succeeded=1).count() == 1
    assert DeploymentVitals.objects.filter(span_seconds=DAY).order_by("begins_at").first().succeeded == 300  # type: ignore[union-attr]


def test_it_reports_by_provider_and_by_model(committed_db: None) -> None:
    minute = minutes_ago(2)
    add(
        tally(minute=minute, deployment=1, slug="acme", route="m/one", succeeded=90, failed=10, first_ms=120, total_ms=800),
        tally(minute=minute, deployment=2, slug="beta", route="m/one", succeeded=100, first_ms=1000, total_ms=2000),
        tally(minute=minute, deployment=3, slug="acme", route="m/two", succeeded=10, output_tokens=100, output_ms=2000),
    )
    since = clock.now() - dt.timedelta(hours=1)
    rows = {(row.provider_slug, row.route_name): row for row in read_vitals(since=since, span=MINUTE)}
    both = {("acme", "m/one"), ("beta", "m/one"), ("acme", "m/two")}
    assert set(rows) == both | {(slug, "") for slug, _ in both} | {("", name) for _, name in both}
    assert rows["acme", ""].uptime == pytest.approx(100 / 110)
    assert rows["", "m/one"].uptime == pytest.approx(190 / 200)
    assert rows["", "m/one"].first_token_p95_ms == pytest.approx(1000, rel=0.125)
    assert rows["", "m/one"].first_token_p50_ms == pytest.approx(1000, rel=0.125)
    assert rows["acme", "m/one"].total_p50_ms == pytest.approx(800, rel=0.125)
    assert rows["acme", "m/two"].tokens_per_second == 50
    assert rows["acme", "m/two"].first_token_p50_ms == 0
    [span, *_] = read_uptimes(since=since, span=MINUTE)
    assert (span.begins_at.timestamp(), span.provider_slug, span.uptime) == (minute * 60, "acme", 0.9)
    assert read_vitals(since=since) == []  # not rolled yet


def test_a_report_of_thirty_days_takes_milliseconds(committed_db: None) -> None:
    with connection.cursor() as cursor:
        for span, count in ((DAY, 40), (HOUR, 960)):
            cursor.execute(
                """INSERT INTO gateway_deploymentvitals (span_seconds, begins_at, deployment_id, provider_slug, route_name,
                          succeeded, failed, limited, output_tokens, output_ms, first_token, total)
                   SELECT %(span)s, date_bin(make_interval(secs => %(span)s), now(), 'epoch')
                          - n * make_interval(secs => %(span)s), d, 'p' || d %% 8, 'm' || d, 100, 1, 0, 1000, 1000,
                          array_fill(1, ARRAY[51]), array_fill(2, ARRAY[51])
                     FROM generate_series(0, %(count)s - 1) n, generate_series(1, 50) d""",
                {"span": span, "count": count},
            )
        cursor.execute("ANALYZE gateway_deploymentvitals")
    for days in (1, 30):
        read_vitals(since=clock.now() - dt.timedelta(days=days))
        started = time.perf_counter()
        rows = read_vitals(since=clock.now() - dt.timedelta(days=days))
        elapsed_ms = (time.perf_counter() - started) * 1000
        assert len(rows) == 108
        print(f"{days} d: {elapsed_ms:.1f} ms")
        assert elapsed_ms < 500  # a few tens where the machine is free


@pytest.mark.parametrize("seed", range(20))
def test_its_percentiles_are_within_an_eighth_of_the_truth(seed: int) -> None:
    rng = random.Random(seed)
    times = sorted(min(600_000, max(10, round(rng.lognormvariate(rng.uniform(3, 9), rng.uniform(0, 1.5))))) for _ in range(500))
    counts = [0] * BUCKETS
    for ms in times:
        counts[place_of(ms)] += 1
    for percent, read in zip((50, 95), percentiles_of(counts, (50, 95)), strict=True):
        truth = times[-(-len(times) * percent // 100) - 1]
        assert read == pytest.approx(truth, rel=0.125), (percent, truth)


def test_every_time_is_within_an_eighth_of_what_stands_for_it() -> None:
    for ms in (*range(10, 3_000), *range(3_000, 600_000, 97)):
        counts = [0] * BUCKETS
        counts[place_of(ms)] = 1
        assert percentiles_of(counts, (50,))[0] == pytest.approx(ms, rel=0.125)
    assert BOUNDS_MS[-1] >= 500_000
    assert percentiles_of([], (50, 95)) == [0, 0]
