"""Limits at the edge: two real gateways that share them, OpenAI's SDK that honours them, and a caller who hangs up."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from accounts.models import LimitProfile, Organization
from tests.gateway.world import Gateway, Tenant, World, await_true, chat_body

MODEL = "limits/one"
_names = itertools.count(1)


@pytest.fixture(scope="module")
def gateways(world: World) -> Iterator[list[Gateway]]:
    world.route("openai", "gpt-4o-mini", name=MODEL)
    pair = [Gateway(world.folder) for _ in range(2)]
    some = world.tenant()
    for gateway in pair:
        gateway.start()
        world.await_served(some, MODEL, gateway=gateway)
    yield pair
    for gateway in pair:
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log.read_text()


@pytest.fixture(autouse=True)
def minute(world: World) -> Iterator[None]:
    """A test lives within one."""
    while time.time() % 60 > 48:
        time.sleep(0.2)
    world.sandbox.post("/llm/__reset")
    yield
    world.sandbox.post("/llm/__reset")


def limited(world: World, *, requests: int = 100_000, tokens: int = 10**9, calls: int | None = None, **key_fields: Any) -> Tenant:
    """An organization whose keys have these limits together."""
    tenant = world.tenant(**key_fields)
    shared = LimitProfile.objects.create(
        name=f"limites {next(_names)}", requests_per_minute=requests, tokens_per_minute=tokens, concurrent_calls=calls
    )
    Organization.objects.filter(pk=tenant.wallet.organization_id).update(limit_profile=shared)
    return tenant


async def storm(
    world: World, gateways: list[Gateway], tenant: Tenant, client: httpx.AsyncClient, *, calls: int, admitted: int
) -> list[asyncio.Task[httpx.Response]]:
    """So many calls at once over both; those that were let in wait at the upstream."""
    world.sandbox.script("openai", "stall", times=-1)
    tasks = [
        asyncio.create_task(
            client.post(
                f"{gateways[place % 2].url}/v1/chat/completions", json=chat_body(MODEL, max_tokens=1_000), headers=tenant.headers
            )
        )
        for place in range(calls)
    ]
    deadline = time.monotonic() + 20
    while sum(task.done() for task in tasks) < calls - admitted or await stalled(world, client) < admitted:
        if time.monotonic() > deadline:
            await release(world, client)
            raise AssertionError(Counter(answer.status_code for answer in await asyncio.gather(*tasks)))
        await asyncio.sleep(0.05)
    assert Counter(task.result().status_code for task in tasks if task.done()) == {429: calls - admitted}
    return tasks


async def stalled(world: World, client: httpx.AsyncClient) -> int:
    return int((await client.get(f"{world.sandbox.url}/llm/__ledger", params={"limit": 1})).json()["stalled"])


async def release(world: World, client: httpx.AsyncClient) -> None:
    await client.delete(f"{world.sandbox.url}/llm/__script")
    await client.post(f"{world.sandbox.url}/llm/__release", json={})


def many() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=None))


def refused_of(tasks: list[asyncio.Task[httpx.Response]]) -> httpx.Response:
    return next(task.result() for task in tasks if task.done() and task.result().status_code == 429)


def test_calls_at_the_same_time_are_as_many_as_the_organization_may(world: World, gateways: list[Gateway]) -> None:
    tenant = limited(world, calls=10)

    async def test() -> None:
        async with many() as client:
            tasks = await storm(world, gateways, tenant, client, calls=30, admitted=10)
            refused = refused_of(tasks)
            assert refused.headers["retry-after"] == "1" and "10 chamadas ao mesmo tempo da empresa" in refused.text
            for task in [task for task in tasks if not task.done()][:3]:  # these hang up
                task.cancel()
            deadline = time.monotonic() + 10
            while await stalled(world, client) > 7:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            more = await storm(world, gateways, tenant, client, calls=8, admitted=3)
            await release(world, client)
            answers = await asyncio.gather(*tasks, *more, return_exceptions=True)
            assert sum(isinstance(answer, httpx.Response) and answer.status_code == 200 for answer in answers) == 10

    asyncio.run(test())


def test_tokens_of_a_minute_are_shared_and_the_unused_come_back(world: World, gateways: list[Gateway]) -> None:
    body = chat_body(MODEL, max_tokens=1_000)
    need = 1_000 - -len(httpx.Request("POST", "http://x", json=body).content) // 4  # the answer, and the question by its bytes
    limit = 20 * need + 500
    tenant = limited(world, tokens=limit)

    async def test() -> None:
        async with many() as client:
            tasks = await storm(world, gateways, tenant, client, calls=45, admitted=20)
            refused = refused_of(tasks)
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            assert "tokens por minuto da empresa" in refused.json()["error"]["message"]
            assert refused.headers["x-ratelimit-limit-tokens"] == str(limit) and int(refused.headers["retry-after"]) <= 61
            assert int(refused.headers["x-ratelimit-remaining-tokens"]) < need
            await release(world, client)
            served = [answer for answer in await asyncio.gather(*tasks) if answer.status_code == 200]
            assert len(served) == 20
            used = sum(answer.json()["usage"]["total_tokens"] for answer in served)
            await asyncio.sleep(0.3)
            url = f"{gateways[1].url}/v1/chat/completions"
            again = await client.post(url, json=chat_body(MODEL, max_tokens=3_000), headers=tenant.headers)
            left = int(again.headers["x-ratelimit-remaining-tokens"])
            assert again.status_code == 200 and limit * 95 // 100 - used - 3 * need <= left <= limit - used - 3_000

    asyncio.run(test())


def test_the_sdk_waits_as_long_as_it_is_told(world: World, gateways: list[Gateway]) -> None:
    tenant = limited(world, calls=1)
    world.sandbox.script("openai", "stall:700")
    body = chat_body(MODEL, max_tokens=2)

    async def test() -> float:
        async with (
            openai.AsyncOpenAI(api_key=tenant.secret, base_url=f"{gateways[0].url}/v1") as one,
            openai.AsyncOpenAI(api_key=tenant.secret, base_url=f"{gateways[1].url}/v1") as two,
        ):
            first = asyncio.create_task(one.chat.completions.create(**body))
            await asyncio.sleep(0.35)
            began = time.monotonic()
            raw = await two.chat.completions.with_raw_response.create(**body)
            assert raw.retries_taken == 1
            assert raw.headers["x-ratelimit-reset-requests"].endswith("s")
            await first
            return time.monotonic() - began

    assert 0.9 < asyncio.run(test()) < 4
    with openai.OpenAI(api_key=limited(world, tokens=50).secret, base_url=f"{gateways[0].url}/v1") as client:
        began = time.monotonic()
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(**chat_body(MODEL, max_tokens=100))
        assert time.monotonic() - began < 5 and refused.value.response.headers["x-should-retry"] == "false"


def test_a_key_may_be_lower_than_its_organization(world: World, gateways: list[Gateway]) -> None:
    tenant = limited(world, requests=1_000, tokens=10**6, requests_per_minute=5)
    body = chat_body(MODEL, max_tokens=2)
    answers = [
        httpx.post(f"{gateways[n % 2].url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=20) for n in range(8)
    ]
    assert [answer.status_code for answer in answers].count(200) == 5
    assert answers[-1].headers["x-ratelimit-limit-requests"] == "5" and "5 requisições por minuto desta chave" in answers[-1].text
    await_true(lambda: len(tenant.records()) == 5)
