"""Closing days and months, after which what was told does not change any more.

A month closes when no call of it can still be running (HOLD_SECONDS_MAX) and the usual spools have come in
(MONTH_CLOSE_GRACE_HOURS). What comes later still belongs to its month (its volume tier, its day in the statement), but the closed
figures stand: the next month's close has it as an adjustment, named by its month. The closes and what moved since add up to the
wallet (invariant 19).
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError
from django.utils.translation import gettext, gettext_noop, ngettext

from billing import ledger
from billing.errors import BillingError
from billing.figures import in_marks, tell_brl, tell_count
from billing.models import DayClose, LedgerEntry, MonthClose, MonthSpend, Wallet
from billing.money import BRL, CENTAVO
from tokia import clock
from tokia.clock import SAO_PAULO, Month

MONTHS = (
    gettext_noop("janeiro"),
    gettext_noop("fevereiro"),
    gettext_noop("março"),
    gettext_noop("abril"),
    gettext_noop("maio"),
    gettext_noop("junho"),
    gettext_noop("julho"),
    gettext_noop("agosto"),
    gettext_noop("setembro"),
    gettext_noop("outubro"),
    gettext_noop("novembro"),
    gettext_noop("dezembro"),
)

log = logging.getLogger("billing.closing")


def tell_month(first_on: dt.date) -> str:
    """`outubro de 2026`."""
    return gettext("{month} de {year}").format(month=gettext(MONTHS[first_on.month - 1]), year=first_on.year)


def closes_at(month: Month) -> dt.datetime:
    """From when a month may be closed."""
    return month.ends_at() + dt.timedelta(seconds=settings.HOLD_SECONDS_MAX, hours=settings.MONTH_CLOSE_GRACE_HOURS)


def close_month(wallet: Wallet, month: Month) -> MonthClose:
    """Close one month of a wallet; again, it is the same row. Raises ValueError before its time, and what the ledger raises where
    the month before it is still open."""
    if clock.now() < closes_at(month):
        raise ValueError(f"{month.first_on} closes at {closes_at(month)}.")
    return MonthClose.everywhere.get(pk=ledger.call_function("billing_close_month", wallet.pk, month.first_on))


def close_due_months(*, wallets_max: int = 500) -> int:
    """Close every month that is over, wallet by wallet, oldest first; returns how many. For a task: the rest at its next turn."""
    last = Month.of(clock.now())
    closed = 0
    previous = Month.of(last.starts_at() - dt.timedelta(days=1))
    while clock.now() < closes_at(previous):
        previous = Month.of(previous.starts_at() - dt.timedelta(days=1))
    due = Wallet.everywhere.filter(created_at__lt=previous.ends_at()).exclude(closes__month=previous.first_on).order_by("pk")
    for wallet in due[:wallets_max]:
        newest = MonthClose.everywhere.filter(wallet=wallet).order_by("-month").first()
        month = Month(newest.month).next() if newest else Month.of(wallet.created_at)
        try:
            while month.first_on <= previous.first_on:
                close_month(wallet, month)
                closed += 1
                month = month.next()
        except (BillingError, DatabaseError):  # one wallet's trouble is not the others'; the task comes again
            log.exception("a month did not close", extra={"wallet": wallet.pk, "month": str(month.first_on)})
    return closed


def closes() -> list[MonthClose]:
    """The tenant's closed months, newest first."""
    return list(MonthClose.objects.order_by("-month"))


def last_day_of(close: MonthClose) -> dt.date:
    return Month(close.month).next().first_on - dt.timedelta(days=1)


def last_day_over() -> dt.date:
    """The last day of which no call can still be running."""
    return (clock.now() - dt.timedelta(seconds=settings.HOLD_SECONDS_MAX)).astimezone(SAO_PAULO).date() - dt.timedelta(days=1)


def close_days(wallet: Wallet) -> None:
    """Tell every day that is over and was not told, or not wholly. Only months whose calls are not all told are read by day."""
    until = last_day_over()
    told: dict[dt.date, int] = {}
    for day, calls in DayClose.everywhere.filter(wallet=wallet).values_list("day", "calls"):
        told[day.replace(day=1)] = told.get(day.replace(day=1), 0) + calls
    for month, calls in MonthSpend.everywhere.filter(wallet=wallet).order_by("month").values_list("month", "calls"):
        if calls > told.get(month, 0) and month <= until:
            last_on = min(until, Month(month).next().first_on - dt.timedelta(days=1))
            ledger.call_function("billing_close_days", wallet.pk, month, last_on, until)


def told_days(wallet: Wallet, *, first_on: dt.date, last_on: dt.date) -> list[DayClose]:
    """The lines told between two days, both included, in the sequence in which they were told."""
    return list(DayClose.everywhere.filter(wallet=wallet, told_on__range=(first_on, last_on)).order_by("told_on", "pk"))


@dataclass(frozen=True, slots=True)
class CloseLine:
    """A line of a closing: what, and how much, positive into the wallet, negative out of it."""

    label: str
    nanos: int
    is_detail: bool = False  # explains the line above; not part of the sum

    @property
    def text(self) -> str:
        """Exact, so that what is read adds up: `R$ 250,50`, and all nine decimals where there is less than a centavo."""
        if self.nanos % CENTAVO == 0:
            return tell_brl(self.nanos)
        reais, decimals = divmod(abs(self.nanos), BRL)
        return in_marks(f"{'−' if self.nanos < 0 else ''}R$\u00a0{reais:,}".replace(",", ".") + f",{decimals:09d}")


def lines_of(close: MonthClose) -> list[CloseLine]:
    """From the opening to the closing; the lines that are no detail add up."""
    lines = [CloseLine(gettext("Saldo inicial"), close.opening_nanos)]
    for kind in LedgerEntry.Kind:
        moved = close.movements.get(kind.value, {})
        if moved.get("in"):
            lines.append(CloseLine(_label(kind, is_in=True), moved["in"]))
        if moved.get("out"):
            lines.append(CloseLine(_label(kind, is_in=False), -moved["out"]))
    owed = close.movements.get("overdraft", {}).get("out", 0)
    if owed:
        lines.append(CloseLine(gettext("Acerto de saldo devedor"), -owed))
    lines.append(CloseLine(gettext("Uso do mês, pago pelo saldo"), close.overdraft_nanos - close.net_nanos))
    for label, nanos in (
        (gettext("uso bruto"), close.gross_nanos),
        (gettext("desconto por volume"), -close.discount_nanos),
        (gettext("uso líquido"), close.net_nanos),
        (gettext("pago com bônus"), close.promo_used_nanos),
        (gettext("a pagar na próxima recarga"), close.overdraft_nanos),
    ):
        if nanos:
            lines.append(CloseLine(label, nanos, is_detail=True))
    for month, late in sorted(close.adjustments.items()):
        told = ngettext(
            "Ajuste de {month}: {count} requisição que chegou depois do fechamento",
            "Ajuste de {month}: {count} requisições que chegaram depois do fechamento",
            late["calls"],
        )
        label = told.format(month=tell_month(dt.date.fromisoformat(month)), count=tell_count(late["calls"]))
        lines.append(CloseLine(label, -late["used"]))
    lines.append(CloseLine(gettext("Saldo final"), close.closing_nanos))
    return lines


def _label(kind: LedgerEntry.Kind, *, is_in: bool) -> str:
    if kind == LedgerEntry.Kind.DISPUTE:
        return gettext("Contestações encerradas a seu favor") if is_in else gettext("Contestações")
    labels = {
        LedgerEntry.Kind.TOP_UP: gettext("Recargas"),
        LedgerEntry.Kind.GRANT: gettext("Bônus recebidos"),
        LedgerEntry.Kind.REFUND: gettext("Devoluções"),
        LedgerEntry.Kind.EXPIRY: gettext("Bônus expirados"),
        LedgerEntry.Kind.CORRECTION: gettext("Ajustes a seu favor") if is_in else gettext("Ajustes"),
        LedgerEntry.Kind.REVERSAL: gettext("Estornos a seu favor") if is_in else gettext("Estornos"),
    }
    return labels.get(kind, str(kind.label))
