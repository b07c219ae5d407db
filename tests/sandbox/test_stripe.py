"""The sandbox's Stripe as the official SDK meets it: strict parameters, errors in Stripe's shape, keys, lists, signed events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tests.sandbox.conftest import Sandbox
from tokia.sandbox.stripe_hooks import signature
from tokia.sandbox.stripe_types import Slip, check, unflatten

# The SDK's own httpx client uses httpx in an older way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
CARD: Any = {
    "amount": 5_000, "currency": "brl", "payment_method": "pm_card_visa", "confirm": True, "allowed_payment_method_types": ["card"],
    "return_url": "http://127.0.0.1:9/",
}  # fmt: skip


@pytest.fixture(scope="module")
def open_client(sandbox: Sandbox) -> Iterator[stripe.StripeClient]:
    client = stripe.HTTPXClient(allow_sync_methods=True, timeout=10)
    addresses: Any = {"api": f"{sandbox.url}/stripe"}
    yield stripe.StripeClient("sk_test_tokia_sandbox", base_addresses=addresses, http_client=client, max_network_retries=0)
    client.close()  # type: ignore[no-untyped-call]
    asyncio.run(client.close_async())  # type: ignore[no-untyped-call]


@pytest.fixture
def client(open_client: stripe.StripeClient, sandbox: Sandbox) -> stripe.StripeClient:
    sandbox.post("/stripe/api/reset")
    sandbox.post("/stripe/api/settings", {"has_pix": False, "refund_ms": 50})
    return open_client


def test_a_card_pays_and_leaves_all_that_a_reconciliation_reads(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"name": "Acme", "metadata": {"organization": "1"}})
    intent = client.v1.payment_intents.create(CARD | {"customer": customer.id, "expand": ["latest_charge"]})
    assert (intent.status, intent.amount_received, intent.livemode) == ("succeeded", 5_000, False)
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge) and charge.payment_method_details is not None
    [moved] = client.v1.balance_transactions.list({"created": {"gte": intent.created}, "type": "charge"}).data
    assert (moved.amount, moved.source, moved.net) == (5_000, charge.id, 5_000 - moved.fee)
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 2_000})
    assert refund.status == "succeeded"
    assert [row.id for row in client.v1.refunds.list({"payment_intent": intent.id}).data] == [refund.id]
    assert client.v1.charges.retrieve(charge.id).amount_refunded == 2_000
    kinds = [event.type for event in client.v1.events.list({"limit": 100}).data]
    assert kinds.index("charge.refunded") < kinds.index("payment_intent.succeeded"), "newest first"


def test_lists_go_by_pages(client: stripe.StripeClient) -> None:
    made = [client.v1.payment_intents.create(CARD | {"amount": 1_000 + number}).id for number in range(5)]
    first = client.v1.payment_intents.list({"limit": 2})
    assert [intent.id for intent in first.data] == [made[4], made[3]] and first.has_more
    assert [intent.id for intent in client.v1.payment_intents.list({"limit": 2}).auto_paging_iter()] == made[::-1]
    assert client.v1.payment_intents.list({"created": {"gt": 4_000_000_000}}).data == []


def test_a_key_replays_the_same_answer_and_refuses_other_parameters(client: stripe.StripeClient) -> None:
    first = client.v1.payment_intents.create(CARD, {"idempotency_key": "topup-1"})
    again = client.v1.payment_intents.create(CARD, {"idempotency_key": "topup-1"})
    assert first.id == again.id and again.last_response is not None
    with pytest.raises(stripe.IdempotencyError):
        client.v1.payment_intents.create(CARD | {"amount": 6_000}, {"idempotency_key": "topup-1"})
    declined = CARD | {"payment_method": "pm_card_chargeDeclined"}
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            client.v1.payment_intents.create(declined, {"idempotency_key": "topup-2"})
    assert len(client.v1.payment_intents.list().data) == 2


@pytest.mark.parametrize(
    ("token", "off_session", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", False, "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", False, "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", False, "expired_card", "expired_card"),
        ("pm_card_authenticationRequired", True, "authentication_required", "authentication_required"),
    ],
)
def test_declines_say_what_stripe_says(
    client: stripe.StripeClient, token: str, off_session: bool, code: str, decline_code: str
) -> None:
    with pytest.raises(stripe.CardError) as refusal:
        client.v1.payment_intents.create(CARD | {"payment_method": token} | ({"off_session": True} if off_session else {}))
    assert (refusal.value.http_status, refusal.value.code) == (402, code)
    body: Any = refusal.value.json_body
    assert body["error"]["decline_code"] == decline_code
    assert body["error"]["payment_intent"]["status"] == "requires_payment_method"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"amount": "50.00"}, "amount"),
        ({"amount": 49}, "amount"),
        ({"currency": "usd"}, "currency"),
        ({"payment_method_types": ["card"]}, "payment_method_types"),
        ({"made_up": 1}, "made_up"),
        ({"confirm": "yes"}, "confirm"),
        ({"payment_method_options": {"pix": {"expires_after_seconds": 10}}}, "payment_method_options[pix][expires_after_seconds]"),
        ({"payment_method_options": {"pix": {"made_up": 1}}}, "payment_method_options[pix][made_up]"),
        ({"customer": "cus_nobody"}, "customer"),
    ],
)
def test_it_refuses_what_the_published_types_do_not_know(client: stripe.StripeClient, changes: dict[str, Any], param: str) -> None:
    wanted: Any = CARD | changes
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.payment_intents.create(wanted)
    assert refusal.value.http_status == 400 and refusal.value.param == param
    assert client.v1.payment_intents.list().data == []


def test_it_knows_no_other_key_object_or_address(client: stripe.StripeClient, sandbox: Sandbox) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.payment_intents.retrieve("pi_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    answer = sandbox.http.get("/stripe/v1/payment_intents", headers={"authorization": "Bearer sk_test_other"})
    assert answer.status_code == 401 and "message" in answer.json()["error"]
    headers = {"authorization": "Bearer sk_test_tokia_sandbox"}
    assert sandbox.http.get("/stripe/v1/teapots", headers=headers).status_code == 404


def test_a_pix_needs_an_account_that_has_it_and_is_paid_on_its_page(client: stripe.StripeClient, sandbox: Sandbox) -> None:
    pix: Any = {
        "amount": 5_000, "currency": "brl", "confirm": True, "payment_method_data": {"type": "pix"},
        "allowed_payment_method_types": ["pix"], "payment_method_options": {"pix": {"expires_after_seconds": 3_600}},
    }  # fmt: skip
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create(pix)
    sandbox.post("/stripe/api/settings", {"has_pix": True})
    intent = client.v1.payment_intents.create(pix)
    assert intent.status == "requires_action" and intent.next_action is not None
    assert intent.next_action.type == "pix_display_qr_code"
    page = f"/stripe/pix/{intent.id}"
    assert "R$ 50,00" in sandbox.http.get(page).text
    assert sandbox.http.post(page).status_code == 303
    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert "pago" in sandbox.http.get("/stripe/").text.lower()


def test_a_saved_card_can_not_be_charged_after_it_was_detached(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({})
    other = client.v1.customers.create({})
    setup = client.v1.setup_intents.create({"customer": customer.id, "payment_method": "pm_card_visa", "confirm": True})
    card = str(setup.payment_method)
    saved = CARD | {"payment_method": card, "off_session": True}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create(saved | {"customer": other.id})
    assert client.v1.payment_intents.create(saved | {"customer": customer.id}).status == "succeeded"
    client.v1.payment_methods.detach(card)
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.payment_methods.detach(card)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create(saved | {"customer": customer.id})


def test_a_dispute_takes_the_money_and_gives_it_back(client: stripe.StripeClient, sandbox: Sandbox) -> None:
    intent = client.v1.payment_intents.create(CARD)
    dispute = client.v1.disputes.retrieve(sandbox.post(f"/stripe/api/dispute/{intent.id}")["id"])
    assert dispute.status == "needs_response" and [moved.amount for moved in dispute.balance_transactions] == [-5_000]
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refusal.value.code == "charge_disputed"
    sandbox.post(f"/stripe/api/close-dispute/{dispute.id}", {"outcome": "won"})
    assert sum(moved.amount for moved in client.v1.disputes.retrieve(dispute.id).balance_transactions) == 0


def test_a_session_expires_by_the_clock_and_the_faults_do_what_they_say(client: stripe.StripeClient, sandbox: Sandbox) -> None:
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment", "success_url": "http://127.0.0.1:9/?s={CHECKOUT_SESSION_ID}",
            "line_items": [{"quantity": 2, "price_data": {"currency": "brl", "unit_amount": 750, "product_data": {"name": "x"}}}],
        }
    )  # fmt: skip
    assert (session.status, session.amount_total) == ("open", 1_500)
    sandbox.post("/stripe/api/clock", {"offset_seconds": 90_000})
    assert client.v1.checkout.sessions.retrieve(session.id).status == "expired"
    sandbox.post("/stripe/api/faults", {"read": ["503", "429"], "create": ["500"]})
    with pytest.raises(stripe.APIError):
        client.v1.payment_intents.list()
    with pytest.raises(stripe.RateLimitError):
        client.v1.payment_intents.list()
    with pytest.raises(stripe.APIError):
        client.v1.payment_intents.create(CARD)


def test_its_signature_is_the_one_that_the_sdk_checks() -> None:
    import time

    body, now = b'{"id": "evt_1"}', int(time.time())
    assert stripe.WebhookSignature.verify_header(body, signature(body, secret="whsec_x", at=now), "whsec_x", 300)
    for header in (signature(body, secret="whsec_y", at=now), signature(body, secret="whsec_x", at=now - 301)):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(body, header, "whsec_x", 300)


def test_a_form_is_read_as_nested_and_typed() -> None:
    asked = unflatten("line_items[0][quantity]=1&line_items[0][price_data][unit_amount]=5&expand[]=a&expand[]=b&metadata[x]=1")
    assert asked == {
        "line_items": [{"quantity": "1", "price_data": {"unit_amount": "5"}}], "expand": ["a", "b"], "metadata": {"x": "1"},
    }  # fmt: skip
    assert check({"amount": "5", "currency": "brl", "metadata": {"x": "1"}}, class_name="PaymentIntentCreateParams")["amount"] == 5
    for form in ("a[b=1", "a=1&a[b]=2"):
        with pytest.raises((Slip, ValueError)):
            unflatten(form)
