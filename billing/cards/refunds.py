"""Card top-ups on their way back: refunds that we ask at Stripe, and those that somebody made on its dashboard.

Money is held before Stripe is asked (`billing.refund_books.open_refund` with `card_payment`), settled when Stripe says succeeded,
released when it says failed or canceled. The key is the row's id: asking again is asking for the same one.
A refund can fail after it succeeded (the card is closed): the money is the wallet's again, by an entry of its own.
"""

from __future__ import annotations

import logging
import uuid

from django.db import IntegrityError, transaction
from django.utils.translation import gettext_noop

from billing import ledger
from billing.cards import stripe_client
from billing.cards.booking import WORLD_STRIPE
from billing.cards.errors import CardDeclined, StripeRefused, StripeUnavailable
from billing.errors import InsufficientBalance
from billing.models import CardPayment, Dispute, LedgerEntry, Lot, Refund
from billing.money import from_centavos, to_centavos
from billing.refund_books import finish_refund, left_of, mark_processing, open_refund
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger("billing.cards")

STRANGER, STRANGER_REASON = "stripe", gettext_noop("Devolução feita no painel da Stripe.")
GIVEN_BACK = gettext_noop("O banco do cartão não aceitou a devolução; o valor voltou ao saldo.")


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def payment_of(lot: Lot) -> CardPayment | None:
    """The payment that a lot came from; None for money that did not come by Stripe."""
    kind, _, intent_id = lot.entry.reference.partition(":")
    if kind != "stripe" or lot.kind != Lot.Kind.PAID:
        return None
    return CardPayment.everywhere.filter(intent_id=intent_id).first()


def is_disputed(payment: CardPayment) -> bool:
    """Stripe returns no money of a payment whose cardholder contests it."""
    return Dispute.everywhere.filter(payment=payment).exclude(status=Dispute.Status.WON).exists()


def refundable_nanos(lot: Lot) -> int:
    """The unused part of a card top-up, in whole centavos; 0 where it can't go back."""
    payment = payment_of(lot)
    return 0 if payment is None or is_disputed(payment) else left_of(lot)


def refund_lot(lot: Lot, *, amount_nanos: int, by: str, reason: str, refund_id: uuid.UUID | None = None) -> Refund:
    """Hold unused money of a card top-up and ask Stripe to return it. Raises RefundRefused; Stripe's silence is no error.

    `billing.refunds.refund_lot` is the parent of both ways back, with the customer's rules.
    """
    refund = open_refund(
        lot, refund_id=refund_id or uuid.uuid4(), amount_nanos=amount_nanos, by=by, reason=reason, card_payment=payment_of(lot)
    )
    return ask_refund(refund) if refund.status == Refund.Status.HELD else refund


def ask_refund(refund: Refund) -> Refund:
    """Ask, or ask again with the same key. Silence leaves it held: the sweep goes on. Only a definite no releases it."""
    Refund.objects.filter(pk=refund.pk).update(asked_at=clock.now())
    crashpoint("refund_held")
    payment = refund.card_payment
    assert payment is not None
    assert payment.intent_id is not None
    try:
        if (clock.now() - refund.created_at).total_seconds() > stripe_client.KEY_SECONDS:
            told = _find(refund, payment.intent_id)  # the key may be forgotten: asking again could return it twice
        else:
            told = stripe_client.create_refund(
                intent_id=payment.intent_id, amount=to_centavos(refund.amount_nanos), key=f"refund-{refund.id}",
                metadata={"refund": str(refund.id)},
            )  # fmt: skip
        crashpoint("card_refund_asked")
        follow_refund(refund, told)
    except StripeUnavailable as silence:
        log.warning("no answer about a refund", extra={"refund": str(refund.pk), "detail": str(silence)})
    except (StripeRefused, CardDeclined) as refusal:
        _settle_doubt(refund, payment.intent_id, str(refusal))
    refund.refresh_from_db()
    return refund


def read_refund(refund: Refund) -> Refund:
    """Ask how a refund under way stands. Raises StripeUnavailable."""
    Refund.objects.filter(pk=refund.pk).update(asked_at=clock.now())
    if refund.stripe_id:
        try:
            follow_refund(refund, stripe_client.read_refund(refund.stripe_id))
        except StripeRefused as refusal:
            raise StripeUnavailable(str(refusal)) from refusal
    refund.refresh_from_db()
    return refund


def _find(refund: Refund, intent_id: str) -> stripe_client.Json:
    """Raises StripeRefused where Stripe has none of ours."""
    for page in stripe_client.list_refunds(intent_id=intent_id):
        for told in page:
            if (told.get("metadata") or {}).get("refund") == str(refund.id):
                return told
    raise StripeRefused(http_status=404, kind="resource_missing", detail="refund: never asked")


def _settle_doubt(refund: Refund, intent_id: str, detail: str) -> None:
    """A refused request may be the echo of one that went through: look for it before giving the money back."""
    try:
        follow_refund(refund, _find(refund, intent_id))
    except StripeRefused:
        log.error("Stripe refused a refund", extra={"refund": str(refund.pk), "detail": detail})
        finish_refund(refund, status=Refund.Status.REFUSED, bank_reason=_reason_of(detail), book=WORLD_STRIPE)
    except StripeUnavailable as silence:
        log.warning("no answer about a refund", extra={"refund": str(refund.pk), "detail": str(silence)})


def _reason_of(detail: str) -> str:
    if "charge_disputed" in detail:
        return gettext_noop("A compra foi contestada pelo titular do cartão.")
    if "charge_already_refunded" in detail or "amount_too_large" in detail:
        return gettext_noop("Este valor já foi devolvido ao cartão.")
    return gettext_noop("A Stripe recusou a devolução.")


# ── Stripe's answer ──────────────────────────────────────────────────────────────────────────────────────────────────
def follow_refund(refund: Refund, told: stripe_client.Json) -> None:
    """Move a refund to where Stripe says it is. Repeatable, in any sequence."""
    if from_centavos(int(told["amount"])) != refund.amount_nanos:
        log.critical("Stripe refunds another amount", extra={"refund": str(refund.pk), "stripe_id": told["id"]})
        return
    Refund.objects.filter(pk=refund.pk, stripe_id=None).update(stripe_id=told["id"])
    status = told.get("status")
    if status == "succeeded":
        finish_refund(refund, status=Refund.Status.DONE, book=WORLD_STRIPE)
    elif status in ("failed", "canceled"):
        is_moved = finish_refund(refund, status=Refund.Status.REFUSED, bank_reason=_failure_of(told), book=WORLD_STRIPE)
        if not is_moved:
            _give_back(refund)
    else:
        mark_processing(refund)


def _failure_of(told: stripe_client.Json) -> str:
    if told.get("status") == "canceled":
        return gettext_noop("A devolução foi cancelada.")
    return {
        "lost_or_stolen_card": gettext_noop("O cartão foi cancelado pelo banco."),
        "expired_or_canceled_card": gettext_noop("O cartão venceu ou foi cancelado."),
        "charge_for_pending_refund_disputed": gettext_noop("A compra foi contestada pelo titular do cartão."),
        "insufficient_funds": gettext_noop("A devolução não pôde ser paga agora. Fale com a gente."),
        "declined": gettext_noop("O banco do cartão recusou a devolução."),
        "merchant_request": gettext_noop("A devolução foi cancelada."),
    }.get(str(told.get("failure_reason")), gettext_noop("O banco do cartão não aceitou a devolução."))


def _give_back(refund: Refund) -> None:
    """It was DONE, and then failed: Stripe has the money again, and so has the wallet. Once."""
    with transaction.atomic():
        locked = (
            Refund.objects.select_for_update(of=("self",)).select_related("lot__wallet", "card_payment__wallet").get(pk=refund.pk)
        )
        if locked.status != Refund.Status.DONE or locked.returned_at is not None or locked.card_payment is None:
            return
        ledger.post_entry(
            kind=LedgerEntry.Kind.CORRECTION, reference=f"refund:{locked.id}:returned", wallet=locked.card_payment.wallet,
            amount_nanos=locked.amount_nanos, book=WORLD_STRIPE, lot_kind=Lot.Kind.PAID, reason=GIVEN_BACK, actor="stripe",
        )  # fmt: skip
        locked.returned_at, locked.bank_reason = clock.now(), GIVEN_BACK
        locked.save(update_fields=["returned_at", "bank_reason"])
    log.error("a refund came back", extra={"refund": str(refund.pk)})


# ── What Stripe tells ────────────────────────────────────────────────────────────────────────────────────────────────
def follow_told(told: stripe_client.Json) -> None:
    """A refund at Stripe: ours moves its row, a stranger's (made on the dashboard) is booked too. Of a payment that is not ours,
    nothing."""
    refund = _ours(told)
    if refund is not None:
        follow_refund(refund, told)
        return
    payment = (
        CardPayment.everywhere.select_related("wallet__organization").filter(intent_id=told.get("payment_intent") or "-").first()
    )
    if payment is not None and told.get("status") == "succeeded":
        _book_stranger(payment, told)


def follow_refunds_of(intent_id: str) -> None:
    """Every refund of a payment. Raises StripeUnavailable."""
    for page in stripe_client.list_refunds(intent_id=intent_id):
        for told in page:
            follow_told(told)


def _ours(told: stripe_client.Json) -> Refund | None:
    found = Refund.objects.filter(stripe_id=told["id"]).first()
    if found is None and (name := (told.get("metadata") or {}).get("refund")):
        try:
            found = Refund.objects.filter(pk=uuid.UUID(str(name)), card_payment__intent_id=told.get("payment_intent")).first()
        except ValueError:
            return None
    return found


def _book_stranger(payment: CardPayment, told: stripe_client.Json) -> None:
    """Money that left without us: out of what is unused of the top-up, as a refund like any other; where that is not enough, as a
    dispute (which may leave an overdraft), for the money is gone, whatever the wallet says."""
    entry = LedgerEntry.objects.get(reference=f"stripe:{payment.intent_id}")
    lot = Lot.everywhere.select_related("entry", "wallet__organization").get(entry=entry)
    amount_nanos = from_centavos(int(told["amount"]))
    refund = Refund(
        id=uuid.uuid4(), lot=lot, card_payment=payment, stripe_id=told["id"], amount_nanos=amount_nanos, reason=STRANGER_REASON,
        requested_by=STRANGER,
    )  # fmt: skip
    try:
        with transaction.atomic():
            refund.save(force_insert=True)
            ledger.reserve_refund(refund.id, lot=lot, amount_nanos=amount_nanos)
            finish_refund(refund, status=Refund.Status.DONE, book=WORLD_STRIPE)
    except IntegrityError:  # another event of the same refund was faster
        return
    except InsufficientBalance:
        _book_beyond(payment, entry=entry, told=told, amount_nanos=amount_nanos)
    log.warning("a refund that we did not ask", extra={"stripe_id": told["id"], "wallet": payment.wallet_id})


def _book_beyond(payment: CardPayment, *, entry: LedgerEntry, told: stripe_client.Json, amount_nanos: int) -> None:
    try:
        with transaction.atomic():
            Refund.objects.create(
                id=uuid.uuid4(), lot=None, card_payment=payment, stripe_id=told["id"], amount_nanos=amount_nanos,
                reason=STRANGER_REASON, requested_by=STRANGER, status=Refund.Status.DONE, done_at=clock.now(),
            )  # fmt: skip
            ledger.post_entry(
                kind=LedgerEntry.Kind.DISPUTE, reference=f"stripe-refund:{told['id']}", wallet=payment.wallet,
                amount_nanos=-amount_nanos, book=WORLD_STRIPE, reason=STRANGER_REASON, actor="stripe", reverses=entry,
            )  # fmt: skip
    except IntegrityError:
        return
