"""Two-step sign-in: who has a second factor, who used it, and where one is demanded.

| who | demanded | from when |
|---|---|---|
| staff, at `/admin/` | STAFF_NEEDS_MFA: set up and used in this very sign-in | always |
| members, at an organization that demands it | set up (allauth then asks for it at every sign-in) | `mfa_demanded_from` |

`accounts.middleware.SecondFactorMiddleware` stands at the door. Keys are programs: nothing is demanded of them.
"""

from __future__ import annotations

import datetime as dt

from allauth.account.internal.flows.login import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext

from accounts import audit
from accounts.errors import NotAllowed
from accounts.models import Membership, Organization, Role, User
from tokia import clock

GRACE_DAYS_MAX = 90
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)  # recovery codes are no factor by themselves


def has_second_factor(user: User) -> bool:
    return bool(Authenticator.objects.filter(user_id=user.pk, type__in=FACTORS).exists())


def users_with_second_factor(organization: Organization) -> set[int]:
    members = Membership.everywhere.filter(organization=organization).values("user")
    return set(Authenticator.objects.filter(user__in=members, type__in=FACTORS).values_list("user_id", flat=True))


def used_second_factor(request: HttpRequest) -> bool:
    """In this very sign-in: a code, a passkey or a recovery code, at the door or when asked again."""
    if not isinstance(request.user, User):
        return False
    return any(record.get("method") == "mfa" for record in get_authentication_records(request, request.user))


def page_to_use(user: User) -> str:
    """The name of the page where this person uses a second factor now."""
    has_codes = Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.TOTP).exists()
    return "mfa_reauthenticate" if has_codes else "mfa_reauthenticate_webauthn"


def is_demanded(organization: Organization) -> bool:
    return organization.mfa_demanded_from is not None and organization.mfa_demanded_from <= clock.now()


def lacks(membership: Membership) -> bool:
    """Whether this person may not see the organization's pages until a second factor is set up."""
    return is_demanded(membership.organization) and not has_second_factor(membership.user)


def grace_of(membership: Membership) -> dt.datetime | None:
    """Until when this person may go on without one; None where nothing waits for them."""
    demanded = membership.organization.mfa_demanded_from
    if demanded is None or demanded <= clock.now() or has_second_factor(membership.user):
        return None
    return demanded


def may_remove(authenticator: Authenticator) -> bool:
    """Not the last factor of somebody who must have one."""
    others = Authenticator.objects.filter(user_id=authenticator.user_id, type__in=FACTORS).exclude(pk=authenticator.pk)
    if authenticator.type not in FACTORS or others.exists():
        return True
    if settings.STAFF_NEEDS_MFA and authenticator.user.is_staff:
        return False
    demanding = Organization.objects.filter(memberships__user_id=authenticator.user_id, mfa_demanded_from__lte=clock.now())
    return not demanding.exists()


@transaction.atomic
def demand(by: Membership, *, grace_days: int) -> None:
    """Of all members, so many days from now; 0: at once. Whoever asks for it must have one: nobody locks themselves out.

    Raises NotAllowed.
    """
    _check(by)
    if not 0 <= grace_days <= GRACE_DAYS_MAX:
        raise NotAllowed(gettext("Escolha um prazo de 0 a {days} dias.").format(days=GRACE_DAYS_MAX))
    if not has_second_factor(by.user):
        raise NotAllowed(gettext("Ligue antes a sua própria verificação em duas etapas, em Sua conta."))
    since = clock.now() + dt.timedelta(days=grace_days)
    Organization.objects.filter(pk=by.organization_id).update(mfa_demanded_from=since)
    by.organization.refresh_from_db()
    audit.note("mfa_demanded", organization=by.organization, user=by.user, detail={"grace_days": grace_days})


@transaction.atomic
def stop_demanding(by: Membership) -> None:
    """Raises NotAllowed."""
    _check(by)
    if Organization.objects.filter(pk=by.organization_id).exclude(mfa_demanded_from=None).update(mfa_demanded_from=None):
        audit.note("mfa_not_demanded", organization=by.organization, user=by.user)
    by.organization.refresh_from_db()


def _check(by: Membership) -> None:
    fresh = Membership.everywhere.filter(pk=by.pk).values_list("role", flat=True).first()
    if fresh not in (Role.OWNER, Role.ADMIN):
        raise NotAllowed(gettext("Só donos e administradores mudam isto."))
