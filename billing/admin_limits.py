"""Limit profiles: what many organizations share, in reais and percent, and what applies to one of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.models import LimitProfile, Organization
from billing.admin_parts import change_url, to_list
from billing.limits import NO_LIMIT, effective_limits, key_limits, tell_percent
from billing.money import CENTAVO, format_brl, to_brl
from billing.reais import read_reais
from billing.top_ups import bounds_of

MARGIN_BPS_MIN, MARGIN_BPS_MAX = -5_000, 30_000


class AmountField(forms.CharField):
    """Reais and centavos as people type them ("60.000" is sixty thousand), kept as nanos."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        return f"{to_brl(value):.2f}".replace(".", ",") if isinstance(value, int) else value

    def clean(self, value: Any) -> int | None:
        text = super().clean(value)
        try:
            return read_reais(text) if text else None
        except ValueError:
            raise ValidationError("Digite reais, como 2.500,00.") from None


class SharedLimitsForm(forms.ModelForm):  # type: ignore[type-arg]
    """Money in reais, the margin in percent; what is empty follows the settings."""

    top_up_min = AmountField(label="Recarga mínima (R$)", required=False)
    top_up_max = AmountField(label="Recarga máxima (R$)", required=False)
    margin = forms.CharField(
        label="Ajuste de margem (%)", required=False, max_length=8,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text="Somado a cada preço antes do desconto por volume: 2,5 deixa tudo 2,5% mais caro, -3 deixa 3% mais barato. "
        "Vale nas chamadas em até 2 segundos.",
    )  # fmt: skip

    class Meta:
        model = LimitProfile
        fields = ("name", "requests_per_minute", "tokens_per_minute", "concurrent_calls", "open_charges_max")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["top_up_min"].initial = self.instance.top_up_min_nanos
        self.fields["top_up_max"].initial = self.instance.top_up_max_nanos
        self.fields["margin"].initial = tell_percent(self.instance.margin_bps or 0).removesuffix("%")
        everybody = bounds_of(Organization())
        self.fields["top_up_min"].help_text = f"Vazio: a de todos, {format_brl(everybody.min_nanos)}."
        self.fields["top_up_max"].help_text = f"Vazio: a de todos, {format_brl(everybody.max_nanos)}."
        self.fields["open_charges_max"].help_text = f"Vazio: {settings.TOP_UP_OPEN_MAX}."
        self.fields["concurrent_calls"].help_text = "Vazio: sem limite."
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_calls", "open_charges_max"):
            self.fields[name].min_value = 1  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_calls", "open_charges_max"):
            if cleaned.get(name) == 0:
                self.add_error(name, "Ao menos 1. Para parar uma empresa, suspenda-a.")
        least, most = cleaned.get("top_up_min"), cleaned.get("top_up_max")
        for name, nanos in (("top_up_min", least), ("top_up_max", most)):
            if nanos is not None and nanos < CENTAVO:
                self.add_error(name, "De R$ 0,01 para cima.")
        if (least is not None or most is not None) and not self.errors:
            everybody = bounds_of(Organization())
            if (everybody.min_nanos if least is None else least) > (everybody.max_nanos if most is None else most):
                self.add_error("top_up_min", "A mínima não pode passar da máxima que vale para este perfil.")
        return cleaned

    def clean_margin(self) -> int:
        """Hundredths of a percent."""
        typed = str(self.cleaned_data["margin"]).replace("%", "").replace("−", "-").replace(",", ".").strip() or "0"
        try:
            bps = Decimal(typed) * 100
        except ArithmeticError:
            raise ValidationError("Digite um percentual, como 2,5 ou -3.") from None
        if not bps.is_finite() or bps != bps.to_integral_value():
            raise ValidationError("Um percentual tem no máximo duas casas decimais.")
        if not MARGIN_BPS_MIN <= bps <= MARGIN_BPS_MAX:
            raise ValidationError(f"De {tell_percent(MARGIN_BPS_MIN)} a {tell_percent(MARGIN_BPS_MAX)}.")
        return int(bps)

    def save(self, commit: bool = True) -> LimitProfile:
        profile: LimitProfile = super().save(commit=False)
        profile.top_up_min_nanos = self.cleaned_data["top_up_min"]
        profile.top_up_max_nanos = self.cleaned_data["top_up_max"]
        profile.margin_bps = self.cleaned_data["margin"]
        if commit:
            profile.save()
        return profile


@admin.register(LimitProfile)
class LimitProfileAdmin(ModelAdmin):  # type: ignore[misc]
    form = SharedLimitsForm
    list_display = (
        "name", "requests_per_minute", "tokens_per_minute", "concurrent", "top_ups", "margin", "organizations_count",
    )  # fmt: skip
    search_fields = ("name",)
    ordering = ("name",)
    list_per_page = 50
    fieldsets = (
        (None, {"fields": ("name",)}),
        ("Chamadas", {"fields": ("requests_per_minute", "tokens_per_minute", "concurrent_calls")}),
        ("Recargas", {"fields": ("top_up_min", "top_up_max", "open_charges_max")}),
        ("Preço", {"fields": ("margin",)}),
    )
    actions_detail = ("clone",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[LimitProfile]:
        rows: QuerySet[LimitProfile] = super().get_queryset(request).annotate(organizations_=Count("organizations"))
        return rows

    def has_delete_permission(self, request: HttpRequest, obj: LimitProfile | None = None) -> bool:
        """Never one that somebody has: they are moved first, knowingly."""
        may: bool = super().has_delete_permission(request, obj)
        return may and obj is not None and not obj.organizations.exists()

    def has_clone_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return bool(self.has_add_permission(request))

    @display(description="ao mesmo tempo")  # type: ignore[untyped-decorator]
    def concurrent(self, profile: LimitProfile) -> str:
        return str(profile.concurrent_calls or NO_LIMIT)

    @display(description="recargas")  # type: ignore[untyped-decorator]
    def top_ups(self, profile: LimitProfile) -> str:
        bounds = bounds_of(Organization(limit_profile=profile))
        return f"{format_brl(bounds.min_nanos)} a {format_brl(bounds.max_nanos)}, até {bounds.open_max} em aberto"

    @display(description="margem", ordering="margin_bps")  # type: ignore[untyped-decorator]
    def margin(self, profile: LimitProfile) -> str:
        return tell_percent(profile.margin_bps)

    @display(description="empresas", ordering="organizations_")  # type: ignore[untyped-decorator]
    def organizations_count(self, profile: LimitProfile) -> SafeString | str:
        number: int = getattr(profile, "organizations_", 0)
        return to_list(str(number), "accounts_organization", limit_profile__id__exact=profile.pk) if number else "0"

    @action(description="Copiar", url_path="copiar", permissions=["clone"])  # type: ignore[untyped-decorator]
    def clone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A copy under another name, to be changed; nobody has it yet."""
        profile = get_object_or_404(LimitProfile, pk=object_id)
        name, number = f"{profile.name} (cópia)"[:60], 2
        while LimitProfile.objects.filter(name=name).exists():
            name, number = f"{profile.name[:45]} (cópia {number})", number + 1
        profile.pk, profile.name = None, name
        profile._state.adding = True
        profile.save()
        self.log_addition(request, profile, f"Cópia de perfil: {name}")
        messages.success(request, "Perfil copiado. Mude o que quiser; nenhuma empresa o usa ainda.")
        return redirect(change_url(profile))

    def get_urls(self) -> list[URLPattern]:
        ours = path(
            "empresa/<int:organization_id>/", self.admin_site.admin_view(self.effective), name="accounts_limitprofile_effective"
        )
        return [ours, *super().get_urls()]

    def effective(self, request: HttpRequest, organization_id: int) -> HttpResponse:
        """What applies to one organization, and what said so."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        organization = get_object_or_404(Organization.objects.select_related("limit_profile"), pk=organization_id)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Limites de {organization}",
            "organization": organization,
            "organization_url": change_url(organization),
            "profile": organization.limit_profile,
            "profile_url": change_url(organization.limit_profile) if organization.limit_profile else "",
            "limits": effective_limits(organization),
            "keys": key_limits(organization),
            "opts": self.opts,
        }
        return render(request, "admin/billing/effective_limits.html", context)
