"""Stripe's lists of payments, refunds and disputes against our books, both ways. It only looks: the sweep books."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial

from billing.cards import stripe_client
from billing.cards.errors import StripeRefused, StripeUnavailable
from billing.differences import Comparison, Subject, comparing
from billing.models import Dispute, Lot, Refund
from billing.money import from_centavos

SETTLING = dt.timedelta(minutes=10)


def compare_stripe(*, first_at: dt.datetime, last_at: dt.datetime) -> list[Comparison]:
    """A period by the time of each object at Stripe. Raises StripeUnavailable: then nothing of that subject was compared."""
    if not stripe_client.is_on():
        return []
    runs = []
    for subject, compare in (
        (Subject.CARD, _compare_payments),
        (Subject.CARD_REFUND, _compare_refunds),
        (Subject.DISPUTE, _compare_disputes),
    ):
        with comparing(subject, first_at=first_at, last_at=last_at) as run:
            compare(run)
        runs.append(run)
    return runs


def _compare_payments(run: Comparison) -> None:
    seen: set[str] = set()
    for page in stripe_client.list_intents(created_from=int(run.first_at.timestamp())):
        paid = {intent["id"]: intent for intent in page if intent.get("status") == "succeeded" and _at(intent) <= run.last_at}
        lots = Lot.everywhere.filter(entry__reference__in=[f"stripe:{name}" for name in paid])
        booked = {reference[7:]: nanos for reference, nanos in lots.values_list("entry__reference", "amount_nanos")}
        seen |= set(paid)
        for name, intent in paid.items():
            run.compare(
                name, at=_at(intent), ours=booked.get(name), theirs=from_centavos(int(intent["amount_received"])),
                detail=str(intent.get("description") or ""),
            )  # fmt: skip
    ours = Lot.everywhere.filter(
        entry__reference__startswith="stripe:", created_at__gte=run.first_at, created_at__lte=run.last_at - SETTLING
    )
    for reference, nanos, at in ours.values_list("entry__reference", "amount_nanos", "created_at"):
        name = reference.removeprefix("stripe:")
        if name not in seen:  # the payment may have been begun before the period
            told = _asked(partial(stripe_client.read_intent, name))
            is_paid = told is not None and told.get("status") == "succeeded"
            run.compare(name, at=at, ours=nanos, theirs=from_centavos(int(told["amount_received"])) if told and is_paid else None)


def _compare_refunds(run: Comparison) -> None:
    seen: set[str] = set()
    for page in stripe_client.list_refunds(created_from=int(run.first_at.timestamp())):
        done = {told["id"]: told for told in page if told.get("status") == "succeeded" and _at(told) <= run.last_at}
        rows = Refund.objects.filter(stripe_id__in=done, status=Refund.Status.DONE, returned_at=None)
        booked = dict(rows.values_list("stripe_id", "amount_nanos"))
        seen |= set(done)
        for name, told in done.items():
            run.compare(name, at=_at(told), ours=booked.get(name), theirs=from_centavos(int(told["amount"])))
    ours = Refund.objects.filter(
        status=Refund.Status.DONE, returned_at=None, done_at__gte=run.first_at, done_at__lte=run.last_at - SETTLING
    ).exclude(card_payment=None)
    for refund in ours:
        name = refund.stripe_id or str(refund.id)
        if name not in seen:
            asked = _asked(partial(stripe_client.read_refund, name))
            is_done = asked is not None and asked.get("status") == "succeeded"
            assert refund.done_at is not None
            theirs = from_centavos(int(asked["amount"])) if asked and is_done else None
            run.compare(name, at=refund.done_at, ours=refund.amount_nanos, theirs=theirs)


def _compare_disputes(run: Comparison) -> None:
    """What Stripe holds of us for a dispute right now, against what the wallet gave for it."""
    for page in stripe_client.list_disputes(created_from=int(run.first_at.timestamp())):
        rows = {row.stripe_id: row for row in Dispute.everywhere.filter(stripe_id__in=[told["id"] for told in page])}
        for told in page:
            withdrawn = -sum(int(movement["amount"]) for movement in told.get("balance_transactions") or [])
            row = rows.get(told["id"])
            if row is None and withdrawn == 0:
                continue  # an inquiry
            ours = None if row is None else row.amount_nanos if row.is_withdrawn else 0
            run.compare(told["id"], at=_at(told), ours=ours, theirs=from_centavos(withdrawn), detail=str(told.get("reason") or ""))


def _at(told: stripe_client.Json) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(told["created"]), dt.UTC)


def _asked(ask: Callable[[], stripe_client.Json]) -> stripe_client.Json | None:
    """None for what Stripe does not know. Raises StripeUnavailable."""
    try:
        return ask()
    except StripeRefused as refusal:
        if refusal.http_status == 404:
            return None
        raise StripeUnavailable(str(refusal)) from refusal
