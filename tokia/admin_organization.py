"""`/admin/empresas/<id>/`: everything of one organization, what staff note about it, and the way in to see as it does."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import impersonation
from accounts.models import Membership, Organization, StaffNote, User
from tokia.errors import TokiaError
from tokia.organization_figures import overview_of
from tokia.organization_sheet import SECTIONS, Section

NOTES_SHOWN = 50
ENDED = {
    "time": "A visita terminou: durou os 30 minutos que podia.",
    "permission": "A visita terminou: você não tem mais a permissão.",
    "membership": "A visita terminou: a pessoa não trabalha mais nesta empresa.",
}


class NoteForm(forms.Form):
    text = forms.CharField(label="Nova anotação", max_length=2_000, widget=forms.Textarea(attrs={"rows": 3}))


class EnterForm(forms.Form):
    member = forms.ModelChoiceField(Membership.everywhere.none(), label="Ver como")
    reason = forms.CharField(label="Motivo", max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, *args: Any, members: list[Membership], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast("forms.ModelChoiceField[Membership]", self.fields["member"])
        field.queryset = Membership.everywhere.filter(pk__in=[member.pk for member in members]).select_related("user")
        field.empty_label = None
        self.initial["member"] = members[0].pk if members else None


@require_safe
def sheet(request: HttpRequest, organization_id: int) -> HttpResponse:
    """One section at a time (`?aba=`), each for whoever may look at its rows."""
    organization = _found(request, organization_id)
    sections = [section for section in SECTIONS if request.user.has_perm(section.permission)]
    at = next((section for section in sections if section.key == request.GET.get("aba")), sections[0])
    if over := ENDED.get(request.GET.get("visita", "")):
        messages.info(request, over)
    return render(request, "admin/organization.html", _context(request, organization, sections=sections, at=at))


@require_POST
def add_note(request: HttpRequest, organization_id: int) -> HttpResponse:
    organization = _found(request, organization_id)
    if not request.user.has_perm("accounts.add_staffnote"):
        raise PermissionDenied
    form = NoteForm(request.POST)
    if form.is_valid():
        StaffNote.everywhere.create(organization=organization, text=form.cleaned_data["text"], written_by=_person(request).email)
        messages.success(request, "Anotação guardada.")
    else:
        messages.error(request, "Escreva a anotação: até 2.000 caracteres.")
    return redirect(f"{reverse('organization_sheet', args=[organization.pk])}?aba=internas")


@require_http_methods(["GET", "HEAD", "POST"])
def enter(request: HttpRequest, organization_id: int) -> HttpResponse:
    """The reason, then the visit. Asked of the database, not of what the page showed."""
    organization = _found(request, organization_id)
    if not impersonation.may_impersonate(request.user):
        raise PermissionDenied
    members = impersonation.members_to_enter_as(organization)
    form = EnterForm(request.POST if request.method == "POST" else None, members=members)
    if request.method == "POST" and form.is_valid():
        try:
            impersonation.start(request, membership=form.cleaned_data["member"], reason=form.cleaned_data["reason"])
            return redirect("dashboard")
        except TokiaError as refusal:
            form.add_error(None, refusal.message)
    context = {
        **admin.site.each_context(request), "title": f"Entrar como {organization}", "organization": organization, "form": form,
        "members": members, "minutes": int(impersonation.LASTS.total_seconds()) // 60,
        "back": reverse("organization_sheet", args=[organization.pk]),
    }  # fmt: skip
    return render(request, "admin/enter.html", context)


def _found(request: HttpRequest, organization_id: int) -> Organization:
    """Raises PermissionDenied, Http404."""
    if not request.user.has_perm("accounts.view_organization"):
        raise PermissionDenied
    return get_object_or_404(Organization.objects.select_related("limit_profile"), pk=organization_id)


def _person(request: HttpRequest) -> User:
    return cast(User, request.user)


def _context(request: HttpRequest, organization: Organization, *, sections: list[Section], at: Section) -> dict[str, Any]:
    context: dict[str, Any] = {
        **admin.site.each_context(request), "title": str(organization), "organization": organization, "sections": sections,
        "at": at, "acts": _acts(request, organization),
    }  # fmt: skip
    if at.key == "visao":
        context["overview"] = overview_of(organization)
        context["may_see_money"] = request.user.has_perm("billing.view_wallet")
        context["may_see_margin"] = request.user.has_perm("billing.view_usageday")
    if at.key == "internas":
        context["notes"] = list(StaffNote.everywhere.filter(organization=organization).order_by("-id")[:NOTES_SHOWN])
        context["note_form"] = NoteForm() if request.user.has_perm("accounts.add_staffnote") else None
    if at.read is not None:
        context["table"] = at.read(organization)
    return context


def _acts(request: HttpRequest, organization: Organization) -> list[dict[str, str]]:
    """The acts that stand elsewhere, each with its reason, its guards and its second person where it has one."""
    may = request.user.has_perm
    acts: list[tuple[str, str, str, object]] = []
    if impersonation.may_impersonate(request.user):
        acts.append(("Entrar como", "main", "enter_organization", organization.pk))
    if may("accounts.change_organization"):
        if organization.is_suspended:
            acts.append(("Reativar", "", "admin:accounts_organization_reactivate_organization", organization.pk))
        else:
            acts.append(("Suspender", "bad", "admin:accounts_organization_suspend_organization", organization.pk))
        acts.append(("Mudar perfil de limites", "", "admin:accounts_organization_change", organization.pk))
    wallet = getattr(organization, "wallet", None)
    if wallet is not None and may("billing.change_wallet"):
        acts += [
            ("Dar bônus", "", "admin:billing_wallet_grant", wallet.pk),
            ("Creditar ajuste", "", "admin:billing_wallet_credit", wallet.pk),
            ("Debitar ajuste", "", "admin:billing_wallet_debit", wallet.pk),
        ]
    found = []
    for label, kind, name, argument in acts:
        try:
            found.append({"label": label, "kind": kind, "url": reverse(name, args=[argument])})
        except NoReverseMatch:
            continue
    if may("billing.add_contract"):
        found.append({"label": "Combinar plano de volume", "kind": "",
                      "url": f"/admin/billing/contract/add/?organization={organization.pk}"})  # fmt: skip
    return found
