"""Which organization a key belongs to, from memory. A key is looked up once; afterwards a version number says when to read again.

Format `sk-tokia-` + 43 base62 + 6 of CRC: a mistyped key is refused without a query. Only the SHA-256 is ever looked up.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from django.conf import settings

from accounts.keys import check_key
from accounts.models import ApiKey
from billing.models import Wallet
from gateway.calls import Caller, ServedOwnKey
from gateway.errors import Forbidden, Unauthorized
from gateway.models import OwnKey
from gateway.secrets import SecretUnreadable, unseal

log = logging.getLogger(__name__)
CALLERS_MAX = 50_000
UNKNOWN_MAX = 20_000
SECRET_BYTES_MAX = 200


def secret_of(headers: Mapping[bytes, bytes]) -> bytes:
    """The key of `x-api-key` or `Authorization: Bearer …`; empty where there is neither."""
    from_header = headers.get(b"x-api-key")
    if from_header is not None:
        return from_header.strip()
    value = headers.get(b"authorization", b"")
    return value[7:].strip() if value[:7].lower() == b"bearer " else b""


def check_caller(caller: Caller) -> Caller:
    """Raises Unauthorized for a revoked or expired key, Forbidden for a suspended organization."""
    if caller.is_revoked:
        raise Unauthorized("Esta chave de API foi revogada.", "This API key was revoked.")
    if caller.expires_at is not None and caller.expires_at <= time.time():
        raise Unauthorized("Esta chave de API expirou.", "This API key has expired.")
    if caller.is_suspended:
        raise Forbidden(
            "A conta desta empresa está suspensa. Fale com o suporte.",
            "This organization is suspended. Contact support.",
            code="organization_suspended",
        )
    return caller


class CallerBook:
    """The callers seen so far by the SHA-256 of their key, bounded; oldest out first.

    Loads run in the snapshot thread, one at a time: a row read before a revocation is never written over one read after it.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Caller] = {}
        self._unknown: dict[bytes, None] = {}

    def find(self, secret: bytes) -> Caller | None:
        """From memory only; None where a look-up is needed. Raises Unauthorized: malformed, wrong CRC, or known to be unknown.

        A key in memory was well-formed when it came first, so only the others are checked.
        """
        digest = sha256(secret).digest()
        caller = self._known.get(digest)
        if caller is None and (digest in self._unknown or len(secret) > SECRET_BYTES_MAX or not _is_well_formed(secret)):
            raise unknown_key()
        return caller

    def look_up(self, secret: bytes) -> Caller | None:
        """Ask the database for one key and remember the answer (Django, synchronous, in the snapshot thread)."""
        digest = sha256(secret).digest()
        caller = _read([digest]).get(digest)
        if caller is None:
            _make_room(self._unknown, UNKNOWN_MAX)
            self._unknown[digest] = None
        elif caller.wallet_id:  # without a wallet it is asked again: the wallet may be opened any moment
            _make_room(self._known, CALLERS_MAX)
            self._known[digest] = caller
        return caller

    def refresh(self) -> None:
        """Read all remembered keys again (Django, synchronous, in the snapshot thread). Those that are gone are forgotten."""
        self._known, self._unknown = _read(list(self._known)), {}


def _is_well_formed(secret: bytes) -> bool:
    return check_key(secret.decode("latin-1")) is not None


def _make_room(book: dict[bytes, Any], limit: int) -> None:
    if len(book) >= limit:
        for oldest in list(book)[: limit // 10]:
            del book[oldest]


def unknown_key() -> Unauthorized:
    return Unauthorized(
        "Chave de API inválida. Crie ou confira a sua em Chaves, no painel.",
        "Incorrect API key provided. Create or check yours on the dashboard's keys page.",
    )


def missing_key() -> Unauthorized:
    return Unauthorized(
        "Falta a chave de API: envie o cabeçalho 'Authorization: Bearer sk-tokia-…'.",
        "You didn't provide an API key: send the header 'Authorization: Bearer sk-tokia-…'.",
    )


def _read(digests: list[bytes]) -> dict[bytes, Caller]:
    found: dict[bytes, Caller] = {}
    for start in range(0, len(digests), 1_000):
        keys = list(
            ApiKey.everywhere.filter(key_hash__in=digests[start : start + 1_000]).select_related("organization__limit_profile")
        )
        wallets = dict(
            Wallet.everywhere.filter(organization__in={key.organization_id for key in keys}).values_list("organization_id", "pk")
        )
        own_keys = _own_keys({key.organization_id for key in keys})
        for key in keys:
            own = own_keys.get(key.organization_id, ())
            found[bytes(key.key_hash)] = _caller(key, wallets.get(key.organization_id, 0), own)
    return found


def _own_keys(organization_ids: Collection[int]) -> dict[int, tuple[ServedOwnKey, ...]]:
    """By organization. One that can't be opened is told and left out: calls go on without it."""
    found: dict[int, tuple[ServedOwnKey, ...]] = {}
    rows = OwnKey.everywhere.filter(organization__in=organization_ids, is_active=True, provider__is_active=True)
    for row in rows.select_related("provider").order_by("pk"):
        try:
            secret = unseal(bytes(row.secret), organization_id=row.organization_id).decode()
        except SecretUnreadable:
            log.error("own key unreadable: ENCRYPTION_KEYS does not open it", extra={"own_key": row.pk})
            continue
        served = ServedOwnKey(id=row.pk, provider_slug=row.provider.slug, secret=secret, use=row.use)
        found[row.organization_id] = (*found.get(row.organization_id, ()), served)
    return found


def read_caller(api_key_id: int) -> Caller | None:
    """Today's caller of a key (Django, synchronous), for work that outlives a request; it never uses customers' own provider keys,
    whose owners did not choose when it runs."""
    key = ApiKey.everywhere.filter(pk=api_key_id).select_related("organization__limit_profile").first()
    if key is None:
        return None
    wallet_id = Wallet.everywhere.filter(organization=key.organization_id).values_list("pk", flat=True).first()
    return _caller(key, wallet_id or 0)


def _caller(key: ApiKey, wallet_id: int, own_keys: tuple[ServedOwnKey, ...] = ()) -> Caller:
    profile = key.organization.limit_profile
    limits = [limit for limit in (key.requests_per_minute, profile.requests_per_minute if profile else None) if limit]
    return Caller(
        api_key_id=key.pk,
        organization_id=key.organization_id,
        wallet_id=wallet_id,
        label=key.name,
        allowed_routes=frozenset(key.allowed_routes),
        requests_per_minute=min(limits) if limits else settings.REQUESTS_PER_MINUTE,
        expires_at=_unix(key.expires_at),
        is_revoked=key.status != ApiKey.Status.ACTIVE,
        is_suspended=key.organization.is_suspended,
        stores_responses=key.stores_responses,
        cache_seconds=key.cache_seconds or 0,
        own_keys=own_keys,
    )


def _unix(instant: dt.datetime | None) -> float | None:
    return instant.timestamp() if instant else None
