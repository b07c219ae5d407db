"""The rows are the queue: what is due is carried on, by however many workers, and none relies on being called once."""

from __future__ import annotations

import logging
import time

from django.core.cache import cache
from django.db.models import Q, QuerySet

from invoices import certificates, issuing
from invoices.errors import NoCertificate
from invoices.models import Invoice, Issuer
from invoices.states import OPEN
from tokia import clock

log = logging.getLogger("invoices.queue")
BATCH = 200
REPEAT_SECONDS = 30.0
TOLD_SECONDS = 600  # a pause is a line in the log this often, not at every turn


def issue_due(*, seconds: float = REPEAT_SECONDS) -> int:
    """Carry on what is due, the longest due first, for about so long; returns how many. An issuer without a certificate pauses:
    its rows stay due, which is a critical line in the log every ten minutes, and what the admin shows."""
    ends_at = time.monotonic() + seconds
    paused = [issuer.pk for issuer in Issuer.objects.filter(channel=Issuer.Channel.SEFIN) if _is_paused(issuer)]
    ids = list(_due().exclude(_needs_certificate(), issuer__in=paused).values_list("pk", flat=True)[:BATCH])
    done = 0
    for invoice_id in ids:
        if time.monotonic() > ends_at:
            break
        issuing.issue(Invoice(pk=invoice_id), only_if_due=True)
        done += 1
    return done


def _due() -> QuerySet[Invoice]:
    now = clock.now()
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    return Invoice.everywhere.filter(free, due_at__lte=now, status__in=OPEN).order_by("due_at", "pk")


def _needs_certificate() -> Q:
    """What goes, or would go, by Sefin: it is signed, and the connection shows the certificate too."""
    return Q(channel__in=("", Issuer.Channel.SEFIN))


def _is_paused(issuer: Issuer) -> bool:
    """Where nothing is due, nothing is said."""
    if not _due().filter(issuer=issuer).exists():
        return False
    try:
        certificates.load(issuer)
    except NoCertificate as lack:
        if cache.add(f"invoices.paused.{issuer.pk}", True, TOLD_SECONDS):
            log.critical("invoices wait for a certificate", extra={"issuer": issuer.pk, "detail": lack.message})
        return True
    return False


def take_up_repaired() -> int:
    """Rejected invoices whose customers have given what was missing go on by themselves; returns how many."""
    waiting = Invoice.everywhere.filter(status=Invoice.Status.REJECTED, problem_field__startswith="taker.")
    return sum(issuing.take_up(invoice) for invoice in waiting.select_related("organization", "issuer").order_by("pk")[:BATCH])
