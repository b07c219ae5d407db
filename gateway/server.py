"""uvicorn's HTTP/1.1 with a cheaper way out: `uvicorn gateway.asgi:app --http gateway.server:HttpProtocol`.

uvicorn searches every header of an answer with two regular expressions, writes head and body apart, and makes a timer, an event and
a callback per request: a seventh of a call's CPU. Here the head goes out with the first bytes of the body, and is checked once as a
whole. Requests that are not plain (HEAD, HTTP/1.0, Expect, Upgrade, a concurrency limit) take uvicorn's own way, unchanged.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

# What no header may hold (RFC 9110 §5.5): a value with a line end would begin a header, or a body, of somebody else's choice.
_CONTROLS = bytes(code for code in range(32) if code != 9) + b"\x7f"
_CLOSE = (b"connection", b"close")
_CHUNKED = (b"transfer-encoding", b"chunked")


class Signal:
    """asyncio.Event for the one task that waits, made in a tenth of the time."""

    __slots__ = ("_loop", "_waiter", "is_set")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_set = False
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        self.is_set = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Cycle(RequestResponseCycle):
    """One plain request and its answer. What is not here is uvicorn's."""

    disconnected = False
    waiting_for_100_continue = False
    more_body = True
    response_started = False
    response_complete = False
    task: asyncio.Task[None] | None = None

    def __init__(self, protocol: HttpProtocol, scope: Any, *, keep_alive: bool) -> None:
        self.scope = scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.keep_alive = keep_alive
        self.message_event: Any = Signal(protocol.loop)
        self.body = bytearray()
        self._protocol: HttpProtocol | None = protocol
        self._start: Any = None  # the answer's start, until its first bytes come
        self._left = -1  # bytes that the answer has still to bring; -1: chunks, it may bring any

    async def run_asgi(self, app: ASGI3Application) -> None:
        try:
            await app(self.scope, self.receive, self.send)
            if not self.response_complete and not self.disconnected:
                raise RuntimeError("The application ended without an answer.")
        except BaseException as error:
            self.logger.error("Exception in ASGI application\n", exc_info=error)
            if self.response_started:
                self.transport.close()
            else:
                await self.send_500_response()
        finally:
            if self._protocol is not None and self.task is not None:
                self._protocol.tasks.discard(self.task)
            self._protocol = self.task = None  # nothing points in a circle: the collector is off

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start" and not self.response_started:
            self.response_started = True
            self._start = message
            return
        kind: str = message["type"]
        if kind == "http.response.break" and self.response_started:  # ours: the answer can't be finished, and must look so
            self.disconnected = True
            self.transport.close()
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] != "http.response.body" or not self.response_started or self.response_complete:
            raise RuntimeError(f"Unexpected ASGI message '{message['type']}'.")
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        parts: list[bytes] = []
        if self._start is not None:
            parts.append(self._begin(self._start["status"], self._start["headers"]))
            self._start = None
        if self._left < 0:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if is_last:
                parts.append(b"0\r\n\r\n")
        else:
            self._left -= len(body)
            if self._left < 0 or (is_last and self._left):
                raise RuntimeError("The answer is not as long as its Content-Length.")
            parts.append(body)
        self.transport.write(b"".join(parts))
        if is_last:
            self._end()

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """A whole answer at once, without waiting; `headers` tell its length. False where it would have to wait, or the caller has
        gone: then nothing was written."""
        if self.response_started or self.disconnected or self.flow.write_paused:
            return False
        head = self._begin(status, headers)
        if self._left != len(body):
            raise RuntimeError("The answer is not as long as its Content-Length.")
        self.response_started = True
        self.transport.write(head + body)
        self._end()
        return True

    def push(self, body: bytes) -> bool:
        """A part of a chunked body that has begun, without waiting. False where it would have to wait, or the caller has gone:
        then nothing was written."""
        if self.disconnected or self.flow.write_paused or self.response_complete or self._start is not None or self._left >= 0:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return True

    async def receive(self) -> ASGIReceiveEvent:
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            event: Signal = self.message_event
            if not event.is_set:  # most often the body came with the head
                await event.wait()
            event.is_set = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def take_body(self) -> bytes | None:
        """The body, where all of it came with the head, as most do; None where `receive` has to be asked."""
        if self.more_body or self.disconnected or self.response_complete:
            return None
        self.flow.resume_reading()
        self.message_event.is_set = False
        body, self.body = bytes(self.body), bytearray()
        return body

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The head, and how the body is framed. Raises RuntimeError for a header that would break out of its line."""
        assert self._protocol is not None
        headers = [*self._protocol.server_state.default_headers, *headers]
        named = dict(headers)
        length = named.get(b"content-length")
        if length is not None:
            self._left = int(length)
        elif status in (204, 304):
            self._left = 0
        else:
            headers.append(_CHUNKED)
        if b"connection" in named:  # the application only ever names it to close
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append(_CLOSE)
        head = STATUS_LINE[status] + b"\r\n".join(map(b": ".join, headers)) + b"\r\n\r\n"
        if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(headers) + 2):
            raise RuntimeError("Invalid HTTP header.")
        return head

    def _end(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        if self._protocol is not None:
            self._protocol.on_response_complete()


class HttpProtocol(HttpToolsProtocol):
    """One connection. Its keep-alive timer is armed once and looks at the clock when it fires, instead of once per request."""

    _idle_since = 0.0  # the loop's time; 0: a request is under way

    def on_headers_complete(self) -> None:
        parser, url, cycle = self.parser, self.url, self.cycle
        method = parser.get_method()
        if (
            method == b"HEAD"
            or self.expect_100_continue
            or self.limit_concurrency is not None
            or parser.should_upgrade()
            or parser.get_http_version() != "1.1"
            or url[:1] != b"/"
            or b"?" in url
            or b"%" in url
            or b"#" in url
        ):
            super().on_headers_complete()
            return
        scope = self.scope
        scope["method"] = method.decode("ascii")
        scope["path"] = self.root_path + url.decode("ascii")
        scope["raw_path"] = url
        scope["query_string"] = b""
        self.cycle = Cycle(self, scope, keep_alive=parser.should_keep_alive())
        if cycle is None or cycle.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:  # pipelined: it waits for its turn
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if isinstance(cycle, Cycle):
            cycle.task = self.loop.create_task(cycle.run_asgi(app))
            self.tasks.add(cycle.task)
        else:
            super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._arm(self.timeout_keep_alive)

    def _arm(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = 0.0

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since:
            left = self._idle_since + self.timeout_keep_alive - self.loop.time()
            if left <= 0:
                super().timeout_keep_alive_handler()
            else:
                self._arm(left)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
