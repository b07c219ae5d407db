"""`/admin/saude/`: how the machine does, for whoever looks after providers."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from tokia import clock, machine_health

PERMISSION = "gateway.view_provider"


@never_cache
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    found = machine_health.checks()
    context = {
        **admin.site.each_context(request), "title": "Saúde do sistema", "checks": found, "is_well": machine_health.is_well(found),
        "checked_at": clock.now(), "troubles": [check for check in found if check.state in ("down", "warning")],
    }  # fmt: skip
    return render(request, "admin/health.html", context)
