"""A top-up by card from the amount to the balance: on Stripe's page, with a saved card, by Pix, declined, asked for by the bank."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from pytest_django import Settings

from accounts.suspension import suspend
from billing.cards import booking, holders, payments, stripe_client, sweep
from billing.cards.errors import CardRefused, StripeUnavailable, TooManyDeclines
from billing.models import Card, CardPayment, Event, LedgerEntry, Wallet
from billing.money import BRL
from billing.pix.errors import TooManyOpenCharges, TopUpRefused
from tests.billing.cards.conftest import NUMBERS, StripeSide, save_card
from tests.make import make_wallet
from tokia import clock

How, Status = CardPayment.How, CardPayment.Status


def balance(wallet: Wallet) -> int:
    wallet.refresh_from_db()
    return wallet.available_nanos


def test_it_credits_what_was_paid_on_stripes_page_and_keeps_the_card(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment = payments.open_checkout(wallet, amount_nanos=150 * BRL, by=None, keeps_card=True)
    assert payment.status == Status.PENDING and payment.page_url.startswith(stripe_side.url)
    assert "R$ 150,00" in stripe_side.client.get(payment.page_url).text
    back = stripe_side.check_out(payment)
    assert back.status_code == 303 and back.headers["location"].endswith(f"/app/recarregar/cartao/{payment.id}/?voltou=1")
    payment = payments.confirm_payment(payment)
    assert (payment.status, payment.received_nanos, payment.paid_with) == (Status.PAID, 150 * BRL, "Visa •••• 4242")
    assert balance(wallet) == 150 * BRL
    entry = LedgerEntry.objects.get(reference=f"stripe:{payment.intent_id}")
    assert entry.kind == "top_up" and entry.postings.get().source == "world:stripe"
    card = Card.everywhere.get()
    assert card.is_default and card.last4 == "4242" and payment.card == card
    assert Event.everywhere.get(type="wallet.top_up").payload["paid_by"] == "card"


def test_a_decline_on_stripes_page_leaves_it_open_for_another_card(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment = payments.open_checkout(wallet, amount_nanos=50 * BRL, by=None)
    page = stripe_side.check_out(payment, NUMBERS["declined"])
    assert page.status_code == 200 and "recusado" in page.text and "Nada foi cobrado" in page.text
    assert payments.confirm_payment(payment).status == Status.PENDING
    stripe_side.check_out(payment)
    assert payments.confirm_payment(payment).status == Status.PAID
    assert balance(wallet) == 50 * BRL


def test_a_bank_that_asks_on_stripes_page_is_answered_on_its_own(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment = payments.open_checkout(wallet, amount_nanos=50 * BRL, by=None)
    to_bank = stripe_side.check_out(payment, NUMBERS["asks"]).headers["location"]
    assert payments.confirm_payment(payment).status == Status.PENDING
    url = stripe_side.url.removesuffix("/stripe") + to_bank
    assert "O banco do seu cartão pergunta" in stripe_side.client.get(url).text
    assert stripe_side.client.post(url, data={"resposta": "sim"}).status_code == 303
    assert payments.confirm_payment(payment).status == Status.PAID


def test_two_clicks_are_one_payment(wallet: Wallet, stripe_side: StripeSide) -> None:
    asked = uuid.uuid4()
    first = payments.open_checkout(wallet, amount_nanos=50 * BRL, by=None, payment_id=asked)
    again = payments.open_checkout(wallet, amount_nanos=50 * BRL, by=None, payment_id=asked)
    assert first.session_id == again.session_id and len(stripe_side.all("checkout.session")) == 1
    with pytest.raises(TopUpRefused):
        payments.open_checkout(wallet, amount_nanos=60 * BRL, by=None, payment_id=asked)


def test_it_charges_a_saved_card_at_once(wallet: Wallet, stripe_side: StripeSide) -> None:
    card = save_card(wallet.organization, "pm_card_mastercard")
    payment = payments.pay_with_card(wallet, amount_nanos=100 * BRL, card=card, by=None)
    assert (payment.status, payment.paid_with) == (Status.PAID, "Mastercard •••• 4444")
    assert balance(wallet) == 100 * BRL


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("insufficient_funds", "não tem saldo ou limite"),
        ("expired_card", "vencido"),
        ("stolen_card", "O banco do cartão recusou o pagamento"),
        ("do_not_honor", "O banco do cartão recusou o pagamento"),
    ],
)
def test_it_says_in_portuguese_why_a_card_was_declined(wallet: Wallet, stripe_side: StripeSide, code: str, words: str) -> None:
    card = save_card(wallet.organization)
    stripe_side.post("faults", charge=[{"kind": "decline", "code": code}])
    payment = payments.pay_with_card(wallet, amount_nanos=50 * BRL, card=card, by=None)
    assert (payment.status, payment.decline_code) == (Status.FAILED, code)
    assert words in payment.failure and "roubado" not in payment.failure
    assert balance(wallet) == 0 and not LedgerEntry.objects.exists()


def test_a_bank_that_asks_the_holder_of_a_saved_card_is_waited_for(wallet: Wallet, stripe_side: StripeSide) -> None:
    card = save_card(wallet.organization, "pm_card_authenticationRequired")
    payment = payments.pay_with_card(wallet, amount_nanos=50 * BRL, card=card, by=None)
    assert payment.status == Status.PENDING and "/3ds/" in payment.page_url
    stripe_side.answer_bank(payment)
    assert payments.confirm_payment(payment).status == Status.PAID

    refused = payments.pay_with_card(wallet, amount_nanos=60 * BRL, card=card, by=None)
    stripe_side.answer_bank(refused, says="nao")
    assert payments.confirm_payment(refused).status == Status.FAILED
    again = payments.confirm_on_session(refused)
    assert again.status == Status.PENDING
    stripe_side.answer_bank(again)
    assert payments.confirm_payment(again).status == Status.PAID
    assert balance(wallet) == 110 * BRL


def test_it_takes_a_pix_by_stripe_where_the_account_has_it(wallet: Wallet, stripe_side: StripeSide, settings: Settings) -> None:
    with pytest.raises(TopUpRefused):
        payments.open_pix(wallet, amount_nanos=50 * BRL, by=None)
    settings.STRIPE_HAS_PIX = True
    payment = payments.open_pix(wallet, amount_nanos=50 * BRL, by=None)
    assert payment.status == Status.PENDING and payment.brcode.startswith("000201")
    assert payments.confirm_payment(payment).status == Status.PENDING and balance(wallet) == 0
    stripe_side.post(f"pay-pix/{payment.intent_id}")
    assert payments.confirm_payment(payment).paid_with == "PIX"
    assert balance(wallet) == 50 * BRL


def test_a_pix_that_nobody_paid_expires(wallet: Wallet, stripe_side: StripeSide, settings: Settings) -> None:
    settings.STRIPE_HAS_PIX = True
    payment = payments.open_pix(wallet, amount_nanos=50 * BRL, by=None)
    stripe_side.post("clock", offset_seconds=settings.CHARGE_EXPIRES_SECONDS + 1)
    assert payments.confirm_payment(payment).status == Status.EXPIRED


def test_a_page_that_nobody_used_can_no_longer_be_paid(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment = payments.open_checkout(wallet, amount_nanos=50 * BRL, by=None)
    CardPayment.everywhere.update(expires_at=clock.now())
    payment.refresh_from_db()
    assert payments.confirm_payment(payment).status == Status.EXPIRED
    assert stripe_side.all("checkout.session")[0]["status"] == "expired"
    assert stripe_side.check_out(payment).status_code == 400


@pytest.mark.parametrize("fault", ["timeout", "500", "503", "429", "timeout_before"])
def test_a_lost_answer_is_asked_for_again_and_charges_once(
    wallet: Wallet, stripe_side: StripeSide, fault: str, settings: Settings
) -> None:
    """The crash between charge and credit: Stripe took the money and we never heard."""
    settings.STRIPE_TIMEOUT_SECONDS = 0.3
    card = save_card(wallet.organization)
    stripe_side.post("faults", create=[{"kind": fault, "ms": 600}])
    with pytest.raises(StripeUnavailable):
        payments.pay_with_card(wallet, amount_nanos=50 * BRL, card=card, by=None)
    payment = CardPayment.everywhere.get()
    assert payment.status == Status.OPENING and payment.intent_id is None and balance(wallet) == 0
    CardPayment.everywhere.update(asked_at=clock.now() - dt.timedelta(minutes=1))
    assert sweep.sweep_payments() == 1
    payment.refresh_from_db()
    assert payment.status == Status.PAID and balance(wallet) == 50 * BRL
    assert [intent["status"] for intent in stripe_side.all("payment_intent")] == ["succeeded"]


def test_a_key_that_stripe_may_have_forgotten_is_not_used_again(wallet: Wallet, stripe_side: StripeSide) -> None:
    card = save_card(wallet.organization)
    payment = payments.pay_with_card(wallet, amount_nanos=50 * BRL, card=card, by=None)
    intent_id = payment.intent_id
    day_ago = clock.now() - dt.timedelta(hours=25)
    never, _ = payments.mint(wallet, how=How.SAVED, amount_nanos=60 * BRL, by=None, card=card)
    with_answer = payments.mint(wallet, how=How.SAVED, amount_nanos=70 * BRL, by=None, card=card)[0]
    stripe_client.create_intent(
        payments._intent_asked(with_answer, holders.holder_of(wallet.organization)), key=f"topup-{with_answer.id}"
    )
    CardPayment.everywhere.exclude(pk=payment.pk).update(created_at=day_ago, expires_at=clock.now() + dt.timedelta(hours=1))
    sweep.sweep_payments()
    never.refresh_from_db()
    with_answer.refresh_from_db()
    assert never.status == Status.EXPIRED and with_answer.status == Status.PAID
    assert len(stripe_side.all("payment_intent")) == 2 and intent_id
    assert balance(wallet) == 120 * BRL


def test_nobodys_card_is_charged_long_after_they_left(wallet: Wallet, stripe_side: StripeSide) -> None:
    """Stripe was silent until nobody waits any more: what it has counts, nothing is asked for anew."""
    card = save_card(wallet.organization)
    late = [
        payments.mint(wallet, how=how, amount_nanos=50 * BRL, by=None, card=card if how == How.SAVED else None)[0]
        for how in (How.SAVED, How.CHECKOUT)
    ]
    CardPayment.everywhere.update(expires_at=clock.now() + dt.timedelta(seconds=-1))
    sweep.sweep_payments()
    for payment in late:
        payment.refresh_from_db()
        assert payment.status == Status.EXPIRED
    assert stripe_side.all("payment_intent") == [] and stripe_side.all("checkout.session") == []


def test_it_refuses_what_the_rules_of_a_top_up_refuse(wallet: Wallet, stripe_side: StripeSide, settings: Settings) -> None:
    settings.TOP_UP_OPEN_MAX = 1
    for amount_nanos in (9 * BRL, 10 * BRL + 1, settings.TOP_UP_MAX_BRL * BRL + 10**7):
        with pytest.raises(TopUpRefused):
            payments.open_checkout(wallet, amount_nanos=amount_nanos, by=None)
    payments.open_checkout(wallet, amount_nanos=50 * BRL, by=None)
    with pytest.raises(TooManyOpenCharges):
        payments.open_checkout(wallet, amount_nanos=50 * BRL, by=None)
    suspend(wallet.organization, reason="teste")
    with pytest.raises(CardRefused):
        payments.open_checkout(wallet, amount_nanos=50 * BRL, by=None)


def test_it_charges_no_card_of_another_organization(wallet: Wallet, stripe_side: StripeSide) -> None:
    other = save_card(make_wallet(brl="0").organization)
    with pytest.raises(CardRefused):
        payments.pay_with_card(wallet, amount_nanos=50 * BRL, card=other, by=None)
    assert stripe_side.all("payment_intent") == []


def test_whoever_tries_many_cards_has_to_wait(wallet: Wallet, stripe_side: StripeSide, settings: Settings) -> None:
    settings.CARD_FAILURES_MAX = 2
    card = save_card(wallet.organization, "pm_card_chargeCustomerFail")
    for _ in range(2):
        assert payments.pay_with_card(wallet, amount_nanos=50 * BRL, card=card, by=None).status == Status.FAILED
    with pytest.raises(TooManyDeclines):
        payments.pay_with_card(wallet, amount_nanos=50 * BRL, card=card, by=None)


def test_it_credits_no_other_currency(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment, _ = payments.mint(wallet, how=How.CHECKOUT, amount_nanos=50 * BRL, by=None)
    intent = {"id": "pi_usd", "status": "succeeded", "currency": "usd", "amount": 5000, "amount_received": 5000}
    booking.follow_intent(payment, intent)
    assert balance(wallet) == 0 and not LedgerEntry.objects.exists()


def test_it_credits_the_amount_received_whatever_was_asked(wallet: Wallet, stripe_side: StripeSide) -> None:
    payment, _ = payments.mint(wallet, how=How.CHECKOUT, amount_nanos=50 * BRL, by=None)
    intent = {"id": "pi_less", "status": "succeeded", "currency": "brl", "amount": 5000, "amount_received": 4800}
    booking.follow_intent(payment, intent)
    payment.refresh_from_db()
    assert balance(wallet) == 48 * BRL == payment.received_nanos
