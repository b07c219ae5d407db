"""Secrets at rest: Fernet, newest key of ENCRYPTION_KEYS first, older ones still decrypt.

What belongs to a customer is sealed under a key of its organization, derived from ENCRYPTION_KEYS (HKDF-SHA256): a row that turns
up under another organization's name can't be opened there.
"""

from __future__ import annotations

import base64
from functools import cache, lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

ORGANIZATIONS_CACHED = 1_024


class SecretUnreadable(RuntimeError):
    """None of ENCRYPTION_KEYS opens this secret."""


@cache
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(text: str) -> bytes:
    return _fernet(tuple(settings.ENCRYPTION_KEYS)).encrypt(text.encode())


def decrypt(token: bytes) -> str:
    """Raises SecretUnreadable where the key is gone: fails closed."""
    try:
        return _fernet(tuple(settings.ENCRYPTION_KEYS)).decrypt(bytes(token)).decode()
    except InvalidToken as error:
        raise SecretUnreadable("None of ENCRYPTION_KEYS opens this secret.") from error


def rotate(token: bytes) -> bytes:
    """The same secret under the newest key."""
    return _fernet(tuple(settings.ENCRYPTION_KEYS)).rotate(bytes(token))


# ── Under an organization's key ──────────────────────────────────────────────────────────────────────────────────────
@lru_cache(maxsize=ORGANIZATIONS_CACHED)
def _fernet_of(keys: tuple[str, ...], organization_id: int) -> MultiFernet:
    return MultiFernet([Fernet(_derive(key, organization_id)) for key in keys])


def _derive(key: str, organization_id: int) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tokia organization %d" % organization_id)
    return base64.urlsafe_b64encode(derived.derive(base64.urlsafe_b64decode(key)))


@lru_cache(maxsize=ORGANIZATIONS_CACHED)
def _marking_key(key: str, organization_id: int) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tokia marks of organization %d" % organization_id)
    return derived.derive(base64.urlsafe_b64decode(key))


def mark(content: bytes, *, organization_id: int) -> bytes:
    """32 bytes that are the same for the same content of the same organization, and tell nobody else what it is or that it was."""
    hmac = HMAC(_marking_key(settings.ENCRYPTION_KEYS[0], organization_id), SHA256())
    hmac.update(content)
    return hmac.finalize()


def seal(content: bytes, *, organization_id: int) -> bytes:
    return _fernet_of(tuple(settings.ENCRYPTION_KEYS), organization_id).encrypt(content)


def unseal(token: bytes, *, organization_id: int) -> bytes:
    """Raises SecretUnreadable for another organization's token, a changed one, or one whose key is gone: fails closed."""
    try:
        return _fernet_of(tuple(settings.ENCRYPTION_KEYS), organization_id).decrypt(bytes(token))
    except InvalidToken as error:
        raise SecretUnreadable("None of ENCRYPTION_KEYS opens this for the organization.") from error


def reseal(token: bytes, *, organization_id: int) -> bytes:
    """The same content under the newest key. Raises SecretUnreadable."""
    try:
        return _fernet_of(tuple(settings.ENCRYPTION_KEYS), organization_id).rotate(bytes(token))
    except InvalidToken as error:
        raise SecretUnreadable("None of ENCRYPTION_KEYS opens this for the organization.") from error
