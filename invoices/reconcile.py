"""Do the documents tell what the books tell? Invariants as queries that return no row; what is broken is named, never repaired.

12 a fact is on at most one live document, and on a whole one · 20 lines = the close, the top-up · 21 centavos by the residue rule ·
22 numbers once · 23 an issued note has its document, and it says what the row says · 24 replacements · 25 what is due is drafted ·
26 money that went back has its top-up. (1–19 are the ledger's: `billing.reconcile`.)
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Iterator

from django.db import connection

from billing import differences
from billing.billable import returns_of
from billing.models import ReconciliationRun
from billing.money import CENTAVO
from invoices.cutover import Eras, eras_of
from invoices.dps.nfse import read_nfse
from invoices.drafting import due_of_top_up, half_up, last_due_month, told_nanos, waiting_closes, waiting_lots
from invoices.errors import Incomplete
from invoices.kept_texts import COVERED
from invoices.models import Invoice, InvoiceLine, Issuer
from invoices.sql import read_sql
from invoices.terms import active_issuer
from tokia import clock

VIOLATIONS_MAX = 100
READ_DAYS = 40  # documents issued since are read at each run; older ones were, and bytes don't change
GRACE = dt.timedelta(days=2)  # for what is due to be drafted
Subject = differences.Subject
log = logging.getLogger("invoices.reconcile")


def find_violations(*, is_whole: bool = True) -> list[str]:
    """Every broken invariant as a sentence; empty when documents and books agree. `is_whole` reads every document there is, else
    only the ones of the last READ_DAYS."""
    with connection.cursor() as cursor:
        cursor.execute(read_sql("invariants"), {"covered": COVERED})
        found = [f"{rule}: {whose} ({what})" for rule, whose, what in cursor.fetchmany(VIOLATIONS_MAX)]
    found += _told_otherwise(is_whole=is_whole)
    found += _left_out()
    found += _unplaced_returns()
    return found[:VIOLATIONS_MAX]


def check_documents() -> list[str]:
    """The violations, each told to whoever watches the logs and kept as a difference (`billing.differences`); those that hold again
    are gone. For a task, daily."""
    started_at, started = clock.now(), time.monotonic()
    violations = find_violations(is_whole=False)
    for violation in violations:
        log.critical("documents and books differ", extra={"violation": violation})
    differences.keep_violations(violations, subject=Subject.DOCUMENT)
    ReconciliationRun.objects.create(
        subject=Subject.DOCUMENT, first_at=started_at, last_at=started_at, differences=len(violations), started_at=started_at,
        took_ms=int((time.monotonic() - started) * 1000),
    )  # fmt: skip
    return violations


def _told_otherwise(*, is_whole: bool) -> Iterator[str]:
    """What an NFS-e of the national system says, against the row."""
    notes = Invoice.everywhere.filter(channel=Issuer.Channel.SEFIN, nfse_xml__isnull=False).select_related("issuer")
    if not is_whole:
        notes = notes.filter(issued_at__gte=clock.now() - dt.timedelta(days=READ_DAYS))
    for invoice in notes.order_by("pk").iterator(chunk_size=200):
        try:
            told = read_nfse(bytes(invoice.nfse_xml or b""))
        except ValueError as error:
            yield f"23 a document can be read: invoice {invoice.pk} ({error})"
            continue
        ours = {
            "amount": invoice.amount_centavos, "key": invoice.access_key, "number": invoice.nfse_number, "dps": invoice.dps_id,
            "month": invoice.competence_on, "issuer": invoice.issuer.tax_id, "taker": invoice.taker.get("tax_id", ""),
            "environment": invoice.environment,
        }  # fmt: skip
        theirs = {
            "amount": told.amount_centavos, "key": told.access_key, "number": told.number, "dps": told.dps_id,
            "month": told.competence_on, "issuer": told.issuer_tax_id, "taker": told.taker_tax_id, "environment": told.environment,
        }  # fmt: skip
        for name, value in ours.items():
            if value != theirs[name]:
                yield f"23 a document says what the row says: invoice {invoice.pk} ({name}: {theirs[name]}, not {value})"


def _left_out() -> Iterator[str]:
    """Facts that should be on an invoice by now, and never were on one."""
    try:
        eras = eras_of(active_issuer())
    except Incomplete:
        return
    yield from _months_left_out(eras)
    for lot in waiting_lots(eras):
        if clock.now() - lot.created_at > GRACE and half_up(due_of_top_up(lot, eras=eras)) > 0:
            yield f"25 a top-up is invoiced: entry {lot.entry_id} ({lot.amount_nanos} nanos)"


def _months_left_out(eras: Eras) -> Iterator[str]:
    """Where policies changed a month may rightly have no note: there the drafts' own sums decide, not this."""
    if eras.has_top_ups:
        return
    waiting: dict[int, int] = {}
    closed_by = clock.now() - GRACE
    for close in waiting_closes(eras).filter(month__lte=last_due_month().first_on, closed_at__lte=closed_by):
        waiting[close.organization_id] = waiting.get(close.organization_id, 0) + told_nanos(close)
    for organization, nanos in waiting.items():
        if nanos >= CENTAVO:
            yield f"25 a closed month is invoiced: organization {organization} ({nanos} nanos)"


def _unplaced_returns() -> Iterator[str]:
    """A dispute of which nothing says whose top-up it was: its note can't follow."""
    wallets = InvoiceLine.everywhere.filter(entry__isnull=False).values_list("entry__lot__wallet", flat=True).distinct()
    for back in returns_of(wallet for wallet in wallets if wallet is not None):
        if back.entry_id is None:
            yield f"26 money that went back has its top-up: {back.reference} ({back.nanos} nanos)"
