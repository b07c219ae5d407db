"""Discounts by volume: plans from draft to frozen, and the contracts that name them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from billing import contracts, price_margins, volume
from billing.admin_forms import ContractForm, EndContractForm, ReaisField
from billing.admin_parts import LookOnly, act_page, change_url, dress, may_change, posted, who
from billing.models import Contract, VolumePlan, VolumeTier
from tokia.clock import Month
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"
PLAN_LABELS = {"Em vigor": "success", "Rascunho": "warning", "Publicado": "info", "Para contratos": "info"}
CONTRACT_LABELS = {"Em vigor": "success", "Combinado": "info", "Terminado": "warning", "Cancelado": "warning"}


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


def warn_of_losses(request: HttpRequest) -> None:
    """A discount may take prices below their cost; that is agreed on knowingly, or taken back."""
    losing = price_margins.sold_below_cost_at_discount()
    if losing:
        names = ", ".join(dict.fromkeys(line.route_name for line in losing[:60]))
        messages.warning(request, f"No desconto máximo, {len(losing)} preços em vigor ficam abaixo do custo: {names}.")


@admin.register(VolumePlan)
class VolumePlanAdmin(ModelAdmin):
    """A published plan never changes: make another one. One with an organization is for its contracts alone."""

    list_display = ("name", "state", "organization", "tiers_text", "published_at")
    list_select_related = ("organization",)
    ordering = ("-id",)
    fields = ("name", "organization", "state", "published_at")
    readonly_fields = ("state", "published_at")
    autocomplete_fields = ("organization",)
    inlines = (TierInline,)
    actions_detail = ("publish", "freeze_it")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.published_at is None) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is not None and obj.published_at is None and bool(super().has_delete_permission(request, obj))

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return may_change(request, self)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        plan = VolumePlan.objects.filter(pk=object_id).first()
        return list(super().get_actions_detail(request, object_id)) if plan and plan.published_at is None else []

    @display(description="situação", label=PLAN_LABELS)
    def state(self, plan: VolumePlan) -> str:
        if plan.published_at is None:
            return "Rascunho"
        return "Em vigor" if plan.is_default else "Publicado" if plan.organization_id is None else "Para contratos"

    @display(description="faixas")
    def tiers_text(self, plan: VolumePlan) -> str:
        return volume.tell_tiers(plan)

    @action(description="Publicar para todos", url_path="publicar", permissions=["repair"])
    def publish(self, request: HttpRequest, object_id: str) -> HttpResponse:
        plan = get_object_or_404(VolumePlan, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            volume.publish_plan(plan)
            warn_of_losses(request)
            return f"{plan} está em vigor para todos. Um mês já começado segue com o plano da primeira chamada."

        return act_page(
            self, request, plan, title=f"Publicar {plan}", button="Publicar", form=forms.Form(posted(request)), act=act,
            facts=[("Faixas", volume.tell_tiers(plan) or "nenhuma"), ("Em vigor hoje", volume.plan_in_force() or "nenhum")],
        )  # fmt: skip

    @action(description="Congelar para contratos", url_path="congelar", permissions=["repair"])
    def freeze_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        plan = get_object_or_404(VolumePlan, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            volume.freeze_plan(plan)
            return f"{plan} não muda mais e pode entrar em contratos."

        return act_page(
            self, request, plan, title=f"Congelar {plan}", button="Congelar", form=forms.Form(posted(request)), act=act,
            facts=[("Faixas", volume.tell_tiers(plan) or "nenhuma"), ("Empresa", plan.organization or "qualquer uma")],
        )  # fmt: skip


@admin.register(Contract)
class ContractAdmin(LookOnly):
    list_display = ("organization", "plan", "months", "state", "agreed_by", "created_at")
    list_select_related = ("organization", "plan")
    search_fields = ("organization__name", "plan__name", "note")
    ordering = ("-id",)
    fields = (
        "organization", "plan", "tiers_text", "months", "state", "note", "agreed_by", "created_at", "ended_by", "ended_at",
        "end_reason",
    )  # fmt: skip
    readonly_fields = ("tiers_text", "months", "state")
    actions_list = ("agree",)
    actions_detail = ("end",)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        contract = Contract.objects.filter(pk=object_id).first()
        return list(super().get_actions_detail(request, object_id)) if contract and self.state(contract) != "Terminado" else []

    @display(description="meses")
    def months(self, contract: Contract) -> str:
        return contracts.tell_months(contract)

    @display(description="faixas")
    def tiers_text(self, contract: Contract) -> str:
        return volume.tell_tiers(contract.plan)

    @display(description="situação", label=CONTRACT_LABELS)
    def state(self, contract: Contract) -> str:
        month = Month.current().first_on
        if contract.is_cancelled:
            return "Cancelado"
        if contract.last_month is not None and contract.last_month < month:
            return "Terminado"
        return "Combinado" if contract.first_month > month else "Em vigor"

    @action(description="Novo contrato", url_path="novo", permissions=["repair"])
    def agree(self, request: HttpRequest) -> HttpResponse:
        form = ContractForm(posted(request), initial={"first_month": f"{Month.current().next().first_on:%Y-%m}"})
        dress(form)
        if request.method == "POST" and form.is_valid():
            data = form.cleaned_data
            try:
                contract = contracts.agree_contract(
                    data["organization"], plan=data["plan"], first_month=data["first_month"], last_month=data["last_month"],
                    note=data["note"], by=who(request),
                )  # fmt: skip
            except TokiaError as refusal:
                form.add_error(None, refusal.message)
            else:
                self.log_addition(request, contract, f"Contrato acertado: {contract}, {contracts.tell_months(contract)}.")
                messages.success(request, f"{contract}, {contracts.tell_months(contract)}.")
                warn_of_losses(request)
                return redirect(change_url(contract))
        context = {
            **self.admin_site.each_context(request), "title": "Novo contrato de volume", "form": form, "button": "Acertar contrato",
            "back": reverse("admin:billing_contract_changelist"), "opts": self.opts, "facts": [],
        }  # fmt: skip
        return render(request, "admin/billing/act.html", context)

    @action(description="Encerrar", url_path="encerrar", permissions=["repair"])
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        contract = get_object_or_404(Contract.objects.select_related("organization", "plan"), pk=object_id)

        def act(data: dict[str, Any]) -> str:
            contracts.end_contract(contract, last_month=data["last_month"], reason=data["reason"], by=who(request))
            return "Cancelado antes de começar." if contract.is_cancelled else f"Vale {contracts.tell_months(contract)}."

        return act_page(
            self, request, contract, title=f"Encerrar {contract}", button="Encerrar", form=EndContractForm(posted(request)),
            act=act, facts=[("Meses", contracts.tell_months(contract)), ("Faixas", volume.tell_tiers(contract.plan))],
        )  # fmt: skip
