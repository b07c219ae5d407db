"""Which organization a key belongs to, from memory. A key is looked up once; afterwards a version number says when to read again.

Format `sk-tokia-` + 43 base62 + 6 of CRC: a mistyped key is refused without a query. Only the SHA-256 is ever looked up.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django.conf import settings

from accounts.keys import check_key
from accounts.models import ApiKey
from accounts.scopes import CALL
from billing.budgets import covers_of
from billing.models import Wallet
from billing.windows import Cover, covering
from gateway import cors
from gateway.calls import Caller, Limit, ServedOwnKey
from gateway.errors import Forbidden, Unauthorized
from gateway.models import OwnKey
from gateway.secrets import SecretUnreadable, unseal

if TYPE_CHECKING:
    from gateway.exchange import Exchange

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


def check_caller(caller: Caller, exchange: Exchange | None = None) -> Caller:
    """Raises Unauthorized for a revoked or expired key; Forbidden for a suspended organization, an archived project, and a key that
    is not for calls, that is paused, or that is a session's, and this is not the request of its page."""
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
    if caller.is_archived:
        raise Forbidden(
            "O projeto desta chave está arquivado. Restaure o projeto no painel, ou use a chave de outro.",
            "This key's project is archived. Restore it on the dashboard, or use another project's key.",
            code="project_archived",
        )
    if not caller.may_call:
        if caller.is_paused:
            raise Forbidden(
                "Esta chave de API está pausada. Reative-a em Chaves, no painel, ou use outra.",
                "This API key is paused. Resume it on the dashboard's keys page, or use another one.",
                code="key_paused",
            )
        if caller.is_session and exchange is not None:
            cors.check_session(exchange)
            return caller
        raise Forbidden(
            "Esta chave não tem a permissão 'call' (chamar modelos). Use outra, ou dê a permissão em Chaves, no painel.",
            "This key lacks the scope 'call' (calling models). Use another one, or give it the scope on the dashboard's keys page.",
            code="scope_missing",
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
            ApiKey.everywhere.filter(key_hash__in=digests[start : start + 1_000]).select_related(
                "organization__limit_profile", "project"
            )
        )
        wallets = dict(
            Wallet.everywhere.filter(organization__in={key.organization_id for key in keys}).values_list("organization_id", "pk")
        )
        own_keys = _own_keys({key.organization_id for key in keys})
        budgets = covers_of({key.organization_id for key in keys})
        for key in keys:
            own = own_keys.get(key.organization_id, ())
            covers = budgets.get(key.organization_id, ())
            found[bytes(key.key_hash)] = _caller(key, wallets.get(key.organization_id, 0), own_keys=own, budgets=covers)
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
    key = ApiKey.everywhere.filter(pk=api_key_id).select_related("organization__limit_profile", "project").first()
    if key is None:
        return None
    wallet_id = Wallet.everywhere.filter(organization=key.organization_id).values_list("pk", flat=True).first()
    return _caller(key, wallet_id or 0, budgets=covers_of([key.organization_id]).get(key.organization_id, ()))


def _caller(key: ApiKey, wallet_id: int, *, own_keys: tuple[ServedOwnKey, ...] = (), budgets: tuple[Cover, ...] = ()) -> Caller:
    profile = key.organization.limit_profile
    rates = _rates_of(key)
    return Caller(
        api_key_id=key.pk,
        organization_id=key.organization_id,
        wallet_id=wallet_id,
        label=key.name,
        allowed_routes=frozenset(key.allowed_routes),
        requests_per_minute=min(limit.most for limit in rates if limit.unit == "requests"),
        expires_at=_unix(key.expires_at),
        is_revoked=key.status != ApiKey.Status.ACTIVE,
        is_suspended=key.organization.is_suspended,
        stores_responses=key.stores_responses,
        cache_seconds=key.cache_seconds or 0,
        own_keys=own_keys,
        may_call=CALL in key.scopes and key.kind == ApiKey.Kind.MADE and key.paused_at is None,
        is_session=key.kind == ApiKey.Kind.PLAYGROUND,
        project_id=key.project_id,
        is_archived=key.project is not None and key.project.archived_at is not None,
        is_paused=key.paused_at is not None,
        margin_bps=profile.margin_bps if profile else 0,
        covers=tuple(
            covering(budgets, api_key_id=key.pk, project_id=key.project_id, member_id=key.created_by_id) if budgets else ()
        ),
        tag_covers=tuple(cover for cover in budgets if cover.scope == "tag"),
        rates=rates,
        seats=_limits_of(key, "calls", "concurrent_calls"),
    )


def _rates_of(key: ApiKey) -> tuple[Limit, ...]:
    """Requests and tokens per minute. A key that is bound by nobody's number of requests is by the general one."""
    requests = _limits_of(key, "requests", "requests_per_minute")
    requests = requests or (Limit("requests", "key", key.pk, settings.REQUESTS_PER_MINUTE),)
    return requests + _limits_of(key, "tokens", "tokens_per_minute")


def _limits_of(key: ApiKey, unit: str, field: str) -> tuple[Limit, ...]:
    """The key's own, and that of all its organization's keys together."""
    own, shared = getattr(key, field), getattr(key.organization.limit_profile, field, None)
    limits = (Limit(unit, "key", key.pk, own or 0), Limit(unit, "organization", key.organization_id, shared or 0))
    return tuple(limit for limit in limits if limit.most)


def _unix(instant: dt.datetime | None) -> float | None:
    return instant.timestamp() if instant else None
