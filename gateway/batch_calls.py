"""One line of a batch as a call: the same walk as `chat` and `embeddings`, at the batch price, its answer not sent but kept.

Pure parts are those of the two walks; here is what asks, and what a call came to.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from billing import holds
from billing.holds import EndedCall
from billing.models import UsageRecord
from billing.pricing import Usage, cost_of, price_usage
from gateway import embeddings
from gateway.attempts import ask_in_turn, prepare
from gateway.batch_store import ENDPOINTS
from gateway.calls import CallContext, Caller, ChatCall
from gateway.catalog import Catalog
from gateway.chat import Turn, ask_chat, hold_chat, open_chat, plan_chat
from gateway.circuit import Circuits
from gateway.credentials import Credentials
from gateway.error_bodies import as_openai
from gateway.errors import BadRequest
from gateway.lanes import Settled
from gateway.metering import Bound, OpenCall, open_at
from gateway.parsing import parse_embeddings, wrong_type
from gateway.planning import plan_call
from gateway.preferences import note_preferences, take_preferences
from gateway.pricetag import with_cost
from gateway.surfaces import responses_store
from gateway.surfaces.base import Surface
from gateway.surfaces.messages import Messages
from gateway.surfaces.registry import SURFACES
from gateway.surfaces.responses_store import ResponseStore
from gateway.upstream import Upstream
from gateway.usage import basis_of, shown_usage
from gateway.vitals import Vitals
from tokia.crashpoints import crashpoint
from tokia.errors import TokiaError

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

EMBEDDINGS = "/v1/embeddings"
CUSTOM_ID_CHARACTERS_MAX = 512
INT_MAX = 2_147_483_647
Begin = Callable[[OpenCall, int], Awaitable[None]]  # the call, and what it may cost at most


class Request(msgspec.Struct):
    """A line of the input file."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class Ended(NamedTuple):
    """A call that was answered; `shape` writes the body once it is known what it cost."""

    call: EndedCall
    shape: Callable[[holds.Settled], bytes]


@dataclass
class Snapshot:
    catalog: Catalog


@dataclass
class LineProcess:
    """What the verbs of a call ask of their process."""

    snapshots: Snapshot
    upstream: Upstream
    responses: ResponseStore
    rng: random.Random = field(default_factory=random.Random)
    meter: Any = None
    circuits: Circuits = field(default_factory=Circuits)
    vitals: Vitals = field(default_factory=Vitals)
    credentials: Credentials = field(default_factory=Credentials)

    def for_line(self, begin: Begin) -> GatewayProcess:
        return cast("GatewayProcess", replace(self, meter=LineMeter(begin)))


class LineMeter:
    """Holds by the count of tokens: a batch is not in a hurry, and its wallet is free for other calls."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def hold_for(
        self, call: OpenCall, bounds: list[Bound], *, input_bytes: int, choices: int = 1, is_ceiling_ours: bool = False
    ) -> None:
        await self._begin(call, max(1, *(bound.ceiling(bound.input_tokens(), bound.output_tokens, choices) for bound in bounds)))


_decode_request = msgspec.json.Decoder(Request).decode


def read_request(line: bytes, *, endpoint: str) -> Request:
    """Raises BadRequest naming the member at fault. The body is the surface's to bound and to read."""
    try:
        request = _decode_request(line)
    except msgspec.ValidationError as error:
        raise wrong_type(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(
            "A linha não é um objeto JSON válido em UTF-8.", "The line is not a valid UTF-8 JSON object.", code="invalid_json"
        ) from None
    if not 1 <= len(request.custom_id) <= CUSTOM_ID_CHARACTERS_MAX:
        raise _expected("custom_id", f"um texto de 1 a {CUSTOM_ID_CHARACTERS_MAX} caracteres",
                        f"a string of 1 to {CUSTOM_ID_CHARACTERS_MAX} characters")  # fmt: skip
    if request.method != "POST":
        raise _expected("method", "POST", "POST", code="invalid_method")
    if request.url != endpoint:
        raise _expected("url", f"o endereço do lote, {endpoint}", f"the batch's endpoint, {endpoint}", code="invalid_url")
    if bytes(request.body)[:1] != b"{":
        raise _expected("body", "um objeto", "an object")
    return request


def _expected(param: str, message: str, english: str, *, code: str = "invalid_value") -> BadRequest:
    return BadRequest(f"Valor inválido em '{param}': esperado {message}.", f"Invalid value for '{param}': expected {english}.",
                      param=param, code=code)  # fmt: skip


def surface_of(endpoint: str, context: CallContext) -> Surface:
    assert endpoint in ENDPOINTS
    return cast(Surface, Messages(context)) if endpoint == "/v1/messages" else SURFACES[endpoint]


def word_error(error: TokiaError, *, endpoint: str, call_id: str, is_english: bool) -> bytes:
    """A refusal's body, as it would have been answered at the endpoint."""
    if endpoint == EMBEDDINGS:
        return as_openai(error, is_english=is_english)
    surface = surface_of(endpoint, CallContext(id=call_id, started_ns=0))
    return surface.error_body(error, is_english=is_english, request_id=call_id)


async def check_request(process: LineProcess, caller: Caller, request: Request) -> str:
    """All that can be said before it is called: gives the route's name. Raises GatewayError."""
    ours, context = cast("GatewayProcess", process), CallContext(id="", started_ns=0)
    body = read_preferences(request, context)
    if request.url == EMBEDDINGS:
        candidates, _ = plan_call(ours, context, caller, model=parse_embeddings(body).model, surface=embeddings.SURFACE)
    else:
        surface = surface_of(request.url, context)
        candidates, _ = plan_chat(ours, context, caller, await read_chat(ours, caller, surface, body))
    return candidates[0].route.name


def read_preferences(request: Request, context: CallContext) -> bytes:
    """The line's body without what it says of its routing, which the context gets. A batch is not in a hurry: of latency it says
    nothing. Raises BadRequest."""
    body, preferences = take_preferences(bytes(request.body), {}, is_chat=request.url != EMBEDDINGS)
    if preferences.budget is not None:
        preferences = msgspec.structs.replace(preferences, budget=None)
    note_preferences(context, preferences)
    return body


async def read_chat(process: GatewayProcess, caller: Caller, surface: Surface, body: bytes) -> ChatCall:
    call = await surface.read_call(process, caller, body)
    if call.is_stream:
        raise _expected("stream", "falso: num lote a resposta vem inteira", "false: a batch's answers come whole")
    return call


async def call_line(
    process: LineProcess, caller: Caller, request: Request, context: CallContext, begin: Begin, opened: list[OpenCall]
) -> Ended:
    """The call of one line, up to its settlement, which is the caller's. `opened` gets the call where one was begun.

    Raises GatewayError, and whatever `begin` does."""
    ours = process.for_line(begin)
    body = read_preferences(request, context)
    if request.url == EMBEDDINGS:
        return await _embed(ours, caller, body, context, opened)
    surface = surface_of(request.url, context)
    call = await read_chat(ours, caller, surface, body)
    candidates, routing = plan_chat(ours, context, caller, call)
    open_call = open_chat(context, caller, call, candidates, routing, f"batch:{surface.name}", is_batch=True)
    turn = Turn(surface, open_call, call)
    plan = prepare(candidates, routing, turn.compose)
    await hold_chat(ours, open_call, call, plan)
    opened.append(open_call)
    crashpoint("batch_before_upstream")
    asking = partial(ask_chat, ours, open_call, surface)
    composed, answer = await ask_in_turn(ours, open_call, plan, compose=turn.compose, ask=asking)
    crashpoint("batch_after_upstream")
    assert not isinstance(answer, tuple)  # nothing streams here
    call, route = composed.call, open_call.route
    open_call.dropped = (*call.dropped, *composed.request.dropped)
    tally = answer.tally
    usage, source = basis_of(call, tally, output_tokens=open_call.output_tokens)
    if open_call.deployment is not None:
        ours.credentials.note_tokens(open_call.deployment, usage.prompt_tokens + usage.completion_tokens)

    def shape(settled: holds.Settled) -> bytes:
        priced = with_cost(shown_usage(tally, usage, source), Settled(ended.gross_nanos, settled.net_nanos))
        if (name_model := getattr(answer, "name_model", None)) is not None:
            name_model(call.model)
        body = answer.with_usage(priced)
        assert open_call.deployment is not None
        if surface.native(open_call.deployment) is None:
            body = surface.shape_answer(call, route, body)
        if surface.keeps(call):  # in the settlement's own transaction
            responses_store.store_response(call.told, route_name=call.model)
        return body

    ended = end_call(
        open_call, usage, source=source, finish_reason=tally.finish_reason, upstream_id=tally.upstream_id, outcome="completed"
    )
    return Ended(ended, shape)


async def _embed(process: GatewayProcess, caller: Caller, body: bytes, context: CallContext, opened: list[OpenCall]) -> Ended:
    call = parse_embeddings(body)
    candidates, routing = plan_call(process, context, caller, model=call.model, surface=embeddings.SURFACE)
    open_call = open_at(context, caller, candidates, routing, surface=f"batch:{embeddings.SURFACE}", is_batch=True)
    plan = prepare(candidates, routing, partial(embeddings.compose, call))
    counted = embeddings.count_input(call)
    await embeddings.hold(process, open_call, call, counted)
    opened.append(open_call)
    crashpoint("batch_before_upstream")
    answer = await embeddings.ask_all(process, open_call, call, plan)
    crashpoint("batch_after_upstream")
    usage, source = embeddings.basis_of(call, answer, counted=counted)

    def shape(settled: holds.Settled) -> bytes:
        shown = b'{"prompt_tokens":%d,"total_tokens":%d}' % (usage.input_tokens, usage.input_tokens)
        priced = with_cost(shown, Settled(ended.gross_nanos, settled.net_nanos))
        return embeddings.write_answer(call, open_call.route, answer, priced)

    ended = end_call(open_call, usage, source=source, finish_reason="stop", outcome="completed")
    return Ended(ended, shape)


def end_call(
    open_call: OpenCall,
    usage: Usage,
    *,
    outcome: str,
    source: str = UsageRecord.UsageSource.NONE,
    status: int = 200,
    error_code: str = "",
    finish_reason: str = "",
    upstream_id: str = "",
) -> EndedCall:
    """What the call came to; with `Usage(requests=0)`, nothing."""
    deployment, routing = open_call.deployment, open_call.routing
    is_own_key = deployment is not None and deployment.is_own_key
    buckets = {name: min(getattr(usage, name), INT_MAX) for name in Usage.__struct_fields__}
    elapsed_ns = time.monotonic_ns() - open_call.context.started_ns
    return EndedCall(
        id=uuid.UUID(open_call.context.id), wallet_id=open_call.caller.wallet_id, api_key_id=open_call.caller.api_key_id,
        price_version_id=open_call.prices.version_id, route_name=open_call.route.name,
        gross_nanos=price_usage(open_call.prices, usage), outcome=outcome,
        cost_nanos=0 if is_own_key else cost_of(open_call.prices, usage),  # its owner pays the provider
        usage=Usage(**buckets), usage_source=source, surface=open_call.surface,
        provider_name=deployment.provider_slug if deployment else "",
        upstream_model=deployment.upstream_model if deployment else "", upstream_id=_plain(upstream_id), status_code=status,
        error_code=error_code, finish_reason=_plain(finish_reason),
        attempts=tuple(msgspec.to_builtins(attempt) for attempt in open_call.attempts), latency_ms=elapsed_ns // 1_000_000,
        overhead_us=min(open_call.overhead_us, INT_MAX), routing=None if routing.is_plain else msgspec.to_builtins(routing),
        experiment_arm_id=open_call.arm_id or None, is_own_key=is_own_key, project_id=open_call.caller.project_id,
        tags=open_call.context.tags or None, margin_bps=open_call.caller.margin_bps,
    )  # fmt: skip


def _plain(text: str) -> str:
    """Text from outside, as a PostgreSQL column can keep it."""
    return text.replace("\x00", "")[:120]
