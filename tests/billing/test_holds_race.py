"""Many at once on one wallet, over connections of their own, as gateways do."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
import pytest
from psycopg.types.json import Jsonb

from billing import holds
from billing.holds import HoldResult
from billing.models import LedgerEntry, UsageRecord, Wallet
from billing.money import BRL
from tests.make import make_call, make_session, make_volume_plan, make_wallet
from tokia import clock

pytestmark = pytest.mark.usefixtures("committed_db")
Answer = TypeVar("Answer")
HOLD = "SELECT result, available_nanos FROM billing_hold_batch(%s, %s, %s, %s)"
SETTLE = "SELECT id, net_nanos FROM billing_settle_batch(%s, %s, %s)"
TOP_UP = "SELECT billing_post_entry('top_up', %s, %s, %s, 'world:pix', 'paid', NULL, '', 'test', NULL)"


def connect() -> psycopg.Connection:
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


def at_once(number: int, act: Callable[[psycopg.Connection, int], Answer]) -> list[Answer]:
    """`act` in as many threads, each on a connection of its own, started by one signal."""
    barrier = threading.Barrier(number)

    def run(index: int) -> Answer:
        with connect() as connection:
            barrier.wait(30)
            return act(connection, index)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def test_fifty_callers_on_a_balance_for_ten_get_ten() -> None:
    wallet, session = make_wallet(brl="10"), make_session()
    is_over, lowest = threading.Event(), [0]

    def watch() -> None:
        with connect() as connection:
            while not is_over.is_set():
                [(available,)] = connection.execute(
                    "SELECT posted_nanos - held_nanos FROM billing_wallet WHERE id = %s", [wallet.pk]
                ).fetchall()
                lowest[0] = min(lowest[0], available)

    def hold(connection: psycopg.Connection, index: int) -> int:
        [(result, available)] = connection.execute(HOLD, [session, [clock.new_id()], [wallet.pk], [BRL]]).fetchall()
        assert available >= 0
        return int(result)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        results = at_once(50, hold)
    finally:
        is_over.set()
        watcher.join()
    assert (results.count(HoldResult.PLACED), results.count(HoldResult.INSUFFICIENT)) == (10, 40)
    assert lowest == [0]
    assert Wallet.everywhere.get(pk=wallet.pk).available_nanos == 0


def test_batches_of_many_wallets_in_any_order_never_lock_each_other_out() -> None:
    make_volume_plan(tiers=((BRL // 2, 1_000),))
    wallets, session = [make_wallet(brl="100") for _ in range(6)], make_session()

    def call(connection: psycopg.Connection, index: int) -> int:
        for turn in range(8):
            order = wallets[index % 6 :] + wallets[: index % 6]
            calls = [make_call(wallet=wallet, gross_nanos=10**7 + index + turn) for wallet in (order if turn % 2 else order[::-1])]
            ids, pks = [call.id for call in calls], [call.wallet_id for call in calls]
            connection.execute(HOLD, [session, ids, pks, [2 * 10**7] * 6])
            settled = connection.execute(SETTLE, [uuid.uuid4(), session, Jsonb([call.as_json() for call in calls])]).fetchall()
            assert len(settled) == 6
        return 1

    assert sum(at_once(12, call)) == 12
    assert UsageRecord.everywhere.count() == 12 * 8 * 6
    assert {wallet.held_nanos for wallet in Wallet.everywhere.all()} == {0}


def test_a_payment_told_fifty_times_at_once_is_credited_once() -> None:
    wallet = make_wallet(brl="0")
    entries = at_once(50, lambda connection, index: connection.execute(TOP_UP, ["pix:E1", wallet.pk, 5 * BRL]).fetchall()[0][0])
    assert len(set(entries)) == 1
    assert Wallet.everywhere.get(pk=wallet.pk).posted_nanos == 5 * BRL


def test_a_payment_claimed_for_many_wallets_goes_to_one() -> None:
    wallets = [make_wallet(brl="0") for _ in range(20)]

    def credit(connection: psycopg.Connection, index: int) -> bool:
        try:
            connection.execute(TOP_UP, ["pix:E1", wallets[index].pk, 5 * BRL])
        except psycopg.DatabaseError as error:
            assert error.sqlstate == "TK004", error
            return False
        return True

    assert sum(at_once(20, credit)) == 1
    assert LedgerEntry.objects.count() == 1


def test_the_same_batch_from_twenty_places_is_settled_once() -> None:
    wallet = make_wallet(brl="100")
    batch, calls = uuid.uuid4(), Jsonb([make_call(wallet=wallet, gross_nanos=BRL).as_json() for _ in range(5)])
    answers = at_once(20, lambda connection, index: connection.execute(SETTLE, [batch, None, calls]).fetchall())
    assert all(answer == answers[0] for answer in answers)
    assert Wallet.everywhere.get(pk=wallet.pk).posted_nanos == 95 * BRL


def test_the_same_calls_in_twenty_batches_are_settled_once() -> None:
    wallet = make_wallet(brl="100")
    calls = Jsonb([make_call(wallet=wallet, gross_nanos=BRL).as_json() for _ in range(5)])
    answers = at_once(20, lambda connection, index: connection.execute(SETTLE, [uuid.uuid4(), None, calls]).fetchall())
    assert all(answer == answers[0] for answer in answers)
    assert Wallet.everywhere.get(pk=wallet.pk).posted_nanos == 95 * BRL


def test_reaping_races_with_holding_and_settling() -> None:
    wallet = make_wallet(brl="1000")
    sessions = [holds.open_session(f"gateway-{index}", seconds=60) for index in range(8)]

    def work(connection: psycopg.Connection, index: int) -> int:
        if index >= 8:  # two reapers close sessions under the others' feet
            for session in sessions[index - 8 :: 2]:
                connection.execute("SELECT billing_close_session(%s)", [session])
                connection.execute("SELECT billing_expire_holds(0)")
            return 0
        for turn in range(30):
            call = make_call(wallet=wallet, gross_nanos=10**6)
            try:
                connection.execute(HOLD, [sessions[index], [call.id], [wallet.pk], [10**6]])
            except psycopg.DatabaseError as error:
                assert error.sqlstate == "TK001", error
                return turn
            connection.execute(SETTLE, [uuid.uuid4(), sessions[index], Jsonb([call.as_json()])])
        return 30

    settled = sum(at_once(10, work))
    assert UsageRecord.everywhere.count() == settled
    assert Wallet.everywhere.get(pk=wallet.pk).posted_nanos == 1000 * BRL - settled * 10**6
