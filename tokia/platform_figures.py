"""The figures of the admin's home: what we owe customers, what came in, what we earn, how calls do. From tables that are added up
already, in a fixed number of queries, kept for some seconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.core.cache import cache
from django.db.models import Count, Sum
from django.db.models.functions import Abs, Coalesce

from billing import margins
from billing.margins import MarginLine
from billing.models import Difference, Event, Lot, UnmatchedPix, Wallet
from gateway.vitals_reports import MINUTE, read_vitals
from invoices.models import Invoice
from invoices.states import OPEN
from tokia import clock

KEPT_SECONDS = 15
DAYS = 30
RECENT_MINUTES = 5
TOP = 10
EVENTS_READ, ALERTS = 300, 5  # the newest events, and of them the alerts that are shown
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Money:
    """Nanos. `owed_to_customers`: all balances, promotional money apart; `owed_by_customers`: what was served beyond a balance."""

    owed_to_customers_nanos: int
    promo_nanos: int
    owed_by_customers_nanos: int
    wallets: int
    top_ups_today_nanos: int
    top_ups_today: int


@dataclass(frozen=True, slots=True)
class Earned:
    """From usage by day; the margin is what is left of the net after bonuses and the providers' cost."""

    today: MarginLine
    month: MarginLine  # the last 30 days, today included
    days: tuple[MarginLine, ...]  # those that had usage
    failed_today_bps: int | None


@dataclass(frozen=True, slots=True)
class Pace:
    """Of the last minutes: attempts at providers, which is what vitals count by the minute."""

    per_minute: int
    failed_bps: int | None


@dataclass(frozen=True, slots=True)
class Reconciled:
    unmatched: int
    unmatched_nanos: int
    differences: int
    gap_nanos: int


@dataclass(frozen=True, slots=True)
class Notes:
    pending: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Alert:
    type: str
    level: str
    organization_id: int
    organization: str
    at: dt.datetime


def _kept(name: str, read: Callable[[], T]) -> T:
    found: T | None = cache.get(f"admin:figures:{name}")
    if found is None:
        found = read()
        cache.set(f"admin:figures:{name}", found, timeout=KEPT_SECONDS)
    return found


def money() -> Money:
    return _kept("money", _read_money)


def _read_money() -> Money:
    owed = Wallet.everywhere.aggregate(
        posted=Sum("posted_nanos"), promo=Sum("promo_nanos"), overdraft=Sum("overdraft_nanos"), n=Count("pk")
    )
    since = dt.datetime.combine(clock.today_in_brazil(), dt.time(), clock.SAO_PAULO)
    came = Lot.everywhere.filter(kind=Lot.Kind.PAID, created_at__gte=since).aggregate(nanos=Sum("amount_nanos"), n=Count("pk"))
    posted, promo = int(owed["posted"] or 0), int(owed["promo"] or 0)
    return Money(
        owed_to_customers_nanos=posted - promo, promo_nanos=promo, owed_by_customers_nanos=int(owed["overdraft"] or 0),
        wallets=int(owed["n"]), top_ups_today_nanos=int(came["nanos"] or 0), top_ups_today=int(came["n"]),
    )  # fmt: skip


def earned() -> Earned:
    return _kept("earned", _read_earned)


def _read_earned() -> Earned:
    today = clock.today_in_brazil()
    days = margins.margins_by("dia", first_on=today - dt.timedelta(days=DAYS - 1), last_on=today)
    nothing = MarginLine("Hoje", 0, 0, 0, 0, 0)
    of_today = next((line for line in days if line.label == f"{today:%d/%m/%Y}"), nothing)
    failed = margins.failed_calls(first_on=today, last_on=today)
    return Earned(
        today=of_today, month=margins.total_of(days), days=tuple(days),
        failed_today_bps=failed * 10_000 // of_today.calls if of_today.calls else None,
    )  # fmt: skip


def by_provider() -> list[MarginLine]:
    return _kept("providers", lambda: _last_days("provedor"))


def by_organization() -> list[MarginLine]:
    """The ten that spent most."""
    return _kept("organizations", lambda: _last_days("empresa")[:TOP])


def _last_days(group: str) -> list[MarginLine]:
    today = clock.today_in_brazil()
    return margins.margins_by(group, first_on=today - dt.timedelta(days=DAYS - 1), last_on=today)


def pace() -> Pace:
    return _kept("pace", _read_pace)


def _read_pace() -> Pace:
    rows = read_vitals(since=clock.now() - dt.timedelta(minutes=RECENT_MINUTES), span=MINUTE)
    of_providers = [row for row in rows if row.provider_slug and not row.route_name]
    good, bad = sum(row.succeeded for row in of_providers), sum(row.failed + row.limited for row in of_providers)
    asked = good + bad
    return Pace(per_minute=-(-asked // RECENT_MINUTES), failed_bps=bad * 10_000 // asked if asked else None)


def reconciled() -> Reconciled:
    return _kept("reconciled", _read_reconciled)


def _read_reconciled() -> Reconciled:
    pix = UnmatchedPix.objects.filter(status=UnmatchedPix.Status.OPEN).aggregate(n=Count("pk"), nanos=Sum("amount_nanos"))
    gap = Abs(Coalesce("ours_nanos", 0) - Coalesce("theirs_nanos", 0))
    found = Difference.objects.filter(status=Difference.Status.OPEN).aggregate(n=Count("pk"), nanos=Sum(gap))
    return Reconciled(
        unmatched=int(pix["n"]), unmatched_nanos=int(pix["nanos"] or 0), differences=int(found["n"]),
        gap_nanos=int(found["nanos"] or 0),
    )  # fmt: skip


def notes() -> Notes:
    return _kept("notes", _read_notes)


def _read_notes() -> Notes:
    status = Invoice.Status
    counted = dict(
        Invoice.everywhere.filter(status__in=(*OPEN, status.REJECTED)).values_list("status").annotate(n=Count("pk")).order_by()
    )
    rejected = int(counted.pop(status.REJECTED, 0))
    return Notes(pending=sum(int(number) for number in counted.values()), rejected=rejected)


def alerts() -> list[Alert]:
    """The last ones that customers were told."""
    return _kept("alerts", _read_alerts)


def _read_alerts() -> list[Alert]:
    newest = Event.everywhere.select_related("organization").order_by("-id")[:EVENTS_READ]
    found = [event for event in newest if event.level != Event.Level.INFO][:ALERTS]
    return [Alert(event.type, event.level, event.organization_id, str(event.organization), event.created_at) for event in found]
