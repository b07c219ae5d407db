"""Who serves a model, and how well of late: measured times and uptimes, by deployment, as OpenRouter's users know it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import httpx
import pytest

from gateway.circuit_reports import force_circuit, lift_force
from gateway.histogram import BUCKETS, place_of
from gateway.models import Credential, Deployment, DeploymentVitals, Provider, Route, RoutingRule, RuleStep
from tests.gateway.world import Tenant, World, await_true
from tokia import clock


@pytest.fixture(scope="module")
def route(world: World) -> str:
    route = world.route("openai", "gpt-4o-mini", name="listed/two-homes", units={"input": "10", "output": "30"})
    Deployment.objects.create(route=route, provider=world.provider("groq"), upstream_model="llama", priority=2)
    Provider.objects.filter(slug="groq").update(has_zero_retention=True)
    return route.name


def ask(world: World, tenant: Tenant, name: str) -> httpx.Response:
    return httpx.get(f"{world.gateway.url}/v1/models/{name}/endpoints", headers=tenant.headers)


def note(deployment: Deployment, *, span: int, minutes_ago: int, ms: int, succeeded: int, failed: int = 0) -> None:
    counts = [0] * BUCKETS
    counts[place_of(ms)] = succeeded
    DeploymentVitals.objects.create(
        begins_at=clock.now() - dt.timedelta(minutes=minutes_ago), span_seconds=span, deployment_id=deployment.pk,
        provider_slug=deployment.provider.slug, route_name=deployment.route.name, succeeded=succeeded, failed=failed,
        output_tokens=1_000, output_ms=10_000, first_token=counts, total=counts,
    )  # fmt: skip


def test_it_lists_each_deployment_with_what_was_measured(world: World, tenant: Tenant, route: str) -> None:
    world.await_served(tenant, route)
    first, second = Deployment.objects.filter(route__name=route).select_related("provider", "route").order_by("priority")
    note(first, span=60, minutes_ago=5, ms=100, succeeded=9, failed=1)
    note(first, span=60, minutes_ago=3, ms=2_000, succeeded=10)
    note(first, span=3600, minutes_ago=120, ms=100, succeeded=1, failed=3)
    answer = ask(world, tenant, route)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert data["id"] == route
    listed: list[dict[str, Any]] = data["endpoints"]
    assert [item["tag"] for item in listed] == ["openai", "groq"]
    measured, unmeasured = listed
    assert (measured["uptime_last_30m"], measured["uptime_last_1d"]) == (95.0, 25.0)
    assert abs(measured["latency_last_30m"]["p50"] - 2_000) < 300
    assert measured["throughput_last_30m"] == 100.0
    assert (measured["status"], measured["circuit"]) == (0, "closed")
    assert measured["pricing"]["prompt"] == "0.00001"
    assert measured["data_policy"] == {"training": False, "zdr": False}
    assert (unmeasured["uptime_last_30m"], unmeasured["latency_last_30m"], unmeasured["uptime_last_1d"]) == (None, None, None)
    assert unmeasured["data_policy"]["zdr"]
    assert "secret" not in answer.text and "base_url" not in answer.text and "sandbox-openai" not in answer.text
    assert second.pk


def test_it_knows_no_model_that_the_key_may_not_use(world: World, tenant: Tenant, route: str) -> None:
    world.await_served(tenant, route)
    assert ask(world, tenant, "no/such").status_code == 404
    barred = world.tenant(allowed_routes=["openai/other"])
    assert ask(world, barred, route).json()["error"]["code"] == "model_not_found"
    assert httpx.get(f"{world.gateway.url}/v1/models/{route}/endpoints").status_code == 401
    assert httpx.get(f"{world.gateway.url}/v1/models/{route}", headers=tenant.headers).status_code == 200


def test_it_lists_who_stands_behind_a_virtual_model(world: World, tenant: Tenant, route: str) -> None:
    other = world.route("mistral", "mistral-small", name="listed/other")
    rule = RoutingRule.objects.create(name="tokia/listed", display_name="Listada")
    for position, name in enumerate((other.name, route), 1):
        RuleStep.objects.create(rule=rule, position=position, route=Route.objects.get(name=name))
    await_true(lambda: ask(world, tenant, "tokia/listed").status_code == 200)
    listed = ask(world, tenant, "tokia/listed").json()["data"]["endpoints"]
    assert [(item["model_id"], item["tag"]) for item in listed] == [(other.name, "mistral"), (route, "openai"), (route, "groq")]


def test_it_tells_a_circuit_that_an_administrator_opened(world: World, tenant: Tenant, route: str) -> None:
    deployment = Deployment.objects.get(route__name=route, provider__slug="groq")
    credential = Credential.objects.get(provider__slug="groq")

    def told() -> tuple[int, str]:
        item = next(item for item in ask(world, tenant, route).json()["data"]["endpoints"] if item["tag"] == "groq")
        return item["status"], item["circuit"]

    force_circuit(deployment.pk, credential.pk, "open", 60)
    try:
        await_true(lambda: told() == (-2, "open"))
    finally:
        lift_force(deployment.pk, credential.pk)
    await_true(lambda: told() == (0, "closed"))
