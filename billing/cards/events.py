"""What Stripe tells: kept once per event, then followed to the object it is about. The event's own content decides nothing.

| event | what is asked |
|---|---|
| `payment_intent.*` | the payment |
| `checkout.session.*` | the session, and its payment or the card it saved |
| `charge.refunded`, `refund.*` | every refund of the payment, or that refund |
| `charge.dispute.*` | the dispute |
| `setup_intent.succeeded` | the card that was saved |
| `payment_method.*` | whether the card is still the holder's |
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection

from billing.cards import booking, disputes, holders, payments, refunds, stripe_client
from billing.cards.errors import StripeRefused, StripeUnavailable
from billing.models import CardPayment, StripeEvent
from tokia import clock

log = logging.getLogger("billing.cards")

RETRY_SECONDS = (5, 15, 60, 300, 900, 3_600)
FAILURES_MAX = 40  # more than a day and a half of silence: a person looks at what is left
FOLLOWED = (
    "payment_intent.", "checkout.session.", "charge.refunded", "refund.", "charge.refund.updated", "charge.dispute.",
    "setup_intent.succeeded", "payment_method.detached", "payment_method.updated", "payment_method.automatically_updated",
)  # fmt: skip
NOT_KEPT = {
    "billing_details", "client_secret", "collected_information", "customer_details", "customer_email", "owner", "receipt_email",
    "receipt_url", "shipping",
}  # fmt: skip
IGNORED = ("payment_intent.created", "payment_intent.amount_capturable_updated")

_STORE = """
    INSERT INTO billing_stripeevent
        (stripe_id, type, object_id, payload, status, deliveries, failures, last_error, received_at, due_at, done_at)
    VALUES (%(stripe_id)s, %(type)s, %(object_id)s, %(payload)s, 'due', 1, 0, '', %(now)s, %(now)s, NULL)
    ON CONFLICT (stripe_id) DO UPDATE SET deliveries = billing_stripeevent.deliveries + 1
    RETURNING id, deliveries = 1
"""


def is_followed(kind: str) -> bool:
    return kind.startswith(FOLLOWED) and kind not in IGNORED


def store(event: dict[str, Any]) -> int | None:
    """One row per event, for ever; its id where it is new."""
    told = event["data"]["object"]
    with connection.cursor() as cursor:
        cursor.execute(
            _STORE,
            {
                "stripe_id": event["id"], "type": event["type"][:60], "object_id": str(told.get("id", ""))[:100],
                "payload": json.dumps(_without_people(event)), "now": clock.now(),
            },
        )  # fmt: skip
        event_id, is_new = cursor.fetchone()
    return int(event_id) if is_new else None


def _without_people(told: Any) -> Any:
    """What we keep for ever names nobody and opens nothing: Stripe is asked for the rest."""
    if isinstance(told, dict):
        return {name: _without_people(value) for name, value in told.items() if name not in NOT_KEPT}
    return [_without_people(value) for value in told] if isinstance(told, list) else told


def is_ours(event: dict[str, Any]) -> bool:
    """Whether it is of our account, and of the world (live or test) of our key."""
    account = event.get("account")
    if account and account != settings.STRIPE_ACCOUNT:
        return False
    is_live = settings.STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))
    return bool(event.get("livemode")) == is_live


def follow_event(event: StripeEvent) -> None:
    """Follow a rumour to Stripe; done once Stripe has answered, whatever it said. Retried by the sweep otherwise."""
    try:
        _follow(event)
    except StripeRefused as refusal:
        if refusal.http_status != 404:
            _retry(event, str(refusal))
            raise StripeUnavailable(str(refusal)) from refusal
        log.warning("an event of what Stripe does not know", extra={"event": event.stripe_id, "object": event.object_id})
        _done(event, note="A Stripe não conhece este objeto.")
        return
    except StripeUnavailable as silence:
        _retry(event, str(silence))
        raise
    _done(event)


def _done(event: StripeEvent, *, note: str = "") -> None:
    StripeEvent.objects.filter(pk=event.pk).update(status=StripeEvent.Status.DONE, done_at=clock.now(), last_error=note)


def _retry(event: StripeEvent, detail: str) -> None:
    pause = RETRY_SECONDS[min(event.failures, len(RETRY_SECONDS) - 1)]
    StripeEvent.objects.filter(pk=event.pk).update(
        failures=event.failures + 1, last_error=detail[:300], due_at=clock.now() + dt.timedelta(seconds=pause)
    )
    if event.failures + 1 == FAILURES_MAX:
        log.critical("an event that can't be followed", extra={"event": event.stripe_id, "detail": detail})


def _follow(event: StripeEvent) -> None:
    for start, follow in _WAYS.items():
        if event.type.startswith(start):
            follow(event.object_id)
            return


def _follow_intent(intent_id: str) -> None:
    booking.follow_unknown(stripe_client.read_intent(intent_id))


def _follow_session(session_id: str) -> None:
    session = stripe_client.read_session(session_id)
    if session.get("mode") == "setup":
        if setup := session.get("setup_intent"):
            holders.follow_setup(setup["id"])
        return
    payment = CardPayment.everywhere.select_related("wallet__organization", "card").filter(session_id=session_id).first()
    if payment is not None:
        payments.confirm_payment(payment)
    elif intent := session.get("payment_intent"):
        booking.follow_unknown(stripe_client.read_intent(intent["id"]))


def _follow_refund(refund_id: str) -> None:
    refunds.follow_told(stripe_client.read_refund(refund_id))


def _follow_refunded_charge(charge_id: str) -> None:
    """`charge.refunded` names the charge; its refunds hang on the payment."""
    intent_id = stripe_client.intent_of_charge(charge_id)
    if intent_id:
        refunds.follow_refunds_of(intent_id)


_WAYS: dict[str, Callable[[str], object]] = {
    "payment_intent.": _follow_intent,
    "checkout.session.": _follow_session,
    "charge.refunded": _follow_refunded_charge,
    "charge.refund.updated": _follow_refund,
    "refund.": _follow_refund,
    "charge.dispute.": disputes.follow_dispute,
    "setup_intent.": holders.follow_setup,
    "payment_method.": holders.follow_card,
}
