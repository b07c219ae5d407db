"""Invoices' background work: fetch, call a verb, let the timetable (`tokia/celery.py`) repeat it. Rows are the queue."""

from __future__ import annotations

import logging
import time

from celery import shared_task

from billing.runners import take_slot
from invoices import certificates, delivery, distribution, drafting, queue, reconcile, returns
from invoices.errors import NoCertificate, NotNow
from invoices.models import Issuer
from tokia import clock

log = logging.getLogger("invoices.tasks")
SLOTS = 2  # workers that wait for the tax office at a time; the others go on with what is ours
REPEAT_SECONDS = 30
NIGHT_SECONDS = 3_000.0  # beyond which a night's work leaves the rest to the next


@shared_task
def draft_months() -> None:
    """Each hour: invoices of closed months, from the first business day on. One worker at a time."""
    with take_slot("draft invoices", slots=1) as slot:
        if slot is not None and (drafted := drafting.draft_due_months()):
            log.info("invoices drafted", extra={"count": drafted})


@shared_task
def draft_top_ups() -> None:
    """Each half minute: invoices of top-ups, where that is the policy. One worker at a time."""
    with take_slot("draft top-ups", slots=1) as slot:
        if slot is not None:
            drafting.draft_top_ups()


@shared_task
def follow_returns() -> None:
    """Every ten minutes: notes of top-ups whose money went back. One worker at a time."""
    with take_slot("follow returns", slots=1) as slot:
        if slot is not None:
            returns.follow_returns()


@shared_task
def check_documents() -> None:
    """Each night: documents against the books, as differences for people."""
    reconcile.check_documents()


@shared_task
def issue_due() -> None:
    """Every five seconds: what is due goes a step on."""
    with take_slot("issue invoices", slots=SLOTS) as slot:
        if slot is not None:
            queue.issue_due()


@shared_task
def take_up_repaired() -> None:
    """Each minute: invoices that waited for a customer's data."""
    queue.take_up_repaired()


@shared_task
def deliver_due() -> None:
    """Every ten seconds: mails with notes, until none is due or it is time for the next turn."""
    with take_slot("deliver invoices", slots=1) as slot:
        ends_at = time.monotonic() + REPEAT_SECONDS
        while slot is not None and delivery.deliver_due() and time.monotonic() < ends_at:
            pass


@shared_task
def read_distribution() -> None:
    """Every ten minutes: what happened to our notes elsewhere."""
    with take_slot("read the distribution", slots=1) as slot:
        for issuer in Issuer.objects.filter(is_active=True, channel=Issuer.Channel.SEFIN) if slot is not None else ():
            try:
                distribution.read_new(issuer)
            except (NoCertificate, NotNow) as lack:  # the next turn reads on from there
                log.warning("the distribution waits", extra={"issuer": issuer.pk, "detail": lack.message})


@shared_task
def check_focus_notes() -> None:
    """Each night: notes that were cancelled in Focus's panel, and whose call was lost."""
    with take_slot("check the notes of Focus", slots=1) as slot:
        if slot is not None:
            try:
                distribution.check_focus_notes(seconds=NIGHT_SECONDS)
            except NoCertificate as lack:
                log.warning("the notes of Focus were not asked for", extra={"detail": lack.message})


@shared_task(autoretry_for=(NoCertificate, NotNow), retry_backoff=30, max_retries=8)
def check_note(invoice_id: int) -> None:
    """When Focus NFe says that a note was cancelled there."""
    distribution.check_note(invoice_id)


@shared_task
def watch_certificates() -> None:
    """Each hour: certificates that end soon. Where no mail goes out, the next turn tells."""
    certificates.watch(clock.now())
