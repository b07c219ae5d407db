"""Every page of a signed-in person runs as one organization; what it does is noted with where it came from."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from urllib.parse import urlencode

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext

from accounts import second_factor
from accounts.audit import Origin, origin
from accounts.members import membership_at_work
from accounts.models import User
from accounts.tenancy import tenant
from accounts.throttle import peer_of
from tokia import clock

_SEEN_EVERY = dt.timedelta(minutes=5)
# Of an organization that demands a second factor these are open all the same: to leave it, to work in another one.
_OPEN_WITHOUT_FACTOR = ("/app/empresas/trocar/", "/app/comecar/", "/app/convite/")


class TenantMiddleware:
    """Sets `request.membership` and the tenant for a signed-in person, for as long as the view runs."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        membership = membership_at_work(request)
        request.membership = membership  # type: ignore[attr-defined]
        if membership is None:
            return self.get_response(request)
        with tenant(membership.organization):
            return self.get_response(request)


class OriginMiddleware:
    """What the audit log notes while a request runs is noted with its address and browser."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        seen_as = request.session.get("impersonation")
        acted_by = str(seen_as.get("staff_email", "")) if isinstance(seen_as, dict) else ""
        found = Origin(
            ip=peer_of(request),
            user_agent=request.headers.get("User-Agent", ""),
            acted_by=acted_by,
            user_of=lambda: request.user if isinstance(request.user, User) else None,
        )
        with origin(found):
            return self.get_response(request)


class SecondFactorMiddleware:
    """Who must have a second factor and hasn't sees no page but those to set one up (`accounts.second_factor`).

    Also marks, at most every five minutes, that a session is in use.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not isinstance(request.user, User):
            return self.get_response(request)
        _mark_session(request)
        return self._refusal(request, request.user) or self.get_response(request)

    def _refusal(self, request: HttpRequest, user: User) -> HttpResponse | None:
        path = request.path
        if path.startswith("/admin/") and user.is_staff and settings.STAFF_NEEDS_MFA:
            if not second_factor.has_second_factor(user):
                text = gettext("A administração exige verificação em duas etapas. Ligue a sua para continuar.")
                return _send_to_set_up(request, text)
            if not second_factor.used_second_factor(request):
                return redirect(f"{reverse(second_factor.page_to_use(user))}?{urlencode({'next': path})}")
        membership = getattr(request, "membership", None)
        is_ours = path.startswith(("/app/", "/api/")) and not path.startswith(_OPEN_WITHOUT_FACTOR)
        # Our own person who sees as this member has shown theirs.
        if membership is None or not is_ours or "impersonation" in request.session or not second_factor.lacks(membership):
            return None
        if path.startswith("/api/"):
            if "Authorization" in request.headers:  # a key: a program
                return None
            told = {"title": "Sem permissão", "status": 403, "detail": "A empresa exige verificação em duas etapas."}
            return JsonResponse(told, status=403, content_type="application/problem+json")
        text = gettext("{organization} exige verificação em duas etapas. Ligue a sua para continuar.")
        return _send_to_set_up(request, text.format(organization=membership.organization))


def _send_to_set_up(request: HttpRequest, text: str) -> HttpResponse:
    url = reverse("mfa_index")
    if request.headers.get("HX-Request"):
        response = HttpResponse(status=204)
        response["HX-Redirect"] = url
        return response
    messages.warning(request, text)
    return redirect(url)


def _mark_session(request: HttpRequest) -> None:
    """Pages poll: one request in five minutes asks the database, the others Valkey (by a digest: the key opens the session)."""
    digest = hashlib.sha256(str(request.session.session_key).encode()).hexdigest()
    if not cache.add(f"accounts.session_seen.{digest}", True, int(_SEEN_EVERY.total_seconds())):
        return
    now = clock.now()
    mine = UserSession.objects.filter(session_key=request.session.session_key, last_seen_at__lt=now - _SEEN_EVERY)
    mine.update(last_seen_at=now)
