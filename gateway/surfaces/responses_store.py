"""Responses that their callers asked us to keep: sealed under the organization's key, gone after RESPONSES_TTL_DAYS.

Each row has one request's own input and its answer; a conversation is the chain of rows, so what is deleted or expired is gone from
every conversation. The verbs are plain Django and run in threads of their own (`ResponseStore`), never on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.models import Organization
from accounts.tenancy import tenant
from gateway.errors import BadRequest, RouteNotFound, Unavailable
from gateway.models import StoredResponse
from gateway.secrets import SecretUnreadable, reseal, seal, unseal
from gateway.surfaces.responses_answer import Told
from tokia import clock

log = logging.getLogger(__name__)
THREADS = 4
STORE_SECONDS = 10.0
TURNS_MAX = 1_000  # of one conversation
PURGE_BATCH = 500
# How a shown response begins when it was to be stored; what it says when that failed.
TO_BE_STORED, NOT_STORED = b'"object":"response","store":true,', b'"object":"response","store":false,'
KEY_OPTION = "Guardar respostas de /v1/responses por padrão"  # as the page that makes keys calls it
T = TypeVar("T")
Item = dict[str, Any]

# One organization's chain, newest first, with the bytes that it comes to.
_CHAIN = """
WITH RECURSIVE chain AS (
  SELECT id, previous_id, 1 AS turn, octet_length(body) + octet_length(input_items) AS bytes
  FROM gateway_storedresponse WHERE id = %(id)s AND organization_id = %(organization)s AND expires_at > %(now)s
  UNION ALL
  SELECT r.id, r.previous_id, c.turn + 1, c.bytes + octet_length(r.body) + octet_length(r.input_items)
  FROM chain c JOIN gateway_storedresponse r ON r.id = c.previous_id
  WHERE r.organization_id = %(organization)s AND r.expires_at > %(now)s AND c.turn <= %(turns)s
)
SELECT id, previous_id, turn, bytes FROM chain ORDER BY turn
"""


class Kept(NamedTuple):
    """One stored response, opened."""

    id: uuid.UUID
    previous_id: uuid.UUID | None
    response: Item
    items: list[Item]  # its own input
    size: int  # bytes, sealed


# ── Verbs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def store_response(told: Told, *, route_name: str) -> None:
    """`told.kept` and `told.items`, sealed. Raises django.db.Error."""
    now, organization_id = clock.now(), told.organization_id
    with tenant(Organization(pk=organization_id)):
        StoredResponse.objects.create(
            id=uuid.UUID(told.id),
            organization_id=organization_id,
            previous_id=uuid.UUID(told.previous_id) if told.previous_id else None,
            route_name=route_name,
            created_at=now,
            expires_at=now + dt.timedelta(days=settings.RESPONSES_TTL_DAYS),
            body=seal(told.kept, organization_id=organization_id),
            input_items=seal(msgspec.json.encode(told.items), organization_id=organization_id),
        )


def find_response(shown_id: str, *, organization_id: int) -> Kept:
    """Raises RouteNotFound: no such response of this organization, deleted, expired, or never stored."""
    id_ = read_id(shown_id)
    with tenant(Organization(pk=organization_id)):
        row = StoredResponse.objects.filter(pk=id_, expires_at__gt=clock.now()).first() if id_ else None
    if row is None:
        raise not_found(shown_id)
    return _open(row, shown_id)


def load_conversation(shown_id: str, *, organization_id: int, param: str | None = None) -> list[Kept]:
    """A response and those before it, oldest first. Raises RouteNotFound where one is gone, BadRequest where they are too long."""
    id_ = read_id(shown_id)
    if id_ is None:
        raise not_found(shown_id, param=param)
    values: dict[str, uuid.UUID | int | dt.datetime] = {
        "id": id_,
        "organization": organization_id,
        "now": clock.now(),
        "turns": TURNS_MAX,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, values)
        chain = cursor.fetchall()
    if not chain:
        raise not_found(shown_id, param=param)
    _, before, turns, size = chain[-1]
    if turns > TURNS_MAX or is_too_large(size):
        raise too_large(param)
    if before is not None:
        raise not_found(f"resp_{before.hex}", param=param)
    with tenant(Organization(pk=organization_id)):
        rows = StoredResponse.objects.in_bulk([row[0] for row in chain])
    return [_open(rows[row[0]], shown_id) for row in reversed(chain) if row[0] in rows]


def delete_response(shown_id: str, *, organization_id: int) -> None:
    """Raises RouteNotFound."""
    id_ = read_id(shown_id)
    with tenant(Organization(pk=organization_id)):
        deleted = StoredResponse.objects.filter(pk=id_, expires_at__gt=clock.now()).delete()[0] if id_ else 0
    if not deleted:
        raise not_found(shown_id)


def purge_responses() -> int:
    """Delete what has expired, for good. Gives how many."""
    purged = 0
    while True:
        due = list(StoredResponse.everywhere.filter(expires_at__lte=clock.now()).values_list("pk", flat=True)[:PURGE_BATCH])
        if not due:
            return purged
        purged += StoredResponse.everywhere.filter(pk__in=due).delete()[0]


def reseal_responses() -> int:
    """Everything that is stored, under the newest key: before an old one is dropped. Gives how many; safe to repeat."""
    count = 0
    for id_ in StoredResponse.everywhere.values_list("pk", flat=True).order_by("pk").iterator():
        row = StoredResponse.everywhere.filter(pk=id_).first()
        if row is None:  # deleted meanwhile
            continue
        body = reseal(bytes(row.body), organization_id=row.organization_id)
        items = reseal(bytes(row.input_items), organization_id=row.organization_id)
        count += StoredResponse.everywhere.filter(pk=id_).update(body=body, input_items=items)
    return count


def read_id(shown: str) -> uuid.UUID | None:
    """resp_<32 hex digits> → its UUID."""
    digits = shown.removeprefix("resp_")
    if digits == shown or len(digits) != 32:
        return None
    try:
        return uuid.UUID(digits)
    except ValueError:
        return None


def _open(row: StoredResponse, shown_id: str) -> Kept:
    try:
        response = msgspec.json.decode(unseal(bytes(row.body), organization_id=row.organization_id))
        items = msgspec.json.decode(unseal(bytes(row.input_items), organization_id=row.organization_id))
    except SecretUnreadable:
        log.error("stored response %s can't be opened: was a key of ENCRYPTION_KEYS dropped too early?", row.pk)
        raise not_found(shown_id) from None
    return Kept(row.pk, row.previous_id, response, items, size=len(row.body) + len(row.input_items))


def is_too_large(sealed_bytes: int) -> bool:
    """What one request may bring in from what is stored: as much as a body, sealed."""
    return sealed_bytes > 2 * settings.GATEWAY_BODY_BYTES_MAX


def too_large(param: str | None) -> BadRequest:
    return BadRequest(
        "Esta conversa guardada ficou longa demais para continuar.", "This stored conversation is too long to continue.",
        param=param, code="context_length_exceeded",
    )  # fmt: skip


def not_found(shown_id: str, *, param: str | None = None) -> RouteNotFound:
    shown = shown_id[:80]
    code = "previous_response_not_found" if param else "response_not_found"
    return RouteNotFound(
        f"A resposta '{shown}' não existe aqui: foi apagada, expirou ou não foi guardada (só se guarda com \"store\": true"
        f" ou com uma chave de API com a opção “{KEY_OPTION}”).",
        f"Response with id '{shown}' not found: it was deleted, has expired, or was not stored (only with \"store\": true, or with"
        f" an API key that has the option “{KEY_OPTION}”).",
        param=param, code=code,
    )  # fmt: skip


def _forget(told: Told) -> None:
    with contextlib.suppress(DatabaseError):
        StoredResponse.everywhere.filter(pk=uuid.UUID(told.id)).delete()


# ── From the event loop ──────────────────────────────────────────────────────────────────────────────────────────────
class ResponseStore:
    """Threads that the verbs run in."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="responses")
        self._connections: dict[int, BaseDatabaseWrapper] = {}  # each thread's own

    async def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for opened in self._connections.values():
            opened.inc_thread_sharing()  # their threads have ended
            opened.close()

    async def run(self, work: Callable[[], T]) -> T:
        """Raises what `work` does, if it is the caller's to know; else Unavailable."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: self._in_thread(work))
        except (RouteNotFound, BadRequest):
            raise
        except Exception as error:  # whatever keeps the database from answering
            log.warning("stored responses not reached: %s", type(error).__name__)
            raise Unavailable(
                "As respostas guardadas não responderam agora. Tente de novo em instantes.",
                "The stored responses could not be reached. Try again in a moment.",
                code="service_unavailable", retry_after_seconds=2,
            ) from error  # fmt: skip

    async def keep(self, told: Told, *, route_name: str, last: bytes) -> bytes:
        """Store an answer that is paid for. Where that fails, what leaves (`last`) says that it is not stored."""
        try:
            await self.run(lambda: store_response(told, route_name=route_name))
        except Unavailable:
            self._threads.submit(
                self._in_thread, partial(_forget, told)
            )  # what is said not to be stored is not, even if it was late
            return last.replace(TO_BE_STORED, NOT_STORED, 1)
        return last

    def _in_thread(self, work: Callable[[], T]) -> T:
        close_old_connections()
        self._connections[threading.get_ident()] = connections["default"]
        return work()
