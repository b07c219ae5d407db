"""One HTTP/1.1 connection towards a provider, on asyncio's transport and httptools' parser. Framework-free.

Written because the pooled client that we began with leaves a cancelled request running until its timeout: here a caller that
hangs up closes the upstream at once. It also costs a third of the CPU. Deadlines are kept by the pool's sweep, not by timers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import httptools

HEAD_BYTES_MAX = 65_536
BUFFER_BYTES_MAX = 262_144  # read ahead of the caller; beyond it the upstream is held back
BUFFER_BYTES_LOW = 65_536
STALE_SECONDS = 1.0  # later than that, whoever ended a kept connection had the request: it is not sent again unseen


class WireError(OSError):
    """The connection broke, or what came is no HTTP. `is_stale`: a kept connection ended before it gave a single byte."""

    def __init__(self, message: str, *, is_stale: bool = False) -> None:
        super().__init__(message)
        self.is_stale = is_stale


class WireTimeout(WireError):
    """Nothing came for too long, or all of it took too long."""


class Connection(asyncio.Protocol):
    """Serves one exchange at a time. `is_reusable` says whether it may serve another one."""

    def __init__(self, *, idle_seconds: float, total_seconds: float) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.has_head = False
        self.is_complete = True
        self.is_closed = False
        self.idle_since = 0.0  # monotonic, while it waits in the pool
        self._idle_seconds = idle_seconds
        self._patience = idle_seconds
        self._total_seconds = total_seconds
        self._first_by = 0.0  # monotonic: nothing that says anything has come by then; 0: no such deadline
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()  # asking for it anew is a system call
        self._parser: Any = None
        self._body: list[bytes] = []
        self._buffered = 0
        self._is_paused = False
        self._ends_by_eof = False
        self._head_bytes = 0
        self._error: WireError | None = None
        self._take: Callable[[bytes], bool] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._began = 0.0
        self._heard = 0.0
        self._exchanges = 0
        self._is_kept = True
        self._is_between = False  # chunks: the parser has taken the last one whole, and nothing of the next

    # ── The exchange ─────────────────────────────────────────────────────────────────────────────────────────────────
    def send(self, head: bytes, body: bytes, *, idle_seconds: float = 0.0, first_seconds: float = 0.0) -> None:
        """`idle_seconds`: how long this answer may be silent, where that is not what all may. `first_seconds`: by when `note_first`
        is due, 0: whenever."""
        assert self._transport is not None
        self._patience = idle_seconds or self._idle_seconds
        self.status, self.headers, self.has_head, self.is_complete = 0, {}, False, False
        self._ends_by_eof, self._head_bytes, self._error, self._is_between = False, 0, None, False
        self._began = self._heard = time.monotonic()
        self._first_by = self._began + first_seconds if first_seconds else 0.0
        self._exchanges += 1
        self._transport.writelines([head, body]) if len(body) > BUFFER_BYTES_LOW else self._transport.write(head + body)

    def note_first(self) -> None:
        """What came says something: from now on only silence and the whole length are bounded."""
        self._first_by = 0.0

    async def read_head(self) -> None:
        """Until status and headers are there. Raises WireError."""
        while not self.has_head:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def take_whole(self) -> bytes | None:
        """The rest of the body where all of it has come; else None."""
        if not self.is_complete or self._error is not None or self._is_paused:
            return None
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._buffered = 0
        return body

    async def read(self) -> bytes | None:
        """What has come since the last read, at least a byte; None at the end of the body. Raises WireError."""
        while not self._body:
            if self._error is not None:
                raise self._error
            if self.is_complete:
                return None
            await self._wait()
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._buffered = 0
        if self._is_paused and self._transport is not None and not self.is_closed:
            self._is_paused = False
            self._heard = time.monotonic()
            self._transport.resume_reading()
        return data

    @property
    def has_news(self) -> bool:
        """`read` would not wait."""
        return bool(self._body) or self.is_complete or self._error is not None

    async def pump(self, take: Callable[[bytes], bool]) -> None:
        """Give `take` what comes, in the very callback in which it comes: nobody is woken for it. Returns once `take` has
        had enough (False; it must not raise), and where `read` has something to tell: the end, a failure, bytes held back."""
        if self.has_news:
            return
        self._take = take
        try:
            await self._wait()
        finally:
            self._take = None

    @property
    def is_reusable(self) -> bool:
        return self.is_complete and self._is_kept and not self.is_closed and not self._body and self._error is None

    def abort(self) -> None:
        if self._transport is not None and not self.is_closed:
            self._transport.abort()
        self.is_closed = True

    def check_deadlines(self, now: float) -> None:
        """Called by the sweep. A connection that we hold back ourselves is not silent."""
        if self.is_complete or self._error is not None:
            return
        if now - self._began > self._total_seconds or (not self._is_paused and now - self._heard > self._patience):
            self._fail(WireTimeout("The upstream is silent."))
            self.abort()
        elif self._first_by and now > self._first_by:
            self._fail(WireTimeout("The upstream's answer does not begin."))
            self.abort()

    # ── asyncio.Protocol ─────────────────────────────────────────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)  # one for all answers of the connection, as they follow each other

    def data_received(self, data: bytes) -> None:
        if self.is_complete:  # bytes that nobody asked for: whatever they are, not the next answer
            self._is_kept = False
            self.abort()
            return
        self._heard = time.monotonic()
        take = self._take
        if take is not None and self._is_between and not self._body and (chunk := whole_chunk(data)):
            if not take(chunk):
                self._take = None
                self._wake()
            return
        if not self.has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._is_kept = False
            if not self.is_complete:
                self._error = WireError(f"Not HTTP: {type(error).__name__}")
            self.abort()
        if not self.has_head and self._head_bytes > HEAD_BYTES_MAX:
            self._error = self._error or WireError("The head is too long.")
            self.abort()
        self._is_between = self._is_between and data[-1:] == b"\n"  # else the beginning of a chunk's size follows
        if take is not None and self._body and self._error is None and not self._is_paused:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body.clear()
            self._buffered = 0
            if take(body) and not self.is_complete:
                return
            self._take = None
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._is_kept = False
        if not self.is_complete:
            if self.has_head and self._ends_by_eof and error is None:
                self.is_complete = True
                self._wake()
            else:
                was_unheard = self._exchanges > 1 and self._heard == self._began
                is_stale = was_unheard and time.monotonic() - self._began < STALE_SECONDS
                self._fail(WireError("The connection was lost.", is_stale=is_stale))

    # ── httptools ────────────────────────────────────────────────────────────────────────────────────────────────────
    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status: int = self._parser.get_status_code()
        if status < 200:
            self.headers = {}
            return
        self.status = status
        self.has_head = True
        is_framed = b"content-length" in self.headers or b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        self._ends_by_eof = not is_framed and status not in (204, 304)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._buffered += len(body)
        if self._buffered > BUFFER_BYTES_MAX and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_chunk_header(self) -> None:
        self._is_between = False

    def on_chunk_complete(self) -> None:
        self._is_between = True

    def on_message_complete(self) -> None:
        self._is_between = False
        if not self.has_head:  # an interim answer
            return
        self.is_complete = True
        self._is_kept = self._is_kept and bool(self._parser.should_keep_alive())

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: WireError) -> None:
        self._error = error
        self._wake()


def whole_chunk(data: bytes) -> bytes:
    """The data of bytes that are one whole chunk of a body (RFC 9112 §7.1) and nothing else, as a stream's events mostly come;
    empty where they are anything else, the last chunk too: then the parser has its say."""
    at = data.find(b"\r\n", 1, 10)
    if at < 0 or data[-2:] != b"\r\n":
        return b""
    digits = data[:at]
    if not digits.isalnum() or b"x" in digits.lower():  # what int() would forgive
        return b""
    try:
        size = int(digits, 16)
    except ValueError:
        return b""
    return data[at + 2 : -2] if len(data) == at + 4 + size else b""
