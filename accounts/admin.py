"""Finds and repairs people, organizations and keys. Acts call the verbs, ask a reason, and are logged with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

import accounts.admin_audit
import accounts.admin_flags  # noqa: F401 - its pages
from accounts.keys import revoke_key
from accounts.members import cancel_invitation
from accounts.models import ApiKey, Invitation, LimitProfile, Membership, Organization, Project, User
from accounts.suspension import reactivate, suspend

admin.site.unregister(EmailAddress)  # an address is confirmed by its owner
# How people sign in is theirs: allauth's own pages would show and change it, in English.
for _theirs in (Authenticator, UserSession, SocialAccount, SocialApp, SocialToken):
    admin.site.unregister(_theirs)
admin.site.unregister(Group)  # roles are fixed (accounts.roles); staff have Django's own permissions


class ReasonForm(forms.Form):
    reason = forms.CharField(label="Motivo", max_length=200, widget=UnfoldAdminTextInputWidget())


class AssignForm(ReasonForm):
    limit_profile = forms.ModelChoiceField(
        LimitProfile.objects.order_by("name"), label="Perfil", required=False, empty_label="Nenhum: os limites gerais"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields(["limit_profile", "reason"])


class LookOnly(ModelAdmin):  # type: ignore[misc]
    """Rows that only verbs write."""

    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_repair_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """The named acts of these rows: for staff who could change them in any other admin."""
        user = cast(User, request.user)
        return user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")


def ask_reason(
    admin_: ModelAdmin, request: HttpRequest, object_: Any, *, title: str, button: str, act: Callable[[str], None], told: str = ""
) -> HttpResponse:
    """The page between a button and its act. The reason goes to the object's history, with who acted; `told`: who else reads it."""
    form = ReasonForm(request.POST or None)
    form.fields["reason"].help_text = told
    back = reverse(f"admin:{object_._meta.label_lower.replace('.', '_')}_change", args=[object_.pk])
    if request.method == "POST" and form.is_valid():
        reason = form.cleaned_data["reason"]
        act(reason)
        admin_.log_change(request, object_, f"{button}: {reason}")
        messages.success(request, f"{button}: feito.")
        return redirect(back)
    context = {**admin_.admin_site.each_context(request), "title": title, "form": form, "button": button, "back": back}
    return render(request, "admin/accounts/reason.html", context)


def link(label: str, name: str, **query: object) -> SafeString | str:
    """A link to another admin list; plain text where that list does not exist."""
    try:
        address = reverse(f"admin:{name}")
    except NoReverseMatch:
        return label
    parameters = "&".join(f"{key}={value}" for key, value in query.items())
    return format_html('<a class="text-primary-600 underline" href="{}?{}">{}</a>', address, parameters, label)


def _sheet_link(organization: Organization) -> SafeString | str:
    """To everything of it on one page; the roof serves that page."""
    try:
        address = reverse("organization_sheet", args=[organization.pk])
    except NoReverseMatch:
        return "Ficha"
    return format_html('<a class="text-primary-600 underline font-semibold" href="{}">Ficha completa</a>', address)


def _limits_link(organization: Organization) -> SafeString | str:
    """To what applies to it; billing's page, where it is served."""
    try:
        address = reverse("admin:accounts_limitprofile_effective", args=[organization.pk])
    except NoReverseMatch:
        return "Limites"
    return format_html('<a class="text-primary-600 underline" href="{}">Limites que valem</a>', address)


class MembershipInline(TabularInline):  # type: ignore[misc]
    model = Membership
    fields = readonly_fields = ("user", "organization", "role", "last_seen_at", "created_at")
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(ModelAdmin):  # type: ignore[misc]
    """People sign up by themselves; a lost password is reset by e-mail, never here."""

    list_display = ("email", "name", "organizations", "is_active", "is_staff", "last_login", "date_joined")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name", "memberships__organization__name", "memberships__organization__tax_id")
    ordering = ("-date_joined",)
    list_per_page = 50
    fields = ("email", "name", "is_active", "is_staff", "is_superuser", "last_login", "date_joined", "accepted_terms_at")
    readonly_fields = ("email", "last_login", "date_joined", "accepted_terms_at")
    inlines = (MembershipInline,)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("memberships__organization")

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> tuple[str, ...]:
        """Only a superuser makes staff."""
        given = self.readonly_fields
        return given if getattr(request.user, "is_superuser", False) else (*given, "is_staff", "is_superuser")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    @display(description="empresas")  # type: ignore[untyped-decorator]
    def organizations(self, user: User) -> SafeString:
        pairs = [
            (reverse("admin:accounts_organization_change", args=[member.organization_id]), member.organization)
            for member in user.memberships.all()
        ]
        return format_html_join(", ", '<a class="text-primary-600 underline" href="{}">{}</a>', pairs)


@admin.register(Organization)
class OrganizationAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("name", "trade_name", "tax_id", "state", "limit_profile", "links", "created_at")
    list_filter = ("is_suspended", "tax_id_kind", "limit_profile")
    list_select_related = ("limit_profile",)
    search_fields = ("name", "trade_name", "tax_id", "memberships__user__email")
    ordering = ("-created_at",)
    list_per_page = 50
    fields = (
        "name", "trade_name", "tax_id_kind", "tax_id", "invoice_email", "municipal_registration", "place", "limit_profile",
        "is_suspended", "suspended_reason", "created_at", "links",
    )  # fmt: skip
    readonly_fields = (
        "name", "trade_name", "tax_id_kind", "tax_id", "invoice_email", "municipal_registration", "place", "is_suspended",
        "suspended_reason", "created_at", "links",
    )  # fmt: skip
    inlines = (MembershipInline,)
    actions = ("assign_profile",)
    actions_detail = ("suspend_organization", "reactivate_organization")

    @display(description="endereço")  # type: ignore[untyped-decorator]
    def place(self, organization: Organization) -> str:
        return organization.address_line or "—"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_suspend_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """unfold hands the id; each button shows only where it can be pressed."""
        return bool(self.has_change_permission(request)) and Organization.objects.filter(pk=obj, is_suspended=False).exists()

    def has_reactivate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.has_change_permission(request)) and Organization.objects.filter(pk=obj, is_suspended=True).exists()

    @display(description="situação", label={"Ativa": "success", "Suspensa": "danger"})  # type: ignore[untyped-decorator]
    def state(self, organization: Organization) -> str:
        return "Suspensa" if organization.is_suspended else "Ativa"

    @display(description="ver")  # type: ignore[untyped-decorator]
    def links(self, organization: Organization) -> SafeString:
        query = {"organization__id__exact": organization.pk}
        pairs = [
            (_sheet_link(organization),),
            (link("Carteira", "billing_wallet_changelist", **query),),
            (link("Chaves", "accounts_apikey_changelist", **query),),
            (link("Uso", "billing_usagerecord_changelist", **query),),
            (link("Notas fiscais", "invoices_invoice_changelist", **query),),
            (_limits_link(organization),),
        ]
        return format_html_join(" · ", "{}", pairs)

    @admin.action(description="Mudar o perfil de limites", permissions=["change"])
    def assign_profile(self, request: HttpRequest, chosen: QuerySet[Organization]) -> HttpResponse | None:
        """Moves the ticked organizations to a profile, or to none, with a reason in each one's history."""
        form = AssignForm(request.POST if "apply" in request.POST else None)
        if form.is_valid():
            profile, reason = form.cleaned_data["limit_profile"], form.cleaned_data["reason"]
            for organization in chosen:
                before = organization.limit_profile
                Organization.objects.filter(pk=organization.pk).update(limit_profile=profile)
                self.log_change(
                    request, organization, f"Perfil de limites: de {before or 'nenhum'} para {profile or 'nenhum'}. {reason}"
                )
            messages.success(request, f"Perfil mudado em {len(chosen)} empresa{'s' if len(chosen) != 1 else ''}.")
            return None
        context = {
            **self.admin_site.each_context(request), "title": "Mudar o perfil de limites", "form": form, "chosen": chosen,
            "opts": self.opts,
        }  # fmt: skip
        return render(request, "admin/accounts/assign_profile.html", context)

    @action(description="Suspender", url_path="suspender", permissions=["suspend"])  # type: ignore[untyped-decorator]
    def suspend_organization(self, request: HttpRequest, object_id: str) -> HttpResponse:
        organization = get_object_or_404(Organization, pk=object_id)
        return ask_reason(
            self, request, organization, title=f"Suspender {organization}", button="Suspender empresa",
            act=lambda reason: suspend(organization, reason=reason),
            told="O cliente lê no painel: “Conta suspensa: as chamadas estão recusando. Motivo: …”.",
        )  # fmt: skip

    @action(description="Reativar", url_path="reativar", permissions=["reactivate"])  # type: ignore[untyped-decorator]
    def reactivate_organization(self, request: HttpRequest, object_id: str) -> HttpResponse:
        organization = get_object_or_404(Organization, pk=object_id)
        return ask_reason(
            self, request, organization, title=f"Reativar {organization}", button="Reativar empresa",
            act=lambda reason: reactivate(organization),
        )  # fmt: skip


@admin.register(Membership)
class MembershipAdmin(LookOnly):
    list_display = ("user", "organization", "role", "last_seen_at", "created_at")
    list_filter = ("role",)
    list_select_related = ("user", "organization")
    search_fields = ("user__email", "organization__name", "organization__tax_id")


@admin.register(Invitation)
class InvitationAdmin(LookOnly):
    list_display = ("email", "organization", "role", "invited_by", "created_at", "expires_at", "accepted_at", "cancelled_at")
    list_filter = ("role",)
    list_select_related = ("organization", "invited_by")
    search_fields = ("email", "organization__name")
    actions_detail = ("cancel",)

    @action(description="Cancelar convite", url_path="cancelar", permissions=["repair"])  # type: ignore[untyped-decorator]
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        invitation = get_object_or_404(Invitation.everywhere, pk=object_id)
        return ask_reason(
            self, request, invitation, title=f"Cancelar o convite de {invitation}", button="Cancelar convite",
            act=lambda reason: cancel_invitation(invitation),
        )  # fmt: skip


@admin.register(Project)
class ProjectAdmin(LookOnly):
    list_display = ("name", "organization", "created_by", "created_at", "archived_at", "keys")
    list_filter = (("archived_at", admin.EmptyFieldListFilter),)
    list_select_related = ("organization", "created_by")
    search_fields = ("name", "organization__name", "organization__tax_id")
    ordering = ("-id",)

    @display(description="ver")  # type: ignore[untyped-decorator]
    def keys(self, project: Project) -> SafeString | str:
        return link("Chaves", "accounts_apikey_changelist", project__id__exact=project.pk)


@admin.register(ApiKey)
class ApiKeyAdmin(LookOnly):
    """The secret was shown once, to its owner; its digest is nowhere on these pages."""

    list_display = ("name", "masked", "organization", "project", "created_by", "status", "expires_at", "created_at")
    list_filter = ("status",)
    list_select_related = ("organization", "project", "created_by")
    search_fields = ("name", "prefix", "suffix", "organization__name", "organization__tax_id")
    ordering = ("-id",)
    fields = (
        "name", "masked", "organization", "project", "created_by", "status", "expires_at", "scopes", "allowed_routes",
        "requests_per_minute", "tokens_per_minute", "concurrent_calls", "stores_responses", "cache_seconds", "created_at",
        "revoked_at",
    )  # fmt: skip
    readonly_fields = fields
    actions_detail = ("revoke",)

    @display(description="chave")  # type: ignore[untyped-decorator]
    def masked(self, key: ApiKey) -> str:
        return f"{key.prefix}…{key.suffix}"

    @action(description="Revogar", url_path="revogar", permissions=["repair"])  # type: ignore[untyped-decorator]
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = get_object_or_404(ApiKey.everywhere, pk=object_id)
        return ask_reason(self, request, key, title=f"Revogar {key}", button="Revogar chave", act=lambda reason: revoke_key(key))
