"""How a process tells the others of its circuits, and hears of theirs: one script in Valkey a few times a second.

Nobody waits for it. Valkey late or away: each process goes by what it sees itself (and probes without asking), and what has changed
meanwhile is told when Valkey is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway import circuit_board as board
from gateway.circuit_board import Circuit, name_circuit, read_circuit
from gateway.circuit_rules import Breaker
from gateway.ending import end_tasks

if TYPE_CHECKING:
    from gateway.circuit import Circuits

log = logging.getLogger(__name__)
TURN_SECONDS = 0.4  # between two exchanges: what one saw, another knows within twice as long
HURRY_SECONDS = 0.02  # of transitions in quick succession
ANSWER_SECONDS = 0.25  # Valkey is away where it takes longer
PERMIT_SECONDS = board.PROBE_SECONDS / 2  # counted from before it was asked for, so that ours ends before another's begins
SETTLE_SECONDS = 2.0  # after a circuit closed, others' counts are still of the time before
COUNT_TURNS = 5  # between two exchanges of counts: a window is long
FORGET_TURNS = 150


class Sharing:
    """The task that keeps one process's circuits as the others see them."""

    def __init__(self, circuits: Circuits, *, clock: Callable[[], float]) -> None:
        self.process = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(3)}".replace("|", "-").encode()
        self._circuits = circuits
        self._clock = clock
        self._versions: dict[Circuit, bytes] = {}  # of what was last read of each
        self._valkey: Redis | None = None
        self._sync: Any = None
        self._hurry = asyncio.Event()
        self._turns = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._valkey = Redis.from_url(
            settings.VALKEY_URL, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, max_connections=2, retry=None
        )
        self._sync = self._valkey.register_script(board.SYNC)
        await self._turn()  # what is open already is known before the first call
        self._task = asyncio.create_task(self._run(), name="circuits")

    async def stop(self) -> None:
        if self._task is not None:
            await end_tasks([self._task])
        if self._valkey is not None:
            await self._valkey.aclose()

    def hurry(self) -> None:
        """Soon, and not at the next turn; unless Valkey is away, which a call's failure does not bring back."""
        if not self._circuits.is_alone:
            self._hurry.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_SECONDS):
                    await self._hurry.wait()
                await asyncio.sleep(HURRY_SECONDS)
            self._hurry.clear()
            try:
                await self._turn()
            except Exception:
                log.exception("circuits not shared")
            if self._turns % FORGET_TURNS == 0:
                self._circuits.forget()

    async def _turn(self) -> None:
        circuits, now = self._circuits, self._clock()
        self._turns += 1
        changed = {circuit: breaker.changes for circuit, breaker in circuits.breakers.items() if breaker.changes != breaker.told}
        wanted = {name_circuit(circuit) for circuit, breaker in circuits.breakers.items() if wants_permit(breaker, now)}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                now_ms, told, forced, counts, granted = await self._sync(keys=board.KEYS, args=self._ask(changed, wanted, now))
        except (RedisError, OSError, TimeoutError) as error:
            if not circuits.is_alone:
                log.warning("valkey is late or away; circuits are this process's own: %s", type(error).__name__)
            circuits.is_alone = True
            return
        circuits.is_alone = False
        for circuit, changes in changed.items():
            if (breaker := circuits.breakers.get(circuit)) is not None:
                breaker.told = changes
        for name in granted:
            if (breaker := circuits.breakers.get(read_circuit(name))) is not None:
                breaker.permit_until, breaker.needs_permit = now + PERMIT_SECONDS, False
        self._read_board(board.read_board(board.pairs_of(told), now_ms))
        circuits.force(board.read_forced(board.pairs_of(forced), now_ms))
        if counts:
            self._read_counts(board.read_counts(board.pairs_of(counts), now_ms, without=self.process))

    def _ask(self, changed: dict[Circuit, int], wanted: set[str], now: float) -> list[bytes | float]:
        """The script's arguments."""
        breakers = self._circuits.breakers
        transitions = []
        for circuit in changed:
            breaker = breakers[circuit]
            log.warning("circuit %s: %s", name_circuit(circuit), f"open, {breaker.reason}" if breaker.reason else "closed")
            remaining = round((breaker.until - now) * 1000) if breaker.reason else 0
            transitions.append((name_circuit(circuit), breaker.reason, remaining, round(breaker.pause * 1000), breaker.level))
        forced = [
            (name_circuit(circuit), state, round((until - now) * 1000))
            for circuit, (state, until) in self._circuits.forced.items() if until > now
        ]  # fmt: skip
        counts: dict[str, tuple[int, int]] = {}
        is_counting = self._turns % COUNT_TURNS == 1
        if is_counting:
            counts = {name_circuit(circuit): found for circuit, breaker in breakers.items() if any(found := breaker.counts(now))}
        fails = any(failed for _, failed in counts.values())  # else the others' say nothing to us
        encode = msgspec.json.encode
        return [
            self.process, encode(transitions), encode(forced), encode(counts) if is_counting else b"", encode(sorted(wanted)),
            board.KEPT_SECONDS, round(board.PROBE_SECONDS * 1000), int(fails),
        ]  # fmt: skip

    def _read_board(self, seen: dict[Circuit, board.Transition]) -> None:
        for circuit, transition in seen.items():
            if transition.version != self._versions.get(circuit) and transition.by != self.process:
                self._circuits.adopt(circuit, transition)
        self._versions = {circuit: transition.version for circuit, transition in seen.items()}
        for circuit, breaker in self._circuits.breakers.items():
            if breaker.reason and circuit not in seen and breaker.told == breaker.changes:
                breaker.told = -1  # Valkey has lost it: told again

    def _read_counts(self, counts: dict[Circuit, tuple[int, int]]) -> None:
        now = self._clock()
        for circuit, breaker in self._circuits.breakers.items():
            if now - breaker.closed_at > SETTLE_SECONDS:
                breaker.others_succeeded, breaker.others_failed = counts.get(circuit, (0, 0))


def wants_permit(breaker: Breaker, now: float) -> bool:
    """A call would try it, or is trying it."""
    return bool(breaker.reason) and now >= breaker.until and (breaker.needs_permit or breaker.probing_until > now)
