"""Providers, their keys, models and routes. A key goes in and never comes out again: only its last four characters are shown."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Field, Func, IntegerField, Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline

from billing.admin_parts import LookOnly
from gateway import admin_experiments as admin_experiments  # registers what it shows
from gateway import admin_incidents as admin_incidents
from gateway.admin_credentials import CredentialInline
from gateway.admin_health import HealthAdmin
from gateway.admin_routing import FallbackInline, warn_of
from gateway.models import Batch, BatchLine, Deployment, Provider, Route, StoredFile, StoredResponse
from gateway.vitals_reports import VitalsRow


class DeploymentInline(TabularInline):  # type: ignore[misc]
    model = Deployment
    fields = ["route", "provider", "upstream_model", "priority", "weight", "is_active"]
    autocomplete_fields = ["route", "provider"]
    extra = 0
    show_change_link = True


@admin.register(Provider)
class ProviderAdmin(HealthAdmin):
    list_display = [
        "name", "dialect", "circuit", "first_token", "failures", "deployment_count", "has_credential", "data_policy",
        "is_simulated", "is_active",
    ]  # fmt: skip
    list_filter = ["is_active", "is_simulated", "dialect", "trains_on_data", "has_zero_retention"]
    actions = ["open_circuits", "close_circuits"]
    search_fields = ["name", "slug", "base_url"]
    inlines = [CredentialInline, DeploymentInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        found: QuerySet[Provider] = super().get_queryset(request)
        return found.prefetch_related("deployments").annotate(
            active_deployments=Count("deployments", filter=Q(deployments__is_active=True), distinct=True),
            active_credentials=Count("credentials", filter=Q(credentials__is_active=True), distinct=True),
        )

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "base_url":
            kwargs["assume_scheme"] = "https"
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def deployments_of(self, row: Any) -> list[Deployment]:
        return list(row.deployments.all())

    def vitals_of(self, row: Any) -> VitalsRow | None:
        return self._vitals.get((row.slug, ""))

    @admin.display(description="rotas", ordering="active_deployments")
    def deployment_count(self, provider: Any) -> str:
        url = f"{reverse('admin:gateway_deployment_changelist')}?provider__id__exact={provider.pk}"
        return format_html('<a href="{}">{}</a>', url, provider.active_deployments)

    @admin.display(description="dados")
    def data_policy(self, provider: Provider) -> str:
        told = ["pode treinar" if provider.trains_on_data else "", "retenção zero" if provider.has_zero_retention else ""]
        return ", ".join(filter(None, told)) or "—"

    @admin.display(description="com chave", boolean=True, ordering="active_credentials")
    def has_credential(self, provider: Any) -> bool:
        return bool(provider.active_credentials)


@admin.register(Route)
class RouteAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["name", "display_name", "maker", "surface", "context_tokens", "served_by", "is_featured", "is_active"]
    list_filter = ["is_active", "is_featured", "surface", "maker", "deployments__provider"]
    list_editable = ["is_featured", "is_active"]
    search_fields = ["name", "display_name", "maker", "aliases", "deployments__upstream_model"]
    inlines = [DeploymentInline, FallbackInline]
    list_per_page = 50
    fieldsets = [
        (None, {"fields": ["name", "aliases", "display_name", "maker", "surface", "description"]}),
        (
            "Limites",
            {"fields": ["context_tokens", "output_tokens_max", "output_tokens_default", "token_factor_percent"]},
        ),
        ("O que sabe fazer", {"fields": ["capabilities", "is_reasoning"]}),
        ("Vitrine", {"fields": ["is_active", "is_featured"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        found: QuerySet[Route] = super().get_queryset(request)
        return found.prefetch_related("deployments__provider")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        warn_of(request, [fallback.target for fallback in form.instance.fallbacks.select_related("target")])

    @admin.display(description="atendido por")
    def served_by(self, route: Route) -> str:
        slugs = [deployment.provider.slug for deployment in route.deployments.all() if deployment.is_active]
        return ", ".join(slugs) or "ninguém"


@admin.register(Deployment)
class DeploymentAdmin(HealthAdmin):
    list_display = [
        "upstream_model", "route_link", "provider_link", "circuit", "first_token", "failures", "priority", "weight", "is_active",
    ]  # fmt: skip
    actions = ["open_circuits", "close_circuits"]
    list_filter = ["is_active", "provider", "route__surface"]
    list_editable = ["priority", "weight", "is_active"]
    list_select_related = ["route", "provider"]
    search_fields = ["upstream_model", "route__name", "provider__name"]
    autocomplete_fields = ["route", "provider"]
    list_per_page = 50

    def deployments_of(self, row: Any) -> list[Deployment]:
        return [row]

    def vitals_of(self, row: Any) -> VitalsRow | None:
        return self._vitals.get((row.provider.slug, row.route.name))

    @admin.display(description="modelo", ordering="route__name")
    def route_link(self, deployment: Deployment) -> str:
        url = reverse("admin:gateway_route_change", args=[deployment.route_id])
        return format_html('<a href="{}">{}</a>', url, deployment.route.name)

    @admin.display(description="provedor", ordering="provider__name")
    def provider_link(self, deployment: Deployment) -> str:
        url = reverse("admin:gateway_provider_change", args=[deployment.provider_id])
        return format_html('<a href="{}">{}</a>', url, deployment.provider.name)


@admin.register(StoredResponse)
class StoredResponseAdmin(LookOnly):
    """That something is kept, for whom and until when. What it says is the customer's: it is never opened here."""

    list_display = ["__str__", "organization", "route_name", "created_at", "expires_at", "size"]
    list_select_related = ["organization"]
    list_filter = ["created_at", "expires_at"]
    search_fields = ["organization__name", "organization__tax_id", "route_name"]
    fields = ["id", "organization", "route_name", "previous_id", "created_at", "expires_at", "size"]
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredResponse]:
        found: QuerySet[StoredResponse] = super().get_queryset(request)
        sealed = [Func("body", function="octet_length", output_field=IntegerField()),
                  Func("input_items", function="octet_length", output_field=IntegerField())]  # fmt: skip
        return found.defer("body", "input_items").annotate(sealed_bytes=sealed[0] + sealed[1])

    @admin.display(description="tamanho cifrado", ordering="sealed_bytes")
    def size(self, stored: Any) -> str:
        return str(filesizeformat(stored.sealed_bytes))


@admin.register(StoredFile)
class StoredFileAdmin(LookOnly):
    """That a file is kept, for whom and until when. Neither its name nor what is in it is opened here."""

    list_display = ["__str__", "organization", "purpose", "size", "created_at", "expires_at"]
    list_select_related = ["organization"]
    list_filter = ["purpose", "created_at", "expires_at"]
    search_fields = ["organization__name", "organization__tax_id"]
    fields = ["id", "organization", "purpose", "size", "created_at", "expires_at"]
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredFile]:
        found: QuerySet[StoredFile] = super().get_queryset(request)
        return found.defer("name")

    @admin.display(description="tamanho", ordering="bytes")
    def size(self, stored: StoredFile) -> str:
        return str(filesizeformat(stored.bytes))


@admin.register(Batch)
class BatchAdmin(LookOnly):
    """How far a batch is. Its requests and answers are the customer's: they are never opened here."""

    list_display = [
        "__str__",
        "organization",
        "endpoint",
        "status",
        "total",
        "done",
        "with_error",
        "created_at",
        "expires_at",
        "ended_at",
    ]
    list_select_related = ["organization"]
    list_filter = ["status", "endpoint", "created_at"]
    search_fields = ["organization__name", "organization__tax_id"]
    fields = [
        "id", "organization", "api_key", "endpoint", "status", "total", "done", "with_error", "created_at", "in_progress_at",
        "cancelling_at", "finalizing_at", "ended_at", "expires_at", "purged_at", "paused_until",
    ]  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        found: QuerySet[Batch] = super().get_queryset(request)
        counts = {
            name: Count("lines", filter=Q(lines__status=status))
            for name, status in (("lines_done", BatchLine.Status.DONE), ("lines_failed", BatchLine.Status.FAILED))
        }
        return found.defer("details").annotate(**counts)

    @admin.display(description="concluídas")
    def done(self, batch: Any) -> int:
        return int(max(batch.completed, batch.lines_done))

    @admin.display(description="com erro")
    def with_error(self, batch: Any) -> int:
        return int(max(batch.failed, batch.lines_failed))
