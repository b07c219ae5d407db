"""Sound, pictures, characters and searches in the ledger: kept bucket by bucket, settled once, shown to whoever pays."""

from __future__ import annotations

import pytest
from django.db import connection

from billing import holds
from billing.models import UsageRecord
from billing.money import BRL
from billing.pricing import Usage
from billing.reconcile import find_violations
from tests.make import make_call, make_hold, make_wallet

pytestmark = pytest.mark.django_db
EVERYTHING = Usage(**{name: number for number, name in enumerate(Usage.__struct_fields__, start=1)})


@pytest.fixture(autouse=True)
def adds_up(db: None) -> object:
    yield
    assert find_violations() == []


def buckets_of(record: UsageRecord) -> Usage:
    return Usage(**{name: getattr(record, name) for name in Usage.__struct_fields__})


def test_it_keeps_every_bucket_apart() -> None:
    wallet = make_wallet(brl="10")
    call = make_call(wallet=wallet, gross_nanos=2 * BRL, id_=make_hold(wallet=wallet, brl="3"), usage=EVERYTHING)
    assert holds.settle([call]) == holds.settle([call])  # a replay gives the figures again
    record = UsageRecord.everywhere.get(pk=call.id)
    assert buckets_of(record) == EVERYTHING
    wallet.refresh_from_db()
    assert (wallet.posted_nanos, wallet.held_nanos, record.net_nanos) == (8 * BRL, 0, 2 * BRL)


def test_what_a_settlement_does_not_name_is_zero() -> None:
    wallet = make_wallet()
    call = make_call(wallet=wallet, gross_nanos=BRL, usage=Usage(input_tokens=7, images=2))
    row = call.as_json()
    assert set(row) & set(Usage.__struct_fields__) == {"input_tokens", "images"}
    holds.settle([call])
    assert buckets_of(UsageRecord.everywhere.get(pk=call.id)) == Usage(input_tokens=7, images=2)


def test_every_partition_has_the_columns_in_the_parents_order() -> None:
    """The default partition's rows move into a month's with SELECT *."""
    columns = "SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    with connection.cursor() as cursor:
        cursor.execute("SELECT relid::text FROM pg_partition_tree('billing_usagerecord')")
        tables = [name for (name,) in cursor.fetchall()]
        assert len(tables) > 2
        found = set()
        for table in tables:
            cursor.execute(columns, [table])
            found.add(tuple(cursor.fetchone()[0]))
    [names] = found
    assert {"audio_seconds", "searches"} <= set(names)
