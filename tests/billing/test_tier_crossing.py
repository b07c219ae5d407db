"""Parallel calls cross tiers in their middle, and every one of them costs what arithmetic with fractions says, to the nano.

The oracle below knows nothing of the project's: it cuts the month at the thresholds and takes each part at its exact price.
"""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import psycopg
import pytest
from psycopg.types.json import Jsonb

from billing.holds import HoldResult
from billing.models import MonthSpend, UsageRecord, Wallet
from billing.money import BRL
from tests.make import make_call, make_session, make_volume_plan, make_wallet
from tokia import clock

pytestmark = pytest.mark.usefixtures("committed_db")
Tiers = list[tuple[int, int]]
HOLD = "SELECT result FROM billing_hold_batch(%s, %s, %s, %s)"
SETTLE_MANY = "SELECT id, net_nanos, gross_before_nanos FROM billing_settle_batch(%s, %s, %s)"
SETTLE_ONE = "SELECT id, net_nanos, gross_before_nanos FROM billing_settle_call(%s, %s, %s)"
SEED = int(os.environ.get("TIER_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
GATEWAYS = 2
CONNECTIONS = 4  # of each


def exact_price(position: int, tiers: Tiers) -> Fraction:
    """What a month of `position` nanos costs before any rounding: each part between two thresholds at its own price."""
    thresholds = [0, *(above for above, _ in tiers)]
    discounts = [Fraction(0), *(Fraction(bps, 10_000) for _, bps in tiers)]
    total = Fraction(0)
    for number, (start, discount) in enumerate(zip(thresholds, discounts, strict=True)):
        end = thresholds[number + 1] if number + 1 < len(thresholds) else None
        reached = position if end is None else min(position, end)
        if reached > start:
            total += (reached - start) * (1 - discount)
    return total


def month_price(position: int, tiers: Tiers) -> int:
    """Rounded down once, on the month: so no split, sequence or batch can change what it comes to."""
    price = exact_price(position, tiers)
    return price.numerator // price.denominator


def at_once(act: Callable[[psycopg.Connection, int], None]) -> None:
    barrier = threading.Barrier(GATEWAYS * CONNECTIONS)

    def run(index: int) -> None:
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            barrier.wait(30)
            act(connection, index)

    with ThreadPoolExecutor(GATEWAYS * CONNECTIONS) as pool:
        list(pool.map(run, range(GATEWAYS * CONNECTIONS)))


def random_tiers(rng: random.Random) -> Tiers:
    """Odd thresholds and odd percentages, close to each other: a call may cross several."""
    thresholds = sorted({rng.randrange(1, 40) * BRL + rng.randrange(BRL) for _ in range(6)})
    discounts = sorted(rng.sample(range(1, 9_999), len(thresholds)))
    return list(zip(thresholds, discounts, strict=True))


@pytest.mark.parametrize("turn", range(3))
def test_parallel_calls_that_cross_tiers_cost_what_fractions_say(turn: int) -> None:
    print(f"TIER_SEED={SEED} (turn {turn})")
    rng = random.Random(f"{SEED}:{turn}")
    tiers = random_tiers(rng)
    make_volume_plan(tiers=tiers)
    wallet = make_wallet(brl="1000")
    sessions = [make_session() for _ in range(GATEWAYS)]
    amounts = [[rng.choice((1, 7, rng.randrange(1, BRL), rng.randrange(1, 6 * BRL))) for _ in range(12)] for _ in range(8)]
    sizes = [[rng.choice((1, 1, 2, 3)) for _ in range(12)] for _ in range(8)]

    def call(connection: psycopg.Connection, index: int) -> None:
        session, waiting = sessions[index % GATEWAYS], list(amounts[index])
        for size in sizes[index]:
            taken, waiting[:size] = waiting[:size], []
            if not taken:
                break
            calls = [make_call(wallet=wallet, gross_nanos=amount) for amount in taken]
            holds = [session, [call.id for call in calls], [wallet.pk] * len(calls), [amount + 3 for amount in taken]]
            assert connection.execute(HOLD, holds).fetchall() == [(HoldResult.PLACED,)] * len(calls)
            batch = uuid.uuid4()
            if len(calls) == 1:
                once = [batch, session, Jsonb(calls[0].as_json())]
                told = connection.execute(SETTLE_ONE, once).fetchall()
                assert connection.execute(SETTLE_ONE, once).fetchall() == told  # told again: the same figures
            else:
                connection.execute(SETTLE_MANY, [batch, session, Jsonb([call.as_json() for call in calls])])

    at_once(call)
    records = list(UsageRecord.everywhere.filter(wallet=wallet).order_by("gross_before_nanos", "id"))
    settled = sorted(amount for column in amounts for amount in column)
    assert sorted(record.gross_nanos for record in records) == settled
    position, crossings = 0, 0
    for record in records:
        assert record.gross_before_nanos == position, "the calls tile the month"
        after = position + record.gross_nanos
        assert record.net_nanos == month_price(after, tiers) - month_price(position, tiers)
        exact = exact_price(after, tiers) - exact_price(position, tiers)
        assert abs(record.net_nanos - exact) < 1, "never a nano away from the exact price of this very stretch"
        crossings += sum(position < above < after for above, _ in tiers)
        position = after
    spend = MonthSpend.everywhere.get(wallet=wallet)
    assert (spend.gross_nanos, spend.net_nanos, spend.calls) == (sum(settled), month_price(sum(settled), tiers), len(settled))
    assert crossings >= 1, "this seed crossed nothing in the middle of a call"
    wallet = Wallet.everywhere.get(pk=wallet.pk)
    assert (wallet.posted_nanos, wallet.held_nanos) == (1_000 * BRL - spend.net_nanos, 0)


def test_the_call_on_the_threshold_is_split_exactly_there() -> None:
    """Sixteen callers at once around one threshold: exactly one of them has both prices."""
    threshold, bps = 8 * BRL - 3, 3_333
    make_volume_plan(tiers=[(threshold, bps)])
    wallet, amount = make_wallet(brl="100"), BRL + 1

    def call(connection: psycopg.Connection, index: int) -> None:
        for _ in range(2):
            ended = make_call(wallet=wallet, gross_nanos=amount)
            connection.execute(SETTLE_ONE, [uuid.uuid4(), None, Jsonb(ended.as_json())])

    at_once(call)
    records = list(UsageRecord.everywhere.filter(wallet=wallet).order_by("gross_before_nanos"))
    split = [record for record in records if record.gross_before_nanos < threshold < record.gross_before_nanos + amount]
    assert len(records) == 16 and len(split) == 1
    inside = threshold - split[0].gross_before_nanos
    exact = inside + (amount - inside) * (1 - Fraction(bps, 10_000))
    assert split[0].net_nanos == exact.numerator // exact.denominator
    assert all(record.net_nanos == amount for record in records if record.gross_before_nanos + amount <= threshold)
    assert sum(record.net_nanos for record in records) == month_price(16 * amount, [(threshold, bps)])
    assert clock.today_in_brazil().replace(day=1) == MonthSpend.everywhere.get(wallet=wallet).month
