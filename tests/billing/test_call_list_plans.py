"""The list of calls at its real size: what PostgreSQL would read for a page of it."""

from __future__ import annotations

import datetime as dt
import re

import psycopg
import pytest
from django.db import models

from accounts.models import Organization
from billing.call_lists import CallFilter, find_calls, first_id_at
from billing.models import UsageRecord
from billing.money import BRL, CENTAVO
from tests.stores import stores
from tokia import clock

CALLS = 20_000
DAYS = 7
# A tenth of a centavo to a centavo; each twentieth call five centavos more; one call R$ 5.
NET = (
    f"{CENTAVO // 10} + (n * 7919::bigint) % {9 * CENTAVO // 10} + CASE WHEN n % 20 = 0 THEN {5 * CENTAVO} ELSE 0 END"
    f" + CASE WHEN n = 77 THEN {5 * BRL} ELSE 0 END"
)


def make_calls(connection: psycopg.Connection) -> None:
    """Of organization 1, evenly over the last days. Only the columns that a list asks for mean something."""
    starts_ms, step_ms = clock.unix_ms() - DAYS * 86_400_000, DAYS * 86_400_000 // (CALLS + 1)
    values = {str(field.column): _blank(field) for field in UsageRecord._meta.fields}
    values["id"] = f"(lpad(to_hex({starts_ms} + n * {step_ms}::bigint), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid"
    values |= {"organization_id": "1", "outcome": "'completed'", "usage_source": "'upstream'"}
    values |= dict.fromkeys(("net_nanos", "gross_nanos", "paid_nanos"), NET)
    connection.execute("SET LOCAL session_replication_role = replica")  # the table refuses rows to everybody else
    rows = f"SELECT {', '.join(values.values())} FROM generate_series(1, {CALLS}) n"
    connection.execute(f"INSERT INTO billing_usagerecord ({', '.join(values)}) {rows}")
    connection.execute("ANALYZE billing_usagerecord")


def _blank(field: models.Field[object, object]) -> str:
    if field.null:
        return "NULL"
    blanks: dict[type, str] = {
        models.BooleanField: "false", models.CharField: "''", models.DateField: "now()", models.JSONField: "'[]'",
        models.UUIDField: "gen_random_uuid()",
    }  # fmt: skip
    return next((blank for kind, blank in blanks.items() if isinstance(field, kind)), "0")


@pytest.mark.usefixtures("django_db_setup")
def test_it_reads_no_more_than_it_shows_where_few_calls_cost_as_much() -> None:
    now = clock.now()

    def plan_of(cost_min_nanos: int) -> tuple[str, int]:
        """Its first page: the plan, and how many calls it threw away."""
        found = find_calls(Organization(pk=1), CallFilter(cost_min_nanos=cost_min_nanos)).order_by("-id")
        page = found.filter(id__gte=first_id_at(now - dt.timedelta(days=DAYS)), id__lt=first_id_at(now + dt.timedelta(days=1)))[:51]
        sql, params = page.query.sql_with_params()
        plan = "\n".join(str(line) for (line,) in connection.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}", params))
        return plan, sum(map(int, re.findall(r"Rows Removed by Filter: (\d+)", plan)))

    with psycopg.connect(stores.postgres.superuser_url, cursor_factory=psycopg.ClientCursor) as connection:
        make_calls(connection)
        for rare in (BRL, 9 * BRL):  # one call, none
            plan, thrown_away = plan_of(rare)
            # Nothing is thrown away, but in a month's first hours: its few calls are read through.
            assert "organization_id_net_nanos_id_idx" in plan and thrown_away < 1_200, plan
        for usual in (CENTAVO // 5, 5 * CENTAVO):  # most, each twentieth: in the list's own sequence, until the page is full
            plan, thrown_away = plan_of(usual)
            assert "Sort" not in plan and thrown_away < 1_200, plan
        connection.rollback()
