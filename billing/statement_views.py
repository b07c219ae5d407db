"""Pages and files about the wallet: the statement, recibos of what came in, closed months."""

from __future__ import annotations

from dataclasses import replace

from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from accounts.roles import MemberRequest, requires
from billing import closing, seals, statements
from billing.close_paper import draw_close, seal_text, table_of
from billing.export_tables import Wanted
from billing.exports import write_file
from billing.kept_texts import tell_kept
from billing.models import Export, LedgerEntry, MonthClose
from billing.periods import CHOICES, read_period
from billing.recibo import Recibo, draw_recibo, find_recibo
from billing.sheets import download, sheet

FORMS = {"planilha": Export.Form.SHEET, "programas": Export.Form.PLAIN}


@require_GET
@requires("billing.statement")
def statement(request: MemberRequest) -> HttpResponseBase:
    period, kind = read_period(request.GET), _chosen_kind(request)
    found = statements.statement(first_on=period.first_on, last_on=period.last_on, kinds=[kind] if kind else [])
    head = seals.head()
    context = {
        "nav": "extrato",
        "statement": found,
        "rows": [replace(row, reason=tell_kept(row.reason)) for row in reversed(found.rows)],  # newest first
        "kind": kind,
        "kinds": LedgerEntry.Kind.choices,
        "lots": statements.lots(),
        "newest_close": MonthClose.objects.order_by("-month").first(),
        "seal": head.text if head.seq else "",
        "period": period,
        "period_choices": CHOICES,
    }
    return render(request, "billing/statement.html", context)


@require_GET
@requires("billing.statement")
def statement_csv(request: MemberRequest) -> HttpResponseBase:
    """The same rows for a spreadsheet (`;`, decimal comma) or, with `?formato=programas`, for a program."""
    return _download(request, FORMS.get(request.GET.get("formato", ""), Export.Form.SHEET))


@require_GET
@requires("billing.statement")
def statement_ofx(request: MemberRequest) -> HttpResponseBase:
    """The days of the period that are over, for accounting programs."""
    return _download(request, Export.Form.OFX)


def _download(request: MemberRequest, form: Export.Form) -> HttpResponse:
    period = read_period(request.GET)
    wanted = Wanted(
        Export.Kind.STATEMENT, form, period.first_on, period.last_on,
        entry_kind="" if form == Export.Form.OFX else _chosen_kind(request),
    )  # fmt: skip
    content_type = "application/x-ofx" if form == Export.Form.OFX else "text/csv; charset=utf-8"
    return download(wanted.name, b"".join(write_file(request.membership.organization, wanted)), content_type=content_type)


def _chosen_kind(request: MemberRequest) -> str:
    kind = request.GET.get("tipo", "")
    return kind if kind in LedgerEntry.Kind.values else ""


@require_GET
@requires("billing.statement")
def recibo(request: MemberRequest, entry_id: int) -> HttpResponseBase:
    return _recibo(find_recibo(request.membership.organization, entry_id=entry_id))


@require_GET
@requires("billing.statement")
def recibo_of(request: MemberRequest, reference: str) -> HttpResponseBase:
    """The same by what was paid: `pix:<E2E>` or `stripe:<intent>`, as the page of a payment knows it."""
    return _recibo(find_recibo(request.membership.organization, reference=reference))


def _recibo(found: Recibo | None) -> HttpResponse:
    if found is None:
        raise Http404
    return download(f"recibo-{found.number}.pdf", draw_recibo(found), content_type="application/pdf")


# ── Closed months ────────────────────────────────────────────────────────────────────────────────────────────────────
@require_GET
@requires("billing.statement")
def closes(request: MemberRequest) -> HttpResponseBase:
    context = {"nav": "extrato", "closes": [(close, closing.tell_month(close.month)) for close in closing.closes()]}
    return render(request, "billing/closes.html", context)


@require_GET
@requires("billing.statement")
def close(request: MemberRequest, close_id: int) -> HttpResponseBase:
    found = get_object_or_404(MonthClose.objects, pk=close_id)
    month = closing.tell_month(found.month)
    context = {
        "nav": "extrato", "title": _("Fechamento de {month}").format(month=month), "close": found, "month": month,
        "lines": closing.lines_of(found),
        "seal": seal_text(found), "last_on": closing.last_day_of(found),
    }  # fmt: skip
    return render(request, "billing/close.html", context)


@require_GET
@requires("billing.statement")
def close_csv(request: MemberRequest, close_id: int) -> HttpResponseBase:
    found = get_object_or_404(MonthClose.objects, pk=close_id)
    return sheet(f"fechamento-{found.month:%Y-%m}", table_of(found))


@require_GET
@requires("billing.statement")
def close_pdf(request: MemberRequest, close_id: int) -> HttpResponseBase:
    found = get_object_or_404(MonthClose.objects.select_related("organization"), pk=close_id)
    return download(f"fechamento-{found.month:%Y-%m}.pdf", draw_close(found), content_type="application/pdf")
