"""Keeps the callers and the catalog in memory as new as the database: LISTEN for the hurry, a poll for certainty.

One thread does every read, in order. While PostgreSQL is away the last snapshots serve on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
from django.conf import settings
from django.db import close_old_connections

from accounts.models import SnapshotVersion
from gateway import catalog
from gateway.callers import CallerBook
from gateway.calls import Caller
from gateway.ending import end_tasks
from gateway.errors import Unavailable

log = logging.getLogger(__name__)
LOOK_UPS_MAX = 200  # keys being looked up at once; beyond it 503, so that made-up keys can't queue for ever
LOOK_UP_SECONDS = 5.0
T = TypeVar("T")


class Snapshots:
    """The two snapshots and the task that follows their version numbers."""

    def __init__(self) -> None:
        self.catalog = catalog.EMPTY
        self.callers = CallerBook()
        self.is_loaded = False
        self._versions: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="snapshots")
        self._look_ups: dict[bytes, asyncio.Future[Caller | None]] = {}
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.refresh()
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        await end_tasks(self._tasks)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def find_caller(self, secret: bytes) -> Caller | None:
        """The caller of a key, asking the database once where it is new. Raises Unauthorized, Unavailable."""
        caller = self.callers.find(secret)
        if caller is not None:
            return caller
        under_way = self._look_ups.get(secret)
        if under_way is None:
            if len(self._look_ups) >= LOOK_UPS_MAX:
                raise _keys_unavailable()
            under_way = asyncio.ensure_future(self._run(lambda: self.callers.look_up(secret)))
            self._look_ups[secret] = under_way
            under_way.add_done_callback(lambda _: self._look_ups.pop(secret, None))
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                return await asyncio.shield(under_way)
        except Exception as error:  # whatever keeps the database from answering
            log.warning("key look-up failed: %s", type(error).__name__)
            raise _keys_unavailable() from error

    async def refresh(self) -> None:
        """Read what moved. Failure is logged: the last snapshots serve on."""
        try:
            await self._run(self._read)
        except Exception as error:
            log.warning("snapshot not refreshed: %s", type(error).__name__)

    def _read(self) -> None:
        versions = dict(SnapshotVersion.objects.values_list("subject", "number"))  # before the rows: newer is fine, older not
        due = self.catalog.next_change_at
        if versions.get("catalog") != self._versions.get("catalog") or (due is not None and due <= time.time()):
            self.catalog = catalog.load()
        if versions.get("callers") != self._versions.get("callers"):
            self.callers.refresh()
        self._versions = versions
        self.is_loaded = True

    async def _run(self, work: Callable[[], T]) -> T:
        def in_thread() -> T:
            close_old_connections()
            return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, in_thread)

    async def _poll(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.GATEWAY_SNAPSHOT_SECONDS):
                    await self._moved.wait()
            self._moved.clear()
            await self.refresh()

    async def _listen(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    settings.DATABASE_URL, autocommit=True, connect_timeout=5, application_name="tokia-gateway-listen"
                )
                async with connection:
                    await connection.execute("LISTEN tokia_snapshot")
                    self._moved.set()
                    async for _ in connection.notifies():
                        self._moved.set()
            except (psycopg.Error, OSError):
                await asyncio.sleep(2)


def _keys_unavailable() -> Unavailable:
    return Unavailable(
        "Não foi possível conferir a chave agora. Tente de novo em instantes.",
        "The key could not be checked right now. Try again in a moment.",
        code="service_unavailable",
        retry_after_seconds=2,
    )
