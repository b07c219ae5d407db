"""How a fiscal service breaks when it was asked to: before its work is done, or after it, on the way back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tokia.sandbox.asgi import Request, Response
from tokia.sandbox.fiscal_books import Fault, FiscalBooks

TIMEOUT_MS = 60_000  # how long an answer that never comes keeps the client waiting, unless the fault says `ms`
HTML = "<!DOCTYPE html><html><head><title>Erro</title></head><body><h1>{status}</h1><p>Erro interno do servidor</p></body></html>"

Work = Callable[[], Awaitable[Response]]


@dataclass
class Breaker:
    """Runs the work of an operation with the next fault of its queue."""

    books: FiscalBooks
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def hurry(self) -> None:
        """We are about to stop: nobody waits any longer."""
        self._stopping.set()

    async def run(self, request: Request, *, operation: str, work: Work, reject: Callable[[Fault], Response]) -> Response | None:
        """The answer; None where the connection was cut instead. `reject` words a refusal that a test asked for."""
        fault = self.books.take_fault(operation)
        kind = fault["kind"] if fault else ""
        if fault is None:
            return await work()
        self.books.log(operation=operation, fault=kind, path=request.path)
        if kind == "timeout_before":
            await self._hang(request, fault)
            return None
        if kind == "reject":
            return reject(fault)
        if kind in ("404", "429", "500", "502", "503"):
            return _refuse(int(kind), fault)
        response = await work()
        if kind == "timeout":
            await self._hang(request, fault)
            return None
        if kind == "lost":
            request.transport.abort()
            return None
        if kind == "half":
            await self._send_half(request, response)
            return None
        return response

    async def _hang(self, request: Request, fault: Fault) -> None:
        """Say nothing until the time is over or the client has gone; then cut the connection."""
        waits = [request.watch_client(), asyncio.create_task(self._stopping.wait())]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(waits, timeout=float(fault.get("ms", TIMEOUT_MS)) / 1000, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        request.transport.abort()

    async def _send_half(self, request: Request, response: Response) -> None:
        headers = {"content-length": str(len(response.body))}
        await request.start(status=response.status, content_type=response.content_type, headers=headers)
        await request.write(response.body[: len(response.body) // 2])
        await asyncio.sleep(0.01)  # the half is on its way before the cut
        request.transport.abort()


def _refuse(status: int, fault: Fault) -> Response:
    headers = {"retry-after": str(fault.get("retry_after", 1))} if status == 429 or "retry_after" in fault else {}
    body = str(fault.get("body") or HTML.format(status=status)).encode()
    return Response(status=status, body=body, content_type="text/html; charset=utf-8", headers=headers)


class RefusingSocket(socket.socket):
    """A listener that can hang up at once: the caller's connection is reset before a byte of TLS is said."""

    books: FiscalBooks | None = None

    def accept(self) -> tuple[socket.socket, object]:
        connection, address = super().accept()
        if self.books is not None and self.books.take_fault("connect"):
            self.books.log(operation="connect", fault="refuse", path="")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # RST, not FIN
            connection.close()
            raise ConnectionAbortedError  # which the event loop's accepting takes for a caller that went away
        return connection, address
