"""A hook's secret and what it signs: Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks), symmetric.

A secret is `whsec_` and 32 random bytes in base64. `webhook-signature` is `v1,` and the base64 of
HMAC-SHA256(secret, "<webhook-id>.<webhook-timestamp>.<body>"); two of them, a space between, while an older secret still signs.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import secrets

from billing.models import Hook
from tokia import clock
from tokia.sealing import reseal, seal, unseal

PREFIX = "whsec_"
SECRET_BYTES = 32
ROTATION = dt.timedelta(hours=24)


def mint_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sealed(secret: str, *, organization_id: int) -> bytes:
    return seal(secret.encode(), organization_id=organization_id)


def secrets_of(hook: Hook) -> list[str]:
    """The secrets that sign now, newest first. Raises SecretUnreadable where the key that sealed them is gone."""
    tokens = [hook.secret]
    if hook.previous_secret and hook.previous_ends_at and hook.previous_ends_at > clock.now():
        tokens.append(hook.previous_secret)
    return [unseal(bytes(token), organization_id=hook.organization_id).decode() for token in tokens]


def sign(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def headers_for(hook: Hook, *, message_id: str, body: bytes) -> dict[str, str]:
    """The three headers of one attempt, at this instant. Raises SecretUnreadable."""
    timestamp = int(clock.now().timestamp())
    signatures = [sign(secret, message_id=message_id, timestamp=timestamp, body=body) for secret in secrets_of(hook)]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def reseal_hooks() -> int:
    """Every secret, under the newest of ENCRYPTION_KEYS; gives how many. Safe to repeat. Raises SecretUnreadable."""
    count = 0
    for hook in Hook.everywhere.order_by("pk").iterator(chunk_size=100):
        changes = {"secret": reseal(bytes(hook.secret), organization_id=hook.organization_id)}
        if hook.previous_secret:
            changes["previous_secret"] = reseal(bytes(hook.previous_secret), organization_id=hook.organization_id)
        # One that was rotated meanwhile is under the newest key already.
        count += Hook.everywhere.filter(pk=hook.pk, secret=bytes(hook.secret)).update(**changes)
    return count
