"""What pictures, sound and moderation share: the walk of `embeddings`, with units of their own and answers that may stream.

Each surface reads its call and says three things of it: the most that it can use (`bound`, held before an upstream hears of it),
what it uses where the upstream does not say (`counted`), and its request for a deployment. What the upstream says is billed, within
the bound; a bucket without a price is not recorded, and a route that has no price for what the surface makes is not served.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from billing.pricing import BUCKETS, PriceList, Usage
from gateway.attempts import Plan, ask_in_turn, note_cut, prepare
from gateway.calls import CallContext, Caller, Candidate, Headers, Reply, ServedDeployment
from gateway.chat import answer_headers, end_undelivered
from gateway.dialects.base import UpstreamRequest, malformed
from gateway.dialects.media import MediaTally
from gateway.errors import ClientGone, GatewayError, SessionLost, Unavailable, UpstreamError, unserved
from gateway.keeping import settle_answer
from gateway.lanes import Settled
from gateway.metering import OpenCall, open_at
from gateway.planning import plan_call
from gateway.relay import TAIL_SECONDS, cut
from gateway.upstream import ERROR_BYTES_MAX, Exchange
from tokia.crashpoints import crashpoint

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

T = TypeVar("T")
D = TypeVar("D")


class MediaCall(Protocol):
    @property
    def model(self) -> str: ...

    @property
    def is_stream(self) -> bool: ...


class Request(Protocol):
    """One surface's requests of one call."""

    def compose(self, deployment: ServedDeployment) -> UpstreamRequest:
        """Raises BadRequest, naming the parameter, for what this deployment can't be asked."""

    def read_error(self, status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError: ...


class Basis(NamedTuple):
    """What a call may cost and what it cost."""

    prices: PriceList
    bound: Usage
    counted: Usage  # of a whole answer

    def whole(self, tally: MediaTally) -> tuple[Usage, str]:
        """The usage to bill, and its source."""
        said = priced_part(self.prices, tally.usage) if tally.usage is not None else None
        if said is None or said == Usage():
            return priced_part(self.prices, self.counted), "suspect" if tally.is_suspect else "counted"
        clamped = clamp(said, self.bound)
        return clamped, "suspect" if tally.is_suspect or clamped != said else "upstream"

    def part(self, tally: MediaTally, counted: Usage) -> tuple[Usage, str]:
        """The same for an answer that was cut after `counted`: nothing delivered costs nothing."""
        if tally.is_complete:
            return self.whole(tally)
        if tally.delivered == 0:
            return Usage(requests=0), "none"
        return clamp(priced_part(self.prices, counted), self.bound), "counted"


async def open_call(
    process: GatewayProcess,
    context: CallContext,
    caller: Caller,
    call: MediaCall,
    *,
    served_by: str,
    name: str,
    units: tuple[tuple[str, ...], ...],
) -> OpenCall:
    """The route, its prices and the caller's rate. `units`: sets of which one must be priced whole. Raises GatewayError."""
    candidates, routing = plan_call(process, context, caller, model=call.model, surface=served_by)
    opened = open_at(context, caller, candidates, routing, surface=name, is_stream=call.is_stream)
    route = opened.route
    if not any(all(price_of(opened.prices, unit) for unit in wanted) for wanted in units):
        raise Unavailable(
            f"O modelo '{route.name}' está sem preço e não é servido agora.", f"The model '{route.name}' has no live price.",
            param="model", code="price_missing",
        )  # fmt: skip
    await process.limits.admit_call(caller, context)  # its tokens, where it has any, count when it is over
    return opened


def dialect_of(dialects: Mapping[str, D], deployment: ServedDeployment) -> D:
    """Raises BadRequest where the deployment's wire format has no such surface."""
    dialect = dialects.get(deployment.dialect)
    if dialect is None:
        raise unserved()
    return dialect


def price_of(prices: PriceList, unit: str) -> bool:
    return next((True for _, units in BUCKETS if units[0] == unit and any(name in prices.units for name in units)), False)


def priced_part(prices: PriceList, usage: Usage) -> Usage:
    """Only the buckets that have a price: a route is sold by the token, the picture or the second, and not by all of them."""
    kept = {bucket: getattr(usage, bucket) for bucket, units in BUCKETS if any(unit in prices.units for unit in units)}
    return Usage(**{**kept, "requests": usage.requests})


def clamp(usage: Usage, bound: Usage) -> Usage:
    """Bucket by bucket; the text of a bound is one family, in whatever bucket it falls."""
    values = {bucket: max(0, min(getattr(usage, bucket), getattr(bound, bucket))) for bucket, _ in BUCKETS}
    left = bound.input_tokens
    for bucket in ("cached_input_tokens", "cache_write_tokens", "input_tokens"):
        values[bucket] = max(0, min(getattr(usage, bucket), left))
        left -= values[bucket]
    left = bound.output_tokens
    for bucket in ("output_tokens", "reasoning_tokens"):
        values[bucket] = max(0, min(getattr(usage, bucket), left))
        left -= values[bucket]
    return Usage(**values)


# ── Attempts ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def plan_attempts(opened: OpenCall, request: Request) -> Plan[UpstreamRequest]:
    """Raises BadRequest where no deployment can say the call; nothing is held then."""
    return prepare(opened.candidates, opened.routing, partial(_compose, request))


def _compose(request: Request, candidate: Candidate) -> UpstreamRequest:
    return request.compose(candidate.deployment)


async def ask(
    process: GatewayProcess,
    opened: OpenCall,
    request: Request,
    plan: Plan[UpstreamRequest],
    basis: Basis,
    receive: Callable[[Exchange], Awaitable[T]],
) -> T:
    """Hold, then ask one deployment after the other until `receive` takes an answer; it closes the exchange unless it streams.

    Raises what the last one failed with; the call is then settled at nothing.
    """
    if opened.is_stream and opened.context.on_stream is not None:
        opened.context.on_stream()
    await process.meter.hold_units(opened, priced_part(basis.prices, basis.bound))
    crashpoint("after_hold_commit")
    try:
        asking = partial(_ask_one, process, opened, request, receive)
        received = await ask_in_turn(process, opened, plan, compose=partial(_compose, request), ask=asking)
        opened.first_token_ns = time.monotonic_ns() - opened.context.started_ns if opened.is_stream else 0
        return received
    except BaseException as error:
        await end_undelivered(process, opened, error)
        raise


async def _ask_one(
    process: GatewayProcess,
    opened: OpenCall,
    request: Request,
    receive: Callable[[Exchange], Awaitable[T]],
    candidate: Candidate,
    asked: UpstreamRequest,
) -> T:
    """One attempt. Raises UpstreamError, ClientGone."""
    exchange = await process.upstream.begin(asked, opened.context)
    try:
        answer = exchange.answer
        if answer.status != 200:
            body = await answer.read_all(ERROR_BYTES_MAX)
            raise request.read_error(answer.status, answer.retry_after, body, candidate.deployment)
        received = await receive(exchange)
        opened.dropped = asked.dropped
        return received
    except BaseException:
        exchange.close()
        raise


async def read_whole(exchange: Exchange, read: Callable[[bytes], T], *, limit: int) -> T:
    """A whole answer. Raises UpstreamError where it is none."""
    body = await exchange.answer.read_all(limit)
    exchange.close()
    return read(body)


async def begin_events(exchange: Exchange, reader: MediaReader) -> bytes:
    """The first frames: until then nothing was promised to the caller, so an error here may still be tried elsewhere."""
    if not exchange.answer.content_type.startswith("text/event-stream"):
        raise malformed("The provider's answer is not an event stream.")
    while not reader.tally.is_complete:
        chunk = await exchange.answer.read_some()
        ready = reader.read(chunk)
        if ready or reader.tally.is_complete:
            return ready
        if reader.tally.failure is not None:
            raise reader.tally.failure
        if chunk is None:
            raise malformed("The provider's stream ended before it began.")
    return b""


# ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def settle_whole(
    process: GatewayProcess, opened: OpenCall, basis: Basis, tally: MediaTally, write: Callable[[Settled, Usage, str], Reply]
) -> Reply:
    """A whole answer: settled before it leaves. `write` shapes it, by its cost and the usage with its source."""
    usage, source = basis.whole(tally)
    try:
        return await settle_answer(process, opened, usage, source=source, write=lambda settled: write(settled, usage, source))
    except BaseException as error:
        await end_undelivered(process, opened, error)
        raise


class MediaReader(Protocol):
    """Reads a streamed answer; what needs the settlement is held back."""

    tally: MediaTally

    def read(self, chunk: bytes | None) -> bytes:
        """What comes next (None: the end of the body) → what may leave now. Raises UpstreamError."""

    def counted(self) -> Usage:
        """Our own count of what has been delivered."""

    def last(self, settled: Settled, usage: Usage, source: str) -> bytes:
        """What was held back."""

    def fail(self, error: GatewayError, *, is_english: bool) -> bytes:
        """What an answer that broke ends with. Raises AnswerBroken where it has no words for that."""


async def relay(
    process: GatewayProcess, opened: OpenCall, exchange: Exchange, reader: MediaReader, basis: Basis, first: bytes
) -> AsyncIterator[bytes]:
    """A stream that began. However it ends, it is settled once, and the upstream is closed."""
    try:
        if first:
            yield first
            crashpoint("mid_stream")
        while not reader.tally.is_complete:
            if reader.tally.failure is not None:
                raise reader.tally.failure
            chunk = await exchange.answer.read_some()
            ready = reader.read(chunk)
            if ready:
                yield ready
            if chunk is None and not reader.tally.is_complete:
                raise cut()
        usage, source = basis.whole(reader.tally)

        def write(settled: Settled) -> Reply:
            return Reply(200, [], body=reader.last(settled, usage, source))

        last = (await settle_answer(process, opened, usage, source=source, write=write)).body
        await _read_tail(exchange)
    except ClientGone:
        await _settle_part(process, opened, reader, basis, outcome="cancelled", error_code="client_gone")
    except SessionLost:
        yield reader.fail(cut(), is_english=opened.context.is_english)
    except GatewayError as error:
        note_cut(process, opened, error)
        await _settle_part(process, opened, reader, basis, outcome="cut", error_code=error.code)
        yield reader.fail(error, is_english=opened.context.is_english)
    except BaseException:  # the edge stopped listening, or a bug of ours
        await _settle_part(process, opened, reader, basis, outcome="cancelled", error_code="client_gone")
        raise
    else:
        yield last
    finally:
        exchange.close()


async def _read_tail(exchange: Exchange) -> None:
    """What follows the end, which is nothing: then the connection can be used again."""
    with contextlib.suppress(TimeoutError, UpstreamError):
        async with asyncio.timeout(TAIL_SECONDS):
            while await exchange.answer.read_some() is not None:
                pass


async def _settle_part(
    process: GatewayProcess, opened: OpenCall, reader: MediaReader, basis: Basis, *, outcome: str, error_code: str
) -> None:
    """Bill what was delivered, once. A call that was fenced meanwhile stays free."""
    usage, source = basis.part(reader.tally, reader.counted())
    try:
        await process.meter.settle_for(opened, usage, outcome=outcome, source=source, error_code=error_code)
    except SessionLost:
        return


def headers_of(opened: OpenCall, *headers: tuple[bytes, bytes]) -> Headers:
    return [*headers, *answer_headers(opened)]
