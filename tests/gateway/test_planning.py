"""From names to candidates: aliases, suffixes, virtual models, the caller's `models`, fallbacks, experiments, own keys."""

from __future__ import annotations

import random
import timeit
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from billing.money import BRL
from gateway.attempts import Plan, Turns
from gateway.auto import Facts
from gateway.calls import (
    CallContext,
    Caller,
    Candidate,
    LatencyBudget,
    Preferences,
    Routing,
    ServedArm,
    ServedExperiment,
    ServedFallback,
    ServedOwnKey,
    ServedRoute,
    ServedRule,
    ServedStep,
    Skipped,
)
from gateway.catalog import Catalog
from gateway.errors import BadRequest, Forbidden, RouteNotFound, Unavailable
from gateway.metering import Bound
from gateway.planning import plan_call, route_alone, route_named
from gateway.process import GatewayProcess
from gateway.shortlist import keep_affordable, leave_out_small
from gateway.vitals import Measured
from tests.gateway.test_routing import Told, make_deployment, make_prices, make_route

OUTAGE = frozenset({"outage"})
CALLER = Caller(
    api_key_id=1, organization_id=7, wallet_id=1, label="t", allowed_routes=frozenset(), requests_per_minute=60, expires_at=None,
    is_revoked=False, is_suspended=False,
)  # fmt: skip
SONNET, MINI, DEEP, FLASH = "anthropic/sonnet", "openai/mini", "deepseek/v4", "google/flash"


def route(number: int, name: str, slug: str, **fields: Any) -> ServedRoute:
    return make_route(make_deployment(number, slug), name=name, **fields)


def rule(name: str, *steps: str | tuple[str, int], policy: str = "list") -> ServedRule:
    served = tuple(ServedStep(step, None) if isinstance(step, str) else ServedStep(*step) for step in steps)
    return ServedRule(name=name, display_name=name, description="", policy=policy, steps=served, created=0)


class World:
    """A catalog in memory, and the process around it."""

    def __init__(self, *routes: ServedRoute, rules: tuple[ServedRule, ...] = (), **aliases: str) -> None:
        found = {served.name: served for served in (*self.usual(), *routes)}
        by_alias = found | {alias: found[name] for alias, name in aliases.items()}
        usual = (
            rule("tokia/premium", SONNET, MINI), rule("tokia/balanced", (MINI, 2_000), DEEP, FLASH),
            rule("tokia/fast", FLASH, MINI), rule("tokia/free", DEEP), rule("tokia/auto", MINI, policy="auto"),
        )  # fmt: skip
        self.told = Told()
        self.experiments: dict[tuple[int, str], ServedExperiment] = {}
        catalog = Catalog(found, by_alias, rules={one.name: one for one in (*usual, *rules)}, experiments=self.experiments)
        self.process = cast(
            GatewayProcess,
            SimpleNamespace(
                snapshots=SimpleNamespace(catalog=catalog), rng=random.Random(3), circuits=self.told, credentials=self.told,
                vitals=SimpleNamespace(of=lambda number: self.told.measured.get(number, Measured())),
            ),
        )  # fmt: skip

    @staticmethod
    def usual() -> list[ServedRoute]:
        return [
            route(1, SONNET, "anthropic", prices=make_prices(input_brl=90, output_brl=400)), route(2, MINI, "openai"),
            route(3, DEEP, "deepseek", prices=make_prices(input_brl=2, output_brl=4)), route(4, FLASH, "google"),
        ]  # fmt: skip

    def plan(self, model: str, *, caller: Caller = CALLER, surface: str = "chat", facts: Facts | None = None, session: str = "",
             user: str = "", **preferences: Any) -> tuple[list[Candidate], Routing]:  # fmt: skip
        context = CallContext(id="x", started_ns=0)
        if preferences:
            context.preferences = Preferences(**preferences)
        describe = (lambda: facts) if facts is not None else None
        return plan_call(self.process, context, caller, model=model, surface=surface, describe=describe, session=session, user=user)

    def names(self, model: str, **given: Any) -> list[str]:
        return [candidate.route.name for candidate in self.plan(model, **given)[0]]


def limited_to(*names: str) -> Caller:
    return Caller(**{**{f: getattr(CALLER, f) for f in Caller.__slots__}, "allowed_routes": frozenset(names)})


def with_keys(*keys: ServedOwnKey) -> Caller:
    return Caller(**{**{f: getattr(CALLER, f) for f in Caller.__slots__}, "own_keys": keys})


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_plain_name_is_its_model_and_nothing_is_told() -> None:
    candidates, routing = World(gpt=MINI).plan("gpt")
    assert [(candidate.route.name, candidate.kinds) for candidate in candidates] == [(MINI, None)]
    assert routing.is_plain


def test_floor_sorts_by_price_and_nitro_by_speed() -> None:
    two = make_route(make_deployment(8, "groq"), make_deployment(9, "together"), name="meta/llama")
    world = World(two)
    world.told.measured = {8: Measured(tokens_per_second=10), 9: Measured(tokens_per_second=90)}
    candidates, routing = world.plan("meta/llama:nitro")
    assert [candidate.deployment.id for candidate in candidates] == [9, 8]
    assert routing.asked == "meta/llama:nitro"
    assert world.names("tokia/premium:floor") == [MINI, SONNET]
    with pytest.raises(RouteNotFound):
        world.plan("meta/llama:fast")


def test_free_is_the_free_virtual_model() -> None:
    candidates, routing = World().plan(f"{MINI}:free")
    assert (candidates[0].route.name, routing.rule) == (DEEP, "tokia/free")


def test_a_name_with_a_colon_of_its_own_is_found_as_it_is() -> None:
    assert World(route(8, "x/y:floor", "groq")).names("x/y:floor") == ["x/y:floor"]


# ── Virtual models ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (None, [DEEP, FLASH, MINI]),
        (LatencyBudget(total_ms=1_999), [MINI, DEEP, FLASH]),
        (LatencyBudget(first_token_ms=500), [MINI, DEEP, FLASH]),
        (LatencyBudget(total_ms=2_000), [DEEP, FLASH, MINI]),
    ],
)
def test_the_first_step_whose_condition_holds_is_asked_first(budget: LatencyBudget | None, expected: list[str]) -> None:
    wanted: dict[str, Any] = {"budget": budget} if budget else {}
    candidates, routing = World().plan("tokia/balanced", **wanted)
    assert [candidate.route.name for candidate in candidates] == expected
    assert (routing.rule, routing.asked) == ("tokia/balanced", "tokia/balanced")
    assert [candidate.kinds for candidate in candidates][1:] == [frozenset(), frozenset()]  # after whatever failed


def test_a_strict_budget_excludes_by_what_was_measured_and_a_lenient_one_prefers() -> None:
    world = World()
    world.told.measured = {2: Measured(total_p50_ms=900), 3: Measured(total_p50_ms=4_000)}  # the fourth is not measured
    assert world.names("tokia/balanced", budget=LatencyBudget(total_ms=2_500, is_strict=True)) == [MINI]
    assert world.names("tokia/balanced", budget=LatencyBudget(total_ms=2_500)) == [FLASH, MINI, DEEP]
    with pytest.raises(RouteNotFound) as refused:
        world.plan("tokia/balanced", budget=LatencyBudget(total_ms=100, is_strict=True))
    assert refused.value.code == "no_allowed_provider"
    assert "deepseek" in refused.value.message


def test_auto_reads_the_call_and_says_why() -> None:
    candidates, routing = World().plan("tokia/auto", facts=Facts(50_000, has_code=True))
    assert [candidate.route.name for candidate in candidates] == [SONNET, MINI]
    assert (routing.rule, routing.why) == ("tokia/auto", ("tokia/premium", "código longo"))
    candidates, routing = World().plan("tokia/auto", facts=Facts(50_000, has_code=True), quality="fast")
    assert (candidates[0].route.name, routing.why) == (FLASH, ("tokia/fast", "quality: fast"))


def test_a_step_without_price_or_deployment_is_passed_over() -> None:
    world = World(route(1, SONNET, "anthropic", prices=None))
    candidates, routing = world.plan("tokia/premium")
    assert [candidate.route.name for candidate in candidates] == [MINI]
    assert routing.skipped == (Skipped("unserved", SONNET),)


def test_virtual_models_are_of_chat_only() -> None:
    with pytest.raises(RouteNotFound):
        World().plan("tokia/fast", surface="embeddings")


def test_a_key_that_may_use_the_name_may_use_all_of_it_and_one_of_models_only_those() -> None:
    assert World().names("tokia/premium", caller=limited_to("tokia/premium")) == [SONNET, MINI]
    candidates, routing = World().plan("tokia/premium", caller=limited_to(MINI))
    assert [candidate.route.name for candidate in candidates] == [MINI]
    assert routing.skipped == (Skipped("key", SONNET),)
    with pytest.raises(Forbidden):
        World().plan("tokia/premium", caller=limited_to(DEEP))


# ── The caller's models, and fallbacks ───────────────────────────────────────────────────────────────────────────────
def test_models_follow_in_order_once_each_after_any_failure() -> None:
    candidates, routing = World().plan(MINI, models=(MINI, "tokia/fast", DEEP, FLASH))
    assert [candidate.route.name for candidate in candidates] == [MINI, FLASH, DEEP]
    assert [candidate.kinds for candidate in candidates] == [None, frozenset(), frozenset()]
    assert (routing.rule, routing.asked) == ("models", MINI)


@pytest.mark.parametrize(
    ("models", "caller", "error", "param"),
    [
        (("x/unknown",), CALLER, RouteNotFound, "models[0]"),
        ((DEEP, "tokia/nothing"), CALLER, RouteNotFound, "models[1]"),
        ((DEEP,), limited_to(MINI), Forbidden, "models[0]"),
    ],
)
def test_an_unknown_or_forbidden_one_is_refused_by_its_path(
    models: tuple[str, ...], caller: Caller, error: type[Exception], param: str
) -> None:
    with pytest.raises(error) as refused:
        World().plan(MINI, models=models, caller=caller)
    assert cast(BadRequest, refused.value).param == param


FALLING = (ServedFallback(DEEP, OUTAGE), ServedFallback(FLASH, frozenset({"rate_limit"})), ServedFallback("gone/model", OUTAGE))


def test_the_catalogs_fallbacks_come_last_for_their_kinds() -> None:
    world = World(route(2, MINI, "openai", fallbacks=FALLING))
    candidates, routing = world.plan(MINI, models=(SONNET,))
    assert [(c.route.name, c.kinds) for c in candidates] == [
        (MINI, None), (SONNET, frozenset()), (DEEP, OUTAGE), (FLASH, frozenset({"rate_limit"})),
    ]  # fmt: skip
    candidates, routing = world.plan(MINI)
    assert len(candidates) == 3
    assert routing.is_plain  # nothing happened yet
    assert world.names(MINI, allows_fallbacks=False) == [MINI]
    assert world.names(MINI, caller=limited_to(MINI, FLASH)) == [MINI, FLASH]


@pytest.mark.parametrize("state", ["no deployment", "no price"])
def test_fallbacks_for_outages_serve_a_model_that_has_nobody(state: str) -> None:
    nobody = (
        make_route(name=MINI, fallbacks=FALLING)
        if state == "no deployment"
        else route(2, MINI, "openai", prices=None, fallbacks=FALLING)
    )
    candidates, routing = World(nobody).plan(MINI)
    assert [candidate.route.name for candidate in candidates] == [DEEP]
    assert Skipped("unserved", MINI) in routing.skipped
    with pytest.raises((Unavailable, RouteNotFound)):
        World(make_route(name=MINI)).plan(MINI)


def test_ill_credentials_come_behind_the_fallbacks_and_alone_they_are_tried() -> None:
    world = World(route(2, MINI, "openai", fallbacks=FALLING))
    world.told.refused = {2}
    candidates, routing = world.plan(MINI)
    assert [candidate.route.name for candidate in candidates] == [DEEP, MINI]
    assert routing.skipped == (Skipped("credential", MINI, "openai"),)
    world = World()
    world.told.refused = {2}
    assert world.names(MINI) == [MINI]


def test_no_fallback_answers_where_the_caller_excluded_all() -> None:
    world = World(route(2, MINI, "openai", fallbacks=FALLING))
    for given in ({"ignore": frozenset({"openai"})}, {"only": frozenset({"azure"})}, {"max_price": {"input": BRL}}):
        with pytest.raises(RouteNotFound) as refused:
            world.plan(MINI, **given)
        assert (refused.value.code, refused.value.status) == ("no_allowed_provider", 404)
        assert "openai" in refused.value.message
    assert world.names(MINI, only=frozenset({"deepseek"}), models=(DEEP,)) == [DEEP]  # the caller's own list may


def test_other_surfaces_stay_with_the_model_they_name() -> None:
    embedder = route(8, "x/embed", "openai", surface="embeddings", fallbacks=(ServedFallback(DEEP, OUTAGE),))
    assert World(embedder).names("x/embed", surface="embeddings") == ["x/embed"]


# ── Experiments ──────────────────────────────────────────────────────────────────────────────────────────────────────
def experiment(model: str = MINI, organization: int = 7, weights: tuple[int, int] = (70, 30)) -> dict[Any, ServedExperiment]:
    arms = (ServedArm(1, "A", DEEP, weights[0]), ServedArm(2, "B", FLASH, weights[1]))
    return {(organization, model): ServedExperiment(5, "Teste", arms)}


def test_an_arm_comes_first_and_the_model_asked_is_its_fallback() -> None:
    world = World()
    world.experiments |= experiment(weights=(1, 1_000_000))
    candidates, routing = world.plan(MINI, session="s")
    assert [(c.route.name, c.kinds) for c in candidates] == [(FLASH, None), (MINI, frozenset())]
    assert (routing.rule, routing.experiment, routing.arm, routing.arm_id, routing.asked) == ("experiment", "Teste", "B", 2, MINI)


@pytest.mark.parametrize("by", ["session", "user", "nothing"])
def test_arms_are_split_by_weight_and_the_same_caller_meets_the_same_one(by: str) -> None:
    world = World()
    world.experiments |= experiment(organization=0)
    arms: Counter[int] = Counter()
    for number in range(2_000):
        known: dict[str, Any] = {} if by == "nothing" else {by: f"known-{number}"}
        _, routing = world.plan(MINI, **known)
        arms[routing.arm_id] += 1
        if known:
            assert world.plan(MINI, **known)[1].arm_id == routing.arm_id
    assert abs(arms[1] / 2_000 - 0.7) < 0.05


def test_the_organizations_own_experiment_comes_before_the_platforms() -> None:
    world = World()
    world.experiments |= {(0, MINI): ServedExperiment(4, "Nosso", (ServedArm(9, "A", FLASH, 1),))} | experiment()
    assert world.plan(MINI)[1].experiment == "Teste"


def test_a_key_that_may_not_use_the_arm_stays_with_what_it_asked() -> None:
    world = World()
    world.experiments |= experiment()
    candidates, routing = world.plan(MINI, caller=limited_to(MINI))
    assert [candidate.route.name for candidate in candidates] == [MINI]
    assert routing.is_plain


def test_experiments_run_on_virtual_models_too() -> None:
    world = World()
    world.experiments |= experiment("tokia/premium", weights=(1_000_000, 1))
    assert world.names("tokia/premium", user="u") == [DEEP, SONNET, MINI]


# ── Own keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("use", "expected"), [("first", [-3, 2]), ("failover", [2, -3]), ("only", [-3])])
def test_own_keys_are_asked_as_their_owner_wants(use: str, expected: list[int]) -> None:
    world = World(route(2, MINI, "openai", own_key_prices=make_prices(input_brl=1, output_brl=1)))
    candidates, _ = world.plan(MINI, caller=with_keys(ServedOwnKey(3, "openai", "own", use)))
    assert [candidate.deployment.credential_id for candidate in candidates] == expected
    own = next(candidate for candidate in candidates if candidate.deployment.is_own_key)
    assert own.prices.units["input"].amount_nanos == BRL


# ── What follows ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_does_not_fit_goes_to_a_larger_context_where_one_may_serve() -> None:
    small, large = route(2, MINI, "openai", context_tokens=1_000), route(4, FLASH, "google", context_tokens=1_000_000)
    for kinds, expected in ((frozenset[str](), [large]), (frozenset({"context_window"}), [large]), (OUTAGE, [small, large])):
        routing = Routing()
        candidates = [Candidate(small, small.deployments[0]), Candidate(large, large.deployments[0], kinds)]
        assert [candidate.route for candidate in leave_out_small(candidates, routing, 5_000)] == expected
        assert bool(routing.skipped) == (len(expected) == 1)


def test_what_the_balance_does_not_cover_is_left_out() -> None:
    candidates, routing = World().plan("tokia/premium")
    plan = Plan(candidates, "first", routing)
    keep_affordable(plan, [Bound(candidates[1].route, candidates[1].prices, lambda: 0)])
    assert [candidate.route.name for candidate in plan.candidates] == [MINI]
    assert plan.is_first_stale
    assert plan.routing.skipped == (Skipped("balance", SONNET),)


class Circuits(Told):
    def take_probe(self, deployment: Any) -> bool:
        return False


def test_turns_leave_the_open_for_last_and_follow_kinds() -> None:
    world = World(
        route(2, MINI, "openai", fallbacks=(ServedFallback(DEEP, OUTAGE), ServedFallback(FLASH, frozenset({"rate_limit"}))))
    )
    candidates, _ = world.plan(MINI)
    turns, circuits = Turns(candidates), cast(Any, Circuits(open={2}))
    assert cast(Candidate, turns.take(circuits)).route.name == DEEP  # the model's own is open, which is an outage
    assert turns.note_failure(candidates[1], "rate_limit")
    assert cast(Candidate, turns.take(circuits)).route.name == FLASH
    assert turns.note_failure(candidates[2], "outage")
    assert cast(Candidate, turns.take(circuits)).route.name == MINI
    assert turns.state == "open"
    assert turns.take(circuits) is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("outage", True), ("credential", True), ("rate_limit", False), ("refused", False), ("content_policy", False)],
)
def test_a_typed_fallback_answers_only_its_kinds(kind: str, expected: bool) -> None:
    candidates, _ = World(route(2, MINI, "openai", fallbacks=FALLING[:1])).plan(MINI)
    turns, circuits = Turns(candidates), cast(Any, Circuits())
    turns.take(circuits)
    assert turns.has_after(kind) == (kind == "outage")
    turns.note_failure(candidates[0], kind)
    assert (turns.take(circuits) is not None) == expected


def test_after_a_context_that_was_too_small_only_larger_ones_are_asked() -> None:
    world = World(route(2, MINI, "openai", context_tokens=128_000), route(4, FLASH, "google", context_tokens=1_000_000))
    candidates, _ = world.plan(MINI, models=(DEEP, FLASH))
    turns, circuits = Turns(candidates), cast(Any, Circuits())
    turns.take(circuits)
    turns.note_failure(candidates[0], "context_window")
    assert cast(Candidate, turns.take(circuits)).route.name == FLASH
    assert turns.take(circuits) is None


def test_what_is_only_counted_knows_virtual_models() -> None:
    world = World(route(2, MINI, "openai", fallbacks=FALLING))
    assert route_named(world.process, CALLER, "tokia/premium", surface="chat").name == SONNET
    assert route_alone(world.process, CALLER, MINI, None) is None
    assert route_alone(world.process, CALLER, "tokia/fast", None) is None
    alone = route_alone(world.process, CALLER, DEEP, None)
    assert alone is not None and alone.name == DEEP
    world.experiments |= experiment(DEEP)
    assert route_alone(world.process, CALLER, DEEP, None) is None


def test_routing_costs_little() -> None:
    """On a free core about 1 µs where one deployment is all there is, and some 10 µs for the rest; bounds for a busy machine."""
    world = World(route(2, MINI, "openai", fallbacks=FALLING))
    context = CallContext(id="x", started_ns=0)

    def cost(model: str) -> float:
        def plan() -> None:
            plan_call(world.process, context, CALLER, model=model, surface="chat")

        return min(timeit.repeat(plan, number=500, repeat=7)) / 500 * 1e6

    assert cost(DEEP) < 10
    assert cost(MINI) < 60
    assert cost("tokia/balanced") < 80


def test_preferences_that_are_set_are_kept_by_name() -> None:
    assert msgspec.structs.replace(Preferences(), sort="price").sort == "price"
