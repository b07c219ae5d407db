"""Reads for pages and the API, always of the tenant at work (`accounts.tenancy`): outside of one they raise NoTenant.

A day is a day in America/Sao_Paulo. Usage belongs to the day of the call's id, everything else to the day it was booked, so a
period's rows always add up: opening + in − out = closing, and the closing of today is the wallet's posted money.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connection
from django.utils.translation import gettext, gettext_noop, ngettext

from accounts.tenancy import current_tenant
from billing.discounts import plan_of_month, tiers_of
from billing.figures import tell_count, tell_day_of_year
from billing.models import CardPayment, LedgerEntry, Lot, MonthSpend, UsageRecord, Wallet
from billing.pricing import Tier, next_tier, tier_at
from billing.units import media_from, tell_media
from billing.usage_sums import MEDIA_SUMS, UsageFilter, UsageLine, usage_by
from billing.wallets import wallet_of
from tokia import clock
from tokia.clock import SAO_PAULO, Month

__all__ = ["Balance", "LotLine", "MonthToDate", "Statement", "StatementRow", "UsageFilter", "UsageLine", "balance", "calls",
           "entry_rows", "lots", "month_to_date", "spend_by_day", "statement", "usage_by"]  # fmt: skip

Parameter = int | str | dt.date | dt.datetime

# How an entry is told, by its kind, the book on the other side, and whether money comes in. Others go by their kind's name.
DESCRIPTIONS = {
    ("top_up", "world:pix", True): gettext_noop("Recarga PIX"),
    ("top_up", "world:stripe", True): gettext_noop("Recarga com cartão"),
    ("refund", "world:pix", False): gettext_noop("Devolução por PIX"),
    ("refund", "world:stripe", False): gettext_noop("Devolução no cartão"),
    ("dispute", "world:pix", False): gettext_noop("Contestação de PIX"),
    ("dispute", "world:stripe", False): gettext_noop("Contestação no cartão"),
    ("dispute", "world:pix", True): gettext_noop("Contestação de PIX encerrada a seu favor"),
    ("dispute", "world:stripe", True): gettext_noop("Contestação no cartão encerrada a seu favor"),
    ("reversal", "world:pix", False): gettext_noop("Estorno de recarga PIX"),
    ("reversal", "world:stripe", False): gettext_noop("Estorno de recarga com cartão"),
}

# Usage after the period: the rest of its last month by day, then by month: nets, less what the wallet did not have.
_STATEMENT = f"""
WITH usage AS (
  SELECT day, sum(paid_nanos + promo_nanos)::bigint AS used, sum(overdraft_nanos)::bigint AS owed, sum(calls)::bigint AS calls,
         ARRAY[{MEDIA_SUMS}] AS media
  FROM billing_usageday
  WHERE organization_id = %(organization)s AND day BETWEEN %(first)s AND %(last)s
  GROUP BY day
), later AS (
  SELECT coalesce((SELECT sum(paid_nanos + promo_nanos) FROM billing_usageday
                   WHERE organization_id = %(organization)s AND day > %(last)s AND day < %(month_after)s), 0)
       + coalesce((SELECT sum(net_nanos) FROM billing_monthspend WHERE wallet_id = %(wallet)s AND month >= %(month_after)s), 0)
       - coalesce((SELECT sum(overdraft_nanos) FROM billing_usageday
                   WHERE organization_id = %(organization)s AND day >= %(month_after)s AND overdraft_nanos > 0), 0) AS used
)
SELECT '' AS kind, NULL::timestamptz, NULL::date, (w.posted_nanos + later.used)::bigint, NULL, NULL, NULL::bigint, NULL, NULL,
       NULL::bigint, NULL::bigint[]
FROM billing_wallet w, later WHERE w.id = %(wallet)s
UNION ALL
SELECT e.kind, e.created_at, (e.created_at AT TIME ZONE 'America/Sao_Paulo')::date,
       CASE WHEN p.destination = 'wallet:' || %(wallet)s THEN p.amount_nanos ELSE -p.amount_nanos END,
       p.source, p.destination, e.id, e.reference, e.reason, NULL, NULL
FROM billing_posting p JOIN billing_ledgerentry e ON e.id = p.entry_id
WHERE p.wallet_id = %(wallet)s AND p.destination <> 'revenue:usage' AND e.kind <> 'usage' AND e.created_at >= %(from)s
  AND 'wallet:' || %(wallet)s IN (p.source, p.destination)
UNION ALL
SELECT 'usage', NULL, day, -used, NULL, NULL, NULL, NULL, owed::text, calls, media FROM usage
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Balance:
    posted_nanos: int
    held_nanos: int
    available_nanos: int
    promo_nanos: int
    overdraft_nanos: int


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One movement of the wallet, or a day's usage. Exactly one of in and out is not zero, but for a day of free calls."""

    on: dt.date
    at: dt.datetime | None  # empty for a day's usage
    kind: str  # of LedgerEntry.Kind
    description: str
    in_nanos: int
    out_nanos: int
    balance_nanos: int = 0  # after it
    entry_id: int | None = None
    reference: str = ""  # of the entry
    reason: str = ""
    calls: int = 0  # of a day's usage
    media: str = ""  # of a day's usage: images, sound and the like, in words
    overdraft_nanos: int = 0  # of a day's usage: not paid by the wallet, owed
    settles_debt: bool = False  # the part of an entry that paid what was owed

    @property
    def has_recibo(self) -> bool:
        """Money that the customer paid in has a recibo; what it settled of a debt is part of the same payment."""
        return self.kind == LedgerEntry.Kind.TOP_UP and self.in_nanos > 0


@dataclass(frozen=True, slots=True)
class Statement:
    """`rows` of the kinds asked for, oldest first; the totals are of the whole period."""

    rows: list[StatementRow]
    opening_nanos: int
    in_nanos: int
    out_nanos: int
    closing_nanos: int


@dataclass(frozen=True, slots=True)
class MonthToDate:
    """The fiscal month so far and where it stands in the volume plan."""

    month: Month
    gross_nanos: int
    net_nanos: int
    calls: int
    tier: Tier | None  # the discount on the next call
    next_tier: Tier | None
    to_next_nanos: int  # gross still missing to the next tier; 0 in the last


@dataclass(frozen=True, slots=True)
class LotLine:
    lot: Lot
    remaining_nanos: int


def balance() -> Balance:
    """The wallet of the tenant at this instant."""
    wallet = wallet_of(current_tenant())
    return Balance(
        posted_nanos=wallet.posted_nanos,
        held_nanos=wallet.held_nanos,
        available_nanos=wallet.available_nanos,
        promo_nanos=wallet.promo_nanos,
        overdraft_nanos=wallet.overdraft_nanos,
    )


def statement(*, first_on: dt.date, last_on: dt.date, kinds: Sequence[str] = ()) -> Statement:
    """The wallet's movements from the first to the last day, both included; usage as one row per day, at the day's end."""
    wallet = wallet_of(current_tenant())
    after, rows = _read_rows(wallet, first_on=first_on, last_on=last_on)
    opening = after - sum(row.in_nanos - row.out_nanos for row in rows)
    period: list[StatementRow] = []
    running = opening
    for row in rows:
        if row.on <= last_on:
            running += row.in_nanos - row.out_nanos
            period.append(replace(row, balance_nanos=running))
    return Statement(
        rows=[row for row in period if not kinds or row.kind in kinds],
        opening_nanos=opening,
        in_nanos=sum(row.in_nanos for row in period),
        out_nanos=sum(row.out_nanos for row in period),
        closing_nanos=running,
    )


def entry_rows(*, first_on: dt.date, last_on: dt.date) -> list[StatementRow]:
    """The entries of a period without its usage, oldest first; balances are not told."""
    _, rows = _read_rows(wallet_of(current_tenant()), first_on=first_on, last_on=last_on)
    return [row for row in rows if row.at is not None and row.on <= last_on]


def _read_rows(wallet: Wallet, *, first_on: dt.date, last_on: dt.date) -> tuple[int, list[StatementRow]]:
    """What the wallet would have now without the usage after the period, and all else that moved it since the first day, in one
    snapshot; so a period's opening needs no older row, and no usage record."""
    arguments: dict[str, Parameter] = {
        "wallet": wallet.pk, "organization": wallet.organization_id, "from": _starts_at(first_on), "first": first_on,
        "last": last_on, "month_after": (last_on.replace(day=1) + dt.timedelta(days=31)).replace(day=1),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENT, arguments)
        (_, _, _, after, *_), *found = sorted(cursor.fetchall(), key=lambda row: row[0] != "")
    rows = _tell_cards([_statement_row(*row) for row in found])
    rows.sort(key=lambda row: (row.on, row.at is None, row.at or row.on, row.entry_id, row.out_nanos))
    return after, rows


def _tell_cards(rows: list[StatementRow]) -> list[StatementRow]:
    """Top-ups that Stripe collected say which card, or that it was a PIX."""
    intents = {row.reference.removeprefix("stripe:"): row for row in rows if row.has_recibo and row.reference.startswith("stripe:")}
    if not intents:
        return rows
    told: dict[int | None, StatementRow] = {}
    for intent, how, paid_with in CardPayment.everywhere.filter(intent_id__in=intents).values_list("intent_id", "how", "paid_with"):
        row = intents[str(intent)]
        is_pix = how == CardPayment.How.PIX
        told[row.entry_id] = replace(
            row,
            description=gettext("Recarga PIX") if is_pix else row.description,
            reason=row.reason or ("" if is_pix else paid_with),
        )
    return [told.get(row.entry_id, row) if row.has_recibo else row for row in rows]


def _statement_row(
    kind: str,
    at: dt.datetime | None,
    on: dt.date,
    amount: int,
    source: str | None,
    destination: str | None,
    entry_id: int | None,
    reference: str | None,
    text: str,
    calls: int | None,
    media: list[int] | None,
) -> StatementRow:
    row = StatementRow(
        on=on, at=at, kind=kind, description=str(LedgerEntry.Kind(kind).label), in_nanos=max(amount, 0), out_nanos=max(-amount, 0),
        entry_id=entry_id, reference=reference or "",
    )  # fmt: skip
    if calls is not None and media is not None:
        told = ngettext("Uso de {date} — {count} requisição", "Uso de {date} — {count} requisições", calls)
        return replace(row, description=told.format(date=tell_day_of_year(on), count=tell_count(calls)), calls=calls,
                       media=tell_media(media_from(media)), overdraft_nanos=int(text))  # fmt: skip
    if (destination or "").startswith("overdraft:"):
        return replace(row, description=gettext("Acerto de saldo devedor"), settles_debt=True)
    book = source if amount > 0 else destination
    known = DESCRIPTIONS.get((kind, book or "", amount > 0))
    return replace(row, description=gettext(known) if known else row.description, reason=text)


def calls() -> Any:
    """The tenant's calls, newest first, for lists with filters (`.filter(route_name=…)`)."""
    return UsageRecord.objects.order_by("-id")


def month_to_date() -> MonthToDate:
    """This fiscal month so far. Its plan is the one of its first call, else the one that would be."""
    month = Month.current()
    wallet = wallet_of(current_tenant())
    spend = MonthSpend.objects.filter(month=month.first_on).first()
    gross = spend.gross_nanos if spend else 0
    tiers = tiers_of(spend.volume_plan_id if spend else plan_of_month(wallet, month))
    ahead = next_tier(gross, tiers)
    return MonthToDate(
        month=month,
        gross_nanos=gross,
        net_nanos=spend.net_nanos if spend else 0,
        calls=spend.calls if spend else 0,
        tier=tier_at(gross, tiers),
        next_tier=ahead,
        to_next_nanos=ahead.above_nanos - gross if ahead else 0,
    )


def lots() -> list[LotLine]:
    """What came in, newest first, with what is left of each."""
    wallet = wallet_of(current_tenant())
    with connection.cursor() as cursor:
        cursor.execute("SELECT lot_id, remaining FROM billing_lots(%s)", [wallet.pk])
        remaining = dict(cursor.fetchall())
    return [LotLine(lot, remaining[lot.pk]) for lot in Lot.objects.select_related("entry").order_by("-id") if lot.pk in remaining]


def spend_by_day(*, days: int = 7) -> list[tuple[dt.date, int]]:
    """Net spend of the last `days` days, today included, oldest first; a day without calls is there with 0."""
    today = clock.today_in_brazil()
    first_on = today - dt.timedelta(days=days - 1)
    spent = {line.group: line.net_nanos for line in usage_by("day", first_on=first_on, last_on=today)}
    return [(day, spent.get(day, 0)) for day in _days(first_on, today)]


def _days(first_on: dt.date, last_on: dt.date) -> Iterator[dt.date]:
    for number in range((last_on - first_on).days + 1):
        yield first_on + dt.timedelta(days=number)


def _starts_at(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), SAO_PAULO)
