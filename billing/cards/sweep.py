"""What no event told: events to retry, payments that are open, disputes that are open, and Stripe's own lists against our books.

Each verb asks in order of the longest silence and stops at Stripe's first silence: the next run goes on.
"""

from __future__ import annotations

import datetime as dt
import logging

from django.db.models import F, Q

from billing.cards import booking, disputes, events, payments, refunds, stripe_client
from billing.cards.errors import StripeRefused, StripeUnavailable
from billing.models import CardPayment, Dispute, LedgerEntry, StripeEvent
from tokia import clock

log = logging.getLogger("billing.cards")

BATCH = 200
ASK_AFTER_SECONDS = 50  # the sweep runs each minute
ASK_DISPUTES_AFTER = dt.timedelta(hours=6)


def sweep_events() -> int:
    """Follow the events that are due. Returns how many were settled."""
    if not stripe_client.is_on():
        return 0
    done = 0
    due = StripeEvent.objects.filter(status=StripeEvent.Status.DUE, due_at__lte=clock.now(), failures__lt=events.FAILURES_MAX)
    for event in due.order_by("due_at")[:BATCH]:
        try:
            events.follow_event(event)
            done += 1
        except StripeUnavailable as silence:
            log.warning("Stripe is silent", extra={"event": event.stripe_id, "detail": str(silence)})
    return done


def sweep_payments() -> int:
    """Ask about every payment that may still be paid, and finish those that Stripe never acknowledged. Returns how many."""
    if not stripe_client.is_on():
        return 0
    silent = Q(asked_at=None) | Q(asked_at__lte=clock.now() - dt.timedelta(seconds=ASK_AFTER_SECONDS))
    due = CardPayment.everywhere.filter(silent, status__in=booking.OPEN).select_related("wallet__organization", "card")
    asked = 0
    for payment in due.order_by(F("asked_at").asc(nulls_first=True))[:BATCH]:
        try:
            payments.confirm_payment(payment)
            asked += 1
        except StripeRefused as refusal:
            log.error("Stripe refused a payment", extra={"payment": str(payment.pk), "detail": str(refusal)})
        except StripeUnavailable as silence:
            log.warning("Stripe is silent", extra={"payment": str(payment.pk), "detail": str(silence)})
            break
    return asked


def sweep_disputes() -> int:
    """Ask about disputes that are open, a few times a day: their end may take weeks."""
    if not stripe_client.is_on():
        return 0
    silent = Q(asked_at=None) | Q(asked_at__lte=clock.now() - ASK_DISPUTES_AFTER)
    asked = 0
    for dispute in Dispute.everywhere.filter(silent, status=Dispute.Status.OPEN).order_by("asked_at")[:BATCH]:
        try:
            disputes.follow_dispute(dispute.stripe_id)
            asked += 1
        except (StripeUnavailable, StripeRefused) as silence:
            log.warning("Stripe is silent", extra={"dispute": dispute.stripe_id, "detail": str(silence)})
            break
    return asked


def sweep_window(*, hours: int) -> int:
    """Read Stripe's lists over the last hours, page by page, and book what our books don't have: payments, refunds, disputes.
    Returns how many were new. Raises StripeUnavailable."""
    if not stripe_client.is_on():
        return 0
    since = int((clock.now() - dt.timedelta(hours=hours)).timestamp())
    found = 0
    for page in stripe_client.list_intents(created_from=since):
        paid = {intent["id"]: intent for intent in page if intent.get("status") == "succeeded"}
        references = [f"stripe:{intent_id}" for intent_id in paid]
        known = set(LedgerEntry.objects.filter(reference__in=references).values_list("reference", flat=True))
        for intent_id in paid:
            if f"stripe:{intent_id}" not in known:
                found += booking.follow_unknown(stripe_client.read_intent(intent_id))
    for page in stripe_client.list_refunds(created_from=since):
        for refund in page:
            refunds.follow_told(refund)
    for page in stripe_client.list_disputes(created_from=since):
        for dispute in page:
            if not Dispute.everywhere.filter(stripe_id=dispute["id"]).exists():
                found += disputes.follow_dispute(dispute["id"]) is not None
    return found
