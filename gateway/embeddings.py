"""The parent of an embeddings call; the same walk as `chat`, whole answers only.

The upstream is asked for plain numbers; base64 (what OpenAI's SDK asks for by default) is made here, so it is there whoever serves.
"""

from __future__ import annotations

import base64
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from billing.pricing import Usage
from gateway.calls import Attempt, CallContext, Caller, EmbeddingsCall, Reply, ServedDeployment, ServedRoute
from gateway.catalog import route_for
from gateway.chat import ATTEMPTS_MAX, JSON_TYPE, answer_headers, end_undelivered
from gateway.dialects.base import EmbeddingsAnswer, EmbeddingsDialect, UpstreamRequest, malformed
from gateway.dialects.registry import EMBEDDERS
from gateway.errors import BadRequest, GatewayError, UpstreamError, internal_error
from gateway.metering import OpenCall
from gateway.parsing import parse_embeddings
from gateway.pricetag import cost_header, with_cost
from gateway.routing import attempt_order
from gateway.tokens import count_text, scale
from gateway.upstream import ERROR_BYTES_MAX
from tokia.crashpoints import crashpoint

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

SURFACE = "embeddings"
TOKENS_PER_INPUT = 2


async def embed(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes) -> Reply:
    """Raises GatewayError, ClientGone; the call is then settled at nothing, or was never begun."""
    call = parse_embeddings(body)
    route = route_for(process.snapshots.catalog, call.model, caller=caller, surface=SURFACE)
    await process.limits.admit(caller, context.headers)
    assert route.prices is not None  # route_for has seen to it
    plan = plan_attempts(process, call, route)
    open_call = OpenCall(context=context, caller=caller, route=route, prices=route.prices, is_stream=False, output_tokens=0)
    counted = count_input(call)
    most = scale(counted, route.token_factor_percent) + call.inputs * TOKENS_PER_INPUT
    await process.meter.hold_for(open_call, input_tokens=lambda: most, input_bytes=most, choices=1, is_ceiling_ours=False)
    crashpoint("after_hold_commit")
    try:
        answer = await attempt_embeddings(process, open_call, call, plan)
        usage, source = basis_of(call, answer, counted=counted)
        settled = await process.meter.settle_for(open_call, usage, outcome="completed", source=source, finish_reason="stop")
    except BaseException as error:
        await end_undelivered(process, open_call, error)
        raise
    priced = with_cost(b'{"prompt_tokens":%d,"total_tokens":%d}' % (usage.input_tokens, usage.input_tokens), settled)
    headers = [JSON_TYPE, cost_header(settled), *answer_headers(open_call)]
    return Reply(200, headers, body=write_answer(call, route, answer, priced))


def count_input(call: EmbeddingsCall) -> int:
    return call.token_count + sum(count_text(text) for text in call.texts)


class Plan(NamedTuple):
    """Who may be asked, in order, and the first one's requests."""

    deployments: list[ServedDeployment]
    first: list[UpstreamRequest]


def plan_attempts(process: GatewayProcess, call: EmbeddingsCall, route: ServedRoute) -> Plan:
    """Raises BadRequest where no deployment can say the call; nothing is held then."""
    order = attempt_order(route.deployments, process.rng)[:ATTEMPTS_MAX]
    refusal: BadRequest | None = None
    for place, deployment in enumerate(order):
        try:
            return Plan(order[place:], EMBEDDERS[deployment.dialect].embeddings_requests(call, deployment))
        except BadRequest as error:
            refusal = refusal or error
    raise refusal or internal_error()  # a route always has a deployment


async def attempt_embeddings(process: GatewayProcess, open_call: OpenCall, call: EmbeddingsCall, plan: Plan) -> EmbeddingsAnswer:
    """Ask one deployment after the other until one answers. Raises the last one's UpstreamError."""
    failure: GatewayError | None = None
    for number, deployment in enumerate(plan.deployments, start=1):
        dialect = EMBEDDERS[deployment.dialect]
        try:
            requests = plan.first if number == 1 else dialect.embeddings_requests(call, deployment)
        except BadRequest:  # this one can't say it: the next
            continue
        open_call.deployment = deployment
        attempt = Attempt(deployment.provider_slug, deployment.upstream_model)
        open_call.attempts.append(attempt)
        started_ns = time.monotonic_ns()
        crashpoint("before_upstream")
        try:
            answer = await ask(process, open_call.context, call, deployment, dialect, requests)
            attempt.status = 200
            open_call.dropped = requests[0].dropped
            return answer
        except UpstreamError as error:
            attempt.status, attempt.error = error.upstream_status, error.code
            failure = error
            if not error.retryable:
                raise
        finally:
            elapsed_ns = time.monotonic_ns() - started_ns
            attempt.ms = elapsed_ns // 1_000_000
            open_call.upstream_ns += elapsed_ns
    raise failure or internal_error()


async def ask(
    process: GatewayProcess,
    context: CallContext,
    call: EmbeddingsCall,
    deployment: ServedDeployment,
    dialect: EmbeddingsDialect,
    requests: list[UpstreamRequest],
) -> EmbeddingsAnswer:
    """One attempt: every request in turn. Raises UpstreamError, ClientGone."""
    whole = EmbeddingsAnswer([], input_tokens=0)
    for request in requests:
        exchange = await process.upstream.begin(request, context)
        try:
            upstream = exchange.answer
            if upstream.status != 200:
                body = await upstream.read_all(ERROR_BYTES_MAX)
                raise dialect.read_error(upstream.status, upstream.retry_after, body, deployment)
            answer = dialect.read_embeddings(await upstream.read_all())
        finally:
            exchange.close()
        whole.vectors += answer.vectors
        whole.model = answer.model
        known = whole.input_tokens is not None and answer.input_tokens is not None
        whole.input_tokens = (whole.input_tokens or 0) + (answer.input_tokens or 0) if known else None
    if len(whole.vectors) != call.inputs:
        raise malformed("The provider gave another number of vectors.")
    return whole


def basis_of(call: EmbeddingsCall, answer: EmbeddingsAnswer, *, counted: int) -> tuple[Usage, str]:
    """What is billed: the upstream's count within the bytes of the input, else ours."""
    said = answer.input_tokens
    if said is None:
        return Usage(input_tokens=counted), "counted"
    bound = call.body_bytes + call.inputs * TOKENS_PER_INPUT
    if not 0 < said <= bound:
        return Usage(input_tokens=min(max(said, counted), bound)), "suspect"
    return Usage(input_tokens=said), "upstream"


def write_answer(call: EmbeddingsCall, route: ServedRoute, answer: EmbeddingsAnswer, usage_raw: bytes) -> bytes:
    data: list[dict[str, Any]] = [
        {"object": "embedding", "index": index, "embedding": _shaped(vector, call.wants_base64)}
        for index, vector in enumerate(answer.vectors)
    ]
    return msgspec.json.encode(
        {"object": "list", "data": data, "model": answer.model or route.name, "usage": msgspec.Raw(usage_raw)}
    )


def _shaped(embedding: list[float] | str, wants_base64: bool) -> list[float] | str:
    """Little-endian float32 in base64, or numbers, whichever the upstream gave."""
    if isinstance(embedding, str):
        if wants_base64:
            return embedding
        floats = array("f", base64.b64decode(embedding))
        if sys.byteorder == "big":
            floats.byteswap()
        return floats.tolist()
    if not wants_base64:
        return embedding
    floats = array("f", embedding)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()
