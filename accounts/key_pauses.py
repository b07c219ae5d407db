"""A key that rests: it refuses every call with 403 `key_paused` until it is resumed, and keeps its secret, limits and history."""

from __future__ import annotations

from accounts import audit
from accounts.models import ApiKey
from tokia import clock


def pause_key(key: ApiKey) -> bool:
    """In force in every gateway within two seconds: the row's trigger moves the callers' snapshot. False where it is revoked."""
    return _set(key, is_paused=True)


def resume_key(key: ApiKey) -> bool:
    """False where it was revoked meanwhile."""
    return _set(key, is_paused=False)


def _set(key: ApiKey, *, is_paused: bool) -> bool:
    live = ApiKey.everywhere.filter(pk=key.pk, status=ApiKey.Status.ACTIVE)
    changed = live.filter(paused_at__isnull=is_paused).update(paused_at=clock.now() if is_paused else None)
    key.refresh_from_db()
    if changed:
        told = {"name": key.name, "key": f"{key.prefix}…{key.suffix}"}
        audit.act("key_paused" if is_paused else "key_resumed", organization=key.organization, detail=told)
    return key.status == ApiKey.Status.ACTIVE
