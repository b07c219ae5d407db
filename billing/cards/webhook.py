"""Stripe's door: `POST /webhooks/stripe/`. An event is checked, stored and answered 200 at once; a task asks Stripe.

Who may speak: whoever signs with one of STRIPE_WEBHOOK_SECRETS, within TOLERANCE_SECONDS of our clock. Anyone else gets 400 and
leaves no row. Events of another account, or of a kind that moves nothing here, are answered 200 and forgotten.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any, NoReturn

import stripe
from celery import current_app
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing.cards import events

log = logging.getLogger("billing.cards")

BODY_BYTES_MAX = 1_048_576
TOLERANCE_SECONDS = 300  # Stripe's own default: an older signature may be a recording; one from the future has a wrong clock


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    raw = request.read(BODY_BYTES_MAX + 1)
    if len(raw) > BODY_BYTES_MAX:
        return HttpResponse(status=413)
    if not settings.STRIPE_SECRET_KEY or not _is_signed(raw, request.headers.get("Stripe-Signature", "")):
        log.warning("a stranger at Stripe's door")
        return _refuse()
    event = _parse(raw)
    if event is None:
        return _refuse()
    if not events.is_ours(event):
        log.warning("an event of another account", extra={"event": event["id"]})
    elif events.is_followed(event["type"]):
        with transaction.atomic():
            event_id = events.store(event)
            if event_id is not None:
                transaction.on_commit(lambda: _hurry(event_id))
    return HttpResponse(status=200)


def _refuse() -> HttpResponse:
    return HttpResponse("Não é um evento da Stripe.", status=400, content_type="text/plain; charset=utf-8")


def _is_signed(raw: bytes, header: str) -> bool:
    """By any of our secrets: while one is being changed, both count."""
    if len(header) > 4_096:
        return False
    for secret in settings.STRIPE_WEBHOOK_SECRETS:
        try:
            stripe.WebhookSignature.verify_header(raw, header, secret, TOLERANCE_SECONDS)
        except (stripe.SignatureVerificationError, ValueError):
            continue
        return _signed_at(header) <= time.time() + TOLERANCE_SECONDS
    return False


def _signed_at(header: str) -> int:
    """The package refuses what is old; a time far ahead would be good for ever."""
    return int(next(part[2:] for part in header.split(",") if part.startswith("t=")))


def _parse(raw: bytes) -> dict[str, Any] | None:
    """An event with what we need of it; None for anything else."""
    if b"\\u0000" in raw:  # PostgreSQL keeps no NUL
        return None
    try:
        event = json.loads(raw, parse_float=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("id"), str) or not isinstance(event.get("type"), str):
        return None
    told = (event.get("data") or {}).get("object") if isinstance(event.get("data"), dict) else None
    if not isinstance(told, dict) or not isinstance(told.get("id"), str) or not 0 < len(event["id"]) <= 64:
        return None
    return event


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN is no JSON


def _hurry(event_id: int) -> None:
    """Ask a worker now, beside the answer: a broker that is down keeps its client busy for seconds, and Stripe waits for 200."""
    threading.Thread(target=_publish, args=[event_id], daemon=True).start()


def _publish(event_id: int) -> None:
    """Without the broker the sweep finds the row within a minute."""
    try:
        current_app.send_task("billing.tasks.follow_stripe_event", args=[event_id], retry=False)
    except Exception:  # whatever the broker's client raises
        log.warning("no broker to hurry an event", extra={"event": event_id})
