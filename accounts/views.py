"""The pages of accounts: opening an organization, keys, team, settings. They translate; verbs decide."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import members
from accounts.errors import AccountsError, ConfirmationMissing, InvalidTaxId, InvitationGone
from accounts.forms import IdentityForm, InviteForm, KeyChangeForm, KeyForm, role_choices
from accounts.keys import change_key, mint_key, revoke_key
from accounts.models import ApiKey, Invitation, Membership, User
from accounts.registry import RegistryAway, look_up_company
from accounts.roles import MemberRequest, may, requires
from accounts.signup import identify, open_organization
from accounts.tax_ids import parse_cnpj
from tokia import clock


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
    return render(request, "accounts/start.html", {"form": form, "title": "Sua empresa"})


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
        context["notice"] = ("error", error.message)
    except RegistryAway:
        context["notice"] = ("warning", "Não deu para buscar agora. Preencha à mão.")
    else:
        if company is None:
            context["notice"] = ("warning", "Este CNPJ não está na base pública. Preencha à mão.")
        else:
            found = {"name": company.name, "trade_name": company.trade_name, **company.address}
            initial = request.GET.dict() | {name: value for name, value in found.items() if value}
            context["form"] = IdentityForm(initial=initial)
            context["notice"] = ("success", "Buscamos na base pública. Confira.")
            if not company.is_active:
                context["notice"] = ("warning", f"Na base pública esta empresa está {company.status.lower()}. Confira.")
    return render(request, "accounts/_identity_fields.html", context)


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _keys_of(request: MemberRequest) -> Q:
    return Q() if may(request.membership, "keys.manage_all") else Q(created_by=request.user)


@requires("keys.manage")
@require_safe
def keys(request: MemberRequest) -> HttpResponse:
    mine = ApiKey.objects.filter(_keys_of(request)).select_related("created_by").order_by("status", "-id")
    return render(request, "accounts/keys.html", {"nav": "chaves", "title": "Chaves", "keys": mine, "now": clock.now()})


@requires("keys.manage")
@require_http_methods(["GET", "POST"])
@never_cache
def create_key(request: MemberRequest) -> HttpResponse:
    """The answer to the POST is the only page that ever holds the secret; `never_cache` keeps it out of every store."""
    form = KeyForm(request.POST or None)
    context: dict[str, object] = {"nav": "chaves", "title": "Nova chave", "form": form}
    if request.method == "POST" and form.is_valid():
        try:
            key, secret = mint_key(
                request.membership.organization,
                user=request.user,
                name=form.cleaned_data["name"],
                expires_at=form.expires_at(),
                allowed_routes=form.cleaned_data["allowed_routes"],
                requests_per_minute=form.cleaned_data["requests_per_minute"],
                stores_responses=form.cleaned_data["stores_responses"],
                cache_seconds=form.cleaned_data["cache_seconds"],
            )
        except AccountsError as error:
            form.add_error(None, error.message)
        else:
            return render(request, "accounts/key_created.html", context | {"key": key, "secret": secret, "title": "Chave criada"})
    context["chosen"] = request.POST.getlist("allowed_routes")
    return render(request, "accounts/create_key.html", context)


@requires("keys.manage")
@require_http_methods(["GET", "POST"])
def change(request: MemberRequest, key_id: int) -> HttpResponse:
    key = get_object_or_404(ApiKey.objects.filter(_keys_of(request), status=ApiKey.Status.ACTIVE), pk=key_id)
    form = KeyChangeForm(request.POST or None, key=key)
    if request.method == "POST" and form.is_valid():
        names = ("name", "allowed_routes", "requests_per_minute", "stores_responses", "cache_seconds")
        if change_key(key, **{name: form.cleaned_data[name] for name in names}):
            messages.success(request, f"Chave “{key.name}” alterada. Vale nas chamadas em até 2 segundos.")
        else:
            messages.error(request, f"A chave “{key.name}” foi revogada.")
        return redirect("keys")
    chosen = request.POST.getlist("allowed_routes") if request.method == "POST" else key.allowed_routes
    context = {
        "nav": "chaves", "title": "Mudar a chave", "form": form, "key": key, "chosen": chosen,
        # Unticked by nobody's hand, the last model that is no longer sold would open the key to all.
        "kept_routes": key.allowed_routes,
    }  # fmt: skip
    return render(request, "accounts/create_key.html", context)


@requires("keys.manage")
@require_POST
def revoke(request: MemberRequest, key_id: int) -> HttpResponse:
    key = get_object_or_404(ApiKey.objects.filter(_keys_of(request)), pk=key_id)
    if request.POST.get("typed", "").strip() != key.name:
        messages.error(request, "O nome digitado é outro. A chave continua ativa.")
    else:
        revoke_key(key)
        messages.success(request, f"Chave “{key.name}” revogada. As chamadas com ela param em até 2 segundos.")
    return redirect("keys")


# ── Team ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@requires("team.manage")
@require_http_methods(["GET", "POST"])
def team(request: MemberRequest) -> HttpResponse:
    form = InviteForm(request.POST or None, by=request.membership)
    if request.method == "POST" and form.is_valid():
        try:
            _invite(request, email=form.cleaned_data["email"], role=form.cleaned_data["role"])
        except AccountsError as error:
            form.add_error(None, error.message)
        else:
            return redirect("team")
    pending = Invitation.objects.filter(accepted_at=None, cancelled_at=None, expires_at__gt=clock.now()).order_by("-id")
    context = {
        "nav": "equipe",
        "title": "Equipe",
        "form": form,
        "members": Membership.objects.select_related("user").order_by("id"),
        "pending": pending,
        "roles": role_choices(request.membership),
    }
    return render(request, "accounts/team.html", context)


def _invite(request: MemberRequest, *, email: str, role: str) -> None:
    invitation, token = members.invite(request.membership, email=email, role=role)
    try:
        members.send_invitation(invitation, token=token)
    except OSError:  # SMTP's errors are OSErrors
        messages.warning(request, f"O convite de {email} está pronto, mas o e-mail não saiu. Use “Reenviar” daqui a pouco.")
    else:
        messages.success(request, f"Convite enviado para {email}. Vale por {members.INVITATION_DAYS} dias.")


@requires("team.manage")
@require_POST
def cancel_invitation(request: MemberRequest, invitation_id: int) -> HttpResponse:
    members.cancel_invitation(get_object_or_404(Invitation.objects, pk=invitation_id))
    messages.success(request, "Convite cancelado.")
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
        messages.error(request, "Escolha um papel da lista.")
        return redirect("team")
    try:
        members.change_role(request.membership, membership=membership, role=role)
    except AccountsError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"Papel de {membership.user} alterado.")
    return redirect("team")


@requires("team.manage")
@require_POST
def remove_member(request: MemberRequest, membership_id: int) -> HttpResponse:
    membership = get_object_or_404(Membership.objects.select_related("user"), pk=membership_id)
    try:
        if request.POST.get("typed", "").strip() != membership.user.email:
            raise ConfirmationMissing("O e-mail digitado é outro. Ninguém foi removido.")
        members.remove(request.membership, membership=membership, revoke_keys="revoke_keys" in request.POST)
    except AccountsError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"{membership.user} saiu da equipe.")
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
            messages.success(request, f"Você agora faz parte da equipe de {membership.organization}.")
            return redirect("/app/")
    except InvitationGone as error:
        return render(request, "accounts/invitation.html", {"problem": error.message, "title": "Convite"}, status=error.status)
    return render(request, "accounts/invitation.html", {"invitation": offer, "title": "Convite"})


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@requires("organization.fiscal")
@require_http_methods(["GET", "POST"])
def organization(request: MemberRequest) -> HttpResponse:
    ours = request.membership.organization
    form = IdentityForm(request.POST) if request.method == "POST" else IdentityForm.of(ours)
    if request.method == "POST" and form.is_valid():
        identify(ours, identity=form.identity())
        messages.success(request, "Dados da empresa salvos.")
        return redirect("organization")
    return render(request, "accounts/organization.html", {"nav": "configuracoes", "title": "Empresa", "form": form})


@login_required
@require_POST
def switch(request: HttpRequest) -> HttpResponse:
    chosen = request.POST.get("organization", "")
    if not chosen.isascii() or not chosen.isdigit() or not members.switch_organization(request, organization_id=int(chosen)):
        return render(request, "404.html", status=404)
    return redirect("/app/")
