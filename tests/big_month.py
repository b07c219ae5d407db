"""A month of many calls, written in bulk with money that adds up: positions tile, entries and postings match, days are summed.

`fill_month(organization, wallet, …)` writes as the superuser what a month of settlements would have left.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass

import psycopg
from django.db import connection

from accounts.models import ApiKey, Organization, Project
from billing.models import Wallet
from billing.money import BRL
from tests.make import make_top_up, make_wallet
from tests.stores import stores

CALLS_PER_BATCH = 8
ROUTES = 20
# Calls of one wallet: `n` numbers them in time; md5 makes what looks random and is the same at each run.
_CALLS = """
CREATE TEMP TABLE calls ON COMMIT DROP AS
WITH numbered AS (
  SELECT n, ('x' || substr(md5(n || ':a'), 1, 7))::bit(28)::int AS dice,
         ('x' || substr(md5(n || ':b'), 1, 7))::bit(28)::int AS other,
         date_trunc('milliseconds', %(from)s::timestamptz + (%(until)s::timestamptz - %(from)s::timestamptz) * n / %(rows)s) AS at
  FROM generate_series(1, %(rows)s) n
), made AS (
  SELECT n, dice, other, at,
         (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n || ':c'), 1, 3) || '8'
          || substr(md5(%(wallet)s || ':' || n), 1, 15))::uuid AS id,
         CASE WHEN dice %% 33 = 0 THEN 0 ELSE 1000 + other %% 4000000 END::bigint AS gross,
         (n - 1) / %(batch)s AS batch, date_trunc('month', timezone('America/Sao_Paulo', at))::date AS month
  FROM numbered
), placed AS (
  SELECT m.*, coalesce(sum(gross) OVER (PARTITION BY month ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
                       0)::bigint AS before,
         dice %% %(keys)s AS key, least(other %% %(routes)s, dice %% %(routes)s) AS route,
         sum(gross) OVER (PARTITION BY batch) AS batch_gross
  FROM made m
)
SELECT p.*, md5(%(wallet)s || ':batch:' || batch)::uuid AS batch_id,
       CASE WHEN batch_gross > 0 THEN %(entry)s + batch END AS batch_entry
FROM placed p;
"""
_BOOKS = """
INSERT INTO billing_settledbatch (id, created_at) SELECT batch_id, max(at) FROM calls GROUP BY batch_id;
INSERT INTO billing_ledgerentry (id, kind, reference, reason, actor, created_at)
SELECT batch_entry, 'usage', 'usage:' || batch_id || ':' || %(wallet)s, '', 'gateway', max(at) + interval '1 second'
FROM calls WHERE batch_entry IS NOT NULL GROUP BY batch_entry, batch_id;
INSERT INTO billing_posting (entry_id, wallet_id, source, destination, amount_nanos)
SELECT batch_entry, %(wallet)s, 'wallet:' || %(wallet)s, 'revenue:usage', sum(gross)
FROM calls WHERE batch_entry IS NOT NULL GROUP BY batch_entry;
INSERT INTO billing_usagerecord (
  id, organization_id, wallet_id, api_key_id, project_id, tags, margin_bps, month, surface, is_stream, route_name, provider_name,
  upstream_model, upstream_id, price_version_id, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,
  reasoning_tokens, requests, audio_input_tokens, audio_output_tokens, image_input_tokens, image_output_tokens, images,
  audio_seconds, characters, searches, hold_nanos, gross_nanos, net_nanos, paid_nanos, promo_nanos, overdraft_nanos, cost_nanos,
  gross_before_nanos, is_late, outcome, status_code, error_code, finish_reason, usage_source, attempts, is_own_key,
  first_token_ms, latency_ms, overhead_us, batch_id, entry_id, created_at)
SELECT c.id, %(organization)s, %(wallet)s, %(key)s + key, CASE WHEN key %% 3 > 0 THEN %(project)s + key %% 2 END,
       CASE WHEN other %% 3 = 0 THEN ARRAY['etiqueta-' || other %% 10]::varchar[] END, 0, month, 'chat', dice %% 2 = 0,
       'maker/model-' || lpad(route::text, 2, '0'), 'provider-' || route %% 4, 'upstream', '', 1,
       dice %% 3000, other %% 500, 0, other %% 900, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, gross + 1, gross, gross, gross, 0, 0, gross / 2,
       before, false, CASE WHEN gross = 0 THEN 'failed' WHEN dice %% 200 = 1 THEN 'cancelled' ELSE 'completed' END,
       CASE WHEN gross = 0 THEN 502 ELSE 200 END, '', 'stop', CASE WHEN gross = 0 THEN 'none' ELSE 'upstream' END,
       '[{"provider": "provider", "status": 200, "ms": 400}]', false, 200 + dice %% 900, 500 + other %% 4000, 300 + dice %% 700,
       batch_id, CASE WHEN gross > 0 THEN batch_entry END, at
FROM calls c;
INSERT INTO billing_monthspend (wallet_id, month, volume_plan_id, gross_nanos, net_nanos, calls)
SELECT %(wallet)s, month, NULL, sum(gross), sum(gross), count(*) FROM calls GROUP BY month;
UPDATE billing_wallet w SET posted_nanos = posted_nanos - s.spent, paid_used_nanos = paid_used_nanos + s.spent
FROM (SELECT sum(gross) AS spent FROM calls) s WHERE w.id = %(wallet)s;
SELECT setval('billing_ledgerentry_id_seq', greatest((SELECT max(id) FROM billing_ledgerentry), 1));
"""


@dataclass(frozen=True)
class BigMonth:
    organization: Organization
    wallet: Wallet
    rows: int
    first_key: int


def fill_month(organization: Organization, *, rows: int, days: int = 30, keys: int = 200) -> BigMonth:
    """`rows` calls of the last `days` days until a minute ago, by `keys` keys in two projects; the wallet has what they cost."""
    wallet = make_wallet(organization=organization, brl="0")
    for _ in range(2):
        make_top_up(wallet=wallet, brl=f"{rows // 200 + 10}.00")
    made = ApiKey.everywhere.bulk_create(
        ApiKey(organization=organization, name=f"chave {number:03d}", key_hash=secrets.token_bytes(32), prefix="sk-tokia-x",
               suffix="abcd")
        for number in range(keys)
    )  # fmt: skip
    projects = [Project.everywhere.create(organization=organization, name=name) for name in ("site", "app")]
    with psycopg.connect(stores.postgres.superuser_url) as other:
        [(entry, now)] = other.execute("SELECT max(id) + 1, clock_timestamp() FROM billing_ledgerentry").fetchall()
        arguments = {
            "rows": rows, "wallet": wallet.pk, "organization": organization.pk, "batch": CALLS_PER_BATCH, "entry": entry,
            "keys": keys, "key": made[0].pk, "project": projects[0].pk, "routes": ROUTES,
            "from": now - _days(days), "until": now - _days(0.001),
        }  # fmt: skip
        for statement in (_CALLS, *_BOOKS.split(";\n")):
            if statement.strip():
                used = {name: value for name, value in arguments.items() if f"%({name})s" in statement}
                other.execute(statement, used or None)
    wallet.refresh_from_db()
    assert wallet.posted_nanos > BRL // 100
    return BigMonth(organization, wallet, rows, made[0].pk)


def sum_days() -> None:
    """The rollups of what was filled, and statistics as autovacuum would have left them."""
    with psycopg.connect(stores.postgres.superuser_url, autocommit=True) as other:
        other.execute("SELECT billing_rebuild_usage_days(m.month) FROM (SELECT DISTINCT month FROM billing_monthspend) m")
        other.execute("VACUUM ANALYZE")
    connection.close()


def _days(number: float) -> dt.timedelta:
    return dt.timedelta(days=number)
