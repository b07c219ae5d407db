"""Câmbio e encargos: the dated, sourced numbers of the public price comparison, and what they make of some models today."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminURLInputWidget

from billing import comparison_rates
from billing.admin_parts import may_change, who
from billing.comparison_preview import preview
from billing.models import ComparisonParameter
from tokia import clock
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"
STATES = {"Em vigor": "success", "Conferir a fonte": "danger", "Começa depois": "info", "Histórico": "warning"}


class ParameterForm(forms.ModelForm):  # type: ignore[type-arg]
    source_url = forms.URLField(
        label="Endereço da fonte", max_length=300, required=False, assume_scheme="https", widget=UnfoldAdminURLInputWidget
    )

    class Meta:
        model = ComparisonParameter
        fields = ("name", "value", "valid_from", "checked_on", "source", "source_url")
        help_texts = {
            "value": "Em % ou, nos valores mensais e mínimos, em US$.",
            "valid_from": "Um dia futuro espera por ele; o valor de antes fica no histórico.",
            "checked_on": "Quando alguém leu a fonte pela última vez.",
            "source": "Como o visitante a lê: a lei, a página ou a tabela.",
        }

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                comparison_rates.check_parameter(
                    name=given["name"], value=given["value"], source=given["source"], checked_on=given["checked_on"]
                )
            except TokiaError as refusal:
                raise forms.ValidationError(refusal.message) from refusal
        return given


@admin.register(ComparisonParameter)
class ComparisonParameterAdmin(ModelAdmin):
    """A number never changes: another one is entered from a day on."""

    form = ParameterForm
    list_display = ("name", "told", "valid_from", "checked_on", "state", "where_from", "entered_by", "entered_at")
    list_filter = ("name",)
    list_per_page = 50
    list_before_template = "admin/billing/comparison_preview.html"
    ordering = ("name", "-valid_from", "-id")
    actions = ("look_again",)
    actions_on_top = True

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return bool(self.has_add_permission(request)) or may_change(request, self)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        today = clock.today_in_brazil()
        initial: dict[str, Any] = {"valid_from": today, "checked_on": today}
        return {**initial, **super().get_changeform_initial_data(request)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[ComparisonParameter]:
        alike = ComparisonParameter.objects.filter(name=OuterRef("name"), valid_from__lte=clock.today_in_brazil())
        newest = Subquery(alike.order_by("-valid_from", "-id").values("pk")[:1])
        return cast("QuerySet[ComparisonParameter]", super().get_queryset(request).annotate(newest=newest))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under what needs a person, and what the numbers make of some models."""
        rates = comparison_rates.current_rates()
        context = {
            **(extra_context or {}),
            "title": "Câmbio e encargos",
            "rates": rates,
            "old": comparison_rates.old_parameters(),
            "missing": comparison_rates.missing_parameters(),
            "sample": preview(rates),
            "rate_days": settings.EXCHANGE_RATE_MAX_AGE_DAYS,
        }
        return cast(HttpResponse, super().changelist_view(request, context))

    def save_model(self, request: HttpRequest, obj: ComparisonParameter, form: Any, change: bool) -> None:
        given = form.cleaned_data
        entered = comparison_rates.enter_parameter(
            name=given["name"], value=given["value"], valid_from=given["valid_from"], source=given["source"],
            source_url=given["source_url"], by=who(request), checked_on=given["checked_on"],
        )  # fmt: skip
        obj.pk, obj.unit, obj.entered_by = entered.pk, entered.unit, entered.entered_by

    @display(description="valor", ordering="value")
    def told(self, parameter: ComparisonParameter) -> str:
        return parameter.told

    @display(description="fonte")
    def where_from(self, parameter: ComparisonParameter) -> SafeString | str:
        if not parameter.source_url:
            return parameter.source
        return format_html(
            '<a class="text-primary-600 underline" href="{}" rel="noopener">{}</a>', parameter.source_url, parameter.source
        )

    @display(description="situação", label=STATES)
    def state(self, parameter: ComparisonParameter) -> str:
        if parameter.pk == getattr(parameter, "newest", None):
            return "Conferir a fonte" if comparison_rates.is_old(parameter) else "Em vigor"
        return "Começa depois" if parameter.valid_from > clock.today_in_brazil() else "Histórico"

    @action(description="Conferi a fonte hoje: continua igual", permissions=["repair"])
    def look_again(self, request: HttpRequest, chosen: QuerySet[ComparisonParameter]) -> None:
        """Each of those in force again with today's look; what is history stays history."""
        done = comparison_rates.look_again([row.pk for row in chosen], by=who(request))
        if done:
            messages.success(
                request, f"{len(done)} fontes conferidas hoje: {', '.join(str(row.get_name_display()) for row in done)}."
            )
        else:
            messages.warning(request, "Escolha os que estão em vigor: o histórico não se confere de novo.")
