"""Telling: one row per fact, made in the transaction of the fact. Mails, alerts and customers' addresses start from it.

Types, and what their payload holds (money as strings in reais, instants in ISO 8601):
| type | payload |
|---|---|
| `wallet.low_balance` | available, threshold |
| `wallet.empty` | available |
| `wallet.top_up` | amount, paid_by ("pix" or "card"), reference |
| `auto_top_up.failed`, `auto_top_up.off` | amount, reason |
| `budget.threshold` | budget_id, scope, subject, window, percent, spent, limit |
| `budget.exceeded` | the same |
| `usage.unusual` | day, spent, usual |
| `refund.done`, `refund.refused` | amount, paid_by, reason |
| `dispute.opened`, `dispute.closed` | amount, paid_by, status |
| `credit.granted`, `credit.expiring` | amount, expires_at, reason |
| `prices.changed` | effective_at, routes |
| `organization.suspended` | reason |
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import transaction

from accounts.models import Organization
from billing.models import Event
from tokia import clock

LEVELS: dict[str, Event.Level] = {
    "wallet.low_balance": Event.Level.WARNING,
    "wallet.empty": Event.Level.ERROR,
    "wallet.top_up": Event.Level.INFO,
    "auto_top_up.failed": Event.Level.ERROR,
    "auto_top_up.off": Event.Level.WARNING,
    "budget.threshold": Event.Level.WARNING,
    "budget.exceeded": Event.Level.ERROR,
    "usage.unusual": Event.Level.WARNING,
    "refund.done": Event.Level.INFO,
    "refund.refused": Event.Level.WARNING,
    "dispute.opened": Event.Level.ERROR,
    "dispute.closed": Event.Level.INFO,
    "credit.granted": Event.Level.INFO,
    "credit.expiring": Event.Level.WARNING,
    "prices.changed": Event.Level.INFO,
    "organization.suspended": Event.Level.ERROR,
}


def tell(
    organization: Organization,
    type: str,
    *,
    reference: str,
    payload: dict[str, Any],
    mail_at: dt.datetime | None = None,
    is_mailed: bool = True,
) -> Event | None:
    """Tell a fact once: the same reference again changes nothing and gives None. Raises KeyError for a type nobody knows.

    Call it inside the transaction that makes the fact true. `mail_at`: later than now, for facts that may still change.
    """
    level = LEVELS[type]
    due_at = (mail_at or clock.now()) if is_mailed else None
    with transaction.atomic():
        event, is_new = Event.everywhere.get_or_create(
            reference=reference[:120],
            defaults={"organization": organization, "type": type, "level": level, "payload": payload, "mail_due_at": due_at},
        )
    return event if is_new else None
