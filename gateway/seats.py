"""Calls at the same time, counted one by one in Valkey: a call's seat is a member of a sorted set, scored by when it expires.

A seat is given back when its call is over, however it ended. Those of a process that died expire after SEAT_SECONDS; a live one
renews its own, which also heals a Valkey that lost its memory. Valkey late or away: each process lets limit ÷ GATEWAY_PROCESSES in.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from django.conf import settings

from gateway.calls import Limit
from gateway.ending import end_tasks
from gateway.valkey_lane import ValkeyLane

SEAT_SECONDS = 30
RENEW_SECONDS = 8.0
RELEASE_SECONDS = 0.04  # a seat that another process has just been told to give back
# KEYS: a set for each limit; ARGV: the call, seconds, each limit. Gives the place of the limit that refuses; 0: seated.
SIT = """
local now = redis.call('TIME')[1]
for place, name in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', name, '-inf', now)
  if redis.call('ZCARD', name) >= tonumber(ARGV[2 + place]) and not redis.call('ZSCORE', name, ARGV[1]) then return place end
end
for _, name in ipairs(KEYS) do
  redis.call('ZADD', name, now + ARGV[2], ARGV[1])
  redis.call('EXPIRE', name, ARGV[2])
end
return 0
"""
# KEYS[1] a set; ARGV: seconds, then its calls.
RENEW = """
local till = redis.call('TIME')[1] + ARGV[1]
for place = 2, #ARGV do redis.call('ZADD', KEYS[1], till, ARGV[place]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 0
"""
LEAVE = """
for _, name in ipairs(KEYS) do redis.call('ZREM', name, ARGV[1]) end
return 0
"""


class Seats:
    """Who sits here, by limit."""

    def __init__(self, lane: ValkeyLane) -> None:
        self._lane = lane
        self._seated: defaultdict[str, set[str]] = defaultdict(set)
        self._renewing: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._renewing = asyncio.create_task(self._renew(), name="seats")

    async def stop(self) -> None:
        if self._renewing is not None:
            await end_tasks([self._renewing])

    async def take(self, limits: tuple[Limit, ...], call_id: str) -> Limit | None:
        """The limit that refuses; None: the call sits. Who is refused asks twice: whoever just left may still be on the way out."""
        names = tuple(_name(limit) for limit in limits)
        refusing = await self._ask(limits, names, call_id)
        if refusing is not None and self._lane.is_open:
            await asyncio.sleep(RELEASE_SECONDS)
            refusing = await self._ask(limits, names, call_id)
        return refusing

    async def _ask(self, limits: tuple[Limit, ...], names: tuple[str, ...], call_id: str) -> Limit | None:
        try:
            answer = await self._lane.send(SIT, names, (call_id, str(SEAT_SECONDS), *(str(limit.most) for limit in limits)))
        except BaseException:  # the caller hung up meanwhile
            self._lane.send(LEAVE, names, (call_id,))
            raise
        if answer:
            return limits[int(answer) - 1]
        if answer is None:
            processes = max(1, settings.GATEWAY_PROCESSES)
            for limit, name in zip(limits, names, strict=True):
                if len(self._seated.get(name, ())) >= max(1, limit.most // processes):
                    self._lane.send(LEAVE, names, (call_id,))  # it may sit there by now
                    return limit
        for name in names:
            self._seated[name].add(call_id)
        return None

    def leave(self, limits: tuple[Limit, ...], call_id: str) -> None:
        """Nothing to wait for. Who never sat may leave, too."""
        if not limits:
            return
        names = tuple(_name(limit) for limit in limits)
        for name in names:
            calls = self._seated.get(name)
            if calls is not None:
                calls.discard(call_id)
                if not calls:
                    del self._seated[name]
        self._lane.send(LEAVE, names, (call_id,))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for name, calls in list(self._seated.items()):
                self._lane.send(RENEW, (name,), (str(SEAT_SECONDS), *calls))


def _name(limit: Limit) -> str:
    return f"tokia:{limit.unit}:{limit.scope}:{limit.subject_id}"
