"""The note of one top-up, for the page of its payment: whether it has one of its own, and how far it is."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Q

from accounts.models import Organization
from billing.models import LedgerEntry
from invoices.errors import Incomplete
from invoices.models import Invoice, InvoiceLine, InvoicePolicy
from invoices.standings import Standing, standing_of
from invoices.terms import active_issuer, policy_on
from tokia import clock

SOON = dt.timedelta(minutes=15)  # after that nobody waits before the page: the mail comes


@dataclass(frozen=True, slots=True)
class TopUpNote:
    """`invoice` once there is one; `is_own`: the top-up gets one; `goes_on`: worth asking again."""

    invoice: Invoice | None
    standing: Standing | None
    is_own: bool
    goes_on: bool


def policy_at(day: dt.date) -> str:
    """What is invoiced of facts of a day: of InvoicePolicy.Kind; empty while nothing is."""
    try:
        policy = policy_on(active_issuer(), day)
    except Incomplete:
        return ""
    return str(policy.kind) if policy else ""


def note_of_top_up(organization: Organization, reference: str) -> TopUpNote | None:
    """By the reference of its entry ("pix:<E2E>", "stripe:<intent>"). None: the organization has no such top-up."""
    entries = LedgerEntry.objects.filter(reference=reference, kind=LedgerEntry.Kind.TOP_UP, lot__wallet__organization=organization)
    entry = entries.first()
    if entry is None:
        return None
    line = InvoiceLine.everywhere.filter(entry=entry, is_live=True).select_related("invoice").first()
    if line is not None:
        standing = standing_of(line.invoice)
        return TopUpNote(line.invoice, standing, is_own=True, goes_on=not standing.has_paper and not standing.reason)
    is_own = policy_at(entry.created_at.astimezone(clock.SAO_PAULO).date()) == InvoicePolicy.Kind.TOP_UP
    return TopUpNote(None, None, is_own=is_own, goes_on=is_own and clock.now() - entry.created_at < SOON)


def waits_for_data(organization: Organization) -> bool:
    """Whether a note of theirs can't go out before they tell something."""
    theirs = Q(problem_code="TAKER") | Q(problem_field__startswith="taker.")
    return Invoice.everywhere.filter(theirs, organization=organization, status=Invoice.Status.REJECTED).exists()
