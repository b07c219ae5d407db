"""Experiments in the admin: the platform's own are drafted, started and ended here; customers' are looked at, and ended in need.

A platform's experiment splits the calls of every organization without an experiment of its own on that model.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action

from billing.admin_parts import act_page, may_change, posted
from gateway import experiments
from gateway.experiment_results import results_of
from gateway.experiment_verdicts import verdicts
from gateway.experiments import ArmDraft, ExperimentRefused
from gateway.models import Experiment, ExperimentArm


class ExperimentForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Experiment
        fields = ["name", "model"]
        help_texts = {"model": "De todas as empresas sem experimento próprio nele. Depois de salvar, confira e use “Iniciar”."}

    def clean_model(self) -> str:
        model = str(self.cleaned_data["model"]).strip()
        try:
            experiments.check_model(model)
        except ExperimentRefused as refusal:
            raise forms.ValidationError(refusal.message) from refusal
        return model


class ArmFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    def clean(self) -> None:
        super().clean()
        rows = [form.cleaned_data for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        if any(form.errors for form in self.forms):
            return
        try:
            experiments.check_arms([ArmDraft(row["route"].name, row["weight"], row["label"].strip()) for row in rows])
        except ExperimentRefused as refusal:
            raise forms.ValidationError(refusal.message) from refusal


class ArmInline(TabularInline):  # type: ignore[misc]
    model = ExperimentArm
    formset = ArmFormSet
    fields = ["label", "route", "weight"]
    autocomplete_fields = ["route"]
    extra = 2
    max_num = experiments.ARMS_MAX
    hide_title = True
    verbose_name, verbose_name_plural = "lado", "lados"

    def get_extra(self, request: HttpRequest, obj: Experiment | None = None, **kwargs: Any) -> int:
        return 0 if obj is not None else self.extra

    def has_add_permission(self, request: HttpRequest, obj: Experiment | None = None) -> bool:
        return is_open(obj) and bool(super().has_add_permission(request, obj))

    def has_change_permission(self, request: HttpRequest, obj: Experiment | None = None) -> bool:
        return is_open(obj) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Experiment | None = None) -> bool:
        return is_open(obj) and bool(super().has_delete_permission(request, obj))


def is_open(experiment: Experiment | None) -> bool:
    """The platform's, and nothing has begun."""
    return experiment is None or (experiment.organization_id is None and experiment.status == Experiment.Status.DRAFT)


def find(object_id: object) -> Experiment | None:
    """Of an address, as it was typed."""
    number = str(object_id)
    return Experiment.everywhere.filter(pk=int(number)).first() if number.isascii() and number.isdecimal() else None


@admin.register(Experiment)
class ExperimentAdmin(ModelAdmin):  # type: ignore[misc]
    form = ExperimentForm
    list_display = ["name", "model", "owner", "status", "shown_arms", "started_at", "ended_at"]
    list_filter = ["status", ("organization", admin.EmptyFieldListFilter), "started_at"]
    list_select_related = ["organization"]
    search_fields = ["name", "model", "organization__name", "organization__tax_id"]
    readonly_fields = ["owner", "status", "created_by", "started_at", "ended_at", "results"]
    inlines = [ArmInline]
    list_per_page = 50
    show_full_result_count = False
    actions_detail = ["start", "end"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Experiment]:
        found: QuerySet[Experiment] = super().get_queryset(request)
        return found.prefetch_related("arms__route")

    def get_fields(self, request: HttpRequest, obj: Experiment | None = None) -> list[str]:
        seen = ["name", "model"]
        if obj is not None:
            seen += ["owner", "status", "created_by"]
        if obj is not None and obj.started_at is not None:
            seen += ["started_at", "ended_at", "results"]
        return seen

    def has_change_permission(self, request: HttpRequest, obj: Experiment | None = None) -> bool:
        return is_open(obj) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Experiment | None = None) -> bool:
        return obj is not None and is_open(obj) and bool(super().has_delete_permission(request, obj))

    def has_start_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        found = find(object_id)
        return may_change(request, self) and found is not None and is_open(found)

    def has_end_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        found = find(object_id)
        return may_change(request, self) and found is not None and found.status == Experiment.Status.RUNNING

    def save_model(self, request: HttpRequest, obj: Experiment, form: Any, change: bool) -> None:
        if not change:
            obj.created_by_id = request.user.pk
        super().save_model(request, obj, form, change)

    @admin.display(description="de quem", ordering="organization")
    def owner(self, experiment: Experiment) -> str:
        return str(experiment.organization) if experiment.organization_id else "Plataforma"

    @admin.display(description="lados")
    def shown_arms(self, experiment: Experiment) -> str:
        return " · ".join(f"{arm.label}: {arm.route.name} ({arm.weight})" for arm in experiment.arms.all())

    @admin.display(description="resultados")
    def results(self, experiment: Experiment) -> SafeString | str:
        found = results_of(experiment)
        if found is None:
            return "Chamadas demais para somar agora."
        told = verdicts(found.arms)
        return mark_safe(render_to_string("admin/gateway/experiment_results.html", {"results": found, "told": told}))  # noqa: S308

    @action(description="Iniciar", url_path="iniciar", permissions=["start"])  # type: ignore[untyped-decorator]
    def start(self, request: HttpRequest, object_id: str) -> HttpResponse:
        experiment = get_object_or_404(Experiment.everywhere, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            experiments.start_experiment(experiment)
            return "Experimento iniciado. Vale em todos os processos em até 2 segundos."

        return self._act(request, experiment, title="Iniciar o experimento", button="Iniciar", act=act)

    @action(description="Encerrar", url_path="encerrar", permissions=["end"])  # type: ignore[untyped-decorator]
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        experiment = get_object_or_404(Experiment.everywhere, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            experiments.end_experiment(experiment)
            return "Experimento encerrado. Os resultados ficam."

        return self._act(request, experiment, title="Encerrar o experimento", button="Encerrar", act=act)

    def _act(self, request: HttpRequest, experiment: Experiment, *, title: str, button: str, act: Any) -> HttpResponse:
        facts = [("De quem", self.owner(experiment)), ("Quando pedem", experiment.model), ("Lados", self.shown_arms(experiment))]
        form = forms.Form(posted(request))
        return act_page(self, request, experiment, title=title, button=button, form=form, act=act, facts=facts)
