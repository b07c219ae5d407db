"""PIX: charges, what the bank told, money that nobody could place, refunds."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.models import Organization
from billing.admin_forms import CreditForm, ReasonForm
from billing.admin_parts import LookOnly, act_page, brl, change_url, posted, to, to_list, who
from billing.errors import PspUnavailable
from billing.models import Charge, LedgerEntry, PixNotice, Refund, UnmatchedPix
from billing.pix import charges, refunds
from billing.pix.errors import PixResolved
from billing.refunds import ask_again
from billing.wallets import wallet_of

# mypy: disable-error-code="misc,untyped-decorator"


def as_json(content: Any) -> SafeString:
    text = json.dumps(content, ensure_ascii=False, indent=2)
    return format_html('<pre class="text-xs whitespace-pre-wrap break-all">{}</pre>', text)


def entry_of(end_to_end_id: str) -> LedgerEntry | None:
    return LedgerEntry.objects.filter(reference=f"pix:{end_to_end_id}").first()


class PaidFilter(admin.SimpleListFilter):
    """Charges that were paid, but not with their amount."""

    title = "pago"
    parameter_name = "pago"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("diferente", "De valor diferente")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() != "diferente":
            return queryset
        return queryset.filter(status=Charge.Status.PAID).exclude(received_nanos=F("amount_nanos"))


@admin.register(Charge)
class ChargeAdmin(LookOnly):
    list_display = ("txid", "organization", "amount", "received", "state", "created_at", "paid_at", "asked_at")
    list_filter = ("status", PaidFilter)
    list_select_related = ("wallet__organization",)
    search_fields = ("=txid", "wallet__organization__name", "wallet__organization__tax_id")
    search_help_text = "txid, empresa, CNPJ ou E2E"
    ordering = ("-created_at",)
    date_hierarchy = "created_at"
    fields = readonly_fields = (
        "txid", "organization", "state", "amount", "received", "created_by", "created_at", "expires_at", "paid_at", "asked_at",
        "bank_error", "told", "links", "brcode",
    )  # fmt: skip
    actions_detail = ("ask",)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup == "wallet__id__exact" or bool(super().lookup_allowed(lookup, value, request))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        found, is_double = super().get_search_results(request, queryset, search_term)
        if len(search_term.strip()) == 32:
            found |= queryset.filter(payments__contains=[{"endToEndId": search_term.strip()}])
        return found, is_double

    @display(description="empresa")
    def organization(self, charge: Charge) -> SafeString | str:
        return to(charge.wallet, charge.wallet.organization)

    @display(description="valor")
    def amount(self, charge: Charge) -> str:
        return brl(charge.amount_nanos)

    @display(description="recebido")
    def received(self, charge: Charge) -> str:
        return brl(charge.received_nanos) if charge.received_nanos else "—"

    @display(
        description="situação",
        label={"Pago": "success", "Aguardando": "info", "Gerando": "info", "Falhou": "danger", "Expirado": "warning"},
    )
    def state(self, charge: Charge) -> str:
        return charge.get_status_display()

    @display(description="pagamentos")
    def told(self, charge: Charge) -> SafeString:
        rows = [
            format_html("{} · R$ {} · {} · {}", pix["endToEndId"], pix["valor"], pix["horario"], to(entry_of(pix["endToEndId"])))
            for pix in charge.payments
        ]
        return SafeString("<br>".join(rows)) if rows else SafeString("—")

    @display(description="ver")
    def links(self, charge: Charge) -> SafeString | str:
        return to_list("Avisos deste txid", "billing_pixnotice", q=charge.txid)

    @action(description="Perguntar ao banco", url_path="perguntar", permissions=["repair"])
    def ask(self, request: HttpRequest, object_id: str) -> HttpResponse:
        charge = get_object_or_404(Charge.everywhere.select_related("wallet"), pk=object_id)
        try:
            charge = charges.confirm_charge(charge)
            messages.success(request, f"O banco respondeu. Situação: {charge.get_status_display().lower()}.")
        except PspUnavailable as silence:
            messages.error(request, f"O banco não respondeu: {silence}")
        return redirect(change_url(charge))


@admin.register(PixNotice)
class PixNoticeAdmin(LookOnly):
    list_display = ("received_at", "end_to_end_id", "txid", "status", "deliveries", "failures", "last_error", "done_at")
    list_filter = ("status",)
    search_fields = ("=end_to_end_id", "=txid")
    ordering = ("-id",)
    fields = readonly_fields = (
        "end_to_end_id", "txid", "status", "deliveries", "failures", "last_error", "received_at", "due_at", "done_at", "entry",
        "charge", "content",
    )  # fmt: skip
    actions_detail = ("follow",)

    @display(description="lançamento")
    def entry(self, notice: PixNotice) -> SafeString | str:
        return to(entry_of(notice.end_to_end_id) if notice.end_to_end_id else None)

    @display(description="cobrança")
    def charge(self, notice: PixNotice) -> SafeString | str:
        return to(Charge.everywhere.filter(txid=notice.txid).first() if notice.txid else None)

    @display(description="conteúdo")
    def content(self, notice: PixNotice) -> SafeString:
        return as_json(notice.payload)

    @action(description="Verificar de novo", url_path="verificar", permissions=["repair"])
    def follow(self, request: HttpRequest, object_id: str) -> HttpResponse:
        notice = get_object_or_404(PixNotice, pk=object_id)
        if not notice.end_to_end_id:
            messages.error(request, "Este aviso está malformado: não há o que perguntar ao banco.")
            return redirect(change_url(notice))
        try:
            charges.confirm_notice(notice)
            messages.success(request, "O banco respondeu; o que ele confirma está lançado.")
        except PspUnavailable as silence:
            messages.error(request, f"O banco não respondeu: {silence}")
        return redirect(change_url(notice))


@admin.register(UnmatchedPix)
class UnmatchedPixAdmin(LookOnly):
    list_display = ("end_to_end_id", "txid", "amount", "paid_at", "found_at", "status", "resolved_by")
    list_filter = ("status",)
    search_fields = ("=end_to_end_id", "=txid")
    ordering = ("-id",)
    fields = readonly_fields = (
        "end_to_end_id", "txid", "amount", "paid_at", "found_at", "status", "resolved_by", "resolved_reason", "resolved_at",
        "entry", "returns", "content",
    )  # fmt: skip
    actions_detail = ("credit", "give_back")

    @display(description="valor")
    def amount(self, pix: UnmatchedPix) -> str:
        return brl(pix.amount_nanos)

    @display(description="lançamento")
    def entry(self, pix: UnmatchedPix) -> SafeString | str:
        return to(entry_of(pix.end_to_end_id))

    @display(description="devoluções")
    def returns(self, pix: UnmatchedPix) -> SafeString:
        found = [to(refund, refund.get_status_display()) for refund in pix.refunds.all()]
        return SafeString(" · ".join(found)) if found else SafeString("—")

    @display(description="conteúdo do banco")
    def content(self, pix: UnmatchedPix) -> SafeString:
        return as_json(pix.payload)

    @action(description="Creditar a uma empresa", url_path="creditar", permissions=["repair"])
    def credit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        pix = get_object_or_404(UnmatchedPix, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            organization = Organization.objects.filter(pk=data["organization"]).first()
            if organization is None:
                raise PixResolved("Não há empresa com este número.")
            refunds.credit_unmatched(pix, wallet=wallet_of(organization), by=who(request), reason=data["reason"])
            return f"{brl(pix.amount_nanos)} creditados a {organization}."

        return act_page(
            self, request, pix, title=f"Creditar {brl(pix.amount_nanos)}", button="Creditar",
            form=CreditForm(posted(request)), act=act, facts=_facts_of(pix),
        )  # fmt: skip

    @action(description="Devolver ao pagador", url_path="devolver", permissions=["repair"])
    def give_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        pix = get_object_or_404(UnmatchedPix, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            asked = refunds.refund_unmatched(pix, by=who(request), reason=data["reason"])
            return f"Devolução de {brl(asked.amount_nanos)}: {asked.get_status_display().lower()}."

        return act_page(
            self, request, pix, title="Devolver ao pagador", button="Devolver ao pagador",
            form=ReasonForm(posted(request)), act=act, facts=_facts_of(pix),
        )  # fmt: skip


def _facts_of(pix: UnmatchedPix) -> list[tuple[str, object]]:
    return [
        ("Valor", brl(pix.amount_nanos)),
        ("Tomado de volta pelo banco do pagador", brl(refunds.taken_back_nanos(pix))),
        ("E2E", pix.end_to_end_id),
        ("txid", pix.txid or "—"),
        ("Situação", pix.get_status_display()),
    ]


@admin.register(Refund)
class RefundAdmin(LookOnly):
    list_display = (
        "id",
        "organization",
        "way",
        "amount",
        "status",
        "reason",
        "requested_by",
        "bank_reason",
        "created_at",
        "done_at",
    )
    list_filter = ("status", ("card_payment", admin.EmptyFieldListFilter))
    list_select_related = ("lot__wallet__organization",)
    search_fields = ("=end_to_end_id", "=stripe_id", "=id", "reason", "requested_by", "lot__wallet__organization__name")
    ordering = ("-created_at",)
    fields = readonly_fields = (
        "id", "organization", "way", "end_to_end_id", "stripe_id", "amount", "status", "reason", "requested_by", "bank_reason",
        "created_at", "asked_at", "done_at", "lot_link", "pix_link", "entry",
    )  # fmt: skip
    actions_detail = ("ask",)

    @display(description="empresa")
    def organization(self, refund: Refund) -> SafeString | str:
        return to(refund.lot.wallet, refund.lot.wallet.organization) if refund.lot else "—"

    @display(description="por")
    def way(self, refund: Refund) -> str:
        return "Cartão" if refund.paid_by == "card" else "PIX"

    @display(description="lançamento")
    def entry(self, refund: Refund) -> SafeString | str:
        return to(LedgerEntry.objects.filter(reference=f"refund:{refund.pk}").first())

    @display(description="valor")
    def amount(self, refund: Refund) -> str:
        return brl(refund.amount_nanos)

    @display(description="recarga")
    def lot_link(self, refund: Refund) -> SafeString | str:
        return to(refund.lot)

    @display(description="PIX não identificado")
    def pix_link(self, refund: Refund) -> SafeString | str:
        return to(refund.unmatched)

    @action(description="Perguntar ao banco", url_path="perguntar", permissions=["repair"])
    def ask(self, request: HttpRequest, object_id: str) -> HttpResponse:
        refund = get_object_or_404(Refund, pk=object_id)
        try:
            refund = ask_again(refund)
            messages.success(request, f"Situação: {refund.get_status_display().lower()}.")
        except PspUnavailable as silence:
            messages.error(request, f"O banco não respondeu: {silence}")
        return redirect(change_url(refund))
