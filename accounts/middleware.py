"""Every page of a signed-in person runs as one organization; what it does is noted with where it came from."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from accounts.audit import Origin, origin
from accounts.members import membership_at_work
from accounts.tenancy import tenant
from accounts.throttle import peer_of


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
        with origin(Origin(ip=peer_of(request), user_agent=request.headers.get("User-Agent", ""))):
            return self.get_response(request)
