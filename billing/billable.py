"""What of a closed month, and of a top-up, is owed a fiscal document, exactly as the books tell it. Reads only.

A month is told by its close and never read anew: days and records go on growing while calls come late. What a close told of a
month are the first `gross_nanos` of that month's cumulative gross, for positions tile the month (MONEY's invariant 9), and what a
later close told of it are the next ones. So a call belongs to a close by its position, whatever is settled meanwhile.

Billable is net − promotional: what paid money paid, and what is owed (`overdraft_nanos`: served, and paid by a later top-up).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from billing.errors import BillingError
from billing.models import Charge, Lot, MonthClose
from billing.sql import read_sql
from tokia.clock import SAO_PAULO, Month


class BooksDiffer(BillingError):
    """Calls and closes tell different sums: nothing may be invoiced until a person has looked."""

    code = "books_differ"
    status = 500


@dataclass(frozen=True, slots=True)
class RouteSum:
    """One route of a closed month: calls told by the close, and what of them is billable."""

    route_name: str
    calls: int
    nanos: int


@dataclass(frozen=True, slots=True)
class LateSum:
    """Calls of an older month that came after its close; told, and so billed, by this one."""

    month: dt.date
    calls: int
    nanos: int
    paid_nanos: int  # of it, paid by paid money when it was settled; the rest is owed


@dataclass(frozen=True, slots=True)
class Billable:
    routes: tuple[RouteSum, ...]  # the dearest first; none that is zero
    late: tuple[LateSum, ...]

    @property
    def nanos(self) -> int:
        return sum(line.nanos for line in self.routes) + sum(line.nanos for line in self.late)


def billable_of(close: MonthClose) -> Billable:
    """What a close told, by route, and late usage by month. Raises BooksDiffer where calls and close disagree."""
    with connection.cursor() as cursor:
        cursor.execute(
            read_sql("billable"),
            {
                "organization": close.organization_id, "wallet": close.wallet_id, "month": close.month,
                "next": Month(close.month).next().first_on, "gross": close.gross_nanos, "closed_at": close.closed_at,
            },
        )  # fmt: skip
        routes = tuple(RouteSum(*row) for row in cursor.fetchall())
    told = sum(line.nanos for line in routes)
    if told != close.net_nanos - close.promo_used_nanos:
        raise BooksDiffer(f"close {close.pk}: calls tell {told}, the close {close.net_nanos - close.promo_used_nanos}")
    late = tuple(_late_of(close, month=dt.date.fromisoformat(name), told=told) for name, told in sorted(close.adjustments.items()))
    return Billable(tuple(line for line in routes if line.nanos), tuple(line for line in late if line.nanos))


def _late_of(close: MonthClose, *, month: dt.date, told: dict[str, int]) -> LateSum:
    """The calls between what was told of the month before this close, and after it."""
    before = MonthClose.everywhere.filter(wallet=close.wallet_id, month__lt=close.month, month__gte=month)
    start = sum(
        earlier.gross_nanos if earlier.month == month else int(earlier.adjustments.get(str(month), {}).get("gross", 0))
        for earlier in before
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(net_nanos - promo_nanos), 0)::bigint, coalesce(sum(paid_nanos), 0)::bigint,"
            " coalesce(sum(net_nanos), 0)::bigint"
            " FROM billing_usagerecord WHERE wallet_id = %s AND month = %s AND gross_before_nanos >= %s AND gross_before_nanos < %s"
            " AND gross_nanos > 0 AND id >= billing_first_id_of_month(%s) AND id < billing_first_id_of_month(%s)",
            [close.wallet_id, month, start, start + told["gross"], month, Month(month).next().first_on],
        )
        nanos, paid, net = cursor.fetchone()
    if net != told["net"]:
        raise BooksDiffer(f"close {close.pk}: late calls of {month} tell {net}, the close {told['net']}")
    return LateSum(month, told["calls"], nanos, paid)


def so_far(organization_id: int, *, month: Month, until: dt.date | None = None) -> list[RouteSum]:
    """A month as its days are now (`until`: and those after it), by route, the dearest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT route_name, sum(calls)::bigint, sum(net_nanos - promo_nanos)::bigint AS nanos FROM billing_usageday"
            " WHERE organization_id = %s AND day >= %s AND day < %s GROUP BY route_name"
            " HAVING sum(net_nanos - promo_nanos) > 0 ORDER BY nanos DESC, route_name",
            [organization_id, month.first_on, until or month.next().first_on],
        )
        return [RouteSum(*row) for row in cursor.fetchall()]


# ── Top-ups ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Return:
    """Money of a top-up that went back to who paid it: a refund settled (and not come back), a dispute, a reversal."""

    entry_id: int | None  # of the top-up; None: nothing tells which
    reference: str
    at: dt.datetime
    nanos: int  # below zero: a dispute that was won


def returns_of(wallet_ids: Iterable[int]) -> list[Return]:
    """Whatever went back of these wallets' top-ups, and what came back of it.

    A dispute by MED names no top-up in the books; the event that told it names the payment.
    """
    wallets = list(wallet_ids)
    with connection.cursor() as cursor:
        cursor.execute(read_sql("returned"), [wallets, wallets])
        return [Return(*row) for row in cursor.fetchall()]


def paid_on(lot: Lot) -> dt.date:
    """The day in Brazil on which a lot's top-up was paid: the bank's instant of a PIX, else (by card) the day it was booked."""
    end_to_end_id = lot.entry.reference.removeprefix("pix:")
    if end_to_end_id != lot.entry.reference:
        charge = Charge.everywhere.filter(wallet=lot.wallet_id, payments__contains=[{"endToEndId": end_to_end_id}]).first()
        for told in charge.payments if charge else []:
            if told["endToEndId"] == end_to_end_id:
                return dt.datetime.fromisoformat(told["horario"]).astimezone(SAO_PAULO).date()
    return lot.entry.created_at.astimezone(SAO_PAULO).date()
