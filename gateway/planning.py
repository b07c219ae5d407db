"""From what a call names to who may be asked, in order. No waiting, no query: all of it is in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from billing.pricing import PriceList
from gateway.attempts import Plan
from gateway.calls import CallContext, Caller, Candidate, Routing, ServedRoute, Skipped
from gateway.catalog import route_for
from gateway.metering import Bound
from gateway.routing import attempt_order

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

Describe = Callable[[], Any]


def plan_call(
    process: GatewayProcess, context: CallContext, caller: Caller, *, model: str, surface: str, describe: Describe | None = None
) -> tuple[list[Candidate], Routing]:
    """At least one candidate, of routes that are served at this surface, priced, and allowed to the caller. `describe` tells what
    the call is like, where a rule asks. Raises RouteNotFound (404), Forbidden (403), Unavailable (503)."""
    route = route_for(process.snapshots.catalog, model, caller=caller, surface=surface)
    return [Candidate(route, deployment) for deployment in attempt_order(route.deployments, process.rng)], Routing()


def routes_of(candidates: Sequence[Candidate], *, is_batch: bool = False) -> list[tuple[ServedRoute, PriceList]]:
    """The models among them, each with what it may cost at most: our price, unless only the caller's own keys serve it."""
    found: dict[str, tuple[ServedRoute, PriceList]] = {}
    for candidate in candidates:
        name = candidate.route.name
        if name not in found or not candidate.deployment.is_own_key:
            prices = candidate.prices
            found[name] = (candidate.route, prices.scaled() if is_batch else prices)
    return list(found.values())


def keep_affordable(plan: Plan[Any], bounds: Sequence[Bound]) -> None:
    """Leave out the models that the balance did not cover."""
    kept = {bound.route.name for bound in bounds}
    dropped = {candidate.route.name for candidate in plan.candidates} - kept
    if dropped:
        plan.routing.skipped = (*plan.routing.skipped, *(Skipped("balance", name) for name in sorted(dropped)))
        first = plan.candidates[0]
        plan.candidates = [candidate for candidate in plan.candidates if candidate.route.name in kept]
        plan.is_first_stale = plan.is_first_stale or plan.candidates[0] is not first
