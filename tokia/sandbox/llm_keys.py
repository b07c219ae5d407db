"""Whose key a provider was called with.

Each provider knows `sandbox-<slug>` and every `sandbox-<slug>-<label>`: several keys of one account, keys of other accounts. On
Bedrock also the access keys AKIASANDBOXBEDROCKnn, whose secret is `sandbox-bedrock-nn` (00: `sandbox-bedrock`). The control
endpoint `__keys` puts a key out of force (401), blocks it (403) or empties its account (402), until it is restored.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_refusals import scripted_error

KEY_USED: ContextVar[str] = ContextVar("key_used", default="")  # the label of the key that this request came with
REFUSED: dict[str, int] = {}  # key → HTTP status
STATUSES = (401, 402, 403)
ACCESS_KEY_ID = re.compile(r"AKIASANDBOXBEDROCK(\d\d)")


def knows_key(provider: Provider, given: str) -> bool:
    """False for an unknown key or one that was revoked, which the provider refuses in its own words. Raises ProviderError for one
    that is blocked or has no balance."""
    found = re.fullmatch(rf"sandbox-{provider.slug}(?:-([a-z0-9-]{{1,40}}))?", given)
    status = REFUSED.get(given, 0)
    if found is None or status == 401:
        return False
    if status:
        raise scripted_error(provider, status, retry_after=None)
    KEY_USED.set(found[1] or "")
    return True


def secret_of_access_key(access_key_id: str) -> str:
    """Empty for an access key that nobody has."""
    found = ACCESS_KEY_ID.fullmatch(access_key_id)
    if found is None:
        return ""
    return "sandbox-bedrock" if found[1] == "00" else f"sandbox-bedrock-{found[1]}"


def set_refused(key: str, status: int) -> dict[str, int]:
    """`status` 0 restores it. Raises ValueError."""
    if status and status not in STATUSES:
        raise ValueError(f"status: one of {STATUSES}, or 0")
    if status:
        REFUSED[key] = status
    else:
        REFUSED.pop(key, None)
    return dict(REFUSED)
