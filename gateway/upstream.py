"""The pooled client towards providers, behind a small interface: one attempt, its timeouts, its caps.

No redirects, no cookies, no compression, TLS verified; of an upstream's headers only what `Answer` names is ever looked at.
Failures come out as UpstreamError, which says whether another deployment may be asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

from django.conf import settings
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError

from gateway.calls import CallContext
from gateway.dialects.base import UpstreamRequest, malformed, timed_out
from gateway.errors import ClientGone, Unavailable, UpstreamError

JSON_BYTES_MAX = 32 * 1_048_576
ERROR_BYTES_MAX = 65_536


class Answer:
    """One upstream answer whose head has come."""

    __slots__ = ("_context", "_response", "content_type", "retry_after", "status")

    def __init__(self, response: Any, context: CallContext) -> None:
        self._response = response
        self._context = context
        self.status: int = response.status
        self.content_type: str = response.get_header("content-type") or ""
        self.retry_after: str | None = response.get_header("retry-after") if self.status >= 400 else None

    async def read_all(self, limit: int = JSON_BYTES_MAX) -> bytes:
        """The whole body. Raises UpstreamError: too large, cut, too slow; ClientGone."""
        length = self._response.get_header("content-length")
        if length is not None and length.isdigit() and int(length) <= limit:
            with interruptible(self._context):
                whole: bytes = (await self._response.bytes()).to_bytes()
            return whole
        parts: list[bytes] = []
        size = 0
        while (part := await self.read_some()) is not None:
            size += len(part)
            if size > limit:
                raise malformed("The provider's answer is too large.")
            parts.append(part)
        return b"".join(parts)

    async def read_some(self) -> bytes | None:
        """The next bytes as they come; None at the end. Raises UpstreamError, ClientGone."""
        with interruptible(self._context):
            chunk = await self._response.body_reader.read_chunk()
        return None if chunk is None else chunk.to_bytes()


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
            raise _stopping()
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
                raise _stopping() from None
        elif isinstance(error, RequestTimeoutError):
            raise timed_out() from error
        elif isinstance(error, PyreqwestError):
            raise _broken() from error


class Upstream:
    """The client of this process."""

    def __init__(self) -> None:
        self._client: Client | None = None

    async def start(self) -> None:
        builder = ClientBuilder().follow_redirects(False).referer(False).no_proxy().user_agent("tokia")
        builder = builder.gzip(False).brotli(False).zstd(False).deflate(False)
        builder = builder.max_connections(settings.GATEWAY_UPSTREAM_CONNECTIONS).pool_timeout(timedelta(seconds=10))
        builder = builder.pool_max_idle_per_host(settings.GATEWAY_UPSTREAM_CONNECTIONS)
        builder = builder.pool_idle_timeout(timedelta(seconds=30))
        builder = builder.connect_timeout(timedelta(milliseconds=settings.GATEWAY_CONNECT_TIMEOUT_MS))
        builder = builder.read_timeout(timedelta(milliseconds=settings.GATEWAY_IDLE_TIMEOUT_MS))
        self._client = builder.timeout(timedelta(milliseconds=settings.GATEWAY_TOTAL_TIMEOUT_MS)).build()

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def begin(self, request: UpstreamRequest, context: CallContext, *, is_stream: bool = False) -> Exchange:
        """Send, and give the answer once its head has come. Whoever calls it must `close` what it gives.

        The client reads ahead before it shows the head, 64 KiB by default: good for a whole answer, fatal for a stream.

        Raises UpstreamError, ClientGone.
        """
        if self._client is None:
            raise RuntimeError("Upstream was not started.")
        builder = self._client.post(request.url).headers(request.headers).body_bytes(request.body)
        if is_stream:
            builder = builder.streamed_read_buffer_limit(0)
        sending = builder.build_streamed()
        with interruptible(context):
            response = await sending.__aenter__()
        return Exchange(sending, Answer(response, context))


class Exchange:
    """A request under way and its answer."""

    __slots__ = ("_sending", "answer")

    def __init__(self, sending: Any, answer: Answer) -> None:
        self._sending = sending
        self.answer = answer

    async def close(self) -> None:
        with contextlib.suppress(PyreqwestError):
            await self._sending.__aexit__(None, None, None)


def _broken() -> UpstreamError:
    return UpstreamError(
        "A conexão com o provedor deste modelo falhou.",
        "The connection to this model's provider failed.",
        code="provider_unreachable",
    )


def _stopping() -> Unavailable:
    return Unavailable(
        "O serviço está reiniciando. Tente de novo em instantes.", "The service is restarting. Try again in a moment.",
        code="service_restarting", retry_after_seconds=1,
    )  # fmt: skip
