"""The sandbox's Stripe tells its customer: signed events, at least once; by a control also twice, late, in another sequence,
tampered or stale."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import httpx

from tokia.sandbox.asgi import Json, dump
from tokia.sandbox.stripe_books import Books, Record, public

RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # the real one goes on for three days
TIMEOUT_SECONDS = 10.0
LOG_SIZE = 500


@dataclass
class StripeCourier:
    """`url`, `secret`: the customer's door. While `is_held` events wait for `deliver`."""

    books: Books
    url: str = ""
    secret: str = ""
    is_held: bool = False
    held: list[Record] = field(default_factory=list)
    deliveries: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LOG_SIZE))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _client: httpx.AsyncClient | None = None

    def open(self) -> None:
        self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False, limits=httpx.Limits(max_connections=64))
        self.books.tell = self.tell

    async def close(self) -> None:
        self.forget_everything()
        if self._client is not None:
            await self._client.aclose()

    def forget_everything(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self.held.clear()
        self.deliveries.clear()

    def tell(self, event: Record) -> None:
        if self.is_held:
            self.held.append(event)
            return
        fault = self.books.take_fault("webhook")
        kind = fault["kind"] if fault else ""
        if kind == "drop" or not self.url:
            return
        delay_seconds = float((fault or {}).get("ms", 1000)) / 1000 if kind == "delay" else 0.0
        for _ in range(int((fault or {}).get("times", 2)) if kind == "duplicate" else 1):
            task = asyncio.get_running_loop().create_task(self._deliver(event, delay_seconds=delay_seconds))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def send(self, event: Record, *, times: int, age_seconds: int, is_tampered: bool, secret: str) -> list[Json]:
        """One event, so many times at once, each without a retry; returns the answers' status codes."""
        return list(
            await asyncio.gather(
                *(
                    self._post(event, attempt=0, age_seconds=age_seconds, is_tampered=is_tampered, secret=secret)
                    for _ in range(times)
                )
            )
        )

    async def _deliver(self, event: Record, *, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        for attempt, pause_seconds in enumerate((*RETRY_SECONDS, None)):
            status = await self._post(event, attempt=attempt)
            if (isinstance(status, int) and 200 <= status < 300) or pause_seconds is None:
                return
            await asyncio.sleep(pause_seconds)

    async def _post(
        self, event: Record, *, attempt: int, age_seconds: int = 0, is_tampered: bool = False, secret: str = ""
    ) -> int | str:
        assert self._client is not None
        body = dump(public(event))
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "stripe-signature": signature(body, secret=secret or self.secret, at=int(time.time()) - age_seconds),
        }
        if is_tampered:
            body = body.replace(b'"livemode":false', b'"livemode":true ')
        status: int | str
        try:
            answer = await self._client.post(self.url, content=body, headers=headers)
            status = answer.status_code
        except (httpx.HTTPError, OSError) as error:
            status = f"{type(error).__name__}: {error}"[:120]
        self.deliveries.append(
            {"at": time.time(), "event": event["id"], "type": event["type"], "attempt": attempt, "status": status}
        )
        return status


def signature(body: bytes, *, secret: str, at: int) -> str:
    """The header: HMAC-SHA256 of "time.body"."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
