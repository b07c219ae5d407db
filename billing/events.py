"""Telling: one row per fact, made in the transaction of the fact. Mails, alerts and customers' addresses start from it.

Types, and what their payload holds (money as strings in reais, instants in ISO 8601):
| type | payload |
|---|---|
| `wallet.low_balance` | available, threshold |
| `wallet.empty` | available |
| `wallet.top_up` | amount, paid_by ("pix" or "card"), reference |
| `auto_top_up.done` | amount, card, off_path (a page that switches it off, for whoever holds the link) |
| `auto_top_up.failed` | amount, reason, decline_code; confirm_path where the card's bank waits for its holder |
| `auto_top_up.off` | amount, reason |
| `auto_top_up.capped` | amount, cap ("day" or "month"), limit |
| `budget.threshold` | budget_id, scope, subject, window, percent, spent, limit |
| `budget.exceeded` | the same |
| `usage.unusual` | day, spent, usual |
| `refund.done`, `refund.refused` | amount, paid_by, reason |
| `dispute.opened`, `dispute.closed` | amount, paid_by, status |
| `credit.granted`, `credit.expiring` | amount, expires_at, reason |
| `prices.changed` | version, effective_at, routes (each: route, unit, label, kind, old, old_per, new, new_per) |
| `volume.month_closed` | month ("2026-11"), gross, net, saved, calls |
| `organization.suspended` | reason |
| `hook.disabled` | hook_id, name, url, reason |
| `invoice.issued`, `invoice.cancelled` | invoice_id, number, amount, month ("2026-11") |
| `invoice.needs_data` | invoice_id, amount, month, problem, field |

Whoever tells a type that is not here adds it to the table, to LEVELS, to KINDS, and its words to `billing/event_texts.py`.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import transaction
from django.utils.translation import gettext_noop

from accounts.models import Organization
from billing.models import AlertState, Event, Hook, HookDelivery
from tokia import clock

LEVELS: dict[str, Event.Level] = {
    "wallet.low_balance": Event.Level.WARNING,
    "wallet.empty": Event.Level.ERROR,
    "wallet.top_up": Event.Level.INFO,
    "auto_top_up.done": Event.Level.INFO,
    "auto_top_up.failed": Event.Level.ERROR,
    "auto_top_up.capped": Event.Level.WARNING,
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
    "volume.month_closed": Event.Level.INFO,
    "organization.suspended": Event.Level.ERROR,
    "hook.disabled": Event.Level.ERROR,
    "invoice.issued": Event.Level.INFO,
    "invoice.cancelled": Event.Level.INFO,
    "invoice.needs_data": Event.Level.WARNING,
}
# What mails are chosen by: kind → its name, and whether it may be turned off.
KINDS: dict[str, tuple[str, bool]] = {
    "balance": (gettext_noop("Saldo baixo ou zerado"), True),
    "budgets": (gettext_noop("Orçamentos"), True),
    "unusual": (gettext_noop("Gasto fora do comum"), True),
    "top_ups": (gettext_noop("Recargas e recarga automática"), True),
    "refunds": (gettext_noop("Devoluções e contestações"), True),
    "promotions": (gettext_noop("Crédito promocional"), True),
    "prices": (gettext_noop("Mudanças de preço"), False),  # the notice period counts from this mail
    "volume": (gettext_noop("Economia do mês pelo desconto por volume"), True),
    "hooks": (gettext_noop("Webhooks desligados por falhas"), True),
    "invoices": (gettext_noop("Notas fiscais"), True),
    "organization": (gettext_noop("Suspensão da conta"), False),
}
_KIND_OF = {
    "wallet.low_balance": "balance",
    "wallet.empty": "balance",
    "wallet.top_up": "top_ups",
    "auto_top_up": "top_ups",
    "budget": "budgets",
    "usage": "unusual",
    "refund": "refunds",
    "dispute": "refunds",
    "credit": "promotions",
    "prices": "prices",
    "volume": "volume",
    "hook": "hooks",
    "invoice": "invoices",
}
SHOWN_DAYS = 14  # an alert that nobody dismissed leaves the overview then


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
        if is_new:
            _fan_out(event)
            if type == "organization.suspended":  # whoever suspends tells why; then nobody tells it again (`billing.alerts`)
                AlertState.everywhere.update_or_create(organization=organization, defaults={"suspended_told_at": clock.now()})
    return event if is_new else None


def _fan_out(event: Event) -> None:
    """A message for every address of the organization that wants it, due at once, in the transaction of the fact."""
    hooks = Hook.everywhere.filter(organization_id=event.organization_id, is_active=True)
    HookDelivery.everywhere.bulk_create(
        HookDelivery(hook=hook, event=event, due_at=clock.now()) for hook in hooks if not hook.types or event.type in hook.types
    )


def kind_of(type: str) -> str:
    """The kind of mail that an event is. What no kind names concerns the organization itself and is always sent."""
    return _KIND_OF.get(type) or _KIND_OF.get(type.split(".")[0]) or "organization"


def list_events(organization: Organization, *, before_id: int | None = None, limit: int = 50) -> list[Event]:
    """The newest first; `before_id` is the last one of the page before."""
    found = Event.everywhere.filter(organization=organization).order_by("-id")
    return list(found.filter(pk__lt=before_id)[:limit] if before_id else found[:limit])


def open_alerts(organization: Organization, *, limit: int = 3) -> list[Event]:
    """What somebody should look at: warnings and errors of the last days that nobody dismissed, the newest first."""
    since = clock.now() - dt.timedelta(days=SHOWN_DAYS)
    found = Event.everywhere.filter(organization=organization, seen_at=None, created_at__gt=since)
    return list(found.exclude(level=Event.Level.INFO).order_by("-id")[:limit])


def dismiss(event: Event) -> None:
    """Off the overview, for everybody of the organization; the history keeps it."""
    Event.everywhere.filter(pk=event.pk, seen_at=None).update(seen_at=clock.now())
