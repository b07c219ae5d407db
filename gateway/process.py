"""One gateway process: its snapshots, limits, meter and upstream client; how it starts, drains and ends."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import random
import signal
import time
from types import FrameType
from typing import Any

from django.conf import settings

from gateway.answer_cache import AnswerCache
from gateway.balance import BalanceReader
from gateway.calls import CallContext
from gateway.circuit import Circuits
from gateway.credentials import Credentials
from gateway.ending import end_tasks
from gateway.huge_pages import use_huge_pages
from gateway.idempotency_store import IdempotencyStore
from gateway.limits import Limits
from gateway.metering import Meter
from gateway.reading import ReadConnection
from gateway.snapshots import Snapshots
from gateway.surfaces.responses_store import ResponseStore
from gateway.threads import DatabaseThreads
from gateway.upstream import Upstream
from gateway.vitals import Vitals

log = logging.getLogger(__name__)
READER_SECONDS = 60.0  # a caller that reads nothing for so long is gone
SWEEP_SECONDS = 0.25
WATCH_AFTER_NS = 250_000_000  # a younger call most often ends before its caller could
COLLECT_TURNS = 8  # sweeps between two collections of young cycles
FULL_COLLECT_TURNS = 60  # of those, between two of all


class GatewayProcess:
    """Everything that calls share."""

    def __init__(self) -> None:
        self.snapshots = Snapshots()
        self.limits = Limits()
        self.meter = Meter()
        self.upstream = Upstream()
        self.vitals = Vitals()
        self.credentials = Credentials()
        self.circuits = Circuits()
        self.meter.note_tokens = self.credentials.note_tokens
        self.reads = ReadConnection()
        self.balances = BalanceReader(self.reads)
        self.responses = ResponseStore()
        self.files = DatabaseThreads("files")
        self.idempotency = IdempotencyStore()
        self.answers = AnswerCache()
        self.rng = random.Random()  # noqa: S311 - spreads load, guards nothing
        self.contexts: set[CallContext] = set()  # in flight
        self.draining_since: float | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        return self.draining_since is None and self.snapshots.is_loaded and self.meter.is_ready

    async def start(self) -> None:
        await self.upstream.start()
        await self.limits.start()
        await self.answers.start()
        await self.circuits.start()
        await self.vitals.start()
        await self.credentials.start()
        await self.meter.start()
        await self.snapshots.start()
        self._sweeper = asyncio.create_task(self._sweep(), name="sweeper")
        take_over_sigterm(self)
        gc.collect()
        use_huge_pages()
        gc.freeze()  # what the start made stays: the collector need not look at it again
        gc.disable()  # calls leave no cycles behind; `_sweep` collects what little there is, instead of each ten thousandth object

    async def stop(self) -> None:
        """The server has finished its connections. Money first: what waits is settled before anything closes."""
        if self._sweeper is not None:
            await end_tasks([self._sweeper])
        await self.meter.stop()
        await self.snapshots.stop()
        await self.limits.stop()
        await self.answers.stop()
        await self.circuits.stop()
        await self.vitals.stop()
        await self.credentials.stop()
        await self.reads.stop()
        await self.responses.stop()
        await self.files.stop()
        await self.idempotency.stop()
        await self.upstream.stop()

    def begin_drain(self) -> None:
        if self.draining_since is None:
            self.draining_since = time.monotonic()

    async def _sweep(self) -> None:
        """Deadlines that need no timer of their own: slow bodies, callers that do not read, the end of the drain."""
        for turn in itertools.count(1):
            await asyncio.sleep(SWEEP_SECONDS)
            if turn % COLLECT_TURNS == 0:
                gc.collect(2 if turn % (COLLECT_TURNS * FULL_COLLECT_TURNS) == 0 else 1)
            now, now_ns = time.monotonic(), time.monotonic_ns()
            is_over = self.draining_since is not None and now - self.draining_since > settings.GATEWAY_DRAIN_SECONDS
            for context in list(self.contexts):
                if not context.is_watched and context.watch is not None and now_ns - context.started_ns > WATCH_AFTER_NS:
                    context.watch()
                patience = settings.GATEWAY_BODY_SECONDS if context.is_reading else READER_SECONDS
                if context.waits_since and now - context.waits_since > patience:
                    context.is_late = True
                    context.waits_since = 0.0
                    if context.task is not None:
                        context.task.cancel()
                elif is_over and not context.is_draining:
                    context.is_draining = True
                    context.interrupt()


def take_over_sigterm(process: GatewayProcess) -> None:
    """Drain on SIGTERM, and end with status 0.

    uvicorn would raise the signal again after its shutdown, so that a clean stop looks like a kill; setting `should_exit` is its
    documented way to stop from inside. Under another server, or outside the main thread, its own handler stays.
    """
    previous = signal.getsignal(signal.SIGTERM)
    server: Any = getattr(previous, "__self__", None)
    loop = asyncio.get_running_loop()

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(process.begin_drain)
        if hasattr(server, "should_exit"):
            server.should_exit = True
        elif callable(previous):
            previous(number, frame)

    if callable(previous):
        signal.signal(signal.SIGTERM, on_sigterm)
