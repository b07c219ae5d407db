"""Where the ORM runs for those who live on an event loop: threads of their own, each with its own connection."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from gateway.errors import Unavailable
from tokia.errors import TokiaError

log = logging.getLogger(__name__)
SERVE_SECONDS = 3.0
T = TypeVar("T")


class DatabaseThreads:
    """A pool for synchronous verbs."""

    def __init__(self, name: str, *, count: int = 4) -> None:
        self._name = name
        self._threads = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)
        self._connections: dict[int, BaseDatabaseWrapper] = {}

    async def run(self, work: Callable[[], T]) -> T:
        """Raises what `work` raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: self._in_thread(work))

    async def serve(self, work: Callable[[], T], *, seconds: float = SERVE_SECONDS) -> T:
        """The same for a caller who waits. Raises what is his to know, else Unavailable."""
        try:
            async with asyncio.timeout(seconds):
                return await self.run(work)
        except TokiaError:
            raise
        except Exception as error:  # whatever keeps the database from answering
            log.warning("%s not reached: %s", self._name, type(error).__name__)
            raise Unavailable(
                "Os arquivos e lotes não responderam agora. Tente de novo em instantes.",
                "Files and batches could not be reached. Try again in a moment.",
                code="service_unavailable", retry_after_seconds=2,
            ) from error  # fmt: skip

    async def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        for opened in self._connections.values():
            opened.inc_thread_sharing()  # their threads have ended
            opened.close()

    def _in_thread(self, work: Callable[[], T]) -> T:
        close_old_connections()
        self._connections[threading.get_ident()] = connections["default"]
        return work()
