"""Scripts that a call waits for in Valkey: those that come together travel together, and one trip is under way at a time.

Valkey late or away is no error here but an answer, None; a breaker spares whoever comes next the wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, NamedTuple

from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)
BREAKER_SECONDS = 2.0
TRIP_MAX = 200  # scripts


class Ask(NamedTuple):
    script: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    answer: asyncio.Future[Any]


class ValkeyLane:
    """One connection's worth of scripts."""

    def __init__(self) -> None:
        self._valkey: Redis | None = None
        self._queue: list[Ask] = []
        self._trip: asyncio.Task[None] | None = None
        self._closed_until = 0.0  # the breaker: monotonic

    async def start(self) -> None:
        timeout = settings.GATEWAY_VALKEY_TIMEOUT_MS / 1000
        self._valkey = Redis.from_url(
            settings.VALKEY_URL, socket_timeout=timeout * 5, socket_connect_timeout=timeout * 5, max_connections=4, retry=None
        )

    async def stop(self) -> None:
        """What was asked is still sent: seats are given back."""
        if self._trip is not None:
            await asyncio.gather(self._trip, return_exceptions=True)
        if self._valkey is not None:
            await self._valkey.aclose()

    @property
    def is_open(self) -> bool:
        return self._valkey is not None and time.monotonic() >= self._closed_until

    def send(self, script: str, keys: tuple[str, ...], args: tuple[str, ...]) -> asyncio.Future[Any]:
        """Its answer, or None. It is sent whether or not anybody waits."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self.is_open:
            answer.set_result(None)
            return answer
        self._queue.append(Ask(script, keys, args, answer))
        if self._trip is None:
            self._trip = asyncio.create_task(self._travel(), name="limits")
        return answer

    async def _travel(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue[:TRIP_MAX], self._queue[TRIP_MAX:]
                answers: list[Any]
                try:
                    answers = await self._ask(batch)
                except (RedisError, OSError, TimeoutError) as error:
                    self._closed_until = time.monotonic() + BREAKER_SECONDS
                    log.warning("valkey is late or away; limits are local: %s", type(error).__name__)
                    batch, self._queue, answers = [*batch, *self._queue], [], []
                for place, ask in enumerate(batch):
                    if not ask.answer.done():
                        ask.answer.set_result(answers[place] if place < len(answers) else None)
        finally:
            self._trip = None

    async def _ask(self, batch: list[Ask]) -> list[Any]:
        """Raises RedisError, OSError, TimeoutError."""
        assert self._valkey is not None
        async with asyncio.timeout(settings.GATEWAY_VALKEY_TIMEOUT_MS / 1000):
            if len(batch) == 1:
                ask = batch[0]
                return [await self._valkey.eval(ask.script, len(ask.keys), *ask.keys, *ask.args)]
            pipeline = self._valkey.pipeline(transaction=False)
            for ask in batch:
                pipeline.eval(ask.script, len(ask.keys), *ask.keys, *ask.args)
            answers: list[Any] = await pipeline.execute()
            return answers
