"""Money in and out other than by usage: references, overdrafts, grants, corrections, reversals, refunds, expiry."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable

import pytest
from django.db import DatabaseError, transaction

from billing import holds, ledger
from billing.errors import HoldAlreadyResolved, InsufficientBalance, NotReversible, ReferenceReused, UnknownWallet
from billing.models import Hold, LedgerEntry, Lot, Posting, Wallet
from billing.money import BRL
from billing.reconcile import find_violations
from tests.make import make_call, make_hold, make_top_up, make_usage, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def adds_up(db: None) -> object:
    yield
    assert find_violations() == []


def state(wallet: Wallet) -> tuple[int, int, int, int]:
    """posted, held, promo, overdraft in reais."""
    wallet.refresh_from_db()
    return wallet.posted_nanos // BRL, wallet.held_nanos // BRL, wallet.promo_nanos // BRL, wallet.overdraft_nanos // BRL


def post(
    wallet: Wallet, amount: int, *, reference: str = "pix:E1", kind: LedgerEntry.Kind = LedgerEntry.Kind.TOP_UP
) -> LedgerEntry:
    return ledger.post_entry(kind=kind, reference=reference, wallet=wallet, amount_nanos=amount, book=ledger.WORLD_PIX)


def test_it_books_a_payment_once() -> None:
    wallet = make_wallet(brl="0")
    assert post(wallet, 10 * BRL) == post(wallet, 10 * BRL)
    assert state(wallet) == (10, 0, 0, 0)
    [posting] = Posting.objects.filter(wallet=wallet)
    assert (posting.source, posting.destination, posting.amount_nanos) == ("world:pix", f"wallet:{wallet.pk}", 10 * BRL)


def test_it_refuses_another_amount_wallet_or_kind_under_a_reference() -> None:
    wallet, other = make_wallet(brl="0"), make_wallet(brl="0")
    post(wallet, 10 * BRL)
    attempts: list[Callable[[], LedgerEntry]] = [
        lambda: post(wallet, 11 * BRL),
        lambda: post(other, 10 * BRL),
        lambda: post(wallet, 10 * BRL, kind=LedgerEntry.Kind.CORRECTION),
    ]
    for again in attempts:
        with pytest.raises(ReferenceReused), transaction.atomic():
            again()


def test_it_refuses_a_wallet_that_is_not_there_and_an_empty_entry() -> None:
    with pytest.raises(UnknownWallet), transaction.atomic():
        post(Wallet(pk=10**9), BRL)
    with pytest.raises(DatabaseError), transaction.atomic():
        post(make_wallet(brl="0"), 0)


def test_a_top_up_pays_the_overdraft_first() -> None:
    wallet = make_wallet(brl="10")
    make_usage(wallet=wallet, gross_nanos=14 * BRL)
    assert state(wallet) == (0, 0, 0, 4)
    make_top_up(wallet=wallet, brl="3")
    assert state(wallet) == (0, 0, 0, 1)
    make_top_up(wallet=wallet, brl="50")
    assert state(wallet) == (49, 0, 0, 0)
    assert ledger.lot_remaining(Lot.everywhere.filter(wallet=wallet).latest("id")) == 49 * BRL


def test_a_grant_is_used_before_paid_money() -> None:
    wallet = make_wallet(brl="10", promo_brl="5")
    [first] = holds.settle([make_call(wallet=wallet, gross_nanos=7 * BRL)])
    assert (first.promo_nanos, first.paid_nanos, first.overdraft_nanos) == (5 * BRL, 2 * BRL, 0)
    assert state(wallet) == (8, 0, 0, 0)


def test_a_correction_needs_a_reason_and_the_money() -> None:
    wallet = make_wallet(brl="10", promo_brl="5")
    ledger.correct(wallet, amount_nanos=-6 * BRL, reason="cobrança dupla", actor="ana@tokia.com.br")
    assert state(wallet) == (9, 0, 0, 0)
    with pytest.raises(InsufficientBalance), transaction.atomic():
        ledger.correct(wallet, amount_nanos=-10 * BRL, reason="demais", actor="ana@tokia.com.br")
    with pytest.raises(ValueError, match="reason"):
        ledger.correct(wallet, amount_nanos=BRL, reason=" ", actor="ana@tokia.com.br")


def test_a_correction_may_name_the_kind_of_money() -> None:
    wallet = make_wallet(brl="10", promo_brl="5")
    with pytest.raises(InsufficientBalance), transaction.atomic():
        ledger.correct(wallet, amount_nanos=-6 * BRL, reason="só bônus", actor="ana", lot_kind=Lot.Kind.PROMO)
    ledger.correct(wallet, amount_nanos=-6 * BRL, reason="só pago", actor="ana", lot_kind=Lot.Kind.PAID)
    assert state(wallet) == (9, 0, 5, 0)


def test_a_correction_leaves_held_money_alone() -> None:
    wallet = make_wallet(brl="10")
    make_hold(wallet=wallet, brl="8")
    with pytest.raises(InsufficientBalance), transaction.atomic():
        ledger.correct(wallet, amount_nanos=-3 * BRL, reason="preso", actor="ana")


def test_it_reverses_an_entry_once() -> None:
    wallet = make_wallet(brl="10")
    entry = ledger.correct(wallet, amount_nanos=5 * BRL, reason="cortesia", actor="ana")
    reversal = ledger.reverse_entry(entry, reason="engano", actor="ana")
    assert ledger.reverse_entry(entry, reason="engano", actor="ana") == reversal
    assert reversal.reverses == entry
    assert state(wallet) == (10, 0, 0, 0)
    debit = ledger.correct(wallet, amount_nanos=-5 * BRL, reason="débito", actor="ana")
    ledger.reverse_entry(debit, reason="engano", actor="ana")
    assert state(wallet) == (10, 0, 0, 0)


def test_it_reverses_no_usage_and_no_reversal() -> None:
    wallet = make_wallet(brl="10")
    make_usage(wallet=wallet)
    usage = LedgerEntry.objects.get(kind=LedgerEntry.Kind.USAGE)
    reversal = ledger.reverse_entry(make_top_up(wallet=wallet, brl="5"), reason="engano", actor="ana")
    for entry in (usage, reversal):
        with pytest.raises(NotReversible), transaction.atomic():
            ledger.reverse_entry(entry, reason="não", actor="ana")


def test_a_spent_grant_is_not_reversed() -> None:
    wallet = make_wallet(brl="0")
    entry = ledger.grant(wallet, amount_nanos=5 * BRL, reference="grant:1", actor="ana")
    make_usage(wallet=wallet, gross_nanos=BRL)
    with pytest.raises(InsufficientBalance), transaction.atomic():
        ledger.reverse_entry(entry, reason="engano", actor="ana")


def test_a_top_up_that_the_bank_took_back_leaves_an_overdraft() -> None:
    wallet = make_wallet(brl="0", promo_brl="2")
    entry = make_top_up(wallet=wallet, brl="10")
    make_top_up(wallet=wallet, brl="1")
    make_usage(wallet=wallet, gross_nanos=6 * BRL)  # 2 of the grant, 4 paid
    ledger.reverse_entry(entry, reason="MED", actor="banco")
    assert state(wallet) == (0, 0, 0, 3)  # 6 of its lot, 1 of the other, 3 owed
    assert [line.amount_nanos // BRL for line in Posting.objects.filter(source=f"overdraft:{wallet.pk}")] == [3]


def test_a_refund_holds_first_and_settles_once() -> None:
    wallet = make_wallet(brl="0")
    lot = make_top_up(wallet=wallet, brl="10").lot
    make_usage(wallet=wallet, gross_nanos=4 * BRL)
    refund = uuid.uuid4()
    with pytest.raises(InsufficientBalance), transaction.atomic():
        ledger.reserve_refund(refund, lot=lot, amount_nanos=7 * BRL)
    for _ in range(2):
        ledger.reserve_refund(refund, lot=lot, amount_nanos=5 * BRL)
    assert state(wallet) == (6, 5, 0, 0)
    assert ledger.lot_remaining(lot) == BRL
    with pytest.raises(ReferenceReused), transaction.atomic():
        ledger.reserve_refund(refund, lot=lot, amount_nanos=6 * BRL)
    first = ledger.settle_refund(refund, actor="ana", reason="pedido")
    assert ledger.settle_refund(refund, actor="ana", reason="pedido") == first
    assert state(wallet) == (1, 0, 0, 0)
    assert ledger.release_refund(refund) is False
    with pytest.raises(HoldAlreadyResolved), transaction.atomic():
        ledger.reserve_refund(refund, lot=lot, amount_nanos=BRL)


def test_a_refund_takes_no_more_than_its_own_lot_has_left() -> None:
    wallet = make_wallet(brl="0")
    older, _ = make_top_up(wallet=wallet, brl="10").lot, make_top_up(wallet=wallet, brl="10")
    make_usage(wallet=wallet, gross_nanos=7 * BRL)
    with pytest.raises(InsufficientBalance), transaction.atomic():
        ledger.reserve_refund(uuid.uuid4(), lot=older, amount_nanos=3 * BRL + 1)
    ledger.reserve_refund(uuid.uuid4(), lot=older, amount_nanos=3 * BRL)


def test_a_refund_that_the_bank_refused_is_free_again() -> None:
    wallet = make_wallet(brl="10")
    refund, lot = uuid.uuid4(), Lot.everywhere.get(wallet=wallet)
    ledger.reserve_refund(refund, lot=lot, amount_nanos=10 * BRL)
    assert ledger.release_refund(refund) is True
    assert state(wallet) == (10, 0, 0, 0)
    with pytest.raises(HoldAlreadyResolved), transaction.atomic():
        ledger.settle_refund(refund, actor="ana", reason="pedido")


def test_promotional_money_is_not_refunded() -> None:
    wallet = make_wallet(brl="0", promo_brl="5")
    with pytest.raises(UnknownWallet), transaction.atomic():
        ledger.reserve_refund(uuid.uuid4(), lot=Lot.everywhere.get(wallet=wallet), amount_nanos=BRL)


def test_calls_do_not_eat_what_a_refund_reserved() -> None:
    wallet = make_wallet(brl="0")
    older, newer = make_top_up(wallet=wallet, brl="10").lot, make_top_up(wallet=wallet, brl="10").lot
    refund = uuid.uuid4()
    ledger.reserve_refund(refund, lot=older, amount_nanos=8 * BRL)
    make_usage(wallet=wallet, gross_nanos=7 * BRL)
    assert [ledger.lot_remaining(lot) // BRL for lot in (older, newer)] == [0, 5]
    ledger.release_refund(refund)
    assert [ledger.lot_remaining(lot) // BRL for lot in (older, newer)] == [3, 10]  # used from the oldest again


def test_holds_of_refunds_do_not_expire() -> None:
    wallet = make_wallet(brl="10")
    ledger.reserve_refund(uuid.uuid4(), lot=Lot.everywhere.get(wallet=wallet), amount_nanos=BRL)
    assert holds.expire_holds(older_seconds=-1) == 0
    assert Hold.everywhere.count() == 1


def test_a_grant_expires_as_far_as_no_call_holds_it() -> None:
    wallet = make_wallet(brl="0")
    past = clock.now() - dt.timedelta(days=1)
    ledger.grant(wallet, amount_nanos=5 * BRL, reference="grant:1", actor="ana", expires_at=past)
    session = holds.open_session("test", seconds=60)
    call = make_hold(wallet=wallet, brl="2", session=session)
    assert ledger.expire_promo() == 1
    assert state(wallet) == (2, 2, 2, 0)
    holds.settle([make_call(wallet=wallet, gross_nanos=BRL, id_=call)], session=session)
    assert ledger.expire_promo() == 1
    assert ledger.expire_promo() == 0
    assert state(wallet) == (0, 0, 0, 0)


def test_a_younger_grant_never_expires_before_an_older_one() -> None:
    wallet = make_wallet(brl="0")
    later, sooner = clock.now() + dt.timedelta(days=9), clock.now() + dt.timedelta(days=1)
    ledger.grant(wallet, amount_nanos=BRL, reference="grant:1", actor="ana", expires_at=later)
    ledger.grant(wallet, amount_nanos=BRL, reference="grant:2", actor="ana", expires_at=sooner)
    assert [lot.expires_at for lot in Lot.everywhere.filter(wallet=wallet)] == [later, later]
