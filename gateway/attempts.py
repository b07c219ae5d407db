"""One call, asked of one candidate after the other until one answers: the loop that every surface's parent walks.

Nobody is asked twice; nobody else is asked once the first frame may leave, or where the request itself was refused. The circuit
of each who was asked hears how it went.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from gateway.calls import Attempt, Candidate, Routing, Skipped
from gateway.circuit import CLOSED, HALF_OPEN, OPEN
from gateway.errors import BadRequest, GatewayError, UpstreamError, internal_error
from tokia.crashpoints import crashpoint

if TYPE_CHECKING:
    from gateway.metering import OpenCall
    from gateway.process import GatewayProcess

R = TypeVar("R")  # what a candidate is sent
T = TypeVar("T")  # what it answers
ATTEMPTS_MAX = 4
OPEN_ATTEMPTS_MAX = 1  # of those whose circuit is open: the best of them is tried where nobody else is left


class Plan(msgspec.Struct, Generic[R]):
    """Who may be asked, in order, and the first one's request: what nobody can say is refused before money is held."""

    candidates: list[Candidate]
    first: R
    routing: Routing
    is_first_stale: bool = False  # whoever is first now would be asked something else


def prepare(candidates: list[Candidate], routing: Routing, compose: Callable[[Candidate], R]) -> Plan[R]:
    """Raises the first BadRequest where no candidate can say the call."""
    refusal: BadRequest | None = None
    for place, candidate in enumerate(candidates):
        if candidate.kinds is not None:  # only ever a fallback: not the one to say why it can't be done
            break
        try:
            return Plan(candidates[place:], compose(candidate), routing)
        except BadRequest as error:
            refusal = refusal or error
            routing.skipped = (*routing.skipped, Skipped("unsupported", candidate.route.name, candidate.deployment.provider_slug))
    raise refusal or internal_error()  # a plan always has a candidate


async def ask_in_turn(
    process: GatewayProcess,
    open_call: OpenCall,
    plan: Plan[R],
    *,
    compose: Callable[[Candidate], R],
    ask: Callable[[Candidate, R], Awaitable[T]],
) -> T:
    """Raises what the last one failed with."""
    failure: GatewayError | None = None
    failed_routes: set[str] = set()  # whose own deployments would all fail the same way
    kind = ""
    tried_open = 0
    spans_models = plan.candidates[-1].route is not plan.candidates[0].route
    budget = ATTEMPTS_MAX if open_call.context.preferences.allows_fallbacks else 1
    for place, candidate in enumerate(plan.candidates):
        route, deployment = candidate.route, candidate.deployment
        if (candidate.kinds is not None and kind not in candidate.kinds) or route.name in failed_routes:
            continue
        state = process.circuits.state(deployment)
        if state != CLOSED and not (state == HALF_OPEN and process.circuits.take_probe(deployment)):
            if tried_open >= OPEN_ATTEMPTS_MAX and failure is not None:
                continue
            state, tried_open = OPEN, tried_open + 1
        open_call.serve_by(candidate)
        try:
            request = plan.first if place == 0 and not plan.is_first_stale else compose(candidate)
        except BadRequest:  # this one can't say it: the next
            process.circuits.note_abandoned(deployment)
            continue
        attempt = Attempt(deployment.provider_slug, deployment.upstream_model)
        if spans_models:  # the record names only the one that answered
            attempt.route = route.name
        if state != CLOSED:
            attempt.circuit = state
        attempt.is_own_key = deployment.is_own_key
        open_call.attempts.append(attempt)
        open_call.context.attempts += 1
        started_ns = time.monotonic_ns()
        crashpoint("before_upstream")
        try:
            answer = await ask(candidate, request)
        except UpstreamError as error:
            attempt.status, attempt.error = error.upstream_status, error.code
            process.circuits.note_failure(deployment, error)
            process.vitals.note_failure(deployment, route.name, kind=error.kind)
            failure, kind = error, error.kind
            budget -= 1
            if kind == "refused" or budget <= 0:
                raise
            if kind in ("context_window", "content_policy"):
                failed_routes.add(route.name)
            continue
        except BaseException:
            process.circuits.note_abandoned(deployment)
            raise
        finally:
            elapsed_ns = time.monotonic_ns() - started_ns
            attempt.ms = elapsed_ns // 1_000_000
            open_call.upstream_ns += elapsed_ns
        attempt.status = 200
        if open_call.is_stream:
            attempt.first_token_ms = attempt.ms
        process.circuits.note_success(deployment, first_token_ms=attempt.first_token_ms)
        return answer
    raise failure or internal_error()
