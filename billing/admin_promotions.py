"""Promotional money in the admin: rows to look at, and acts that ask a reason and call verbs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from unfold.decorators import action, display

from billing.admin_forms import ReasonForm
from billing.admin_parts import LookOnly, LookOnlyInline, act_page, brl, change_url, dress, money_column, posted, to, who
from billing.coupons import CodeRefused, create_coupon, switch_coupon
from billing.models import Coupon, CouponRedemption, PromotionRules, Referral, ReferralCode, WelcomeGrant
from billing.promotion_forms import CouponForm, RulesForm
from billing.promotions import change_rules, end_of_day
from billing.referrals import refuse_referral
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"


class RedemptionInline(LookOnlyInline):
    model = CouponRedemption
    fields = readonly_fields = ("organization", "entry", "redeemed_by", "created_at")
    ordering = ("-id",)
    verbose_name_plural = "resgates"


@admin.register(Coupon)
class CouponAdmin(LookOnly):
    list_display = ("code", "amount", "redeemed", "redemptions_max", "valid_until", "spend_within_days", "is_for_new_only", "state")
    list_filter = ("is_active", "is_for_new_only")
    search_fields = ("code", "reason", "created_by")
    ordering = ("-id",)
    fields = readonly_fields = (
        "code", "amount", "spend_within_days", "valid_until", "redemptions_max", "redeemed", "is_for_new_only", "state", "reason",
        "created_by", "created_at",
    )  # fmt: skip
    inlines = (RedemptionInline,)
    actions_list = ("create",)
    actions_detail = ("switch_off", "switch_on")
    amount = money_column("amount_nanos", "valor", tell=brl)

    @display(description="situação", label={"Em vigor": "success", "Desligado": "danger"})
    def state(self, coupon: Coupon) -> str:
        return "Em vigor" if coupon.is_active else "Desligado"

    @action(description="Criar cupom", url_path="criar", permissions=["repair"])
    def create(self, request: HttpRequest) -> HttpResponse:
        form = CouponForm(posted(request))

        def make(data: dict[str, Any]) -> HttpResponse:
            until = data.pop("valid_until")
            coupon = create_coupon(
                code=data["code"], amount_nanos=data["amount"], reason=data["reason"], by=who(request),
                spend_within_days=data["spend_within_days"], valid_until=end_of_day(until) if until else None,
                redemptions_max=data["redemptions_max"], is_for_new_only=data["is_for_new_only"],
            )  # fmt: skip
            self.log_addition(request, coupon, f"Cupom de {brl(coupon.amount_nanos)}. Motivo: {coupon.reason}")
            messages.success(request, f"Cupom {coupon.code} criado: {brl(coupon.amount_nanos)} por empresa.")
            return redirect(change_url(coupon))

        return _form_page(self, request, title="Criar cupom", form=form, make=make)

    @action(description="Desligar", url_path="desligar", permissions=["repair"])
    def switch_off(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._switch(request, object_id, is_active=False, verb="Desligar")

    @action(description="Ligar de novo", url_path="ligar", permissions=["repair"])
    def switch_on(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._switch(request, object_id, is_active=True, verb="Ligar de novo")

    def _switch(self, request: HttpRequest, object_id: str, *, is_active: bool, verb: str) -> HttpResponse:
        coupon = get_object_or_404(Coupon, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            switch_coupon(coupon, is_active=is_active)
            return f"Cupom {coupon.code}: {'em vigor' if is_active else 'desligado'}."

        facts = [("Valor", brl(coupon.amount_nanos)), ("Resgates", coupon.redeemed), ("Situação", self.state(coupon))]
        return act_page(
            self, request, coupon, title=f"{verb}: {coupon}", button=verb, form=ReasonForm(posted(request)), act=act, facts=facts
        )


@admin.register(CouponRedemption)
class CouponRedemptionAdmin(LookOnly):
    list_display = ("coupon", "organization", "amount", "redeemed_by", "created_at")
    list_select_related = ("coupon", "organization")
    search_fields = ("coupon__code", "organization__name", "=organization__tax_id", "redeemed_by")
    ordering = ("-id",)
    fields = readonly_fields = ("coupon", "organization", "amount", "entry_link", "redeemed_by", "created_at")

    @display(description="valor")
    def amount(self, redemption: CouponRedemption) -> str:
        return brl(redemption.coupon.amount_nanos)

    @display(description="lançamento")
    def entry_link(self, redemption: CouponRedemption) -> object:
        return to(redemption.entry)


@admin.register(PromotionRules)
class PromotionRulesAdmin(LookOnly):
    """One row; without it everything is off."""

    list_display = ("name", "welcome_is_on", "welcome", "referral_is_on", "referral", "changed_by", "changed_at")
    fields = readonly_fields = (
        "welcome_is_on", "welcome", "welcome_days", "welcome_since", "referral_is_on", "referral", "referral_days", "top_up_min",
        "referral_wait_days", "referral_monthly_max", "changed_by", "changed_at",
    )  # fmt: skip
    actions_list = ("change_them",)
    actions_detail = ("change_it",)
    welcome = money_column("welcome_nanos", "boas-vindas", tell=brl)
    referral = money_column("referral_nanos", "indicação, para cada lado", tell=brl)
    top_up_min = money_column("referral_top_up_min_nanos", "recarga mínima da indicada", tell=brl)

    @display(description="regras")
    def name(self, found: PromotionRules) -> str:
        return str(found)

    @action(description="Mudar regras", url_path="mudar", permissions=["repair"])
    def change_them(self, request: HttpRequest) -> HttpResponse:
        return self._change(request)

    @action(description="Mudar regras", url_path="mudar", permissions=["repair"])
    def change_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._change(request)

    def _change(self, request: HttpRequest) -> HttpResponse:
        found, _ = PromotionRules.objects.get_or_create(pk=1)

        def act(data: dict[str, Any]) -> str:
            before = {name: getattr(found, name) for name in data if name != "reason"}
            after = {name: value for name, value in data.items() if name != "reason"}
            change_rules(by=who(request), **after)
            changed = [
                f"{_label(name)}: {_told(name, before[name])} → {_told(name, after[name])}"
                for name in after
                if before[name] != after[name]
            ]
            return "; ".join(changed) + "." if changed else "Nada mudou."

        form = RulesForm(posted(request), initial=RulesForm.initial_of(found))
        return act_page(self, request, found, title="Regras de promoção", button="Mudar regras", form=form, act=act)


def _label(name: str) -> str:
    return str(getattr(PromotionRules._meta.get_field(name), "verbose_name", name))


def _told(name: str, value: Any) -> str:
    if name.endswith("_nanos"):
        return brl(value)
    return {True: "sim", False: "não"}[value] if isinstance(value, bool) else str(value)


@admin.register(WelcomeGrant)
class WelcomeGrantAdmin(LookOnly):
    list_display = ("organization", "tax_id", "created_at")
    list_select_related = ("organization",)
    search_fields = ("organization__name", "=tax_id")
    ordering = ("-id",)
    fields = readonly_fields = ("organization", "tax_id", "entry", "created_at")


@admin.register(ReferralCode)
class ReferralCodeAdmin(LookOnly):
    list_display = ("code", "organization", "created_at")
    list_select_related = ("organization",)
    search_fields = ("=code", "organization__name", "=organization__tax_id")
    ordering = ("-id",)


@admin.register(Referral)
class ReferralAdmin(LookOnly):
    list_display = ("referred", "referrer", "status", "reason", "created_at", "decided_at")
    list_filter = ("status",)
    list_select_related = ("referred", "referrer")
    search_fields = ("referred__name", "referrer__name", "=referred__tax_id", "=referrer__tax_id")
    ordering = ("-id",)
    fields = readonly_fields = (
        "referred", "referrer", "status", "reason", "referrer_entry", "referred_entry", "created_at", "decided_at",
    )  # fmt: skip
    actions_detail = ("refuse",)

    @action(description="Não vale", url_path="recusar", permissions=["repair"])
    def refuse(self, request: HttpRequest, object_id: str) -> HttpResponse:
        referral = get_object_or_404(Referral.everywhere, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            if not refuse_referral(referral, reason=data["reason"]):
                raise CodeRefused("Esta indicação já foi decidida.", code="referral_decided")
            return "Indicação recusada: ninguém recebe bônus por ela."

        facts = [("Indicada", referral.referred), ("Quem indicou", referral.referrer), ("Situação", referral.get_status_display())]
        return act_page(
            self, request, referral, title="Recusar indicação", button="Não vale", form=ReasonForm(posted(request)), act=act,
            facts=facts,
        )  # fmt: skip


def _form_page(
    admin_: LookOnly, request: HttpRequest, *, title: str, form: forms.Form, make: Callable[[dict[str, Any]], HttpResponse]
) -> HttpResponse:
    """Like `act_page`, for what does not exist yet."""
    dress(form)
    if request.method == "POST" and form.is_valid():
        try:
            return make(dict(form.cleaned_data))
        except TokiaError as refusal:
            form.add_error(None, refusal.message)
    context = {
        **admin_.admin_site.each_context(request),
        "title": title, "form": form, "button": title, "back": "..", "facts": (), "opts": admin_.opts,
    }  # fmt: skip
    return render(request, "admin/billing/act.html", context)
