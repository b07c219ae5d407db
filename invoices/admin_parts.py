"""What the admin pages of invoices share: money as it stands on documents, days, and the page before an act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.tax_ids import format_tax_id
from billing.admin_parts import act_page, brl, posted
from invoices.admin_fields import problem_of
from invoices.models import Certificate, Invoice

NANOS_PER_CENTAVO = 10_000_000
GOOD, WARNING, BAD = "success", "warning", "danger"
INK = {
    GOOD: "text-green-700 dark:text-green-400",
    WARNING: "text-orange-700 dark:text-orange-400",
    BAD: "text-red-600",
}


def reais(centavos: int | None) -> str:
    return "—" if centavos is None else brl(centavos * NANOS_PER_CENTAVO)


def percent(bps: int | None) -> str:
    """Hundredths of a percent as people read them: 290 → "2,90%"."""
    return "—" if bps is None else f"{bps // 100},{bps % 100:02d}%"


def inked(text: str, mood: str) -> SafeString:
    return format_html('<span class="font-semibold {}">{}</span>', INK[mood], text)


def tell_days(certificate: Certificate, *, days: int) -> SafeString:
    """Days left of a certificate, with their colour; the words say it too."""
    if not certificate.is_active:
        return format_html("<span>fora de uso</span>")
    if days < 0:
        return inked(f"vencido em {certificate.ends_at:%d/%m/%Y}", BAD)
    text = "vence hoje" if days == 0 else f"{days} dia{'' if days == 1 else 's'}"
    return inked(text, BAD if days <= 5 else WARNING if days <= 30 else GOOD)


def facts_of(invoice: Invoice) -> list[tuple[str, object]]:
    """What a person must see before acting on an invoice."""
    facts: list[tuple[str, object]] = [
        ("Empresa", f"{invoice.organization} · {format_tax_id(invoice.organization.tax_id) or 'sem CNPJ'}"),
        ("Valor", reais(invoice.amount_centavos)),
        ("Mês", f"{invoice.month:%m/%Y}"),
        ("Situação", invoice.get_status_display()),
    ]
    if invoice.number is not None:
        facts.append(("DPS", f"série {invoice.series}, nº {invoice.number}"))
    if invoice.nfse_number:
        facts.append(("Nota", invoice.nfse_number))
    if invoice.problem:
        facts.append(("Problema", problem_of(invoice)))
    return facts


def act_on(
    admin_: Any,
    request: HttpRequest,
    invoice: Invoice,
    *,
    title: str,
    button: str,
    form: Callable[..., Any],
    act: Callable[[dict[str, Any]], str],
) -> HttpResponse:
    """The page between a button and its act on an invoice; files come along where the form takes some."""
    files = request.FILES if request.method == "POST" else None
    return act_page(
        admin_, request, invoice, title=title, button=button, form=form(posted(request), files), act=act, facts=facts_of(invoice)
    )
