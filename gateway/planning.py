"""From what a call names to who may be asked, in order. No waiting, no query: all of it is in memory.

A name is a model's, an alias, a virtual model's (`tokia/balanced`), or one of these with a suffix (`:floor`, `:nitro`, `:free`).
After it come the call's own `models`, then what the catalog says to fall back on. Each candidate says after which failures it may
be asked: a model's own deployments always, a virtual model's other steps and the caller's `models` after any failure, the catalog's
fallbacks after the kinds that they are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import routing as arranging
from gateway.auto import Facts, choose_rule
from gateway.calls import (
    NO_PREFERENCES,
    CallContext,
    Caller,
    Candidate,
    Preferences,
    Routing,
    ServedDeployment,
    ServedRoute,
    ServedRule,
    Skipped,
)
from gateway.catalog import Catalog, route_for, unknown_model, unusable_model
from gateway.errors import RouteNotFound, Unavailable

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

Describe = Callable[[], Facts]
_FIRST_FOUR = itemgetter(0, 1, 2, 3)
ANY_KIND: frozenset[str] = frozenset()  # may be asked whatever failed
OUTAGE = "outage"
FREE, TIER = "tokia/free", "tokia/"
SUFFIXES = {"floor": "price", "nitro": "throughput"}
SKIPPED_MAX = 20  # told of one call
ACROSS_MODELS = "chat"  # the surface whose calls may go to another model
# Of those that only hold for now: the call may be served later, or by a fallback.
PASSING = frozenset({"unserved", "credential", "own_key_only"})
SHOWN = {  # reasons in a refusal's Portuguese
    "only": "fora de provider.only", "ignore": "em provider.ignore", "data_collection": "pode treinar com os dados",
    "zdr": "guarda os dados", "max_price": "acima de provider.max_price", "too_slow": "acima do orçamento de latência",
    "unmeasured": "sem latência medida agora", "credential": "sem credencial agora", "own_key_only": "só com a sua própria chave",
    "key": "fora do que a chave pode usar", "unserved": "não é servido agora",
}  # fmt: skip


def plan_call(
    process: GatewayProcess,
    context: CallContext,
    caller: Caller,
    *,
    model: str,
    surface: str,
    describe: Describe | None = None,
    session: str = "",
    user: str = "",
) -> tuple[list[Candidate], Routing]:
    """At least one candidate, of routes that are served at this surface, priced, and allowed to the caller. `describe` tells what
    the call is like, where a rule asks; `session` is what else says that calls belong together, `user` whom an experiment knows.
    Raises RouteNotFound (404), Forbidden (403), Unavailable (503)."""
    catalog = process.snapshots.catalog.priced_for(caller)
    route = catalog.by_alias.get(model)
    is_plain = context.preferences is NO_PREFERENCES and not caller.own_keys and route is not None and route.prices is not None
    if is_plain and not (catalog.experiments and is_tried(catalog, caller, model)):
        found = plan_plainly(process, route_for(catalog, model, caller=caller, surface=surface), caller, session=session)
        if found is not None:  # as most calls are
            return found, Routing()
    return Planning(process, context.preferences, caller, surface, session=session).plan(model, describe, user)


def is_tried(catalog: Catalog, caller: Caller, model: str) -> bool:
    """An experiment runs on the name."""
    return (caller.organization_id, model) in catalog.experiments or (0, model) in catalog.experiments


def plan_plainly(process: GatewayProcess, route: ServedRoute, caller: Caller, *, session: str) -> list[Candidate] | None:
    """What `Planning` would give for a model whose caller says nothing, where every credential is well; else None. A few µs."""
    deployments = route.deployments
    if len(deployments) == 1 and not route.fallbacks:
        return [Candidate(route, deployments[0])]
    may_use, candidates = process.credentials.may_use, list[Candidate]()
    known_by = f"{caller.organization_id}\0{session}" if session else ""
    for deployment in deployments:
        if not may_use(deployment):
            return None
    if not deployments:
        return None
    ordered = deployments if len(deployments) == 1 else _order_plainly(process, deployments, known_by)
    candidates += [Candidate(route, deployment) for deployment in ordered]
    if route.surface != ACROSS_MODELS:
        return candidates
    routes = process.snapshots.catalog.priced_for(caller).routes
    for fallback in route.fallbacks:
        other = routes.get(fallback.route_name)
        if other is None or other.prices is None or other.surface != ACROSS_MODELS or not caller.may_use(other.name):
            continue
        ordered = other.deployments
        if len(ordered) > 1:
            ordered = _order_plainly(process, ordered, known_by)
        candidates += [Candidate(other, deployment, fallback.kinds) for deployment in ordered if may_use(deployment)]
    return candidates


def _order_plainly(process: GatewayProcess, deployments: Sequence[ServedDeployment], known_by: str) -> tuple[ServedDeployment, ...]:
    """As `gateway.routing.arrange` where there is no preference."""
    state, random, seed = process.circuits.state, process.rng.random, arranging.session_seed(known_by) if known_by else 0
    keyed = [
        (
            state(deployment) == arranging.OPEN,
            deployment.priority,
            arranging.race(arranging.seeded_draw(seed, deployment) if seed else random(), deployment.weight),
            deployment.circuit,
            deployment,
        )
        for deployment in deployments
    ]
    keyed.sort(key=_FIRST_FOUR)
    return tuple(key[4] for key in keyed)


class Choice(msgspec.Struct, frozen=True):
    """A model that may be asked, and after what (`Candidate.kinds`)."""

    route: ServedRoute
    kinds: frozenset[str] | None = None


class Planning:
    """One call's way from names to candidates. It is also what `gateway.routing` sees of the process."""

    def __init__(
        self, process: GatewayProcess, preferences: Preferences, caller: Caller, surface: str, *, session: str = ""
    ) -> None:
        self._process, self._caller, self._surface = process, caller, surface
        self._catalog: Catalog = process.snapshots.catalog.priced_for(caller)
        self.preferences = preferences
        session = preferences.session or session
        self._session = f"{caller.organization_id}\0{session}" if session else ""
        self.routing = Routing(session=preferences.session)
        self._skipped: list[Skipped] = []
        self._choices: dict[str, Choice] = {}  # by route
        self._rule: ServedRule | None = None
        self._takes_any_key = False

    # ── What gateway.routing asks ────────────────────────────────────────────────────────────────────────────────────
    def state(self, deployment: ServedDeployment) -> str:
        return self._process.circuits.state(deployment)

    def times(self, deployment: ServedDeployment) -> arranging.Times:
        return self._process.vitals.of(deployment.id)

    def may_use(self, deployment: ServedDeployment) -> bool:
        return self._takes_any_key or self._process.credentials.may_use(deployment)

    # ── The plan ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def plan(self, model: str, describe: Describe | None, user: str) -> tuple[list[Candidate], Routing]:
        name = self._read_suffix(model)
        if self._surface == ACROSS_MODELS:
            self._choose_arm(name, user)
        self._choose_named(name, describe)
        for place, other in enumerate(self.preferences.models):
            self._choose_other(other, param=f"models[{place}]")
        named = self._catalog.by_alias.get(name)
        if named is not None and self._surface == ACROSS_MODELS and self.preferences.allows_fallbacks:
            self._choose_fallbacks(named)
        candidates = self._candidates()
        routing = self.routing
        routing.skipped = tuple(self._skipped[:SKIPPED_MAX])
        if not candidates:
            raise self._refusal(name)
        if not routing.rule and self.preferences.models:
            routing.rule = "models"
        if routing.rule or name != model:
            routing.asked = model
        return candidates, routing

    def _read_suffix(self, model: str) -> str:
        """The name without `:floor`, `:nitro` or `:free`, where it is not a name as it is."""
        known, rules = self._catalog.by_alias, self._catalog.rules
        if model in known or model in rules or ":" not in model:
            return model
        name, _, suffix = model.rpartition(":")
        if name not in known and name not in rules:
            return model
        if suffix in SUFFIXES:
            self.preferences = msgspec.structs.replace(self.preferences, sort=SUFFIXES[suffix])
            return name
        if suffix == "free" and FREE in rules:
            self.routing.why = (f"':free' pede {FREE}",)
            return FREE
        return model

    # ── Models ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _choose_arm(self, name: str, user: str) -> None:
        """Where an experiment runs on the name: its arm first, what was named as its fallback. The same session, or else the same
        user, always meets the same arm. A key that may not use every arm's model stays out: all arms meet the same callers."""
        found = self._catalog.experiments
        if not found:
            return
        experiment = found.get((self._caller.organization_id, name)) or found.get((0, name))
        if experiment is None or not experiment.arms or not all(self._caller.may_use(arm.route_name) for arm in experiment.arms):
            return
        known_by = self._session or (f"{self._caller.organization_id}\0{user}" if user else "")
        draw = arranging.hash_draw(f"{experiment.id}\0{known_by}") if known_by else self._process.rng.random()
        arm = experiment.arms[arranging.choose_weighted([arm.weight for arm in experiment.arms], draw)]
        route = self._catalog.routes.get(arm.route_name)
        if route is None or not self._is_served(route):
            return
        self._choices[route.name] = Choice(route)
        routing = self.routing
        routing.rule, routing.experiment, routing.arm, routing.arm_id = "experiment", experiment.name, arm.label, arm.id

    def _choose_named(self, name: str, describe: Describe | None) -> None:
        """Raises RouteNotFound, Forbidden, Unavailable."""
        rule = self._catalog.rules.get(name)
        if rule is not None and name not in self._catalog.by_alias:
            self._choose_rule(rule, describe, param="model")
            return
        try:
            route = route_for(self._catalog, name, caller=self._caller, surface=self._surface)
        except Unavailable:
            route = self._catalog.by_alias[name]
            if not (self._choices or route.fallbacks or self.preferences.models):
                raise
        self._add(route, ANY_KIND if self._choices else None)

    def _choose_rule(self, rule: ServedRule, describe: Describe | None, *, param: str) -> None:
        if self._surface != ACROSS_MODELS:
            raise unusable_model(rule.name, param=param)
        steps = self._steps_of(rule, describe)
        may_use_all = self._caller.may_use(rule.name)
        refused = ""
        is_first = not self._choices
        for name in steps:
            route = self._catalog.routes.get(name)
            if route is None:
                continue
            if may_use_all or self._caller.may_use(name):
                self._add(route, None if is_first else ANY_KIND)
                is_first = False
            else:
                refused = refused or name
                self._skip("key", route)
        if refused and is_first:
            route_for(self._catalog, refused, caller=self._caller, surface=self._surface)  # raises Forbidden
        if param == "model":
            self._rule = rule
            if not self.routing.rule:
                self.routing.rule = rule.name

    def _steps_of(self, rule: ServedRule, describe: Describe | None) -> list[str]:
        """Names of models: those whose condition holds, then the others."""
        if rule.policy != "auto":
            return _ordered(rule, self.preferences)
        why: tuple[str, ...]
        if self.preferences.quality:
            chosen, why = TIER + self.preferences.quality, (f"quality: {self.preferences.quality}",)
        else:
            chosen, why = choose_rule(describe() if describe is not None else Facts(0))
        self.routing.why = (chosen, *why)
        picked = self._catalog.rules.get(chosen)
        steps = _ordered(picked, self.preferences) if picked is not None and picked.policy != "auto" else []
        return list(dict.fromkeys([*steps, *_ordered(rule, self.preferences)]))

    def _choose_other(self, name: str, *, param: str) -> None:
        """One of the caller's `models`. Raises RouteNotFound, Forbidden."""
        rule = self._catalog.rules.get(name)
        if rule is not None and name not in self._catalog.by_alias:
            self._choose_rule(rule, None, param=param)
            return
        try:
            self._add(route_for(self._catalog, name, caller=self._caller, surface=self._surface, param=param), ANY_KIND)
        except Unavailable:
            self._skip("unserved", self._catalog.by_alias[name])

    def _choose_fallbacks(self, named: ServedRoute) -> None:
        for fallback in named.fallbacks:
            route = self._catalog.routes.get(fallback.route_name)
            if route is None or not fallback.kinds:
                continue
            if self._caller.may_use(route.name):
                self._add(route, fallback.kinds)
            else:
                self._skip("key", route)

    def _add(self, route: ServedRoute, kinds: frozenset[str] | None) -> None:
        """The first mention of a model counts."""
        if route.name in self._choices:
            return
        if self._is_served(route):
            self._choices[route.name] = Choice(route, kinds)
        else:
            self._skip("unserved", route)

    def _is_served(self, route: ServedRoute) -> bool:
        return route.prices is not None and bool(route.deployments) and route.surface == self._surface

    def _skip(self, reason: str, route: ServedRoute) -> None:
        self._skipped.append(Skipped(reason, route.name))

    # ── Deployments ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _candidates(self) -> list[Candidate]:
        """Where nobody has a credential that is well, those that are ill are asked after all, behind the fallbacks: a provider that
        refused a key by mistake is found out, and our own count of its minute has the last word."""
        candidates = self._gather(self._skipped)
        if candidates and not candidates[0].kinds:
            return candidates
        promoted = self._promote(candidates)
        self._takes_any_key = True
        return promoted + [candidate for candidate in self._gather([]) if not candidate.kinds]

    def _gather(self, skipped: list[Skipped]) -> list[Candidate]:
        candidates: list[Candidate] = []
        preferences = self.preferences
        for choice in self._choices.values():
            route, deployments = choice.route, choice.route.deployments
            if self._caller.own_keys:
                deployments = tuple(arranging.with_own_keys(route, deployments, self._caller.own_keys, skipped=skipped))
            found = arranging.arrange(
                route, deployments, preferences, signs=self, rng=self._process.rng, session=self._session, skipped=skipped
            )
            if not preferences.allows_fallbacks:
                found = found[:1]
            candidates += [Candidate(route, deployment, choice.kinds) for deployment in found]
        if self._rule is not None and (preferences.sort or preferences.budget is not None) and not self.routing.arm:
            candidates = self._rank_models(candidates)
        return candidates

    def _rank_models(self, candidates: list[Candidate]) -> list[Candidate]:
        """A virtual model's steps are one model to whoever sorts it: the fitting ones first, by what it is sorted by."""
        preferences = self.preferences

        def key(candidate: Candidate) -> tuple[Any, ...]:
            times = self.times(candidate.deployment)
            is_slow = preferences.budget is not None and arranging.fit_of(times, preferences.budget) == arranging.SLOW
            metric = arranging.metric_of(preferences.sort, times)
            if preferences.sort == "price":
                metric = arranging.blend(candidate.prices)
            return (candidate.deployment.is_own_key is False, metric, is_slow)

        return sorted(candidates, key=key)

    def _promote(self, candidates: list[Candidate]) -> list[Candidate]:
        """Where the model that was named has nobody, its fallbacks are for outages; but not where its caller excluded all."""
        if any(skipped.reason not in PASSING and skipped.provider for skipped in self._skipped):
            return []
        return [candidate for candidate in candidates if candidate.kinds is not None and OUTAGE in candidate.kinds]

    def _refusal(self, name: str) -> RouteNotFound | Unavailable:
        told = list(dict.fromkeys((skipped.provider or skipped.route, skipped.reason) for skipped in self._skipped))[:SKIPPED_MAX]
        if not told:
            return unknown_model(name)
        if all(reason in PASSING for _, reason in told):
            return Unavailable(
                f"O modelo '{name[:100]}' não pode ser servido agora. Tente de novo em instantes.",
                f"The model '{name[:100]}' can't be served now. Try again in a moment.",
                param="model", code="no_provider_available", retry_after_seconds=5,
            )  # fmt: skip
        portuguese = "; ".join(f"{who}: {SHOWN.get(reason, reason)}" for who, reason in told)
        english = "; ".join(f"{who}: {arranging.REASONS[reason]}" for who, reason in told)
        return RouteNotFound(
            f"Nenhum provedor de '{name[:100]}' atende às suas preferências ({portuguese}).",
            f"No provider of '{name[:100]}' meets your preferences ({english}).",
            param="provider", code="no_allowed_provider",
        )  # fmt: skip


def _ordered(rule: ServedRule, preferences: Preferences) -> list[str]:
    """The steps whose condition holds, in order, then those whose does not: a step for short budgets is only ever a fallback
    without one."""
    budget = preferences.budget
    limit = (budget.total_ms or budget.first_token_ms) if budget is not None else 0
    holds: list[str] = []
    others: list[str] = []
    for step in rule.steps:
        is_met = step.budget_below_ms is None or 0 < limit < step.budget_below_ms
        (holds if is_met else others).append(step.route_name)
    return holds + others


def route_named(process: GatewayProcess, caller: Caller, model: str, *, surface: str) -> ServedRoute:
    """The model that would be asked first, for what is only counted or checked. Raises as `plan_call`."""
    route = process.snapshots.catalog.by_alias.get(model)
    if route is not None and route.deployments:
        return route_for(process.snapshots.catalog, model, caller=caller, surface=surface)
    candidates, _ = plan_call(process, CallContext(id="", started_ns=0), caller, model=model, surface=surface)
    return candidates[0].route


def route_alone(process: GatewayProcess, caller: Caller, model: str, context: CallContext | None) -> ServedRoute | None:
    """The one model that can serve a chat call; None where it may be another than its name says."""
    catalog = process.snapshots.catalog
    route = catalog.by_alias.get(model)
    if route is None or not route.deployments or (context is not None and context.preferences.models):
        return None
    return None if route.fallbacks or is_tried(catalog, caller, model) else route
