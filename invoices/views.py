"""The pages of notas fiscais: the list, one note, its files, the data for notes. They translate; verbs decide."""

from __future__ import annotations

import datetime as dt

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.roles import MemberRequest, may, requires
from billing.closing import tell_month
from billing.sheets import download, stream
from invoices import archives, danfse, delivery, issuing
from invoices.drafting import preview
from invoices.errors import InvoiceError, NotNow
from invoices.forms import FiscalForm
from invoices.kept_texts import tell_kept
from invoices.listing import list_invoices, periods, read_wanted, visible
from invoices.models import FiscalProfile
from invoices.standings import FILTERS, look_up_url, standing_of, story_of
from invoices.takers import missing_fields
from invoices.top_up_notes import note_of_top_up

XML = "application/xml"
PDF = "application/pdf"
STOP_POLLING = 286  # htmx: swap, then ask no more


@never_cache
@require_GET
@requires("billing.statement")
def invoice_list(request: MemberRequest) -> HttpResponseBase:
    wanted, organization = read_wanted(request.GET), request.membership.organization
    found, coming = list_invoices(wanted), preview(organization)
    context = {
        "nav": "notas", "wanted": wanted, "months": found.months, "has_next": found.has_next, "periods": periods(),
        "standings": [(key, label) for key, (label, _statuses) in FILTERS.items()],
        "may_mend": may(request.membership, "organization.fiscal"), "previous_page": wanted.page - 1, "next_page": wanted.page + 1,
        "next": coming, "next_month": tell_month(coming.month), "readers": delivery.readers_at(organization),
    }  # fmt: skip
    return render(request, "invoices/invoice_list.html", context)


@never_cache
@require_GET
@requires("billing.statement")
def invoice(request: MemberRequest, invoice_id: int) -> HttpResponseBase:
    found = get_object_or_404(visible().select_related("replaces", "issuer", "terms"), pk=invoice_id)
    lines = [(line, line.entry.created_at if line.entry else None) for line in found.lines.select_related("entry").order_by("id")]
    for line, _paid_at in lines:
        line.route_name = tell_kept(line.route_name)  # to be read, not to be saved
    context = {
        "nav": "notas", "invoice": found, "standing": standing_of(found), "steps": story_of(found), "lines": lines,
        "look_up_url": look_up_url(found), "city_url": danfse.city_url(found), "has_pdf": danfse.has_pdf(found),
        "replaced_by": visible().filter(replaces=found).first(), "month": tell_month(found.month),
        "may_mend": may(request.membership, "organization.fiscal"), "mailed_to": delivery.readers_of(found),
    }  # fmt: skip
    return render(request, "invoices/invoice.html", context)


@require_GET
@requires("billing.statement")
def invoice_xml(request: MemberRequest, invoice_id: int) -> HttpResponseBase:
    """The NFS-e byte for byte as the tax office gave it: its signature is over these bytes."""
    found = get_object_or_404(visible(), pk=invoice_id)
    if not found.nfse_xml:
        raise Http404
    return download(danfse.file_name(found, "xml"), bytes(found.nfse_xml), content_type=XML)


@require_GET
@requires("billing.statement")
def invoice_pdf(request: MemberRequest, invoice_id: int) -> HttpResponseBase:
    found = get_object_or_404(visible(), pk=invoice_id)
    pdf = danfse.pdf_of(found)
    if not pdf:
        raise Http404
    return download(danfse.file_name(found, "pdf"), pdf, content_type=PDF)


@require_GET
@requires("billing.statement")
def month_zip(request: MemberRequest, month: str) -> HttpResponseBase:
    """`2026-11.zip`: every document of the month."""
    try:
        first_on = dt.date.fromisoformat(f"{month}-01")
    except ValueError:
        raise Http404 from None
    organization = request.membership.organization
    if not archives.papers(organization, month=first_on).exists():
        raise Http404
    pieces = archives.month_zip(organization, month=first_on)
    return stream(f"notas-{first_on:%Y-%m}.zip", pieces, content_type="application/zip")


@require_POST
@requires("billing.statement")
def resend(request: MemberRequest, invoice_id: int) -> HttpResponse:
    found = get_object_or_404(visible(), pk=invoice_id)
    try:
        readers = delivery.resend(found, by=request.user.email)
    except InvoiceError as refusal:
        messages.error(request, refusal.message)
    else:
        told = _("A nota vai por e-mail para {readers} em instantes.")
        messages.success(request, told.format(readers=_(" e ").join(readers)))
    return redirect("invoice", invoice_id)


@require_POST
@requires("organization.fiscal")
def reissue(request: MemberRequest, invoice_id: int) -> HttpResponse:
    """A note that was refused for what the customer typed, once they mended it. What is not theirs to mend is not found."""
    found = get_object_or_404(visible(), pk=invoice_id)
    if not standing_of(found).fix_url:
        raise Http404
    missing = missing_fields(request.membership.organization)
    try:
        if missing:
            raise NotNow(_("Ainda falta: {fields}.").format(fields=", ".join(missing)))
        issuing.reissue(found, by=request.user.email)
    except InvoiceError as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, _("A nota voltou para a fila. Ela sai com o mesmo número."))
    return redirect("invoice", invoice_id)


@never_cache
@require_http_methods(["GET", "POST"])
@requires("organization.fiscal")
def fiscal_data(request: MemberRequest) -> HttpResponseBase:
    """What is missing for a note, to whom it goes, what the organization withholds."""
    organization = request.membership.organization
    profile = FiscalProfile.objects.first()
    form = FiscalForm(request.POST) if request.method == "POST" else FiscalForm.of(profile)
    if request.method == "POST" and form.is_valid():
        FiscalProfile.objects.update_or_create(organization=organization, defaults=form.cleaned_data)
        messages.success(request, _("Dados para notas salvos. Valem para as próximas notas."))
        return redirect("fiscal_data")
    context = {"nav": "notas", "form": form, "missing": missing_fields(organization)}
    return render(request, "invoices/fiscal_data.html", context)


@never_cache
@require_GET
@requires("billing.statement")
def top_up_note(request: MemberRequest, reference: str) -> HttpResponseBase:
    """The piece of a payment's page that tells of its note."""
    found = note_of_top_up(request.membership.organization, reference)
    if found is None:
        raise Http404
    context = {"note": found, "reference": reference}
    return render(request, "invoices/_top_up_note.html", context, status=200 if found.goes_on else STOP_POLLING)
