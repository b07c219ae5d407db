"""The pages of accounts: opening an organization, team, settings. They translate; verbs decide."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import members, second_factor
from accounts.errors import AccountsError, ConfirmationMissing, InvalidTaxId, InvitationGone
from accounts.forms import IdentityForm, InviteForm, role_choices
from accounts.lookups import LookupAway
from accounts.models import ApiKey, Invitation, Membership, User
from accounts.postal import look_up_cep
from accounts.registry import look_up_company
from accounts.roles import MemberRequest, requires
from accounts.signup import identify, open_organization
from accounts.tax_ids import parse_cnpj
from tokia import clock

# What the registry says of companies that are not at work, in its own words.
STATUSES = (gettext_noop("baixada"), gettext_noop("suspensa"), gettext_noop("inapta"), gettext_noop("nula"))


# ── Opening an organization ──────────────────────────────────────────────────────────────────────────────────────────
@login_required
@require_http_methods(["GET", "POST"])
def start(request: HttpRequest) -> HttpResponse:
    """`/app/comecar/`: name the organization. Whoever has one already is sent on, unless another is asked for."""
    if getattr(request, "membership", None) is not None and "nova" not in request.GET:
        return redirect("/app/")
    form = IdentityForm(request.POST or None, initial={"tax_id_kind": "cnpj", "invoice_email": cast(User, request.user).email})
    if request.method == "POST" and form.is_valid():
        try:
            membership = open_organization(cast(User, request.user), identity=form.identity())
        except AccountsError as error:
            form.add_error(None, error.message)
        else:
            members.switch_organization(request, organization_id=membership.organization_id)
            return redirect("/app/")
    return render(request, "accounts/start.html", {"form": form, "title": gettext("Sua empresa")})


@login_required
@require_safe
@never_cache
def look_up(request: HttpRequest) -> HttpResponse:
    """The identity fields, filled from the public registry; by hand where it is away. Never an error page."""
    typed = request.GET.get("cnpj", "")
    form = IdentityForm(initial=request.GET.dict())
    context: dict[str, object] = {"form": form}
    try:
        company = look_up_company(parse_cnpj(typed))
    except InvalidTaxId as error:
        context["notice"] = ("error", gettext(error.message))
    except LookupAway:
        context["notice"] = ("warning", gettext("Não deu para buscar agora. Preencha à mão."))
    else:
        if company is None:
            context["notice"] = ("warning", gettext("Este CNPJ não está na base pública. Preencha à mão."))
        else:
            found = {"name": company.name, "trade_name": company.trade_name, **company.address}
            initial = request.GET.dict() | {name: value for name, value in found.items() if value}
            context["form"] = IdentityForm(initial=initial)
            context["notice"] = ("success", gettext("Buscamos na base pública. Confira."))
            if not company.is_active:
                told = gettext("Na base pública esta empresa está {status}. Confira.")
                context["notice"] = ("warning", told.format(status=gettext(company.status.lower())))
    return render(request, "accounts/_identity_fields.html", context)


@login_required
@require_safe
@never_cache
def look_up_address(request: HttpRequest) -> HttpResponse:
    """The address fields, filled from the CEP; number and complement stay as typed. By hand where it is away."""
    typed = request.GET.dict()
    context: dict[str, object] = {"form": IdentityForm(initial=typed)}
    digits = "".join(char for char in typed.get("postal_code", "") if char.isdigit())[:9]
    try:
        found = look_up_cep(digits)
    except LookupAway:
        context["cep_notice"] = gettext("Não deu para buscar o CEP agora. Preencha à mão.")
    else:
        if found is None:
            context["cep_notice"] = gettext("Este CEP não existe. Confira os números.")
        else:
            context["form"] = IdentityForm(initial=typed | found)
    return render(request, "accounts/_identity_address.html", context)


# ── Team ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@requires("team.manage")
@require_http_methods(["GET", "POST"])
def team(request: MemberRequest) -> HttpResponse:
    form = InviteForm(request.POST or None, by=request.membership)
    if request.method == "POST" and form.is_valid():
        refusals = []
        for email in form.cleaned_data["emails"]:
            try:
                _invite(request, email=email, role=form.cleaned_data["role"])
            except AccountsError as error:
                refusals.append(error.message)
        if not refusals:
            return redirect("team")
        for refusal in dict.fromkeys(refusals):
            form.add_error(None, refusal)
    keys = ApiKey.objects.filter(status=ApiKey.Status.ACTIVE, kind=ApiKey.Kind.MADE).order_by()
    pending = Invitation.objects.filter(accepted_at=None, cancelled_at=None, expires_at__gt=clock.now()).order_by("-id")
    context = {
        "nav": "equipe",
        "title": gettext("Equipe"),
        "form": form,
        "members": Membership.objects.select_related("user").order_by("id"),
        "with_factor": second_factor.users_with_second_factor(request.membership.organization),
        "key_counts": dict(keys.values_list("created_by").annotate(count=Count("pk"))),
        "pending": pending,
        "roles": role_choices(request.membership),
    }
    return render(request, "accounts/team.html", context)


def _invite(request: MemberRequest, *, email: str, role: str) -> None:
    invitation, token = members.invite(request.membership, email=email, role=role)
    try:
        members.send_invitation(invitation, token=token)
    except OSError:  # SMTP's errors are OSErrors
        text = gettext("O convite de {email} está pronto, mas o e-mail não saiu. Use “Reenviar” daqui a pouco.")
        messages.warning(request, text.format(email=email))
    else:
        text = gettext("Convite enviado para {email}. Vale por {days} dias.")
        messages.success(request, text.format(email=email, days=members.INVITATION_DAYS))


@requires("team.manage")
@require_POST
def cancel_invitation(request: MemberRequest, invitation_id: int) -> HttpResponse:
    members.cancel_invitation(get_object_or_404(Invitation.objects, pk=invitation_id))
    messages.success(request, gettext("Convite cancelado."))
    return redirect("team")


@requires("team.manage")
@require_POST
def resend_invitation(request: MemberRequest, invitation_id: int) -> HttpResponse:
    old = get_object_or_404(Invitation.objects.filter(accepted_at=None, cancelled_at=None), pk=invitation_id)
    try:
        _invite(request, email=old.email, role=old.role)
    except AccountsError as error:
        messages.error(request, error.message)
    return redirect("team")


@requires("team.manage")
@require_POST
def change_role(request: MemberRequest, membership_id: int) -> HttpResponse:
    membership = get_object_or_404(Membership.objects.select_related("user"), pk=membership_id)
    role = request.POST.get("role", "")
    if role not in dict(role_choices(request.membership)):
        messages.error(request, gettext("Escolha um papel da lista."))
        return redirect("team")
    try:
        members.change_role(request.membership, membership=membership, role=role)
    except AccountsError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, gettext("Papel de {user} alterado.").format(user=membership.user))
    return redirect("team")


@requires("team.manage")
@require_POST
def remove_member(request: MemberRequest, membership_id: int) -> HttpResponse:
    membership = get_object_or_404(Membership.objects.select_related("user"), pk=membership_id)
    try:
        if request.POST.get("typed", "").strip() != membership.user.email:
            raise ConfirmationMissing(gettext("O e-mail digitado é outro. Ninguém foi removido."))
        what, heir = request.POST.get("keys", ""), None
        if what not in ("keep", "transfer", "revoke"):
            raise ConfirmationMissing(gettext("Diga o que acontece com as chaves desta pessoa. Ninguém foi removido."))
        if what == "transfer":
            typed = request.POST.get("heir", "")
            others = Membership.objects.exclude(pk=membership.pk)
            heir = others.filter(pk=int(typed)).first() if typed.isascii() and typed.isdigit() and len(typed) < 19 else None
            if heir is None:
                raise ConfirmationMissing(gettext("Escolha quem fica com as chaves. Ninguém foi removido."))
        members.remove(request.membership, membership=membership, revoke_keys=what == "revoke", heir=heir)
    except AccountsError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, gettext("{user} saiu da equipe.").format(user=membership.user))
    return redirect("/app/" if membership.user == request.user else "team")


@require_http_methods(["GET", "POST"])
@never_cache
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """The link of the e-mail: whoever holds it sees who invites; accepting needs the invited address, signed in."""
    try:
        offer = members.find_invitation(token)
        if request.method == "POST" and request.user.is_authenticated:
            membership = members.accept(request.user, token=token)
            members.switch_organization(request, organization_id=membership.organization_id)
            text = gettext("Você agora faz parte da equipe de {organization}.")
            messages.success(request, text.format(organization=membership.organization))
            return redirect("/app/")
    except InvitationGone as error:
        return render(
            request, "accounts/invitation.html", {"problem": error.message, "title": gettext("Convite")}, status=error.status
        )
    return render(request, "accounts/invitation.html", {"invitation": offer, "title": gettext("Convite")})


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@requires("organization.fiscal")
@require_http_methods(["GET", "POST"])
def organization(request: MemberRequest) -> HttpResponse:
    ours = request.membership.organization
    form = IdentityForm(request.POST) if request.method == "POST" else IdentityForm.of(ours)
    if request.method == "POST" and form.is_valid():
        identify(ours, identity=form.identity())
        messages.success(request, gettext("Dados da empresa salvos."))
        return redirect("organization")
    return render(request, "accounts/organization.html", {"nav": "configuracoes", "title": gettext("Empresa"), "form": form})


@login_required
@require_POST
def switch(request: HttpRequest) -> HttpResponse:
    chosen = request.POST.get("organization", "")
    if not chosen.isascii() or not chosen.isdigit() or not members.switch_organization(request, organization_id=int(chosen)):
        return render(request, "404.html", status=404)
    return redirect("/app/")
