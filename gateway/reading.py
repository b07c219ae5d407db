"""A connection for what callers look up, never on the way of a call: one statement at a time, bounded in time and in who waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import psycopg
from django.conf import settings
from psycopg.rows import dict_row

from gateway.errors import Unavailable, ledger_unavailable
from gateway.statements import has_ended

READ_SECONDS = 5.0
WAITERS_MAX = 200
Row = dict[str, Any]


class ReadConnection:
    """Opened when it is first asked, again where it was lost."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection[Row] | None = None
        self._lock = asyncio.Lock()
        self._waiters = 0

    async def fetch_one(self, query: str, values: Sequence[Any] | dict[str, Any]) -> Row | None:
        """Raises Unavailable."""
        rows = await self.fetch_all(query, values)
        return rows[0] if rows else None

    async def fetch_all(self, query: str, values: Sequence[Any] | dict[str, Any]) -> list[Row]:
        """Raises Unavailable: the database is away, or too many ask."""
        if self._waiters >= WAITERS_MAX:
            raise _too_many()
        self._waiters += 1
        try:
            async with asyncio.timeout(READ_SECONDS), self._lock:
                connection = await self._connect()
                return await (await connection.execute(query, values)).fetchall()
        except (psycopg.Error, OSError, TimeoutError) as error:
            await self._disconnect()
            raise ledger_unavailable() from error
        finally:
            self._waiters -= 1

    async def stop(self) -> None:
        await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close()

    async def _connect(self) -> psycopg.AsyncConnection[Row]:
        if self._connection is not None and has_ended(self._connection):
            await self._disconnect()
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                settings.DATABASE_URL, autocommit=True, connect_timeout=3, application_name="tokia-gateway-read",
                options="-c statement_timeout=4000", row_factory=dict_row,
            )  # fmt: skip
        return self._connection


def _too_many() -> Unavailable:
    return Unavailable(
        "Muitas consultas ao mesmo tempo. Tente de novo em instantes.", "Too many look-ups at once. Try again in a moment.",
        retry_after_seconds=1,
    )  # fmt: skip
