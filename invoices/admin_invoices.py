"""The queue of invoices that need a person, and each invoice as it stands: its lines, its taker, every answer."""

from __future__ import annotations

import re
from typing import Any, cast

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.cities import city_by_code
from accounts.tax_ids import format_tax_id
from billing.admin_forms import ReasonForm
from billing.admin_parts import LookOnlyInline, dress, exact, money_column, posted, to, who
from invoices import archives, attention, danfse, issuing
from invoices.admin_acts import InvoiceActs, invoice_of, report
from invoices.admin_answers import download
from invoices.admin_fields import TAKER_LABELS, mend_link, problem_of, tell_field
from invoices.admin_forms import ArchiveForm
from invoices.admin_parts import reais
from invoices.building import taker_of
from invoices.errors import Incomplete
from invoices.models import Invoice, InvoiceEvent, InvoiceLine
from invoices.standings import HAS_PAPER
from tokia import clock
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"
# The columns of the taker that was sent.
TAKER_FIELDS = ("tax_id", "name", "email", "street", "number", "complement", "district", "city_code", "postal_code")
BULK_MAX = 200


class NeedFilter(admin.SimpleListFilter):
    """The tabs of the queue, as a filter with an address of its own."""

    title = "o que falta"
    parameter_name = "fila"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("todas", "Precisam de alguém"), *((need.key, need.label) for need in attention.needs())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        condition = attention.condition_of(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


class LineInline(LookOnlyInline):
    model = InvoiceLine
    fields = readonly_fields = ("what", "calls", "amount", "counts")
    verbose_name_plural = "itens"
    show_change_link = False
    amount = money_column("amount_nanos", "valor", tell=exact)

    @display(description="conta nesta nota", boolean=True)
    def counts(self, line: InvoiceLine) -> bool:
        return line.is_live

    @display(description="do que é feita")
    def what(self, line: InvoiceLine) -> SafeString | str:
        if line.entry_id is not None:
            return to(line.entry, f"Recarga, lançamento {line.entry_id}")
        return format_html("{} · {}", line.route_name or "uso que chegou depois do fechamento", to(line.close, "fechamento"))


class EventInline(LookOnlyInline):
    model = InvoiceEvent
    fields = readonly_fields = ("created_at", "kind", "text", "status_code", "answer", "actor")
    ordering = ("-id",)
    verbose_name_plural = "o que houve"
    show_change_link = False

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("body")

    @display(description="resposta")
    def answer(self, event: InvoiceEvent) -> SafeString | str:
        return to(event, "Ver como veio")


@admin.register(Invoice)
class InvoiceAdmin(InvoiceActs):
    list_display = ("organization", "amount", "state", "need", "attempts", "numbers", "delivery", "next_step")
    list_filter = (NeedFilter, "status", "delivery", "channel", "policy", "environment", "month")
    list_select_related = ("organization", "issuer")
    list_before_template = "admin/invoices/queue.html"
    search_fields = ("=access_key", "=nfse_number", "=dps_id", "=reference", "organization__name", "organization__trade_name")
    search_help_text = "CNPJ (com ou sem pontuação), empresa, nº da nota ou da DPS, chave de acesso"
    ordering = ("-id",)
    actions = ("reissue_all",)
    actions_list = ("take_month",)
    inlines = (LineInline, EventInline)
    readonly_fields = (
        "organization_link", "issuer_link", "amount", "month_text", "state", "problem_text", "mend", "cure", "takers", "dps_number",
        "link_replaces", "link_replaced_by", "withheld", "rule", "reference", "policy", "competence_on", "channel", "environment",
        "dps_id", "access_key", "nfse_number", "verification_code", "issued_at", "cancel_code", "cancel_reason", "cancel_by",
        "cancelled_at", "attempts", "due_at", "claimed_until", "delivery", "delivery_attempts", "delivery_due_at", "delivered_at",
        "created_at",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("organization_link", "amount", "month_text", "state", "problem_text", "mend", "cure")}),
        ("Tomador", {"fields": ("takers",)}),
        ("Documento", {"fields": (
            "issuer_link", "channel", "environment", "dps_number", "dps_id", "nfse_number", "access_key", "verification_code",
            "issued_at", "competence_on", "policy", "rule", "withheld", "reference",
        )}),
        ("Fila e entrega", {"fields": (
            "attempts", "due_at", "claimed_until", "delivery", "delivery_attempts", "delivery_due_at", "delivered_at", "created_at",
        )}),
        ("Cancelamento e substituição", {"fields": (
            "cancel_code", "cancel_reason", "cancel_by", "cancelled_at", "link_replaces", "link_replaced_by",
        )}),
    )  # fmt: skip

    def get_fieldsets(self, request: HttpRequest, obj: Invoice | None = None) -> Any:
        """Of the document, the queue and the cancellation only what there is: a page that can be read."""
        if obj is None:
            return self.fieldsets
        kept = [
            (name, {"fields": tuple(field for field in options["fields"] if _is_told(obj, field))})
            for name, options in self.fieldsets
        ]
        return [(name, options) for name, options in kept if options["fields"]]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("dps_xml", "nfse_xml", "uploaded_pdf", "cancel_xml")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """A tax id with letters and in any punctuation, of the organization now or of the note as it was sent; numbers."""
        found, is_double = super().get_search_results(request, queryset, search_term)
        bare = re.sub(r"[\s./-]", "", search_term).upper()
        if len(bare) >= 8 and re.fullmatch(r"[0-9A-Z]+", bare, re.ASCII):
            found |= queryset.filter(
                Q(organization__tax_id__startswith=bare) | Q(taker__tax_id__startswith=bare) | Q(access_key=bare) | Q(dps_id=bare)
            )
        if bare.isascii() and bare.isdigit() and len(bare) <= 15:
            found |= queryset.filter(Q(number=int(bare)) | Q(nfse_number=bare))
        return found, is_double

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        counted = attention.counts()
        tabs = [
            {"key": need.key, "label": need.label, "count": counted[need.key], "cure": need.cure}
            for need in attention.needs()
            if counted[need.key] or request.GET.get("fila") == need.key
        ]
        chosen = request.GET.get("fila", "")
        context = {
            **(extra_context or {}), "needs": tabs, "chosen": chosen, "waiting": attention.waiting_count(),
            "cure": next((tab["cure"] for tab in tabs if tab["key"] == chosen), ""),
            "certificate_alarm": attention.certificate_alarm(),
        }  # fmt: skip
        return cast(HttpResponse, super().changelist_view(request, context))

    # ── What is shown ────────────────────────────────────────────────────────────────────────────────────────────────
    @display(description="empresa")
    def organization_link(self, invoice: Invoice) -> SafeString:
        return format_html("{} · {}", to(invoice.organization), format_tax_id(invoice.organization.tax_id) or "sem CNPJ")

    @display(description="emitente")
    def issuer_link(self, invoice: Invoice) -> SafeString | str:
        return to(invoice.issuer)

    @display(description="valor", ordering="amount_centavos")
    def amount(self, invoice: Invoice) -> str:
        return reais(invoice.amount_centavos)

    @display(description="mês", ordering="month")
    def month_text(self, invoice: Invoice) -> str:
        return f"{invoice.month:%m/%Y}"

    @display(
        description="situação", ordering="status",
        label={"Autorizada": "success", "Rejeitada": "danger", "Em consulta": "warning", "Cancelando": "warning",
               "Emitindo": "info", "Na fila": "info", "Numerada": "info", "Assinada": "info"},
    )  # fmt: skip
    def state(self, invoice: Invoice) -> str:
        return invoice.get_status_display()

    @display(description="último erro e o que corrigir", ordering="problem_code")
    def need(self, invoice: Invoice) -> str:
        told = problem_of(invoice)
        told = told if len(told) <= 90 else f"{told[:89]}…"
        return f"{told} Corrigir: {tell_field(invoice.problem_field)}" if invoice.problem_field else told

    @display(description="problema")
    def problem_text(self, invoice: Invoice) -> str:
        return problem_of(invoice)

    @display(description="o que corrigir")
    def mend(self, invoice: Invoice) -> SafeString | str:
        return mend_link(invoice)

    @display(description="o que fazer")
    def cure(self, invoice: Invoice) -> SafeString | str:
        lines = [(need.cure,) for need in attention.needs() if Invoice.everywhere.filter(need.condition, pk=invoice.pk).exists()]
        return format_html_join(SafeString("<br>"), "{}", lines) if lines else "Nada: a nota anda sozinha."

    @display(description="DPS", ordering="number")
    def dps_number(self, invoice: Invoice) -> str:
        return "—" if invoice.number is None else f"{invoice.series}/{invoice.number}"

    @display(description="nota / DPS", ordering="number")
    def numbers(self, invoice: Invoice) -> str:
        told = [invoice.nfse_number, f"DPS {invoice.series}/{invoice.number}" if invoice.number is not None else ""]
        return " · ".join(filter(None, told)) or "—"

    @display(description="próximo", ordering="due_at")
    def next_step(self, invoice: Invoice) -> str:
        return f"{invoice.due_at.astimezone(clock.SAO_PAULO):%d/%m %H:%M}" if invoice.due_at else "—"

    @display(description="regra fiscal")
    def rule(self, invoice: Invoice) -> SafeString | str:
        return to(invoice.terms)

    @display(description="retenções")
    def withheld(self, invoice: Invoice) -> str:
        told = [
            "ISS" if invoice.iss_withheld else "",
            f"IRRF {reais(invoice.irrf_centavos)}" if invoice.irrf_centavos else "",
            f"CSLL {reais(invoice.csll_centavos)}" if invoice.csll_centavos else "",
            "PIS e COFINS" if invoice.pis_cofins_withheld else "",
        ]
        return ", ".join(filter(None, told)) or "nenhuma"

    @display(description="substitui")
    def link_replaces(self, invoice: Invoice) -> SafeString | str:
        return to(invoice.replaces)

    @display(description="substituída por")
    def link_replaced_by(self, invoice: Invoice) -> SafeString | str:
        return to(Invoice.everywhere.filter(replaces=invoice).first())

    @display(description="na nota e agora")
    def takers(self, invoice: Invoice) -> SafeString:
        """The taker as it was sent, beside what the organization says today."""
        return compare_takers(invoice, change_url=reverse("admin:invoices_invoice_correct_taker", args=[invoice.pk]))

    # ── Files ────────────────────────────────────────────────────────────────────────────────────────────────────────
    @action(description="XML da nota", url_path="nota.xml", permissions=["view"])
    def take_xml(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)
        return download(invoice.nfse_xml, name=f"nfse-{invoice.access_key or invoice.pk}")

    @action(description="PDF da nota", url_path="nota.pdf", permissions=["view"])
    def take_pdf(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)
        return download(danfse.pdf_of(invoice), name=f"nfse-{invoice.nfse_number or invoice.pk}")

    @action(description="O que enviamos (DPS)", url_path="dps", permissions=["view"])
    def take_dps(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)
        return download(invoice.dps_xml, name=f"dps-{invoice.dps_id or invoice.pk}")

    @action(description="Evento de cancelamento", url_path="cancelamento.xml", permissions=["view"])
    def take_cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invoice = invoice_of(object_id)
        return download(invoice.cancel_xml, name=f"cancelamento-{invoice.access_key or invoice.pk}")

    @action(description="Baixar um mês", url_path="mes", permissions=["view"])
    def take_month(self, request: HttpRequest) -> HttpResponseBase:
        """Every note of an issuer's month that has a document, as one ZIP for the accountant."""
        form = ArchiveForm(posted(request))
        dress(form)
        if request.method == "POST" and form.is_valid():
            month, issuer = form.cleaned_data["month"].first_on, form.cleaned_data["issuer"]
            found = Invoice.everywhere.filter(issuer=issuer, month=month, status__in=HAS_PAPER)
            if found.exists():
                self.log_change(request, issuer, f"Notas de {month:%m/%Y} baixadas.")
                pieces = archives.zip_of(found, has_pdfs=form.cleaned_data["has_pdfs"])
                response = StreamingHttpResponse(pieces, content_type="application/zip")
                response["Content-Disposition"] = f'attachment; filename="notas-{issuer.tax_id}-{month:%Y-%m}.zip"'
                return response
            form.add_error("month", "Não há notas com documento nesse mês.")
        context = {
            **self.admin_site.each_context(request), "title": "Baixar as notas de um mês", "form": form, "button": "Baixar ZIP",
            "back": reverse("admin:invoices_invoice_changelist"), "opts": self.opts,
        }  # fmt: skip
        return render(request, "admin/billing/act.html", context)

    # ── Many at once ─────────────────────────────────────────────────────────────────────────────────────────────────
    @admin.action(description="Reemitir as marcadas", permissions=["repair"])
    def reissue_all(self, request: HttpRequest, chosen: QuerySet[Invoice]) -> HttpResponse | None:
        """Each of the ticked rejected ones goes back to the queue; who can't is told with its reason, and stays."""
        form = ReasonForm(request.POST if "apply" in request.POST else None)
        picked = list(chosen.select_related("organization", "issuer")[:BULK_MAX])
        if form.is_valid():
            done, refused = 0, []
            for invoice in picked:
                try:
                    issuing.reissue(invoice, by=who(request))
                except TokiaError as refusal:
                    refused.append(f"{invoice} ({invoice.organization}): {refusal.message}")
                else:
                    done += 1
                    self.log_change(request, invoice, f"Reemitir em lote. Motivo: {form.cleaned_data['reason']}")
            report(request, done=done, refused=refused)
            return None
        dress(form)
        context = {
            **self.admin_site.each_context(request), "title": "Reemitir as notas marcadas", "form": form, "chosen": picked,
            "opts": self.opts, "has_more": chosen.count() > BULK_MAX,
        }  # fmt: skip
        return render(request, "admin/invoices/reissue_all.html", context)


def _is_told(invoice: Invoice, field: str) -> bool:
    if field == "link_replaces":
        return invoice.replaces_id is not None
    if field == "link_replaced_by":
        return Invoice.everywhere.filter(replaces=invoice).exists()
    if field == "rule":
        return invoice.terms_id is not None
    if field == "mend":
        return bool(invoice.problem_field)
    return getattr(invoice, field, True) not in ("", None)


def compare_takers(invoice: Invoice, *, change_url: str) -> SafeString:
    """A table of what was sent and what would be sent now; differences are told in words, not by colour alone."""
    trouble = ""
    try:
        taker = taker_of(invoice.organization)
        now = {name: str(getattr(taker, name)) for name in TAKER_FIELDS}
    except Incomplete as incomplete:
        trouble, now = incomplete.message, _raw_of(invoice)
    rows = []
    for name in TAKER_FIELDS:
        sent, today = str(invoice.taker.get(name, "")), now.get(name, "")
        mark = "mudou" if invoice.taker and sent != today else ""
        rows.append((TAKER_LABELS[name], _told(name, sent), _told(name, today), mark))
    body = format_html_join(
        "", '<tr class="border-t border-base-200 dark:border-base-800"><th class="p-2 text-left">{}</th><td class="p-2">{}</td>'
        '<td class="p-2">{}</td><td class="p-2 font-semibold">{}</td></tr>', rows,
    )  # fmt: skip
    alarm = format_html('<p class="mb-2 text-red-600" role="alert">{}</p>', trouble) if trouble else SafeString("")
    return format_html(
        '{}<table class="w-full"><thead><tr class="text-left"><th class="p-2"></th><th class="p-2">Na nota</th>'
        '<th class="p-2">Na empresa, agora</th><th class="p-2"></th></tr></thead><tbody>{}</tbody></table>'
        '<p class="mt-2"><a class="text-primary-600 underline" href="{}">Corrigir tomador</a></p>',
        alarm, body, change_url,
    )  # fmt: skip


def _raw_of(invoice: Invoice) -> dict[str, str]:
    """The organization's own words, where no taker can be made of them."""
    organization = invoice.organization
    place = " / ".join(filter(None, (organization.address.get("city", ""), organization.address.get("state", ""))))
    own = {"tax_id": organization.tax_id, "name": organization.name, "email": organization.invoice_email, "city_code": place}
    return own | {
        name: organization.address.get(name, "") for name in ("street", "number", "complement", "district", "postal_code")
    }


def _told(name: str, value: str) -> str:
    city = city_by_code(value) if name == "city_code" else None
    if city is not None:
        return f"{city.name.title()} / {city.state} ({city.code})"
    return (format_tax_id(value) if name == "tax_id" else value) or "—"
