"""Memberships: who works where."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.models import Membership


def membership_at_work(request: HttpRequest) -> Membership | None:
    """The membership under which this request works; None for strangers and people without an organization."""
    if not request.user.is_authenticated:
        return None
    return Membership.everywhere.filter(user=request.user).select_related("organization", "user").order_by("id").first()
