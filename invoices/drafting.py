"""Billed facts → drafts of invoices. Here nanos of the ledger become centavos of a document, once.

**A month** (`monthly_consumption`). A close of the wallet's month is invoiced on or after the first business day of the next month:
a line per model, late calls of older months on a line of their own, promotional money never. Closes before the first policy's day
are not ours. Calls by a customer's own key at a provider are billed like any other, at their own price. Corrections of usage as
negative usage don't exist in the books: a person's correction moves money, not consumption, and changes no document by itself.

**The residue.** A month's consumption has fractions of a centavo. An invoice's amount is

    half-up(Σ nanos of the organization's live monthly lines, this invoice's included, ÷ 10⁷) − Σ centavos of its other live ones

so that all invoices together are never further than half a centavo from the consumption. Where that is nothing, there is no invoice
yet: the facts wait and are on the next month's. Three months of 0.4 centavo each: none, 1 centavo (of both), none.

**A top-up** (`per_topup`). One invoice per TOP_UP entry booked since the policy began, of the day it was paid on, at the amount
received, less what went back since. What such a top-up paid of an older debt is in its note as well: under per_topup that
consumption was in none; only a debt that a monthly note has told already is left out (`invoices.cutover`).

A fact that ever was on an invoice is not drafted again by itself: whoever cancelled or discarded it had a reason (`redraft`).
One organization at a time, under a lock of its own; two beats at once draft once.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from django.db import DatabaseError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum

from accounts.models import Organization
from billing.billable import RouteSum, billable_of, paid_on, returns_of, so_far
from billing.errors import BillingError
from billing.models import LedgerEntry, Lot, MonthClose, Wallet
from billing.money import CENTAVO
from invoices.cutover import Era, Eras, books_of, eras_of
from invoices.errors import Incomplete
from invoices.holidays import first_business_day
from invoices.kept_texts import COVERED
from invoices.models import Invoice, InvoiceLine, InvoicePolicy, Issuer
from invoices.takers import missing_fields
from invoices.terms import active_issuer
from tokia import clock
from tokia.clock import Month

LATE = ""  # InvoiceLine.route_name of calls of older months
log = logging.getLogger("invoices.drafting")


@dataclass(frozen=True, slots=True)
class Fact:
    """A line to be."""

    close: MonthClose
    route_name: str
    calls: int
    nanos: int


# ── The residue rule ─────────────────────────────────────────────────────────────────────────────────────────────────
def half_up(nanos: int) -> int:
    """Centavos; half a centavo goes up (towards +∞)."""
    return (2 * nanos + CENTAVO) // (2 * CENTAVO)


def residue_amount(nanos: int, live_nanos: int, live_centavos: int) -> int:
    """Centavos of an invoice over `nanos`, beside live ones of `live_nanos` that came to `live_centavos`. May be 0 or less."""
    return half_up(live_nanos + nanos) - live_centavos


def live_sums(organization: Organization) -> tuple[int, int]:
    """Nanos and centavos of the organization's live monthly invoices. (Of a note and its replacement under way, the one whose
    lines are live; both say the same amount.)"""
    lines = InvoiceLine.everywhere.filter(organization=organization, close__isnull=False, is_live=True)
    nanos = lines.aggregate(nanos=Sum("amount_nanos"))["nanos"] or 0
    live = Invoice.everywhere.filter(pk__in=lines.values("invoice"))
    return nanos, live.aggregate(centavos=Sum("amount_centavos"))["centavos"] or 0


# ── Months ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def draft_due_months() -> int:
    """Draft what closed months left, for every organization, from the first business day after on; returns how many drafts.

    Months that nobody drafted in their time (no issuer yet, a policy that began earlier) get each their own, oldest first.
    """
    try:
        eras = eras_of(active_issuer())
    except Incomplete:
        return 0
    month, drafted = last_due_month(), 0
    for organization in Organization.objects.filter(pk__in=_due(eras, month).values("organization")).order_by("pk"):
        months = _due(eras, month).filter(organization=organization).order_by("month").values_list("month", flat=True)
        for first_on in months:
            drafted += _guarded(partial(draft_month, organization, first_on), organization) is not None
    return drafted


def last_due_month() -> Month:
    """The newest month whose invoices may be drafted today."""
    today = clock.today_in_brazil()
    month = before(Month.current())
    return month if today >= first_business_day(today) else before(month)


def before(month: Month) -> Month:
    return Month.of(month.starts_at() - dt.timedelta(days=1))


def draft_month(organization: Organization, month: dt.date) -> Invoice | None:
    """The invoice of a closed month and of what waited for it; None: nothing is due (yet). Again, it finds nothing left.

    Raises BooksDiffer where calls and close disagree, and Incomplete (ISSUER) where nobody issues.
    """
    issuer = active_issuer()
    with alone(organization):
        facts = due_facts(organization, month=Month(month), eras=eras_of(issuer))
        amount = residue_amount(sum(fact.nanos for fact in facts), *live_sums(organization))
        if not facts or amount <= 0:
            return None
        invoice = _draft(
            organization, issuer=issuer, policy=InvoicePolicy.Kind.MONTHLY, stem=f"month:{organization.pk}:{month:%Y-%m}",
            month=month, competence_on=Month(month).next().first_on - dt.timedelta(days=1), amount_centavos=amount,
        )  # fmt: skip
        InvoiceLine.everywhere.bulk_create(
            InvoiceLine(
                organization=organization,
                invoice=invoice,
                close=fact.close,
                route_name=fact.route_name,
                calls=fact.calls,
                amount_nanos=fact.nanos,
            )
            for fact in facts
        )
    return invoice


def due_facts(organization: Organization, *, month: Month, eras: Eras) -> list[Fact]:
    """The lines of the month's close and of those before that wait; none while the month itself is open."""
    closes = list(waiting_closes(eras).filter(organization=organization, month__lte=month.first_on).order_by("month"))
    if not closes or closes[-1].month != month.first_on:
        return []
    # Under per_topup a month is only told if something of it is due; what waits of it comes with the sum of what is covered.
    closes = [close for close in closes if close.month == month.first_on or eras.on(close.month) is not Era.TOP_UP]
    facts: list[Fact] = []
    for close in closes:
        told = billable_of(close)
        facts += [Fact(close, line.route_name, line.calls, line.nanos) for line in told.routes]
        if late := sum(line.nanos for line in told.late):
            facts.append(Fact(close, LATE, sum(line.calls for line in told.late), late))
    if eras.has_top_ups:
        adjusted = _due_by_eras(closes, eras=eras) - sum(fact.nanos for fact in facts)
        if adjusted:
            facts.append(Fact(closes[-1], COVERED, 0, adjusted))
    return facts


def _due_by_eras(closes: Sequence[MonthClose], *, eras: Eras) -> int:
    """Nanos that are due when the last of these closes is invoiced: all consumption told until then, less what is no monthly
    note's, less what earlier notes told."""
    last = closes[-1]
    consumed = dealt = 0
    for close in MonthClose.everywhere.filter(wallet=last.wallet_id, month__gte=eras.first_on, month__lte=last.month):
        consumed += told_nanos(close)
        dealt += _dealt_with(close)
    return consumed - books_of(last.wallet_id, eras=eras, month=Month(last.month)).covered() - dealt


def told_nanos(close: MonthClose) -> int:
    """All that a close told as billable."""
    return billable_of(close).nanos if close.adjustments else close.net_nanos - close.promo_used_nanos


def _dealt_with(close: MonthClose) -> int:
    """What a close came to on its newest invoice, live or not. (One under way to replace another says the same again.)"""
    lines = InvoiceLine.everywhere.filter(close=close).exclude(invoice__status=Invoice.Status.REPLACED)
    pending = Q(invoice__replaces__isnull=False) & ~Q(
        invoice__status__in=(Invoice.Status.ISSUED, Invoice.Status.CANCEL_PENDING, Invoice.Status.CANCELLED)
    )
    rows = list(lines.exclude(pending).order_by("-invoice_id").values_list("invoice_id", "amount_nanos"))
    return sum(nanos for invoice_id, nanos in rows if invoice_id == rows[0][0])


def waiting_closes(eras: Eras) -> QuerySet[MonthClose]:
    """Closes since the first policy that told something billable and never were on an invoice."""
    if eras.first_on is None:
        return MonthClose.everywhere.none()
    told = Q(net_nanos__gt=F("promo_used_nanos")) | ~Q(adjustments={})
    if eras.has_top_ups:
        told |= Q(movements__overdraft__out__gt=0)  # what it paid of older debts may be in no note yet
    never = ~Exists(InvoiceLine.everywhere.filter(close=OuterRef("pk")))
    return MonthClose.everywhere.filter(told, never, month__gte=eras.first_on)


def _due(eras: Eras, month: Month) -> QuerySet[MonthClose]:
    """Closes until the month that may make an invoice. Of months under per_topup only the last two, of wallets older than the
    policy: the others have no money that was not invoiced as it came."""
    due = waiting_closes(eras).filter(month__lte=month.first_on)
    for first_on, last_on in top_up_spans(eras):
        is_young = Q(wallet__created_at__gte=Month(first_on).starts_at()) | Q(month__lt=before(month).first_on)
        due = due.exclude(is_young, month__gte=first_on, month__lt=last_on)
    return due


def top_up_spans(eras: Eras) -> Iterator[tuple[dt.date, dt.date]]:
    """(first day, day after the last) of each time of per_topup."""
    for number, (starts_on, era) in enumerate(eras.starts, 1):
        if era is Era.TOP_UP:
            yield starts_on, eras.starts[number][0] if number < len(eras.starts) else dt.date.max


# ── Top-ups ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def draft_top_ups() -> int:
    """Draft every top-up that came under per_topup and never was on an invoice; returns how many drafts."""
    try:
        eras = eras_of(active_issuer())
    except Incomplete:
        return 0
    return sum(_guarded(partial(draft_top_up, lot), lot.wallet.organization) is not None for lot in waiting_lots(eras))


def waiting_lots(eras: Eras) -> Iterator[Lot]:
    """Top-ups that came under per_topup and never were on an invoice."""
    for first_on, last_on in top_up_spans(eras):
        never = ~Exists(InvoiceLine.everywhere.filter(entry=OuterRef("entry")))
        lots = Lot.everywhere.filter(never, kind=Lot.Kind.PAID, entry__kind=LedgerEntry.Kind.TOP_UP)
        lots = lots.filter(created_at__gte=Month(first_on).starts_at())
        if last_on != dt.date.max:
            lots = lots.filter(created_at__lt=Month(last_on).starts_at())
        yield from lots.select_related("entry", "wallet__organization").order_by("pk")


def draft_top_up(lot: Lot) -> Invoice | None:
    """The invoice of one top-up; None: it is on a live one, or nothing of it is due. Raises Incomplete (ISSUER)."""
    issuer, organization = active_issuer(), lot.wallet.organization
    with alone(organization):
        if InvoiceLine.everywhere.filter(entry=lot.entry_id, is_live=True).exists():
            return None
        nanos = due_of_top_up(lot, eras=eras_of(issuer))
        amount = half_up(nanos)
        if amount <= 0:
            return None
        day = paid_on(lot)
        invoice = _draft(
            organization, issuer=issuer, policy=InvoicePolicy.Kind.TOP_UP, stem=f"topup:{lot.entry_id}", month=day.replace(day=1),
            competence_on=day, amount_centavos=amount,
        )  # fmt: skip
        InvoiceLine.everywhere.create(organization=organization, invoice=invoice, entry_id=lot.entry_id, amount_nanos=nanos)
    return invoice


def due_of_top_up(lot: Lot, *, eras: Eras) -> int:
    """Nanos of a top-up that its note is to tell: what was received, less what went back, less what it paid of debts that a
    monthly note has."""
    returned = sum(back.nanos for back in returns_of([lot.wallet_id]) if back.entry_id == lot.entry_id)
    invoiced = 0
    if any(era is Era.MONTHLY for _, era in eras.starts):
        invoiced = books_of(lot.wallet_id, eras=eras).invoiced_debts().get(lot.entry_id, 0)
    return max(lot.amount_nanos - returned - invoiced, 0)


# ── What the next one will hold ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class NextInvoice:
    """What is known today of an organization's next invoice. Under per_topup there is none to wait for: `lines` is empty, and
    `kind` says why. Empty `kind`: nothing is invoiced (yet)."""

    kind: str  # of InvoicePolicy, or ""
    month: dt.date  # its first day
    lines: tuple[RouteSum, ...]  # the open month until now, the dearest first
    waiting_nanos: int  # closed months and late calls that wait for it; below zero: what was told already
    expected_centavos: int  # if nothing more were used
    due_on: dt.date | None  # drafted from this day on
    missing: tuple[str, ...]  # what must be told before it can be issued, in words


def preview(organization: Organization) -> NextInvoice:
    """The next invoice as it would be if its month ended now: this month's, or the last one's until its first business day after.

    It writes nothing.
    """
    month, missing = last_due_month().next(), tuple(missing_fields(organization))
    try:
        eras = eras_of(active_issuer())
    except Incomplete:
        eras = Eras(())
    era = eras.on(month.first_on)
    if era is not Era.MONTHLY:
        kind = InvoicePolicy.Kind.TOP_UP.value if era is Era.TOP_UP else ""
        return NextInvoice(kind, month.first_on, (), 0, 0, None, missing)
    lines = tuple(so_far(organization.pk, month=month))
    now = sum(line.nanos for line in lines)
    waiting = _waiting_nanos(organization, eras=eras) if not eras.has_top_ups else _due_now(organization, eras=eras) - now
    amount = residue_amount(now + waiting, *live_sums(organization))
    due_on = first_business_day(month.next().first_on)
    return NextInvoice(era.value, month.first_on, lines, waiting, max(amount, 0), due_on, missing)


def _waiting_nanos(organization: Organization, *, eras: Eras) -> int:
    """Of closed months: what came to too little for a note of its own, or is not drafted yet."""
    waiting = waiting_closes(eras).filter(organization=organization)
    return sum(told_nanos(close) for close in waiting)


def _due_now(organization: Organization, *, eras: Eras) -> int:
    """Nanos that would be due if everything were told now, where policies changed."""
    wallet = Wallet.everywhere.filter(organization=organization).first()
    if wallet is None or eras.first_on is None:
        return 0
    consumed = sum(day.nanos for day in so_far(organization.pk, month=Month(eras.first_on), until=dt.date.max))
    closes = MonthClose.everywhere.filter(wallet=wallet, month__gte=eras.first_on)
    return consumed - books_of(wallet.pk, eras=eras).covered() - sum(_dealt_with(close) for close in closes)


# ── Drafts ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def redraft(invoice: Invoice) -> Invoice:
    """A person wants a cancelled or discarded invoice's facts on a new one: the same lines, at the same amount.

    Raises Incomplete (FACTS) where it still holds them, or another one does.
    """
    organization = invoice.organization
    with alone(organization):
        lines = list(InvoiceLine.everywhere.filter(invoice=invoice))
        held = InvoiceLine.everywhere.filter(
            Q(close__in=[line.close_id for line in lines if line.close_id])
            | Q(entry__in=[line.entry_id for line in lines if line.entry_id]),
            is_live=True,
        )
        if invoice.status in Invoice.LIVE or held.exists() or not lines:
            raise Incomplete("O que esta nota fatura já está em outra.", problem_code="FACTS", param="lines")
        again = _draft(
            organization, issuer=active_issuer(), policy=InvoicePolicy.Kind(invoice.policy),
            stem=invoice.reference.rpartition(":")[0], month=invoice.month, competence_on=invoice.competence_on,
            amount_centavos=invoice.amount_centavos,
        )  # fmt: skip
        for line in lines:
            line.pk, line.invoice, line.is_live = None, again, True
        InvoiceLine.everywhere.bulk_create(lines)
    return again


def _draft(
    organization: Organization, *, issuer: Issuer, policy: InvoicePolicy.Kind, stem: str, month: dt.date, competence_on: dt.date,
    amount_centavos: int,
) -> Invoice:  # fmt: skip
    """The row, due at once. `reference` counts: the facts of one that was cancelled may be drafted again."""
    number = 1 + Invoice.everywhere.filter(reference__startswith=f"{stem}:").count()
    while Invoice.everywhere.filter(reference=f"{stem}:{number}").exists():
        number += 1
    return Invoice.everywhere.create(
        organization=organization, issuer=issuer, policy=policy, reference=f"{stem}:{number}", month=month,
        competence_on=competence_on, amount_centavos=amount_centavos, due_at=clock.now(),
        **withheld(organization, amount_centavos),
    )  # fmt: skip


def withheld(organization: Organization, amount_centavos: int) -> dict[str, int | bool]:
    """What the taker says it withholds (`FiscalProfile`), of an amount; half a centavo goes up."""
    profile = getattr(organization, "fiscal_profile", None)
    if profile is None:
        return {}
    return {
        "iss_withheld": profile.withholds_iss,
        "irrf_centavos": (2 * amount_centavos * profile.irrf_bps + 10_000) // 20_000,
        "csll_centavos": (2 * amount_centavos * profile.csll_bps + 10_000) // 20_000,
        "pis_cofins_withheld": profile.pis_cofins_withheld,
    }


@contextmanager
def alone(organization: Organization) -> Iterator[None]:
    """A transaction in which nobody else drafts for the organization."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('invoices', %s))", [organization.pk])
        yield


def _guarded(draft: Callable[[], Invoice | None], organization: Organization) -> Invoice | None:
    """One organization's trouble is not the others'; the task comes again."""
    try:
        return draft()
    except (BillingError, DatabaseError, Incomplete):
        log.exception("an invoice was not drafted", extra={"organization": organization.pk})
        return None
