"""The parent of a chat completion, by whichever surface it is asked.

Every `if` of the walk is here; each step is a verb of another file.

Money: the hold is committed before an upstream hears of the call; the settlement is committed (or kept in the spool) before the
last byte leaves: the JSON body, or the usage chunk and [DONE]. No other deployment is asked after the first frame was sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from django.conf import settings

from billing.pricing import Usage
from gateway.abilities import check_abilities, refuse_dropped
from gateway.attempts import OUTAGE, Plan, ask_in_turn, note_cut, prepare
from gateway.auto import read_facts
from gateway.bounds import bounds_of, tokens_of_minute
from gateway.calls import CallContext, Caller, Candidate, ChatCall, Headers, Reply, Routing, ServedDeployment, ServedRoute
from gateway.dialects.base import ChatAnswer, ChatReader, Dialect, UpstreamRequest, filtered, malformed, openai_usage
from gateway.dialects.registry import DIALECTS
from gateway.errors import ClientGone, GatewayError, SessionLost
from gateway.keeping import settle_answer
from gateway.lanes import Settled
from gateway.metering import OpenCall
from gateway.planning import plan_call
from gateway.pricetag import MARKS, cost_header, with_cost
from gateway.relay import Relay, cut
from gateway.shortlist import keep_affordable, leave_out_small
from gateway.surfaces.base import Shaper, Surface
from gateway.tokens import bound_chat_input, has_media
from gateway.upstream import ERROR_BYTES_MAX
from gateway.usage import basis_of, basis_of_part, shown_usage
from tokia.crashpoints import crashpoint

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

BYTES_PER_TOKEN_MAX = 8  # a text of fewer tokens than its bytes by this does not fit, whoever counts
DROPPED_SHOWN_MAX = 1_000  # characters of the header that names what was left out
_NOT_PLAIN = re.compile(r"[^\x21-\x7e]")
SERVED_BY = "chat"  # the routes, whichever surface they are asked by
FIRST_TOKEN_MS: int = settings.GATEWAY_FIRST_TOKEN_MS  # Django's settings are dear to ask on every call
JSON_TYPE = (b"content-type", b"application/json")
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def complete_chat(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes, *, surface: Surface) -> Reply:
    """Raises GatewayError, ClientGone; the call is then settled at nothing, or was never begun."""
    call = await surface.read_call(process, caller, body)
    candidates, routing = plan_chat(process, context, caller, call)
    tokens = tokens_of_minute(caller, call, candidates[0].route) if len(caller.rates) > 1 else 0
    await process.limits.admit_call(caller, context, tokens=tokens)
    open_call = open_chat(context, caller, call, candidates, routing, surface.name)
    turn = Turn(surface, open_call, call)
    plan = prepare(candidates, routing, turn.compose)
    await hold_chat(process, open_call, call, plan)
    crashpoint("after_hold_commit")
    try:
        composed, answer = await ask_in_turn(
            process, open_call, plan, compose=turn.compose, ask=partial(ask_chat, process, open_call, surface)
        )
        open_call.dropped = (*composed.call.dropped, *composed.request.dropped)
        if isinstance(answer, tuple):
            return begin_stream(process, open_call, composed.call, surface, *answer)
        return await finish_whole(process, open_call, composed.call, surface, answer)
    except BaseException as error:
        await end_undelivered(process, open_call, error)
        raise


def plan_chat(process: GatewayProcess, context: CallContext, caller: Caller, call: ChatCall) -> tuple[list[Candidate], Routing]:
    """Raises RouteNotFound, Forbidden, Unavailable."""
    decoded = call.decoded
    session, user = decoded.get("prompt_cache_key"), decoded.get("user")
    candidates, routing = plan_call(
        process, context, caller, model=call.model, surface=SERVED_BY, describe=partial(read_facts, call),
        session=session if isinstance(session, str) else "", user=user if isinstance(user, str) else "",
    )  # fmt: skip
    if len(candidates) > 1 and call.body_bytes > BYTES_PER_TOKEN_MAX * candidates[0].route.context_tokens and not has_media(call):
        candidates = leave_out_small(candidates, routing, call.body_bytes // BYTES_PER_TOKEN_MAX)
    return candidates, routing


def open_chat(
    context: CallContext,
    caller: Caller,
    call: ChatCall,
    candidates: list[Candidate],
    routing: Routing,
    name: str,
    *,
    is_batch: bool = False,
) -> OpenCall:
    """The call as its first candidate would serve it."""
    first = candidates[0]
    outputs = {candidate.route.name: output_of(candidate.route, call) for candidate in candidates}
    return OpenCall(
        context=context, caller=caller, route=first.route, prices=first.prices.scaled() if is_batch else first.prices, surface=name,
        is_stream=call.is_stream, output_tokens=outputs[first.route.name], deployment=first.deployment, outputs=outputs,
        routing=routing, is_batch=is_batch, attempts=[], arm_id=routing.arm_id,
    )  # fmt: skip


def output_of(route: ServedRoute, call: ChatCall) -> int:
    """The most tokens of an answer: what is held for, and what the upstream is asked for."""
    return min(call.output_tokens_asked or route.output_tokens_default, route.output_tokens_max)


class Composed(msgspec.Struct):
    """A candidate's request, and the call as its model can take it."""

    call: ChatCall
    request: UpstreamRequest


class Turn:
    """What each candidate would be asked."""

    __slots__ = ("_call", "_checked", "_named", "_open_call", "_surface")

    def __init__(self, surface: Surface, open_call: OpenCall, call: ChatCall) -> None:
        self._surface, self._open_call, self._call = surface, open_call, call
        self._checked: tuple[str, ChatCall] = ("", call)  # the last model's
        self._named = open_call.route.name if not open_call.routing.asked else ""  # whose answers bear the name that was asked

    def compose(self, candidate: Candidate) -> Composed:
        """Raises BadRequest where this model, or this deployment's format, can't take the call."""
        surface, route, deployment = self._surface, candidate.route, candidate.deployment
        if self._checked[0] != route.name:
            self._checked = (route.name, check_abilities(self._named_for(route), route))
        call = self._checked[1]
        if call.refusal is not None and surface.native(deployment) is None:
            raise call.refusal
        output_tokens = self._open_call.outputs[route.name]
        request = dialect_for(surface, deployment).chat_request(call, route, deployment, output_tokens)
        if (request.dropped or call.dropped) and self._open_call.context.preferences.requires_parameters:
            raise refuse_dropped((*call.dropped, *request.dropped)[0], route)
        return Composed(call, request)

    def _named_for(self, route: ServedRoute) -> ChatCall:
        """The call, by the name of the model that answers where it is not the one that was asked: the answer tells it."""
        return self._call if route.name == self._named else msgspec.structs.replace(self._call, model=route.name)


def dialect_for(surface: Surface, deployment: ServedDeployment) -> Dialect:
    return surface.native(deployment) or DIALECTS[deployment.dialect]


async def hold_chat(process: GatewayProcess, open_call: OpenCall, call: ChatCall, plan: Plan[Composed]) -> None:
    """Reserve what the dearest of the candidates can cost; those that the balance does not cover are left out, while one is left.

    Raises InsufficientBalance, Unavailable."""
    if call.is_stream and open_call.context.on_stream is not None:
        open_call.context.on_stream()

    bounds = bounds_of(open_call, call, plan.candidates)
    await process.meter.hold_for(
        open_call,
        bounds,
        input_bytes=bound_chat_input(call),
        choices=call.choices,
        is_ceiling_ours=call.output_tokens_asked is None,
    )
    if len(plan.candidates) > 1:
        keep_affordable(plan, bounds, shortage=open_call.shortage)
    for bound in bounds:
        if open_call.outputs[bound.route.name] != bound.output_tokens:
            open_call.outputs[bound.route.name] = bound.output_tokens
            plan.is_first_stale = True
    open_call.output_tokens = bounds[0].output_tokens


def ask_chat(
    process: GatewayProcess, open_call: OpenCall, surface: Surface, candidate: Candidate, composed: Composed
) -> Awaitable[tuple[Composed, ChatAnswer | tuple[Relay, bytes]]]:
    """One attempt: a whole answer, or a stream with its first frames. Raises UpstreamError, ClientGone."""
    dialect = dialect_for(surface, candidate.deployment)
    if not composed.call.is_stream:
        return ask_whole(process, open_call, dialect, composed)
    is_native = surface.native(candidate.deployment) is not None
    shaper = NativeShaper(surface) if is_native else surface.open_shaper(composed.call, candidate.route)
    return start_stream(process, open_call, dialect, composed, shaper)


def begin_stream(
    process: GatewayProcess, open_call: OpenCall, call: ChatCall, surface: Surface, relay: Relay, first: bytes
) -> Reply:
    open_call.first_token_ns = time.monotonic_ns() - open_call.context.started_ns
    headers = [*STREAM_HEADERS, *answer_headers(open_call)]
    frames = relay_frames(process, open_call, call, surface, relay, first)
    return Reply(200, headers, frames=frames, direct=frames)


# ── Whole answers ────────────────────────────────────────────────────────────────────────────────────────────────────
async def ask_whole(
    process: GatewayProcess, open_call: OpenCall, dialect: Dialect, composed: Composed
) -> tuple[Composed, ChatAnswer]:
    """One attempt, read to its end. Raises UpstreamError, ClientGone."""
    assert open_call.deployment is not None
    exchange = await process.upstream.begin(composed.request, open_call.context)
    try:
        upstream = exchange.answer
        if upstream.status != 200:
            body = await upstream.read_all(ERROR_BYTES_MAX)
            raise dialect.read_error(upstream.status, upstream.retry_after, body, open_call.deployment)
        answer = dialect.read_chat(await upstream.read_all())
    finally:
        exchange.close()
    if answer.tally.finish_reason == "content_filter" and not answer.tally.text:
        has_others = open_call.has_others
        if has_others is not None and has_others("content_policy"):  # else what came is the answer
            raise filtered()
    return composed, answer


async def finish_whole(process: GatewayProcess, open_call: OpenCall, call: ChatCall, surface: Surface, answer: ChatAnswer) -> Reply:
    """Settle a whole answer, and price its body."""
    tally = answer.tally
    usage, source = basis_of(call, tally, output_tokens=open_call.output_tokens)
    deployment = open_call.deployment
    assert deployment is not None

    def write(settled: Settled) -> Reply:
        priced = with_cost(shown_usage(tally, usage, source), settled)
        if (name_model := getattr(answer, "name_model", None)) is not None:  # its upstream says no model's name
            name_model(call.model)
        body = answer.with_usage(priced)
        if surface.native(deployment) is None:
            body = surface.shape_answer(call, open_call.route, body)
        return Reply(200, [JSON_TYPE, cost_header(settled), *answer_headers(open_call)], body=body)

    reply = await settle_answer(
        process, open_call, usage, source=source, write=write, finish_reason=tally.finish_reason, upstream_id=tally.upstream_id
    )
    if surface.keeps(call):
        reply.body = await keep_answer(process, open_call, call, surface, reply.body)
    return reply


# ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────
async def start_stream(
    process: GatewayProcess, open_call: OpenCall, dialect: Dialect, composed: Composed, shaper: Shaper
) -> tuple[Composed, tuple[Relay, bytes]]:
    """One attempt up to its first frames. Raises UpstreamError, ClientGone."""
    assert open_call.deployment is not None
    exchange = await process.upstream.begin(composed.request, open_call.context, first_seconds=patience_of(open_call))
    try:
        answer = exchange.answer
        if answer.status != 200:
            body = await answer.read_all(ERROR_BYTES_MAX)
            raise dialect.read_error(answer.status, answer.retry_after, body, open_call.deployment)
        if not answer.content_type.startswith(dialect.stream_type):
            raise malformed("The provider's answer is not an event stream.")
        relay = Relay(exchange, dialect, composed.call, shaper)
        first = await relay.first()
        exchange.note_first()
        return composed, (relay, first)
    except BaseException:
        exchange.close()
        raise


def patience_of(open_call: OpenCall) -> float:
    """Seconds by which a stream must say something; 0, whenever, where nobody else could be asked."""
    deployment, has_others = open_call.deployment, open_call.has_others
    if deployment is None or has_others is None or not has_others(OUTAGE):
        return 0.0
    return (deployment.first_token_ms_max or FIRST_TOKEN_MS) / 1_000


class NativeShaper:
    """Frames of a dialect that speaks the surface's own words; its reader closes the answer with the usage."""

    passes = True

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
            sink = open_call.context.sink
            frames = await (relay.next() if sink is None else relay.pump(sink))
            if frames:
                yield frames
        relay.check_end()
        last = await finish_stream(process, open_call, call, surface, relay)
    except ClientGone:
        await settle_part(process, open_call, call, relay, outcome="cancelled", error_code="client_gone")
    except SessionLost:
        yield relay.shaper.fail(cut(), is_english=open_call.context.is_english)
    except GatewayError as error:
        note_cut(process, open_call, error)
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

    def write(settled: Settled) -> Reply:
        return Reply(200, [], body=relay.shaper.end(relay.reader, with_cost(shown_usage(tally, usage, source), settled)))

    reply = await settle_answer(
        process, open_call, usage, source=source, write=write, finish_reason=tally.finish_reason, upstream_id=tally.upstream_id
    )
    await relay.read_tail()
    if surface.keeps(call):
        return await keep_answer(process, open_call, call, surface, reply.body)
    return reply.body


async def keep_answer(process: GatewayProcess, open_call: OpenCall, call: ChatCall, surface: Surface, last: bytes) -> bytes:
    """For the caller, who asked for it (`store`). What was written before it was settled has its cost by now."""
    keeper = open_call.context.keeper
    if keeper is not None and keeper.settled is not None:
        call.told.kept = MARKS.fill(call.told.kept, keeper.settled)
    return await surface.keep(process, open_call.caller, call, last)


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
    routing = open_call.routing
    if routing.rule:
        headers.append((b"x-tokia-rule", _plain_names((routing.rule,))))
        if routing.experiment:
            headers.append((b"x-tokia-experiment", quote(f"{routing.experiment}/{routing.arm}", safe="/ ").encode()))
    return headers


def _plain_names(names: tuple[str, ...]) -> bytes:
    """Names of parameters that nobody knows come from the caller's JSON: a header holds no line end, and not all of a body."""
    return _NOT_PLAIN.sub("?", ",".join(names)[:DROPPED_SHOWN_MAX]).encode()
