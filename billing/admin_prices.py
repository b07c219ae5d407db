"""Prices: costs as imported, the exchange rate, versions from draft to published, discounts by volume."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from billing import costs, exchange, pricebooks, volume
from billing.admin_forms import PublishForm
from billing.admin_parts import LookOnly, act_page, change_url, dress, full, may_change, posted, to_list, who
from billing.models import ExchangeRate, Price, PriceBook, PriceVersion, ProviderCost, VolumePlan, VolumeTier
from billing.money import BRL, from_brl, to_brl
from billing.units import tell_per
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"


class ReaisField(forms.CharField):
    """Reais with up to nine decimals as a person types them ("18,14"), kept as nanos."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, int):
            return f"{to_brl(value):f}".rstrip("0").rstrip(".").replace(".", ",")
        return value

    def clean(self, value: Any) -> int | None:
        text = super().clean(value)
        if not text:
            return None
        try:
            nanos = from_brl(text.replace("R$", "").strip().replace(".", "").replace(",", ".") if "," in text else text.strip())
        except ValueError:
            raise forms.ValidationError("Digite reais, como 18,14.") from None
        if nanos < 0:
            raise forms.ValidationError("Um preço não é negativo.")
        return nanos


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    override_nanos = ReaisField(label="Preço fixo (R$)", required=False)

    class Meta:
        model = Price
        fields = (
            "route_name", "unit", "per_units", "provider_name", "upstream_model", "cost_usd", "markup", "override_nanos",
            "override_reason", "batch_percent", "own_key_percent",
        )  # fmt: skip


class PriceInline(TabularInline):
    """A draft's lines. The price is computed when the version is saved; nobody types it."""

    model = Price
    form = PriceForm
    extra = 0
    hide_title = True
    per_page = 40  # a form has at most 1 000 fields
    ordering = ("route_name", "id")
    readonly_fields = ("price", "margin")
    verbose_name_plural = "preços"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_draft(obj) and bool(super().has_change_permission(request, obj))

    has_delete_permission = has_add_permission = has_change_permission

    @display(description="preço")
    def price(self, price: Price) -> str:
        return format_html("{}{}", full(price.amount_nanos), tell_per(price.unit, price.per_units)) if price.pk else "—"

    @display(description="sobre o custo")
    def margin(self, price: Price) -> str:
        rate = price.version.exchange_rate if price.pk else None
        cost = pricebooks.cost_of_line(price, rate.rate if rate else None)
        return f"{Decimal(price.amount_nanos) / cost:.2f}×".replace(".", ",") if cost else "—"


def _is_draft(version: PriceVersion | None) -> bool:
    return version is None or version.status == PriceVersion.Status.DRAFT


@admin.register(PriceVersion)
class PriceVersionAdmin(ModelAdmin):
    list_display = ("name", "state", "lines", "exchange_rate", "effective_at", "published_at", "published_by", "note")
    list_filter = ("status", "book")
    list_select_related = ("book", "exchange_rate")
    search_fields = ("note", "prices__route_name")
    ordering = ("-id",)
    list_per_page = 50
    fields = ("book", "number", "state", "note", "exchange_rate", "effective_at", "published_at", "published_by", "created_at")
    readonly_fields = (
        "book", "number", "state", "exchange_rate", "effective_at", "published_at", "published_by", "created_at",
    )  # fmt: skip
    inlines = (PriceInline,)
    actions_list = ("new_draft", "import_costs")
    actions_detail = ("recalculate", "publish")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(line_count=Count("prices"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # "Novo rascunho"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_draft(obj) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is not None and _is_draft(obj) and bool(super().has_delete_permission(request, obj))

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return may_change(request, self)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        version = PriceVersion.objects.filter(pk=object_id).first()
        return list(super().get_actions_detail(request, object_id)) if _is_draft(version) else []

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for price in formset.save(commit=False):
            price.amount_nanos = price.override_nanos or 0  # computed for the whole version below
            price.save()
        for price in formset.deleted_objects:
            price.delete()
        formset.save_m2m()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        try:
            pricebooks.recompute(form.instance)
        except TokiaError as refusal:
            messages.warning(request, f"Salvo, mas sem preço calculado: {refusal.message}")

    @display(description="versão")
    def name(self, version: PriceVersion) -> str:
        return str(version)

    @display(description="situação", label={"Rascunho": "warning", "Publicada": "info", "Em vigor": "success", "Agendada": "info"})
    def state(self, version: PriceVersion) -> str:
        if version.status == PriceVersion.Status.DRAFT:
            return "Rascunho"
        current = pricebooks.version_in_force(book=version.book)
        if current == version:
            return "Em vigor"
        is_ahead = current is None or (
            version.effective_at and current.effective_at and version.effective_at > current.effective_at
        )
        return "Agendada" if is_ahead else "Publicada"

    @display(description="preços", ordering="line_count")
    def lines(self, version: PriceVersion) -> int:
        return int(version.line_count)  # type: ignore[attr-defined]

    @action(description="Novo rascunho da versão em vigor", url_path="novo-rascunho", permissions=["repair"])
    def new_draft(self, request: HttpRequest) -> HttpResponse:
        try:
            draft = pricebooks.draft_from_current(note=f"Rascunho de {who(request)}")
        except TokiaError as refusal:
            messages.error(request, refusal.message)
            return redirect("admin:billing_priceversion_changelist")
        messages.success(request, f"{draft}: custos mais novos e câmbio atual. Nada muda até publicar.")
        return redirect(change_url(draft))

    @action(description="Importar custos", url_path="importar-custos", permissions=["repair"])
    def import_costs(self, request: HttpRequest) -> HttpResponse:
        try:
            changed = costs.reimport_costs()
            draft = pricebooks.propose_draft()
        except TokiaError as refusal:
            messages.error(request, refusal.message)
            return redirect("admin:billing_priceversion_changelist")
        if draft is None:
            messages.success(request, "Os preços em vigor já usam os custos instalados.")
            return redirect("admin:billing_priceversion_changelist")
        messages.success(request, f"{len(changed)} custos novos. Rascunho {draft}: confira a diferença antes de publicar.")
        return redirect(reverse("admin:billing_priceversion_publish", args=[draft.pk]))

    @action(description="Recalcular com o câmbio atual", url_path="recalcular", permissions=["repair"])
    def recalculate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = get_object_or_404(PriceVersion, pk=object_id)
        try:
            pricebooks.recompute(version)
            messages.success(request, f"Recalculado a {version.exchange_rate}.")
        except TokiaError as refusal:
            messages.error(request, refusal.message)
        return redirect(change_url(version))

    @action(description="Comparar e publicar", url_path="publicar", permissions=["repair"])
    def publish(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Old and new prices side by side; the button below freezes the version."""
        version = get_object_or_404(PriceVersion.objects.select_related("book", "exchange_rate"), pk=object_id)
        current = pricebooks.version_in_force(book=version.book)
        form = PublishForm(posted(request))
        dress(form)
        if request.method == "POST" and form.is_valid():
            try:
                pricebooks.publish_version(version, by=who(request), effective_at=form.cleaned_data["effective_at"])
            except TokiaError as refusal:
                form.add_error(None, refusal.message)
            else:
                self.log_change(request, version, f"Publicada, vigente desde {version.effective_at:%d/%m/%Y %H:%M} UTC.")
                messages.success(request, f"{version} publicada. Os gateways a seguem em até dois segundos.")
                return redirect(change_url(version))
        changes = pricebooks.diff_versions(current, version)
        order = list(pricebooks.KIND_LABELS)
        shown = [change for change in changes if change.kind != "same" or change.is_below_cost]
        context = {
            **self.admin_site.each_context(request), "title": f"Publicar {version}", "opts": self.opts, "form": form,
            "version": version, "current": current, "shown": sorted(shown, key=lambda change: order.index(change.kind)),
            "same": [change for change in changes if change not in shown],
            "counts": [(pricebooks.KIND_LABELS[kind], sum(change.kind == kind for change in changes)) for kind in order],
            "back": change_url(version), "is_draft": _is_draft(version),
        }  # fmt: skip
        return render(request, "admin/billing/publish.html", context)


@admin.register(PriceBook)
class PriceBookAdmin(LookOnly):
    list_display = ("name", "is_default", "versions_link")

    @display(description="versões")
    def versions_link(self, book: PriceBook) -> SafeString | str:
        return to_list("ver versões", "billing_priceversion", book__id__exact=book.pk)


@admin.register(ProviderCost)
class ProviderCostAdmin(LookOnly):
    list_display = ("provider_name", "upstream_model", "unit", "dollars", "source", "source_version", "fetched_at")
    list_filter = ("provider_name", "unit", "source", "source_version")
    search_fields = ("upstream_model", "provider_name")
    ordering = ("provider_name", "upstream_model", "unit", "-id")

    @display(description="US$", ordering="usd")
    def dollars(self, cost: ProviderCost) -> str:
        return f"{cost.usd.normalize():f}".replace(".", ",") + tell_per(cost.unit, cost.per_units)


@admin.register(ExchangeRate)
class ExchangeRateAdmin(ModelAdmin):
    """PTAX, fetched each hour; a rate may be typed, and holds until a newer quotation."""

    list_display = ("rate", "source", "quoted_at", "fetched_at", "age")
    list_filter = ("source",)
    ordering = ("-quoted_at",)
    fields = ("rate",)
    actions_list = ("fetch",)

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return bool(self.has_add_permission(request))

    def save_model(self, request: HttpRequest, obj: ExchangeRate, form: Any, change: bool) -> None:
        typed = exchange.enter_rate(rate=form.cleaned_data["rate"], by=who(request))
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


class TierForm(forms.ModelForm):  # type: ignore[type-arg]
    above_nanos = ReaisField(label="Acima de (R$ por mês)")

    class Meta:
        model = VolumeTier
        fields = ("above_nanos", "discount_bps")
        labels = {"discount_bps": "Desconto (centésimos de %: 500 = 5 %)"}


class TierInline(TabularInline):
    model = VolumeTier
    form = TierForm
    extra = 0
    hide_title = True
    ordering = ("above_nanos",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.published_at is None) and bool(super().has_change_permission(request, obj))

    has_delete_permission = has_add_permission = has_change_permission


@admin.register(VolumePlan)
class VolumePlanAdmin(ModelAdmin):
    """Discounts by volume. A published plan never changes: make another one."""

    list_display = ("name", "state", "tiers_text", "published_at")
    ordering = ("-id",)
    fields = ("name", "state", "published_at")
    readonly_fields = ("state", "published_at")
    inlines = (TierInline,)
    actions_detail = ("publish",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.published_at is None) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is not None and obj.published_at is None and bool(super().has_delete_permission(request, obj))

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return may_change(request, self)

    @display(description="situação", label={"Em vigor": "success", "Rascunho": "warning", "Publicado": "info"})
    def state(self, plan: VolumePlan) -> str:
        return "Em vigor" if plan.is_default else "Publicado" if plan.published_at else "Rascunho"

    @display(description="faixas")
    def tiers_text(self, plan: VolumePlan) -> str:
        return " · ".join(
            f"{Decimal(tier.discount_bps) / 100:g} % acima de R$ {tier.above_nanos // BRL:,}".replace(",", ".")
            for tier in plan.tiers.all()
        )

    @action(description="Publicar", url_path="publicar", permissions=["repair"])
    def publish(self, request: HttpRequest, object_id: str) -> HttpResponse:
        plan = get_object_or_404(VolumePlan, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            volume.publish_plan(plan)
            return f"{plan} está em vigor para todos. Um mês já começado segue com o plano da primeira chamada."

        return act_page(
            self, request, plan, title=f"Publicar {plan}", button="Publicar", form=forms.Form(posted(request)),
            act=act, facts=[("Faixas", self.tiers_text(plan) or "nenhuma"), ("Em vigor hoje", volume.plan_in_force() or "nenhum")],
        )  # fmt: skip
