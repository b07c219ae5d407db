"""Requests per minute of a key, shared by all processes through Valkey.

A process takes a slice of the minute's budget (a hundredth of the limit) with one script and spends it from memory, so a busy
key costs one round trip per slice and never gets more than its limit. Valkey late or away: a bucket of our own, of limit ÷
GATEWAY_PROCESSES, for this minute; a breaker spares the next calls the wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.calls import Caller, Headers
from gateway.errors import RateLimited

log = logging.getLogger(__name__)
WINDOW_SECONDS = 60
SLICES = 100
BUDGETS_MAX = 50_000
BREAKER_SECONDS = 2.0
# KEYS[1] the key's minute; ARGV: limit, slice. Gives what was granted and what all processes have taken so far.
TAKE = """
local taken = tonumber(redis.call('GET', KEYS[1]) or '0')
local grant = math.min(tonumber(ARGV[2]), tonumber(ARGV[1]) - taken)
if grant <= 0 then return {0, taken} end
taken = redis.call('INCRBY', KEYS[1], grant)
redis.call('EXPIRE', KEYS[1], 120)
return {grant, taken}
"""


@dataclass(slots=True)
class Budget:
    """One key's minute in this process."""

    minute: int
    left: int = 0  # granted and not yet spent
    others_left: int = 0  # what nobody had taken at the last grant
    is_spent: bool = False  # the shared budget is gone for this minute
    is_local: bool = False  # granted by ourselves, without Valkey
    taking: asyncio.Future[None] | None = None


class Limits:
    """The budgets of this process."""

    def __init__(self) -> None:
        self._budgets: dict[int, Budget] = {}
        self._valkey: Redis | None = None
        self._closed_until = 0.0  # the breaker: monotonic

    async def start(self) -> None:
        timeout = settings.GATEWAY_VALKEY_TIMEOUT_MS / 1000
        self._valkey = Redis.from_url(
            settings.VALKEY_URL, socket_timeout=timeout * 5, socket_connect_timeout=timeout * 5, max_connections=16, retry=None
        )

    async def stop(self) -> None:
        if self._valkey is not None:
            await self._valkey.aclose()

    async def admit(self, caller: Caller, headers: Headers) -> None:
        """Spend one request, and append the x-ratelimit headers. Raises RateLimited with the seconds to wait."""
        limit = caller.requests_per_minute
        now = time.time()
        minute = int(now // WINDOW_SECONDS)
        budget = self._budgets.get(caller.api_key_id)
        if budget is None or budget.minute != minute:
            if len(self._budgets) >= BUDGETS_MAX:
                self._budgets = {key: kept for key, kept in self._budgets.items() if kept.minute == minute}
            budget = self._budgets[caller.api_key_id] = Budget(minute)
        while budget.left <= 0 and not budget.is_spent:
            await self._take(budget, caller, limit)
        reset = (minute + 1) * WINDOW_SECONDS - now
        if budget.left <= 0:
            headers.extend(_headers(limit, 0, reset))
            raise RateLimited(
                f"Limite de {limit} requisições por minuto atingido. Tente de novo em {int(reset) + 1} s.",
                f"Rate limit of {limit} requests per minute reached. Try again in {int(reset) + 1} s.",
                retry_after_seconds=int(reset) + 1,
            )
        budget.left -= 1
        headers.extend(_headers(limit, budget.left + budget.others_left, reset))

    def is_spent(self, caller: Caller) -> bool:
        """`admit` would refuse right now; nothing is spent, and nobody is asked."""
        budget = self._budgets.get(caller.api_key_id)
        return budget is not None and budget.is_spent and budget.left <= 0 and budget.minute == int(time.time() // WINDOW_SECONDS)

    async def _take(self, budget: Budget, caller: Caller, limit: int) -> None:
        """One slice for all who wait for it."""
        if budget.taking is not None:
            await asyncio.shield(budget.taking)
            return
        budget.taking = asyncio.get_running_loop().create_future()
        try:
            await self._take_slice(budget, caller, limit)
        finally:
            budget.taking.set_result(None)
            budget.taking = None

    async def _take_slice(self, budget: Budget, caller: Caller, limit: int) -> None:
        if time.monotonic() >= self._closed_until and self._valkey is not None and not budget.is_local:
            try:
                async with asyncio.timeout(settings.GATEWAY_VALKEY_TIMEOUT_MS / 1000):
                    granted, taken = await self._valkey.eval(
                        TAKE, 1, f"tokia:rpm:{caller.api_key_id}:{budget.minute}", str(limit), str(max(1, limit // SLICES))
                    )
            except (RedisError, OSError, TimeoutError) as error:
                self._closed_until = time.monotonic() + BREAKER_SECONDS
                log.warning("valkey is late or away; limits are local: %s", type(error).__name__)
            else:
                budget.left, budget.others_left = int(granted), max(0, limit - int(taken))
                budget.is_spent = not granted
                return
        if budget.is_local:  # our part of this minute is spent
            budget.is_spent = True
        else:
            budget.is_local = True
            budget.left, budget.others_left = max(1, limit // max(1, settings.GATEWAY_PROCESSES)), 0


def _headers(limit: int, remaining: int, reset_seconds: float) -> Headers:
    return [
        (b"x-ratelimit-limit-requests", b"%d" % limit),
        (b"x-ratelimit-remaining-requests", b"%d" % remaining),
        (b"x-ratelimit-reset-requests", b"%dms" % int(reset_seconds * 1000)),
    ]
