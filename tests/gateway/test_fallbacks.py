"""Calls that meet sick providers, over real sockets: who answers in the end, who is billed for what, and what is told of it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from billing.models import UsageRecord
from gateway.models import Deployment, Experiment, ExperimentArm, Fallback, Route, RoutingRule, RuleStep
from tests.examples import IN_FORCE_SECONDS
from tests.gateway.world import Gateway, Tenant, World, await_true
from tests.make import make_price

CHEAP, DEAR = {"input": "1", "output": "2"}, {"input": "100", "output": "400"}
MESSAGES: Any = [{"role": "user", "content": "Diga olá em uma frase curta."}]
WELL = {"openai": "gpt-4o-mini", "groq": "llama-3.1-8b-instant", "mistral": "mistral-small-latest", "deepseek": "deepseek-chat",
        "google": "gemini-2.5-flash"}  # fmt: skip
_numbers = itertools.count(1)


@pytest.fixture
def client(world: World, tenant: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        yield client


def deploy(world: World, *homes: str, units: dict[str, str] | None = None, **fields: Any) -> Route:
    """A model of its own for a test. A home is a provider, or provider/fault: its calls there all fail so."""
    number = next(_numbers)
    route: Route | None = None
    for priority, home in enumerate(homes, 1):
        slug, _, fault = home.partition("/")
        upstream = f"fault-{fault}-{WELL[slug]}" if fault else WELL[slug]
        if route is None:
            route = world.route(slug, upstream, name=f"test/model-{number}", units=units or CHEAP, **fields)
        else:
            Deployment.objects.create(route=route, provider=world.provider(slug), upstream_model=upstream, priority=priority)
    assert route is not None
    return route


def fall_back(route: Route, target: Route, *kinds: str) -> None:
    position = Fallback.objects.filter(route=route).count() + 1
    Fallback.objects.create(route=route, target=target, kinds=list(kinds), position=position)


def make_rule(name: str, *steps: Route | tuple[Route, int], policy: str = "list") -> RoutingRule:
    rule = RoutingRule.objects.create(name=name, display_name=name, policy=policy)
    for position, step in enumerate(steps, 1):
        route, below = step if isinstance(step, tuple) else (step, None)
        RuleStep.objects.create(rule=rule, route=route, position=position, budget_below_ms=below)
    return rule


def settle_catalog(world: World, tenant: Tenant, *names: str) -> None:
    """Until the gateway has what was made last."""
    marker = deploy(world, "openai")
    world.await_served(tenant, marker.name, *names)


def ask(client: openai.OpenAI, model: str, *, is_stream: bool = False, **extra: Any) -> tuple[Any, Any]:
    """The headers, and the parsed answer, or the chunks."""
    arguments: Any = {"model": model, "messages": MESSAGES, "max_tokens": 40, **extra.pop("fields", {})}
    raw = client.chat.completions.with_raw_response.create(**arguments, stream=is_stream, extra_body=extra)
    return raw.headers, list(raw.parse()) if is_stream else raw.parse()


def record_of(tenant: Tenant) -> UsageRecord:
    [record] = tenant.records()
    return record


def routing_of(record: UsageRecord) -> dict[str, Any]:
    routing: dict[str, Any] | None = record.routing
    assert routing is not None
    return routing


# ── Who answers ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("fault", "is_stream"), [*itertools.product(("503", "drop", "html", "429"), (False, True)), ("errorfirst", True)]
)
def test_the_callers_models_follow_whatever_failed(
    world: World, tenant: Tenant, client: openai.OpenAI, is_stream: bool, fault: str
) -> None:
    sick, well = deploy(world, f"openai/{fault}", units=DEAR), deploy(world, "groq")
    settle_catalog(world, tenant)
    headers, _ = ask(client, sick.name, is_stream=is_stream, models=[well.name])
    told = [headers[f"x-tokia-{name}"] for name in ("model", "provider", "attempts", "rule")]
    assert told == [well.name, "groq", "2", "models"]
    await_true(lambda: tenant.records())
    record = record_of(tenant)
    assert (record.route_name, record.provider_name, record.outcome) == (well.name, "groq", "completed")
    assert [(attempt["provider"], attempt["route"]) for attempt in record.attempts] == [("openai", sick.name), ("groq", well.name)]
    assert record.attempts[0]["error"] and not record.attempts[1].get("error")
    assert routing_of(record)["asked"] == sick.name
    tokens_in = record.input_tokens + record.cached_input_tokens + record.cache_write_tokens
    assert record.gross_nanos == tokens_in * 1_000 + record.output_tokens * 2_000  # once, at the price of the one that answered
    assert (tenant.fresh().held_nanos, 100 * 10**9 - tenant.fresh().posted_nanos) == (0, record.net_nanos)


def test_deployments_come_before_models_and_all_attempts_are_told(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    sick, well = deploy(world, "openai/500", "mistral/503"), deploy(world, "groq")
    fall_back(sick, well, "outage")
    settle_catalog(world, tenant)
    headers, answer = ask(client, sick.name)
    assert (headers["x-tokia-model"], headers["x-tokia-attempts"], headers["x-tokia-rule"]) == (well.name, "3", "fallback")
    assert answer.choices[0].message.content
    record = record_of(tenant)
    assert [attempt["status"] for attempt in record.attempts] == [500, 503, 200]
    assert routing_of(record)["rule"] == "fallback"


@pytest.mark.parametrize(("fault", "kinds", "is_served"), [("503", ["outage"], True), ("503", ["rate_limit"], False),
                                                           ("429", ["rate_limit"], True), ("429", ["outage"], False)])  # fmt: skip
def test_a_typed_fallback_answers_its_kinds_only(
    world: World, tenant: Tenant, client: openai.OpenAI, fault: str, kinds: list[str], is_served: bool
) -> None:
    sick, well = deploy(world, f"openai/{fault}"), deploy(world, "groq")
    fall_back(sick, well, *kinds)
    settle_catalog(world, tenant)
    if is_served:
        assert ask(client, sick.name)[0]["x-tokia-model"] == well.name
    else:
        with pytest.raises(openai.APIStatusError):
            ask(client, sick.name)
        assert record_of(tenant).net_nanos == 0


def test_a_context_that_is_too_small_goes_to_a_larger_one(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    small = deploy(world, "openai", context_tokens=128_000)
    also_small, large = deploy(world, "mistral", context_tokens=128_000), deploy(world, "google", context_tokens=1_000_000)
    for target in (also_small, large):
        fall_back(small, target, "context_window")
    settle_catalog(world, tenant)
    for words in (130_000, 400_000):  # the second does not fit by its bytes alone: the small ones are not asked
        long: Any = [{"role": "user", "content": "sim " * words}]
        headers, _ = ask(client, small.name, fields={"messages": long})
        assert headers["x-tokia-model"] == large.name
    asked = [[attempt.get("error", "") for attempt in record.attempts] for record in tenant.records()]
    assert asked == [["context_length_exceeded", ""], [""]]


def test_a_content_filter_goes_to_who_has_none(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    filtered = world.route("azure", "gpt-4o-mini", name=f"test/model-{next(_numbers)}", units=CHEAP)
    open_, other = deploy(world, "groq"), deploy(world, "mistral")
    fall_back(filtered, other, "outage")
    fall_back(filtered, open_, "content_policy")
    settle_catalog(world, tenant)
    headers, _ = ask(client, filtered.name, fields={"messages": [{"role": "user", "content": "oi [content_filter]"}]})
    assert (headers["x-tokia-model"], headers["x-tokia-attempts"]) == (open_.name, "2")


def test_a_stream_that_does_not_begin_goes_to_the_next(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    slow = deploy(world, "openai/slowfirst5000", "groq")
    Deployment.objects.filter(route=slow, provider__slug="openai").update(first_token_ms_max=300)
    alone = deploy(world, "mistral/slowfirst1500")
    Deployment.objects.filter(route=alone).update(first_token_ms_max=300)
    settle_catalog(world, tenant)
    began = time.monotonic()
    headers, chunks = ask(client, slow.name, is_stream=True)
    assert time.monotonic() - began < 4.5
    assert (headers["x-tokia-provider"], headers["x-tokia-attempts"]) == ("groq", "2")
    assert chunks
    assert ask(client, alone.name, is_stream=True)[0]["x-tokia-attempts"] == "1"  # nobody else is there: it may take its time
    await_true(lambda: len(tenant.records()) == 2)
    assert tenant.records()[0].attempts[0]["error"] == "provider_timeout"


def test_an_answer_that_fails_everywhere_tells_of_all(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    first, second = deploy(world, "openai/500", "mistral/503"), deploy(world, "groq/429")
    settle_catalog(world, tenant)
    with pytest.raises(openai.APIStatusError) as failed:
        ask(client, first.name, models=[second.name])
    body: Any = failed.value.body
    assert failed.value.status_code == 429
    assert [(told["provider"], told["model"], told["status"]) for told in body["previous_errors"]] == [
        ("openai", first.name, 500), ("mistral", first.name, 503),
    ]  # fmt: skip
    assert "sandbox" not in json.dumps(body)
    record = record_of(tenant)
    assert (record.outcome, record.net_nanos, len(record.attempts)) == ("failed", 0, 3)
    assert tenant.fresh().held_nanos == 0


def test_no_more_than_four_are_asked(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    sick = [deploy(world, f"{slug}/503") for slug in ("openai", "groq", "mistral", "deepseek", "openai")]
    settle_catalog(world, tenant)
    with pytest.raises(openai.APIStatusError):
        ask(client, sick[0].name, models=[route.name for route in sick])
    assert len(record_of(tenant).attempts) == 4


def test_nobody_else_is_asked_where_the_caller_allows_no_fallbacks(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    sick, well = deploy(world, "openai/503", "groq"), deploy(world, "groq")
    fall_back(sick, well, "outage")
    settle_catalog(world, tenant)
    with pytest.raises(openai.APIStatusError) as failed:
        ask(client, sick.name, provider={"allow_fallbacks": False})
    assert failed.value.status_code == 503
    assert len(record_of(tenant).attempts) == 1


def test_a_model_without_a_home_is_served_by_its_fallback(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    empty, well = deploy(world, "openai"), deploy(world, "groq")
    fall_back(empty, well, "outage")
    Deployment.objects.filter(route=empty).update(is_active=False)
    settle_catalog(world, tenant)
    assert ask(client, empty.name)[0]["x-tokia-model"] == well.name
    assert routing_of(record_of(tenant))["skipped"] == [{"reason": "unserved", "route": empty.name}]


# ── Preferences ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_preferences_choose_and_reach_nobody_upstream(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    route = deploy(world, "openai", "groq", "mistral")
    settle_catalog(world, tenant)
    exact = {"only": ["mistral"], "max_price": {"prompt": 1, "completion": 2}}
    wishes: list[tuple[dict[str, Any], str]] = [
        ({"provider": {"order": ["mistral", "groq"]}}, "mistral"),
        ({"provider": {"ignore": ["openai"]}}, "groq"),
        ({"provider": exact, "session_id": "s", "route": "fallback"}, "mistral"),
        ({"latency_budget_ms": 60_000, "quality": "fast"}, "openai"),
    ]
    for wish, expected in wishes:
        headers, _ = ask(client, route.name, **wish)  # OpenAI's sandbox refuses what it does not know
        assert headers["x-tokia-provider"] == expected
    excluding: list[dict[str, Any]] = [{"only": ["azure"]}, {"max_price": {"prompt": "0.999"}}, {"zdr": True}]
    for provider in excluding:
        with pytest.raises(openai.NotFoundError) as refused:
            ask(client, route.name, provider=provider)
        assert (refused.value.code, refused.value.param) == ("no_allowed_provider", "provider")
    with pytest.raises(openai.BadRequestError) as bad:
        ask(client, route.name, provider={"sort": "beauty"})
    assert bad.value.param == "provider.sort"
    with pytest.raises(openai.NotFoundError) as unknown:
        ask(client, route.name, models=["no/such"])
    assert unknown.value.param == "models[0]"
    assert len(tenant.records()) == 4  # nothing was held for the refused


def test_a_session_stays_with_its_deployment(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    route = deploy(world, "openai", "groq", "mistral")
    Deployment.objects.filter(route=route).update(priority=1)
    settle_catalog(world, tenant)
    homes = {ask(client, route.name, session_id="conversa-1")[0]["x-tokia-provider"] for _ in range(6)}
    assert len(homes) == 1
    asked = httpx.post(
        f"{world.gateway.url}/v1/chat/completions", headers={**tenant.headers, "x-session-id": "conversa-1"},
        json={"model": route.name, "messages": MESSAGES}, timeout=20,
    )  # fmt: skip
    assert {asked.headers["x-tokia-provider"]} == homes
    others = {ask(client, route.name, session_id=f"c-{number}")[0]["x-tokia-provider"] for number in range(12)}
    assert len(others) > 1


def test_a_strict_budget_asks_only_whom_it_has_measured_and_found_fast(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    route = deploy(world, "openai")
    settle_catalog(world, tenant)
    strict: dict[str, Any] = {"latency_budget_ms": {"total": 30_000, "strict": True}}
    with pytest.raises(openai.NotFoundError) as unmeasured:
        ask(client, route.name, **strict)
    assert unmeasured.value.code == "no_allowed_provider"
    ask(client, route.name)

    def is_served() -> bool:
        try:
            ask(client, route.name, **strict)
        except openai.NotFoundError:
            return False
        return True

    await_true(is_served, seconds=25, why="what was measured did not come")
    with pytest.raises(openai.NotFoundError):
        ask(client, route.name, latency_budget_ms={"total": 1, "strict": True})
    assert ask(client, route.name, latency_budget_ms=1)[0]["x-tokia-model"] == route.name


# ── Money ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_hold_is_for_the_dearest_that_may_answer(world: World, tenant: Tenant) -> None:
    cheap, dear = deploy(world, "deepseek"), deploy(world, "groq", units=DEAR)
    settle_catalog(world, tenant)
    world.sandbox.script("deepseek", "stall:1500")
    body = {"model": cheap.name, "models": [dear.name], "messages": MESSAGES, "max_tokens": 1_000}
    url = f"{world.gateway.url}/v1/chat/completions"
    caller = threading.Thread(target=lambda: httpx.post(url, json=body, headers=tenant.headers, timeout=20))
    caller.start()
    await_true(lambda: tenant.fresh().held_nanos > 0)
    assert tenant.fresh().held_nanos >= 1_000 * 400_000  # a thousand tokens at the dear one's price
    caller.join()
    await_true(lambda: tenant.fresh().held_nanos == 0)
    assert 0 < record_of(tenant).net_nanos < 1_000 * 2_000 + 100_000


def test_a_balance_that_covers_only_the_cheaper_of_the_callers_models_asks_that(world: World) -> None:
    cheap, dear = deploy(world, "groq"), deploy(world, "openai", units=DEAR)
    fallback = deploy(world, "openai", units=DEAR)
    fall_back(fallback, cheap, "outage")
    poor = world.tenant(brl="0.01")
    settle_catalog(world, poor)
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=poor.secret, max_retries=0) as client:
        headers, _ = ask(client, dear.name, models=[cheap.name], fields={"max_tokens": 500})
        assert (headers["x-tokia-model"], headers["x-tokia-attempts"]) == (cheap.name, "1")
        assert routing_of(poor.records()[0])["skipped"] == [{"reason": "balance", "route": dear.name}]
        with pytest.raises(openai.APIStatusError) as refused:  # what only answers for failures is not bought by a want of money
            ask(client, fallback.name, fields={"max_tokens": 500})
        assert refused.value.status_code == 402
    assert poor.fresh().held_nanos == 0


# ── Virtual models ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_virtual_models_serve_by_budget_and_ability_and_name_who_answered(
    world: World, tenant: Tenant, client: openai.OpenAI
) -> None:
    blind, seeing, quick = deploy(world, "deepseek", capabilities=["tools"]), deploy(world, "groq"), deploy(world, "openai")
    rule = make_rule(f"tokia/rule-{next(_numbers)}", (quick, 2_000), blind, seeing)
    settle_catalog(world, tenant, rule.name)
    headers, answer = ask(client, rule.name)
    assert (headers["x-tokia-model"], headers["x-tokia-rule"]) == (blind.name, rule.name)
    assert rule.name not in answer.model
    assert ask(client, rule.name, latency_budget_ms=1_500)[0]["x-tokia-model"] == quick.name
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    headers, _ = ask(
        client, rule.name, fields={"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, picture]}]}
    )
    assert headers["x-tokia-model"] == seeing.name
    assert [record.route_name for record in tenant.records()] == [blind.name, quick.name, seeing.name]
    listed = {item["id"]: item for item in httpx.get(f"{world.gateway.url}/v1/models", headers=tenant.headers).json()["data"]}
    assert listed[rule.name]["models"] == [quick.name, blind.name, seeing.name]
    assert listed[rule.name]["pricing"]["prompt"] == "0.000001"
    assert client.models.retrieve(rule.name).owned_by == "tokia"


def test_every_chat_surface_knows_virtual_models_and_preferences(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    sick, claude, well = (
        deploy(world, "openai/503"),
        world.route("anthropic", "claude-sonnet-4-6", units=CHEAP),
        deploy(world, "groq"),
    )
    mixed, native = (make_rule(f"tokia/rule-{next(_numbers)}", *steps) for steps in ((sick, well, claude), (claude, well)))
    settle_catalog(world, tenant, mixed.name, native.name)
    extra: Any = {"provider": {"ignore": ["azure"]}, "session_id": "s", "latency_budget_ms": 9_000, "models": [well.name]}
    answer = client.responses.create(model=mixed.name, input="oi", extra_body=extra)
    assert answer.output_text
    assert client.completions.create(model=mixed.name, prompt="oi", max_tokens=10, extra_body=extra).choices[0].text
    claudes = anthropic.Anthropic(base_url=world.gateway.url, api_key=tenant.secret, max_retries=0)
    with claudes:
        for model, expected in ((mixed.name, well.name), (native.name, claude.name), (claude.name, claude.name)):
            raw = claudes.messages.with_raw_response.create(model=model, max_tokens=40, messages=MESSAGES, extra_body=extra)
            assert raw.headers["x-tokia-model"] == expected
            assert raw.parse().content
        assert claudes.messages.count_tokens(model=mixed.name, messages=MESSAGES).input_tokens > 0
    assert client.responses.input_tokens.count(model=mixed.name, input="oi").input_tokens > 0


def test_auto_says_why(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    small, large = deploy(world, "groq"), deploy(world, "openai")
    make_rule("tokia/fast", small)
    make_rule("tokia/premium", large)
    make_rule("tokia/auto", small, policy="auto")
    settle_catalog(world, tenant, "tokia/auto")
    assert ask(client, "tokia/auto")[0]["x-tokia-model"] == small.name
    legal = [{"role": "user", "content": "Revise a cláusula quinta do contrato."}]
    assert ask(client, "tokia/auto", fields={"messages": legal})[0]["x-tokia-model"] == large.name
    assert ask(client, "tokia/auto", quality="premium")[0]["x-tokia-model"] == large.name
    whys = [routing_of(record)["why"] for record in tenant.records()]
    assert whys[0][0] == "tokia/fast" and whys[1][0] == "tokia/premium" and "jurídico" in whys[1][1]


def test_a_rule_edited_is_in_force_in_two_gateways(world: World, tenant: Tenant) -> None:
    first, second = deploy(world, "groq"), deploy(world, "openai")
    rule = make_rule(f"tokia/rule-{next(_numbers)}", first)
    other = Gateway(world.folder, GATEWAY_SNAPSHOT_SECONDS="1.0")
    other.start()
    try:
        for gateway in (world.gateway, other):
            world.await_served(tenant, rule.name, gateway=gateway)

        def served_by(gateway: Gateway) -> str:
            body = {"model": rule.name, "messages": MESSAGES, "max_tokens": 10}
            return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=tenant.headers).headers["x-tokia-model"]

        assert [served_by(gateway) for gateway in (world.gateway, other)] == [first.name] * 2
        RuleStep.objects.filter(rule=rule).update(route=second)
        for gateway in (world.gateway, other):
            await_true(lambda gateway=gateway: served_by(gateway) == second.name, seconds=IN_FORCE_SECONDS)
        make_price(route=second, units={"input": "7", "output": "9"})

        def price_at(gateway: Gateway) -> str:
            answer = httpx.get(f"{gateway.url}/v1/models/{rule.name}", headers=tenant.headers)
            return str(answer.json()["pricing"]["prompt"])

        for gateway in (world.gateway, other):
            await_true(lambda gateway=gateway: price_at(gateway) == "0.000007", seconds=IN_FORCE_SECONDS)
    finally:
        other.stop()


# ── Experiments ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_experiments_arm_answers_and_the_record_names_it(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    asked, one, two = deploy(world, "openai"), deploy(world, "groq"), deploy(world, "mistral")
    experiment = Experiment.everywhere.create(
        organization=tenant.wallet.organization, name="Menor é melhor?", model=asked.name, status=Experiment.Status.RUNNING
    )
    arms = {
        route.name: ExperimentArm.everywhere.create(experiment=experiment, label=label, route=route, weight=50)
        for label, route in (("A", one), ("B", two))
    }
    settle_catalog(world, tenant)
    met = [ask(client, asked.name, fields={"user": f"pessoa-{number % 5}"})[0] for number in range(10)]
    assert [headers["x-tokia-model"] for headers in met[:5]] == [headers["x-tokia-model"] for headers in met[5:]]
    for record in tenant.records():
        assert record.experiment_arm_id == arms[record.route_name].pk
        assert routing_of(record)["asked"] == asked.name
    assert met[0]["x-tokia-rule"] == "experiment"
    assert met[0]["x-tokia-experiment"].startswith("Menor %C3%A9 melhor%3F/")
    stranger = world.tenant()
    settle_catalog(world, stranger)
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=stranger.secret, max_retries=0) as other:
        assert ask(other, asked.name)[0]["x-tokia-model"] == asked.name


def test_nothing_is_left_out_where_all_parameters_are_required(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    claude, well = world.route("anthropic", "claude-haiku-4-5", units=CHEAP), deploy(world, "openai")
    settle_catalog(world, tenant)
    seeded = {"seed": 7}
    headers, _ = ask(client, claude.name, models=[well.name], fields=seeded)
    assert (headers["x-tokia-model"], headers["x-tokia-dropped-params"]) == (claude.name, "seed")
    headers, _ = ask(client, claude.name, models=[well.name], fields=seeded, provider={"require_parameters": True})
    assert (headers["x-tokia-model"], "x-tokia-dropped-params" in headers) == (well.name, False)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, claude.name, fields=seeded, provider={"require_parameters": True})
    assert refused.value.param == "seed"


def test_other_surfaces_take_preferences_and_stay_with_their_model(world: World, tenant: Tenant, client: openai.OpenAI) -> None:
    route = world.route("openai", "text-embedding-3-small", name="test/embed", units={"input": "1"}, surface="embeddings")
    Deployment.objects.create(route=route, provider=world.provider("mistral"), upstream_model="mistral-embed", priority=2)
    settle_catalog(world, tenant, route.name)
    raw = client.embeddings.with_raw_response.create(model=route.name, input="oi", extra_body={"provider": {"order": ["mistral"]}})
    assert raw.headers["x-tokia-provider"] == "mistral"
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=route.name, input="oi", extra_body={"models": ["test/other"]})
    assert refused.value.param == "models"
