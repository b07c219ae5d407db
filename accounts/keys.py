"""API keys: `sk-tokia-` + 43 base62 characters of 32 random bytes + 6 base62 characters of their CRC-32.

Only SHA-256 is stored: 256 random bits need no slow hash. The checksum tells a typing mistake without a query, and lets
scanners of public code recognize a leaked key.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Collection, Iterable
from typing import TypedDict, Unpack

from django.db import transaction
from django.utils.translation import gettext

from accounts import audit
from accounts.errors import NotAllowed, ProjectArchived, TooMany
from accounts.models import ApiKey, Organization, Project, User
from accounts.scopes import CALL, check_scopes
from tokia import clock

PREFIX = "sk-tokia-"
KEYS_MAX = 200  # active ones, per organization
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY, _SUM = 43, 6  # 62^43 > 2^256, 62^6 > 2^32
_FORM = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_BODY}}})([0-9A-Za-z]{{{_SUM}}})", re.ASCII)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32((PREFIX + body).encode()), _SUM)


def new_secret() -> str:
    body = _base62(int.from_bytes(secrets.token_bytes(32), "big"), _BODY)
    return PREFIX + body + _checksum(body)


def check_key(secret: str) -> bytes | None:
    """The SHA-256 to look a well-formed key up by; None where form or checksum are wrong. Pure, no query."""
    match = _FORM.fullmatch(secret)
    if match is None or not hmac.compare_digest(_checksum(match[1]), match[2]):
        return None
    return hashlib.sha256(secret.encode()).digest()


def find_key(key_hash: bytes) -> ApiKey | None:
    """The key with this digest, in whatever state it is."""
    key = ApiKey.everywhere.select_related("organization", "project").filter(key_hash=key_hash).first()
    return key if key is not None and hmac.compare_digest(bytes(key.key_hash), key_hash) else None


@transaction.atomic
def mint_key(
    organization: Organization,
    *,
    user: User | None,
    name: str,
    project: Project | None = None,
    scopes: Iterable[str] = (CALL,),
    expires_at: dt.datetime | None = None,
    allowed_routes: Iterable[str] = (),
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    concurrent_calls: int | None = None,
    stores_responses: bool = False,
    cache_seconds: int | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never to be had again. `scopes` as `accounts.scopes.check_scopes` gives them.

    Raises TooMany, ProjectArchived.
    """
    check_project(organization, project)
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)  # two presses at once count each other
    live = ApiKey.everywhere.filter(organization=organization, kind=ApiKey.Kind.MADE, status=ApiKey.Status.ACTIVE)
    if live.count() >= KEYS_MAX:
        raise TooMany(
            gettext("A empresa já tem {count} chaves ativas. Revogue alguma antes de criar outra.").format(count=KEYS_MAX)
        )
    secret = new_secret()
    key = ApiKey.everywhere.create(
        organization=organization,
        project=project,
        created_by=user,
        name=name,
        scopes=list(scopes),
        key_hash=hashlib.sha256(secret.encode()).digest(),
        prefix=secret[:12],
        suffix=secret[-4:],
        expires_at=expires_at,
        allowed_routes=sorted(set(allowed_routes)),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent_calls=concurrent_calls,
        stores_responses=stores_responses,
        cache_seconds=cache_seconds,
    )
    audit.act("key_created", organization=organization, detail=_told(key) | {"scopes": key.scopes})
    return key, secret


def _told(key: ApiKey) -> dict[str, str]:
    """How the audit log names a key: as people see it in the list."""
    return {"name": key.name, "key": f"{key.prefix}…{key.suffix}"}


def check_project(organization: Organization, project: Project | None) -> None:
    """Raises ProjectArchived, and Project.DoesNotExist for another organization's."""
    if project is None:
        return
    found = Project.everywhere.get(pk=project.pk, organization=organization)
    if found.archived_at is not None:
        raise ProjectArchived(gettext("Este projeto está arquivado. Restaure-o ou escolha outro."), param="project")


class KeyChanges(TypedDict, total=False):
    """What may change of a key; what is left out stays."""

    name: str
    project: Project | None
    scopes: list[str]
    allowed_routes: Iterable[str]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_calls: int | None
    stores_responses: bool
    cache_seconds: int | None


def change_key(key: ApiKey, **changes: Unpack[KeyChanges]) -> bool:
    """What a key may do, from now on; in force in every gateway within two seconds. False where it was revoked meanwhile.

    `scopes` as `new_scopes` gives them. Its secret, who made it and when it expires never change: that is another key.
    Raises ProjectArchived.
    """
    if "project" in changes and (changes["project"] is None or changes["project"].pk != key.project_id):
        check_project(key.organization, changes["project"])
    if "allowed_routes" in changes:
        changes["allowed_routes"] = sorted(set(changes["allowed_routes"]))
    active = ApiKey.everywhere.filter(pk=key.pk, status=ApiKey.Status.ACTIVE)
    changed = active.update(**changes) if changes else active.count()
    key.refresh_from_db()
    if changed and changes:
        audit.act("key_changed", organization=key.organization, detail=_told(key) | {"changed": sorted(changes)})
    return changed == 1


def new_scopes(key: ApiKey, wanted: Iterable[str], *, by: User, allowed: Collection[str]) -> list[str]:
    """The scopes to give a key that exists. A key acts in the name of who created it, so only they add what manages;
    others may take away, and give or take "call".

    Raises UnknownScope, ScopeMissing.
    """
    kept = set(key.scopes)
    return check_scopes(wanted, allowed=kept | set(allowed) if key.created_by_id == by.pk else kept | ({CALL} & set(allowed)))


def rotate_key(key: ApiKey, *, by: User) -> str:
    """A new secret for the same key: limits, budgets and history go on; the old secret is refused within two seconds.

    Raises NotAllowed for a revoked key, and for one that manages and that somebody else created: its secret acts in their name.
    """
    if set(key.scopes) != {CALL} and key.created_by_id != by.pk:
        text = gettext("Esta chave administra em nome de quem a criou: só essa pessoa troca o segredo. Você pode revogá-la.")
        raise NotAllowed(text)
    secret = new_secret()
    changed = ApiKey.everywhere.filter(pk=key.pk, status=ApiKey.Status.ACTIVE).update(
        key_hash=hashlib.sha256(secret.encode()).digest(), prefix=secret[:12], suffix=secret[-4:]
    )
    if not changed:
        raise NotAllowed(gettext("Esta chave foi revogada. Crie outra."))
    key.refresh_from_db()
    audit.act("key_rotated", organization=key.organization, detail=_told(key))
    return secret


def revoke_key(key: ApiKey) -> None:
    """For ever. Every gateway refuses it within two seconds: the row's trigger moves the callers' snapshot version."""
    active = ApiKey.everywhere.filter(pk=key.pk, status=ApiKey.Status.ACTIVE)
    revoked = active.update(status=ApiKey.Status.REVOKED, revoked_at=clock.now())
    key.refresh_from_db()
    if revoked:
        audit.act("key_revoked", organization=key.organization, detail=_told(key))
