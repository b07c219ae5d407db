"""What the admin changes is in force in every gateway process within two seconds, without a deploy; what one process learns of a
sick provider, the other knows within one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing.models import UsageRecord
from gateway import experiments
from gateway.experiments import ArmDraft
from gateway.models import Deployment, Fallback, Route, RoutingRule, RuleStep
from gateway.own_keys import store_own_key
from tests.examples import IN_FORCE_SECONDS
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body
from tests.make import make_price

KNOWN_SECONDS = 1.0
CHEAP, DEAR = "two/cheap", "two/dear"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def other(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The second process, with the settings of production."""
    other = Gateway(tmp_path_factory.mktemp("other"), GATEWAY_SNAPSHOT_SECONDS="1.0")
    other.start()
    yield other
    assert other.stop() == 0
    assert "Traceback" not in other.log.read_text()


@pytest.fixture(scope="module")
def tenant(world: World, other: Gateway) -> Tenant:
    world.route("openai", "gpt-4o-mini", name=CHEAP, units={"input": "10", "output": "30"})
    world.route("anthropic", "claude-haiku-4-5", name=DEAR, units={"input": "100", "output": "300"})
    tenant = world.tenant(brl="1000.00", requests_per_minute=1_000_000)
    world.await_served(tenant, CHEAP, DEAR)
    world.await_served(tenant, CHEAP, DEAR, gateway=other)
    return tenant


@pytest.fixture
def both(world: World, other: Gateway) -> Iterator[list[Gateway]]:
    world.sandbox.post("/llm/__reset")
    yield [world.gateway, other]
    world.sandbox.post("/llm/__reset")


@pytest.fixture
def staff(tenant: Tenant) -> Client:
    user, _ = User.objects.get_or_create(email="root@example.com.br", defaults={"is_staff": True, "is_superuser": True})
    client = Client()
    client.force_login(user)
    return client


def ask(gateway: Gateway, tenant: Tenant, model: str) -> httpx.Response:
    body = chat_body(model, max_tokens=4)
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=20)


def served_by(model: str) -> Callable[[httpx.Response], bool]:
    return lambda answer: answer.status_code == 200 and answer.headers["x-tokia-model"] == model


def await_in_force(
    both: list[Gateway], tenant: Tenant, model: str, holds: Callable[[httpx.Response], bool], *, seconds: float = IN_FORCE_SECONDS
) -> None:
    """Asks each process in turn, as callers would, until its answers are by the change."""
    began = time.monotonic()
    waiting = list(both)
    answer: httpx.Response | None = None
    while waiting:
        for gateway in list(waiting):
            asked = time.monotonic()
            answer = ask(gateway, tenant, model)
            if holds(answer):
                waiting.remove(gateway)
            else:  # a call that began within the time may still be by what was before
                assert asked - began < seconds, f"{answer.status_code} {answer.headers} {answer.text[:300]}"
        time.sleep(0.02)
    print(f"in force in {len(both)} processes after {time.monotonic() - began:.2f} s")


def test_a_rule_of_the_admin_is_in_force_and_so_is_its_change(both: list[Gateway], tenant: Tenant, staff: Client) -> None:
    cheap, dear = (Route.objects.get(name=name).pk for name in (CHEAP, DEAR))
    assert ask(both[0], tenant, "tokia/dois").status_code == 404
    form = {
        "name": "tokia/dois", "display_name": "Dois", "description": "", "policy": "list", "is_active": "on",
        "steps-TOTAL_FORMS": 2, "steps-INITIAL_FORMS": 0,
        "steps-0-position": 1, "steps-0-route": cheap, "steps-0-budget_below_ms": "",
        "steps-1-position": 2, "steps-1-route": dear, "steps-1-budget_below_ms": "",
    }  # fmt: skip
    assert staff.post(reverse("admin:gateway_routingrule_add"), form).status_code == 302
    await_in_force(both, tenant, "tokia/dois", served_by(CHEAP))
    rule = RoutingRule.objects.get(name="tokia/dois")
    first, second = RuleStep.objects.filter(rule=rule).order_by("position")
    form |= {
        "steps-INITIAL_FORMS": 2, "steps-0-id": first.pk, "steps-0-rule": rule.pk, "steps-1-id": second.pk, "steps-1-rule": rule.pk,
        "steps-0-position": 2, "steps-1-position": 1,
    }  # fmt: skip
    assert staff.post(reverse("admin:gateway_routingrule_change", args=[rule.pk]), form).status_code == 302
    await_in_force(both, tenant, "tokia/dois", served_by(DEAR))
    assert staff.post(reverse("admin:gateway_routingrule_delete", args=[rule.pk]), {"post": "yes"}).status_code == 302
    await_in_force(both, tenant, "tokia/dois", lambda answer: answer.status_code == 404)


def test_a_weight_and_a_priority_are_in_force(world: World, both: list[Gateway], tenant: Tenant) -> None:
    route = Route.objects.get(name=CHEAP)
    extra = Deployment.objects.create(
        route=route, provider=world.provider("groq"), upstream_model="llama-3.1-8b-instant", priority=2
    )

    def is_by(slug: str) -> Callable[[httpx.Response], bool]:
        return lambda answer: answer.status_code == 200 and answer.headers["x-tokia-provider"] == slug

    extra.priority = 0
    extra.save()
    await_in_force(both, tenant, CHEAP, is_by("groq"))
    extra.priority, extra.weight = 1, 1_000_000_000  # alike, and a billion to a hundred
    extra.save()
    time.sleep(3)
    assert all(is_by("groq")(ask(gateway, tenant, CHEAP)) for gateway in both for _ in range(10))
    Deployment.objects.filter(pk=extra.pk).update(weight=1)
    Deployment.objects.filter(route=route).exclude(pk=extra.pk).update(weight=1_000_000_000)
    time.sleep(3)
    assert all(is_by("openai")(ask(gateway, tenant, CHEAP)) for gateway in both for _ in range(10))
    extra.delete()


def test_a_price_is_in_force(both: list[Gateway], tenant: Tenant) -> None:
    def costs(factor: int) -> Callable[[httpx.Response], bool]:
        def holds(answer: httpx.Response) -> bool:
            usage = answer.json()["usage"]
            expected = factor * (usage["prompt_tokens"] * 10_000 + usage["completion_tokens"] * 30_000)
            return bool(round(usage["cost"] * 10**9) == expected)

        return holds

    await_in_force(both, tenant, CHEAP, costs(1))
    version = make_price(route=CHEAP, units={"input": "20", "output": "60"})
    await_in_force(both, tenant, CHEAP, costs(2))
    newest = UsageRecord.everywhere.filter(wallet_id=tenant.wallet.pk).order_by("-id").first()
    assert newest is not None and newest.price_version_id == version.pk
    make_price(route=CHEAP, units={"input": "10", "output": "30"})
    await_in_force(both, tenant, CHEAP, costs(1))


def test_a_fallback_is_in_force(world: World, both: list[Gateway], tenant: Tenant) -> None:
    cheap, dear = Route.objects.get(name=CHEAP), Route.objects.get(name=DEAR)
    world.sandbox.script("openai", "400", times=-1)  # says nothing of its health
    assert ask(both[0], tenant, CHEAP).status_code != 200
    world.sandbox.post("/llm/__reset")
    fallback = Fallback.objects.create(route=cheap, target=dear)
    world.sandbox.script("openai", "503", times=-1)
    await_in_force(both, tenant, CHEAP, served_by(DEAR))
    fallback.delete()
    await_in_force(both, tenant, CHEAP, lambda answer: answer.status_code == 503)
    world.sandbox.post("/llm/__reset")
    await_in_force(both, tenant, CHEAP, served_by(CHEAP), seconds=20)  # its circuit may have to close


def test_an_own_key_is_in_force(world: World, both: list[Gateway], tenant: Tenant) -> None:
    def is_own(answer: httpx.Response) -> bool:
        return bool(UsageRecord.everywhere.get(pk=answer.headers["x-request-id"]).is_own_key)

    assert not is_own(ask(both[0], tenant, CHEAP))
    own_key = store_own_key(
        tenant.wallet.organization, user=None, provider=world.provider("openai"), label="nossa", secret="sandbox-openai"
    )
    await_in_force(both, tenant, CHEAP, is_own)
    own_key.delete()
    await_in_force(both, tenant, CHEAP, lambda answer: not is_own(answer))


def test_an_experiment_is_in_force(both: list[Gateway], tenant: Tenant) -> None:
    experiment = experiments.draft_experiment(
        tenant.wallet.organization, name="Dois", model=CHEAP, arms=(ArmDraft(CHEAP, 1), ArmDraft(DEAR, 999)), by=None
    )
    assert all(served_by(CHEAP)(ask(gateway, tenant, CHEAP)) for gateway in both)
    experiments.start_experiment(experiment)
    await_in_force(both, tenant, CHEAP, served_by(DEAR))
    experiments.end_experiment(experiment)
    await_in_force(both, tenant, CHEAP, served_by(CHEAP))


def test_a_circuit_that_one_opens_is_open_in_the_other(world: World, both: list[Gateway], tenant: Tenant) -> None:
    """Each provider's requests are counted: the other process asks the sick one no more."""
    name = f"two/sick-{next(_numbers)}"
    route = world.route("openai", "gpt-4.1-mini", name=name)
    route_row = Route.objects.get(name=route.name)
    Deployment.objects.create(route=route_row, provider=world.provider("groq"), upstream_model="llama-3.1-8b-instant", priority=2)
    for gateway in both:
        world.await_served(tenant, name, gateway=gateway)
    world.sandbox.post("/llm/__script", {"provider": "openai", "model": "gpt-4.1-mini", "faults": ["503"], "times": -1})

    def seen() -> int:
        return sum(call["model"] == "gpt-4.1-mini" for call in world.sandbox.ledger()["calls"])

    first, second = both
    for _ in range(8):
        answer = ask(first, tenant, name)
        assert (answer.status_code, answer.headers["x-tokia-provider"]) == (200, "groq")
    opened = seen()
    assert 5 <= opened <= 6  # five failures in a row open it
    time.sleep(KNOWN_SECONDS)
    assert all(ask(second, tenant, name).headers["x-tokia-attempts"] == "1" for _ in range(5))
    assert seen() == opened
    world.sandbox.post("/llm/__reset")

    def is_back() -> bool:
        return all(ask(gateway, tenant, name).headers["x-tokia-provider"] == "openai" for gateway in both)

    await_true(is_back, seconds=20, why="the circuit closes in both")
