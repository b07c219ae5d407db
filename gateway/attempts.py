"""One call, asked of one candidate after the other until one answers: the loop that every surface's parent walks.

Nobody is asked twice, and nobody else once the first frame may leave. What a model refuses of the request itself, its other
deployments are not asked; another model of the caller's own list may be. The circuit of each who was asked hears how it went.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from gateway.calls import Attempt, Candidate, Routing, Skipped
from gateway.circuit import CLOSED, HALF_OPEN, OPEN, Circuits
from gateway.credentials import minute_used_up, own_key_refused
from gateway.errors import BadRequest, GatewayError, UpstreamError, internal_error
from tokia.crashpoints import crashpoint

if TYPE_CHECKING:
    from gateway.metering import OpenCall
    from gateway.process import GatewayProcess

R = TypeVar("R")  # what a candidate is sent
T = TypeVar("T")  # what it answers
ATTEMPTS_MAX = 4
LAST_RESORTS = (CLOSED, HALF_OPEN, OPEN)  # closed: by another call, while this one waited
OUTAGE, CREDENTIAL = "outage", "credential"
OF_THE_CALL = frozenset({"context_window", "content_policy", "refused"})  # every deployment of the model would say the same


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
        if candidate.kinds and candidate.route is not candidates[0].route:  # for failures only: the model itself can't do it
            break
        try:
            return Plan(candidates[place:], compose(candidate), routing)
        except BadRequest as error:
            refusal = refusal or error
            routing.skipped = (*routing.skipped, Skipped("unsupported", candidate.route.name, candidate.deployment.provider_slug))
    raise refusal or internal_error()  # a plan always has a candidate


def note_cut(process: GatewayProcess, open_call: OpenCall, error: GatewayError) -> None:
    """An answer that had begun broke: nobody else can be asked any more, but it is the provider's failure all the same."""
    if isinstance(error, UpstreamError) and (deployment := open_call.deployment) is not None:
        process.circuits.note_failure(deployment, error)
        process.vitals.note_failure(deployment, open_call.route.name, kind=error.kind)


async def ask_in_turn(
    process: GatewayProcess,
    open_call: OpenCall,
    plan: Plan[R],
    *,
    compose: Callable[[Candidate], R],
    ask: Callable[[Candidate, R], Awaitable[T]],
) -> T:
    """Raises what the last one failed with, with all that were asked before it."""
    turns = Turns(plan.candidates)
    open_call.has_others = turns.has_after
    spans_models = plan.candidates[-1].route is not plan.candidates[0].route
    failure: UpstreamError | None = None
    while (candidate := turns.take(process.circuits)) is not None:
        route, deployment = candidate.route, candidate.deployment
        if not process.credentials.spend(deployment):  # its credential's minute went while the call was prepared
            process.circuits.note_abandoned(deployment)
            failure = failure or minute_used_up()
            turns.note_unasked(failure.kind)
            continue
        try:
            request = plan.first if candidate is plan.candidates[0] and not plan.is_first_stale else compose(candidate)
        except BadRequest:  # this one can't say it: the next
            process.circuits.note_abandoned(deployment)
            skipped = Skipped("unsupported", route.name, deployment.provider_slug)
            plan.routing.skipped = (*plan.routing.skipped, skipped)
            continue
        open_call.serve_by(candidate)
        attempt = Attempt(deployment.provider_slug, deployment.upstream_model, is_own_key=deployment.is_own_key)
        if spans_models:  # the record names only the one that answered
            attempt.route = route.name
        if turns.state != CLOSED:
            attempt.circuit = turns.state
        open_call.attempts.append(attempt)
        open_call.context.attempts += 1
        resends = open_call.context.resends
        started_ns = time.monotonic_ns()
        crashpoint("before_upstream")
        try:
            answer = await ask(candidate, request)
        except UpstreamError as error:
            attempt.status, attempt.error = error.upstream_status, error.code
            process.circuits.note_failure(deployment, error)
            process.vitals.note_failure(deployment, route.name, kind=error.kind)
            failure = error
            if error.upstream_status:
                process.credentials.note_limits(deployment.credential_id, open_call.context.upstream_headers)
            if error.kind == CREDENTIAL:
                process.credentials.note_refused(deployment.credential_id, str(error.upstream_status))
                if deployment.is_own_key:
                    failure = own_key_refused(deployment, error)
                    attempt.error = failure.code
            if turns.note_failure(candidate, error.kind):
                continue
            break
        except BaseException:
            process.circuits.note_abandoned(deployment)
            raise
        finally:
            elapsed_ns = time.monotonic_ns() - started_ns
            attempt.ms = elapsed_ns // 1_000_000
            attempt.is_resent = open_call.context.resends > resends
            open_call.upstream_ns += elapsed_ns
        attempt.status = 200
        if open_call.is_stream:
            attempt.first_token_ms = attempt.ms
        process.circuits.note_success(deployment, first_token_ms=attempt.first_token_ms)
        process.credentials.note_answer(deployment.credential_id, open_call.context.upstream_headers)
        if spans_models and not open_call.routing.rule and route is not plan.candidates[0].route:
            open_call.routing.rule, open_call.routing.asked = "fallback", plan.candidates[0].route.name
        return answer
    if failure is None:
        raise internal_error()
    if len(open_call.attempts) > 1:
        failure.previous_errors = [told_of(attempt, plan) for attempt in open_call.attempts[:-1]]
    raise failure


class Turns:
    """Whose turn it is, and who is left.

    Those whose circuit is open, or half-open with another call trying it, wait until nobody else is left; then they are asked
    after all, the half-open first: who has just recovered may be among them, and a customer is not turned away for a guess. A
    fallback's turn comes with a failure that it is for; that its model's own deployments are all open is an outage too."""

    __slots__ = ("_context_tokens", "_first", "_left", "_out", "_seen", "_waiting", "asked", "state")

    def __init__(self, candidates: list[Candidate]) -> None:
        self._left = candidates[:]
        self._first = candidates[0].route
        self._waiting: list[Candidate] = []  # for want of a closed circuit
        self._out: set[str] = set()  # routes whose deployments would all fail the same way
        self._seen: set[str] = set()  # kinds of failure
        self._context_tokens = 0  # that were too few
        self.asked = 0
        self.state = CLOSED  # the circuit of the one that `take` gave

    def take(self, circuits: Circuits) -> Candidate | None:
        """The next one; None where nobody may be asked any more."""
        while (candidate := self._pop(self._left)) is not None:
            self.state = circuits.state(candidate.deployment)
            if self.state == CLOSED or (self.state == HALF_OPEN and circuits.take_probe(candidate.deployment)):
                return candidate
            self._waiting.append(candidate)
            self._seen.add(OUTAGE)
        if len(self._waiting) > 1:
            self._waiting.sort(key=lambda candidate: LAST_RESORTS.index(circuits.state(candidate.deployment)))
        candidate = self._pop(self._waiting)
        if candidate is not None:
            self.state = circuits.state(candidate.deployment)
            if self.state == HALF_OPEN:
                circuits.take_probe(candidate.deployment)  # asked in either case
        return candidate

    def _pop(self, candidates: list[Candidate]) -> Candidate | None:
        for place, candidate in enumerate(candidates):
            if self._may_ask(candidate):
                del candidates[place]
                return candidate
        return None

    def _may_ask(self, candidate: Candidate) -> bool:
        route, kinds = candidate.route, candidate.kinds
        if route.name in self._out:
            return False
        if route is self._first or kinds is None:
            return True
        if not (self._seen if not kinds else self._seen & kinds):
            return False
        return route.context_tokens > self._context_tokens

    def note_unasked(self, kind: str) -> None:
        """What kept the one that `take` gave from being asked."""
        self._seen.add(kind)

    def note_failure(self, candidate: Candidate, kind: str) -> bool:
        """Whether anybody else may be asked."""
        self.asked += 1
        self._seen.add(OUTAGE if kind == CREDENTIAL else kind)
        if kind in OF_THE_CALL:
            self._out.add(candidate.route.name)
        if kind == "context_window":
            self._context_tokens = max(self._context_tokens, candidate.route.context_tokens)
        return self.asked < ATTEMPTS_MAX

    def has_after(self, kind: str) -> bool:
        """Whether somebody is left for whom a failure of this kind would be enough."""
        return self.asked + 1 < ATTEMPTS_MAX and any(
            candidate.route.name not in self._out
            and (not candidate.kinds or kind in candidate.kinds or candidate.route is self._first)
            for candidate in (*self._left, *self._waiting)
        )


def told_of(attempt: Attempt, plan: Plan[Any]) -> dict[str, Any]:
    """A failed attempt, as the caller is told of it."""
    model = attempt.route or plan.candidates[0].route.name
    return {"provider": attempt.provider, "model": model, "code": attempt.error, "status": attempt.status}
