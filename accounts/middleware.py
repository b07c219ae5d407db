"""Every page of a signed-in person runs as one organization."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from accounts.members import membership_at_work
from accounts.tenancy import tenant


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
