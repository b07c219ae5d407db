"""Laws of the books under any sequence of events: they add up after each one, and replay equals once."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import holds, ledger
from billing.errors import InsufficientBalance
from billing.holds import EndedCall, HoldResult, Settled
from billing.models import LedgerEntry, Lot, MonthSpend, Wallet
from billing.money import BRL
from billing.pricing import Tier, net_of
from billing.reconcile import find_violations
from tests.make import make_call, make_session, make_volume_plan, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
TIERS = [Tier(3 * BRL, 500), Tier(10 * BRL, 1_137), Tier(25 * BRL, 2_000)]
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
AMOUNT = st.integers(1, 8 * BRL)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["top_up", "grant", "correct", "hold", "hold", "hold", "settle", "settle", "replay", "close", "refund", "settle_refund",
             "release_refund", "expire_promo", "reverse"]
        ),
        AMOUNT,
        st.randoms(use_true_random=False),
    ),
    max_size=25,
)  # fmt: skip


class Undo(Exception):
    """Ends an example: hypothesis runs many in one test's transaction."""


@contextmanager
def example() -> Iterator[None]:
    with pytest.raises(Undo), transaction.atomic():
        make_volume_plan(tiers=[(tier.above_nanos, tier.discount_bps) for tier in TIERS])
        yield
        raise Undo


class Books:
    """Two wallets, a gateway process, and what a test remembers of them."""

    def __init__(self) -> None:
        self.wallets = [make_wallet(brl="5"), make_wallet(brl="0")]
        self.session = make_session()
        self.held: list[tuple[uuid.UUID, Wallet, int]] = []
        self.batches: list[tuple[uuid.UUID, list[EndedCall], list[Settled]]] = []
        self.refunds: list[uuid.UUID] = []
        self.entries: list[LedgerEntry] = []

    def step(self, name: str, amount: int, random: Random) -> None:
        try:
            with transaction.atomic():
                getattr(self, name)(random.choice(self.wallets), amount, random)
        except InsufficientBalance:
            pass  # refused, and nothing has moved

    def top_up(self, wallet: Wallet, amount: int, random: Random) -> None:
        self.entries.append(
            ledger.post_entry(
                kind=LedgerEntry.Kind.TOP_UP,
                reference=f"pix:{uuid.uuid4().hex}",
                wallet=wallet,
                amount_nanos=amount,
                book="world:pix",
            )
        )

    def grant(self, wallet: Wallet, amount: int, random: Random) -> None:
        expires_at = random.choice([None, clock.now() - dt.timedelta(days=1), clock.now() + dt.timedelta(days=9)])
        self.entries.append(
            ledger.grant(wallet, amount_nanos=amount, reference=f"grant:{uuid.uuid4()}", actor="law", expires_at=expires_at)
        )

    def correct(self, wallet: Wallet, amount: int, random: Random) -> None:
        sign, kind = random.choice([1, -1, -1]), random.choice([None, Lot.Kind.PAID, Lot.Kind.PROMO])
        self.entries.append(ledger.correct(wallet, amount_nanos=sign * amount, reason="lei", actor="law", lot_kind=kind))

    def reverse(self, wallet: Wallet, amount: int, random: Random) -> None:
        if self.entries:
            entry = random.choice(self.entries)
            assert ledger.reverse_entry(entry, reason="lei", actor="law") == ledger.reverse_entry(entry, reason="lei", actor="law")

    def hold(self, wallet: Wallet, amount: int, random: Random) -> None:
        orders = [(clock.new_id(), random.choice(self.wallets), amount // n) for n in range(1, random.randint(2, 4))]
        rows = [(id_, owner.pk, nanos or 1) for id_, owner, nanos in orders]
        answers = holds.place_holds(self.session, holds=rows)
        assert all(answer.available_nanos >= 0 for answer in answers)
        assert all(again.result in (0, 2) for again in holds.place_holds(self.session, holds=rows))
        self.held += [(*order[:2], row[2]) for order, row, answer in zip(orders, rows, answers, strict=True) if answer.result == 1]

    def settle(self, wallet: Wallet, amount: int, random: Random) -> None:
        random.shuffle(self.held)
        number = random.randint(0, len(self.held))
        ending, self.held = self.held[:number], self.held[number:]
        if random.random() < 0.3:  # never held: its hold had an unknown outcome
            ending.append((clock.new_id(), wallet, amount))
        calls = [self.ended(*item, random) for item in ending]
        if calls:
            batch = uuid.uuid4()
            self.batches.append((batch, calls, holds.settle(calls, batch=batch, session=self.session)))

    def ended(self, id_: uuid.UUID, wallet: Wallet, held: int, random: Random) -> EndedCall:
        gross = random.choice([0, held, random.randint(0, held), 3 * held])  # an upstream may overshoot
        return make_call(wallet=wallet, gross_nanos=gross, id_=id_, outcome="failed" if gross == 0 else "completed")

    def replay(self, wallet: Wallet, amount: int, random: Random) -> None:
        if self.batches:
            batch, calls, answer = random.choice(self.batches)
            assert holds.settle(calls, batch=random.choice([batch, uuid.uuid4()])) == answer

    def close(self, wallet: Wallet, amount: int, random: Random) -> None:
        holds.close_session(self.session)
        self.session = make_session()

    def refund(self, wallet: Wallet, amount: int, random: Random) -> None:
        lots = list(Lot.everywhere.filter(wallet=wallet, kind=Lot.Kind.PAID))
        if lots:
            refund = uuid.uuid4()
            lot = random.choice(lots)
            ledger.reserve_refund(refund, lot=lot, amount_nanos=random.choice([amount, max(1, ledger.lot_remaining(lot))]))
            self.refunds.append(refund)

    def settle_refund(self, wallet: Wallet, amount: int, random: Random) -> None:
        if self.refunds:
            refund = self.refunds.pop()
            first = ledger.settle_refund(refund, actor="law", reason="lei")
            assert first == ledger.settle_refund(refund, actor="law", reason="lei")

    def release_refund(self, wallet: Wallet, amount: int, random: Random) -> None:
        if self.refunds:
            refund = self.refunds.pop()
            assert [ledger.release_refund(refund), ledger.release_refund(refund)] == [True, False]

    def expire_promo(self, wallet: Wallet, amount: int, random: Random) -> None:
        ledger.expire_promo()


@quick
@given(STEPS)
def test_the_books_add_up_after_every_event(steps: list[tuple[str, int, Random]]) -> None:
    with example():
        books = Books()
        for name, amount, random in steps:
            books.step(name, amount, random)
            assert find_violations() == []
        for wallet in books.wallets:
            for lot in Lot.everywhere.filter(wallet=wallet):
                assert 0 <= ledger.lot_remaining(lot) <= lot.amount_nanos


@quick
@given(st.lists(st.integers(0, 6 * BRL), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_a_month_comes_to_f_of_its_gross_in_any_order_and_batching(amounts: list[int], random: Random) -> None:
    with example():
        totals = []
        for _ in range(2):
            wallet = make_wallet(brl="500")
            left = random.sample(amounts, len(amounts))
            while left:
                size = random.randint(1, len(left))
                part, left = left[:size], left[size:]
                holds.settle([make_call(wallet=wallet, gross_nanos=amount) for amount in part])
            month = MonthSpend.everywhere.get(wallet=wallet)
            wallet.refresh_from_db()
            assert 500 * BRL - wallet.posted_nanos == month.net_nanos
            totals.append(month.net_nanos)
        assert totals == [net_of(sum(amounts), TIERS)] * 2


@quick
@given(
    st.lists(st.tuples(AMOUNT, st.integers(0, 16 * BRL)), min_size=1, max_size=8), st.integers(0, 20 * BRL), st.integers(0, 9 * BRL)
)
def test_a_batch_settles_as_if_one_by_one(calls: list[tuple[int, int]], paid: int, promo: int) -> None:
    """The same figures for each call, overdraft included."""
    with example():
        answers = []
        for is_batched in (True, False):
            wallet, session = make_wallet(brl="0"), make_session()
            if paid:
                ledger.correct(wallet, amount_nanos=paid, reason="lei", actor="law")
            if promo:
                ledger.grant(wallet, amount_nanos=promo, reference=f"grant:{uuid.uuid4()}", actor="law")
            ended = [make_call(wallet=wallet, gross_nanos=gross) for _, gross in calls]
            for call, (hold, _) in zip(ended, calls, strict=True):
                assert holds.place_holds(session, holds=[(call.id, wallet.pk, hold)])[0].result in HoldResult
            settled = holds.settle(ended) if is_batched else [holds.settle([call])[0] for call in ended]
            answers.append([(line.net_nanos, line.paid_nanos, line.promo_nanos, line.overdraft_nanos) for line in settled])
        assert answers[0] == answers[1]
        assert find_violations() == []
