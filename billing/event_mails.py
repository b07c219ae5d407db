"""Mails of events: one message for each reader, plain and HTML.

`Event.mail_due_at` is the queue. A worker claims events with SKIP LOCKED and a lease, and writes an `EventMail` for each address
that took the message; a retry leaves those out. So an address gets a mail at least once, and twice only where a worker died between
the hand-over and the row; both copies have the same Message-ID, which mail programs show once.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import transaction
from django.template.loader import render_to_string

from billing.alert_choices import readers_of
from billing.event_texts import tell_event
from billing.events import kind_of
from billing.models import Event, EventMail
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger("billing.mails")

BATCH = 20
LEASE = dt.timedelta(minutes=5)  # beyond what a batch's mails may take at SMTP
RETRY_MINUTES = (1, 5, 15, 60, 240, 480, 960)
ATTEMPTS_MAX = len(RETRY_MINUTES) + 1
SUBJECT_MAX = 150
CHOICES_PATH = "/app/configuracoes/avisos/"


def send_due() -> int:
    """Claim a batch of events and mail them. How many were claimed."""
    claimed = claim()
    for event in claimed:
        _mail(event)
    return len(claimed)


@transaction.atomic
def claim() -> list[Event]:
    """Events whose mail is due; this worker alone has them for LEASE."""
    now = clock.now()
    due = Event.everywhere.select_for_update(of=("self",), skip_locked=True).filter(mail_due_at__lte=now)
    events = list(due.select_related("organization").order_by("mail_due_at", "id")[:BATCH])
    for event in events:
        event.mail_due_at, event.mail_attempts = now + LEASE, event.mail_attempts + 1
    Event.everywhere.bulk_update(events, ["mail_due_at", "mail_attempts"])
    return events


def _mail(event: Event) -> None:
    """To every reader that has not got it. What can't be handed over is tried again later, for those readers alone."""
    reached = set(EventMail.everywhere.filter(event=event).values_list("email", flat=True))
    waiting = [email for email in readers_of(event.organization, kind=kind_of(event.type)) if email not in reached]
    failure = ""
    try:
        if waiting:
            with get_connection() as connection:
                failure = _hand_over(event, waiting, reached=reached, connection=connection)
    except OSError as error:  # SMTP's errors are
        failure = f"{type(error).__name__}: {error}"
    _finish(event, failure=failure, was_sent=bool(reached))


def _hand_over(event: Event, waiting: list[str], *, reached: set[str], connection: Any) -> str:
    """Each to its own; one that SMTP does not take keeps no other from it. What the last failure was; empty where all went."""
    failure = ""
    for email in waiting:
        message = message_of(event, email)
        message.connection = connection
        try:
            message.send()
        except OSError as error:
            failure = f"{type(error).__name__}: {error}"
            continue
        crashpoint("event_mailed")
        EventMail.everywhere.get_or_create(event=event, email=email)
        reached.add(email)
    return failure


def _finish(event: Event, *, failure: str, was_sent: bool) -> None:
    now = clock.now()
    changes: dict[str, dt.datetime | None] = {"mail_due_at": None}
    if failure and event.mail_attempts < ATTEMPTS_MAX:
        changes["mail_due_at"] = now + dt.timedelta(minutes=RETRY_MINUTES[event.mail_attempts - 1])
        log.warning("an event's mail was not taken", extra={"event": event.pk, "detail": failure[:200]})
    elif failure:
        log.error("an event's mail was given up", extra={"event": event.pk, "detail": failure[:200]})
    if was_sent and changes["mail_due_at"] is None:
        changes["mailed_at"] = now
    mine = Event.everywhere.filter(pk=event.pk, mail_due_at=event.mail_due_at)  # the lease is still ours
    mine.update(**changes)


def message_of(event: Event, email: str) -> EmailMultiAlternatives:
    words = tell_event(event)
    context = {
        "words": words,
        "organization": event.organization,
        "at": event.created_at,
        "url": f"{settings.WEB_URL}{words.url}" if words.url else "",
        "choices_url": f"{settings.WEB_URL}{CHOICES_PATH}",
        "may_mute": kind_of(event.type) != "organization",
        "receiver_name": settings.RECEIVER_NAME,
    }
    message = EmailMultiAlternatives(
        subject=" ".join(f"Tokia: {words.title}".split())[:SUBJECT_MAX],  # a subject with a line break is no header
        body=render_to_string("billing/email/event.txt", context),
        to=[email],
        headers={"Message-ID": _message_id(event, email), "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(render_to_string("billing/email/event.html", context), "text/html")
    return message


def _message_id(event: Event, email: str) -> str:
    """The same for the same event and reader, however often it is sent."""
    reader = hashlib.sha256(email.lower().encode()).hexdigest()[:16]
    return f"<event-{event.pk}-{reader}@{parseaddr(settings.DEFAULT_FROM_EMAIL)[1].partition('@')[2]}>"
