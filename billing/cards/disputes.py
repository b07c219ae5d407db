"""Chargebacks. Stripe takes the money at once and decides later: so does the wallet, and the organization waits, suspended.

What counts is where the money is, by the dispute's movements at Stripe (`balance_transactions`): withdrawn, the wallet gives what
is there and owes the rest; given back, the wallet has it again. Each turn is an entry of its own (`dispute:<id>:<round>`), so that
events in any sequence come to the same books. An inquiry (`warning_…`) moves nothing and suspends nobody.
A suspension ends by itself only where a dispute began it and no other is open or lost.
"""

from __future__ import annotations

import datetime as dt
import logging

from django.db import transaction
from django.utils.translation import gettext_noop

from accounts.models import Organization
from accounts.suspension import reactivate, suspend
from billing import events, ledger
from billing.cards import stripe_client
from billing.cards.booking import WORLD_STRIPE, follow_intent
from billing.models import CardPayment, Dispute, LedgerEntry
from billing.money import from_centavos, to_brl
from tokia import clock

log = logging.getLogger("billing.cards")

SUSPENDED_REASON = gettext_noop("Um pagamento com cartão foi contestado pelo titular.")
TAKEN_REASON = gettext_noop("Pagamento contestado pelo titular do cartão.")
GIVEN_REASON = gettext_noop("Contestação encerrada a nosso favor.")


def follow_dispute(dispute_id: str) -> Dispute | None:
    """Ask Stripe how a dispute stands and book it. None for an inquiry, or a payment that is not ours. Raises StripeUnavailable."""
    told = stripe_client.read_dispute(dispute_id)
    payment = CardPayment.everywhere.filter(intent_id=_id_of(told.get("payment_intent")) or "-").first()
    if payment is None:
        log.error("a dispute of a payment that is none of ours", extra={"dispute": dispute_id})
        return None
    if payment.status != CardPayment.Status.PAID:  # the dispute's event was faster than the payment's
        follow_intent(payment, stripe_client.read_intent(str(payment.intent_id)))
    if str(told["status"]).startswith("warning") or told["status"] == "prevented":
        return None
    return _book(payment, told)


def _book(payment: CardPayment, told: stripe_client.Json) -> Dispute:
    moved = sum(int(movement["amount"]) for movement in told.get("balance_transactions") or [])
    is_withdrawn, status = (
        moved < 0,
        {"won": Dispute.Status.WON, "lost": Dispute.Status.LOST}.get(told["status"], Dispute.Status.OPEN),
    )
    with transaction.atomic():
        CardPayment.everywhere.select_for_update(of=("self",)).get(pk=payment.pk)  # one dispute event of a payment at a time
        dispute, is_new = Dispute.everywhere.select_related("payment__wallet__organization").get_or_create(
            stripe_id=told["id"],
            defaults={
                "payment": payment, "amount_nanos": from_centavos(int(told["amount"])),
                "reason": str(told.get("reason") or "")[:60],
                "opened_at": dt.datetime.fromtimestamp(int(told["created"]), dt.UTC),
            },
        )  # fmt: skip
        organization = dispute.payment.wallet.organization
        if is_withdrawn != dispute.is_withdrawn:
            _move(dispute, is_withdrawn=is_withdrawn)
        if is_new and status != Dispute.Status.WON:
            _open(dispute, organization)
        if status != Dispute.Status.OPEN and dispute.status == Dispute.Status.OPEN:
            _close(dispute, organization, status=status)
        dispute.asked_at = clock.now()
        dispute.save()
    return dispute


def _move(dispute: Dispute, *, is_withdrawn: bool) -> None:
    dispute.rounds += 1
    dispute.is_withdrawn = is_withdrawn
    top_up = LedgerEntry.objects.get(reference=f"stripe:{dispute.payment.intent_id}")
    ledger.post_entry(
        kind=LedgerEntry.Kind.DISPUTE, reference=f"dispute:{dispute.stripe_id}:{dispute.rounds}", wallet=dispute.payment.wallet,
        amount_nanos=-dispute.amount_nanos if is_withdrawn else dispute.amount_nanos, book=WORLD_STRIPE, actor="stripe",
        reason=TAKEN_REASON if is_withdrawn else GIVEN_REASON, reverses=top_up if is_withdrawn else None,
    )  # fmt: skip
    log.error("a dispute moved money", extra={"dispute": dispute.stripe_id, "is_withdrawn": is_withdrawn})


def _open(dispute: Dispute, organization: Organization) -> None:
    locked = Organization.objects.select_for_update().get(pk=organization.pk)
    if not locked.is_suspended:
        suspend(locked, reason=SUSPENDED_REASON)
        dispute.has_suspended = True
        events.tell(
            locked, "organization.suspended", reference=f"organization.suspended:dispute:{dispute.stripe_id}", is_mailed=False,
            payload={"reason": SUSPENDED_REASON},
        )  # fmt: skip
    events.tell(locked, "dispute.opened", reference=f"dispute.opened:{dispute.stripe_id}", payload=_payload(dispute, "open"))


def _close(dispute: Dispute, organization: Organization, *, status: Dispute.Status) -> None:
    dispute.status, dispute.closed_at = status, clock.now()
    events.tell(organization, "dispute.closed", reference=f"dispute.closed:{dispute.stripe_id}", payload=_payload(dispute, status))
    if status != Dispute.Status.WON:
        return
    locked = Organization.objects.select_for_update().get(pk=organization.pk)
    others = Dispute.everywhere.filter(payment__wallet__organization=organization).exclude(pk=dispute.pk)
    by_dispute = dispute.has_suspended or others.filter(has_suspended=True).exists()
    is_free = not others.exclude(status=Dispute.Status.WON).exists()
    if locked.is_suspended and by_dispute and is_free and locked.suspended_reason == SUSPENDED_REASON:
        reactivate(locked)


def _payload(dispute: Dispute, status: str) -> dict[str, str]:
    return {
        "amount": f"{to_brl(dispute.amount_nanos):.2f}", "paid_by": "card", "status": str(status),
        "reference": str(dispute.payment_id),
    }  # fmt: skip


def _id_of(told: object) -> str:
    return str(told.get("id")) if isinstance(told, dict) else str(told or "")
