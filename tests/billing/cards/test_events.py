"""Stripe's door and what is followed from it: twice, in any sequence, tampered, stale, of the same payment, of nobody."""

from __future__ import annotations

import json
import time

import pytest
import stripe
from django.test import Client
from pytest_django import Settings

from billing.cards import events, holders, payments, stripe_client, sweep, webhook
from billing.cards.errors import StripeUnavailable
from billing.models import CardPayment, LedgerEntry, StripeEvent, Wallet
from billing.money import BRL
from tests.billing.cards.conftest import StripeSide, save_card, wait_until
from tests.make import make_wallet

Status = CardPayment.Status


def paid_checkout(wallet: Wallet, side: StripeSide, *, brl: int = 50) -> CardPayment:
    payment = payments.open_checkout(wallet, amount_nanos=brl * BRL, by=None)
    side.check_out(payment)
    return payment


def balance(wallet: Wallet) -> int:
    wallet.refresh_from_db()
    return wallet.available_nanos


def test_fifty_deliveries_at_once_are_one_row_and_one_credit(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    payment = paid_checkout(wallet, door)
    assert door.deliver(type="payment_intent.succeeded", times=50) == [200] * 50
    payment.refresh_from_db()
    assert payment.status == Status.PAID and balance(wallet) == 50 * BRL
    event = StripeEvent.objects.get()
    assert (event.deliveries, event.status) == (50, "done")


def test_every_event_of_a_payment_in_reverse_and_twice_is_one_credit(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    paid_checkout(wallet, door)
    assert set(door.deliver(is_reversed=True, times=2)) == {200}
    kinds = set(StripeEvent.objects.values_list("type", flat=True))
    assert {"payment_intent.succeeded", "checkout.session.completed"} <= kinds and "charge.succeeded" not in kinds
    assert balance(wallet) == 50 * BRL
    assert LedgerEntry.objects.filter(kind="top_up").count() == 1
    assert not StripeEvent.objects.filter(status="due").exists()


def test_a_tampered_stale_or_strange_event_is_400_and_leaves_no_row(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    paid_checkout(wallet, door)
    door.post("hold", is_held=False)
    for lie in ({"is_tampered": True}, {"age_seconds": 301}, {"age_seconds": -3600}, {"secret": "whsec_of_somebody_else"}):
        assert door.deliver(type="payment_intent.succeeded", **lie) == [400], lie
    assert not StripeEvent.objects.exists() and balance(wallet) == 0
    assert door.deliver(type="payment_intent.succeeded", age_seconds=290) == [200]
    assert balance(wallet) == 50 * BRL
    assert "client_secret" not in StripeEvent.objects.get().payload["data"]["object"]


def test_an_older_secret_still_counts_while_it_is_being_changed(door: StripeSide, settings: Settings) -> None:
    old = settings.STRIPE_WEBHOOK_SECRETS[0]
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_the_new_one_0123456789abcdef", old]
    paid_checkout(make_wallet(brl="0"), door)
    assert door.deliver(type="payment_intent.succeeded") == [200]
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_the_new_one_0123456789abcdef"]
    assert door.deliver(type="payment_intent.succeeded") == [400]


def test_a_completed_page_whose_pix_is_unpaid_is_no_credit(door: StripeSide, settings: Settings) -> None:
    wallet = make_wallet(brl="0")
    payment = payments.open_checkout(wallet, amount_nanos=50 * BRL, by=None)
    session = next(record for record in door.all("checkout.session") if record["id"] == payment.session_id)
    assert session["payment_method_types"] == ["card"], "we ask for cards only; another session may say otherwise"
    other = stripe_client.create_session(
        {
            "mode": "payment", "allowed_payment_method_types": ["card", "pix"], "success_url": "http://127.0.0.1:9/",
            "line_items": [{"quantity": 1, "price_data": {"currency": "brl", "unit_amount": 5000, "product_data": {"name": "x"}}}],
            "payment_intent_data": {"metadata": {"payment": str(payment.id)}},
        },
        key="unpaid",
    )  # fmt: skip
    door.client.post(f"{door.url}/checkout/{other['id']}", data={"como": "pix"})
    assert 200 in door.deliver(type="checkout.session.completed")
    assert balance(wallet) == 0
    [intent] = door.all("payment_intent")
    door.post(f"pay-pix/{intent['id']}")
    assert door.deliver(type="checkout.session.async_payment_succeeded", times=3) == [200] * 3
    wait_until(lambda: balance(wallet) == 50 * BRL)  # whoever heard of it first may still be asking


def test_a_payment_whose_id_we_never_wrote_down_is_found_by_its_name(door: StripeSide) -> None:
    """The process died between Stripe's answer and our commit."""
    wallet = make_wallet(brl="0")
    card = save_card(wallet.organization)
    payment, _ = payments.mint(wallet, how=CardPayment.How.SAVED, amount_nanos=50 * BRL, by=None, card=card)
    asked = payments._intent_asked(payment, holders.holder_of(wallet.organization))
    stripe_client.create_intent(asked, key=f"topup-{payment.id}")
    assert door.deliver(type="payment_intent.succeeded") == [200]
    payment.refresh_from_db()
    assert payment.status == Status.PAID and payment.intent_id and balance(wallet) == 50 * BRL
    assert payments.register(payment).status == Status.PAID and sweep.sweep_payments() == 0


def test_what_no_event_told_is_found_on_stripes_list(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    payment = paid_checkout(wallet, door)
    CardPayment.everywhere.filter(pk=payment.pk).update(status=Status.EXPIRED, session_id=None)
    assert sweep.sweep_window(hours=1) == 1
    assert balance(wallet) == 50 * BRL and sweep.sweep_window(hours=1) == 0


def test_an_event_is_retried_when_stripe_is_silent(door: StripeSide) -> None:
    wallet = make_wallet(brl="0")
    paid_checkout(wallet, door)
    door.post("faults", read=["503"])
    assert door.deliver(type="payment_intent.succeeded") == [200]
    event = StripeEvent.objects.get()
    assert (event.status, event.failures, balance(wallet)) == ("due", 1, 0)
    StripeEvent.objects.update(due_at=event.received_at)
    assert sweep.sweep_events() == 1
    assert balance(wallet) == 50 * BRL


def test_an_event_of_what_stripe_does_not_know_is_done_with(door: StripeSide) -> None:
    assert events.store({"id": "evt_x", "type": "payment_intent.succeeded", "data": {"object": {"id": "pi_none"}}})
    event = StripeEvent.objects.get()
    events.follow_event(event)
    event.refresh_from_db()
    assert event.status == "done" and not LedgerEntry.objects.exists()
    with pytest.raises(StripeUnavailable):
        door.post("faults", read=["500"])
        events.follow_event(event)


# ── Without the network ──────────────────────────────────────────────────────────────────────────────────────────────
def tell(body: dict[str, object] | bytes, *, secret: str = "") -> int:
    from django.conf import settings

    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    secret = secret or settings.STRIPE_WEBHOOK_SECRETS[0]
    header = stripe.WebhookSignature.generate_signature_header(raw.decode("utf-8", "replace"), secret, int(time.time()))
    client = Client(enforce_csrf_checks=True)
    return client.post("/webhooks/stripe/", raw, content_type="application/json", headers={"Stripe-Signature": header}).status_code


EVENT = {
    "id": "evt_1", "type": "payment_intent.succeeded", "livemode": False, "data": {"object": {"id": "pi_1", "amount": 5000}},
}  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", [{"account": "acct_other"}, {"livemode": True}, {"type": "customer.created"}, {"type": "payment_intent.created"}]
)
def test_events_of_another_account_or_of_nothing_that_moves_are_forgotten(change: dict[str, object]) -> None:
    assert tell({**EVENT, **change}) == 200
    assert not StripeEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1","amount":NaN}}}',
             b"{", b'{"id": 1}', b'{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":[]}}',
             b'{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"\\u0000"}}}', b"\xff\xfe"],
)  # fmt: skip
def test_what_is_no_event_is_400_though_it_be_signed(body: bytes) -> None:
    assert tell(body) == 400
    assert not StripeEvent.objects.exists()


@pytest.mark.django_db
def test_a_known_event_costs_no_row_and_hurries_nobody(monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks) -> None:  # type: ignore[no-untyped-def]
    hurried: list[int] = []
    monkeypatch.setattr(webhook, "_hurry", hurried.append)
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(5):
            assert tell(EVENT) == 200
    assert StripeEvent.objects.get().deliveries == 5 and len(hurried) == 1
