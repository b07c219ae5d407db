"""The exchange rate: PTAX as fetched, a rate as typed, and how far today's prices are from either."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from billing import exchange, pricebooks
from billing.admin_forms import DaysForm
from billing.admin_parts import dress, posted, who
from billing.models import ExchangeRate
from billing.rates_chart import draw_rates
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"


class RateForm(forms.ModelForm):  # type: ignore[type-arg]
    reason = forms.CharField(
        label="Motivo", min_length=exchange.REASON_LENGTH_MIN, max_length=200, widget=UnfoldAdminTextInputWidget
    )

    class Meta:
        model = ExchangeRate
        fields = ("rate", "reason")


@admin.register(ExchangeRate)
class ExchangeRateAdmin(ModelAdmin):
    """PTAX, fetched each hour; a rate may be typed with a reason, and holds until a newer quotation."""

    form = RateForm
    list_display = ("rate", "source", "reason", "quoted_at", "fetched_at", "age")
    list_filter = ("source",)
    list_per_page = 50
    list_before_template = "admin/billing/rates_chart.html"
    date_hierarchy = "quoted_at"
    ordering = ("-quoted_at",)
    fields = ("rate", "reason")
    actions_list = ("fetch", "backfill")

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return bool(self.has_add_permission(request))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under a chart of PTAX and the rate at which today's prices stand."""
        version = pricebooks.version_in_force()
        chart = draw_rates(exchange.history(days=180), locked=version.exchange_rate if version else None)
        context = {**(extra_context or {}), "chart": chart, "version": version}
        return cast(HttpResponse, super().changelist_view(request, context))

    def save_model(self, request: HttpRequest, obj: ExchangeRate, form: Any, change: bool) -> None:
        typed = exchange.enter_rate(rate=form.cleaned_data["rate"], by=who(request), reason=form.cleaned_data["reason"])
        obj.pk, obj.source, obj.quoted_at = typed.pk, typed.source, typed.quoted_at

    @display(description="situação", label={"Vale": "success", "Vencido": "danger"})
    def age(self, rate: ExchangeRate) -> str:
        return "Vencido" if exchange.is_stale(rate) else "Vale"

    @action(description="Buscar PTAX", url_path="buscar", permissions=["repair"])
    def fetch(self, request: HttpRequest) -> HttpResponse:
        try:
            messages.success(request, f"{exchange.fetch_rate()}. Os preços só mudam quando uma versão for publicada.")
        except TokiaError as refusal:
            messages.error(request, refusal.message)
        return redirect("admin:billing_exchangerate_changelist")

    @action(description="Buscar histórico", url_path="historico", permissions=["repair"])
    def backfill(self, request: HttpRequest) -> HttpResponse:
        """The quotations of the last days that are missing."""
        form = DaysForm(posted(request), initial={"days": 90})
        if request.method == "POST" and form.is_valid():
            try:
                kept = exchange.backfill_rates(days=form.cleaned_data["days"])
            except TokiaError as refusal:
                form.add_error(None, refusal.message)
            else:
                messages.success(request, f"{len(kept)} cotações novas em {form.cleaned_data['days']} dias.")
                return redirect("admin:billing_exchangerate_changelist")
        dress(form)
        context = {
            **self.admin_site.each_context(request), "title": "Buscar o histórico da PTAX", "form": form, "button": "Buscar",
            "back": reverse("admin:billing_exchangerate_changelist"), "opts": self.opts, "facts": [],
        }  # fmt: skip
        return render(request, "admin/billing/act.html", context)
