"""The parent of a rerank, in Cohere's shape; the same walk as `embeddings`, billed by the search unit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from billing.pricing import Usage
from gateway.calls import Attempt, CallContext, Caller, Reply, ServedDeployment, ServedRoute
from gateway.catalog import route_for
from gateway.chat import ATTEMPTS_MAX, JSON_TYPE, answer_headers, end_undelivered
from gateway.dialects.base import RerankAnswer, UpstreamRequest, malformed
from gateway.dialects.registry import RERANKERS
from gateway.errors import BadRequest, GatewayError, UpstreamError, internal_error
from gateway.metering import OpenCall
from gateway.pricetag import cost_header, with_cost
from gateway.rerank_call import RerankCall, count_searches, parse_rerank
from gateway.routing import attempt_order
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
    route = route_for(process.snapshots.catalog, call.model, caller=caller, surface=SURFACE)
    await process.limits.admit(caller, context.headers)
    assert route.prices is not None  # route_for has seen to it
    plan = plan_attempts(process, call, route)
    open_call = OpenCall(context=context, caller=caller, route=route, prices=route.prices, is_stream=False, output_tokens=0)
    open_call.dropped = call.dropped
    counted, bound = count_searches(call, factor_percent=route.token_factor_percent)
    await process.meter.hold_units(open_call, Usage(searches=bound))
    crashpoint("after_hold_commit")
    try:
        answer = await attempt_rerank(process, open_call, call, plan)
        searches, source = basis_of(answer, counted=counted, bound=bound)
        settled = await process.meter.settle_for(
            open_call, Usage(searches=searches), outcome="completed", source=source, finish_reason="stop", upstream_id=answer.id
        )
    except BaseException as error:
        await end_undelivered(process, open_call, error)
        raise
    priced = with_cost(b'{"search_units":%d}' % searches, settled)
    headers = [JSON_TYPE, cost_header(settled), *answer_headers(open_call)]
    return Reply(200, headers, body=write_answer(call, route, answer, searches, priced))


def basis_of(answer: RerankAnswer, *, counted: int, bound: int) -> tuple[int, str]:
    """The search units to bill: the upstream's own, never more than were held; ours where it names none."""
    said = answer.searches
    if said is None:
        return counted, "counted"
    if not 0 < said <= bound:
        return (bound if said > bound else counted), "suspect"
    return said, "upstream"


class Plan(msgspec.Struct):
    """Who may be asked, one after the other, and the first one's request."""

    deployments: list[ServedDeployment]
    first: UpstreamRequest


def plan_attempts(process: GatewayProcess, call: RerankCall, route: ServedRoute) -> Plan:
    """Raises BadRequest where no deployment can say the call; nothing is held then."""
    deployments = attempt_order(route.deployments, process.rng)[:ATTEMPTS_MAX]
    refusal: BadRequest | None = None
    for place, deployment in enumerate(deployments):
        dialect = RERANKERS.get(deployment.dialect)
        if dialect is None:  # a route that an administrator gave a provider without reranking
            continue
        try:
            return Plan(deployments[place:], dialect.rerank_request(call, deployment))
        except BadRequest as error:
            refusal = refusal or error
    raise refusal or internal_error()


async def attempt_rerank(process: GatewayProcess, open_call: OpenCall, call: RerankCall, plan: Plan) -> RerankAnswer:
    """Ask one deployment after the other until one answers. Raises the last one's UpstreamError."""
    failure: GatewayError | None = None
    for number, deployment in enumerate(plan.deployments, start=1):
        dialect = RERANKERS.get(deployment.dialect)
        if dialect is None:
            continue
        try:
            request = plan.first if number == 1 else dialect.rerank_request(call, deployment)
        except BadRequest:  # this one can't say it: the next
            continue
        open_call.deployment = deployment
        attempt = Attempt(deployment.provider_slug, deployment.upstream_model)
        open_call.attempts.append(attempt)
        started_ns = time.monotonic_ns()
        crashpoint("before_upstream")
        try:
            answer = await ask(process, open_call.context, call, deployment, request)
            attempt.status = 200
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
    process: GatewayProcess, context: CallContext, call: RerankCall, deployment: ServedDeployment, request: UpstreamRequest
) -> RerankAnswer:
    """One attempt. Raises UpstreamError, ClientGone."""
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
