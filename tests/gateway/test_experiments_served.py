"""Experiments through a real gateway: calls are split by weight, a session stays on its side, and the page adds up the ledger."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from billing.models import UsageRecord
from gateway import experiments
from gateway.experiment_results import read_results
from gateway.experiments import ArmDraft
from gateway.models import Experiment, ExperimentArm
from tests.gateway.world import Tenant, World, await_true, chat_body

A, B, ALIAS = "openai/split-big", "openai/split-small", "split-big"
SESSIONS, CALLS = 100, 400


@pytest.fixture(scope="module")
def routes(world: World) -> None:
    world.route("openai", "gpt-4o", name=A, aliases=[ALIAS], units={"input": "10", "output": "30"})
    world.route("openai", "gpt-4o-mini", name=B, units={"input": "1", "output": "3"})


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{world.gateway.url}/v1", timeout=30) as client:
        yield client


def start(world: World, tenant: Tenant, client: httpx.Client, *, model: str = A, weights: tuple[int, int] = (7, 3)) -> Experiment:
    """A running experiment of the tenant, in force."""
    world.await_served(tenant, A, B)
    experiment = experiments.draft_experiment(
        tenant.wallet.organization, name="Menor?", model=model, arms=[ArmDraft(A, weights[0]), ArmDraft(B, weights[1])], by=None
    )
    experiments.start_experiment(experiment)
    await_true(lambda: call(client, tenant, session="erste") is not None and _arms(tenant)[-1] is not None)
    return experiment


def call(client: httpx.Client, tenant: Tenant, *, model: str = A, session: str = "", stream: bool = False, **fields: Any) -> str:
    """Returns the id of the call."""
    headers = tenant.headers | ({"x-session-id": session} if session else {})
    answer = client.post("/chat/completions", headers=headers, json=chat_body(model, max_tokens=20, stream=stream, **fields))
    assert answer.status_code == 200, answer.text
    return answer.headers["x-request-id"]


def _arms(tenant: Tenant) -> list[int | None]:
    return [record.experiment_arm_id for record in tenant.records()]


def test_it_splits_by_weight_sticks_to_sessions_and_adds_up_the_ledger(
    world: World, routes: None, tenant: Tenant, client: httpx.Client
) -> None:
    posted_before = tenant.fresh().posted_nanos
    experiment = start(world, tenant, client)
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(
            lambda number: (number % SESSIONS, call(client, tenant, session=f"s-{number % SESSIONS}", stream=number % 3 == 0)),
            range(CALLS),
        )
        session_of = {id_: session for session, id_ in made}
    records = {str(record.pk): record for record in tenant.records()}
    first, second = ExperimentArm.everywhere.filter(experiment=experiment).order_by("pk")
    sides: dict[int, set[int | None]] = defaultdict(set)
    for id_, session in session_of.items():
        record = records[id_]
        sides[session].add(record.experiment_arm_id)
        arm = first if record.experiment_arm_id == first.pk else second
        assert record.route_name == arm.route.name
        assert record.routing is not None and record.routing["experiment"] == "Menor?" and record.routing["arm"] == arm.label
    assert len(sides) == SESSIONS and all(len(found) == 1 for found in sides.values())  # a session never changes sides
    share = sum(found == {first.pk} for found in sides.values()) / SESSIONS
    assert abs(share - 0.7) < 0.19, share  # four standard deviations of 100 draws

    results = read_results(experiment)
    assert results is not None
    one, other = results.arms
    split = [record for record in records.values() if record.experiment_arm_id is not None]
    assert results.calls == len(split) >= CALLS
    assert (one.errors.hits, other.errors.hits, one.cached + other.cached) == (0, 0, 0)
    assert one.first_token.n + other.first_token.n == len([record for record in split if record.is_stream])
    for arm, result in ((first, one), (second, other)):
        mine = [record for record in split if record.experiment_arm_id == arm.pk]
        assert (result.calls, result.net_nanos) == (len(mine), sum(record.net_nanos for record in mine))
    outside = sum(record.net_nanos for record in records.values() if record.experiment_arm_id is None)
    assert results.net_nanos == posted_before - tenant.fresh().posted_nanos - outside > 0  # to the nano


def test_a_user_stays_on_a_side_and_nobody_is_split_by_weight(
    world: World, routes: None, tenant: Tenant, client: httpx.Client
) -> None:
    start(world, tenant, client, weights=(1, 1))
    arm_of: dict[str, set[int | None]] = defaultdict(set)
    ids = {call(client, tenant, user=f"u-{number % 12}"): f"u-{number % 12}" for number in range(36)}
    for record in tenant.records():
        if str(record.pk) in ids:
            arm_of[ids[str(record.pk)]].add(record.experiment_arm_id)
    assert all(len(found) == 1 for found in arm_of.values()) and len(set.union(*arm_of.values())) == 2
    anonymous = {call(client, tenant) for _ in range(60)}
    arms = [record.experiment_arm_id for record in tenant.records() if str(record.pk) in anonymous]
    assert None not in arms and 10 < arms.count(arms[0]) < 50  # five standard deviations


def test_it_splits_every_name_of_the_model_and_nothing_else(
    world: World, routes: None, tenant: Tenant, client: httpx.Client
) -> None:
    start(world, tenant, client, model=ALIAS, weights=(1, 1_000))
    by_name = {name: call(client, tenant, model=name, session="x") for name in (A, ALIAS, B)}
    records = {str(record.pk): record for record in tenant.records()}
    assert records[by_name[A]].experiment_arm_id == records[by_name[ALIAS]].experiment_arm_id is not None
    assert records[by_name[B]].experiment_arm_id is None
    stranger = world.tenant()
    call(client, stranger)
    assert _arms(stranger) == [None]


def test_a_key_that_may_not_use_every_side_stays_out(world: World, routes: None, client: httpx.Client) -> None:
    tenant = world.tenant()
    start(world, tenant, client, weights=(1, 1))
    from accounts.keys import mint_key

    _, secret = mint_key(tenant.wallet.organization, user=None, name="só o grande", allowed_routes=[A])
    narrow = Tenant(wallet=tenant.wallet, key=tenant.key, secret=secret)
    ids = {call(client, narrow, session=f"n-{number}") for number in range(12)}
    found = [record for record in tenant.records() if str(record.pk) in ids]
    assert [(record.experiment_arm_id, record.route_name) for record in found] == [(None, A)] * 12


def test_an_ended_experiment_splits_nothing_and_keeps_its_results(
    world: World, routes: None, tenant: Tenant, client: httpx.Client
) -> None:
    experiment = start(world, tenant, client, weights=(1, 1_000))
    before = read_results(experiment)
    assert before is not None and before.calls > 0
    experiments.end_experiment(experiment)
    await_true(lambda: call(client, tenant, session="erste") is not None and _arms(tenant)[-1] is None)
    last = tenant.records()[-1]
    assert last.route_name == A  # the model that the code names answers again
    after = read_results(experiment)
    assert after is not None and after.calls >= before.calls
    assert after.net_nanos == sum(record.net_nanos for record in tenant.records() if record.experiment_arm_id is not None)


def test_a_side_that_fails_is_saved_by_the_model_that_was_named(
    world: World, routes: None, tenant: Tenant, client: httpx.Client
) -> None:
    """The caller sees no error; the page tells that another model answered for that side."""
    broken = world.fault_route("openai", "status500", "split-broken")
    world.await_served(tenant, A, broken)
    experiment = experiments.draft_experiment(
        tenant.wallet.organization, name="Quebrado", model=A, arms=[ArmDraft(A, 1), ArmDraft(broken, 1_000)], by=None
    )
    experiments.start_experiment(experiment)
    await_true(lambda: call(client, tenant, session="erste") is not None and _arms(tenant)[-1] is not None)
    for number in range(5):
        call(client, tenant, session=f"b-{number}")
    results = read_results(experiment)
    assert results is not None
    named, failing = results.arms
    assert failing.elsewhere == failing.calls > 0 and failing.errors.hits == 0
    saved = UsageRecord.everywhere.filter(wallet=tenant.wallet, experiment_arm_id=failing.id).earliest("id")
    assert saved.route_name == A and json.dumps(saved.attempts).count('"status"') >= 2
    assert named.elsewhere == 0
