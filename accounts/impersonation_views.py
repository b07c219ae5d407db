"""The way out of a visit (`accounts.impersonation`); the way in is the admin's page of the organization."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.impersonation import end, impersonation_of


@require_POST
@never_cache
def leave(request: HttpRequest) -> HttpResponse:
    """Back to the organization's page; who visits nobody is sent to their own overview."""
    seen = impersonation_of(request)
    if seen is None:
        return redirect("dashboard") if request.user.is_authenticated else redirect("account_login")
    if not end(request, why="left"):
        return redirect("account_login")
    messages.success(request, f"Visita a {seen.organization_name} encerrada.")
    return redirect(f"/admin/empresas/{seen.organization_id}/")
