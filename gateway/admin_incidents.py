"""Incidents, as staff open, tell and resolve them. What customers have read is never edited: one more line says it better."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from unfold.decorators import action, display

from billing.admin_parts import LookOnly, LookOnlyInline, act_page, dress, posted, who
from gateway import incidents
from gateway.models import Incident, IncidentUpdate
from tokia import clock
from tokia.errors import TokiaError

# mypy: disable-error-code="misc,untyped-decorator"
MINUTE_FORMAT = "%Y-%m-%dT%H:%M"  # what a datetime-local field sends


class OpenForm(forms.Form):
    title = forms.CharField(
        label="Título", max_length=120, help_text="O que o cliente percebe, em uma frase: “Anthropic com lentidão”."
    )
    impact = forms.ChoiceField(label="Impacto", choices=Incident.Impact.choices)
    affects = forms.CharField(
        label="O que é afetado", max_length=120, required=False, help_text="Por exemplo: modelos da Anthropic, recargas por PIX."
    )
    text = forms.CharField(
        label="O que dizer", max_length=600, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="O que acontece, se algo foi cobrado errado, e o que estamos fazendo.",
    )  # fmt: skip
    starts_at = forms.DateTimeField(
        label="Começou em", required=False, input_formats=[MINUTE_FORMAT], help_text="Vazio: agora. Horário de Brasília.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=MINUTE_FORMAT),
    )  # fmt: skip
    ends_at = forms.DateTimeField(
        label="Fim previsto", required=False, input_formats=[MINUTE_FORMAT], help_text="Só de manutenção programada.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=MINUTE_FORMAT),
    )  # fmt: skip


class UpdateForm(forms.Form):
    status = forms.ChoiceField(
        label="Situação", choices=[choice for choice in Incident.Status.choices if choice[0] != Incident.Status.RESOLVED]
    )
    text = forms.CharField(label="O que dizer", max_length=600, widget=forms.Textarea(attrs={"rows": 3}))


class ResolveForm(forms.Form):
    text = forms.CharField(
        label="O que dizer", max_length=600, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="O que aconteceu, desde quando está normal, e o que muda para não acontecer de novo.",
    )  # fmt: skip


class UpdateInline(LookOnlyInline):
    model = IncidentUpdate
    fields = readonly_fields = ("created_at", "status", "text", "written_by")
    ordering = ("-id",)
    verbose_name_plural = "o que foi dito"
    show_change_link = False


@admin.register(Incident)
class IncidentAdmin(LookOnly):
    list_display = ("title", "state", "impact", "affects", "starts_at", "lasted", "opened_by")
    list_filter = ("status", "impact")
    search_fields = ("title", "affects")
    ordering = ("-starts_at",)
    fields = readonly_fields = (
        "title", "state", "impact", "affects", "starts_at", "ends_at", "resolved_at", "lasted", "opened_by",
    )  # fmt: skip
    inlines = (UpdateInline,)
    actions_list = ("open_it",)
    actions_detail = ("update_it", "resolve_it")

    def has_open_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return bool(request.user.has_perm("gateway.add_incident"))

    def has_live_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Only what is not resolved is told of."""
        return self.has_repair_permission(request) and Incident.objects.filter(pk=object_id, resolved_at=None).exists()

    @display(
        description="situação",
        label={"Investigando": "danger", "Identificado": "warning", "Monitorando": "info", "Resolvido": "success"},
    )
    def state(self, incident: Incident) -> str:
        return str(incident.get_status_display())

    @display(description="durou")
    def lasted(self, incident: Incident) -> str:
        end = incident.resolved_at or clock.now()
        minutes = max(0, int((end - incident.starts_at) / dt.timedelta(minutes=1)))
        told = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
        return told if incident.resolved_at else f"{told}, em aberto"

    @action(description="Abrir incidente", url_path="abrir", permissions=["open"])
    def open_it(self, request: HttpRequest) -> HttpResponse:
        form = OpenForm(posted(request))
        dress(form)
        if request.method == "POST" and form.is_valid():
            try:
                incident = incidents.open_incident(by=who(request), **form.cleaned_data)
            except TokiaError as refusal:
                form.add_error(None, refusal.message)
            else:
                self.log_addition(request, incident, f"Incidente aberto: {incident}")
                self.message_user(request, "Incidente aberto. A página de status e o painel mostram em até um minuto.")
                return redirect(reverse("admin:gateway_incident_change", args=[incident.pk]))
        context = {
            **self.admin_site.each_context(request), "title": "Abrir incidente", "form": form, "button": "Abrir incidente",
            "back": reverse("admin:gateway_incident_changelist"), "opts": self.opts,
            "facts": [("Quem lê", "todos, em /status/; clientes, em um aviso no painel")],
        }  # fmt: skip
        return render(request, "admin/billing/act.html", context)

    @action(description="Atualizar", url_path="atualizar", permissions=["live"])
    def update_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        incident = get_object_or_404(Incident, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            incidents.update_incident(incident, status=data["status"], text=data["text"], by=who(request))
            return "Atualização publicada."

        form = UpdateForm(posted(request), initial={"status": incident.status})
        return act_page(
            self, request, incident, title=f"Atualizar: {incident}", button="Publicar atualização", form=form, act=act,
            facts=[("Situação agora", incident.get_status_display())],
        )  # fmt: skip

    @action(description="Resolver", url_path="resolver", permissions=["live"])
    def resolve_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        incident = get_object_or_404(Incident, pk=object_id)

        def act(data: dict[str, Any]) -> str:
            incidents.update_incident(incident, status=Incident.Status.RESOLVED, text=data["text"], by=who(request))
            return "Incidente resolvido."

        return act_page(
            self, request, incident, title=f"Resolver: {incident}", button="Resolver incidente",
            form=ResolveForm(posted(request)), act=act, facts=[("Situação agora", incident.get_status_display())],
        )  # fmt: skip
