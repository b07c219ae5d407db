"""Rules, fallbacks and what callers think of answers, in the admin; the simulator is `gateway.admin_explain`.

All of it is in force in every gateway within two seconds of being saved.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action

from billing import pricebooks
from billing.admin_parts import LookOnly
from gateway.admin_explain import explain_page
from gateway.models import FailureKind, Fallback, Feedback, Route, RoutingRule, RuleStep


# ── Rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class StepFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """A rule that would never answer, or a step that would never be reached, is refused."""

    def clean(self) -> None:
        super().clean()
        steps = [form.cleaned_data for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        is_auto = self.instance.policy == RoutingRule.Policy.AUTO
        if not is_auto and not steps and self.instance.is_active:
            raise forms.ValidationError("Uma regra ativa precisa de ao menos um modelo.")
        positions = [step.get("position") for step in steps]
        if len(set(positions)) != len(positions):
            raise forms.ValidationError("Dois passos têm a mesma ordem.")
        for step in steps:
            budget, route = step.get("budget_below_ms"), step.get("route")
            if budget == 0:
                raise forms.ValidationError(
                    "Um orçamento de latência abaixo de 0 ms nunca vale. Deixe em branco para sempre valer."
                )
            if route is not None and route.surface != Route.Surface.CHAT:
                raise forms.ValidationError(f"{route.name} não é um modelo de conversa.")


class StepInline(TabularInline):  # type: ignore[misc]
    model = RuleStep
    formset = StepFormSet
    fields = ["position", "route", "budget_below_ms"]
    autocomplete_fields = ["route"]
    extra = 0
    hide_title = True


@admin.register(RoutingRule)
class RoutingRuleAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["name", "display_name", "policy", "shown_steps", "is_active"]
    list_filter = ["policy", "is_active"]
    search_fields = ["name", "display_name", "steps__route__name"]
    inlines = [StepInline]
    fieldsets = [(None, {"fields": ["name", "display_name", "description", "policy", "is_active"]})]
    actions_list = ["explain"]

    @admin.display(description="modelos, em ordem")
    def shown_steps(self, rule: RoutingRule) -> str:
        return " → ".join(
            f"{step.route.name}{f' (< {step.budget_below_ms} ms)' if step.budget_below_ms else ''}"
            for step in rule.steps.select_related("route")
        )

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        warn_of(request, [step.route for step in form.instance.steps.select_related("route")])

    @action(description="Simulador de rotas", url_path="explicar", permissions=["view"])  # type: ignore[untyped-decorator]
    def explain(self, request: HttpRequest) -> HttpResponse:
        return explain_page(self, request)


# ── Fallbacks ────────────────────────────────────────────────────────────────────────────────────────────────────────
class FallbackForm(forms.ModelForm):  # type: ignore[type-arg]
    kinds = forms.MultipleChoiceField(
        label="quando", choices=FailureKind.choices, widget=forms.CheckboxSelectMultiple, initial=FailureKind.values
    )

    class Meta:
        model = Fallback
        fields = ["position", "target", "kinds"]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        target, route = given.get("target"), getattr(self.instance, "route", None)
        if target is not None and route is not None and route.pk is not None:
            if target.pk == route.pk:
                raise forms.ValidationError("Um modelo não é substituto de si mesmo.")
            if target.surface != route.surface:
                raise forms.ValidationError("O substituto atende em outro endereço.")
        return given


class FallbackInline(TabularInline):  # type: ignore[misc]
    model = Fallback
    fk_name = "route"
    form = FallbackForm
    fields = ["position", "target", "kinds"]
    autocomplete_fields = ["target"]
    extra = 0
    hide_title = True
    verbose_name_plural = "substitutos"


def warn_of(request: HttpRequest, routes: list[Route]) -> None:
    """What is saved all the same, since it may come to be served: a rule or a fallback passes over it until then."""
    prices = pricebooks.price_lists()
    for route in routes:
        if not route.is_active:
            messages.warning(request, f"{route.name} está inativo: será pulado.")
        elif route.name not in prices:
            messages.warning(request, f"{route.name} está sem preço em vigor: será pulado.")
        elif not route.deployments.filter(is_active=True, provider__is_active=True, provider__credentials__is_active=True).exists():
            messages.warning(request, f"{route.name} não tem provedor ativo com chave: será pulado.")


# ── Feedback ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@admin.register(Feedback)
class FeedbackAdmin(LookOnly):
    """That somebody was pleased or not. The comment is the customer's: it is never opened here."""

    list_display = ["call_id", "organization", "score", "created_at"]
    list_filter = ["score", "created_at"]
    list_select_related = ["organization"]
    search_fields = ["call_id", "organization__name"]
    fields = ["call_id", "organization", "score", "created_at"]
    readonly_fields = fields
