"""Secrets at rest: Fernet, newest key of ENCRYPTION_KEYS first, older ones still decrypt."""

from __future__ import annotations

from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


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
