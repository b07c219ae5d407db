"""A person of ours sees the pages as a member of an organization does: to help, for half an hour, only to look.

This says who may, as whom, for how long, and what is noted. The session remembers it under STATE;
`accounts.impersonation_guard` reads it at every request.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, login, logout
from django.db import transaction
from django.http import HttpRequest

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


def may_enter(staff: User, *, person: User) -> bool:
    """Never as somebody of ours: their rights would come along."""
    if not person.is_active or person.is_staff or person.is_superuser or person.pk == staff.pk:
        return False
    return may_impersonate(staff)


def members_to_enter_as(organization: Organization) -> list[Membership]:
    """Whose view may be taken: active people who are none of ours; owners first."""
    found = Membership.everywhere.filter(
        organization=organization, user__is_active=True, user__is_staff=False, user__is_superuser=False
    ).select_related("user", "organization")
    weight = {"owner": 0, "admin": 1, "finance": 2, "developer": 3}
    return sorted(found, key=lambda member: (weight.get(member.role, 9), member.pk))


def start(request: HttpRequest, *, membership: Membership, reason: str) -> None:
    """Sees as this member from now on. Raises NotAllowed."""
    staff = cast(User, request.user)
    if impersonation_of(request) is not None or not may_enter(staff, person=membership.user):
        raise NotAllowed("Você não pode entrar como esta pessoa.")
    if settings.STAFF_NEEDS_MFA and not used_second_factor(request):  # the admin's door asks for it, too
        raise NotAllowed("Confirme a verificação em duas etapas antes de entrar como alguém.")
    if not reason.strip():
        raise NotAllowed("Diga o motivo: ele fica no registro da empresa.")
    staff = User.objects.get(pk=staff.pk)
    signed_in_by = request.session.get(_SIGNED_IN_BY)
    until = clock.now() + LASTS
    _swap(request, membership.user)
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


def end(request: HttpRequest, *, why: str) -> bool:
    """Back to who one is; False where that person can't come back, and nobody is signed in any more. `why` goes to the log."""
    seen = impersonation_of(request)
    if seen is None:
        return False
    kept = request.session[STATE]
    staff = User.objects.filter(pk=seen.staff_id).first()
    is_theirs = request.user.is_authenticated and request.user.pk == seen.user_id
    back = staff if is_theirs and staff is not None and may_impersonate(staff) else None
    if back is None:
        logout(request)
    else:
        _swap(request, back)
        if kept.get("signed_in_by"):
            request.session[_SIGNED_IN_BY] = kept["signed_in_by"]
    _note("impersonation_ended", seen, why=why)
    return back is not None


def _swap(request: HttpRequest, user: User) -> None:
    """Django's `login` begins the session anew: nothing of the one is left to the other. No sign-in of theirs: no date of it."""
    expiry, last_login = request.session.get("_session_expiry"), user.last_login
    with transaction.atomic():
        login(request, user, backend=request.session[BACKEND_SESSION_KEY])
        User.objects.filter(pk=user.pk).update(last_login=last_login)
    if expiry is not None:
        request.session["_session_expiry"] = expiry


def note_refusal(request: HttpRequest, seen: Impersonation) -> None:
    _note("impersonation_refused", seen, method=str(request.method), path=request.path[:200])


def _note(kind: str, seen: Impersonation, **detail: str) -> None:
    organization = Organization.objects.filter(pk=seen.organization_id).first()
    staff = User.objects.filter(pk=seen.staff_id).first()
    audit.note(kind, organization=organization, user=staff, detail=detail)
