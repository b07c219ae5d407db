"""The bank's calls to its customer: notices of Pix and of finished refunds, grouped, retried, sometimes lost."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tokia.sandbox.asgi import dump
from tokia.sandbox.bank import Bank, Record, public

GROUP_SECONDS = 0.02  # Pix that arrive so near each other share one call
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # a real bank goes on for days
TIMEOUT_SECONDS = 10.0
LOG_SIZE = 500


@dataclass
class Courier:
    """Carries notices to the registered webhook over mutual TLS (or plain HTTP, on loopback)."""

    bank: Bank
    folder: Path
    deliveries: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LOG_SIZE))
    _waiting: list[Record] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _client: httpx.AsyncClient | None = None

    def open(self) -> None:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(self.folder / "hook.pem")
        limits = httpx.Limits(max_connections=64)
        self._client = httpx.AsyncClient(verify=context, timeout=TIMEOUT_SECONDS, trust_env=False, limits=limits)
        self.bank.notify = self.notify

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._client is not None:
            await self._client.aclose()

    def forget_everything(self) -> None:
        """Drop every notice that is still on its way."""
        for task in list(self._tasks):
            task.cancel()
        self._waiting.clear()
        self.deliveries.clear()

    def notify(self, pix: Record, copies: int, delay_seconds: float) -> None:
        """Send one Pix `copies` times, after a delay. Only a Pix with txid is told, as the standard says."""
        if "txid" not in pix or copies < 1:
            return
        fault = self.bank.take_fault("webhook")
        if fault is not None and fault["kind"] == "drop":
            return
        if fault is not None:
            delay_seconds += float(fault.get("ms", 1000)) / 1000
        self._spawn(self._notify(public(pix), copies=copies, delay_seconds=delay_seconds))

    async def notify_now(self, pix: Record) -> None:
        """Deliver one Pix and wait for the customer's answer (or for the last retry)."""
        await self._deliver([public(pix)])

    async def _notify(self, pix: Record, *, copies: int, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        if copies > 1:
            await asyncio.gather(*(self._deliver([pix]) for _ in range(copies)))
            return
        self._waiting.append(pix)
        await asyncio.sleep(GROUP_SECONDS)
        group, self._waiting = self._waiting, []
        if group:
            await self._deliver(group)

    async def _deliver(self, group: list[Record]) -> None:
        for attempt, pause_seconds in enumerate((*RETRY_SECONDS, None)):
            webhook = self.bank.webhooks.get(self.bank.pix_key)
            if webhook is None:
                return
            status = await self._post(url=notice_url(webhook["webhookUrl"]), group=group, attempt=attempt)
            if (isinstance(status, int) and 200 <= status < 300) or pause_seconds is None:
                return
            await asyncio.sleep(pause_seconds)

    async def _post(self, *, url: str, group: list[Record], attempt: int) -> int | str:
        assert self._client is not None
        status: int | str
        try:
            answer = await self._client.post(url, content=dump({"pix": group}), headers={"content-type": "application/json"})
            status = answer.status_code
        except (httpx.HTTPError, OSError) as error:
            status = f"{type(error).__name__}: {error}"[:120]
        ids = [pix["endToEndId"] for pix in group]
        self.deliveries.append({"at": time.time(), "url": url, "pix": ids, "attempt": attempt, "status": status})
        return status

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def notice_url(webhook_url: str) -> str:
    """`{webhookUrl}/pix`; a query that ends in `ignorar=` swallows the suffix, as Efí's customers use it."""
    base, mark, query = webhook_url.partition("?")
    if "ignorar=" in query:
        return f"{webhook_url}/pix"
    return f"{base.rstrip('/')}/pix{mark}{query}"
