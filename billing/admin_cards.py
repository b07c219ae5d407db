"""Stripe: payments, events, disputes, cards, automatic top-ups. Read-only; what repairs asks Stripe again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from billing.admin_forms import ReasonForm
from billing.admin_parts import LookOnly, act_page, brl, change_url, money_column, posted, to, to_list, who
from billing.admin_pix import as_json
from billing.cards import auto_top_ups, booking, disputes, events, payments, refunds, stripe_client
from billing.cards.errors import CardsOff, StripeRefused, StripeUnavailable
from billing.models import AutoTopUp, Card, CardHolder, CardPayment, Dispute, LedgerEntry, StripeEvent
from tokia import clock

# mypy: disable-error-code="misc,untyped-decorator"

SILENCE = (StripeUnavailable, StripeRefused, CardsOff)


@admin.register(CardPayment)
class CardPaymentAdmin(LookOnly):
    list_display = (
        "created_at",
        "organization",
        "how",
        "amount",
        "received",
        "state",
        "paid_with",
        "failure",
        "paid_at",
        "asked_at",
    )
    list_filter = ("status", "how")
    list_select_related = ("wallet__organization",)
    search_fields = ("=id", "=intent_id", "=session_id", "wallet__organization__name", "wallet__organization__tax_id")
    search_help_text = "número, pi_…, cs_…, empresa ou CNPJ"
    ordering = ("-created_at",)
    date_hierarchy = "created_at"

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in ("wallet__id__exact", "card__id__exact") or bool(super().lookup_allowed(lookup, value, request))

    fields = readonly_fields = (
        "id", "identifier", "organization", "how", "state", "amount", "received", "paid_with", "card_link", "keeps_card",
        "intent_id", "session_id", "decline_code", "failure", "created_by", "created_at", "expires_at", "paid_at", "asked_at",
        "entry", "returns", "contested", "told",
    )  # fmt: skip
    actions_detail = ("ask",)
    amount, received = money_column("amount_nanos", "valor", tell=brl), money_column("received_nanos", "recebido", tell=brl)

    @display(description="empresa")
    def organization(self, payment: CardPayment) -> SafeString | str:
        return to(payment.wallet, payment.wallet.organization)

    @display(
        description="situação",
        label={"Pago": "success", "Aguardando": "info", "Abrindo": "info", "Recusado": "danger", "Expirado": "warning"},
    )
    def state(self, payment: CardPayment) -> str:
        return payment.get_status_display()

    @display(description="identificador")
    def identifier(self, payment: CardPayment) -> str:
        return payments.identifier_of(payment)

    @display(description="cartão")
    def card_link(self, payment: CardPayment) -> SafeString | str:
        return to(payment.card)

    @display(description="lançamento")
    def entry(self, payment: CardPayment) -> SafeString | str:
        return to(LedgerEntry.objects.filter(reference=f"stripe:{payment.intent_id}").first() if payment.intent_id else None)

    @display(description="devoluções")
    def returns(self, payment: CardPayment) -> SafeString:
        found = [
            to(refund, f"{brl(refund.amount_nanos)} {refund.get_status_display().lower()}") for refund in payment.refunds.all()
        ]
        return SafeString(" · ".join(found)) if found else SafeString("—")

    @display(description="contestações")
    def contested(self, payment: CardPayment) -> SafeString:
        found = [to(dispute) for dispute in Dispute.everywhere.filter(payment=payment)]
        return SafeString(" · ".join(found)) if found else SafeString("—")

    @display(description="ver")
    def told(self, payment: CardPayment) -> SafeString | str:
        return to_list("Eventos deste pagamento", "billing_stripeevent", q=payment.intent_id or payment.session_id or "")

    @action(description="Perguntar à Stripe de novo", url_path="perguntar", permissions=["repair"])
    def ask(self, request: HttpRequest, object_id: str) -> HttpResponse:
        payment = get_object_or_404(CardPayment.everywhere.select_related("wallet__organization", "card"), pk=object_id)
        try:
            if payment.intent_id:
                booking.follow_intent(payment, stripe_client.read_intent(payment.intent_id))
                refunds.follow_refunds_of(payment.intent_id)
            payment = payments.confirm_payment(payment)
            messages.success(request, f"A Stripe respondeu. Situação: {payment.get_status_display().lower()}.")
        except SILENCE as silence:
            messages.error(request, f"A Stripe não respondeu: {silence}")
        return redirect(change_url(payment))


@admin.register(StripeEvent)
class StripeEventAdmin(LookOnly):
    list_display = ("received_at", "type", "object_id", "status", "deliveries", "failures", "last_error", "done_at")
    list_filter = ("status", "type")
    search_fields = ("=stripe_id", "=object_id")
    search_help_text = "evt_…, pi_…, cs_…, re_…, du_…"
    ordering = ("-id",)
    fields = readonly_fields = (
        "stripe_id", "type", "object_id", "status", "deliveries", "failures", "last_error", "received_at", "due_at", "done_at",
        "payment", "content",
    )  # fmt: skip
    actions_detail = ("follow",)

    @display(description="recarga")
    def payment(self, event: StripeEvent) -> SafeString | str:
        rows = CardPayment.everywhere
        return to(rows.filter(intent_id=event.object_id).first() or rows.filter(session_id=event.object_id).first())

    @display(description="conteúdo")
    def content(self, event: StripeEvent) -> SafeString:
        return as_json(event.payload)

    @action(description="Perguntar à Stripe de novo", url_path="verificar", permissions=["repair"])
    def follow(self, request: HttpRequest, object_id: str) -> HttpResponse:
        event = get_object_or_404(StripeEvent, pk=object_id)
        try:
            events.follow_event(event)
            messages.success(request, "A Stripe respondeu; o que ela confirma está lançado.")
        except SILENCE as silence:
            messages.error(request, f"A Stripe não respondeu: {silence}")
        return redirect(change_url(event))


@admin.register(Dispute)
class DisputeAdmin(LookOnly):
    list_display = (
        "stripe_id",
        "organization",
        "amount",
        "reason",
        "status",
        "is_withdrawn",
        "has_suspended",
        "opened_at",
        "closed_at",
    )
    list_filter = ("status", "is_withdrawn")
    list_select_related = ("payment__wallet__organization",)
    search_fields = ("=stripe_id", "=payment__intent_id", "payment__wallet__organization__name")
    ordering = ("-opened_at",)
    fields = readonly_fields = (
        "stripe_id", "organization", "payment_link", "amount", "reason", "status", "is_withdrawn", "has_suspended", "opened_at",
        "closed_at", "asked_at", "entries",
    )  # fmt: skip
    actions_detail = ("ask",)
    amount = money_column("amount_nanos", "valor", tell=brl)

    @display(description="empresa")
    def organization(self, dispute: Dispute) -> SafeString | str:
        return to(dispute.payment.wallet.organization)

    @display(description="recarga")
    def payment_link(self, dispute: Dispute) -> SafeString | str:
        return to(dispute.payment)

    @display(description="lançamentos")
    def entries(self, dispute: Dispute) -> SafeString:
        found = [to(entry) for entry in LedgerEntry.objects.filter(reference__startswith=f"dispute:{dispute.stripe_id}:")]
        return SafeString("<br>".join(found)) if found else SafeString("—")

    @action(description="Perguntar à Stripe de novo", url_path="perguntar", permissions=["repair"])
    def ask(self, request: HttpRequest, object_id: str) -> HttpResponse:
        dispute = get_object_or_404(Dispute.everywhere, pk=object_id)
        try:
            disputes.follow_dispute(dispute.stripe_id)
            messages.success(request, "A Stripe respondeu.")
        except SILENCE as silence:
            messages.error(request, f"A Stripe não respondeu: {silence}")
        return redirect(change_url(dispute))


@admin.register(Card)
class CardAdmin(LookOnly):
    list_display = ("name", "organization", "expires", "is_default", "status", "created_at", "removed_at")
    list_filter = ("status", "brand")
    list_select_related = ("organization",)
    search_fields = ("=stripe_id", "=last4", "organization__name")
    ordering = ("-id",)
    fields = readonly_fields = (
        "name", "organization", "stripe_id", "expires", "is_default", "status", "created_at", "removed_at", "used",
    )  # fmt: skip

    @display(description="cartão")
    def name(self, card: Card) -> str:
        return str(card)

    @display(description="validade")
    def expires(self, card: Card) -> str:
        return f"{card.exp_month:02d}/{card.exp_year}"

    @display(description="ver")
    def used(self, card: Card) -> SafeString | str:
        return to_list("Recargas com este cartão", "billing_cardpayment", card__id__exact=card.pk)


@admin.register(CardHolder)
class CardHolderAdmin(LookOnly):
    list_display = ("organization", "stripe_id", "created_at")
    list_select_related = ("organization",)
    search_fields = ("=stripe_id", "organization__name")
    ordering = ("-id",)
    fields = readonly_fields = ("organization", "stripe_id", "reference", "created_at")


@admin.register(AutoTopUp)
class AutoTopUpAdmin(LookOnly):
    list_display = (
        "organization",
        "is_on",
        "threshold",
        "amount",
        "day_max",
        "month_max",
        "failures",
        "next_try_at",
        "paused_reason",
    )
    list_filter = ("is_on",)
    list_select_related = ("wallet__organization",)
    search_fields = ("wallet__organization__name", "wallet__organization__tax_id")
    ordering = ("-changed_at",)
    fields = readonly_fields = (
        "organization", "is_on", "card", "threshold", "amount", "day_max", "month_max", "failures", "next_try_at", "paused_reason",
        "changed_by", "changed_at", "paid",
    )  # fmt: skip
    actions_detail = ("stop",)
    threshold = money_column("threshold_nanos", "abaixo de", tell=brl)
    amount = money_column("amount_nanos", "valor", tell=brl)
    day_max = money_column("day_max_nanos", "por dia", tell=brl)
    month_max = money_column("month_max_nanos", "por mês", tell=brl)

    @display(description="empresa")
    def organization(self, auto: AutoTopUp) -> SafeString | str:
        return to(auto.wallet, auto.wallet.organization)

    @display(description="usado")
    def paid(self, auto: AutoTopUp) -> SafeString:
        today = clock.today_in_brazil()
        day, month = (auto_top_ups.spent_since(auto.wallet_id, since) for since in (today, today.replace(day=1)))
        return format_html("{} hoje, {} no mês", brl(day), brl(month))

    @action(description="Desligar", url_path="desligar", permissions=["repair"])
    def stop(self, request: HttpRequest, object_id: str) -> HttpResponse:
        auto = get_object_or_404(AutoTopUp.everywhere.select_related("wallet__organization"), pk=object_id)

        def act(data: dict[str, object]) -> str:
            is_off = auto_top_ups.switch_off(auto.wallet, by=who(request), reason=f"Desligada pelo suporte: {data['reason']}")
            return "Recarga automática desligada." if is_off else "Já estava desligada."

        return act_page(
            self, request, auto, title="Desligar a recarga automática", button="Desligar", form=ReasonForm(posted(request)),
            act=act, facts=[("Empresa", auto.wallet.organization), ("Valor", brl(auto.amount_nanos))],
        )  # fmt: skip
