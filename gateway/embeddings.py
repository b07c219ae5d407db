"""The parent of an embeddings call; the same walk as `chat`, whole answers only.

The upstream is asked for plain numbers; base64 (what OpenAI's SDK asks for by default) is made here, so it is there whoever serves.
"""

from __future__ import annotations

import base64
import sys
from array import array
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from billing.pricing import Usage
from gateway.attempts import Plan, ask_in_turn, prepare
from gateway.bounds import BYTES_PER_TOKEN
from gateway.calls import CallContext, Caller, Candidate, EmbeddingsCall, Reply, ServedDeployment, ServedRoute
from gateway.chat import JSON_TYPE, answer_headers, end_undelivered
from gateway.dialects.base import EmbeddingsAnswer, EmbeddingsDialect, UpstreamRequest, malformed
from gateway.dialects.registry import EMBEDDERS
from gateway.keeping import settle_answer
from gateway.lanes import Settled
from gateway.metering import Bound, OpenCall, open_at
from gateway.parsing import parse_embeddings
from gateway.planning import plan_call
from gateway.pricetag import cost_header, with_cost
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
    candidates, routing = plan_call(process, context, caller, model=call.model, surface=SURFACE)
    await process.limits.admit_call(caller, context, tokens=call.token_count or call.body_bytes // BYTES_PER_TOKEN)
    open_call = open_at(context, caller, candidates, routing)
    plan = prepare(candidates, routing, partial(compose, call))
    counted = count_input(call)
    await hold(process, open_call, call, counted)
    crashpoint("after_hold_commit")
    try:
        answer = await ask_all(process, open_call, call, plan)
        usage, source = basis_of(call, answer, counted=counted)

        def write(settled: Settled) -> Reply:
            priced = with_cost(b'{"prompt_tokens":%d,"total_tokens":%d}' % (usage.input_tokens, usage.input_tokens), settled)
            headers = [JSON_TYPE, cost_header(settled), *answer_headers(open_call)]
            return Reply(200, headers, body=write_answer(call, open_call.route, answer, priced))

        return await settle_answer(process, open_call, usage, source=source, write=write)
    except BaseException as error:
        await end_undelivered(process, open_call, error)
        raise


async def hold(process: GatewayProcess, open_call: OpenCall, call: EmbeddingsCall, counted: int) -> None:
    """Raises InsufficientBalance, Unavailable."""
    most = scale(counted, open_call.route.token_factor_percent) + call.inputs * TOKENS_PER_INPUT
    await process.meter.hold_for(open_call, [Bound(open_call.route, open_call.prices, lambda: most)], input_bytes=most)


def count_input(call: EmbeddingsCall) -> int:
    return call.token_count + sum(count_text(text) for text in call.texts)


def compose(call: EmbeddingsCall, candidate: Candidate) -> list[UpstreamRequest]:
    """Raises BadRequest where this deployment can't say the call."""
    return EMBEDDERS[candidate.deployment.dialect].embeddings_requests(call, candidate.deployment)


async def ask_all(
    process: GatewayProcess, open_call: OpenCall, call: EmbeddingsCall, plan: Plan[list[UpstreamRequest]]
) -> EmbeddingsAnswer:
    """Raises the last one's UpstreamError."""

    async def ask_one(candidate: Candidate, requests: list[UpstreamRequest]) -> EmbeddingsAnswer:
        dialect = EMBEDDERS[candidate.deployment.dialect]
        answer = await ask(process, open_call.context, call, candidate.deployment, dialect, requests)
        open_call.dropped = requests[0].dropped
        return answer

    return await ask_in_turn(process, open_call, plan, compose=partial(compose, call), ask=ask_one)


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
