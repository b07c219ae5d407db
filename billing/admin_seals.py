"""Seals, their checks, closed months and files: looked at here. The check may be asked for; nothing is repaired."""

from __future__ import annotations

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from billing import seals
from billing.admin_parts import InfinitePaginator, LookOnly, brl, money_column, to
from billing.models import Export, LedgerEntry, LedgerSeal, MonthClose, SealCheck

# mypy: disable-error-code="misc,untyped-decorator"
CHECK_SECONDS = 20.0  # of a button; the night's task goes on where it ends


@admin.register(LedgerSeal)
class LedgerSealAdmin(LookOnly):
    list_display = ("seq", "sealed", "digest_text", "sealed_at")
    search_fields = ("seq", "entry_id")
    ordering = ("-seq",)
    paginator = InfinitePaginator
    fields = readonly_fields = ("seq", "sealed", "digest_text", "version", "sealed_at")

    @display(description="sela")
    def sealed(self, link: LedgerSeal) -> SafeString | str:
        if link.entry_id is None:
            return f"requisição {link.call_id}"
        return to(LedgerEntry.objects.filter(pk=link.entry_id).first() or None, f"lançamento {link.entry_id}")

    @display(description="selo")
    def digest_text(self, link: LedgerSeal) -> str:
        return bytes(link.digest).hex()


@admin.register(SealCheck)
class SealCheckAdmin(LookOnly):
    list_display = ("checked_at", "is_whole", "first_seq", "last_seq", "head_seq", "detail")
    ordering = ("-pk",)
    fields = readonly_fields = (
        "checked_at",
        "is_whole",
        "first_seq",
        "last_seq",
        "head_seq",
        "digest_text",
        "broken_seq",
        "detail",
    )
    actions_list = ("check_now",)

    @display(description="confere", boolean=True)
    def is_whole(self, check: SealCheck) -> bool:
        return check.broken_seq is None

    @display(description="selo")
    def digest_text(self, check: SealCheck) -> str:
        return bytes(check.head_digest).hex()

    @action(description="Conferir o livro agora", url_path="conferir", permissions=["repair"])
    def check_now(self, request: HttpRequest) -> HttpResponse:
        seals.seal_entries(seconds=CHECK_SECONDS)
        done = seals.check_chain(seconds=CHECK_SECONDS, from_start=True)
        if done.broken_seq is not None:
            messages.error(request, done.detail)
        elif done.last_seq < done.head_seq:
            messages.info(request, f"Conferem os primeiros {done.last_seq} elos; a conferência da noite continua.")
        else:
            messages.success(request, f"Todos os {done.last_seq} elos conferem.")
        return redirect(reverse("admin:billing_sealcheck_changelist"))


@admin.register(MonthClose)
class MonthCloseAdmin(LookOnly):
    list_display = ("month", "organization", "opening", "came", "went", "closing", "net", "adjustment", "closed_at")
    list_select_related = ("organization",)
    list_filter = ("month",)
    search_fields = ("organization__name", "organization__trade_name", "organization__tax_id")
    ordering = ("-month", "-pk")
    fields = readonly_fields = (
        "organization", "month", "opening", "came", "went", "closing", "calls", "gross", "discount", "net", "adjustment",
        "movements", "adjustments", "seal_seq", "closed_at",
    )  # fmt: skip
    opening = money_column("opening_nanos", "saldo inicial", tell=brl)
    came = money_column("in_nanos", "entradas", tell=brl)
    went = money_column("out_nanos", "saídas", tell=brl)
    closing = money_column("closing_nanos", "saldo final", tell=brl)
    gross = money_column("gross_nanos", "uso bruto")
    discount = money_column("discount_nanos", "desconto")
    net = money_column("net_nanos", "uso líquido", tell=brl)
    adjustment = money_column("adjustment_nanos", "ajustes", tell=brl)


@admin.register(Export)
class ExportAdmin(LookOnly):
    list_display = ("created_at", "organization", "kind", "form", "status", "rows_done", "tries", "error")
    list_select_related = ("organization",)
    list_filter = ("status", "kind")
    ordering = ("-created_at",)
    fields = readonly_fields = (
        "organization", "kind", "form", "filters", "status", "rows_done", "rows_total", "bytes", "tries", "error", "requested_by",
        "created_at", "done_at", "expires_at",
    )  # fmt: skip
