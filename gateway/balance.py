"""What `/v1/credits` and `/v1/key` tell: reads over an own connection, never on the way of a call."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from typing import Any

import msgspec
import psycopg
from django.conf import settings

from gateway.calls import Caller
from gateway.errors import ledger_unavailable
from gateway.pricetag import decimal_brl
from tokia.clock import Month

READ_SECONDS = 5.0
_WALLET = """
SELECT w.posted_nanos, w.held_nanos, w.overdraft_nanos,
       coalesce((SELECT sum(m.net_nanos) FROM billing_monthspend m WHERE m.wallet_id = w.id), 0)::bigint
FROM billing_wallet w WHERE w.id = %s
"""
_KEY = """
SELECT coalesce(sum(u.net_nanos), 0)::bigint, coalesce(sum(u.net_nanos) FILTER (WHERE u.id >= %s::uuid), 0)::bigint
FROM billing_usagerecord u WHERE u.organization_id = %s AND u.api_key_id = %s
"""


class BalanceReader:
    """One connection, used by one read at a time."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()

    async def read_credits(self, caller: Caller) -> bytes:
        """OpenRouter's names, and ours. total_credits − total_usage = available + held. Raises Unavailable."""
        row = await self._read(_WALLET, (caller.wallet_id,))
        posted, held, overdraft, used = row if row is not None else (0, 0, 0, 0)
        return b'{"data":{"total_credits":%b,"total_usage":%b,"available":%b,"held":%b,"overdraft":%b,"currency":"BRL"}}' % tuple(
            decimal_brl(nanos) for nanos in (posted - overdraft + used, used, posted - held, held, overdraft)
        )

    async def read_key(self, caller: Caller) -> bytes:
        """OpenRouter's names; amounts in reais. Raises Unavailable."""
        row = await self._read(_KEY, (_first_id_of(Month.current()), caller.organization_id, caller.api_key_id))
        usage, monthly = row if row is not None else (0, 0)
        expires = dt.datetime.fromtimestamp(caller.expires_at, dt.UTC).isoformat() if caller.expires_at else None
        data = {
            "label": caller.label,
            "limit": None,
            "limit_remaining": None,
            "limit_reset": None,
            "usage": msgspec.Raw(decimal_brl(usage)),
            "usage_monthly": msgspec.Raw(decimal_brl(monthly)),
            "currency": "BRL",
            "is_free_tier": False,
            "expires_at": expires,
            "allowed_models": sorted(caller.allowed_routes),
            "rate_limit": {"requests": caller.requests_per_minute, "interval": "1m"},
        }
        return msgspec.json.encode({"data": data})

    async def stop(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _read(self, query: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        try:
            async with asyncio.timeout(READ_SECONDS), self._lock:
                connection = await self._connect()
                row: tuple[Any, ...] | None = await (await connection.execute(query, values)).fetchone()
                return row
        except (psycopg.Error, OSError, TimeoutError) as error:
            connection_lost, self._connection = self._connection, None
            if connection_lost is not None:
                with contextlib.suppress(Exception):
                    await connection_lost.close()
            raise ledger_unavailable() from error

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                settings.DATABASE_URL, autocommit=True, connect_timeout=3, application_name="tokia-gateway-read",
                options="-c statement_timeout=4000",
            )  # fmt: skip
        return self._connection


def _first_id_of(month: Month) -> str:
    """The smallest UUIDv7 of a month."""
    ms = int(month.starts_at().timestamp() * 1000)
    digits = f"{ms:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
