"""The pool of connections towards providers, behind a small interface: one attempt, its timeouts, its caps.

No redirects, no cookies, no compression, TLS verified; of an upstream's headers only what `Answer` names is ever looked at.
Failures come out as UpstreamError, which says whether another deployment may be asked.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec
from django.conf import settings

from gateway.calls import CallContext
from gateway.dialects.base import UpstreamRequest, malformed, timed_out
from gateway.ending import end_tasks
from gateway.errors import ClientGone, Unavailable, UpstreamError
from gateway.wire import Connection, WireError, WireTimeout

JSON_BYTES_MAX = 32 * 1_048_576
ERROR_BYTES_MAX = 65_536
IDLE_SECONDS = 20.0  # an unused connection is closed before most servers close theirs
SWEEP_SECONDS = 0.25
PLACE_SECONDS = 10.0  # longest wait for one of GATEWAY_UPSTREAM_CONNECTIONS

Origin = tuple[str, str, int]  # scheme, host, port


class Answer:
    """One upstream answer whose head has come."""

    __slots__ = ("_connection", "_context", "_error_type", "content_type", "retry_after", "status")

    def __init__(self, connection: Connection, context: CallContext) -> None:
        self._connection = connection
        self._context = context
        context.upstream_headers = connection.headers
        self.status = connection.status
        self.content_type = connection.headers.get(b"content-type", b"").decode("latin-1").lower()
        self.retry_after = connection.headers[b"retry-after"].decode("latin-1") if b"retry-after" in connection.headers else None
        self._error_type = connection.headers.get(b"x-amzn-errortype", b"")

    async def read_all(self, limit: int = JSON_BYTES_MAX) -> bytes:
        """The whole body. Raises UpstreamError: too large, cut, too slow; ClientGone."""
        with interruptible(self._context):
            whole = self._connection.take_whole()  # most often it came with the head
        if whole is not None:
            if len(whole) > limit:
                raise malformed("The provider's answer is too large.")
            return whole
        parts: list[bytes] = []
        size = 0
        while (part := await self.read_some()) is not None:
            size += len(part)
            if size > limit:
                raise malformed("The provider's answer is too large.")
            parts.append(part)
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._error_type and body[:1] == b"{":  # AWS tells the kind of an error in a header, or as this member of the body
            kind = msgspec.json.encode(self._error_type.decode("latin-1"))
            body = b'{"__type":' + kind + (b"," if body[1:].lstrip()[:1] == b'"' else b"") + body[1:]
        return body

    async def read_some(self) -> bytes | None:
        """The next bytes as they come; None at the end. Raises UpstreamError, ClientGone."""
        with interruptible(self._context):
            return await self._connection.read()

    @property
    def has_news(self) -> bool:
        """`read_some` would not wait."""
        return self._connection.has_news

    async def pump(self, take: Callable[[bytes], bool]) -> None:
        """As `Connection.pump`; what it returns for is `read_some`'s to tell. Raises ClientGone."""
        with interruptible(self._context):
            await self._connection.pump(take)


class interruptible:
    """While the body of the `with` waits, the caller's hanging up (or the end of the drain) may interrupt it.

    Outside of it the task is never cancelled by the edge: a settlement that began is not torn.
    """

    __slots__ = ("_context",)

    def __init__(self, context: CallContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        context = self._context
        if context.is_gone:
            raise ClientGone
        if context.is_draining:
            raise stopping()
        context.is_interruptible = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        context = self._context
        context.is_interruptible = False
        if error is None:
            return
        if isinstance(error, asyncio.CancelledError):
            if context.is_gone or context.is_draining:
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
                if context.is_gone:
                    raise ClientGone from None
                raise stopping() from None
        elif isinstance(error, WireTimeout | TimeoutError):
            raise timed_out() from error
        elif isinstance(error, OSError):
            raise _broken() from error


class Exchange:
    """A request under way and its answer. `close` gives the connection back, or ends it where the answer was not read whole."""

    __slots__ = ("_connection", "_origin", "_upstream", "answer")

    def __init__(self, upstream: Upstream, origin: Origin, connection: Connection, answer: Answer) -> None:
        self._upstream = upstream
        self._origin = origin
        self._connection: Connection | None = connection
        self.answer = answer

    def note_first(self) -> None:
        if self._connection is not None:
            self._connection.note_first()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._upstream.give_back(self._origin, connection)


class Upstream:
    """The pool of this process."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._free = 0  # places for connections
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._free = settings.GATEWAY_UPSTREAM_CONNECTIONS
        self._tls = ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._sweeper = asyncio.create_task(self._sweep(), name="upstream-sweep")

    async def stop(self) -> None:
        if self._sweeper is not None:
            await end_tasks([self._sweeper])
        for connection in [*self._busy, *(connection for kept in self._idle.values() for connection in kept)]:
            connection.abort()

    async def begin(self, request: UpstreamRequest, context: CallContext, *, first_seconds: float = 0.0) -> Exchange:
        """Send, and give the answer once its head has come. Whoever calls it must `close` what it gives, and, where it says by
        when an answer must begin, tell when it has (`Exchange.note_first`).

        Raises UpstreamError, ClientGone.
        """
        origin, head = head_of(request.url, tuple(request.headers))
        head += b"%d\r\n\r\n" % len(request.body)
        with interruptible(context):
            if self._free <= 0:
                await self._await_place()
            self._free -= 1
            try:
                connection = await self._exchange(
                    context, origin, head, request.body, idle_seconds=request.idle_seconds, first_seconds=first_seconds
                )
            except BaseException:
                self._leave_place()
                raise
        return Exchange(self, origin, connection, Answer(connection, context))

    async def _exchange(
        self, context: CallContext, origin: Origin, head: bytes, body: bytes, *, idle_seconds: float, first_seconds: float
    ) -> Connection:
        """Send over a kept connection or a new one; once more over a new one where the kept one had just ended."""
        for is_second in (False, True):
            connection = None if is_second else self._take_idle(origin)
            if connection is None:
                connection = await self._connect(origin)
            self._busy.add(connection)
            try:
                connection.send(head, body, idle_seconds=idle_seconds, first_seconds=first_seconds)
                await connection.read_head()
                return connection
            except BaseException as error:
                self._busy.discard(connection)
                connection.abort()
                if is_second or not (isinstance(error, WireError) and error.is_stale):
                    raise
                context.resends += 1
        raise AssertionError("unreachable")

    def give_back(self, origin: Origin, connection: Connection) -> None:
        self._busy.discard(connection)
        if connection.is_reusable:
            connection.idle_since = time.monotonic()
            self._idle.setdefault(origin, []).append(connection)
        else:
            connection.abort()
        self._leave_place()

    async def _await_place(self) -> None:
        """Raises UpstreamError after PLACE_SECONDS."""
        async with asyncio.timeout(PLACE_SECONDS):
            while self._free <= 0:
                place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(place)
                await place

    def _leave_place(self) -> None:
        self._free += 1
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return

    def _take_idle(self, origin: Origin) -> Connection | None:
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if connection.is_reusable:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin) -> Connection:
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        seconds = settings.GATEWAY_CONNECT_TIMEOUT_MS / 1000
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    _new_connection, host, port, ssl=self._tls if scheme == "https" else None
                )
        except TimeoutError:
            raise WireError("The upstream could not be connected in time.") from None
        return connection

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for connection in list(self._busy):
                connection.check_deadlines(now)
            for kept in self._idle.values():
                for connection in [old for old in kept if old.is_closed or now - old.idle_since > IDLE_SECONDS]:
                    kept.remove(connection)
                    connection.abort()


def _new_connection() -> Connection:
    return Connection(idle_seconds=settings.GATEWAY_IDLE_TIMEOUT_MS / 1000, total_seconds=settings.GATEWAY_TOTAL_TIMEOUT_MS / 1000)


@lru_cache(maxsize=4_096)
def head_of(url: str, headers: tuple[tuple[str, str], ...]) -> tuple[Origin, bytes]:
    """Where a request goes, and its head up to the value of Content-Length. Raises ValueError for what no head may hold."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("An upstream's address is http(s)://host[:port]/path.")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {path} HTTP/1.1", f"host: {parts.netloc}", "user-agent: tokia", "accept: */*", "accept-encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers]
    if any(not line.isprintable() or not line.isascii() for line in lines):
        raise ValueError("An upstream's address and headers are printable ASCII.")
    head = ("\r\n".join(lines) + "\r\ncontent-length: ").encode()
    return (parts.scheme, parts.hostname, port), head


def _broken() -> UpstreamError:
    return UpstreamError(
        "A conexão com o provedor deste modelo falhou.",
        "The connection to this model's provider failed.",
        code="provider_unreachable",
    )


def stopping() -> Unavailable:
    return Unavailable(
        "O serviço está reiniciando. Tente de novo em instantes.",
        "The service is restarting. Try again in a moment.",
        code="service_restarting",
        retry_after_seconds=1,
    )
