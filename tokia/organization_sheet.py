"""The sections of an organization's page in the admin: each a table of the newest rows, with a way to the whole list.

A section is shown to whoever may look at the rows that it is made of, and reads at most ROWS of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.audit import KINDS
from accounts.models import ApiKey, AuditEvent, Membership, Organization
from accounts.tenancy import tenant
from billing import statements
from billing.event_texts import label_of
from billing.models import CardPayment, Charge, Event, Refund, UsageRecord, Wallet
from invoices.models import Invoice
from tokia import clock
from tokia.templatetags.tokia import brl, brl_fino, centavos, data, dur, hora, num

ROWS = 50
STATEMENT_DAYS = 90
Cell = SafeString | str


@dataclass(frozen=True, slots=True)
class Table:
    """`numbers`: the columns that are set to the right."""

    head: list[str]
    rows: list[list[Cell]]
    more_url: str = ""
    more: str = "Ver a lista inteira"
    numbers: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    key: str
    label: str
    permission: str
    empty: str
    read: Callable[[Organization], Table] | None = field(default=None, repr=False)


def _link(url: str, text: object) -> Cell:
    return format_html('<a class="tk-link" href="{}">{}</a>', url, text)


def _statement(organization: Organization) -> Table:
    today = clock.today_in_brazil()
    wallet = Wallet.everywhere.filter(organization=organization).first()
    if wallet is None:
        return Table([], [])
    with tenant(organization):
        found = statements.statement(first_on=today - dt.timedelta(days=STATEMENT_DAYS - 1), last_on=today)
    rows: list[list[Cell]] = [
        [
            data(row.on),
            _link(f"/admin/billing/ledgerentry/{row.entry_id}/change/", row.description) if row.entry_id else row.description,
            brl(row.in_nanos) if row.in_nanos else "",
            brl(row.out_nanos) if row.out_nanos else "",
            brl(row.balance_nanos),
        ]
        for row in reversed(found.rows[-ROWS:])
    ]
    return Table(
        ["Data", "Descrição", "Entrada", "Saída", "Saldo"], rows, f"/admin/billing/posting/?wallet__id__exact={wallet.pk}",
        "Ver todas as partidas", frozenset({2, 3, 4}),
        f"Últimos {STATEMENT_DAYS} dias: entraram {brl(found.in_nanos)}, saíram {brl(found.out_nanos)}.",
    )  # fmt: skip


def _keys(organization: Organization) -> Table:
    found = ApiKey.everywhere.filter(organization=organization).select_related("created_by", "project").order_by("-id")[:ROWS]
    rows: list[list[Cell]] = [
        [
            _link(f"/admin/accounts/apikey/{key.pk}/change/", key.name),
            f"{key.prefix}…{key.suffix}",
            key.get_kind_display() if key.kind != ApiKey.Kind.MADE else (str(key.project) if key.project else "—"),
            key.created_by.email if key.created_by else "—",
            data(key.created_at),
            key.get_status_display() if key.expires_at is None or key.expires_at > clock.now() else "Expirada",
        ]
        for key in found
    ]
    url = f"/admin/accounts/apikey/?organization__id__exact={organization.pk}"
    return Table(["Nome", "Chave", "Projeto", "Criada por", "Criada em", "Situação"], rows, url)


def _members(organization: Organization) -> Table:
    found = Membership.everywhere.filter(organization=organization).select_related("user").order_by("id")[:ROWS]
    rows: list[list[Cell]] = [
        [
            _link(f"/admin/accounts/user/{member.user_id}/change/", member.user.email),
            member.user.name or "—",
            member.get_role_display(),
            hora(member.last_seen_at),
            "Ativo" if member.user.is_active else "Inativo",
        ]
        for member in found
    ]
    url = f"/admin/accounts/membership/?organization__id__exact={organization.pk}"
    return Table(["E-mail", "Nome", "Papel", "Último acesso", "Situação"], rows, url)


def _calls(organization: Organization) -> Table:
    found = UsageRecord.everywhere.filter(organization=organization).defer("attempts", "routing", "tags").order_by("-id")[:ROWS]
    rows: list[list[Cell]] = [
        [
            _link(f"/admin/billing/usagerecord/{call.pk}/change/", hora(call.created_at)),
            call.route_name,
            call.provider_name or "—",
            num(call.input_tokens + call.cached_input_tokens + call.cache_write_tokens),
            num(call.output_tokens + call.reasoning_tokens),
            brl_fino(call.net_nanos),
            brl_fino(call.net_nanos - call.promo_nanos - call.cost_nanos),
            dur(call.latency_ms),
            call.get_outcome_display() if call.status_code < 400 else f"{call.get_outcome_display()} ({call.status_code})",
        ]
        for call in found
    ]
    return Table(
        ["Hora", "Modelo", "Provedor", "Entrada", "Saída", "Cobrado", "Margem", "Duração", "Situação"], rows,
        f"/admin/billing/usagerecord/?organization__id__exact={organization.pk}", numbers=frozenset({3, 4, 5, 6, 7}),
    )  # fmt: skip


def _payments(organization: Organization) -> Table:
    """By PIX and by card, the newest first; each has its own list."""
    charges = Charge.everywhere.filter(wallet__organization=organization).order_by("-created_at")[:ROWS]
    cards = CardPayment.everywhere.filter(wallet__organization=organization).select_related("card").order_by("-created_at")[:ROWS]
    lines: list[tuple[dt.datetime, list[Cell]]] = [
        (
            charge.created_at,
            [hora(charge.created_at), _link(f"/admin/billing/charge/{charge.pk}/change/", "PIX"), charge.txid,
             brl(charge.amount_nanos), brl(charge.received_nanos) if charge.received_nanos else "—", charge.get_status_display()],
        )
        for charge in charges
    ]  # fmt: skip
    lines += [
        (
            payment.created_at,
            [hora(payment.created_at), _link(f"/admin/billing/cardpayment/{payment.pk}/change/", payment.get_how_display()),
             payment.intent_id or "—", brl(payment.amount_nanos), brl(payment.received_nanos) if payment.received_nanos else "—",
             payment.get_status_display()],
        )
        for payment in cards
    ]  # fmt: skip
    newest = sorted(lines, key=lambda line: line[0], reverse=True)[:ROWS]
    wallet_id = Wallet.everywhere.filter(organization=organization).values_list("pk", flat=True).first()
    url = f"/admin/billing/charge/?wallet__id__exact={wallet_id}" if wallet_id else ""
    return Table(
        ["Criada em", "Como", "Identificador", "Valor", "Recebido", "Situação"], [row for _, row in newest], url,
        "Ver todas as cobranças PIX", frozenset({3, 4}),
    )  # fmt: skip


def _refunds(organization: Organization) -> Table:
    found = Refund.objects.filter(lot__wallet__organization=organization).order_by("-created_at")[:ROWS]
    rows: list[list[Cell]] = [
        [
            _link(f"/admin/billing/refund/{refund.pk}/change/", hora(refund.created_at)),
            "Cartão" if refund.paid_by == "card" else "PIX",
            brl(refund.amount_nanos),
            refund.reason or "—",
            refund.requested_by or "—",
            refund.get_status_display(),
        ]
        for refund in found
    ]
    head = ["Pedida em", "Por", "Valor", "Motivo", "Quem pediu", "Situação"]
    return Table(head, rows, f"/admin/billing/refund/?q={organization.name}", numbers=frozenset({2}))


def _notes(organization: Organization) -> Table:
    found = Invoice.everywhere.filter(organization=organization).only(
        "id", "nfse_number", "number", "month", "amount_centavos", "status", "problem", "delivery", "organization_id"
    ).order_by("-id")[:ROWS]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            _link(f"/admin/invoices/invoice/{invoice.pk}/change/", str(invoice)),
            f"{invoice.month:%m/%Y}",
            centavos(invoice.amount_centavos),
            invoice.get_status_display(),
            invoice.problem or "—",
            invoice.get_delivery_display(),
        ]
        for invoice in found
    ]
    url = f"/admin/invoices/invoice/?organization__id__exact={organization.pk}"
    return Table(["Nota", "Mês", "Valor", "Situação", "Problema", "Entrega"], rows, url, numbers=frozenset({2}))


def _events(organization: Organization) -> Table:
    found = Event.everywhere.filter(organization=organization).order_by("-id")[:ROWS]
    rows: list[list[Cell]] = [
        [
            _link(f"/admin/billing/event/{event.pk}/change/", hora(event.created_at)),
            label_of(event.type),
            event.get_level_display(),
            hora(event.mailed_at),
            hora(event.seen_at),
        ]
        for event in found
    ]
    url = f"/admin/billing/event/?organization__id__exact={organization.pk}"
    return Table(["Em", "O quê", "Nível", "E-mail enviado", "Visto"], rows, url)


def _audit(organization: Organization) -> Table:
    found = AuditEvent.everywhere.filter(organization=organization).select_related("user").order_by("-id")[:ROWS]
    rows: list[list[Cell]] = [
        [
            hora(event.created_at),
            event.user.email if event.user else "—",
            KINDS.get(event.kind, event.kind),
            _told(event.detail),
            event.ip or "—",
        ]
        for event in found
    ]
    url = f"/admin/accounts/auditevent/?organization__id__exact={organization.pk}"
    return Table(["Em", "Quem", "O quê", "Detalhes", "IP"], rows, url)


DETAIL_WORDS = {
    "reason": "motivo", "as": "como", "why": "por quê", "until": "até", "method": "método", "path": "endereço",
    "acted_by": "pela Tokia", "name": "nome", "role": "papel", "email": "e-mail", "before": "antes", "after": "depois",
}  # fmt: skip
ENDED_WORDS = {"left": "saiu", "time": "tempo esgotado", "permission": "permissão retirada", "membership": "pessoa saiu da empresa"}


def _told(detail: dict[str, object]) -> str:
    parts = []
    for name, value in detail.items():
        words = ENDED_WORDS.get(str(value), str(value)) if name == "why" else str(value)
        if name == "until":
            words = hora(dt.datetime.fromisoformat(words))
        parts.append(f"{DETAIL_WORDS.get(name, name)}: {words}")
    return "; ".join(parts)[:300] or "—"


SECTIONS: tuple[Section, ...] = (
    Section("visao", "Visão geral", "accounts.view_organization", ""),
    Section("extrato", "Extrato", "billing.view_posting", "Nada entrou nem saiu nos últimos 90 dias.", _statement),
    Section("requisicoes", "Requisições", "billing.view_usagerecord", "Esta empresa ainda não fez chamadas.", _calls),
    Section("chaves", "Chaves", "accounts.view_apikey", "Nenhuma chave ainda.", _keys),
    Section("pessoas", "Pessoas", "accounts.view_membership", "Ninguém trabalha nesta empresa.", _members),
    Section("pagamentos", "Pagamentos", "billing.view_charge", "Nenhuma recarga foi começada.", _payments),
    Section("devolucoes", "Devoluções", "billing.view_refund", "Nenhuma devolução pedida.", _refunds),
    Section("notas", "Notas fiscais", "invoices.view_invoice", "Nenhuma nota ainda.", _notes),
    Section("avisos", "Avisos", "billing.view_event", "Nenhum aviso ainda.", _events),
    Section("auditoria", "Auditoria", "accounts.view_auditevent", "Nada registrado ainda.", _audit),
    Section("internas", "Anotações internas", "accounts.view_staffnote", "Nenhuma anotação ainda."),
)  # fmt: skip
