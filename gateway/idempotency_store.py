"""The rows of calls that came with an Idempotency-Key (`models.IdempotentCall`): claimed, drafted, found again, given up, purged.

On the hot path by connections of our own; what else there is (purging, resealing, a row that is kept in another's transaction) is
plain Django. PostgreSQL, not Valkey: what guards money survives a FLUSHALL.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from typing import Any

import msgspec
import psycopg
from django.conf import settings

from gateway.errors import ledger_unavailable
from gateway.models import IdempotentCall
from gateway.secrets import SecretUnreadable, reseal
from gateway.statements import has_ended
from tokia import clock

log = logging.getLogger(__name__)
CONNECTIONS_MAX = 4
STATEMENT_SECONDS = 3.0
PURGE_BATCH = 1_000
RUNNING, DRAFTED, DONE = IdempotentCall.Status.RUNNING.value, IdempotentCall.Status.DRAFTED.value, IdempotentCall.Status.DONE.value

_CLAIM = """
INSERT INTO gateway_idempotentcall
  (organization_id, key_hash, fingerprint, call_id, session_id, status, status_code, headers, body, created_at, expires_at)
VALUES (%(organization)s, %(key)s, %(fingerprint)s, %(call)s, %(session)s, 'running', 0, '{}', '', statement_timestamp(),
        statement_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (organization_id, key_hash) DO NOTHING
RETURNING id
"""
# What is known of a key's call: its row, how the ledger says that it ended, and whether whoever runs it can still be at it.
_FIND = """
SELECT c.fingerprint, c.call_id::text, c.status, c.status_code, c.body, c.expires_at <= clock_timestamp(),
       coalesce(s.state <> 'reaped', false) AND c.created_at > clock_timestamp() - make_interval(secs => %(longest)s),
       u.outcome, u.input_tokens, u.cached_input_tokens, u.cache_write_tokens, u.output_tokens, u.reasoning_tokens,
       u.gross_nanos, u.net_nanos
FROM gateway_idempotentcall c
LEFT JOIN billing_gatewaysession s ON s.id = c.session_id
LEFT JOIN LATERAL (
  SELECT x.* FROM billing_usagerecord x WHERE x.id = c.call_id LIMIT 1
) u ON true
WHERE c.organization_id = %(organization)s AND c.key_hash = %(key)s
"""
_TAKE_OVER = """
UPDATE gateway_idempotentcall
SET fingerprint = %(fingerprint)s, call_id = %(call)s, session_id = %(session)s, status = 'running', status_code = 0, body = '',
    created_at = statement_timestamp(), expires_at = statement_timestamp() + make_interval(secs => %(seconds)s)
WHERE organization_id = %(organization)s AND key_hash = %(key)s AND call_id = %(before)s
RETURNING id
"""
_KEEP = """
UPDATE gateway_idempotentcall SET status = %(status)s, status_code = %(status_code)s, body = %(body)s
WHERE organization_id = %(organization)s AND key_hash = %(key)s AND call_id = %(call)s
RETURNING id
"""
_RELEASE = """
DELETE FROM gateway_idempotentcall
WHERE organization_id = %(organization)s AND key_hash = %(key)s AND call_id = %(call)s AND status = 'running'
"""


class Name(msgspec.Struct, frozen=True):
    """A key as its rows are found by."""

    organization_id: int
    key_hash: bytes

    @property
    def values(self) -> dict[str, Any]:
        return {"organization": self.organization_id, "key": self.key_hash}


class Found(msgspec.Struct, frozen=True):
    """What is known of a key's call. `outcome` and what follows are its usage record's; empty: there is none."""

    fingerprint: bytes
    call_id: str
    status: str
    status_code: int
    body: bytes  # sealed
    is_expired: bool
    is_alive: bool  # its process may still be at it
    outcome: str = ""
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    gross_nanos: int = 0
    net_nanos: int = 0


class IdempotencyStore:
    """A few connections, opened when they are needed."""

    def __init__(self) -> None:
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self._kept: dict[int, int] = {}  # bytes by organization, on `_kept_on`
        self._kept_on = clock.today_in_brazil()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Work that nobody may wait for; the stop does."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._idle:
            with contextlib.suppress(Exception):
                await self._idle.pop().close()

    def take_room(self, organization_id: int, size: int) -> bool:
        """Whether an answer of so many bytes may be kept today: an organization's retries must not fill our disk."""
        today = clock.today_in_brazil()
        if today != self._kept_on:
            self._kept, self._kept_on = {}, today
        taken = self._kept.get(organization_id, 0) + size
        if taken > settings.IDEMPOTENCY_BYTES_MAX:
            return False
        self._kept[organization_id] = taken
        return True

    async def claim(self, name: Name, *, fingerprint: bytes, call_id: str, session_id: int) -> bool:
        """False: the key has a row. Raises Unavailable."""
        values = {**name.values, "fingerprint": fingerprint, "call": call_id, "session": session_id, "seconds": _seconds()}
        return await self._run(_CLAIM, values) is not None

    async def find(self, name: Name) -> Found | None:
        """Raises Unavailable."""
        row = await self._run(_FIND, {**name.values, "longest": settings.HOLD_SECONDS_MAX})
        if row is None:
            return None
        fingerprint, call_id, status, status_code, body, is_expired, is_alive, outcome, *figures = row
        known = [outcome, *figures] if outcome is not None else []
        return Found(bytes(fingerprint), call_id, status, status_code, bytes(body), is_expired, is_alive, *known)

    async def take_over(self, name: Name, *, fingerprint: bytes, call_id: str, session_id: int, before: str) -> bool:
        """The row of a call that is over, for another one. False: somebody else was faster. Raises Unavailable."""
        values = {**name.values, "fingerprint": fingerprint, "call": call_id, "session": session_id, "seconds": _seconds()}
        return await self._run(_TAKE_OVER, {**values, "before": before}) is not None

    async def keep(self, name: Name, *, call_id: str, status: str, status_code: int, body: bytes) -> bool:
        """False: the row is another call's by now. Raises Unavailable."""
        values = {**name.values, "call": call_id, "status": status, "status_code": status_code, "body": body}
        return await self._run(_KEEP, values) is not None

    async def release(self, name: Name, *, call_id: str) -> None:
        """Forget a call that was refused, or failed free of charge. Raises Unavailable."""
        await self._run(_RELEASE, {**name.values, "call": call_id}, gives_row=False)

    async def _run(self, query: str, values: dict[str, Any], *, gives_row: bool = True) -> tuple[Any, ...] | None:
        """Each statement may be sent twice: by its conditions the second one changes nothing more."""
        for is_last in (False, True):
            try:
                async with asyncio.timeout(STATEMENT_SECONDS), self._slots:
                    return await self._execute(query, values, gives_row=gives_row)
            except (psycopg.Error, OSError, TimeoutError) as error:
                if is_last or isinstance(error, TimeoutError):
                    log.warning("idempotent calls not reached: %s", type(error).__name__)
                    raise ledger_unavailable() from error
        raise AssertionError

    async def _execute(self, query: str, values: dict[str, Any], *, gives_row: bool) -> tuple[Any, ...] | None:
        connection = await self._take_idle() or await self._connect()
        try:
            cursor = await connection.execute(query, values)
            row: tuple[Any, ...] | None = await cursor.fetchone() if gives_row else None
        except BaseException:
            with contextlib.suppress(Exception):
                await connection.close()
            raise
        self._idle.append(connection)
        return row

    async def _take_idle(self) -> psycopg.AsyncConnection[Any] | None:
        while self._idle:
            connection = self._idle.pop()
            if not has_ended(connection):
                return connection
            with contextlib.suppress(Exception):
                await connection.close()
        return None

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        """Commits do not wait for the disk: what they write stands in the log before the commit of the hold, or of the settlement,
        which does. A crash of the database that loses a claim has lost the hold too, and one that loses an answer its bill."""
        return await psycopg.AsyncConnection.connect(
            settings.DATABASE_URL, autocommit=True, connect_timeout=2, prepare_threshold=0,
            application_name="tokia-gateway-idempotency",
            options="-c statement_timeout=2500 -c lock_timeout=2000 -c jit=off -c synchronous_commit=off",
        )  # fmt: skip


def _seconds() -> int:
    return int(settings.IDEMPOTENCY_TTL_HOURS) * 3_600


# ── Django ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def keep_done(name: Name, *, call_id: str, status_code: int, body: bytes) -> None:
    """Within whichever transaction this thread is in."""
    row = IdempotentCall.everywhere.filter(organization_id=name.organization_id, key_hash=name.key_hash, call_id=call_id)
    row.update(status=DONE, status_code=status_code, body=body)


def purge_idempotent_calls() -> int:
    """Delete what has expired, for good. Gives how many."""
    purged = 0
    longest = dt.timedelta(seconds=settings.HOLD_SECONDS_MAX)
    while True:
        due = IdempotentCall.everywhere.filter(expires_at__lte=clock.now(), created_at__lte=clock.now() - longest)
        ids = list(due.values_list("pk", flat=True)[:PURGE_BATCH])
        if not ids:
            return purged
        purged += IdempotentCall.everywhere.filter(pk__in=ids).delete()[0]


def reseal_idempotent_calls() -> int:
    """Everything that is kept, under the newest key: before an old one is dropped. Gives how many; safe to repeat."""
    count = 0
    for row in IdempotentCall.everywhere.exclude(body=b"").order_by("pk").iterator(chunk_size=50):
        with contextlib.suppress(SecretUnreadable):
            body = reseal(bytes(row.body), organization_id=row.organization_id)
            count += IdempotentCall.everywhere.filter(pk=row.pk, call_id=row.call_id).update(body=body)
    return count
