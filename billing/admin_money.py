"""Wallets and the books: looked at here, changed only by entries with a reason."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from billing import ledger
from billing.admin_forms import AmountForm, GrantForm, ReasonForm, RefundForm
from billing.admin_parts import (
    InfinitePaginator,
    LookOnly,
    LookOnlyInline,
    act_page,
    brl,
    exact,
    fine,
    money_column,
    posted,
    to,
    to_list,
    who,
)
from billing.models import (
    ExpiredHold,
    GatewaySession,
    Hold,
    LedgerEntry,
    Lot,
    PixNotice,
    Posting,
    UnmatchedPix,
    UnsettledCall,
    UsageRecord,
    Wallet,
)
from billing.promotions import end_of_day, give_grant
from billing.reconcile import find_violations
from billing.refunds import CARD, origin_of, refund_lot, refundable_nanos
from billing.units import media_of, tell_media
from tokia import clock

# mypy: disable-error-code="misc,untyped-decorator"


class LotInline(LookOnlyInline):
    model = Lot
    fields = readonly_fields = ("kind", "amount", "remaining", "created_at", "expires_at")
    ordering = ("-id",)
    verbose_name_plural = "recargas e bônus"
    amount = money_column("amount_nanos", "valor", tell=brl)

    @display(description="não usado")
    def remaining(self, lot: Lot) -> SafeString | str:
        return exact(ledger.lot_remaining(lot))


class OwingFilter(admin.SimpleListFilter):
    """Wallets that were used beyond what was in them."""

    title = "a receber"
    parameter_name = "devedoras"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("sim", "Com valor a receber")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Wallet]) -> QuerySet[Wallet]:
        return queryset.filter(overdraft_nanos__gt=0) if self.value() == "sim" else queryset


@admin.register(Wallet)
class WalletAdmin(LookOnly):
    """Only the ledger writes a wallet; a person credits or debits it by an entry with a reason."""

    list_display = ("organization", "available", "held", "promo", "overdraft", "volume_plan", "created_at")
    list_select_related = ("organization", "volume_plan")
    list_filter = ("volume_plan", OwingFilter)
    search_fields = ("organization__name", "organization__trade_name", "organization__tax_id")
    ordering = ("-id",)
    fields = readonly_fields = (
        "organization_link", "available", "posted", "held", "promo", "overdraft", "volume_plan", "links", "created_at",
    )  # fmt: skip
    inlines = (LotInline,)
    actions_detail = ("grant", "credit", "debit")

    @display(description="empresa")
    def organization_link(self, wallet: Wallet) -> SafeString | str:
        return to(wallet.organization)

    available = money_column("available_nanos", "disponível")
    posted = money_column("posted_nanos", "lançado")
    held = money_column("held_nanos", "reservado")
    promo = money_column("promo_nanos", "promocional")
    overdraft = money_column("overdraft_nanos", "a receber")

    @display(description="ver")
    def links(self, wallet: Wallet) -> SafeString:
        links = [
            to_list("Partidas", "billing_posting", wallet__id__exact=wallet.pk),
            to_list("Cobranças PIX", "billing_charge", wallet__id__exact=wallet.pk),
            to_list("Reservas", "billing_hold", wallet__id__exact=wallet.pk),
            to_list("Requisições", "billing_usagerecord", wallet_id=wallet.pk),
        ]
        return SafeString(" · ".join(links))

    @action(description="Dar bônus", url_path="bonus", permissions=["repair"])
    def grant(self, request: HttpRequest, object_id: str) -> HttpResponse:
        wallet = get_object_or_404(Wallet.everywhere, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            ends_on: dt.date | None = data["expires_on"]
            give_grant(
                wallet, amount_nanos=data["amount"], reference=f"grant:{uuid.uuid4()}", by=who(request), reason=data["reason"],
                expires_at=end_of_day(ends_on) if ends_on else None,
            )  # fmt: skip
            return f"Bônus de {brl(data['amount'])} creditado."

        return act_page(
            self, request, wallet, title=f"Bônus para {wallet.organization}", button="Dar bônus",
            form=GrantForm(posted(request)), act=act, facts=_balance_of(wallet),
        )  # fmt: skip

    @action(description="Creditar ajuste", url_path="creditar", permissions=["repair"])
    def credit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._correct(request, object_id, sign=1, title="Creditar", done="creditado")

    @action(description="Debitar ajuste", url_path="debitar", permissions=["repair"])
    def debit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._correct(request, object_id, sign=-1, title="Debitar", done="debitado")

    def _correct(self, request: HttpRequest, object_id: str, *, sign: int, title: str, done: str) -> HttpResponse:
        wallet = get_object_or_404(Wallet.everywhere, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            with transaction.atomic():
                ledger.correct(wallet, amount_nanos=sign * data["amount"], reason=data["reason"], actor=who(request))
            return f"Ajuste de {brl(data['amount'])} {done}."

        return act_page(
            self, request, wallet, title=f"{title} ajuste: {wallet.organization}", button=f"{title} ajuste",
            form=AmountForm(posted(request)), act=act, facts=_balance_of(wallet),
        )  # fmt: skip


def _balance_of(wallet: Wallet) -> list[tuple[str, object]]:
    return [
        ("Disponível", exact(wallet.available_nanos)),
        ("Reservado", brl(wallet.held_nanos)),
        ("A receber", brl(wallet.overdraft_nanos)),
    ]


class PostingInline(LookOnlyInline):
    model = Posting
    fields = readonly_fields = ("source", "destination", "amount", "wallet")
    amount = money_column("amount_nanos", "valor")


@admin.register(LedgerEntry)
class LedgerEntryAdmin(LookOnly):
    list_display = ("id", "kind", "reference", "reason", "actor", "created_at")
    list_filter = ("kind",)
    search_fields = ("=reference", "reason", "actor")
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = readonly_fields = ("kind", "reference", "reason", "actor", "created_at", "undoes", "undone_by")
    inlines = (PostingInline,)
    actions_detail = ("reverse_it",)
    actions_list = ("reconciliation",)

    @display(description="estorna")
    def undoes(self, entry: LedgerEntry) -> SafeString | str:
        return to(entry.reverses)

    @display(description="estornado por")
    def undone_by(self, entry: LedgerEntry) -> SafeString | str:
        return to(LedgerEntry.objects.filter(reverses=entry).first())

    @action(description="Estornar", url_path="estornar", permissions=["repair"])
    def reverse_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        entry = get_object_or_404(LedgerEntry, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            with transaction.atomic():
                mirror = ledger.reverse_entry(entry, reason=data["reason"], actor=who(request))
            return f"Estornado pelo lançamento {mirror.pk}."

        facts = [(f"{posting.source} → {posting.destination}", exact(posting.amount_nanos)) for posting in entry.postings.all()]
        return act_page(
            self, request, entry, title=f"Estornar {entry}", button="Estornar", form=ReasonForm(posted(request)),
            act=act, facts=facts,
        )  # fmt: skip

    @action(description="Conciliação", url_path="conciliacao")
    def reconciliation(self, request: HttpRequest) -> HttpResponse:
        """Does the money add up, and what waits for a person? Drift is shown, never repaired here."""
        if not self.has_view_permission(request):
            return HttpResponse(status=403)
        old = clock.now() - dt.timedelta(minutes=5)
        waiting = [
            ("PIX não identificados", UnmatchedPix.objects.filter(status=UnmatchedPix.Status.OPEN).count(), "billing_unmatchedpix"),
            (
                "Avisos de PIX sem resposta do banco",
                PixNotice.objects.filter(status="due", received_at__lt=old).count(),
                "billing_pixnotice",
            ),
            ("Chamadas não liquidadas", UnsettledCall.objects.filter(resolved_at=None).count(), "billing_unsettledcall"),
            ("Carteiras com valor a receber", Wallet.everywhere.filter(overdraft_nanos__gt=0).count(), "billing_wallet"),
        ]
        context = {
            **self.admin_site.each_context(request), "title": "Conciliação", "opts": self.opts, "violations": find_violations(),
            "waiting": [(label, number, reverse(f"admin:{name}_changelist")) for label, number, name in waiting],
            "checked_at": clock.now(),
        }  # fmt: skip
        return render(request, "admin/billing/reconciliation.html", context)


@admin.register(Posting)
class PostingAdmin(LookOnly):
    list_display = ("id", "entry_link", "source", "destination", "amount", "wallet")
    list_select_related = ("entry", "wallet__organization")
    search_fields = ("=entry__reference", "=source", "=destination")
    ordering = ("-id",)
    paginator = InfinitePaginator
    fields = readonly_fields = ("entry_link", "source", "destination", "amount", "wallet")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup == "wallet__id__exact" or bool(super().lookup_allowed(lookup, value, request))

    @display(description="lançamento")
    def entry_link(self, posting: Posting) -> SafeString | str:
        return to(posting.entry)

    amount = money_column("amount_nanos", "valor")


@admin.register(Lot)
class LotAdmin(LookOnly):
    list_display = ("id", "wallet", "kind", "amount", "created_at", "expires_at", "entry_link")
    list_filter = ("kind",)
    list_select_related = ("wallet__organization", "entry")
    search_fields = ("wallet__organization__name", "=entry__reference")
    ordering = ("-id",)
    fields = readonly_fields = (
        "wallet_link", "kind", "amount", "remaining", "refundable", "created_at", "expires_at", "entry_link",
    )  # fmt: skip
    actions_detail = ("refund",)

    @display(description="carteira")
    def wallet_link(self, lot: Lot) -> SafeString | str:
        return to(lot.wallet)

    @display(description="lançamento")
    def entry_link(self, lot: Lot) -> SafeString | str:
        return to(lot.entry)

    amount = money_column("amount_nanos", "valor", tell=brl)

    @display(description="não usado")
    def remaining(self, lot: Lot) -> SafeString | str:
        return exact(ledger.lot_remaining(lot))

    @display(description="pode ser devolvido")
    def refundable(self, lot: Lot) -> str:
        return brl(refundable_nanos(lot))

    @action(description="Devolver à origem", url_path="devolver", permissions=["repair"])
    def refund(self, request: HttpRequest, object_id: str) -> HttpResponse:
        lot = get_object_or_404(Lot.everywhere.select_related("wallet__organization", "entry"), pk=object_id)
        left = refundable_nanos(lot)

        def act(data: dict[str, Any]) -> str:
            asked = refund_lot(lot, amount_nanos=data["amount"], by=who(request), reason=data["reason"], is_staff=True)
            return f"Devolução de {brl(asked.amount_nanos)}: {asked.get_status_display().lower()}."

        facts = [
            ("Empresa", lot.wallet.organization),
            ("Recarga", brl(lot.amount_nanos)),
            ("Volta", "ao cartão" if origin_of(lot) == CARD else "por PIX"),
            ("Não usado", exact(ledger.lot_remaining(lot))),
            ("Pode ser devolvido", brl(left)),
            ("Disponível na carteira", exact(lot.wallet.available_nanos)),
        ]
        return act_page(
            self, request, lot, title=f"Devolver recarga de {lot.wallet.organization}", button="Devolver à origem",
            form=RefundForm(posted(request), refundable_nanos=left), act=act, facts=facts,
        )  # fmt: skip


@admin.register(Hold)
class HoldAdmin(LookOnly):
    list_display: tuple[str, ...] = ("id", "wallet", "purpose", "amount", "session", "created_at")
    list_filter: tuple[str, ...] = ("purpose",)
    list_select_related = ("wallet__organization", "session")
    search_fields = ("=id", "wallet__organization__name")
    ordering = ("-created_at",)
    amount = money_column("amount_nanos", "valor reservado")


@admin.register(ExpiredHold)
class ExpiredHoldAdmin(HoldAdmin):
    """What we served and could not bill: a gateway died."""

    list_display = ("id", "wallet", "amount", "session", "created_at")
    list_filter = ()


@admin.register(GatewaySession)
class GatewaySessionAdmin(LookOnly):
    list_display = ("id", "host", "state", "started_at", "expires_at")
    list_filter = ("state",)
    ordering = ("-id",)


@admin.register(UnsettledCall)
class UnsettledCallAdmin(LookOnly):
    list_display = ("id", "error", "created_at", "resolved_at")
    list_filter = (("resolved_at", admin.EmptyFieldListFilter),)
    search_fields = ("=id", "error")
    ordering = ("-created_at",)
    actions_detail = ("resolve",)

    @action(description="Marcar como resolvida", url_path="resolver", permissions=["repair"])
    def resolve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        call = get_object_or_404(UnsettledCall, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            UnsettledCall.objects.filter(pk=call.pk).update(resolved_at=clock.now())
            return "Chamada marcada como resolvida."

        return act_page(
            self, request, call, title=f"Resolver {call.pk}", button="Marcar como resolvida",
            form=ReasonForm(posted(request)), act=act, facts=[("Erro", call.error)],
        )  # fmt: skip


@admin.register(UsageRecord)
class UsageRecordAdmin(LookOnly):
    """The largest table: ordered by its key, never counted; searched by id, key or organization's number."""

    list_display = (
        "id", "created_at", "organization", "route_name", "tokens_in", "tokens_out", "other_units", "net", "margin", "outcome",
        "latency_ms",
    )  # fmt: skip
    list_filter = ("outcome", "surface", "is_stream", "usage_source", "is_late")
    list_select_related = ("organization",)
    search_fields = ("id",)
    search_help_text = "Id da requisição, chave:<número>, empresa:<número> ou o nome do modelo"
    ordering = ("-id",)
    paginator = InfinitePaginator

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        allowed = ("organization__id__exact", "wallet_id", "api_key_id")
        return lookup in allowed or bool(super().lookup_allowed(lookup, value, request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UsageRecord], search_term: str
    ) -> tuple[QuerySet[UsageRecord], bool]:
        term = search_term.strip()
        subject, _, number = term.partition(":")
        if not term:
            return queryset, False
        if number.isdecimal() and subject in ("chave", "empresa"):
            return queryset.filter(**{"api_key_id" if subject == "chave" else "organization_id": int(number)}), False
        try:
            return queryset.filter(pk=uuid.UUID(term.rsplit("-", 1)[-1] if term.startswith("chatcmpl-") else term)), False
        except ValueError:
            return queryset.filter(route_name=term), False

    @display(description="entrada")
    def tokens_in(self, record: UsageRecord) -> int:
        text = record.input_tokens + record.cached_input_tokens + record.cache_write_tokens
        return text + record.audio_input_tokens + record.image_input_tokens

    @display(description="saída")
    def tokens_out(self, record: UsageRecord) -> int:
        return record.output_tokens + record.reasoning_tokens + record.audio_output_tokens + record.image_output_tokens

    @display(description="outras unidades")
    def other_units(self, record: UsageRecord) -> str:
        return tell_media(media_of(record)) or "—"

    net = money_column("net_nanos", "cobrado", tell=fine)

    @display(description="margem")
    def margin(self, record: UsageRecord) -> SafeString | str:
        return fine(record.net_nanos - record.cost_nanos) if record.cost_nanos else "—"
