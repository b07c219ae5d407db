"""The parent of a rerank, in Cohere's shape; the same walk as `embeddings`, billed by the search unit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from billing.pricing import Usage
from gateway.attempts import ask_in_turn, prepare
from gateway.calls import CallContext, Caller, Candidate, Reply, ServedRoute
from gateway.chat import JSON_TYPE, answer_headers, end_undelivered
from gateway.dialects.base import RerankAnswer, UpstreamRequest, malformed
from gateway.dialects.registry import RERANKERS
from gateway.errors import unserved
from gateway.keeping import settle_answer
from gateway.lanes import Settled
from gateway.metering import open_at
from gateway.planning import plan_call
from gateway.pricetag import cost_header, with_cost
from gateway.rerank_call import RerankCall, count_searches, parse_rerank
from gateway.upstream import ERROR_BYTES_MAX
from tokia.crashpoints import crashpoint

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

SURFACE = "rerank"
# Cohere's SDK asks for `v2/rerank` below whatever base address it is given, with and without `/v1`.
PATHS = ("/v1/rerank", "/v2/rerank", "/v1/v2/rerank")


async def rerank(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes) -> Reply:
    """Raises GatewayError, ClientGone; the call is then settled at nothing, or was never begun."""
    call = parse_rerank(body)
    candidates, routing = plan_call(process, context, caller, model=call.model, surface=SURFACE)
    await process.limits.admit_call(caller, context)  # its tokens, where it has any, count when it is over
    open_call = open_at(context, caller, candidates, routing)
    route = open_call.route
    plan = prepare(candidates, routing, partial(compose, call))
    open_call.dropped = call.dropped
    counted, bound = count_searches(call, factor_percent=route.token_factor_percent)
    await process.meter.hold_units(open_call, Usage(searches=bound))
    crashpoint("after_hold_commit")
    try:
        answer = await ask_in_turn(
            process, open_call, plan, compose=partial(compose, call), ask=partial(ask, process, context, call)
        )
        searches, source = basis_of(answer, counted=counted, bound=bound)

        def write(settled: Settled) -> Reply:
            priced = with_cost(b'{"search_units":%d}' % searches, settled)
            headers = [JSON_TYPE, cost_header(settled), *answer_headers(open_call)]
            return Reply(200, headers, body=write_answer(call, route, answer, searches, priced))

        usage = Usage(searches=searches)
        return await settle_answer(process, open_call, usage, source=source, write=write, upstream_id=answer.id)
    except BaseException as error:
        await end_undelivered(process, open_call, error)
        raise


def basis_of(answer: RerankAnswer, *, counted: int, bound: int) -> tuple[int, str]:
    """The search units to bill: the upstream's own, never more than were held; ours where it names none."""
    said = answer.searches
    if said is None:
        return counted, "counted"
    if not 0 < said <= bound:
        return (bound if said > bound else counted), "suspect"
    return said, "upstream"


def compose(call: RerankCall, candidate: Candidate) -> UpstreamRequest:
    """Raises BadRequest where this deployment can't say the call."""
    dialect = RERANKERS.get(candidate.deployment.dialect)
    if dialect is None:  # a route that an administrator gave a provider without reranking
        raise unserved()
    return dialect.rerank_request(call, candidate.deployment)


async def ask(
    process: GatewayProcess, context: CallContext, call: RerankCall, candidate: Candidate, request: UpstreamRequest
) -> RerankAnswer:
    """One attempt. Raises UpstreamError, ClientGone."""
    deployment = candidate.deployment
    dialect = RERANKERS[deployment.dialect]
    exchange = await process.upstream.begin(request, context)
    try:
        upstream = exchange.answer
        if upstream.status != 200:
            body = await upstream.read_all(ERROR_BYTES_MAX)
            raise dialect.read_error(upstream.status, upstream.retry_after, body, deployment)
        answer = dialect.read_rerank(await upstream.read_all())
    finally:
        exchange.close()
    places = {ranked.index for ranked in answer.results}
    if len(places) != len(answer.results) or not places <= set(range(len(call.documents))):
        raise malformed("The provider ranked other documents.")
    return answer


def write_answer(call: RerankCall, route: ServedRoute, answer: RerankAnswer, searches: int, usage_raw: bytes) -> bytes:
    """Cohere's answer, which Jina's is like, and our usage."""
    results: list[dict[str, Any]] = []
    for ranked in answer.results[: call.top_n]:
        result: dict[str, Any] = {"index": ranked.index, "relevance_score": ranked.relevance_score}
        if call.wants_documents:
            result["document"] = {"text": call.documents[ranked.index]}
        results.append(result)
    return msgspec.json.encode(
        {
            "id": answer.id,
            "model": route.name,
            "results": results,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": searches}},
            "usage": msgspec.Raw(usage_raw),
        }
    )
