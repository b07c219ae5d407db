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
from collections.abc import Iterable

from django.db import transaction

from accounts.errors import TooMany
from accounts.models import ApiKey, Organization, User
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
    key = ApiKey.everywhere.select_related("organization").filter(key_hash=key_hash).first()
    return key if key is not None and hmac.compare_digest(bytes(key.key_hash), key_hash) else None


@transaction.atomic
def mint_key(
    organization: Organization,
    *,
    user: User | None,
    name: str,
    expires_at: dt.datetime | None = None,
    allowed_routes: Iterable[str] = (),
    requests_per_minute: int | None = None,
    stores_responses: bool = False,
    cache_seconds: int | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never to be had again. Raises TooMany."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)  # two presses at once count each other
    if ApiKey.everywhere.filter(organization=organization, status=ApiKey.Status.ACTIVE).count() >= KEYS_MAX:
        raise TooMany(f"A empresa já tem {KEYS_MAX} chaves ativas. Revogue alguma antes de criar outra.")
    secret = new_secret()
    key = ApiKey.everywhere.create(
        organization=organization,
        created_by=user,
        name=name,
        key_hash=hashlib.sha256(secret.encode()).digest(),
        prefix=secret[:12],
        suffix=secret[-4:],
        expires_at=expires_at,
        allowed_routes=sorted(set(allowed_routes)),
        requests_per_minute=requests_per_minute,
        stores_responses=stores_responses,
        cache_seconds=cache_seconds,
    )
    return key, secret


def change_key(
    key: ApiKey,
    *,
    name: str,
    allowed_routes: Iterable[str],
    requests_per_minute: int | None,
    stores_responses: bool,
    cache_seconds: int | None,
) -> bool:
    """What a key may do, from now on; in force in every gateway within two seconds. False where it was revoked meanwhile.

    Its secret, who made it and when it expires never change: that is another key."""
    changed = ApiKey.everywhere.filter(pk=key.pk, status=ApiKey.Status.ACTIVE).update(
        name=name,
        allowed_routes=sorted(set(allowed_routes)),
        requests_per_minute=requests_per_minute,
        stores_responses=stores_responses,
        cache_seconds=cache_seconds,
    )
    key.refresh_from_db()
    return changed == 1


def revoke_key(key: ApiKey) -> None:
    """For ever. Every gateway refuses it within two seconds: the row's trigger moves the callers' snapshot version."""
    ApiKey.everywhere.filter(pk=key.pk, status=ApiKey.Status.ACTIVE).update(status=ApiKey.Status.REVOKED, revoked_at=clock.now())
    key.refresh_from_db()
