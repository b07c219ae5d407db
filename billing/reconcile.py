"""Does the money add up? The invariants as queries that return no row; drift is named, alarmed, never silently fixed.

The numbers are those of the money law: 1 postings · 2 posted · 3 held · 4 available · 5 one end per call · 6 usage = revenue ·
7–9 months · 10 payments · 11 refunds · 13 append-only · 14 no floats · 15 fencing · 16 overdraft · 17 budgets · 18 days =
calls · 19 closed months. (12, fiscal documents, is checked where they are made.)
"""

from __future__ import annotations

import datetime as dt
import logging
import time

from django.db import connection

from billing import differences
from billing.cards import comparison as stripe
from billing.cards.errors import StripeUnavailable
from billing.models import ReconciliationRun
from billing.pix import comparison as bank
from billing.pix.errors import PspUnavailable
from billing.sql import read_sql
from tokia import clock

VIOLATIONS_MAX = 100  # enough to see what is wrong
CHECK_SHARE = 20  # a check that took a second waits twenty for the next

log = logging.getLogger(__name__)


def find_violations() -> list[str]:
    """Every broken invariant as a sentence, in one snapshot of the database; empty when the money adds up."""
    with connection.cursor() as cursor:
        cursor.execute(read_sql("invariants"))
        return [f"{rule}: {whose} ({what})" for rule, whose, what in cursor.fetchmany(VIOLATIONS_MAX)]


def check_ledger() -> list[str]:
    """The violations, each told to whoever watches the logs and kept as a difference; those that hold again are gone.

    The whole check reads every usage record, so on a big database it waits longer for the next: CHECK_SHARE of the time at most.
    """
    last = ReconciliationRun.objects.filter(subject=differences.Subject.INVARIANT).order_by("-started_at").first()
    if last is not None and clock.now() - last.started_at < dt.timedelta(milliseconds=last.took_ms * CHECK_SHARE):
        return []
    started_at, started = clock.now(), time.monotonic()
    violations = find_violations()
    for violation in violations:
        log.critical("the ledger does not add up", extra={"violation": violation})
    differences.keep_violations(violations)
    ReconciliationRun.objects.create(
        subject=differences.Subject.INVARIANT, first_at=started_at, last_at=started_at, differences=len(violations),
        started_at=started_at, took_ms=int((time.monotonic() - started) * 1000),
    )  # fmt: skip
    return violations


def compare_books(*, hours: int) -> None:
    """The bank's and Stripe's lists of the last hours against our books. A side that is silent is compared at the next run."""
    last_at = clock.now()
    first_at = last_at - dt.timedelta(hours=hours)
    try:
        bank.compare_pix(first_at=first_at, last_at=last_at)
    except PspUnavailable as silence:
        log.warning("the bank is silent", extra={"detail": str(silence)})
    try:
        stripe.compare_stripe(first_at=first_at, last_at=last_at)
    except StripeUnavailable as silence:
        log.warning("Stripe is silent", extra={"detail": str(silence)})
    differences.purge_runs()
