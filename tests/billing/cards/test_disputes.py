"""Chargebacks: before and after the money is spent, won, lost, in any sequence, and what they suspend."""

from __future__ import annotations

import pytest

from accounts.models import Organization
from accounts.suspension import suspend
from billing.cards import disputes, payments, sweep
from billing.models import CardPayment, Dispute, Event, LedgerEntry, StripeEvent, Wallet
from billing.money import BRL
from tests.billing.cards.conftest import StripeSide, save_card
from tests.make import make_usage, make_wallet


def paid(wallet: Wallet, *, brl: int = 100) -> CardPayment:
    return payments.pay_with_card(wallet, amount_nanos=brl * BRL, card=save_card(wallet.organization), by=None)


def is_suspended(wallet: Wallet) -> bool:
    return Organization.objects.get(pk=wallet.organization_id).is_suspended


def test_a_dispute_after_the_money_is_spent_leaves_an_overdraft_and_suspends(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    payment = paid(wallet)
    make_usage(wallet=wallet, gross_nanos=80 * BRL)
    door.post(f"dispute/{payment.intent_id}")
    assert set(door.deliver(is_reversed=True, times=3)) == {200}
    wallet.refresh_from_db()
    assert (wallet.available_nanos, wallet.overdraft_nanos) == (0, 80 * BRL)
    assert is_suspended(wallet)
    dispute = Dispute.everywhere.get()
    assert dispute.is_withdrawn and dispute.status == "open" and dispute.has_suspended
    assert LedgerEntry.objects.filter(kind="dispute").count() == 1
    assert Event.everywhere.filter(type="dispute.opened").count() == 1
    assert not StripeEvent.objects.filter(status="due").exists()


def test_a_dispute_that_is_won_gives_the_money_back_and_ends_the_suspension(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    payment = paid(wallet)
    make_usage(wallet=wallet, gross_nanos=80 * BRL)
    told = door.post(f"dispute/{payment.intent_id}")
    door.deliver()
    door.post("hold")
    door.post(f"close-dispute/{told['id']}", outcome="won")
    assert set(door.deliver(is_reversed=True, times=2)) == {200}
    wallet.refresh_from_db()
    assert (wallet.available_nanos, wallet.overdraft_nanos) == (20 * BRL, 0)
    assert not is_suspended(wallet) and Dispute.everywhere.get().status == "won"
    assert [event.payload["status"] for event in Event.everywhere.filter(type="dispute.closed")] == ["won"]


def test_a_dispute_that_is_lost_stays_taken_and_suspended(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment = paid(wallet)
    told = stripe_side.post(f"dispute/{payment.intent_id}")
    disputes.follow_dispute(told["id"])
    stripe_side.post(f"close-dispute/{told['id']}", outcome="lost")
    Dispute.everywhere.update(asked_at=None)
    assert sweep.sweep_disputes() == 1
    wallet.refresh_from_db()
    assert wallet.available_nanos == 0 and is_suspended(wallet)
    assert Dispute.everywhere.get().status == "lost" and sweep.sweep_disputes() == 0


def test_money_that_stripe_takes_later_is_taken_later(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment = paid(wallet)
    told = stripe_side.post(f"dispute/{payment.intent_id}", is_withdrawn=False)
    disputes.follow_dispute(told["id"])
    wallet.refresh_from_db()
    assert wallet.available_nanos == 100 * BRL and is_suspended(wallet)
    stripe_side.post(f"withdraw/{told['id']}")
    for _ in range(3):
        disputes.follow_dispute(told["id"])
    wallet.refresh_from_db()
    assert wallet.available_nanos == 0 and wallet.overdraft_nanos == 0


def test_an_inquiry_moves_nothing_and_suspends_nobody(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment = paid(wallet)
    told = stripe_side.post(f"dispute/{payment.intent_id}", is_inquiry=True)
    assert disputes.follow_dispute(told["id"]) is None
    wallet.refresh_from_db()
    assert wallet.available_nanos == 100 * BRL and not is_suspended(wallet)


def test_a_dispute_that_is_told_before_its_payment_finds_it(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    payment = payments.open_checkout(wallet, amount_nanos=100 * BRL, by=None)
    door.check_out(payment, "4000000000000259")
    assert set(door.deliver(is_reversed=True)) == {200}
    wallet.refresh_from_db()
    assert wallet.available_nanos == 0 and wallet.overdraft_nanos == 0 and is_suspended(wallet)


@pytest.mark.parametrize("why", ["another dispute", "a person"])
def test_a_suspension_that_has_another_reason_stays(wallet: Wallet, stripe_side: StripeSide, why: str) -> None:
    first, second = paid(wallet), paid(wallet)
    told = stripe_side.post(f"dispute/{first.intent_id}")
    if why == "a person":
        suspend(wallet.organization, reason="Documentos falsos.")
    disputes.follow_dispute(told["id"])
    if why == "another dispute":
        disputes.follow_dispute(stripe_side.post(f"dispute/{second.intent_id}")["id"])
    stripe_side.post(f"close-dispute/{told['id']}", outcome="won")
    disputes.follow_dispute(told["id"])
    assert is_suspended(wallet)


def test_a_dispute_of_a_part_takes_a_part(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment = paid(wallet)
    disputes.follow_dispute(stripe_side.post(f"dispute/{payment.intent_id}", amount=2_500)["id"])
    wallet.refresh_from_db()
    assert wallet.available_nanos == 75 * BRL
