"""Requests and tokens per minute, and calls at the same time, of a key and of its whole organization, shared by all processes
through Valkey.

A process takes slices of a minute (a hundredth of the limit, or what a call needs) and spends them from memory, so a busy key
costs one round trip per slice and nobody ever gets more than the limit. Tokens are taken by estimate before a call, and what it
did not use goes back within the minute. Calls at the same time are counted one by one (`gateway.seats`). What one call has to ask
travels in one round trip; a key without limits of tokens or of calls at the same time asks for its slices of requests only.

Valkey late or away: a bucket of our own, of limit ÷ GATEWAY_PROCESSES, for this minute; a breaker spares the next calls the wait.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from django.conf import settings

from gateway.calls import CallContext, Caller, Headers, Limit, Ticket
from gateway.errors import RateLimited
from gateway.seats import Seats
from gateway.valkey_lane import ValkeyLane

WINDOW_SECONDS = 60
SLICES = 100
SHARE = 4  # for many that wait a process takes up to a quarter at once: the others may have as many
BUCKETS_MAX = 50_000
REFUSED_SECONDS = 0.1  # for so long a refusal answers for all that need as much: what is given back is seen then
SEAT_RETRY_SECONDS = 1
# KEYS[1] the minute; ARGV: limit, what was used beyond the grants (negative: what goes back), the least that is of use, the slice.
# Gives what was granted, and what all processes have taken so far.
TAKE = """
local taken = math.max(0, tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(ARGV[2]))
local room = tonumber(ARGV[1]) - taken
local grant = 0
if room >= tonumber(ARGV[3]) then grant = math.max(0, math.min(room, tonumber(ARGV[4]))) end
redis.call('SET', KEYS[1], taken + grant, 'EX', 120)
return {grant, taken + grant}
"""


class Bucket:
    """A limit's minute in this process."""

    __slots__ = ("filling", "is_local", "left", "limit", "minute", "most", "refused", "refused_until", "taken", "waited_for")

    def __init__(self, limit: Limit, minute: int) -> None:
        self.limit, self.minute = limit, minute
        self.most = b"%d" % limit.most  # as a header tells it
        self.left = 0  # granted and not yet spent; negative: spent beyond the grants
        self.taken = 0  # by all processes, at the last answer
        self.is_local = False  # granted by ourselves, without Valkey
        self.refused = 0  # the least that was refused
        self.refused_until = 0.0  # monotonic
        self.filling: asyncio.Future[None] | None = None
        self.waited_for = 0  # what those need who are being let in

    @property
    def slice(self) -> int:
        return max(1, self.limit.most // SLICES)

    @property
    def remaining(self) -> int:
        mine = self.left if self.left > 0 else 0
        others = 0 if self.is_local else self.limit.most - self.taken
        return mine + others if others > 0 else mine

    def refuses(self, need: int) -> bool:
        """Nobody need be asked."""
        if self.left >= need:
            return False
        return self.is_local or (0 < self.refused <= need and time.monotonic() < self.refused_until)


class Limits:
    """What this process has of everybody's limits."""

    def __init__(self) -> None:
        self._buckets: dict[Limit, Bucket] = {}
        self._lane = ValkeyLane()
        self._seats = Seats(self._lane)

    async def start(self) -> None:
        await self._lane.start()
        self._seats.start()

    async def stop(self) -> None:
        await self._seats.stop()
        await self._lane.stop()

    # ── In ───────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def admit(self, caller: Caller, headers: Headers) -> None:
        """Spend one request, and append the x-ratelimit headers. Raises RateLimited with the seconds to wait."""
        now = time.time()
        minute = int(now // WINDOW_SECONDS)
        needs = [(self._bucket(limit, minute), 1) for limit in caller.rates if limit.unit == "requests"]
        await self._fill(needs, headers)
        for bucket, _ in needs:
            bucket.left -= 1
        headers.extend(_headers([bucket for bucket, _ in needs], now))

    async def admit_call(self, caller: Caller, context: CallContext, *, tokens: int = 0) -> None:
        """The same for a call of a model, which takes `tokens` by estimate, and a seat for as long as it lasts: `close` gives back.

        Raises RateLimited."""
        now = time.time()
        if not caller.seats and self._spend_at_once(caller, context, tokens, now):  # as most calls
            return
        minute = int(now // WINDOW_SECONDS)
        needs = [(self._bucket(limit, minute), tokens if limit.unit == "tokens" else 1) for limit in caller.rates]
        try:
            if caller.seats:
                await self._sit(caller, context, needs)
            await self._fill(needs, context.headers)
        except BaseException:
            self._seats.leave(caller.seats, context.id)
            raise
        self._spend([bucket for bucket, _ in needs], caller, context, tokens, now)

    def _spend_at_once(self, caller: Caller, context: CallContext, tokens: int, now: float) -> bool:
        """What a call takes, where this process has it of each limit; else nothing is spent."""
        minute = int(now // WINDOW_SECONDS)
        buckets: list[Bucket] = []
        for limit in caller.rates:
            bucket = self._buckets.get(limit)
            if bucket is None or bucket.minute != minute or bucket.left < (tokens if limit.unit == "tokens" else 1):
                return False
            buckets.append(bucket)
        self._spend(buckets, caller, context, tokens, now)
        return True

    def _spend(self, buckets: list[Bucket], caller: Caller, context: CallContext, tokens: int, now: float) -> None:
        taken: list[Bucket] = []
        for bucket in buckets:
            if bucket.limit.unit == "tokens":
                bucket.left -= tokens
                taken.append(bucket)
            else:
                bucket.left -= 1
        if taken or caller.seats:
            context.ticket = Ticket(tokens, taken, context.id, caller.seats)
        context.headers.extend(_headers(buckets, now))

    def is_spent(self, caller: Caller) -> bool:
        """`admit` would refuse right now; nothing is spent, and nobody is asked."""
        minute = int(time.time() // WINDOW_SECONDS)
        return any(self._bucket(limit, minute).refuses(1) for limit in caller.rates if limit.unit == "requests")

    # ── Out ──────────────────────────────────────────────────────────────────────────────────────────────────────────
    def close(self, ticket: Ticket) -> None:
        """The call is over, however it ended. What it did not use of its tokens can be used by others within the minute."""
        if ticket.seats:
            self._seats.leave(ticket.seats, ticket.call_id)
        unused = ticket.tokens_taken - ticket.tokens_used
        minute = int(time.time() // WINDOW_SECONDS)
        for bucket in ticket.buckets:
            if bucket.minute == minute and unused:
                bucket.left += unused
                bucket.refused_until = 0.0
                if bucket.left > 2 * bucket.slice and not bucket.is_local:
                    self._give_back(bucket)

    def _give_back(self, bucket: Bucket, *, kept: int = 0) -> None:
        """All but a slice: the other processes may need it. Lost where Valkey is away, which lets nobody have more."""
        excess = bucket.left - bucket.slice - kept
        bucket.left -= excess
        bucket.taken = max(0, bucket.taken - excess)
        answer = self._lane.send(TAKE, (_name(bucket),), (str(bucket.limit.most), str(-excess), "1", "0"))
        answer.add_done_callback(partial(_note_taken, bucket))

    # ── Minutes ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _bucket(self, limit: Limit, minute: int) -> Bucket:
        bucket = self._buckets.get(limit)
        if bucket is None or bucket.minute != minute:
            if len(self._buckets) >= BUCKETS_MAX:
                self._buckets = {key: kept for key, kept in self._buckets.items() if kept.minute == minute}
            bucket = self._buckets[limit] = Bucket(limit, minute)
        return bucket

    async def _fill(self, needs: list[tuple[Bucket, int]], headers: Headers) -> None:
        """Until each bucket has what is needed of it. Raises RateLimited."""
        if not any(bucket.left < need for bucket, need in needs):
            return
        for bucket, need in needs:
            bucket.waited_for += need
        is_in = False
        try:
            while lacking := [(bucket, need) for bucket, need in needs if bucket.left < need]:
                for bucket, need in lacking:
                    if bucket.refuses(need) or need > bucket.limit.most:
                        raise _refusal(bucket, need, needs, headers)
                waits = [self._take(bucket, need) for bucket, need in lacking]
                await (waits[0] if len(waits) == 1 else asyncio.gather(*waits))
            is_in = True
        finally:
            for bucket, need in needs:
                bucket.waited_for -= need
                kept = need if is_in else 0
                if bucket.waited_for <= 0 and bucket.left - kept > 2 * bucket.slice and not bucket.is_local:
                    self._give_back(bucket, kept=kept)  # it was asked for those who met another limit

    async def _take(self, bucket: Bucket, need: int) -> None:
        """One slice, or what is needed by those who wait; they look again then."""
        if bucket.filling is not None:
            await asyncio.shield(bucket.filling)
            return
        bucket.filling = filling = asyncio.get_running_loop().create_future()
        debt, least = max(0, -bucket.left), max(1, need - max(0, bucket.left))
        crowd = min(bucket.waited_for - max(0, bucket.left), bucket.limit.most // SHARE)
        others = max(0, crowd - least) // max(1, need) * need  # whole calls: a rest would serve nobody here
        wanted = max(least + others, bucket.slice)
        numbers = (bucket.limit.most, debt, least, wanted)
        answer = self._lane.send(TAKE, (_name(bucket),), tuple(map(str, numbers)))
        answer.add_done_callback(partial(_note_answer, bucket, need, debt))
        await asyncio.shield(filling)  # who gives up leaves the grant to the others

    # ── Seats ────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _sit(self, caller: Caller, context: CallContext, needs: list[tuple[Bucket, int]]) -> None:
        """A seat; what the minutes lack is asked for on the same trip. Raises RateLimited."""
        ahead = [self._take(bucket, need) for bucket, need in needs if bucket.left < need and not bucket.refuses(need)]
        refusing, *_ = await asyncio.gather(self._seats.take(caller.seats, context.id), *ahead)
        if refusing is None:
            return
        context.headers.extend(_headers([bucket for bucket, _ in needs], time.time()))
        whose, english = WHOSE[refusing.scope]
        raise RateLimited(
            f"Limite de {refusing.most} chamadas ao mesmo tempo {whose} atingido. Espere uma terminar e tente de novo.",
            f"Limit of {refusing.most} concurrent calls of {english} reached. Wait for one to end and try again.",
            retry_after_seconds=SEAT_RETRY_SECONDS,
        )


WHOSE = {"key": ("desta chave", "this key"), "organization": ("da empresa", "your organization")}
_HEADERS = {
    unit: (b"x-ratelimit-limit-" + name, b"x-ratelimit-remaining-" + name, b"x-ratelimit-reset-" + name)
    for unit, name in (("requests", b"requests"), ("tokens", b"tokens"))
}
UNITS = {"requests": ("requisições", "requests"), "tokens": ("tokens", "tokens")}


def _note_taken(bucket: Bucket, answer: asyncio.Future[Any]) -> None:
    if (said := answer.result()) is not None:
        bucket.taken = int(said[1])


def _note_answer(bucket: Bucket, need: int, debt: int, answer: asyncio.Future[Any]) -> None:
    """What Valkey granted; where it said nothing, our own part of the minute."""
    filling, bucket.filling = bucket.filling, None
    said = answer.result()
    if said is None:
        bucket.left += max(1, bucket.limit.most // max(1, settings.GATEWAY_PROCESSES))
        bucket.is_local = True
    else:
        granted, bucket.taken = int(said[0]), int(said[1])
        bucket.left += debt + granted
        if not granted:
            bucket.refused, bucket.refused_until = need, time.monotonic() + REFUSED_SECONDS
    if filling is not None:
        filling.set_result(None)


def _name(bucket: Bucket) -> str:
    unit, scope, subject_id, _ = bucket.limit
    return f"tokia:{unit}:{scope}:{subject_id}:{bucket.minute}"


def _refusal(bucket: Bucket, need: int, needs: list[tuple[Bucket, int]], headers: Headers) -> RateLimited:
    now = time.time()
    wait = int((bucket.minute + 1) * WINDOW_SECONDS - now) + 1
    shown = [other for other, _ in needs if other is bucket or other.limit.unit != bucket.limit.unit]
    headers.extend(_headers(shown, now))
    most, (whose, english), (units, units_english) = bucket.limit.most, WHOSE[bucket.limit.scope], UNITS[bucket.limit.unit]
    if need > most:  # at any time: the SDK need not try again
        headers.append((b"x-should-retry", b"false"))
        return RateLimited(
            f"A chamada pode usar até {need} tokens; o limite {whose} é de {most} por minuto. Diminua a entrada ou 'max_tokens'.",
            f"This call may use up to {need} tokens; the limit of {english} is {most} per minute. Send less or lower 'max_tokens'.",
        )
    asked = (f", e esta chamada pode usar até {need}", f", and this call may use up to {need}") if need > 1 else ("", "")
    return RateLimited(
        f"Limite de {most} {units} por minuto {whose} atingido{asked[0]}. Tente de novo em {wait} s.",
        f"Limit of {most} {units_english} per minute of {english} reached{asked[1]}. Try again in {wait} s.",
        retry_after_seconds=wait,
    )


def _headers(buckets: list[Bucket], now: float) -> Headers:
    """Of each unit the limit that is nearest to its end."""
    if len(buckets) > 1:
        nearest: dict[str, Bucket] = {}
        for bucket in buckets:
            unit = bucket.limit.unit
            if unit not in nearest or bucket.remaining < nearest[unit].remaining:
                nearest[unit] = bucket
        buckets = list(nearest.values())
    headers: Headers = []
    for bucket in buckets:
        limit, remaining, reset = _HEADERS[bucket.limit.unit]
        headers += (
            (limit, bucket.most),
            (remaining, b"%d" % bucket.remaining),
            (reset, write_duration((bucket.minute + 1) * WINDOW_SECONDS - now)),
        )
    return headers


def write_duration(seconds: float) -> bytes:
    """As OpenAI writes it: `120ms`, `7s`, `1m2s`. Rounded up, so that whoever waits so long has waited enough."""
    if seconds < 1:
        return b"%dms" % max(0, -int(-seconds * 1000 // 1))
    whole = -int(-seconds // 1)
    minutes, rest = divmod(whole, 60)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest
