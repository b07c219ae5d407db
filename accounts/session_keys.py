"""Session keys: what a page of the dashboard calls `/v1` with, in the name of the person who is signed in.

A person has one in each organization, a row of `ApiKey` like any other, so that budgets, limits, usage and the requests page know
it; its secret is drawn anew each time the page asks, lives KEY_SECONDS, and ends with the sign-in: a trigger on the sessions' table
closes it in the same commit, whoever ends the session. The gateway takes it at one address only (`gateway.cors`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import BinaryField, Exists, Func, OuterRef, Q, QuerySet, Value

from accounts.keys import new_secret
from accounts.models import ApiKey, Membership
from accounts.roles import PERMISSIONS
from accounts.scopes import CALL
from tokia import clock

KEY_SECONDS = 600
REQUESTS_PER_MINUTE = 60
CALLS_AT_ONCE = 6  # three models, and the three that were asked before
PERMISSION = "keys.manage"
NAME_MAX = 60


@dataclass(frozen=True, slots=True)
class OpenedKey:
    key: ApiKey
    secret: str = field(repr=False)
    expires_at: dt.datetime


@transaction.atomic
def open_session_key(membership: Membership, *, session_key: str) -> OpenedKey:
    """The person's playground key with a new secret; what they had before is refused within two seconds.

    `session_key`: of the Django session that it ends with. Never called for a person without PERMISSION."""
    secret, now = new_secret(), clock.now()
    expires_at = now + dt.timedelta(seconds=KEY_SECONDS)
    fields = {
        "name": f"Playground: {membership.user.get_full_name()}"[:NAME_MAX],
        "status": ApiKey.Status.ACTIVE,
        "revoked_at": None,
        "key_hash": hashlib.sha256(secret.encode()).digest(),
        "prefix": secret[:12],
        "suffix": secret[-4:],
        "expires_at": expires_at,
        "session_digest": digest_of(session_key),
        "scopes": [CALL],
        "requests_per_minute": REQUESTS_PER_MINUTE,
        "concurrent_calls": CALLS_AT_ONCE,
    }
    key, _ = ApiKey.everywhere.update_or_create(
        organization=membership.organization, created_by=membership.user, kind=ApiKey.Kind.PLAYGROUND, defaults=fields
    )
    return OpenedKey(key, secret, expires_at)


def close_session_keys(membership: Membership) -> None:
    """At once: the person leaves, or may no longer."""
    _close(ApiKey.everywhere.filter(organization=membership.organization_id, created_by=membership.user_id))


def reap_session_keys() -> int:
    """Those that expired, whose person may no longer, or whose session is gone; gives how many."""
    allowed = Membership.everywhere.filter(
        organization=OuterRef("organization"), user=OuterRef("created_by"), user__is_active=True,
        role__in=[role for role, permissions in PERMISSIONS.items() if PERMISSION in permissions],
    )  # fmt: skip
    digest = Func(Func("session_key", Value("UTF8"), function="convert_to"), function="sha256", output_field=BinaryField())
    alive = Session.objects.annotate(digest=digest).filter(digest=OuterRef("session_digest"), expire_date__gt=clock.now())
    over = Q(expires_at__lte=clock.now()) | ~Exists(allowed) | ~Exists(alive)
    return _close(ApiKey.everywhere.filter(over))


def digest_of(session_key: str) -> bytes:
    return hashlib.sha256(session_key.encode()).digest()


def _close(keys: QuerySet[ApiKey]) -> int:
    """Asked before it is written: every UPDATE of keys, of none too, makes all gateways read theirs again."""
    open_ = keys.filter(kind=ApiKey.Kind.PLAYGROUND, status=ApiKey.Status.ACTIVE)
    ids = list(open_.values_list("pk", flat=True))
    if not ids:
        return 0
    return ApiKey.everywhere.filter(pk__in=ids, status=ApiKey.Status.ACTIVE).update(
        status=ApiKey.Status.REVOKED, revoked_at=clock.now(), session_digest=None
    )
