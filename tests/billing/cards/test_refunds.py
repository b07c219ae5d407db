"""Card top-ups on their way back: at once, later, refused, failed after all, lost on the way, and made on the dashboard."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from pytest_django import Settings

from billing import refunds as parent
from billing.cards import payments, refunds, sweep
from billing.models import CardPayment, Event, Hold, LedgerEntry, Lot, Refund, Wallet
from billing.money import BRL
from billing.refund_books import RefundRefused
from tests.billing.cards.conftest import StripeSide, save_card, wait_until
from tests.make import make_usage, make_wallet
from tokia import clock

Status = Refund.Status


def top_up(wallet: Wallet, *, token: str = "pm_card_visa", brl: int = 100) -> tuple[CardPayment, Lot]:
    payment = payments.pay_with_card(wallet, amount_nanos=brl * BRL, card=save_card(wallet.organization, token), by=None)
    return payment, Lot.everywhere.select_related("entry", "wallet__organization").get(
        entry__reference=f"stripe:{payment.intent_id}"
    )


def balance(wallet: Wallet) -> int:
    wallet.refresh_from_db()
    return wallet.available_nanos


def test_unused_money_goes_back_to_the_card_at_once(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment, lot = top_up(wallet)
    make_usage(wallet=wallet, gross_nanos=30 * BRL)
    left = refunds.refundable_nanos(lot)
    with pytest.raises(RefundRefused):
        parent.refund_lot(lot, amount_nanos=left + 10**7, by="alice")
    refund = parent.refund_lot(lot, amount_nanos=left, by="alice")
    assert (refund.status, refund.paid_by, refund.card_payment) == (Status.DONE, "card", payment)
    entry = LedgerEntry.objects.get(reference=f"refund:{refund.id}")
    assert entry.postings.get().destination == "world:stripe" and balance(wallet) == lot_rest(wallet)
    [told] = stripe_side.all("refund")
    assert told["amount"] * 10**7 == left and told["id"] == refund.stripe_id
    assert Event.everywhere.get(type="refund.done").payload["paid_by"] == "card"


def lot_rest(wallet: Wallet) -> int:
    return wallet.posted_nanos


def test_a_refund_that_takes_its_time_holds_the_money_until_it_is_done(wallet: Wallet, stripe_side: StripeSide) -> None:
    stripe_side.post("settings", refund_ms=60_000)
    _, lot = top_up(wallet, token="pm_card_pendingRefund")
    refund = refunds.refund_lot(lot, amount_nanos=60 * BRL, by="alice", reason="teste")
    assert refund.status == Status.PROCESSING and balance(wallet) == 40 * BRL and wallet.posted_nanos == 100 * BRL
    stripe_side.post(f"finish-refund/{refund.stripe_id}")
    assert refunds.read_refund(refund).status == Status.DONE
    assert balance(wallet) == 40 * BRL == wallet.posted_nanos and not Hold.everywhere.exists()


def test_a_refund_that_fails_gives_the_money_free_again(wallet: Wallet, stripe_side: StripeSide) -> None:
    _, lot = top_up(wallet)
    stripe_side.post("faults", refund=["stuck"])
    refund = refunds.refund_lot(lot, amount_nanos=60 * BRL, by="alice", reason="teste")
    stripe_side.post(f"finish-refund/{refund.stripe_id}", is_failed=True)
    refund = refunds.read_refund(refund)
    assert refund.status == Status.REFUSED and "cancelado pelo banco" in refund.bank_reason
    assert balance(wallet) == 100 * BRL and not Hold.everywhere.exists()


def test_a_refund_that_fails_after_it_was_done_gives_the_money_back(door: StripeSide) -> None:
    """`refund.failed` may come weeks after `succeeded`: the card was closed."""
    wallet = make_wallet(brl="0")
    _, lot = top_up(wallet, token="pm_card_refundFail")
    refund = refunds.refund_lot(lot, amount_nanos=60 * BRL, by="alice", reason="teste")
    assert refund.status == Status.DONE and balance(wallet) == 40 * BRL
    wait_until(lambda: stripe_side_status(door) == "failed")
    assert set(door.deliver(times=2)) == {200}
    refund.refresh_from_db()
    assert refund.returned_at is not None and balance(wallet) == 100 * BRL
    assert LedgerEntry.objects.get(reference=f"refund:{refund.id}:returned").kind == "correction"


def stripe_side_status(side: StripeSide) -> str:
    return str(side.all("refund")[0]["status"])


@pytest.mark.parametrize("fault", ["timeout", "500"])
def test_a_lost_answer_is_asked_for_again_and_returns_once(
    wallet: Wallet, stripe_side: StripeSide, settings: Settings, fault: str
) -> None:
    settings.STRIPE_TIMEOUT_SECONDS = 0.3
    _, lot = top_up(wallet)
    stripe_side.post("faults", create=[{"kind": fault, "ms": 600}])
    refund = refunds.refund_lot(lot, amount_nanos=60 * BRL, by="alice", reason="teste")
    assert refund.status == Status.HELD and balance(wallet) == 40 * BRL
    assert parent.ask_again(refund).status == Status.DONE
    assert len(stripe_side.all("refund")) == 1 and balance(wallet) == 40 * BRL


def test_a_key_that_stripe_may_have_forgotten_is_looked_for(wallet: Wallet, stripe_side: StripeSide, settings: Settings) -> None:
    settings.STRIPE_TIMEOUT_SECONDS = 0.3
    _, lot = top_up(wallet)
    stripe_side.post("faults", create=[{"kind": "timeout", "ms": 600}])
    refund = refunds.refund_lot(lot, amount_nanos=60 * BRL, by="alice", reason="teste")
    Refund.objects.update(created_at=clock.now() - dt.timedelta(hours=25))
    refund.refresh_from_db()
    assert refunds.ask_refund(refund).status == Status.DONE and len(stripe_side.all("refund")) == 1


def test_a_disputed_payment_returns_nothing(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment, lot = top_up(wallet)
    stripe_side.post(f"dispute/{payment.intent_id}", is_withdrawn=False)
    refund = refunds.refund_lot(lot, amount_nanos=60 * BRL, by="alice", reason="teste")
    assert refund.status == Status.REFUSED and balance(wallet) == 100 * BRL


def test_a_refund_on_the_dashboard_is_booked_once_as_one_of_ours(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    payment, lot = top_up(wallet)
    door.post(f"refund/{payment.intent_id}", amount=3_000)
    assert set(door.deliver(is_reversed=True, times=5)) == {200}
    refund = Refund.objects.get()
    assert (refund.status, refund.lot, refund.requested_by, refund.amount_nanos) == (Status.DONE, lot, "stripe", 30 * BRL)
    assert balance(wallet) == 70 * BRL


def test_a_refund_on_the_dashboard_of_spent_money_leaves_an_overdraft(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    payment, _ = top_up(wallet)
    make_usage(wallet=wallet, gross_nanos=90 * BRL)
    door.post(f"refund/{payment.intent_id}")
    assert sweep.sweep_window(hours=1) == 0 and sweep.sweep_window(hours=1) == 0
    wallet.refresh_from_db()
    assert wallet.available_nanos == 0 and wallet.overdraft_nanos == 100 * BRL - (100 * BRL - 90 * BRL)
    assert Refund.objects.get().lot is None


def test_only_money_that_came_by_stripe_goes_back_by_stripe(wallet: Wallet, stripe_side: StripeSide) -> None:
    pix = Lot.everywhere.select_related("entry").get(wallet=make_wallet(brl="50.00"))
    assert refunds.payment_of(pix) is None and refunds.refundable_nanos(pix) == 0
    _, lot = top_up(wallet)
    same = uuid.uuid4()
    first = refunds.refund_lot(lot, amount_nanos=10 * BRL, by="alice", reason="teste", refund_id=same)
    again = refunds.refund_lot(lot, amount_nanos=10 * BRL, by="alice", reason="teste", refund_id=same)
    assert first.pk == again.pk and len(stripe_side.all("refund")) == 1
