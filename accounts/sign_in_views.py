"""The pages of one's own account: who one is, how one signs in, where one is signed in. They translate; verbs decide.

Second factors, sessions and social sign-in are allauth's; here they get our pages and our rules.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, cast

from allauth.account.decorators import reauthentication_required
from allauth.mfa.adapter import get_adapter as get_mfa_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn import views as passkey_views
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import audit, devices, second_factor
from accounts.models import User
from accounts.sign_in_forms import PersonForm
from accounts.social import PROVIDERS, is_configured, providers_configured


# ── Who one is ───────────────────────────────────────────────────────────────────────────────────────────────────────
@login_required
@require_http_methods(["GET", "POST"])
def person(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    form = PersonForm(request.POST or None, initial={"name": user.name})
    if request.method == "POST" and form.is_valid():
        if form.cleaned_data["name"] != user.name:
            User.objects.filter(pk=user.pk).update(name=form.cleaned_data["name"])
            audit.note_everywhere("personal_data_changed", user=user)
        messages.success(request, gettext("Seus dados foram salvos."))
        return redirect("person")
    return render(request, "account/person.html", {"form": form, "title": gettext("Sua conta"), "tab": "dados"})


# ── How one signs in ─────────────────────────────────────────────────────────────────────────────────────────────────
@login_required
@require_safe
@never_cache
def security(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    own = Authenticator.objects.filter(user=user).order_by("created_at")
    codes = next((item for item in own if item.type == Authenticator.Type.RECOVERY_CODES), None)
    membership = getattr(request, "membership", None)
    context: dict[str, Any] = {
        "title": gettext("Segurança"),
        "tab": "seguranca",
        "totp": next((item for item in own if item.type == Authenticator.Type.TOTP), None),
        "passkeys": [item for item in own if item.type == Authenticator.Type.WEBAUTHN],
        "recovery": codes,
        "codes_left": len(codes.wrap().get_unused_codes()) if codes else 0,
        "sessions": devices.sessions_of(request, user),
        "socials": _socials(user),
        "is_address": _is_address(request.get_host()),
        "localhost_url": _localhost_url(request),
        "demanded_by": membership.organization if membership and second_factor.lacks(membership) else None,
        "grace_until": second_factor.grace_of(membership) if membership else None,
    }
    return render(request, "account/security.html", context)


def _socials(user: User) -> list[dict[str, Any]]:
    """Google and GitHub as this person stands with them; those of ours that aren't configured only while still connected."""
    connected = {account.provider: account for account in SocialAccount.objects.filter(user=user)}
    names = [name for name in PROVIDERS if is_configured(name) or name in connected]
    return [
        {"id": name, "label": PROVIDERS[name], "account": connected.get(name), "is_configured": is_configured(name)}
        for name in names
    ]


def _is_address(host: str) -> bool:
    """A passkey belongs to a name: browsers refuse to make one for an IP address."""
    try:
        ipaddress.ip_address(host.rpartition(":")[0].strip("[]") or host)
    except ValueError:
        return False
    return True


def _localhost_url(request: HttpRequest) -> str:
    """In the demonstration, the same page under a name."""
    return "" if settings.IS_PRODUCTION else f"http://localhost:{request.get_port()}/conta/seguranca/"


@login_required
def remove_passkey(request: HttpRequest, pk: int) -> HttpResponseBase:
    """allauth asks whether a factor may go only for codes; the last passkey of somebody who must have one stays too."""
    passkey = get_object_or_404(Authenticator, pk=pk, user=request.user, type=Authenticator.Type.WEBAUTHN)
    if not get_mfa_adapter().can_delete_authenticator(passkey):
        messages.error(request, get_mfa_adapter().error_messages["cannot_delete_authenticator"])
        return redirect("mfa_index")
    return cast(HttpResponseBase, passkey_views.remove_webauthn(request, pk=pk))


@login_required
def rename_passkey(request: HttpRequest, pk: int) -> HttpResponseBase:
    get_object_or_404(Authenticator, pk=pk, user=request.user, type=Authenticator.Type.WEBAUTHN)
    return cast(HttpResponseBase, passkey_views.edit_webauthn(request, pk=pk))


@require_POST
@login_required
def disconnect(request: HttpRequest, provider: str) -> HttpResponseBase:
    """Google or GitHub no longer let this person in. Not where it is their only way."""
    account = get_object_or_404(SocialAccount, user=request.user, provider=provider)
    return cast(HttpResponseBase, _disconnect(request, account, provider))


@reauthentication_required  # type: ignore[untyped-decorator]
def _disconnect(request: HttpRequest, account: SocialAccount, provider: str) -> HttpResponse:
    user = cast(User, request.user)
    others = SocialAccount.objects.filter(user=user).exclude(pk=account.pk).exists()
    if not user.has_usable_password() and not others:
        messages.error(request, gettext("Crie uma senha antes de desligar: sem ela você não conseguiria mais entrar."))
        return redirect("mfa_index")
    account.delete()
    audit.note_everywhere("social_disconnected", user=user, detail={"provider": provider})
    told = gettext("{provider} desligado da sua conta.").format(provider=PROVIDERS.get(provider, provider))
    messages.success(request, told)
    return redirect("mfa_index")


def when_configured(provider: str, view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A social provider's page, which isn't there while its client isn't configured."""

    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not is_configured(provider):
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


def social_signup(request: HttpRequest) -> HttpResponseBase:
    from allauth.socialaccount.views import signup  # its forms are built as it is imported: after ours

    if not providers_configured():
        raise Http404
    return cast(HttpResponseBase, signup(request))


# ── Where one is signed in ───────────────────────────────────────────────────────────────────────────────────────────
@login_required
@require_POST
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    if not devices.end_session(request, cast(User, request.user), session_id=session_id):
        raise Http404
    messages.success(request, gettext("Acesso encerrado."))
    return redirect("mfa_index")


@login_required
@require_POST
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    count = devices.end_other_sessions(request, cast(User, request.user))
    told = ngettext("Um acesso encerrado.", "{count} acessos encerrados.", count).format(count=count)
    text = told if count else gettext("Não havia outro acesso aberto.")
    messages.success(request, text)
    return redirect("mfa_index")
