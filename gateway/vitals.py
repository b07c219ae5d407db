"""What is measured of each deployment: first token, total, speed, failures; of this process, and of all together.

Counted in memory; a task of its own writes and reads it together with the other processes' every GATEWAY_VITALS_SECONDS, over a
connection of its own. PostgreSQL away: `of` goes by this process's numbers, and what is not written waits (within bounds). A write
whose answer was lost is written again: these numbers are for people and for routing, not for bills.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from django.conf import settings

from gateway.calls import ServedDeployment
from gateway.ending import end_tasks
from gateway.histogram import add_counts, percentiles_of, place_of
from gateway.vitals_store import MEASURED_SECONDS, Recent, Tally, add_tallies, read_recent

if TYPE_CHECKING:
    from gateway.metering import OpenCall

log = logging.getLogger(__name__)
TALLIES_MAX = 20_000  # not written yet; a hundred deployments' last three hours
STOP_SECONDS = 3.0
DATABASE_SECONDS = 10.0
Key = tuple[int, int]  # minute (Unix seconds // 60), deployment


@dataclass(frozen=True, slots=True)
class Measured:
    """The last five minutes of one deployment, all processes together. 0: not measured."""

    answers: int = 0
    failures: int = 0
    first_token_p50_ms: int = 0
    first_token_p95_ms: int = 0
    total_p50_ms: int = 0
    total_p95_ms: int = 0
    tokens_per_second: float = 0.0


UNMEASURED = Measured()


class Vitals:
    """Counted in memory, written and read together in the background; nobody waits for it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._measured: dict[int, Measured] = {}
        self._pending: dict[Key, Tally] = {}  # not written yet
        self._written: dict[Key, Tally] = {}  # by this process, in the last minutes
        self._database: psycopg.AsyncConnection[Any] | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_away = False

    async def start(self) -> None:
        self._task = asyncio.create_task(self._share(), name="vitals")

    async def stop(self) -> None:
        """What was counted is written once more; a database that is away is not waited for."""
        if self._task is None:
            return
        self._stopping.set()
        await asyncio.wait({self._task}, timeout=STOP_SECONDS)
        await self._give_up(self._task)

    # ── Told and asked by calls ──────────────────────────────────────────────────────────────────────────────────────
    def of(self, deployment_id: int) -> Measured:
        return self._measured.get(deployment_id, UNMEASURED)

    def note_call(self, call: OpenCall, *, output_tokens: int) -> None:
        """A whole answer has ended now: the last attempt's, without what went before it."""
        deployment = call.deployment
        if deployment is None or not call.attempts:
            return
        attempt = call.attempts[-1]
        total_ms = attempt.ms
        if call.first_token_ns:
            since_start_ns = time.monotonic_ns() - call.context.started_ns
            total_ms += (since_start_ns - call.first_token_ns) // 1_000_000
        self.note_answer(
            deployment, call.route.name, first_token_ms=attempt.first_token_ms, total_ms=total_ms, output_tokens=output_tokens
        )

    def note_answer(
        self, deployment: ServedDeployment, route_name: str, *, first_token_ms: int, total_ms: int, output_tokens: int
    ) -> None:
        """A whole answer, when it has ended. `first_token_ms` 0: it did not stream."""
        tally = self._tally(deployment, route_name)
        tally.succeeded += 1
        tally.total[place_of(total_ms)] += 1
        if first_token_ms:
            tally.first_token[place_of(first_token_ms)] += 1
        if output_tokens:
            tally.output_tokens += output_tokens
            tally.output_ms += max(1, total_ms - first_token_ms)

    def note_failure(self, deployment: ServedDeployment, route_name: str, *, kind: str) -> None:
        """Only what is the provider's doing: not a request that nobody would take, and not a customer's own key at its limit."""
        if kind == "outage":
            self._tally(deployment, route_name).failed += 1
        elif kind == "rate_limit" and not deployment.is_own_key:
            self._tally(deployment, route_name).limited += 1

    def _tally(self, deployment: ServedDeployment, route_name: str) -> Tally:
        minute = int(self._clock() // 60)
        key = (minute, deployment.id)
        tally = self._pending.get(key)
        if tally is None:
            if len(self._pending) >= TALLIES_MAX:
                self._drop_oldest()
            tally = self._pending[key] = Tally(minute * 60, deployment.id, deployment.provider_slug, route_name)
        return tally

    def _drop_oldest(self) -> None:
        kept = sorted(self._pending)[TALLIES_MAX // 10 :]
        self._pending = {key: self._pending[key] for key in kept}

    # ── In the background ────────────────────────────────────────────────────────────────────────────────────────────
    async def _share(self) -> None:
        try:
            while not self._stopping.is_set():
                await self._turn()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(settings.GATEWAY_VITALS_SECONDS):
                        await self._stopping.wait()
            await self._turn()
        finally:
            await self._disconnect()

    async def _turn(self) -> None:
        """Write what is pending, read what all have measured."""
        self._forget_old()
        try:
            recent = await self._exchange()
        except (psycopg.Error, OSError, TimeoutError) as error:
            if not self._is_away:
                log.warning("vitals are not shared: %s; this process goes by its own", type(error).__name__)
            self._is_away = True
            await self._disconnect()
            self._measured = self._measure_alone()
        else:
            self._is_away = False
            self._measured = {row.deployment_id: measure([row]) for row in recent}

    async def _exchange(self) -> list[Recent]:
        """Raises TimeoutError, psycopg.Error, OSError; what was not written is pending again then."""

        async def exchange() -> list[Recent]:
            await self._write()
            return await read_recent(await self._connect())

        work = asyncio.create_task(exchange())
        try:
            await asyncio.wait({work}, timeout=DATABASE_SECONDS)
        finally:
            if not work.done():
                await self._give_up(work)
        if work.cancelled():
            raise TimeoutError
        return work.result()

    async def _give_up(self, work: asyncio.Task[Any]) -> None:
        """The connection first: psycopg would ask a server that is silent to cancel, and wait for its answer."""
        await self._disconnect()
        await end_tasks([work])

    async def _write(self) -> None:
        if not self._pending:
            return
        writing, self._pending = self._pending, {}
        try:
            await add_tallies(await self._connect(), writing.values())
        except BaseException:
            later, self._pending = self._pending, writing
            for tally in later.values():
                self._merge(self._pending, tally)
            raise
        for tally in writing.values():
            self._merge(self._written, tally)

    def _merge(self, into: dict[Key, Tally], tally: Tally) -> None:
        key = (tally.begins_at // 60, tally.deployment_id)
        there = into.get(key)
        if there is None:
            into[key] = tally
            return
        there.succeeded += tally.succeeded
        there.failed += tally.failed
        there.limited += tally.limited
        there.output_tokens += tally.output_tokens
        there.output_ms += tally.output_ms
        there.first_token = add_counts(there.first_token, tally.first_token)
        there.total = add_counts(there.total, tally.total)

    def _forget_old(self) -> None:
        first = (self._clock() - MEASURED_SECONDS) // 60
        self._written = {key: tally for key, tally in self._written.items() if key[0] >= first}

    def _measure_alone(self) -> dict[int, Measured]:
        first = (self._clock() - MEASURED_SECONDS) // 60
        mine: dict[int, list[Tally]] = {}
        for known in (self._written, self._pending):
            for (minute, deployment_id), tally in known.items():
                if minute >= first:
                    mine.setdefault(deployment_id, []).append(tally)
        return {deployment_id: measure(tallies) for deployment_id, tallies in mine.items()}

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        if self._database is None or self._database.closed:
            self._database = await psycopg.AsyncConnection.connect(
                settings.DATABASE_URL, autocommit=True, connect_timeout=3, application_name="tokia-gateway-vitals",
                options="-c statement_timeout=5000 -c lock_timeout=2000", tcp_user_timeout=8_000,
            )  # fmt: skip
        return self._database

    async def _disconnect(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(Exception):
                await database.close()


def measure(parts: Iterable[Tally | Recent]) -> Measured:
    """What one deployment's counts come to."""
    succeeded = failed = tokens = ms = 0
    first_token: list[int] = []
    total: list[int] = []
    for part in parts:
        succeeded, failed = succeeded + part.succeeded, failed + part.failed
        tokens, ms = tokens + part.output_tokens, ms + part.output_ms
        first_token, total = add_counts(first_token, part.first_token), add_counts(total, part.total)
    first_p50, first_p95 = percentiles_of(first_token, (50, 95))
    total_p50, total_p95 = percentiles_of(total, (50, 95))
    return Measured(succeeded, failed, first_p50, first_p95, total_p50, total_p95, tokens * 1000 / ms if ms else 0.0)
