"""Does the money add up? The invariants as queries that return no row; drift is named, alarmed, never silently fixed.

The numbers are those of the money law: 1 postings · 2 posted · 3 held · 4 available · 5 one end per call · 6 usage = revenue ·
7–9 months · 10 payments · 11 refunds · 13 append-only · 14 no floats · 15 fencing · 16 overdraft. (12, fiscal documents, is checked
where they are made.)
"""

from __future__ import annotations

import logging

from django.db import connection

from billing.sql import read_sql

VIOLATIONS_MAX = 100  # enough to see what is wrong

log = logging.getLogger(__name__)


def find_violations() -> list[str]:
    """Every broken invariant as a sentence, in one snapshot of the database; empty when the money adds up."""
    with connection.cursor() as cursor:
        cursor.execute(read_sql("invariants"))
        return [f"{rule}: {whose} ({what})" for rule, whose, what in cursor.fetchmany(VIOLATIONS_MAX)]


def check_ledger() -> list[str]:
    """For the nightly task: the violations, each told to whoever watches the logs."""
    violations = find_violations()
    for violation in violations:
        log.critical("the ledger does not add up", extra={"violation": violation})
    return violations
