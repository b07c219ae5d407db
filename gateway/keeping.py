"""Answers that outlive their call: under the caller's Idempotency-Key (`idempotency`), in its organization's cache
(`answer_cache`), or both.

An answer that is to be kept is written before it is settled, with marks where its cost will stand (`pricetag.MARKS`): so it is
safe before the money moves, and what it came to is filled in afterwards, here as well as in whatever is told later. A call that
keeps nothing pays one comparison for all of this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, cast

import msgspec

from billing.pricing import Usage, price_usage
from gateway.calls import Caller, Headers, Reply
from gateway.lanes import Settled
from gateway.pricetag import MARKS, UNSETTLED, CostMarks

if TYPE_CHECKING:
    from gateway.answer_cache import CacheTurn
    from gateway.exchange import Exchange
    from gateway.idempotency import OneCall
    from gateway.metering import OpenCall
    from gateway.process import GatewayProcess

IDEMPOTENCY_KEY = b"idempotency-key"
CACHE = b"x-tokia-cache"
OPENROUTER_CACHE = b"x-openrouter-cache"
ANSWER_BYTES_MAX = 4 * 1_048_576  # of what is kept; a larger answer is delivered, and not kept
PIECE_BYTES = 65_536  # what is told again leaves in pieces of this size


class Kept(msgspec.Struct, array_like=True):
    """A whole answer as it is sealed. Its body has marks where the cost stands."""

    call_id: str
    status: int
    headers: Headers
    body: bytes
    is_stream: bool
    marks: CostMarks
    gross_nanos: int = 0
    route_name: str = ""
    provider_slug: str = ""
    surface: str = ""
    finish_reason: str = ""
    kept_at: float = 0.0  # Unix seconds

    def reply(self, settled: Settled, *, note: bytes = b"", more: Headers | None = None) -> Reply:
        """The answer again."""
        body = self.marks.fill(self.body, settled, note=note)
        headers = [*fill_headers(self.headers, self.marks, settled), *(more or ())]
        if not self.is_stream:
            return Reply(self.status, headers, body)
        return Reply(self.status, headers, frames=_pieces(body))


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for place in range(0, len(body), PIECE_BYTES):
        yield body[place : place + PIECE_BYTES]


def fill_headers(headers: Headers, marks: CostMarks, settled: Settled) -> Headers:
    return [(name, marks.fill(value, settled) if value == marks.net else value) for name, value in headers]


class Answered(Exception):
    """The answer was there before the call began."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


def wants_keeping(headers: dict[bytes, bytes], caller: Caller) -> bool:
    return IDEMPOTENCY_KEY in headers or CACHE in headers or OPENROUTER_CACHE in headers or caller.cache_seconds > 0


# ── For the parents ──────────────────────────────────────────────────────────────────────────────────────────────────
async def settle_answer(
    process: GatewayProcess,
    opened: OpenCall,
    usage: Usage,
    *,
    source: str,
    write: Callable[[Settled], Reply],
    finish_reason: str = "stop",
    upstream_id: str = "",
) -> Reply:
    """Settle a whole answer, or the end of a streamed one, and write it with its cost. One that is kept is kept first.

    Raises SessionLost; Unavailable where it was to be kept and could not be: nothing is settled then."""
    process.vitals.note_call(opened, output_tokens=usage.output_tokens + usage.reasoning_tokens)
    keeper = opened.context.keeper
    if keeper is not None:
        draft = write(UNSETTLED)
        await keeper.keep(draft, opened, gross_nanos=price_usage(opened.prices, usage), finish_reason=finish_reason)
    settled = await process.meter.settle_for(
        opened, usage, outcome="completed", source=source, finish_reason=finish_reason, upstream_id=upstream_id
    )
    if keeper is None:
        return write(settled)
    keeper.settled = settled
    draft.headers, draft.body = fill_headers(draft.headers, MARKS, settled), MARKS.fill(draft.body, settled)
    return draft


class Keeper:
    """What is kept of one call."""

    def __init__(self, once: OneCall | None, cached: CacheTurn | None) -> None:
        self.settled: Settled | None = None  # from then on the answer is paid for
        self._once = once
        self._cached = cached
        self._kept: Kept | None = None
        self._stream: Reply | None = None
        self._frames: list[bytes] = []
        self._size = 0

    async def run(self, exchange: Exchange, serve: Callable[[], Awaitable[Reply]]) -> Reply:
        """Raises what the call does, and what its key or its cache have against it."""
        exchange.context.keeper, exchange.on_body = self, self._begin
        try:
            reply = await serve()
        except Answered as answered:
            return answered.reply
        except BaseException as error:
            if self._once is not None and self._kept is None:
                await self._once.release(error)
            raise
        finally:
            exchange.on_body = None
        if reply.frames is not None:
            self._stream, frames = reply, cast(AsyncGenerator[bytes, None], reply.frames)
            return Reply(reply.status, reply.headers, frames=self._record(frames))
        if self._once is not None and self._kept is None:
            await self._once.keep_free(reply)
        await self._offer()
        return reply

    async def _begin(self, body: bytes) -> None:
        """The body is there. Raises Answered, GatewayError."""
        if self._once is not None:
            await self._once.claim(body)
        if self._cached is not None:
            reply = await self._cached.find(body)
            if reply is not None:
                if self._once is not None:
                    reply = await self._once.keep_hit(reply)
                raise Answered(reply)

    def keep_in_transaction(self, reply: Reply) -> None:
        """An answer that costs nothing and is true once the transaction of this thread commits (Django, synchronous)."""
        if self._once is not None:
            self._once.keep_in_transaction(reply)

    async def keep(self, draft: Reply, opened: OpenCall, *, gross_nanos: int, finish_reason: str) -> None:
        """A whole answer, before it is settled. Raises Unavailable (nothing was delivered yet), SessionLost."""
        stream, body = self._stream, draft.body
        if stream is not None:
            self._note(draft.body)
            body = b"".join(self._frames)
        is_whole = len(body) <= ANSWER_BYTES_MAX and self._size <= ANSWER_BYTES_MAX
        deployment = opened.deployment
        kept = Kept(
            call_id=opened.context.id, status=200, headers=list(stream.headers if stream is not None else draft.headers),
            body=body if is_whole else b"", is_stream=stream is not None, marks=MARKS, gross_nanos=gross_nanos,
            route_name=opened.route.name, provider_slug=deployment.provider_slug if deployment else "",
            surface=opened.surface or opened.route.surface, finish_reason=finish_reason,
        )  # fmt: skip
        if self._once is not None:
            await self._once.keep(kept, is_whole=is_whole)
        if not is_whole:
            self._cached = None
        self._kept, self._frames = kept, []

    async def _record(self, frames: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        try:
            async for frame in frames:
                if self._kept is None:
                    self._note(frame)
                yield frame
            await self._offer()
        finally:
            await frames.aclose()

    def _note(self, frame: bytes) -> None:
        self._size += len(frame)
        if self._size <= ANSWER_BYTES_MAX:
            self._frames.append(frame)
        else:
            self._frames.clear()

    async def _offer(self) -> None:
        """To the cache: an answer that is whole, and was settled."""
        if self._cached is not None and self._kept is not None and self.settled is not None:
            await self._cached.store(self._kept)
