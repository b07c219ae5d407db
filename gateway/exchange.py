"""One HTTP request at the edge: its body in, its answer out, its caller watched. No framework."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, cast

from django.conf import settings

from gateway import cors, sse
from gateway.calls import CallContext, Headers, Reply
from gateway.errors import AnswerBroken, BadRequest, BodyTooLarge, ClientGone, GatewayError
from gateway.surfaces.registry import CHAT
from tokia import clock

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SLOW_START_SECONDS = 15.0  # a stream that has not begun by then gets its 200 and comments, so that proxies keep it open
KEEP_ALIVE_SECONDS = 15.0
BODY_BYTES_PER_SECOND = 131_072  # a body that comes faster than this may take longer than GATEWAY_BODY_SECONDS
IDS_DRAWN = 128
BODY_BYTES_MAX: int = settings.GATEWAY_BODY_BYTES_MAX  # Django's settings are dear to ask on every call
_VARIANT = {digit: f"{int(digit, 16) & 3 | 8:x}" for digit in "0123456789abcdef"}  # two random bits behind the two fixed ones
JSON_TYPE = (b"content-type", b"application/json")
SSE_TYPE = (b"content-type", b"text/event-stream; charset=utf-8")


class Exchange:
    """Scope, receive and send of one request, with what was read from its headers."""

    __slots__ = (
        "_cycle",
        "_keep_alive",
        "_receive",
        "_send",
        "_slow_start",
        "_watch",
        "context",
        "headers",
        "is_committed",
        "on_body",
        "scope",
        "surface",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._cycle: Any = getattr(send, "__self__", None)  # `gateway.server` knows the task, and takes answers in one piece
        task = getattr(self._cycle, "task", None) or asyncio.current_task()
        self.context = CallContext(id=new_id(), started_ns=time.monotonic_ns(), task=task)
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.is_committed = False
        self.on_body: Callable[[bytes], Awaitable[None]] | None = None  # may end the request once its body is there
        self.surface = CHAT  # whose words a refusal is written in
        self._receive = receive
        self._send = send
        self._watch: asyncio.Task[None] | None = None
        self._slow_start: asyncio.TimerHandle | None = None
        self._keep_alive: asyncio.Task[None] | None = None
        self.context.is_english = self.headers.get(b"accept-language", b"")[:2].lower() == b"en"

    # ── In ───────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def read_body(self, *, limit: int | None = None) -> bytes:
        """The body, bounded by the bytes that really come. Raises BodyTooLarge, BadRequest (415), ClientGone."""
        encoding = self.headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            raise BadRequest(
                "Envie o corpo sem compressão (sem Content-Encoding).", "Send the body uncompressed (no Content-Encoding).",
                code="unsupported_encoding", status=415,
            )  # fmt: skip
        limit = limit or BODY_BYTES_MAX
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise _too_large(limit)
        take = getattr(self._cycle, "take_body", None)
        body = take() if take is not None else None
        if body is None:
            body = await self._receive_body(limit)
        elif len(body) > limit:
            raise _too_large(limit)
        if self.on_body is not None:
            await self.on_body(body)
        return body

    async def _receive_body(self, limit: int) -> bytes:
        """As its parts come. Raises BodyTooLarge, ClientGone."""
        context = self.context
        began = time.monotonic()
        context.is_reading, context.waits_since = True, began
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise ClientGone
        if message.get("more_body", False):
            parts, size = [body], len(body)
            while message.get("more_body", False):
                if size > limit:
                    raise _too_large(limit)
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                context.waits_since = began + size / BODY_BYTES_PER_SECOND
            body = b"".join(parts)
        if len(body) > limit:
            raise _too_large(limit)
        context.is_reading, context.waits_since = False, 0.0
        return body

    def expect_long(self) -> None:
        """The body is read: the process's sweep may begin to watch the caller. A call that ends before that saves the task."""
        self.context.watch = self._watch_caller
        self.context.on_stream = self._expect_stream

    def _watch_caller(self) -> None:
        """From now on the caller's hanging up interrupts the call. The server wakes the task when the answer is out."""
        self.context.is_watched = True
        self._watch = asyncio.create_task(self._await_disconnect())

    async def _await_disconnect(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.context.is_gone = True
            self.context.interrupt()

    # ── Out ──────────────────────────────────────────────────────────────────────────────────────────────────────────
    def send_reply(self, reply: Reply) -> Awaitable[None]:
        return self._send_whole(reply.status, reply.headers, reply.body) if reply.frames is None else self._send_frames(reply)

    async def send_error(self, error: GatewayError) -> None:
        """JSON with the status; in a stream that was begun for the sake of keep-alive, an event."""
        is_english, request_id = self.context.is_english, self.context.id
        cors.note_readable(self)
        await self._end_keep_alive()
        if self.is_committed:
            frame = self.surface.error_frame(error, is_english=is_english, request_id=request_id)
            await self._send_body(frame, more=False)
            return
        body = self.surface.error_body(error, is_english=is_english, request_id=request_id)
        headers: Headers = [JSON_TYPE]
        if error.retry_after_seconds is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_seconds))))
        if error.code == "method_not_allowed":
            headers.append((b"allow", b"GET, POST"))
        if self.context.attempts:
            headers.append((b"x-tokia-attempts", b"%d" % self.context.attempts))
        if self.context.is_reading:  # the rest of the body is not read: the connection can't be used again
            headers.append((b"connection", b"close"))
        await self._send_whole(error.status, headers, body)

    async def _send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        context = self.context
        all_headers = [*headers, (b"content-length", b"%d" % len(body)), (b"x-request-id", context.id.encode()), *context.headers]
        answer = getattr(self._cycle, "answer", None)
        if answer is not None and answer(status, all_headers, body):
            return
        await self._send({"type": "http.response.start", "status": status, "headers": all_headers})
        context.waits_since = time.monotonic()
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        context.waits_since = 0.0

    async def _send_frames(self, reply: Reply) -> None:
        frames = cast(AsyncGenerator[bytes, None], reply.frames)
        try:
            await self._end_keep_alive()
            await self._commit(reply.headers)
            if reply.direct is frames:  # nobody listens in between
                self.context.sink = getattr(self._cycle, "push", None)
            async for frame in frames:
                await self._send_body(frame, more=True)
        except AnswerBroken:
            with contextlib.suppress(RuntimeError):  # a server that knows no such message closes the connection by itself
                await self._send({"type": "http.response.break"})
            return
        finally:
            self.context.sink = None
            await frames.aclose()
        await self._send_body(b"", more=False)

    async def _commit(self, headers: Headers) -> None:
        if not self.is_committed:
            self.is_committed = True
            all_headers = [*headers, (b"x-request-id", self.context.id.encode()), *self.context.headers]
            await self._send({"type": "http.response.start", "status": 200, "headers": all_headers})

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        self.context.waits_since = time.monotonic()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        self.context.waits_since = 0.0

    # ── Slow starts ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _expect_stream(self) -> None:
        self._slow_start = asyncio.get_running_loop().call_later(SLOW_START_SECONDS, self._begin_keep_alive)

    def _begin_keep_alive(self) -> None:
        self._keep_alive = asyncio.create_task(self._send_keep_alive())

    async def _send_keep_alive(self) -> None:
        await self._commit([SSE_TYPE, (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")])
        while True:
            await self._send({"type": "http.response.body", "body": sse.KEEP_ALIVE, "more_body": True})
            await asyncio.sleep(KEEP_ALIVE_SECONDS)

    async def _end_keep_alive(self) -> None:
        if self._slow_start is not None:
            self._slow_start.cancel()
        if self._keep_alive is not None:
            self._keep_alive.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keep_alive
            self._keep_alive = None


_randoms: list[str] = []  # the random digits of ids to come, drawn together: a system call for each would cost more than the rest
os.register_at_fork(after_in_child=_randoms.clear)


def new_id() -> str:
    """The text of a UUIDv7, as `tokia.clock.new_id` makes them, without the object."""
    if not _randoms:
        drawn = os.urandom(10 * IDS_DRAWN).hex()
        _randoms.extend(drawn[at : at + 20] for at in range(0, len(drawn), 20))
    instant, random = f"{clock.unix_ms():012x}", _randoms.pop()
    return f"{instant[:8]}-{instant[8:]}-7{random[:3]}-{_VARIANT[random[3]]}{random[4:7]}-{random[7:19]}"


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"O corpo passa do limite de {limit // 1_048_576} MiB.", f"The body exceeds the limit of {limit // 1_048_576} MiB."
    )
