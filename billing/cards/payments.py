"""A top-up by Stripe, from the amount asked to the money in the wallet. Stripe's answer is the truth; an event only hurries.

Opening: the row is minted and committed, then Stripe is asked with a key made from the row's id: the same request again is the
same payment (a process may die in between, the sweep goes on). Confirming: the payment is read at Stripe, and what was RECEIVED
is credited once under `stripe:<intent>`.

| how | what Stripe is asked for | then |
|---|---|---|
| CHECKOUT | a page of Stripe's on which the person pays | PENDING until they have paid, or the page expires |
| SAVED | a saved card, its holder being present | PAID, FAILED, or PENDING while their bank asks them |
| AUTO | a saved card, nobody being present | PAID or FAILED |
| PIX | a code, where the account has Pix | PENDING until it is paid, or expires |

A FAILED payment may still be paid (a bank that asks, later); money that came is credited whatever the row says.
Lock order: payment, then the ledger (which locks the wallet), then the automatic top-up.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterator

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext, gettext_noop

from accounts.models import User
from billing import top_ups
from billing.cards import holders, stripe_client
from billing.cards.booking import OPEN, fail, follow_intent
from billing.cards.declines import AUTHENTICATION
from billing.cards.errors import CardDeclined, CardRefused, StripeRefused, TooManyDeclines
from billing.models import Card, CardHolder, CardPayment, Wallet
from billing.money import to_centavos
from billing.pix.errors import TopUpRefused
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger("billing.cards")

How, Status = CardPayment.How, CardPayment.Status
PAGE_SECONDS_MIN = 1_800  # Stripe opens no page for less
CONFIRM_WINDOW = dt.timedelta(days=1)  # a bank that asked for its holder may be answered so long


# ── Opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def open_checkout(
    wallet: Wallet, *, amount_nanos: int, by: User | None, keeps_card: bool = False, payment_id: uuid.UUID | None = None
) -> CardPayment:
    """A payment with the address of Stripe's page. The same `payment_id` again is the same payment: two clicks are one.

    Raises TopUpRefused, TooManyOpenCharges, TooManyDeclines, CardRefused, StripeRefused; StripeUnavailable leaves it OPENING.
    """
    payment, _ = mint(wallet, how=How.CHECKOUT, amount_nanos=amount_nanos, by=by, keeps_card=keeps_card, payment_id=payment_id)
    return register(payment)


def pay_with_card(
    wallet: Wallet, *, amount_nanos: int, card: Card, by: User | None, payment_id: uuid.UUID | None = None
) -> CardPayment:
    """Charge a saved card while its holder looks on. A decline is no exception: the payment says FAILED and why."""
    if card.organization_id != wallet.organization_id or card.status != Card.Status.ACTIVE:
        raise CardRefused(gettext("Escolha um cartão salvo."))
    payment, _ = mint(wallet, how=How.SAVED, amount_nanos=amount_nanos, by=by, card=card, payment_id=payment_id)
    return register(payment)


def open_pix(wallet: Wallet, *, amount_nanos: int, by: User | None, payment_id: uuid.UUID | None = None) -> CardPayment:
    """A Pix code by Stripe, where the account has it (STRIPE_HAS_PIX)."""
    if not settings.STRIPE_HAS_PIX:
        raise TopUpRefused(gettext("O PIX pela Stripe não está disponível."))
    payment, _ = mint(wallet, how=How.PIX, amount_nanos=amount_nanos, by=by, payment_id=payment_id)
    return register(payment)


def mint(
    wallet: Wallet, *, how: CardPayment.How, amount_nanos: int, by: User | None, card: Card | None = None, keeps_card: bool = False,
    payment_id: uuid.UUID | None = None,
) -> tuple[CardPayment, bool]:  # fmt: skip
    """The payment's row, committed before Stripe is told; whether it is new."""
    if wallet.organization.is_suspended:
        raise CardRefused(gettext(holders.SUSPENDED))
    top_ups.check_amount(wallet.organization, amount_nanos=amount_nanos)
    with transaction.atomic():
        top_ups.lock_openings(wallet)
        known = CardPayment.everywhere.filter(pk=payment_id).first() if payment_id else None
        if known is not None:
            if (known.wallet_id, known.how, known.amount_nanos, known.card_id) != (
                wallet.pk,
                how,
                amount_nanos,
                card.pk if card else None,
            ):
                raise TopUpRefused(gettext("Este pedido já foi usado para outra recarga. Recarregue a página."))
            return known, False
        if how != How.AUTO:
            top_ups.check_open(wallet)
            _check_declines(wallet)
        now = clock.now()
        seconds = settings.CHARGE_EXPIRES_SECONDS if how == How.PIX else settings.CHECKOUT_SECONDS
        payment = CardPayment.everywhere.create(
            id=payment_id or clock.new_id(), wallet=wallet, how=how, amount_nanos=amount_nanos, card=card, keeps_card=keeps_card,
            created_by=by, created_at=now, expires_at=now + dt.timedelta(seconds=seconds),
        )  # fmt: skip
    crashpoint("card_payment_minted")
    return payment, True


def _check_declines(wallet: Wallet) -> None:
    """Somebody who tries stolen cards is declined a lot."""
    since = clock.now() - dt.timedelta(hours=1)
    declined = CardPayment.everywhere.filter(wallet=wallet, status=Status.FAILED, created_at__gte=since).exclude(how=How.AUTO)
    if declined.count() >= settings.CARD_FAILURES_MAX:
        raise TooManyDeclines(gettext("Muitos pagamentos foram recusados. Tente de novo daqui a uma hora, ou pague por PIX."))


def register(payment: CardPayment) -> CardPayment:
    """Tell Stripe about a minted payment and follow its answer. Safe to repeat; of a payment that Stripe knows, nothing.

    Raises StripeUnavailable (nothing is known), StripeRefused (then it is FAILED).
    """
    if payment.status != Status.OPENING:
        return payment
    CardPayment.everywhere.filter(pk=payment.pk).update(asked_at=clock.now())
    try:
        _ask(payment)
    except CardDeclined as decline:
        if decline.intent_id:
            follow_intent(payment, stripe_client.read_intent(decline.intent_id))
        else:
            fail(payment, decline_code=decline.decline_code)
    except StripeRefused as refusal:
        log.error("Stripe refused a payment", extra={"payment": str(payment.pk), "detail": str(refusal)})
        fail(payment, decline_code="", failure=gettext_noop("O serviço de cartões recusou a operação. Nada foi cobrado."))
        raise
    payment.refresh_from_db()
    return payment


def _ask(payment: CardPayment) -> None:
    holder = holders.holder_of(payment.wallet.organization)
    if _is_late(payment):
        _find_or_expire(payment, holder)
        return
    key = f"topup-{payment.id}"
    if payment.how == How.CHECKOUT:
        session = stripe_client.create_session(_session_asked(payment, holder), key=key)
        crashpoint("card_payment_asked")
        CardPayment.everywhere.filter(pk=payment.pk, status=Status.OPENING).update(status=Status.PENDING)
        CardPayment.everywhere.filter(pk=payment.pk).update(session_id=session["id"], page_url=session.get("url") or "")
        return
    intent = stripe_client.create_intent(_intent_asked(payment, holder), key=key)
    crashpoint("card_payment_asked")
    follow_intent(payment, intent)


def _is_late(payment: CardPayment) -> bool:
    """Whether to look for a payment instead of asking for it: Stripe may have forgotten the key, and nobody expects any more that
    their card is charged (a page needs half an hour at least)."""
    now = clock.now()
    margin = dt.timedelta(seconds=PAGE_SECONDS_MIN if payment.how == How.CHECKOUT else 0)
    return (now - payment.created_at).total_seconds() > stripe_client.KEY_SECONDS or payment.expires_at - margin <= now


def _named(payment: CardPayment) -> dict[str, str]:
    return {"payment": str(payment.id), "wallet": str(payment.wallet_id)}


def _session_asked(payment: CardPayment, holder: CardHolder) -> stripe_client.Json:
    """From the row alone: the same row asks for the same session."""
    page = page_of(payment)
    intent: stripe_client.Json = {"metadata": _named(payment), "description": f"Recarga Tokia {identifier_of(payment)}"}
    if payment.keeps_card:
        intent["setup_future_usage"] = "off_session"
    return {
        "mode": "payment", "customer": holder.stripe_id, "locale": "pt-BR", "client_reference_id": str(payment.id),
        "allowed_payment_method_types": ["card"], "metadata": _named(payment), "payment_intent_data": intent,
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": "brl", "unit_amount": to_centavos(payment.amount_nanos), "product_data": {"name": "Recarga Tokia"},
                },
            }
        ],
        "success_url": f"{page}?voltou=1", "cancel_url": f"{page}?desistiu=1", "expires_at": int(payment.expires_at.timestamp()),
    }  # fmt: skip


def _intent_asked(payment: CardPayment, holder: CardHolder) -> stripe_client.Json:
    asked: stripe_client.Json = {
        "amount": to_centavos(payment.amount_nanos), "currency": "brl", "customer": holder.stripe_id, "confirm": True,
        "metadata": _named(payment), "description": f"Recarga Tokia {identifier_of(payment)}",
    }  # fmt: skip
    if payment.how == How.PIX:
        return asked | {
            "allowed_payment_method_types": ["pix"], "payment_method_data": {"type": "pix"},
            "payment_method_options": {"pix": {"expires_after_seconds": settings.CHARGE_EXPIRES_SECONDS}},
        }  # fmt: skip
    assert payment.card is not None
    present = {"off_session": True} if payment.how == How.AUTO else {"return_url": f"{page_of(payment)}?voltou=1"}
    return asked | {"allowed_payment_method_types": ["card"], "payment_method": payment.card.stripe_id, **present}


def _find_or_expire(payment: CardPayment, holder: CardHolder) -> None:
    """What Stripe has of it counts; else it never was, and never will be."""
    since = int((payment.created_at - dt.timedelta(minutes=5)).timestamp())
    for page in stripe_client.list_intents(created_from=since, holder_id=holder.stripe_id or ""):
        for intent in page:
            if (intent.get("metadata") or {}).get("payment") == str(payment.id):
                follow_intent(payment, stripe_client.read_intent(intent["id"]))
                return
    CardPayment.everywhere.filter(pk=payment.pk, status=Status.OPENING).update(status=Status.EXPIRED)


# ── Confirming ───────────────────────────────────────────────────────────────────────────────────────────────────────
def confirm_payment(payment: CardPayment) -> CardPayment:
    """Ask Stripe about one payment and book what it says. Raises StripeUnavailable, StripeRefused."""
    CardPayment.everywhere.filter(pk=payment.pk).update(asked_at=clock.now())
    if payment.session_id:
        session = stripe_client.read_session(payment.session_id)
        intent = session.get("payment_intent")
        if intent:
            follow_intent(payment, stripe_client.read_intent(intent["id"]))
        if session.get("status") == "expired":
            CardPayment.everywhere.filter(pk=payment.pk, status__in=OPEN).update(status=Status.EXPIRED)
    elif payment.intent_id:
        follow_intent(payment, stripe_client.read_intent(payment.intent_id))
    elif payment.status == Status.OPENING:
        register(payment)
    payment.refresh_from_db()
    if payment.status in OPEN and payment.expires_at <= clock.now():
        _expire(payment)
    return payment


def _expire(payment: CardPayment) -> None:
    """Past its time nobody may pay it any more: Stripe is told first, and what it says counts."""
    try:
        if payment.session_id:
            stripe_client.expire_session(payment.session_id)
        elif payment.intent_id:
            stripe_client.cancel_intent(payment.intent_id)
    except StripeRefused:  # it was paid, or ended, this instant: the next question tells
        if payment.intent_id:
            follow_intent(payment, stripe_client.read_intent(payment.intent_id))
    CardPayment.everywhere.filter(pk=payment.pk, status__in=OPEN).update(status=Status.EXPIRED)
    payment.refresh_from_db()


def confirm_on_session(payment: CardPayment) -> CardPayment:
    """The cardholder is here now: ask their bank again. Its page, if it has one, is then `page_url`.

    Raises CardRefused where nothing waits for them, StripeUnavailable.
    """
    if not may_confirm(payment) or payment.card is None or payment.intent_id is None:
        raise CardRefused(gettext("Este pagamento não espera mais por confirmação."))
    asked = {"payment_method": payment.card.stripe_id, "return_url": f"{page_of(payment)}?voltou=1"}
    try:
        follow_intent(payment, stripe_client.confirm_intent(payment.intent_id, asked, key=f"confirm-{uuid.uuid4()}"))
    except CardDeclined:
        follow_intent(payment, stripe_client.read_intent(payment.intent_id))
    except StripeRefused as refusal:  # paid or cancelled meanwhile
        log.info("nothing to confirm", extra={"payment": str(payment.pk), "detail": str(refusal)})
        follow_intent(payment, stripe_client.read_intent(payment.intent_id))
    payment.refresh_from_db()
    return payment


def may_confirm(payment: CardPayment) -> bool:
    """Whether the cardholder's bank waits for them, and no other top-up came after (one need must not be paid twice)."""
    if (
        payment.status != Status.FAILED
        or payment.decline_code != AUTHENTICATION
        or payment.created_at <= clock.now() - CONFIRM_WINDOW
    ):
        return False
    if payment.wallet.organization.is_suspended:
        return False
    later = CardPayment.everywhere.filter(wallet_id=payment.wallet_id, how=payment.how, created_at__gt=payment.created_at)
    return not later.filter(status__in=(*OPEN, Status.PAID)).exists()


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def awaiting(wallet: Wallet) -> Iterator[CardPayment]:
    """What people opened and have not paid, newest first."""
    rows = CardPayment.everywhere.filter(wallet=wallet, status__in=OPEN, expires_at__gt=clock.now()).exclude(how=How.AUTO)
    yield from rows.order_by("-created_at")


def identifier_of(payment: CardPayment) -> str:
    """What Stripe's dashboard shows and a person can read out."""
    return f"TK{payment.id.hex[-8:].upper()}"


def page_of(payment: CardPayment) -> str:
    return f"{settings.WEB_URL}{reverse('card_payment', args=[payment.id])}"
