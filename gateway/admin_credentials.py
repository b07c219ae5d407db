"""Our keys at providers and how they are doing; that customers have keys of their own. A key goes in and never comes out again."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import date as date_text
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline
from unfold.widgets import UnfoldAdminPasswordWidget

from billing.admin_parts import LookOnly
from gateway import credential_probes
from gateway.models import Credential, CredentialHealth, OwnKey, OwnKeyHealth
from gateway.provider_accounts import tells_balance
from gateway.secrets import encrypt
from tokia import clock

SECRET_MIN = 8
UNTOLD = "este provedor não informa"


class CredentialForm(forms.ModelForm):  # type: ignore[type-arg]
    """The secret is written, never read back; empty keeps the one that is there."""

    new_secret = forms.CharField(
        label="chave do provedor",
        required=False,
        min_length=SECRET_MIN,
        max_length=4_000,  # AWS session tokens are long
        widget=UnfoldAdminPasswordWidget(render_value=False, attrs={"autocomplete": "off"}),
        help_text="Guardada cifrada e nunca mais mostrada. Em branco: fica a atual. Na AWS: ACCESS_KEY_ID:SECRET[:SESSION_TOKEN] "
        "ou uma chave de API do Bedrock.",
    )

    class Meta:
        model = Credential
        fields = ["provider", "label", "requests_per_minute", "tokens_per_minute", "is_active"]
        help_texts = {
            "requests_per_minute": "Do contrato com o provedor; somadas todas as máquinas. Vazio: sem limite.",
            "tokens_per_minute": "De entrada e saída juntas. Vazio: sem limite.",
        }

    def clean_new_secret(self) -> str:
        secret: str = self.cleaned_data["new_secret"].strip()
        if not secret and self.instance.pk is None:
            raise forms.ValidationError("Informe a chave.")
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise forms.ValidationError("A chave tem caracteres que nenhum provedor usa.")
        return secret

    def save(self, commit: bool = True) -> Credential:
        secret = self.cleaned_data.get("new_secret")
        if secret:
            self.instance.secret = encrypt(secret)
            self.instance.last4 = secret[-4:]
        saved: Credential = super().save(commit)
        if secret and saved.pk:  # another key: what was said of the old one is over
            credential_probes.revive(saved)
        return saved


class CredentialInline(TabularInline):  # type: ignore[misc]
    model = Credential
    form = CredentialForm
    fields = ["label", "new_secret", "last4", "requests_per_minute", "tokens_per_minute", "is_active"]
    readonly_fields = ["last4"]
    extra = 0
    verbose_name_plural = "chaves do provedor"


class StateFilter(admin.SimpleListFilter):
    title = "situação"
    parameter_name = "situacao"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("viva", "Viva"), ("suspeita", "Suspeita"), ("recusada", "Recusada")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Credential]) -> QuerySet[Credential]:
        match self.value():
            case "recusada":
                return queryset.exclude(health__dead_at=None)
            case "suspeita":
                return queryset.filter(health__dead_at=None).exclude(health__dead_reason="").exclude(health=None)
            case "viva":
                return queryset.filter(health__dead_at=None).exclude(health__dead_reason__gt="")
        return queryset


@admin.register(Credential)
class CredentialAdmin(ModelAdmin):  # type: ignore[misc]
    form = CredentialForm
    list_display = ["label", "provider", "shown_end", "state", "balance", "left", "limits", "is_active"]
    list_filter = [StateFilter, "is_active", "provider"]
    list_select_related = ["provider", "health"]
    search_fields = ["label", "provider__name", "last4"]
    fieldsets = [
        (None, {"fields": ["provider", "label", "new_secret", "last4", "is_active", "created_at"]}),
        ("Limites desta chave", {"fields": ["requests_per_minute", "tokens_per_minute"]}),
        ("No provedor", {"fields": ["state", "balance", "left"]}),
    ]
    readonly_fields = ["last4", "created_at", "state", "balance", "left"]
    autocomplete_fields = ["provider"]
    actions = ["try_again"]

    @admin.display(description="final")
    def shown_end(self, credential: Credential) -> str:
        return format_html('<span class="whitespace-nowrap">…{}</span>', credential.last4)

    @admin.display(description="situação", ordering="health__dead_at")
    def state(self, credential: Credential) -> str:
        health = _health_of(credential)
        if health is None or not health.dead_reason:
            return "viva"
        if health.dead_at is None:
            return f"suspeita ({health.dead_reason})"
        return f"recusada desde {_when(health.dead_at)} ({health.dead_reason})"

    @admin.display(description="saldo no provedor", ordering="health__balance")
    def balance(self, credential: Credential) -> str:
        health = _health_of(credential)
        if health is None or health.balance is None:
            return "ainda não lido" if tells_balance(credential.provider) else UNTOLD
        amount = f"{health.balance:,.2f}".translate(str.maketrans(",.", ".,"))
        return format_html("{} {}<br>em {}", health.balance_currency, amount, _when(health.balance_at))

    @admin.display(description="restante neste minuto")
    def left(self, credential: Credential) -> str:
        health = _health_of(credential)
        if health is None or not health.limits:
            return UNTOLD if health is not None and health.limits_at else "nenhuma resposta disse ainda"
        told = []
        for kind, word in (("requests", "requisições"), ("tokens", "tokens")):
            left, limit = health.limits.get(f"{kind}_left"), health.limits.get(f"{kind}_limit")
            if left is not None:
                told.append(f"{_number(left)}{f' de {_number(limit)}' if limit is not None else ''} {word}")
        return format_html("{}<br>em {}", ", ".join(told) or UNTOLD, _when(health.limits_at))

    @admin.display(description="limites (req./tokens por min)")
    def limits(self, credential: Credential) -> str:
        return f"{_number(credential.requests_per_minute)} / {_number(credential.tokens_per_minute)}"

    @admin.action(description="Tentar de novo as chaves recusadas", permissions=["change"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Credential]) -> None:
        refused = list(queryset.exclude(health=None).exclude(health__dead_reason=""))
        for credential in refused:
            credential_probes.revive(credential)
            self.log_change(request, credential, "Tentar de novo: a chave volta ao rodízio.")
        if refused:
            messages.success(request, f"{len(refused)} de volta ao rodízio em até um segundo; recusadas de novo, saem de novo.")
        else:
            messages.info(request, "Nenhuma das escolhidas estava recusada.")


@admin.register(OwnKey)
class OwnKeyAdmin(LookOnly):
    """That a customer keeps a key of its own, and whether its provider takes it. The key is never opened here."""

    list_display = ["provider", "organization", "label", "shown_end", "use", "state", "is_active", "created_at"]
    list_select_related = ["provider", "organization"]
    list_filter = ["use", "is_active", "provider"]
    search_fields = ["organization__name", "organization__tax_id", "label"]
    fields = ["organization", "provider", "label", "shown_end", "use", "state", "is_active", "created_by", "created_at"]
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[OwnKey]:
        found: QuerySet[OwnKey] = super().get_queryset(request)
        return found.defer("secret").select_related("health")

    @admin.display(description="final")
    def shown_end(self, own_key: OwnKey) -> str:
        return format_html('<span class="whitespace-nowrap">…{}</span>', own_key.last4)

    @admin.display(description="situação")
    def state(self, own_key: OwnKey) -> str:
        health: OwnKeyHealth | None = getattr(own_key, "health", None)
        if health is not None and health.refused_at is not None:
            return f"recusada em {_when(health.refused_at)} ({health.refused_reason})"
        return "aceita" if health is not None and health.checked_at else "não conferida"


def _health_of(credential: Credential) -> CredentialHealth | None:
    return getattr(credential, "health", None)


def _when(instant: Any) -> str:
    return str(date_text(instant.astimezone(clock.SAO_PAULO), "d/m H:i")) if instant else "—"


def _number(quantity: int | None) -> str:
    return "—" if quantity is None else f"{quantity:,}".replace(",", ".")
