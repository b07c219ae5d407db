"""The minutes of our provider keys, shared by processes that never wait for it; refused keys, and what providers tell."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pytest_django import Settings

from gateway import credential_health, credential_probes
from gateway.calls import ServedDeployment
from gateway.credentials import Credentials, minute_used_up, read_limits
from gateway.models import Credential, CredentialHealth
from tests.gateway.world import come_true
from tests.make import make_provider

numbers = itertools.count(int(time.time()) % 1_000_000 * 1_000)  # no credential of an earlier run's Valkey


def served(credential_id: int, *, requests: int = 0, tokens: int = 0) -> ServedDeployment:
    return ServedDeployment(
        id=1, provider_slug="openai", provider_name="OpenAI", dialect="openai", base_url="http://127.0.0.1:9", upstream_model="m",
        priority=1, weight=1, secret="s", is_strict=False, is_simulated=True, credential_id=credential_id,
        requests_per_minute=requests, tokens_per_minute=tokens,
    )  # fmt: skip


def run(work: Callable[[list[Credentials]], Awaitable[None]], *, processes: int = 1, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many processes' credentials on one loop, without a database."""
    monkeypatch.setattr(credential_health, "sync", lambda refused, limits: frozenset())

    async def main() -> None:
        async with AsyncExitStack() as closing:
            made = [Credentials() for _ in range(processes)]
            for credentials in made:
                await credentials.start()
                closing.push_async_callback(credentials.stop)
            await work(made)

    asyncio.run(main())


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Wall time stands in the middle of a minute; a test moves it."""
    now = [(time.time() // 60) * 60 + 30.0]
    monkeypatch.setattr("gateway.credentials.time.time", lambda: now[0])
    return now


async def spend_all(pool: list[Credentials], deployment: ServedDeployment, *, tries: int, tokens: int = 0) -> list[int]:
    """How many each process was allowed to send, all of them as fast as they can."""

    async def one(credentials: Credentials) -> int:
        allowed = 0
        for turn in range(tries):
            allowed += credentials.may_use(deployment) and credentials.spend(deployment, tokens)
            if turn % 3 == 0:
                await asyncio.sleep(0.001)
        return allowed

    return list(await asyncio.gather(*(one(credentials) for credentials in pool)))


@pytest.mark.parametrize("limit", [200, 1_000])
@pytest.mark.parametrize("processes", [1, 4])
def test_all_processes_together_keep_the_limit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: int, processes: int
) -> None:
    settings.GATEWAY_PROCESSES, settings.GATEWAY_VALKEY_TIMEOUT_MS = processes, 2_000
    deployment = served(next(numbers), requests=limit)

    async def work(pool: list[Credentials]) -> None:
        allowed = await spend_all(pool, deployment, tries=2 * limit // processes)
        assert 0.95 * limit <= sum(allowed) <= 1.05 * limit, allowed
        assert not any(credentials.may_use(deployment) for credentials in pool)

    run(work, processes=processes, monkeypatch=monkeypatch)


def test_a_small_limit_is_passed_by_no_more_than_one_per_process(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GATEWAY_PROCESSES, settings.GATEWAY_VALKEY_TIMEOUT_MS = 3, 2_000
    deployment = served(next(numbers), requests=6)

    async def work(pool: list[Credentials]) -> None:
        assert 6 <= sum(await spend_all(pool, deployment, tries=40)) <= 9

    run(work, processes=3, monkeypatch=monkeypatch)


def test_the_next_minute_is_another(settings: Settings, monkeypatch: pytest.MonkeyPatch, still_clock: list[float]) -> None:
    settings.GATEWAY_VALKEY_TIMEOUT_MS = 2_000
    deployment = served(next(numbers), requests=50)

    async def work(pool: list[Credentials]) -> None:
        first = await spend_all(pool, deployment, tries=200)
        assert not pool[0].may_use(deployment) and not pool[0].spend(deployment)
        still_clock[0] += 60
        assert pool[0].may_use(deployment)
        assert sum(await spend_all(pool, deployment, tries=200)) == pytest.approx(sum(first), abs=3)

    run(work, monkeypatch=monkeypatch)


def test_without_valkey_each_process_has_its_part(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VALKEY_URL, settings.GATEWAY_PROCESSES = "redis://127.0.0.1:9/0", 4
    deployment = served(next(numbers), requests=400)

    async def work(pool: list[Credentials]) -> None:
        for allowed in await spend_all(pool, deployment, tries=600):
            assert 95 <= allowed <= 105

    run(work, processes=4, monkeypatch=monkeypatch)


def test_nobody_waits_for_a_valkey_that_hangs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = served(next(numbers), requests=1_000)

    async def work(pool: list[Credentials]) -> None:
        async def never(*_: Any) -> None:
            await asyncio.sleep(60)

        assert pool[0]._valkey is not None
        monkeypatch.setattr(pool[0]._valkey, "eval", never)
        began = time.perf_counter()
        allowed = sum(pool[0].may_use(deployment) and pool[0].spend(deployment) for _ in range(100))
        assert time.perf_counter() - began < 2  # `never` takes a minute
        assert 1 <= allowed <= 51  # its overdraft, until the time-out
        await asyncio.sleep(0.1)
        assert pool[0].may_use(deployment)

    run(work, monkeypatch=monkeypatch)


def test_tokens_are_counted_by_what_calls_turn_out_to_use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GATEWAY_VALKEY_TIMEOUT_MS = 2_000
    deployment = served(next(numbers), tokens=100_000)

    async def work(pool: list[Credentials]) -> None:
        credentials, used = pool[0], 0
        for _ in range(2_000):
            if credentials.may_use(deployment) and credentials.spend(deployment):
                await asyncio.sleep(0)
                used += 500
                credentials.note_tokens(deployment, 500)
            else:
                await asyncio.sleep(0.001)
        assert 95_000 <= used <= 105_000
        assert credentials._mean_tokens(deployment) == pytest.approx(500, abs=50)

    run(work, monkeypatch=monkeypatch)


def test_a_refused_key_is_out_at_once_and_a_forbidden_one_is_only_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: list[Credentials]) -> None:
        [credentials] = pool
        told: dict[int, str] = {}

        def sync(refused: dict[int, str], limits: dict[int, dict[str, int]]) -> frozenset[int]:
            told.update(refused)
            return frozenset(id_ for id_, code in told.items() if code == "401")

        monkeypatch.setattr(credential_health, "sync", sync)
        credentials.note_refused(7, "401")
        credentials.note_refused(8, "403")
        credentials.note_refused(-9, "401")
        assert not credentials.may_use(served(7))
        assert credentials.may_use(served(8)) and credentials.may_use(served(-9)) and credentials.may_use(served(9))
        await come_true(lambda: told == {7: "401", 8: "403", -9: "401"})
        assert not credentials.may_use(served(7))
        told.clear()  # somebody revived it
        await come_true(lambda: credentials.may_use(served(7)))

    run(work, monkeypatch=monkeypatch)


def test_what_the_database_could_not_take_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: list[Credentials]) -> None:
        [credentials] = pool
        told: list[dict[int, str]] = []

        def away(refused: dict[int, str], limits: Any) -> frozenset[int]:
            told.append(dict(refused))
            if len([one for one in told if one]) < 3:
                raise OSError
            return frozenset({7})

        monkeypatch.setattr(credential_health, "sync", away)
        credentials.note_refused(7, "402")
        await come_true(lambda: told.count({7: "402"}) == 3)
        assert not credentials.may_use(served(7))

    run(work, monkeypatch=monkeypatch)


def test_it_reads_what_providers_tell_of_a_minute() -> None:
    openai = {b"x-ratelimit-remaining-requests": b"9998", b"x-ratelimit-limit-requests": b"10000",
              b"x-ratelimit-remaining-tokens": b"5", b"x-ratelimit-reset-requests": b"6ms"}  # fmt: skip
    assert read_limits(openai) == {"requests_left": 9998, "requests_limit": 10000, "tokens_left": 5}
    anthropic = {b"anthropic-ratelimit-tokens-remaining": b"479000", b"anthropic-ratelimit-tokens-limit": b"480000"}
    assert read_limits(anthropic) == {"tokens_left": 479000, "tokens_limit": 480000}
    assert read_limits({b"x-ratelimit-remaining-requests": b"-1", b"x-ratelimit-limit-requests": b"9" * 99}) == {}
    assert read_limits({b"content-type": b"application/json"}) == {}
    assert minute_used_up().kind == "rate_limit"


def test_headers_are_looked_at_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: list[Credentials]) -> None:
        [credentials] = pool
        seen: list[dict[int, dict[str, int]]] = []

        def sync(refused: dict[int, str], limits: dict[int, dict[str, int]]) -> frozenset[int]:
            seen.append(dict(limits))
            return frozenset()

        monkeypatch.setattr(credential_health, "sync", sync)
        for left in (b"100", b"99", b"98"):
            credentials.note_limits(5, {b"x-ratelimit-remaining-requests": left})
            credentials.note_limits(-5, {b"x-ratelimit-remaining-requests": left})
        await come_true(lambda: any(seen))
        await asyncio.sleep(0.6)  # and once more
        assert [one for one in seen if one] == [{5: {"requests_left": 100}}]

    run(work, monkeypatch=monkeypatch)


# ── In the database ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db
def test_the_database_is_told_who_is_dead_and_why() -> None:
    provider = make_provider(slug="openai")
    first, second, third = (
        provider.credentials.get(),
        *(Credential.objects.create(provider=provider, label=f"{n}", secret=b"", last4="") for n in (2, 3)),
    )
    assert credential_health.sync({first.pk: "401", second.pk: "403", 999_999: "401", -999_999: "401"}, {}) == {first.pk}
    health = CredentialHealth.objects.get(pk=first.pk)
    assert health.dead_at is not None and health.dead_reason == "401: chave inválida ou revogada"
    died_at = health.dead_at
    assert credential_health.sync({first.pk: "402"}, {}) == {first.pk}  # since when it is dead, and why, stays
    health.refresh_from_db()
    assert (health.dead_at, health.dead_reason) == (died_at, "401: chave inválida ou revogada")
    suspect = CredentialHealth.objects.get(pk=second.pk)
    assert suspect.dead_at is None and suspect.dead_reason == "403: acesso negado pelo provedor"
    limits = {"requests_left": 9, "requests_limit": 10}
    assert credential_health.sync({}, {first.pk: limits, third.pk: limits, 999_999: limits}) == {first.pk}
    health.refresh_from_db()
    assert health.limits == limits and health.limits_at is not None and health.dead_at == died_at
    assert CredentialHealth.objects.get(pk=third.pk).limits == limits
    credential_probes.revive(first)
    assert credential_health.sync({}, {}) == frozenset()
