"""What Stripe says of a payment, in our books: the status moves with it, and what was received is credited once.

The credit's reference is `stripe:<intent>`, so that any number of events, sweeps and people who ask come to one entry.
Lock order: payment, then the ledger (which locks the wallet), then the automatic top-up.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid

from django.conf import settings
from django.db import transaction

from billing import events, ledger
from billing.cards import auto_top_ups, holders, stripe_client
from billing.cards.declines import AUTHENTICATION, words_for
from billing.cards.errors import StripeRefused, StripeUnavailable
from billing.models import Card, CardHolder, CardPayment, LedgerEntry, Lot
from billing.money import from_centavos, to_brl
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger("billing.cards")

How, Status = CardPayment.How, CardPayment.Status
OPEN = (Status.OPENING, Status.PENDING)
WORLD_STRIPE = "world:stripe"


# ── Booking ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def follow_intent(payment: CardPayment, intent: stripe_client.Json) -> None:
    """Move a payment to where Stripe says it is. Repeatable, in any sequence."""
    keep_of: stripe_client.Json | None = None
    with transaction.atomic():
        locked = (
            CardPayment.everywhere.select_for_update(of=("self",)).select_related("wallet__organization", "card").get(pk=payment.pk)
        )
        if locked.intent_id is None:
            locked.intent_id = intent["id"]
        if locked.intent_id != intent["id"]:
            if intent["status"] != "succeeded":
                return
            locked = _twin(locked, intent)
        if intent["status"] == "succeeded":
            keep_of = intent if _credit(locked, intent) else None
        elif locked.status != Status.PAID:
            _move(locked, intent)
        locked.save()
    crashpoint("card_payment_credited")
    if keep_of is not None and keep_of.get("setup_future_usage") and keep_of.get("payment_method"):
        _keep_card(locked, str(keep_of["payment_method"]))


def _twin(payment: CardPayment, intent: stripe_client.Json) -> CardPayment:
    """A second payment at Stripe under one of ours: it can't be, by the key; but money is money, and gets a row of its own."""
    log.critical("two intents of one payment", extra={"payment": str(payment.pk), "intent": intent["id"]})
    twin = CardPayment.everywhere.filter(intent_id=intent["id"]).select_related("wallet__organization", "card").first()
    return twin or CardPayment(
        id=clock.new_id(), wallet=payment.wallet, how=How.CHECKOUT, amount_nanos=from_centavos(int(intent["amount"])),
        intent_id=intent["id"], status=Status.PENDING, created_at=clock.now(), expires_at=payment.expires_at,
    )  # fmt: skip


def _credit(payment: CardPayment, intent: stripe_client.Json) -> bool:
    """The one entry of a payment, for ever; False where it was credited before."""
    if intent.get("currency") != "brl":
        log.critical("a payment in another currency", extra={"intent": intent["id"], "currency": intent.get("currency")})
        return False
    received_nanos = from_centavos(int(intent["amount_received"]))
    by = payment.created_by.email if payment.created_by else "stripe"
    entry = ledger.post_entry(
        kind=LedgerEntry.Kind.TOP_UP, reference=f"stripe:{intent['id']}", wallet=payment.wallet, amount_nanos=received_nanos,
        book=WORLD_STRIPE, lot_kind=Lot.Kind.PAID, actor=by,
    )  # fmt: skip
    if payment.status == Status.PAID:
        return False
    payment.status, payment.received_nanos, payment.paid_at = Status.PAID, received_nanos, entry.created_at
    payment.decline_code = payment.failure = payment.page_url = ""
    payment.paid_with = _paid_with(payment, intent)[:60]
    if received_nanos != payment.amount_nanos:
        log.warning("paid another amount", extra={"intent": intent["id"], "received_nanos": received_nanos})
    is_auto = payment.how == How.AUTO
    events.tell(
        payment.wallet.organization, "wallet.top_up", reference=f"wallet.top_up:stripe:{intent['id']}", is_mailed=not is_auto,
        payload={
            "amount": f"{to_brl(received_nanos):.2f}", "paid_by": "pix" if payment.how == How.PIX else "card",
            "reference": str(payment.id), "is_automatic": is_auto,
        },
    )  # fmt: skip
    if is_auto:
        auto_top_ups.note_success(payment)
    return True


def _paid_with(payment: CardPayment, intent: stripe_client.Json) -> str:
    if payment.how == How.PIX:
        return "PIX"
    charge = intent.get("latest_charge")
    card = (((charge if isinstance(charge, dict) else {}).get("payment_method_details") or {}).get("card")) or {}
    if card.get("last4"):
        return str(Card(brand=str(card.get("brand") or "cartão"), last4=str(card["last4"])))
    return str(payment.card) if payment.card else "Cartão"


def _move(payment: CardPayment, intent: stripe_client.Json) -> None:
    status, action = intent["status"], intent.get("next_action") or {}
    if status in ("requires_action", "processing", "requires_confirmation", "requires_capture"):
        payment.status = Status.PENDING
        if payment.how != How.CHECKOUT:
            payment.page_url = (action.get("redirect_to_url") or {}).get("url") or ""
        if code := action.get("pix_display_qr_code"):
            payment.brcode = str(code["data"])[:512]
            payment.expires_at = dt.datetime.fromtimestamp(int(code["expires_at"]), dt.UTC)
    elif status == "canceled" and payment.status in OPEN:
        payment.status = Status.EXPIRED
    elif status == "requires_payment_method" and payment.how != How.CHECKOUT and payment.status in OPEN:
        # On Stripe's own page a person may try another card: only the end of the page ends that payment.
        slip = intent.get("last_payment_error") or {}
        code = str(slip.get("decline_code") or slip.get("code") or "")
        if payment.how == How.PIX:
            payment.status = Status.EXPIRED
        else:
            _fail(payment, decline_code=AUTHENTICATION if AUTHENTICATION in (code, slip.get("code")) else code)


def fail(payment: CardPayment, *, decline_code: str, failure: str = "") -> None:
    """Stripe named no payment: nothing was taken, and nothing ever will be."""
    with transaction.atomic():
        locked = CardPayment.everywhere.select_for_update(of=("self",)).select_related("wallet__organization").get(pk=payment.pk)
        if locked.status in OPEN:
            _fail(locked, decline_code=decline_code, failure=failure)
            locked.save()


def _fail(payment: CardPayment, *, decline_code: str, failure: str = "") -> None:
    payment.status, payment.decline_code, payment.page_url = Status.FAILED, decline_code[:60], ""
    payment.failure = failure or words_for(decline_code)
    if payment.how == How.AUTO:
        auto_top_ups.note_failure(payment, failures_max=settings.AUTO_TOP_UP_FAILURES_MAX)


def _keep_card(payment: CardPayment, card_id: str) -> None:
    """The person asked for it on the page; without an answer the event keeps it."""
    holder = CardHolder.everywhere.filter(organization=payment.wallet.organization).first()
    try:
        card = holders.keep_card(holder, stripe_client.read_card(card_id)) if holder else None
    except (StripeUnavailable, StripeRefused) as silence:
        log.warning("a card that was not kept", extra={"payment": str(payment.pk), "detail": str(silence)})
        return
    if card is not None:
        CardPayment.everywhere.filter(pk=payment.pk, card=None).update(card=card)


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def payment_of_intent(intent: stripe_client.Json) -> CardPayment | None:
    """Ours by Stripe's id, or by the name that we gave it: a process may have died before it wrote the id down."""
    rows = CardPayment.everywhere.select_related("wallet__organization", "card")
    found = rows.filter(intent_id=intent["id"]).first()
    if found is None:
        try:
            found = rows.filter(pk=uuid.UUID(str((intent.get("metadata") or {}).get("payment")))).first()
        except ValueError:
            return None
    return found


def follow_unknown(intent: stripe_client.Json) -> bool:
    """Book a payment that Stripe tells of; False where it is none of ours (somebody made it on the dashboard)."""
    payment = payment_of_intent(intent)
    if payment is None:
        if intent.get("status") == "succeeded":
            log.error("a payment at Stripe that is none of ours", extra={"intent": intent["id"]})
        return False
    follow_intent(payment, intent)
    return True
