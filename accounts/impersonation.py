"""A person of ours sees the pages as a member of an organization does: to help, for half an hour, only to look.

django-hijack swaps who is signed in; this says who may, as whom, for how long, and what is noted. The session remembers it under
STATE; `accounts.impersonation_guard` reads it at every request.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from hijack.views import AcquireUserView, ReleaseUserView

from accounts import audit
from accounts.errors import NotAllowed
from accounts.members import SESSION_KEY as ORGANIZATION_KEY
from accounts.models import Membership, Organization, User
from accounts.second_factor import used_second_factor
from tokia import clock

STATE = "impersonation"
PERMISSION = "accounts.impersonate_organization"
LASTS = dt.timedelta(minutes=30)
# How our own person signed in (allauth's records): kept for when they come back, since the session begins anew at each swap.
_SIGNED_IN_BY = "account_authentication_methods"


@dataclass(frozen=True, slots=True)
class Impersonation:
    """Who sees as whom. `until` is when it ends by itself."""

    staff_id: int
    staff_email: str
    user_id: int
    organization_id: int
    organization_name: str
    until: dt.datetime

    @property
    def is_over(self) -> bool:
        return clock.now() >= self.until


def impersonation_of(request: HttpRequest) -> Impersonation | None:
    """Whether this request sees as somebody else: what pages that make secrets ask."""
    session = getattr(request, "session", None)
    kept = session.get(STATE) if session is not None else None
    if not isinstance(kept, dict):
        return None
    return Impersonation(
        staff_id=int(kept["staff_id"]), staff_email=str(kept["staff_email"]), user_id=int(kept["user_id"]),
        organization_id=int(kept["organization_id"]), organization_name=str(kept["organization_name"]),
        until=dt.datetime.fromisoformat(kept["until"]),
    )  # fmt: skip


def may_impersonate(user: Any) -> bool:
    """Staff with the permission; a permission alone, without the admin, is not enough."""
    return bool(user.is_active and user.is_staff and user.has_perm(PERMISSION))


def may_enter(*, hijacker: User, hijacked: User) -> bool:
    """Never as somebody of ours: their rights would come along. (django-hijack's HIJACK_PERMISSION_CHECK.)"""
    if not hijacked.is_active or hijacked.is_staff or hijacked.is_superuser or hijacked.pk == hijacker.pk:
        return False
    return may_impersonate(hijacker)


def members_to_enter_as(organization: Organization) -> list[Membership]:
    """Whose view may be taken: active people who are none of ours; owners first."""
    found = Membership.everywhere.filter(
        organization=organization, user__is_active=True, user__is_staff=False, user__is_superuser=False
    ).select_related("user", "organization")
    weight = {"owner": 0, "admin": 1, "finance": 2, "developer": 3}
    return sorted(found, key=lambda member: (weight.get(member.role, 9), member.pk))


class _Enter(AcquireUserView):  # type: ignore[misc]
    """hijack's swap, for a membership that we found; its own address and its form field are not served."""

    membership: Membership | None = None
    raise_exception = True
    success_url = "/app/"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = super(AcquireUserView, self).dispatch(request, *args, **kwargs)
        return response

    def get_object(self, queryset: object = None) -> User:
        assert self.membership is not None
        return self.membership.user


class _Leave(ReleaseUserView):  # type: ignore[misc]
    success_url = "/admin/"


def start(request: HttpRequest, *, membership: Membership, reason: str) -> HttpResponse:
    """Sees as this member from now on; the answer goes to their overview. POST only. Raises NotAllowed."""
    staff = cast(User, request.user)
    if impersonation_of(request) is not None or not may_enter(hijacker=staff, hijacked=membership.user):
        raise NotAllowed("Você não pode entrar como esta pessoa.")
    if settings.STAFF_NEEDS_MFA and not used_second_factor(request):  # the admin's door asks for it, too
        raise NotAllowed("Confirme a verificação em duas etapas antes de entrar como alguém.")
    if not reason.strip():
        raise NotAllowed("Diga o motivo: ele fica no registro da empresa.")
    staff = User.objects.get(pk=staff.pk)
    signed_in_by = request.session.get(_SIGNED_IN_BY)
    until = clock.now() + LASTS
    response = cast(HttpResponse, _Enter.as_view(membership=membership)(request))
    request.session[STATE] = {
        "staff_id": staff.pk, "staff_email": staff.email, "user_id": membership.user_id,
        "organization_id": membership.organization_id, "organization_name": str(membership.organization),
        "until": until.isoformat(), "signed_in_by": signed_in_by,
    }  # fmt: skip
    request.session[ORGANIZATION_KEY] = membership.organization_id
    audit.note(
        "impersonation_started", organization=membership.organization, user=staff,
        detail={"reason": reason.strip(), "as": membership.user.email, "until": until.isoformat()},
    )  # fmt: skip
    return response


def end(request: HttpRequest, *, why: str) -> bool:
    """Back to who one is; False where that person can't come back, and nobody is signed in any more. `why` goes to the log."""
    seen = impersonation_of(request)
    if seen is None:
        return False
    kept = request.session[STATE]
    staff = User.objects.filter(pk=seen.staff_id).first()
    is_back = staff is not None and may_impersonate(staff) and request.user.is_authenticated and request.user.pk == seen.user_id
    if is_back:
        _leave(request)
        for name in (STATE, ORGANIZATION_KEY, "hijack_history"):
            request.session.pop(name, None)
        if kept.get("signed_in_by"):
            request.session[_SIGNED_IN_BY] = kept["signed_in_by"]
    else:
        logout(request)
    _note("impersonation_ended", seen, why=why)
    return is_back


def _leave(request: HttpRequest) -> None:
    """hijack's swap back. It asks for a POST with a token; an end by the clock comes with any method, and was asked by nobody."""
    asked, checked = request.method, getattr(request, "csrf_processing_done", False)
    request.method, request.csrf_processing_done = "POST", True  # type: ignore[attr-defined]
    try:
        _Leave.as_view()(request)
    finally:
        request.method, request.csrf_processing_done = asked, checked  # type: ignore[attr-defined]


def note_refusal(request: HttpRequest, seen: Impersonation) -> None:
    _note("impersonation_refused", seen, method=str(request.method), path=request.path[:200])


def _note(kind: str, seen: Impersonation, **detail: str) -> None:
    organization = Organization.objects.filter(pk=seen.organization_id).first()
    staff = User.objects.filter(pk=seen.staff_id).first()
    audit.note(kind, organization=organization, user=staff, detail=detail)
