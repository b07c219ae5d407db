"""Group commit: many callers, one statement in flight per lane, and a batch that grows by itself while it is.

A lane knows three ends of a statement. An answer: each caller gets its part. A definite refusal: the batch is halved until the
row at fault stands alone. An unknown outcome (the connection broke, or nothing came): the very same bytes are sent again, with
the same ids, until an answer comes; the database side makes that harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec
import psycopg
from django.conf import settings

from gateway.ending import end_tasks
from gateway.statements import SILENCE_SECONDS, Connection, Statement

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")

STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 2_000
RETRY_SECONDS = 0.05
PATIENCE_SECONDS = 2.0  # one broken connection is repaired unseen; more, or longer than this, is an outage
RECONNECT_SECONDS = 0.25
LINGER_FROM = 8  # calls in the batch before: with fewer, waiting for others costs more than it saves
# Serialization, deadlock, lock and statement timeouts: rolled back for sure, worth the same bytes again.
AGAIN = frozenset({"40001", "40P01", "55P03", "57014"})
# Connection, shutdown and resource trouble: whether it committed is unknown.
UNKNOWN_CLASSES = ("08", "53", "57", "58", "XX")


class Entry(msgspec.Struct, Generic[Item, Result]):
    """One caller's item and the answer it waits for."""

    item: Item
    answer: asyncio.Future[Result]
    queued_at: float  # monotonic


def is_worth_repeating(error: BaseException) -> bool:
    """The outcome is unknown, or it was rolled back for a reason that passes."""
    if not isinstance(error, psycopg.Error):
        return True
    sqlstate = error.sqlstate
    return not sqlstate or sqlstate in AGAIN or sqlstate.startswith(UNKNOWN_CLASSES)


class QueueFull(Exception):
    """More waits than the lane may hold."""


class Lane(ABC, Generic[Item, Result]):
    """One connection and one queue. Subclasses say how a batch is sent and what a refusal means."""

    statements: tuple[Statement, ...] = ()  # prepared on each connection

    def __init__(self, name: str, *, linger_ms: int, queue_max: int | None = None) -> None:
        self.name = name
        self._queue_max = queue_max
        self.down_since: float | None = None  # monotonic; None while the database answers
        self._linger_seconds = linger_ms / 1000
        self._queue: deque[Entry[Item, Result]] = deque()
        self._in_flight: list[Entry[Item, Result]] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._connection: Connection | None = None
        self._last_size = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None  # asking for the running one is a system call

    # ── for subclasses ───────────────────────────────────────────────────────────────────────────────────────────────
    @abstractmethod
    async def send(self, connection: Connection, batch: Sequence[Entry[Item, Result]], key: str) -> list[Result]:
        """One `Statement` for the batch, which bounds its own wait; `key` is the same when the same batch is sent again."""

    @abstractmethod
    def new_key(self) -> str:
        """Names a batch."""

    @abstractmethod
    async def refuse(self, entry: Entry[Item, Result], error: psycopg.Error) -> None:
        """The ledger refuses this one row for a definite reason: see that its caller gets an answer."""

    async def on_fenced(self) -> bool:
        """This process was declared dead (TK001). True: send the batch again."""
        return False

    async def watch(self) -> None:
        """Runs beside the lane, for those who wait too long."""

    async def on_down(self, batch: list[Entry[Item, Result]]) -> list[Entry[Item, Result]]:
        """The database does not answer: the part of the batch that is worth sending again."""
        return batch

    # ── for callers ──────────────────────────────────────────────────────────────────────────────────────────────────
    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Raises QueueFull."""
        if self._queue_max is not None and len(self._queue) >= self._queue_max:
            raise QueueFull(self.name)
        loop = self._loop or asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        if not self._queue:
            self._wake.set()
            if not self._in_flight:
                self._idle.clear()
        self._queue.append(Entry(item, answer, time.monotonic()))
        return answer

    @property
    def entries(self) -> list[Entry[Item, Result]]:
        """All that have no answer of the ledger yet, oldest first."""
        return [*self._in_flight, *self._queue]

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(self._run(), name=f"lane-{self.name}"),
            asyncio.create_task(self.watch(), name=f"lane-{self.name}-watch"),
        ]

    async def drain(self, seconds: float) -> bool:
        """Wait until nothing waits; False where it still does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        return self._idle.is_set()

    async def stop(self) -> None:
        await end_tasks(self._tasks)
        await self._disconnect()

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if self._last_size >= LINGER_FROM and self._linger_seconds:
                await asyncio.sleep(self._linger_seconds)  # others are coming: fewer, larger batches
            queue = self._queue
            batch = [queue.popleft() for _ in range(min(len(queue), settings.GATEWAY_BATCH_MAX))]
            self._last_size = len(batch)
            if not queue:
                self._wake.clear()
            if batch:
                self._in_flight = batch
                try:
                    await self._deliver(batch)
                except Exception:  # a bug of ours must not stop the money
                    log.exception("lane %s: a batch failed", self.name)
                    self._fail(batch)
                self._in_flight = []
            if not queue:
                self._idle.set()

    def _fail(self, batch: Sequence[Entry[Item, Result]]) -> None:
        for entry in batch:
            if not entry.answer.done():
                entry.answer.set_exception(ConnectionError("The ledger lane failed."))

    async def _deliver(self, batch: list[Entry[Item, Result]]) -> None:
        """Until every entry of the batch has its answer."""
        key = self.new_key()
        failures = 0
        while batch:
            try:
                connection = self._connection or await self._connect()
                results = await self.send(connection, batch, key)
            except (psycopg.Error, OSError, TimeoutError) as error:
                sqlstate = getattr(error, "sqlstate", None) or ""
                if sqlstate == "TK001":
                    if not await self.on_fenced():
                        return
                elif is_worth_repeating(error):
                    if sqlstate not in AGAIN:
                        await self._disconnect()
                    failures += 1
                    if failures > 1 or time.monotonic() - batch[0].queued_at > PATIENCE_SECONDS:
                        self._note_down(error)
                        batch = await self.on_down(batch)
                        self._in_flight = batch
                    await asyncio.sleep(RETRY_SECONDS if failures < 3 else RECONNECT_SECONDS)
                else:
                    assert isinstance(error, psycopg.Error)
                    await self._bisect(batch, error)
                    return
            else:
                self._note_up()
                for entry, result in zip(batch, results, strict=True):
                    if not entry.answer.done():
                        entry.answer.set_result(result)
                    self.on_answer(entry, result)
                return

    def on_answer(self, entry: Entry[Item, Result], result: Result) -> None:
        """The ledger has answered for this entry, whoever still waits."""

    async def _bisect(self, batch: list[Entry[Item, Result]], error: psycopg.Error) -> None:
        """A definite refusal of the whole: nothing was written. Halves are new batches, with keys of their own."""
        if len(batch) == 1:
            log.error("lane %s: the ledger refuses a row: %s", self.name, error.sqlstate)
            await self.refuse(batch[0], error)
            return
        half = len(batch) // 2
        await self._deliver(batch[:half])
        await self._deliver(batch[half:])

    # ── the connection ───────────────────────────────────────────────────────────────────────────────────────────────
    async def _connect(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(
            settings.DATABASE_URL,
            autocommit=True,
            connect_timeout=3,
            prepare_threshold=0,
            application_name=f"tokia-gateway-{self.name}",
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} -c jit=off",
            tcp_user_timeout=int(SILENCE_SECONDS * 1000),
        )
        self._connection = connection  # from here on it is `_disconnect`'s to close
        try:
            for statement in self.statements:
                await statement.prepare(connection)
        except psycopg.Error as error:  # whatever it is, no row is at fault
            await self._disconnect()
            raise OSError(f"The ledger's statements can't be prepared: {error.sqlstate}") from error
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close()

    def _note_down(self, error: BaseException) -> None:
        if self.down_since is None:
            self.down_since = time.monotonic()
            log.warning("lane %s: the database does not answer: %s", self.name, type(error).__name__)

    def _note_up(self) -> None:
        if self.down_since is not None:
            log.warning("lane %s: the database answers again", self.name)
            self.down_since = None
