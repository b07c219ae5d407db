"""The parent of a chat completion, by whichever surface it is asked.

Every `if` of the walk is here; each step is a verb of another file.

Money: the hold is committed before an upstream hears of the call; the settlement is committed (or kept in the spool) before the
last byte leaves: the JSON body, or the usage chunk and [DONE]. No other deployment is asked after the first frame was sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from billing.pricing import Usage
from gateway.abilities import check_abilities
from gateway.calls import Attempt, CallContext, Caller, ChatCall, Headers, Reply, ServedDeployment
from gateway.catalog import route_for
from gateway.dialects.base import ChatAnswer, ChatReader, Dialect, UpstreamRequest, malformed, openai_usage
from gateway.dialects.registry import DIALECTS
from gateway.errors import BadRequest, ClientGone, GatewayError, SessionLost, UpstreamError, internal_error
from gateway.metering import OpenCall
from gateway.pricetag import cost_header, with_cost
from gateway.relay import Relay, cut
from gateway.routing import attempt_order
from gateway.surfaces.base import Shaper, Surface
from gateway.tokens import bound_chat_input, count_chat_input, has_media
from gateway.upstream import ERROR_BYTES_MAX
from gateway.usage import basis_of, basis_of_part, shown_usage
from tokia.crashpoints import crashpoint

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

ATTEMPTS_MAX = 4
DROPPED_SHOWN_MAX = 1_000  # characters of the header that names what was left out
_NOT_PLAIN = re.compile(r"[^\x21-\x7e]")
SERVED_BY = "chat"  # the routes, whichever surface they are asked by
JSON_TYPE = (b"content-type", b"application/json")
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def complete_chat(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes, *, surface: Surface) -> Reply:
    """Raises GatewayError, ClientGone; the call is then settled at nothing, or was never begun."""
    call = await surface.read_call(process, caller, body)
    route = route_for(process.snapshots.catalog, call.model, caller=caller, surface=SERVED_BY)
    await process.limits.admit(caller, context.headers)
    call = check_abilities(call, route)
    assert route.prices is not None  # route_for has seen to it
    open_call = OpenCall(
        context=context, caller=caller, route=route, prices=route.prices, surface=surface.name, is_stream=call.is_stream,
        output_tokens=min(call.output_tokens_asked or route.output_tokens_default, route.output_tokens_max),
    )  # fmt: skip
    plan = plan_attempts(process, open_call, call, surface)
    await hold_chat(process, open_call, call)
    crashpoint("after_hold_commit")
    try:
        return await attempt_chat(process, open_call, call, surface, plan)
    except BaseException as error:
        await end_undelivered(process, open_call, error)
        raise


class Plan(msgspec.Struct):
    """Who may be asked, in order, and the first one's request: what can't be said is refused before money is held."""

    deployments: list[ServedDeployment]
    first: UpstreamRequest
    output_tokens: int  # that `first` asks for


def plan_attempts(process: GatewayProcess, open_call: OpenCall, call: ChatCall, surface: Surface) -> Plan:
    """Raises BadRequest where no deployment can say the call."""
    order = attempt_order(open_call.route.deployments, process.rng)[:ATTEMPTS_MAX]
    refusal: BadRequest | None = None
    for place, deployment in enumerate(order):
        try:
            request = request_for(surface, deployment, open_call, call)
        except BadRequest as error:
            refusal = refusal or error
        else:
            return Plan(order[place:], request, open_call.output_tokens)
    raise refusal or internal_error()  # a route always has a deployment


def dialect_for(surface: Surface, deployment: ServedDeployment) -> Dialect:
    return surface.native(deployment) or DIALECTS[deployment.dialect]


def request_for(surface: Surface, deployment: ServedDeployment, open_call: OpenCall, call: ChatCall) -> UpstreamRequest:
    """Raises BadRequest where this deployment can't say the call."""
    if call.refusal is not None and surface.native(deployment) is None:
        raise call.refusal
    dialect = dialect_for(surface, deployment)
    return dialect.chat_request(call, open_call.route, deployment, open_call.output_tokens)


async def hold_chat(process: GatewayProcess, open_call: OpenCall, call: ChatCall) -> None:
    """Raises InsufficientBalance, Unavailable."""
    if call.is_stream and open_call.context.on_stream is not None:
        open_call.context.on_stream()
    route = open_call.route
    is_media_dearer = open_call.prices.has_dearer_media
    await process.meter.hold_for(
        open_call,
        input_tokens=lambda: min(count_chat_input(call, factor_percent=route.token_factor_percent), route.context_tokens),
        input_bytes=bound_chat_input(call),
        choices=call.choices,
        is_ceiling_ours=call.output_tokens_asked is None,
        has_media_input=is_media_dearer and has_media(call),
        has_media_output=is_media_dearer and call.decoded.get("modalities") != ["text"],  # some draw unasked
    )


async def attempt_chat(process: GatewayProcess, open_call: OpenCall, call: ChatCall, surface: Surface, plan: Plan) -> Reply:
    """Ask one deployment after the other until one answers. Raises the last one's UpstreamError."""
    failure: GatewayError | None = None
    for number, deployment in enumerate(plan.deployments, start=1):
        dialect = dialect_for(surface, deployment)
        if number == 1 and open_call.output_tokens == plan.output_tokens:
            request = plan.first
        else:
            try:
                request = request_for(surface, deployment, open_call, call)
            except BadRequest:  # this one can't say it: the next
                continue
        open_call.deployment = deployment
        attempt = Attempt(deployment.provider_slug, deployment.upstream_model)
        open_call.attempts.append(attempt)
        started_ns = time.monotonic_ns()
        crashpoint("before_upstream")
        try:
            if call.is_stream:
                shaper = NativeShaper(surface) if surface.native(deployment) else surface.open_shaper(call, open_call.route)
                relay, first = await start_stream(process, open_call, call, dialect, request, shaper)
            else:
                answer = await ask_whole(process, open_call, dialect, request)
            attempt.status = 200
        except UpstreamError as error:
            attempt.status, attempt.error = error.upstream_status, error.code
            failure = error
            if not error.retryable:
                raise
            continue
        finally:
            elapsed_ns = time.monotonic_ns() - started_ns
            attempt.ms = elapsed_ns // 1_000_000
            open_call.upstream_ns += elapsed_ns
        open_call.dropped = (*call.dropped, *request.dropped)
        if not call.is_stream:
            return await finish_whole(process, open_call, call, surface, answer)
        open_call.first_token_ns = time.monotonic_ns() - open_call.context.started_ns
        headers = [*STREAM_HEADERS, *answer_headers(open_call)]
        return Reply(200, headers, frames=relay_frames(process, open_call, call, surface, relay, first))
    raise failure or internal_error()


# ── Whole answers ────────────────────────────────────────────────────────────────────────────────────────────────────
async def ask_whole(process: GatewayProcess, open_call: OpenCall, dialect: Dialect, request: UpstreamRequest) -> ChatAnswer:
    """One attempt, read to its end. Raises UpstreamError, ClientGone."""
    assert open_call.deployment is not None
    exchange = await process.upstream.begin(request, open_call.context)
    try:
        upstream = exchange.answer
        if upstream.status != 200:
            body = await upstream.read_all(ERROR_BYTES_MAX)
            raise dialect.read_error(upstream.status, upstream.retry_after, body, open_call.deployment)
        return dialect.read_chat(await upstream.read_all())
    finally:
        exchange.close()


async def finish_whole(process: GatewayProcess, open_call: OpenCall, call: ChatCall, surface: Surface, answer: ChatAnswer) -> Reply:
    """Settle a whole answer, and price its body."""
    tally = answer.tally
    usage, source = basis_of(call, tally, output_tokens=open_call.output_tokens)
    settled = await process.meter.settle_for(
        open_call, usage, outcome="completed", source=source, finish_reason=tally.finish_reason, upstream_id=tally.upstream_id
    )
    priced = with_cost(shown_usage(tally, usage, source), settled)
    if (name_model := getattr(answer, "name_model", None)) is not None:  # its upstream says no model's name
        name_model(call.model)
    body = answer.with_usage(priced)
    assert open_call.deployment is not None
    if surface.native(open_call.deployment) is None:
        body = surface.shape_answer(call, open_call.route, body)
    if surface.keeps(call):
        body = await surface.keep(process, open_call.caller, call, body)
    return Reply(200, [JSON_TYPE, cost_header(settled), *answer_headers(open_call)], body=body)


# ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def start_stream(
    process: GatewayProcess, open_call: OpenCall, call: ChatCall, dialect: Dialect, request: UpstreamRequest, shaper: Shaper
) -> tuple[Relay, bytes]:
    """One attempt up to its first frames. Raises UpstreamError, ClientGone."""
    assert open_call.deployment is not None
    exchange = await process.upstream.begin(request, open_call.context)
    try:
        answer = exchange.answer
        if answer.status != 200:
            body = await answer.read_all(ERROR_BYTES_MAX)
            raise dialect.read_error(answer.status, answer.retry_after, body, open_call.deployment)
        if not answer.content_type.startswith(dialect.stream_type):
            raise malformed("The provider's answer is not an event stream.")
        relay = Relay(exchange, dialect, call, shaper)
        return relay, await relay.first()
    except BaseException:
        exchange.close()
        raise


class NativeShaper:
    """Frames of a dialect that speaks the surface's own words; its reader closes the answer with the usage."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    def read(self, frames: bytes) -> bytes:
        return frames

    def end(self, reader: ChatReader, usage_raw: bytes) -> bytes:
        return reader.usage_frame(usage_raw)

    def fail(self, error: GatewayError, *, is_english: bool) -> bytes:
        return self._surface.error_frame(error, is_english=is_english, request_id="")


async def relay_frames(
    process: GatewayProcess, open_call: OpenCall, call: ChatCall, surface: Surface, relay: Relay, first: bytes
) -> AsyncIterator[bytes]:
    """The frames of a stream that began. However it ends, it is settled once, and the upstream is closed."""
    try:
        if first:
            yield first
            crashpoint("mid_stream")
        while not relay.has_ended:
            frames = await relay.next()
            if frames:
                yield frames
        relay.check_end()
        last = await finish_stream(process, open_call, call, surface, relay)
    except ClientGone:
        await settle_part(process, open_call, call, relay, outcome="cancelled", error_code="client_gone")
    except SessionLost:
        yield relay.shaper.fail(cut(), is_english=open_call.context.is_english)
    except GatewayError as error:
        error.usage_raw = await settle_part(process, open_call, call, relay, outcome="cut", error_code=error.code)
        yield relay.shaper.fail(error, is_english=open_call.context.is_english)
    except BaseException:  # the edge stopped listening, or a bug of ours
        await settle_part(process, open_call, call, relay, outcome="cancelled", error_code="client_gone")
        raise
    else:
        yield last
    finally:
        relay.close()


async def finish_stream(process: GatewayProcess, open_call: OpenCall, call: ChatCall, surface: Surface, relay: Relay) -> bytes:
    """Settle a whole stream; gives its last bytes."""
    tally = relay.tally
    usage, source = basis_of(call, tally, output_tokens=open_call.output_tokens)
    settled = await process.meter.settle_for(
        open_call, usage, outcome="completed", source=source, finish_reason=tally.finish_reason, upstream_id=tally.upstream_id
    )
    await relay.read_tail()
    last = relay.shaper.end(relay.reader, with_cost(shown_usage(tally, usage, source), settled))
    if surface.keeps(call):
        last = await surface.keep(process, open_call.caller, call, last)
    return last


async def settle_part(
    process: GatewayProcess, open_call: OpenCall, call: ChatCall, relay: Relay, *, outcome: str, error_code: str
) -> bytes:
    """Bill what was delivered, once, and give its usage with the cost. A call that was fenced meanwhile stays free."""
    usage, source = basis_of_part(call, relay.tally, output_tokens=open_call.output_tokens)
    try:
        settled = await process.meter.settle_for(
            open_call, usage, outcome=outcome, source=source, error_code=error_code, finish_reason=relay.tally.finish_reason,
            upstream_id=relay.tally.upstream_id,
        )  # fmt: skip
    except SessionLost:
        return b""
    return with_cost(openai_usage(usage), settled)


# ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def end_undelivered(process: GatewayProcess, open_call: OpenCall, error: BaseException) -> None:
    """Nothing reached the caller: the call is settled at nothing (where its settlement had not begun)."""
    if open_call.settling is not None or isinstance(error, SessionLost):
        return
    is_gone = isinstance(error, ClientGone) or open_call.context.is_gone
    status = error.status if isinstance(error, GatewayError) else 499 if is_gone else 500
    code = error.code if isinstance(error, GatewayError) else "client_gone" if is_gone else "internal_error"
    try:
        await process.meter.settle_for(
            open_call,
            Usage(requests=0),
            outcome="cancelled" if is_gone else "failed",
            source="none",
            status=status,
            error_code=code,
        )
    except SessionLost:
        return


def answer_headers(open_call: OpenCall) -> Headers:
    """Who served it, and how long we and they took."""
    deployment = open_call.deployment
    assert deployment is not None
    headers = [
        (b"x-tokia-model", open_call.route.name.encode()),
        (b"x-tokia-provider", deployment.provider_slug.encode()),
        (b"x-tokia-attempts", b"%d" % len(open_call.attempts)),
        (b"x-tokia-overhead-ms", b"%.3f" % (open_call.overhead_us / 1000)),
        (b"openai-processing-ms", b"%d" % (open_call.upstream_ns // 1_000_000)),
    ]
    if open_call.dropped:
        headers.append((b"x-tokia-dropped-params", _plain_names(open_call.dropped)))
    return headers


def _plain_names(names: tuple[str, ...]) -> bytes:
    """Names of parameters that nobody knows come from the caller's JSON: a header holds no line end, and not all of a body."""
    return _NOT_PLAIN.sub("?", ",".join(names)[:DROPPED_SHOWN_MAX]).encode()
