"""Circuits and vitals in real gateway processes: two that share, through a Valkey that may be cut, slowed and emptied."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest
from django.conf import settings
from redis import Redis

from gateway.circuit_reports import force_circuit, lift_force, read_circuits
from gateway.models import Credential, Deployment, DeploymentVitals
from tests.examples import IS_LONG
from tests.gateway.proxy import Proxy
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body

FAST = {
    "GATEWAY_CIRCUIT_PAUSE_SECONDS": "3", "GATEWAY_VITALS_SECONDS": "0.4", "REQUESTS_PER_MINUTE": "100000",
    "GATEWAY_VALKEY_TIMEOUT_MS": "20",  # as shipped: nobody waits longer
}  # fmt: skip
SICK, WELL = "mistral", "groq"


@dataclass
class Pair:
    """Two gateways; the first one's Valkey is behind a proxy."""

    first: Gateway
    second: Gateway
    proxy: Proxy

    def start(self) -> None:
        for gateway in (self.first, self.second):
            gateway.start()


@pytest.fixture(scope="module")
def pair(world: World) -> Iterator[Pair]:
    proxy = Proxy(settings.VALKEY_URL)
    pair = Pair(Gateway(world.folder, **FAST, VALKEY_URL=proxy.url), Gateway(world.folder, **FAST), proxy)
    pair.start()
    yield pair
    for gateway in (pair.first, pair.second):
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log.read_text()
    proxy.close()


@dataclass
class Model:
    """A route with a deployment that may fall ill, and one behind it."""

    name: str
    sick: Deployment
    well: Deployment

    @property
    def circuit(self) -> tuple[int, int]:
        credential = Credential.objects.filter(provider=self.sick.provider).get()
        return self.sick.pk, credential.pk


@pytest.fixture
def model(world: World, pair: Pair, caller: Tenant, request: pytest.FixtureRequest) -> Model:
    pair.proxy.set_mode("pass")
    world.sandbox.post("/llm/__reset")
    number = abs(hash(request.node.name)) % 10**8
    route = world.route(SICK, "mistral-small-latest", name=f"test/circuit-{number}")
    sick = Deployment.objects.get(route=route)
    well = Deployment.objects.create(
        route=route, provider=world.provider(WELL), upstream_model="llama-3.3-70b-versatile", priority=sick.priority + 1
    )
    for gateway in (pair.first, pair.second):
        world.await_served(caller, route.name, gateway=gateway)
    return Model(route.name, sick, well)


@pytest.fixture(scope="module")
def caller(world: World) -> Tenant:
    return world.tenant(brl="500.00", requests_per_minute=100_000)


def ask(gateway: Gateway, tenant: Tenant, model: Model, **fields: object) -> httpx.Response:
    body = chat_body(model.name, **{"max_tokens": 4, **fields})
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer


def served_by(gateway: Gateway, tenant: Tenant, model: Model) -> tuple[str, int]:
    answer = ask(gateway, tenant, model)
    return answer.headers["x-tokia-provider"], int(answer.headers["x-tokia-attempts"])


def break_at(gateway: Gateway, world: World, tenant: Tenant, model: Model) -> None:
    """Its sick deployment fails five calls, which the other one serves; from then on nobody asks it first."""
    world.sandbox.script(SICK, "500", times=200)
    attempts = [served_by(gateway, tenant, model) for _ in range(7)]
    assert attempts in ([(WELL, 2)] * 5 + [(WELL, 1)] * 2, [(WELL, 2)] * 4 + [(WELL, 1)] * 3)  # it may have failed once before


def recover(gateway: Gateway, world: World, tenant: Tenant, model: Model) -> float:
    world.sandbox.post("/llm/__reset")
    began = time.monotonic()
    served: list[str] = []

    def is_closed() -> bool:
        served.append(served_by(gateway, tenant, model)[0])
        return served[-3:] == [SICK] * 3  # two probes, and one as usual

    await_true(is_closed, seconds=20, why="it did not close")
    return time.monotonic() - began


def test_one_process_opens_it_for_both_and_it_closes_after_the_recovery(
    world: World, pair: Pair, caller: Tenant, model: Model
) -> None:
    assert served_by(pair.first, caller, model) == (SICK, 1)
    break_at(pair.first, world, caller, model)
    began = time.monotonic()
    await_true(lambda: read_circuits().get(model.circuit) is not None and read_circuits()[model.circuit].state == "open")
    time.sleep(max(0.0, 1.5 - (time.monotonic() - began)))
    assert served_by(pair.second, caller, model) == (WELL, 1)  # it has not failed here once
    recover(pair.second, world, caller, model)
    await_true(lambda: read_circuits()[model.circuit].state == "closed")
    await_true(lambda: served_by(pair.first, caller, model) == (SICK, 1))
    attempts = [attempt for record in caller.records() if record.route_name == model.name for attempt in record.attempts]
    assert {attempt.get("circuit", "closed") for attempt in attempts} <= {"closed", "half_open"}  # nobody asked an open one
    assert sum(attempt["status"] == 500 for attempt in attempts) <= 7  # five, and what was tried of it while it was sick


def test_a_force_is_in_force_in_both(pair: Pair, caller: Tenant, model: Model) -> None:
    force_circuit(*model.circuit, "open", 30)
    time.sleep(1 if IS_LONG else 2)
    for gateway in (pair.first, pair.second):
        assert served_by(gateway, caller, model) == (WELL, 1)
    lift_force(*model.circuit)
    time.sleep(1 if IS_LONG else 2)
    for gateway in (pair.first, pair.second):
        assert served_by(gateway, caller, model) == (SICK, 1)


@pytest.mark.parametrize("mode", ["refuse", "swallow"])
def test_without_valkey_it_opens_and_closes_in_each_process(
    mode: str, world: World, pair: Pair, caller: Tenant, model: Model
) -> None:
    pair.proxy.set_mode(mode)
    break_at(pair.first, world, caller, model)
    assert served_by(pair.second, caller, model) == (WELL, 2)  # the other one does not know
    recover(pair.first, world, caller, model)
    pair.proxy.set_mode("refuse")
    pair.proxy.set_mode("pass")
    break_at(pair.second, world, caller, model)
    time.sleep(2.0)
    await_true(lambda: served_by(pair.first, caller, model) == (WELL, 1), why="it did not come back by itself")
    recover(pair.first, world, caller, model)


def test_an_emptied_valkey_changes_nothing(world: World, pair: Pair, caller: Tenant, model: Model) -> None:
    break_at(pair.first, world, caller, model)
    with Redis.from_url(settings.VALKEY_URL) as valkey:
        valkey.flushall()
        assert served_by(pair.first, caller, model) == (WELL, 1)
        await_true(lambda: model.circuit in read_circuits())
    recover(pair.first, world, caller, model)


def test_a_late_valkey_is_waited_for_by_nobody(pair: Pair, caller: Tenant, model: Model) -> None:
    def overheads() -> list[float]:
        with httpx.Client(headers=caller.headers, timeout=20) as client:
            url, body = f"{pair.first.url}/v1/chat/completions", chat_body(model.name, max_tokens=2)
            return sorted(float(client.post(url, json=body).headers["x-tokia-overhead-ms"]) for _ in range(100))

    place, most_ms = (98, 20) if IS_LONG else (90, 15)  # each call that waits, waits 20 ms
    for _ in range(3):  # the machine is shared: the best of three
        pair.proxy.set_mode("pass")
        healthy = overheads()
        pair.proxy.set_mode("swallow")
        late = overheads()
        pair.proxy.set_mode("refuse")
        if late[place] - healthy[place] <= most_ms:
            return
    raise AssertionError(f"call {place} of 100 rose from {healthy[place]} to {late[place]} ms")


def test_the_vitals_are_the_calls_that_were_made(world: World, pair: Pair, caller: Tenant, model: Model) -> None:
    stream = {"stream": True, "stream_options": {"include_usage": True}}

    def many(gateway: Gateway) -> None:
        for number in range(10):
            ask(gateway, caller, model, **(stream if number % 2 else {}))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(many, [pair.first, pair.second, pair.first, pair.second]))
    world.sandbox.script(SICK, "503", times=1)
    assert served_by(pair.first, caller, model) == (WELL, 2)
    world.sandbox.script(SICK, "reset:4")
    assert '{"error":' in ask(pair.second, caller, model, **stream, max_tokens=80).text
    assert pair.first.stop() == 0  # what it had not written is written at its end
    rows = DeploymentVitals.objects.filter(span_seconds=60, provider_slug=SICK, deployment_id=model.sick.pk)
    await_true(lambda: sum(row.succeeded for row in rows.all()) == 40, why=str(list(rows.values())))
    await_true(lambda: sum(row.failed for row in rows.all()) == 2)
    assert sum(sum(row.total) for row in rows.all()) == 40
    assert sum(sum(row.first_token) for row in rows.all()) == 20
    records = [record for record in caller.records() if record.route_name == model.name]
    assert sum(row.output_tokens for row in rows.all()) == sum(
        record.output_tokens + record.reasoning_tokens
        for record in records
        if record.outcome == "completed" and record.provider_name == SICK
    )
    [well] = DeploymentVitals.objects.filter(span_seconds=60, deployment_id=model.well.pk)
    assert (well.succeeded, well.failed, well.route_name) == (1, 0, model.name)
    before = list(rows.order_by("begins_at").values())
    pair.first.start()
    world.await_served(caller, model.name, gateway=pair.first)
    assert list(rows.order_by("begins_at").values()) == before
