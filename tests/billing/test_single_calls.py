"""One call alone and a batch of one are the same money: the two SQL paths, side by side, under any sequence of events."""

from __future__ import annotations

import uuid
from random import Random
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from billing import holds, ledger
from billing.models import Hold, MonthSpend, Posting, TagDay, UsageRecord, Wallet
from billing.money import BRL
from billing.pricing import Usage
from billing.reconcile import find_violations
from tests.billing.test_ledger_laws import example, quick
from tests.make import make_call, make_session, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
FIGURES = "net_nanos, paid_nanos, promo_nanos, overdraft_nanos, gross_before_nanos"
HOLD = {
    "batch": "SELECT result, available_nanos FROM billing_hold_batch(%s, ARRAY[%s::uuid], ARRAY[%s::bigint], ARRAY[%s::bigint])",
    "call": "SELECT result, available_nanos FROM billing_hold_call(%s, %s, %s, %s)",
}
SETTLE = {
    "batch": f"SELECT {FIGURES} FROM billing_settle_batch(%s, %s, jsonb_build_array(%s::jsonb))",
    "call": f"SELECT {FIGURES} FROM billing_settle_call(%s, %s, %s::jsonb)",
}
STEP = st.tuples(
    st.sampled_from(
        ["hold", "hold", "hold", "settle", "settle", "settle", "hold_again", "settle_again", "lie", "reuse", "late", "credit"]
    ),
    st.integers(1, 9 * BRL),
    st.integers(0, 5),
)  # fmt: skip


def run(query: str, *args: Any) -> list[Any]:
    """What the function answers, or the code it refuses with."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(query, args)
            return [list(row) for row in cursor.fetchall()]
    except DatabaseError as error:
        return [getattr(error.__cause__, "sqlstate", "?")]


class Path:
    """One wallet whose calls go by one of the two paths."""

    def __init__(self, path: str, *, promo: int) -> None:
        self.path = path
        self.wallet = make_wallet(brl="5")
        if promo:
            ledger.grant(self.wallet, amount_nanos=promo, reference=f"grant:{uuid.uuid4()}", actor="law")
        self.session = make_session()
        self.ids: list[uuid.UUID] = []
        self.settled: list[tuple[uuid.UUID, holds.EndedCall]] = []

    def step(self, name: str, amount: int, which: int) -> Any:
        return getattr(self, name)(amount, which)

    def place(self, id_: uuid.UUID, amount: int) -> Any:
        return run(HOLD[self.path], self.session, id_, self.wallet.pk, amount)

    def end(self, batch: uuid.UUID, call: holds.EndedCall) -> Any:
        return run(SETTLE[self.path], batch, self.session, Jsonb(call.as_json()))

    def hold(self, amount: int, which: int) -> Any:
        self.ids.append(clock.new_id())
        return self.place(self.ids[-1], amount // 3 or 1)

    def hold_again(self, amount: int, which: int) -> Any:
        return self.place(self.ids[which % len(self.ids)], amount) if self.ids else None

    def settle(self, amount: int, which: int) -> Any:
        id_ = self.ids[-1 - which % len(self.ids)] if self.ids and which < 5 else clock.new_id()  # the last: never held
        gross = 0 if which == 4 else amount
        call = make_call(
            wallet=self.wallet, gross_nanos=gross, id_=id_, outcome="failed" if gross == 0 else "completed", cost_nanos=amount // 7,
            usage=Usage(input_tokens=amount % 999, output_tokens=which, images=which), upstream_id="x" * (50 * which),
            attempts=({"ms": which},), routing={"why": ["law"]} if which % 2 else None, is_own_key=which == 3,
            tags=("lei", f"etiqueta-{which}") if which % 2 else None,
        )  # fmt: skip
        batch = uuid.uuid4()
        answer = self.end(batch, call)
        if len(answer[0]) == 5:
            self.settled.append((batch, call))
        return answer

    def settle_again(self, amount: int, which: int) -> Any:
        if not self.settled:
            return None
        batch, call = self.settled[which % len(self.settled)]
        return self.end(batch if which % 2 else uuid.uuid4(), call)

    def lie(self, amount: int, which: int) -> Any:
        """The same call with another amount."""
        if not self.settled:
            return None
        call = self.settled[which % len(self.settled)][1]
        return self.end(uuid.uuid4(), make_call(wallet=self.wallet, gross_nanos=call.gross_nanos + 1, id_=call.id))

    def reuse(self, amount: int, which: int) -> Any:
        """A batch's key for another call."""
        if not self.settled or not self.ids:
            return None
        id_ = self.ids[which % len(self.ids)]
        return self.end(self.settled[0][0], make_call(wallet=self.wallet, gross_nanos=amount, id_=id_))

    def late(self, amount: int, which: int) -> Any:
        """The process is gone: what it held expires."""
        expired = holds.close_session(self.session)
        self.session = make_session()
        return expired

    def credit(self, amount: int, which: int) -> Any:
        ledger.correct(self.wallet, amount_nanos=amount, reason="lei", actor="law")

    def state(self) -> Any:
        """All that is written of this wallet, but ids, times and names of batches."""
        wallet = Wallet.everywhere.filter(pk=self.wallet.pk).values(
            "posted_nanos", "held_nanos", "promo_nanos", "overdraft_nanos", "paid_used_nanos", "promo_used_nanos"
        )
        month = MonthSpend.everywhere.filter(wallet=self.wallet).values("gross_nanos", "net_nanos", "calls", "month")
        own = {"id", "organization_id", "wallet_id", "batch_id", "entry_id", "created_at"}
        columns = [field.attname for field in UsageRecord._meta.concrete_fields if field.attname not in own]
        records = UsageRecord.everywhere.filter(wallet_id=self.wallet.pk).values(*columns)
        tags = TagDay.everywhere.filter(organization_id=self.wallet.organization_id).order_by("tag")
        postings = Posting.objects.filter(wallet=self.wallet).order_by("pk")
        return [
            # Not in the sequence of their ids: two of the same millisecond come in any.
            list(wallet), list(month), sorted(records, key=repr), Hold.everywhere.filter(wallet=self.wallet).count(),
            [(p.source.split(":")[0], p.destination.split(":")[0], p.amount_nanos) for p in postings],
            Posting.objects.filter(wallet=self.wallet).values("entry_id").distinct().count(),
            list(tags.values("tag", "calls", "failed", "gross_nanos", "net_nanos", "input_tokens", "output_tokens")),
        ]  # fmt: skip


@quick
@given(st.lists(STEP, max_size=20), st.integers(0, 6 * BRL))
def test_one_alone_is_the_same_money_as_a_batch_of_one(steps: list[tuple[str, int, int]], promo: int) -> None:
    with example():
        batch, call = Path("batch", promo=promo), Path("call", promo=promo)
        for name, amount, which in steps:
            assert batch.step(name, amount, which) == call.step(name, amount, which), name
        assert batch.state() == call.state()
        assert find_violations() == []


def test_a_long_life_has_every_kind_of_step_in_it() -> None:
    """The same with a seed, so that each run has overdraft, promotional money, expiries and replays."""
    random = Random(4)
    names = ["hold", "hold", "hold", "settle", "settle", "settle", "settle", "hold_again", "settle_again", "lie", "reuse", "late"]
    with example():
        batch, call = Path("batch", promo=2 * BRL), Path("call", promo=2 * BRL)
        steps = [("hold", BRL, 0), ("late", 1, 0), ("settle", BRL, 0)]
        steps += [(random.choice(names), random.randint(1, 4 * BRL), random.randint(0, 5)) for _ in range(60)]
        for name, amount, which in steps:
            assert batch.step(name, amount, which) == call.step(name, amount, which), name
        assert batch.state() == call.state()
        assert find_violations() == []
        records = list(UsageRecord.everywhere.filter(wallet_id=call.wallet.pk))
        kinds = {
            "overdraft": sum(record.overdraft_nanos > 0 for record in records),
            "promo": sum(record.promo_nanos > 0 for record in records),
            "held": sum(record.hold_nanos is not None for record in records),
            "late": sum(record.is_late for record in records),
            "free": sum(record.gross_nanos == 0 for record in records),
        }
        assert all(kinds.values()), kinds
