"""The notes of a page: those of a status and a period, month by month, newest first, with each month's totals."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from django.db.models import Count, Q, QuerySet, Sum
from django.utils.translation import gettext as _

from billing.closing import MONTHS, tell_month
from invoices.danfse import has_pdf
from invoices.models import Invoice
from invoices.standings import FILTERS, HAS_PAPER, Standing, standing_of

PAGE_SIZE = 50
PAGES_MAX = 10_000
VALID = (Invoice.Status.ISSUED, Invoice.Status.CANCEL_PENDING)  # what stands at the tax office
_PERIOD = re.compile(r"(20[0-9]{2})(?:-(0[1-9]|1[0-2]))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the page's address asks for. `period` is "", "2026" or "2026-11"; what can't be read is nothing."""

    standing: str = ""
    period: str = ""
    page: int = 1

    @property
    def is_filtered(self) -> bool:
        return bool(self.standing or self.period)


@dataclass(frozen=True, slots=True)
class Row:
    invoice: Invoice
    standing: Standing
    has_pdf: bool
    has_xml: bool


@dataclass(frozen=True, slots=True)
class MonthOfNotes:
    """`centavos` and `notes` are of the whole month and of what is valid, whatever the page shows of it."""

    month: dt.date
    name: str  # "novembro de 2026"
    rows: list[Row]
    centavos: int
    notes: int
    papers: int

    @property
    def short_name(self) -> str:
        return _(MONTHS[self.month.month - 1])


@dataclass(frozen=True, slots=True)
class Listing:
    months: list[MonthOfNotes]
    has_next: bool


def read_wanted(query: Mapping[str, str]) -> Wanted:
    standing, period, page = query.get("situacao", ""), query.get("periodo", ""), query.get("pagina", "")
    return Wanted(
        standing if standing in FILTERS else "",
        period if _PERIOD.fullmatch(period) else "",
        min(max(int(page), 1), PAGES_MAX) if page.isascii() and page.isdigit() and len(page) < 6 else 1,
    )


def visible() -> QuerySet[Invoice]:
    """The tenant's notes. One that was discarded was never a document."""
    return Invoice.objects.exclude(status=Invoice.Status.DISCARDED)


def list_invoices(wanted: Wanted) -> Listing:
    found = visible()
    if wanted.standing:
        found = found.filter(status__in=FILTERS[wanted.standing][1])
    if wanted.period:
        year, _dash, month = wanted.period.partition("-")
        found = found.filter(month__year=int(year))
        found = found.filter(month__month=int(month)) if month else found
    start = (wanted.page - 1) * PAGE_SIZE
    page = list(found.defer("dps_xml", "cancel_xml").order_by("-month", "-id")[start : start + PAGE_SIZE + 1])
    shown = page[:PAGE_SIZE]
    totals = _totals({invoice.month for invoice in shown})
    months = [
        MonthOfNotes(month, tell_month(month), [_row(each) for each in rows], *totals[month])
        for month, rows in groupby(shown, key=lambda invoice: invoice.month)
    ]
    return Listing(months, has_next=len(page) > PAGE_SIZE)


def _row(invoice: Invoice) -> Row:
    return Row(invoice, standing_of(invoice), has_pdf(invoice), bool(invoice.nfse_xml))


def _totals(months: set[dt.date]) -> dict[dt.date, tuple[int, int, int]]:
    """Per month: centavos and number of the valid notes, and how many have a document."""
    rows = visible().filter(month__in=months).order_by().values("month").annotate(
        centavos=Sum("amount_centavos", filter=Q(status__in=VALID), default=0),
        notes=Count("id", filter=Q(status__in=VALID)),
        papers=Count("id", filter=Q(status__in=HAS_PAPER)),
    )  # fmt: skip
    return {row["month"]: (int(row["centavos"]), row["notes"], row["papers"]) for row in rows}


def periods() -> list[tuple[str, str]]:
    """The choices of the filter: each year that has notes, and its months, newest first."""
    choices: list[tuple[str, str]] = []
    for month in visible().order_by("-month").values_list("month", flat=True).distinct():
        if not choices or not choices[-1][0].startswith(str(month.year)):
            choices.append((str(month.year), _("Todo o ano de {year}").format(year=month.year)))
        choices.append((f"{month:%Y-%m}", tell_month(month)))
    return choices
