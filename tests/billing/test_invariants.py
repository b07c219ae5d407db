"""The invariants see what is wrong: a query that never finds anything proves nothing. Each break is rolled back."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from psycopg import sql

from billing import holds, ledger
from billing.models import Lot
from billing.money import BRL
from billing.reconcile import check_ledger
from billing.sql import read_sql
from tests.make import make_call, make_hold, make_session, make_usage, make_volume_plan, make_wallet
from tests.stores import stores

BREAKS = {
    "1 a posting": "UPDATE billing_posting SET wallet_id = wallet_id + 1 WHERE source = 'world:pix'",
    "1 an entry has": "DELETE FROM billing_posting WHERE destination = 'promo:expired'; INSERT INTO billing_ledgerentry"
    " (kind, reference, reason, actor, created_at) VALUES ('grant', 'nothing', '', '', now())",
    "2 posted = in": "UPDATE billing_posting SET amount_nanos = amount_nanos + 1 WHERE destination LIKE 'wallet:%'",
    "2 posted = lots": "UPDATE billing_wallet SET paid_used_nanos = paid_used_nanos + 1",
    "3 held": "DELETE FROM billing_hold WHERE purpose = 'call'",
    "3 a lot": "UPDATE billing_lot SET reserved_nanos = reserved_nanos + 1",
    "4 available": "ALTER TABLE billing_wallet DROP CONSTRAINT wallet_available_not_negative;"
    " UPDATE billing_wallet SET held_nanos = posted_nanos + 1",
    "5 a call": "INSERT INTO billing_hold (id, wallet_id, purpose, amount_nanos, created_at)"
    " SELECT id, wallet_id, 'call', 1, now() FROM billing_usagerecord",
    "5 a call is": "UPDATE billing_usagerecord SET is_late = NOT is_late",
    "6 usage": "UPDATE billing_posting SET amount_nanos = amount_nanos + 1 WHERE destination = 'revenue:usage'",
    "6 no quantity": "UPDATE billing_usagerecord SET images = -1",
    "7 month": "UPDATE billing_monthspend SET calls = calls + 1",
    "7 a call": "UPDATE billing_usagerecord SET month = month - 1",
    "8 month": "UPDATE billing_volumetier SET discount_bps = discount_bps + 100",
    "9 positions": "UPDATE billing_usagerecord SET gross_before_nanos = gross_before_nanos + 1",
    "10 a payment": "UPDATE billing_lot SET amount_nanos = amount_nanos + 1 WHERE kind = 'paid'",
    "10 a charge": "INSERT INTO billing_charge (id, wallet_id, txid, amount_nanos, received_nanos, status, brcode, created_at,"
    " expires_at, bank_error, payments) SELECT gen_random_uuid(), id, 'txid', 5, 5, 'paid', '', now(), now(), '',"
    """ '[{"endToEndId": "E404"}]' FROM billing_wallet""",
    "11 refunds": "INSERT INTO billing_refund (id, end_to_end_id, amount_nanos, status, reason, requested_by, bank_reason,"
    " created_at) VALUES (gen_random_uuid(), 'E404', 1, 'done', '', '', '', now())",
    "11 a refund under": "INSERT INTO billing_refund (id, lot_id, end_to_end_id, amount_nanos, status, reason, requested_by,"
    " bank_reason, created_at) SELECT gen_random_uuid(), id, 'E404', 1, 'held', '', '', '', now() FROM billing_lot",
    "13 append-only": "DROP TRIGGER append_only ON billing_posting",
    "14 no column": "ALTER TABLE billing_wallet ADD COLUMN guess_nanos double precision",
    "15 a fenced": "UPDATE billing_gatewaysession SET state = 'reaped'",
    "16 overdraft": "UPDATE billing_wallet SET overdraft_nanos = overdraft_nanos + 1",
    "16 usage owes": "UPDATE billing_usagerecord SET overdraft_nanos = net_nanos, paid_nanos = 0, promo_nanos = 0,"
    " hold_nanos = net_nanos",
}


@pytest.fixture
def busy_books(committed_db: None) -> None:
    make_volume_plan(tiers=((0, 1_000),))
    wallet, session = make_wallet(brl="20", promo_brl="2"), make_session()
    make_usage(wallet=wallet, gross_nanos=BRL)
    call = make_hold(wallet=wallet, brl="3", session=session)
    holds.settle([make_call(wallet=wallet, gross_nanos=2 * BRL, id_=call)])
    make_hold(wallet=wallet, brl="1", session=session)
    ledger.reserve_refund(uuid.uuid4(), lot=Lot.everywhere.get(wallet=wallet, kind=Lot.Kind.PAID), amount_nanos=BRL)


def test_they_see_every_break(busy_books: None) -> None:
    unseen = []
    with psycopg.connect(stores.postgres.superuser_url) as connection:
        connection.execute("SET session_replication_role = replica")  # as if the triggers had been switched off
        for rule, broken in BREAKS.items():
            with connection.transaction(force_rollback=True):
                for statement in broken.split(";"):
                    connection.execute(sql.SQL(statement))
                seen = [row[0] for row in connection.execute(read_sql("invariants")).fetchall()]
                if not any(line.startswith(rule) for line in seen):
                    unseen.append((rule, seen))
    assert unseen == []


def test_the_nightly_check_is_quiet_when_the_money_adds_up(busy_books: None, caplog: pytest.LogCaptureFixture) -> None:
    assert check_ledger() == []
    assert caplog.records == []
