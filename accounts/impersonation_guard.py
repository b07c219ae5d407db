"""While one of ours sees as somebody else, every request passes here: it may look, and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts import impersonation
from accounts.impersonation import Impersonation, impersonation_of, may_impersonate
from accounts.models import Membership, User

LEAVE_PATH = "/app/visita/sair/"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# How the person signs in is theirs alone: looking there would show recovery codes, or begin a second factor of ours.
PRIVATE_PATHS = ("/conta/", "/app/configuracoes/privacidade/", "/app/configuracoes/seguranca/")
EXPIRED, RIGHT_LOST, PLACE_LOST = "time", "permission", "membership"


class ImpersonationMiddleware:
    """Ends what is over, refuses and notes what would write, and forbids every cache to keep a page that a visitor saw."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        seen = impersonation_of(request)
        if seen is None:
            return self.get_response(request)
        if over := _why_over(request, seen):
            return _ended(request, seen, why=over)
        request.impersonation = seen  # type: ignore[attr-defined]
        if request.path != LEAVE_PATH:
            is_private = request.path.startswith(PRIVATE_PATHS)
            if is_private or request.method not in SAFE_METHODS:
                impersonation.note_refusal(request, seen)
                return _refused(request, seen, is_private=is_private and request.method in SAFE_METHODS)
        response = self.get_response(request)
        response["Cache-Control"] = "no-store, private"
        return response


def _why_over(request: HttpRequest, seen: Impersonation) -> str:
    """Why it can't go on; empty while it can. Asked of the database at every request: a right that was taken ends it at once."""
    if seen.is_over:
        return EXPIRED
    staff = User.objects.filter(pk=seen.staff_id).first()
    if staff is None or not may_impersonate(staff):
        return RIGHT_LOST
    user = cast(User, request.user)
    is_theirs = user.is_authenticated and user.pk == seen.user_id and not (user.is_staff or user.is_superuser)
    if not is_theirs or not Membership.everywhere.filter(user_id=seen.user_id, organization_id=seen.organization_id).exists():
        return PLACE_LOST
    return ""


def _ended(request: HttpRequest, seen: Impersonation, *, why: str) -> HttpResponse:
    is_back = impersonation.end(request, why=why)
    if not is_back:
        return redirect("account_login")
    if request.method in SAFE_METHODS and not request.headers.get("HX-Request"):
        return redirect(f"/admin/empresas/{seen.organization_id}/?visita={why}")
    context = {"seen": seen, "is_over": True, "url": f"/admin/empresas/{seen.organization_id}/"}
    return render(request, "accounts/impersonation_refused.html", context, status=403)


def _refused(request: HttpRequest, seen: Impersonation, *, is_private: bool) -> HttpResponse:
    context = {"seen": seen, "is_private": is_private, "leave_path": LEAVE_PATH}
    return render(request, "accounts/impersonation_refused.html", context, status=403)
