"""Feature flags in the admin: what each is, for whom it is on, and its history. `accounts.flags` decides and writes."""

from __future__ import annotations

import re
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from accounts import flags
from accounts.flags import FlagRefused, Mode
from accounts.models import FeatureFlag, Organization, User
from tokia.clock import SAO_PAULO

ORGANIZATIONS_MAX = 1_000


class FlagForm(forms.Form):
    mode = forms.ChoiceField(label="Situação", choices=Mode.choices, widget=UnfoldAdminSelectWidget())
    percent = forms.IntegerField(
        label="Parte das empresas (%)", min_value=0, max_value=100, required=False, widget=UnfoldAdminTextInputWidget(),
        help_text="Para “uma parte das empresas”: sempre as mesmas, e ao aumentar a parte ninguém sai.",
    )  # fmt: skip
    organizations = forms.CharField(
        label="Empresas", required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="O CNPJ, CPF ou número de cada empresa, uma por linha. Também entram além da parte.",
    )  # fmt: skip
    reason = forms.CharField(
        label="Motivo", max_length=300, min_length=flags.REASON_LENGTH_MIN, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2})
    )

    def clean_percent(self) -> int:
        return self.cleaned_data["percent"] or 0

    def clean_organizations(self) -> list[int]:
        """Ids. Names each line that is nobody."""
        found: list[int] = []
        wrong: list[str] = []
        lines = [line.strip() for line in self.cleaned_data["organizations"].splitlines() if line.strip()]
        if len(lines) > ORGANIZATIONS_MAX:
            raise ValidationError(f"No máximo {ORGANIZATIONS_MAX} empresas.")
        for line in lines:
            bare = re.sub(r"[./\-\s]", "", line.split(" · ")[0]).upper()
            is_number = bare.isascii() and bare.isdigit() and len(bare) < 11
            rows = Organization.objects.filter(pk=int(bare)) if is_number else Organization.objects.filter(tax_id=bare)
            ids = list(rows.values_list("pk", flat=True)[:ORGANIZATIONS_MAX])
            found += ids
            if not ids:
                wrong.append(line[:40])
        if wrong:
            raise ValidationError(f"Nenhuma empresa assim: {', '.join(wrong[:10])}.")
        return found


@admin.register(FeatureFlag)
class FeatureFlagAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("label", "state", "told", "changed_at", "changed_by")
    ordering = ("name",)
    fields = ("label", "told", "state", "organizations", "history")
    readonly_fields = fields
    actions_detail = ("change_flag",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # flags are declared in code

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_repair_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return bool(request.user.has_perm("accounts.change_featureflag"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        flags.ensure_rows()
        return cast(HttpResponse, super().changelist_view(request, extra_context))

    def get_queryset(self, request: HttpRequest) -> Any:
        """One that is no longer declared decides nothing, and is not shown."""
        return super().get_queryset(request).filter(name__in=flags.REGISTRY)

    @display(description="recurso")  # type: ignore[untyped-decorator]
    def label(self, flag: FeatureFlag) -> str:
        return flags.REGISTRY[flag.name].label

    @display(description="o que é")  # type: ignore[untyped-decorator]
    def told(self, flag: FeatureFlag) -> str:
        return flags.REGISTRY[flag.name].told

    @display(description="situação")  # type: ignore[untyped-decorator]
    def state(self, flag: FeatureFlag) -> str:
        return flags.tell(flag)

    @display(description="empresas escolhidas")  # type: ignore[untyped-decorator]
    def organizations(self, flag: FeatureFlag) -> SafeString | str:
        names = Organization.objects.filter(pk__in=flag.organization_ids).order_by("name").values_list("name", "pk")
        return format_html_join(", ", "{} (nº {})", names) or "—"

    @display(description="história")  # type: ignore[untyped-decorator]
    def history(self, flag: FeatureFlag) -> SafeString | str:
        lines = [
            (f"{change.changed_at.astimezone(SAO_PAULO):%d/%m/%Y %H:%M}", change.changed_by, change, change.reason)
            for change in flag.changes.order_by("-id")[:100]
        ]
        if not lines:
            return "Ninguém mudou ainda."
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{} · {}: {}. Motivo: {}</li>", lines))

    @action(description="Ligar ou desligar", url_path="mudar", permissions=["repair"])  # type: ignore[untyped-decorator]
    def change_flag(self, request: HttpRequest, object_id: str) -> HttpResponse:
        flag = get_object_or_404(self.get_queryset(request), pk=object_id)
        chosen = Organization.objects.filter(pk__in=flag.organization_ids).order_by("name")
        listed = "\n".join(f"{one.pk} · {one.name}" for one in chosen)
        initial = {"mode": flag.mode, "percent": flag.percent or "", "organizations": listed}
        form = FlagForm(request.POST if request.method == "POST" else None, initial=initial)
        back = reverse("admin:accounts_featureflag_change", args=[flag.pk])
        if request.method == "POST" and form.is_valid():
            data = form.cleaned_data
            try:
                changed = flags.set_flag(
                    flag.name, mode=data["mode"], percent=data["percent"], organization_ids=data["organizations"],
                    by=cast(User, request.user), reason=data["reason"],
                )  # fmt: skip
            except FlagRefused as refusal:
                form.add_error(None, refusal.message)
            else:
                self.log_change(request, flag, f"{flags.tell(changed)}. Motivo: {data['reason']}")
                messages.success(request, f"{self.label(changed)}: {flags.tell(changed).lower()}. Vale em até dois segundos.")
                return redirect(back)
        context = {
            **self.admin_site.each_context(request), "title": f"{self.label(flag)}: ligar ou desligar", "opts": self.opts,
            "form": form, "told": self.told(flag), "back": back,
        }  # fmt: skip
        return render(request, "admin/accounts/flag.html", context)
