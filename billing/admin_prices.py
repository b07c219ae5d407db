"""Prices: costs as imported, the exchange rate, versions from draft to published."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from accounts.models import User
from billing import admin_price_grid, approvals, costs, price_changes, price_margins, pricebooks, rate_watch
from billing.admin_forms import PublishForm, ReaisField
from billing.admin_parts import LookOnly, change_url, dress, full, may_change, posted, to_list, who
from billing.models import ExchangeRate, Price, PriceApproval, PriceBook, PriceVersion, ProviderCost
from billing.units import tell_per
from tokia import clock
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"


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
        cost = price_changes.cost_of_line(price, rate.rate if rate else None)
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
    fields = (
        "book", "number", "state", "note", "exchange_rate", "rate_policy", "drift_alarm_bps", "drift", "authors", "effective_at",
        "published_at", "published_by", "created_at",
    )  # fmt: skip
    readonly_fields = (
        "book", "number", "state", "exchange_rate", "drift", "authors", "effective_at", "published_at", "published_by",
        "created_at",
    )  # fmt: skip
    inlines = (PriceInline,)
    actions_list = ("choose_draft", "new_draft", "import_costs")
    actions_detail = ("grid", "recalculate", "publish")

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
        if isinstance(request.user, User):
            pricebooks.add_author(form.instance, user=request.user)
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

    @display(description="câmbio de hoje")
    def drift(self, version: PriceVersion) -> str:
        newest = ExchangeRate.objects.order_by("-quoted_at", "-id").first()
        if newest is None or version.exchange_rate is None:
            return "—"
        drift = Decimal(rate_watch.drift_bps(version, newest.rate)) / 100
        return f"{newest}, {drift:+.2f} % do câmbio desta versão".replace(".", ",")

    @display(description="desenhada ou mudada por")
    def authors(self, version: PriceVersion) -> str:
        return ", ".join(User.objects.filter(pk__in=version.author_ids).values_list("email", flat=True)) or "—"

    @display(description="preços", ordering="line_count")
    def lines(self, version: PriceVersion) -> int:
        return int(version.line_count)  # type: ignore[attr-defined]

    @action(description="Editar preços em grade", url_path="grade", permissions=["repair"])
    def choose_draft(self, request: HttpRequest) -> HttpResponse:
        return admin_price_grid.choose_draft(self, request)

    @action(description="Editar em grade", url_path="grade", permissions=["repair"])
    def grid(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return admin_price_grid.edit_grid(self, request, object_id)

    @action(description="Novo rascunho da versão em vigor", url_path="novo-rascunho", permissions=["repair"])
    def new_draft(self, request: HttpRequest) -> HttpResponse:
        try:
            draft = pricebooks.draft_from_current(note=f"Rascunho de {who(request)}", by=cast(User, request.user))
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
        """Old and new prices side by side, every margin; below, what freezes the version or asks another administrator for it."""
        version = get_object_or_404(PriceVersion.objects.select_related("book", "exchange_rate"), pk=object_id)
        check = pricebooks.check_publication(version)
        form = PublishForm(posted(request), initial={"effective_at": self._soonest(check)})
        dress(form)
        if request.method == "POST" and form.is_valid():
            try:
                answer = self._ask(request, version, form) if "ask" in request.POST else self._publish(request, version, form)
            except TokiaError as refusal:
                form.add_error(None, refusal.message)
            else:
                return answer
        return render(request, "admin/billing/publish.html", self._publish_context(request, version, check, form))

    def _soonest(self, check: pricebooks.PublicationCheck) -> dt.datetime | None:
        """The first midnight after the notice period, where something gets dearer."""
        if not price_changes.dearer(check.changes):
            return None
        day = clock.today_in_brazil() + dt.timedelta(days=settings.PRICE_NOTICE_DAYS + 1)
        return dt.datetime.combine(day, dt.time(), clock.SAO_PAULO)

    def _publish(self, request: HttpRequest, version: PriceVersion, form: PublishForm) -> HttpResponse:
        pricebooks.publish_version(version, by=who(request), effective_at=form.cleaned_data["effective_at"])
        self.log_change(request, version, f"Publicada, vigente desde {version.effective_at:%d/%m/%Y %H:%M} UTC.")
        notices = version.notices.count()
        told = f" Empresas avisadas por e-mail: {notices}." if notices else ""
        messages.success(request, f"{version} publicada. Os gateways a seguem em até dois segundos.{told}")
        return redirect(change_url(version))

    def _ask(self, request: HttpRequest, version: PriceVersion, form: PublishForm) -> HttpResponse:
        data = form.cleaned_data
        approval = approvals.ask_approval(
            version, by=cast(User, request.user), reason=data["reason"], effective_at=data["effective_at"],
            is_emergency=data["is_emergency"],
        )  # fmt: skip
        self.log_change(request, version, f"Aprovação pedida. Motivo: {approval.reason}")
        messages.success(request, "Pedido feito. Outro administrador precisa aprovar.")
        return redirect(change_url(approval))

    def _publish_context(
        self, request: HttpRequest, version: PriceVersion, check: pricebooks.PublicationCheck, form: PublishForm
    ) -> dict[str, Any]:
        changes = price_changes.diff_versions(check.current, version)
        order = list(price_changes.KIND_LABELS)
        shown = [change for change in changes if change.kind != "same" or change.is_below_cost]
        judged = price_margins.judge_version(version)
        return {
            **self.admin_site.each_context(request), "title": f"Publicar {version}", "opts": self.opts, "form": form,
            "version": version, "current": check.current, "check": check,
            "shown": sorted(shown, key=lambda change: order.index(change.kind)),
            "same": [change for change in changes if change not in shown],
            "counts": [(price_changes.KIND_LABELS[kind], sum(change.kind == kind for change in changes)) for kind in order],
            "stopped": check.stopped, "told": [line for line in judged if line.flags and not line.is_stopping],
            "fine": [line for line in judged if not line.flags], "terms": price_margins.hardest_terms(),
            "landed_percent": price_margins.landed_percent(clock.today_in_brazil()),
            "least_margin": settings.PRICE_MARGIN_MIN_PERCENT,
            "notice_days": settings.PRICE_NOTICE_DAYS, "has_dearer": bool(price_changes.dearer(check.changes)),
            "asked": PriceApproval.objects.filter(version=version, status=PriceApproval.Status.ASKED).first(),
            "back": change_url(version), "is_draft": _is_draft(version),
        }  # fmt: skip


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
