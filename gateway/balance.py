"""What `/v1/credits` and `/v1/key` tell: reads over an own connection, never on the way of a call."""

from __future__ import annotations

import datetime as dt

import msgspec

from gateway.calls import Caller
from gateway.pricetag import decimal_brl
from gateway.reading import ReadConnection
from tokia.clock import Month

_WALLET = """
SELECT w.posted_nanos AS posted, w.held_nanos AS held, w.overdraft_nanos AS overdraft,
       coalesce((SELECT sum(m.net_nanos) FROM billing_monthspend m WHERE m.wallet_id = w.id), 0)::bigint AS used
FROM billing_wallet w WHERE w.id = %s
"""
_KEY = """
SELECT coalesce(sum(d.net_nanos), 0)::bigint AS usage,
       coalesce(sum(d.net_nanos) FILTER (WHERE d.day >= %s::date), 0)::bigint AS monthly
FROM billing_usageday d WHERE d.organization_id = %s AND d.api_key_id = %s
"""


class BalanceReader:
    """Reads for the key that asks."""

    def __init__(self, reads: ReadConnection) -> None:
        self._reads = reads

    async def read_credits(self, caller: Caller) -> bytes:
        """OpenRouter's names, and ours. total_credits − total_usage = available + held. Raises Unavailable."""
        row = await self._reads.fetch_one(_WALLET, (caller.wallet_id,)) or {}
        posted, held, overdraft, used = (row.get(name, 0) for name in ("posted", "held", "overdraft", "used"))
        return b'{"data":{"total_credits":%b,"total_usage":%b,"available":%b,"held":%b,"overdraft":%b,"currency":"BRL"}}' % tuple(
            decimal_brl(nanos) for nanos in (posted - overdraft + used, used, posted - held, held, overdraft)
        )

    async def read_key(self, caller: Caller) -> bytes:
        """OpenRouter's names; amounts in reais. Raises Unavailable."""
        row = await self._reads.fetch_one(_KEY, (str(Month.current().first_on), caller.organization_id, caller.api_key_id)) or {}
        usage, monthly = row.get("usage", 0), row.get("monthly", 0)
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
