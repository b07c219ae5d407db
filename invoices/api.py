"""`/api/v1/invoices`: notas fiscais and their documents, for the customer's own programs."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from rest_framework import serializers

from accounts.operations import ApiCall, Resource, operation
from billing.api_money import Brl, Nanos, both
from billing.money import BRL
from billing.sheets import download
from invoices import danfse
from invoices.listing import visible
from invoices.models import Invoice, InvoicePolicy
from invoices.standings import look_up_url, standing_of
from tokia.manners import ApiError, PageQuery, Shape, page_of, page_shape

TAG = "Notas fiscais"
CENTAVO = BRL // 100
# What was discarded was never a document: it is not there.
STATUSES = [(each.value, str(each.label)) for each in Invoice.Status if each != Invoice.Status.DISCARDED]


class InvoiceQuery(PageQuery):
    status = serializers.ChoiceField(required=False, choices=STATUSES)
    month = serializers.RegexField(
        r"^20\d{2}-(0[1-9]|1[0-2])$", required=False, help_text="Só deste mês: `2026-11`.",
        error_messages={"invalid": "Escreva o mês como 2026-11."},
    )  # fmt: skip


class LineShape(Shape):
    route = serializers.CharField(source="route_name", help_text="O modelo; vazio numa recarga e em uso que chegou tarde.")
    calls = serializers.IntegerField()
    amount_brl, amount_nanos = Brl(source="amount_nanos"), Nanos()
    entry_id = serializers.IntegerField(allow_null=True, help_text="A recarga, como no extrato; null no uso de um mês.")


class InvoiceAnswer(Shape):
    id = serializers.IntegerField()
    status = serializers.ChoiceField(choices=STATUSES, help_text="issued: autorizada; o resto ainda não vale ou não vale mais.")
    number = serializers.CharField(source="nfse_number", help_text="O número da nota; vazio enquanto não autorizada.")
    access_key = serializers.CharField(help_text="A chave nacional, 50 caracteres; o CNPJ dentro dela pode ter letras.")
    verification_code = serializers.CharField(help_text="De notas do emissor de um município.")
    policy = serializers.ChoiceField(choices=InvoicePolicy.Kind.choices, help_text="O que ela fatura.")
    month = serializers.CharField(help_text="O mês do que ela fatura.")
    competence_on = serializers.DateField()
    amount_brl, amount_nanos = Brl(source="amount_nanos"), Nanos()
    issued_at = serializers.DateTimeField(allow_null=True)
    cancelled_at = serializers.DateTimeField(allow_null=True)
    cancel_reason = serializers.CharField()
    replaces_id = serializers.IntegerField(allow_null=True, help_text="A nota que esta substitui.")
    problem = serializers.CharField(help_text="Por que foi recusada, se foi.")
    needs_data = serializers.BooleanField(help_text="Espera por dados da empresa: corrija-os em `/organization`.")
    has_xml = serializers.BooleanField()
    has_pdf = serializers.BooleanField()
    look_up_url = serializers.CharField(help_text="A página pública da nota no portal nacional; vazio onde não há.")
    created_at = serializers.DateTimeField()
    example: Any = {
        "id": 12, "status": "issued", "number": "1234", "policy": "monthly_consumption", "month": "2026-11",
        "access_key": "31062002211222333000181000000000004226121234567890", "verification_code": "", "competence_on": "2026-11-30",
        **both("amount", 1_234_560_000_000), "issued_at": "2026-12-01T12:35:01Z", "cancelled_at": None, "cancel_reason": "",
        "replaces_id": None, "problem": "", "needs_data": False, "has_xml": True, "has_pdf": True,
        "look_up_url": "https://www.nfse.gov.br/ConsultaPublica/?tpc=1&chave=31062002211222333000181000000000004226121234567890",
        "created_at": "2026-12-01T12:34:56Z",
    }  # fmt: skip


class OneInvoiceAnswer(InvoiceAnswer):
    lines = LineShape(many=True, help_text="O que ela fatura; a soma pode diferir do total em frações de centavo.")
    example = InvoiceAnswer.example | {
        "lines": [{"route": "openai/gpt-5.2", "calls": 48_213, **both("amount", 1_234_560_000_000), "entry_id": None}]
    }


class InvoicesResource(Resource):
    @operation(
        "list_invoices", scope="billing.read", tag=TAG, summary="Listar notas fiscais", text="Da mais nova à mais antiga.",
        query=InvoiceQuery, answer=page_shape(InvoiceAnswer),
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        found = visible()
        if "status" in call.query:
            found = found.filter(status=call.query["status"])
        if "month" in call.query:
            found = found.filter(month=dt.date.fromisoformat(f"{call.query['month']}-01"))
        page = page_of(found, call.query)
        return page | {"data": [tell_invoice(each) for each in page["data"]]}


class InvoiceResource(Resource):
    @operation(
        "get_invoice", scope="billing.read", tag=TAG, summary="Ver uma nota fiscal", text="Com o que ela fatura, linha por linha.",
        answer=OneInvoiceAnswer, problems=(404,),
    )  # fmt: skip
    def get(self, call: ApiCall, invoice_id: int) -> Any:
        found = get_object_or_404(visible(), pk=invoice_id)
        return tell_invoice(found) | {"lines": list(found.lines.order_by("id"))}


class InvoiceXmlResource(Resource):
    @operation(
        "get_invoice_xml", scope="billing.read", tag=TAG, summary="Baixar o XML de uma nota",
        text="A NFS-e assinada, byte por byte como foi autorizada; 409 onde não há.",
        media="application/xml", problems=(404, 409),
    )  # fmt: skip
    def get(self, call: ApiCall, invoice_id: int) -> HttpResponseBase:
        found = get_object_or_404(visible(), pk=invoice_id)
        return _file(found, bytes(found.nfse_xml or b""), ending="xml", media="application/xml")


class InvoicePdfResource(Resource):
    @operation(
        "get_invoice_pdf", scope="billing.read", tag=TAG, summary="Baixar o PDF de uma nota",
        text="O DANFSe; de uma nota cancelada ou substituída, com a marca. 409 onde não há.",
        media="application/pdf", problems=(404, 409),
    )  # fmt: skip
    def get(self, call: ApiCall, invoice_id: int) -> HttpResponseBase:
        found = get_object_or_404(visible(), pk=invoice_id)
        return _file(found, danfse.pdf_of(found), ending="pdf", media="application/pdf")


def _file(invoice: Invoice, data: bytes, *, ending: str, media: str) -> HttpResponseBase:
    if not data:
        raise ApiError(409, f"Esta nota não tem {ending.upper()}.", code="document_not_ready")
    return download(danfse.file_name(invoice, ending), data, content_type=media)


def tell_invoice(invoice: Invoice) -> dict[str, Any]:
    """As the list and the single answer have it."""
    standing = standing_of(invoice)
    return {
        "id": invoice.pk, "status": invoice.status, "nfse_number": invoice.nfse_number, "access_key": invoice.access_key,
        "verification_code": invoice.verification_code, "policy": invoice.policy, "month": f"{invoice.month:%Y-%m}",
        "competence_on": invoice.competence_on, "amount_nanos": invoice.amount_centavos * CENTAVO, "issued_at": invoice.issued_at,
        "cancelled_at": invoice.cancelled_at, "cancel_reason": invoice.cancel_reason, "replaces_id": invoice.replaces_id,
        "problem": standing.reason, "needs_data": bool(standing.fix_url), "has_xml": bool(invoice.nfse_xml),
        "has_pdf": danfse.has_pdf(invoice), "look_up_url": look_up_url(invoice), "created_at": invoice.created_at,
    }  # fmt: skip


urlpatterns: list[URLPattern] = [
    path("invoices", InvoicesResource.as_view(), name="api_invoices"),
    path("invoices/<int:invoice_id>", InvoiceResource.as_view(), name="api_invoice"),
    path("invoices/<int:invoice_id>/xml", InvoiceXmlResource.as_view(), name="api_invoice_xml"),
    path("invoices/<int:invoice_id>/pdf", InvoicePdfResource.as_view(), name="api_invoice_pdf"),
]
