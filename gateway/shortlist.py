"""Who is left of a plan once it is known how long the call is, and what the balance covers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from billing.pricing import PriceList
from gateway.calls import Candidate, Routing, ServedRoute, Skipped

if TYPE_CHECKING:
    from gateway.attempts import Plan
    from gateway.metering import Bound

CONTEXT = "context_window"


def routes_of(candidates: Sequence[Candidate], *, is_batch: bool = False) -> list[tuple[ServedRoute, PriceList]]:
    """The models among them, each with what it may cost at most: our price, unless only the caller's own keys serve it."""
    if len(candidates) == 1:  # as most plans are
        prices = candidates[0].prices
        return [(candidates[0].route, prices.scaled() if is_batch else prices)]
    found: dict[str, tuple[ServedRoute, PriceList]] = {}
    for candidate in candidates:
        name = candidate.route.name
        if name not in found or not candidate.deployment.is_own_key:
            prices = candidate.prices
            found[name] = (candidate.route, prices.scaled() if is_batch else prices)
    return list(found.values())


def leave_out_small(candidates: list[Candidate], routing: Routing, tokens: int) -> list[Candidate]:
    """Those into whose context so many tokens go; all, where that is nobody: they will say it themselves."""
    fitting = [candidate for candidate in candidates if candidate.route.context_tokens > tokens]
    if not fitting or not any(not candidate.kinds or CONTEXT in candidate.kinds for candidate in fitting):
        return candidates
    small = dict.fromkeys(candidate.route.name for candidate in candidates if candidate.route.context_tokens <= tokens)
    routing.skipped = (*routing.skipped, *(Skipped("context_window", name) for name in small))
    return [candidate for candidate in fitting if not candidate.kinds or CONTEXT in candidate.kinds]


def keep_affordable(plan: Plan[Any], bounds: Sequence[Bound], *, shortage: str = "balance") -> None:
    """Leave out the models that the balance, or a budget, did not cover."""
    kept = {bound.route.name for bound in bounds}
    dropped = {candidate.route.name for candidate in plan.candidates} - kept
    if dropped:
        plan.routing.skipped = (*plan.routing.skipped, *(Skipped(shortage, name) for name in sorted(dropped)))
        first = plan.candidates[0]
        plan.candidates = [candidate for candidate in plan.candidates if candidate.route.name in kept]
        plan.is_first_stale = plan.is_first_stale or plan.candidates[0] is not first
