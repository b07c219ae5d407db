"""When an invoice is tried again: longer each time, not all at once, and not all day long."""

from __future__ import annotations

import datetime as dt
import random

from invoices.models import Invoice, InvoiceEvent
from tokia import clock

FIRST_SECONDS, LONGEST_SECONDS = 20.0, 3_600.0
PENDING_SECONDS = 5.0  # it is being worked on there: ask soon
JITTER = 0.25
SENDS_A_DAY = 20  # of one invoice; then it rests until the morning
STUCK_ATTEMPTS = 12  # in a row without an answer that says what is: about six hours. A person is told


def next_try(invoice: Invoice, *, told_seconds: float | None = None, is_pending: bool = False) -> dt.datetime:
    """After `invoice.attempts` tries in a row. `told_seconds`: what the tax office asked for, never less."""
    first = PENDING_SECONDS if is_pending else FIRST_SECONDS
    seconds = min(first * 2 ** min(max(invoice.attempts - 1, 0), 12), LONGEST_SECONDS)
    seconds *= 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 — it spreads, it guards nothing
    return clock.now() + dt.timedelta(seconds=max(seconds, told_seconds or 0.0))


def rests_until(invoice: Invoice) -> dt.datetime | None:
    """Tomorrow at seven in Brazil where it was sent SENDS_A_DAY times today, else None."""
    today = clock.today_in_brazil()
    begins_at = dt.datetime.combine(today, dt.time(), clock.SAO_PAULO)
    sends = InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.SUBMIT, created_at__gte=begins_at).count()
    if sends < SENDS_A_DAY:
        return None
    morning = dt.datetime.combine(today + dt.timedelta(days=1), dt.time(7), clock.SAO_PAULO)
    return morning.astimezone(dt.UTC) + dt.timedelta(seconds=random.uniform(0, 900))  # noqa: S311


def is_stuck(invoice: Invoice) -> bool:
    return invoice.attempts >= STUCK_ATTEMPTS
