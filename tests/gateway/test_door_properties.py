"""Properties of routing at the door: hundreds of drawn calls through real processes, judged by what the upstreams were asked.

Whoever a call excludes, its key may not use, has no price, or costs too much, is never asked, whatever fails; weights converge;
a session stays where it is, in both processes, under load, and whatever else changes in the catalog.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from billing.models import UsageRecord
from gateway.models import Deployment, Fallback, Route
from tests.gateway.world import Gateway, Tenant, World, chat_body
from tests.torture.stack_load import Line, Seen

SEED = 11
CALLS = 250
CHEAP, DEAR, UNPRICED, FORBIDDEN, WEIGHTED = "door/cheap", "door/dear", "door/unpriced", "door/forbidden", "door/weighted"
MODELS = {
    "openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "groq": "llama-3.1-8b-instant", "mistral": "mistral-small-latest",
}  # fmt: skip
SERVED = {CHEAP: ("openai", "anthropic", "groq"), DEAR: ("groq", "mistral", "anthropic")}
PRICES = {CHEAP: (10, 30), DEAR: (100, 300)}  # reais per million tokens, in and out
KEEPS_NOTHING, TRAINS = "anthropic", "groq"
WEIGHTS = {"openai": 300, "groq": 100}
WEIGHTED_CALLS = 2_000


@pytest.fixture(scope="module")
def other(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    other = Gateway(tmp_path_factory.mktemp("other"))
    other.start()
    yield other
    assert other.stop() == 0


@pytest.fixture(scope="module")
def tenant(world: World, other: Gateway) -> Tenant:
    for slug, flags in ((KEEPS_NOTHING, {"has_zero_retention": True}), (TRAINS, {"trains_on_data": True})):
        type(world.provider(slug)).objects.filter(slug=slug).update(**flags)
    for name, slugs in {**SERVED, FORBIDDEN: ("openai", "mistral"), WEIGHTED: ("openai", "groq")}.items():
        units = dict(zip(("input", "output"), map(str, PRICES.get(name, (10, 30))), strict=True))
        world.route(slugs[0], MODELS[slugs[0]], name=name, units=units)
        route = Route.objects.get(name=name)
        for slug in slugs[1:]:
            Deployment.objects.create(route=route, provider=world.provider(slug), upstream_model=MODELS[slug])
    unpriced = Route.objects.get(name=CHEAP)
    unpriced.pk, unpriced.name = None, UNPRICED
    unpriced.save()
    Deployment.objects.create(route=unpriced, provider=world.provider("openai"), upstream_model="gpt-4.1")
    for slug, weight in WEIGHTS.items():
        Deployment.objects.filter(route__name=WEIGHTED, provider__slug=slug).update(weight=weight)
    for place, target in enumerate((FORBIDDEN, UNPRICED, DEAR)):
        Fallback.objects.create(
            route=Route.objects.get(name=CHEAP), target=Route.objects.get(name=target), position=place,
            kinds=["outage", "rate_limit", "context_window", "content_policy"],
        )  # fmt: skip
    allowed = [CHEAP, DEAR, UNPRICED, WEIGHTED]
    tenant = world.tenant(brl="5000.00", requests_per_minute=10_000_000, allowed_routes=allowed)
    for gateway in (world.gateway, other):
        world.await_served(tenant, CHEAP, DEAR, WEIGHTED, gateway=gateway)
    return tenant


@dataclass
class Wish:
    """A drawn call, and whom it leaves: (model, provider)."""

    body: dict[str, Any]
    allowed: set[tuple[str, str]] = field(default_factory=set)


def draw_wish(rng: random.Random) -> Wish:
    model = rng.choice((CHEAP, DEAR))
    provider: dict[str, Any] = {}
    routes = {model}
    body = chat_body(model, max_tokens=4)
    if rng.random() < 0.3:
        body["models"] = rng.sample((CHEAP, DEAR, UNPRICED), rng.randint(1, 3))
        routes |= {name for name in body["models"] if name in SERVED}
    slugs = list(MODELS)
    if rng.random() < 0.4:
        provider["ignore"] = rng.sample(slugs, rng.randint(1, 2))
    if rng.random() < 0.3:
        provider["only"] = rng.sample(slugs, rng.randint(1, 3))
    if rng.random() < 0.3:
        provider["order"] = rng.sample(slugs, rng.randint(1, 3))
    if rng.random() < 0.3:
        provider["sort"] = rng.choice(("price", "latency", "throughput"))
    if rng.random() < 0.3:
        provider["max_price"] = {rng.choice(("prompt", "completion")): rng.choice((5, 20, 30, 200, 400))}
    if rng.random() < 0.2:
        provider["data_collection"] = rng.choice(("allow", "deny"))
    if rng.random() < 0.15:
        provider["zdr"] = True
    if rng.random() < 0.2:
        provider["allow_fallbacks"] = rng.choice((True, False))
    if provider:
        body["provider"] = provider
    allowed = {(route, slug) for route in routes for slug in SERVED[route] if is_allowed(route, slug, provider)}
    if allowed and model == CHEAP and provider.get("allow_fallbacks", True):  # the catalog's: for failures, not for exclusions
        allowed |= {(DEAR, slug) for slug in SERVED[DEAR] if is_allowed(DEAR, slug, provider)}
    return Wish(body, allowed)


def is_allowed(route: str, slug: str, provider: dict[str, Any]) -> bool:
    prices = dict(zip(("prompt", "completion"), PRICES[route], strict=True))
    return (
        slug not in provider.get("ignore", ())
        and slug in provider.get("only", MODELS)
        and all(prices[unit] <= most for unit, most in provider.get("max_price", {}).items())
        and not (provider.get("data_collection") == "deny" and slug == TRAINS)
        and not (provider.get("zdr") and slug != KEEPS_NOTHING)
    )


def asked_of(record: UsageRecord | None) -> list[tuple[str, str]]:
    attempts = record.attempts if record is not None else []
    return [(attempt.get("route") or (record.route_name if record else ""), attempt["provider"]) for attempt in attempts]


@pytest.mark.parametrize("sick", [(), ("groq",), ("openai", "anthropic"), ("openai", "anthropic", "groq", "mistral")])
def test_nobody_is_asked_who_is_excluded_forbidden_unpriced_or_too_dear(
    world: World, other: Gateway, tenant: Tenant, sick: tuple[str, ...]
) -> None:
    world.sandbox.post("/llm/__reset")
    for slug in sick:
        world.sandbox.script(slug, "503", times=-1)
    rng = random.Random(f"{SEED}:{sick}")
    print(f"seed {SEED}")
    seen: Counter[int] = Counter()
    with httpx.Client(headers=tenant.headers, timeout=20) as client:
        for number in range(CALLS // 4):
            wish = draw_wish(rng)
            gateway = rng.choice((world.gateway, other))
            answer = client.post(f"{gateway.url}/v1/chat/completions", json=wish.body)
            record = UsageRecord.everywhere.filter(pk=answer.headers["x-request-id"]).first()
            asked = asked_of(record)
            seen[len(asked)] += 1
            assert set(asked) <= wish.allowed, (number, wish, asked)
            assert len(asked) == len(set(asked)), (number, wish, asked)
            if not wish.allowed:
                assert answer.status_code == 404, (number, wish, answer.text)
                assert answer.json()["error"]["code"] == "no_allowed_provider"
            elif not sick:
                assert answer.status_code == 200, (number, wish, answer.text)
            elif len(sick) == len(MODELS):
                assert answer.status_code == 503, (number, wish, answer.text)
                assert asked, (number, wish)
    print(dict(seen))
    calls = world.sandbox.ledger()["calls"]
    assert not [call for call in calls if call["model"] == "gpt-4.1"]  # the model without a price
    assert len(calls) == sum(asked * count for asked, count in seen.items())
    world.sandbox.post("/llm/__reset")


def test_nobody_is_asked_who_is_slower_than_a_strict_budget(world: World, tenant: Tenant) -> None:
    world.sandbox.post("/llm/__reset")
    body = chat_body(CHEAP, max_tokens=4, latency_budget_ms={"total": 1, "strict": True})
    answer = httpx.post(f"{world.gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=20)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_allowed_provider")
    assert world.sandbox.ledger()["calls"] == []


# ── Many at once ─────────────────────────────────────────────────────────────────────────────────────────────────────
def ask_all(ports: Sequence[int], tenant: Tenant, bodies: Sequence[dict[str, Any]], *, callers: int = 16) -> list[Seen]:
    """In the sequence of the bodies."""

    async def run() -> list[Seen]:
        found: list[Seen | None] = [None] * len(bodies)
        numbers = iter(range(len(bodies)))

        async def call_on(caller: int) -> None:
            lines = [Line(port) for port in ports]
            for number in numbers:
                line = lines[(number + caller) % len(lines)]
                found[number] = await line.call(Seen("", "door", False), tenant.secret, json.dumps(bodies[number]).encode())
            for line in lines:
                await line.close()

        await asyncio.gather(*map(call_on, range(callers)))
        return [seen for seen in found if seen is not None]

    return asyncio.run(run())


def ports_of(*gateways: Gateway) -> list[int]:
    return [int(gateway.url.rpartition(":")[2]) for gateway in gateways]


def providers_of(calls: Sequence[Seen]) -> list[str]:
    assert {call.status for call in calls} == {200}
    rows = UsageRecord.everywhere.filter(pk__in=[call.request_id for call in calls])
    served = {str(pk): slug for pk, slug in rows.values_list("pk", "provider_name")}
    return [served[call.request_id] for call in calls]


def test_weights_converge_at_the_door(world: World, other: Gateway, tenant: Tenant) -> None:
    world.sandbox.post("/llm/__reset")
    bodies = [chat_body(WEIGHTED, max_tokens=2)] * WEIGHTED_CALLS
    counts = Counter(providers_of(ask_all(ports_of(world.gateway, other), tenant, bodies)))
    share = WEIGHTS["openai"] / sum(WEIGHTS.values())
    sigma = (WEIGHTED_CALLS * share * (1 - share)) ** 0.5
    print(f"{dict(counts)}, {(counts['openai'] - WEIGHTED_CALLS * share) / sigma:+.1f} σ of 3:1")
    assert abs(counts["openai"] - WEIGHTED_CALLS * share) < 4 * sigma


def test_a_session_stays_in_both_processes_and_through_another_change(world: World, other: Gateway, tenant: Tenant) -> None:
    world.sandbox.post("/llm/__reset")
    sessions = [f"conversa {number}" for number in range(40)]
    bodies = [chat_body(WEIGHTED, max_tokens=2, session_id=session) for _ in range(8) for session in sessions]
    before = providers_of(ask_all(ports_of(world.gateway, other), tenant, bodies))
    homes = dict(zip(sessions, before, strict=False))
    assert before == [homes[body["session_id"]] for body in bodies]
    assert len(set(homes.values())) == 2
    world.route("mistral", "mistral-large-latest", name="door/another")  # has nothing to do with them
    for gateway in (world.gateway, other):
        world.await_served(world.tenant(), "door/another", gateway=gateway)
    after = providers_of(ask_all(ports_of(world.gateway, other), tenant, bodies))
    assert after == before
