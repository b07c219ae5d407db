"""What `Invoice.problem_field` names, in words, and the page where a person mends it."""

from __future__ import annotations

import re

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from invoices.models import Invoice, Issuer, TaxTerms

TAKER_LABELS = {
    "tax_id": "CNPJ ou CPF", "name": "Nome", "email": "E-mail", "street": "Logradouro", "number": "Número",
    "complement": "Complemento", "district": "Bairro", "city_code": "Município", "postal_code": "CEP", "city": "Município",
    "state": "UF",
}  # fmt: skip
SUBJECTS: dict[str, tuple[str, type[Model]]] = {
    "issuer": ("emitente", Issuer), "terms": ("regra fiscal", TaxTerms), "invoice": ("nota", Invoice),
}  # fmt: skip

OFFICIAL_CODE = re.compile(r"[EL][0-9]{3,4}", re.ASCII)  # of the tax office; ours say nothing to people


def tell_field(name: str) -> str:
    """ "terms.service_code" → "regra fiscal, código de tributação nacional"; a name that nobody knows, as it is."""
    subject, _, field = name.partition(".")
    if subject in ("taker", "address"):
        label = TAKER_LABELS.get(field, field)
        return f"tomador, {label if label.isupper() or label.startswith('CNPJ') else label.lower()}"
    if subject not in SUBJECTS or not field:
        return name
    label, model = SUBJECTS[subject]
    try:
        return f"{label}, {model._meta.get_field(field).verbose_name}"  # type: ignore[union-attr]
    except FieldDoesNotExist:
        return f"{label}, {field}"


def mend_url(invoice: Invoice) -> str:
    """The page where what stops it is mended; empty where there is none but its own."""
    subject = invoice.problem_field.partition(".")[0]
    if subject in ("taker", "address", "name", "tax_id"):
        return reverse("admin:invoices_invoice_correct_taker", args=[invoice.pk])
    if subject == "issuer":
        return reverse("admin:invoices_issuer_change", args=[invoice.issuer_id])
    return reverse("admin:invoices_taxterms_add") if subject == "terms" else ""


def mend_link(invoice: Invoice) -> SafeString | str:
    """What to correct, as a link to where."""
    if not invoice.problem_field:
        return "—"
    told, url = tell_field(invoice.problem_field), mend_url(invoice)
    return format_html('<a class="text-primary-600 underline" href="{}">{}</a>', url, told) if url else told


def problem_of(invoice: Invoice) -> str:
    """In words, behind the tax office's own code where there is one."""
    told = invoice.problem or "—"
    return f"{invoice.problem_code}: {told}" if OFFICIAL_CODE.fullmatch(invoice.problem_code) else told
