"""Limits as two processes share them: two `Limits` over one real Valkey, which may be cut, slow, or forget everything."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as ours
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings
from redis import Redis

from gateway import seats
from gateway.calls import CallContext, Caller, Limit
from gateway.errors import RateLimited
from gateway.limits import Limits, write_duration
from tests.gateway.proxy import Proxy

_ids = itertools.count(900_000_000)
SHARED = 2_000  # ms: a test machine may be busy


@pytest.fixture(autouse=True)
def patient(settings: Settings) -> None:
    settings.GATEWAY_VALKEY_TIMEOUT_MS = SHARED
    settings.GATEWAY_PROCESSES = 2
    while time.time() % 60 > 54:  # a test lives within a minute
        time.sleep(0.2)


@pytest.fixture
def valkey() -> Iterator[Redis]:
    with Redis.from_url(ours.VALKEY_URL) as valkey:
        yield valkey


def caller(
    *, key: int = 0, requests: int = 100_000, tokens: int = 0, calls: int = 0, all_requests: int = 0, all_tokens: int = 0,
    all_calls: int = 0, organization: int = 0,
) -> Caller:  # fmt: skip
    """Its limits: the key's own, and those of `all_` its organization's keys."""
    key, organization = key or next(_ids), organization or next(_ids)

    def limits(unit: str, own: int, shared: int) -> tuple[Limit, ...]:
        both = (Limit(unit, "key", key, own), Limit(unit, "organization", organization, shared))
        return tuple(limit for limit in both if limit.most)

    return Caller(
        api_key_id=key, organization_id=organization, wallet_id=1, label="t", allowed_routes=frozenset(),
        requests_per_minute=requests, expires_at=None, is_revoked=False, is_suspended=False,
        rates=limits("requests", requests, all_requests) + limits("tokens", tokens, all_tokens),
        seats=limits("calls", calls, all_calls),
    )  # fmt: skip


def context() -> CallContext:
    return CallContext(id=f"call-{next(_ids)}", started_ns=0)


def run(test: Callable[[Limits, Limits], Awaitable[None]]) -> None:
    """With two processes."""

    async def both() -> None:
        pair = Limits(), Limits()
        for limits in pair:
            await limits.start()
        try:
            await test(*pair)
        finally:
            for limits in pair:
                await limits.stop()

    asyncio.run(both())


async def let_in(limits: Limits, who: Caller, *, tokens: int = 0) -> CallContext | None:
    call = context()
    try:
        await limits.admit_call(who, call, tokens=tokens)
    except RateLimited:
        return None
    return call


async def count_in(
    pair: tuple[Limits, Limits], who: list[Caller], *, asked: int, tokens: int = 0
) -> list[tuple[Limits, CallContext]]:
    """Of so many calls at once, half here and half there, those that were let in."""
    turns = [(pair[place % 2], who[place % len(who)]) for place in range(asked)]
    calls = await asyncio.gather(*(let_in(limits, caller_, tokens=tokens) for limits, caller_ in turns))
    return [(limits, call) for (limits, _), call in zip(turns, calls, strict=True) if call is not None]


def test_two_processes_let_in_what_the_limit_says() -> None:
    async def test(one: Limits, two: Limits) -> None:
        organization = next(_ids)
        keys = [caller(organization=organization, all_requests=300, requests=250) for _ in range(2)]
        assert len(await count_in((one, two), keys, asked=700)) == 300  # of the organization
        alone = caller(requests=250, all_requests=300)
        assert len(await count_in((one, two), [alone], asked=400)) == 250  # of the key

    run(test)


def test_tokens_are_taken_before_and_what_was_not_used_comes_back() -> None:
    async def test(one: Limits, two: Limits) -> None:
        who = caller(tokens=20_000)
        under_way = await count_in((one, two), [who], asked=60, tokens=1_000)
        assert len(under_way) == 20
        assert await let_in(one, who, tokens=1_000) is None
        for limits, call in under_way:
            assert call.ticket is not None
            call.ticket.tokens_used = 100
            limits.close(call.ticket)
        await asyncio.sleep(0.15)  # what a process gives back is on its way
        again = await count_in((one, two), [who], asked=60, tokens=1_000)
        assert 17 <= len(again) <= 18  # 18 000 are left, and each process may keep a slice

    run(test)


def test_small_calls_use_the_whole_minute() -> None:
    async def test(one: Limits, two: Limits) -> None:
        who = caller(tokens=100_000)
        assert 1_900 <= len(await count_in((one, two), [who], asked=2_500, tokens=50)) <= 2_000

    run(test)


def test_who_used_more_than_was_taken_owes_it() -> None:
    async def test(one: Limits, two: Limits) -> None:
        who = caller(tokens=1_000)
        call = await let_in(one, who)  # nothing is known before
        assert call is not None and call.ticket is not None
        call.ticket.tokens_used = 900
        one.close(call.ticket)
        assert await let_in(one, who, tokens=200) is None
        assert await let_in(two, who, tokens=200) is None  # it was told
        assert await let_in(two, who, tokens=50) is not None

    run(test)


def test_what_never_fits_is_not_worth_another_try() -> None:
    async def test(one: Limits, _: Limits) -> None:
        call = context()
        with pytest.raises(RateLimited) as refused:
            await one.admit_call(caller(all_tokens=1_000), call, tokens=1_001)
        assert "1001 tokens" in refused.value.message and "da empresa" in refused.value.message
        assert (b"x-should-retry", b"false") in call.headers and refused.value.retry_after_seconds is None

    run(test)


def test_headers_tell_the_nearest_limit_of_each_unit() -> None:
    async def test(one: Limits, _: Limits) -> None:
        who, call = caller(requests=500, all_requests=60, tokens=9_000, all_tokens=100_000), context()
        await one.admit_call(who, call, tokens=1_000)
        told = dict(call.headers)
        assert told[b"x-ratelimit-limit-requests"] == b"60" and told[b"x-ratelimit-remaining-requests"] == b"59"
        assert told[b"x-ratelimit-limit-tokens"] == b"9000" and told[b"x-ratelimit-remaining-tokens"] == b"8000"
        assert told[b"x-ratelimit-reset-tokens"].endswith(b"s")
        refused = context()
        with pytest.raises(RateLimited) as error:
            await one.admit_call(who, refused, tokens=8_500)
        told = dict(refused.headers)
        assert told[b"x-ratelimit-limit-tokens"] == b"9000" and b"x-ratelimit-limit-requests" in told
        assert "tokens por minuto desta chave" in error.value.message and "per minute of this key" in error.value.english
        assert 0 < (error.value.retry_after_seconds or 0) <= 61

    run(test)


def test_a_seat_is_given_back_however_a_call_ends() -> None:
    async def test(one: Limits, two: Limits) -> None:
        organization = next(_ids)
        who = [caller(organization=organization, calls=6, all_calls=10) for _ in range(2)]
        under_way = await count_in((one, two), who, asked=40)
        assert len(under_way) == 10
        call = context()
        with pytest.raises(RateLimited) as refused:
            await two.admit_call(who[0], call)
        assert "chamadas ao mesmo tempo" in refused.value.message and refused.value.retry_after_seconds == 1
        for limits, seated in under_way:
            assert seated.ticket is not None
            limits.close(seated.ticket)
        assert len(await count_in((one, two), who, asked=40)) == 10

    run(test)


def test_one_call_after_the_other_always_finds_its_only_seat() -> None:
    async def test(one: Limits, two: Limits) -> None:
        who = caller(calls=1)
        for place in range(30):
            limits = (one, two)[place % 2]
            call = await let_in(limits, who)
            assert call is not None and call.ticket is not None
            limits.close(call.ticket)

    run(test)


def test_seats_of_a_process_that_died_expire_and_those_of_a_live_one_outlive_a_flush(
    monkeypatch: pytest.MonkeyPatch, valkey: Redis
) -> None:
    monkeypatch.setattr(seats, "SEAT_SECONDS", 2)
    monkeypatch.setattr(seats, "RENEW_SECONDS", 0.3)

    async def test(one: Limits, two: Limits) -> None:
        died, lives = caller(calls=2), caller(calls=2)
        assert len(await count_in((one, one), [died], asked=3)) == 2
        assert len(await count_in((two, two), [lives], asked=3)) == 2
        await one._seats.stop()  # as a kill: nothing is given back, nothing renewed
        valkey.delete(f"tokia:calls:key:{lives.api_key_id}")
        assert await let_in(two, died) is None
        await asyncio.sleep(3.2)
        assert await let_in(two, died) is not None
        assert await let_in(one, lives) is None

    run(test)


def test_a_caller_who_hangs_up_while_it_is_let_in_takes_nothing(valkey: Redis) -> None:
    async def test(one: Limits, two: Limits) -> None:
        who = caller(calls=1, tokens=1_000)
        for _ in range(5):
            task = asyncio.create_task(let_in(one, who, tokens=600))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.1)
        assert await let_in(one, who, tokens=600) is not None

    run(test)


@pytest.mark.parametrize("mode", ["refuse", "swallow"])
def test_without_valkey_each_process_lets_its_part_in(settings: Settings, mode: str) -> None:
    proxy = Proxy(ours.VALKEY_URL)
    settings.VALKEY_URL, settings.GATEWAY_VALKEY_TIMEOUT_MS = proxy.url, 200

    async def test(one: Limits, two: Limits) -> None:
        who, seated, heavy = caller(requests=100), caller(calls=10), caller(tokens=20_000)
        assert await let_in(one, caller()) is not None
        proxy.set_mode(mode)
        began = time.monotonic()
        assert len(await count_in((one, two), [who], asked=300)) == 100
        under_way = await count_in((one, two), [seated], asked=40)
        assert len(under_way) == 10
        for limits, call in under_way:
            assert call.ticket is not None
            limits.close(call.ticket)
        assert len(await count_in((one, two), [seated], asked=40)) == 10
        assert len(await count_in((one, two), [heavy], asked=60, tokens=1_000)) == 20
        assert time.monotonic() - began < 20  # 440 time-outs are 88 s: nobody waits for it call by call

    try:
        run(test)
    finally:
        proxy.close()


@given(seconds=st.floats(min_value=0, max_value=3_600))
def test_durations_are_as_openai_writes_them(seconds: float) -> None:
    text = write_duration(seconds).decode()
    if text.endswith("ms"):
        told = int(text[:-2]) / 1_000
    else:
        minutes, _, rest = text[:-1].rpartition("m")
        told = int(minutes or 0) * 60 + int(rest)
    assert seconds <= told + 1e-9 and told - seconds < (1 if seconds >= 1 else 0.0011)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, b"0ms"), (0.012, b"12ms"), (1, b"1s"), (59.2, b"1m0s"), (6.4, b"7s"), (62, b"1m2s"), (0.9999, b"1000ms")],
)
def test_durations_read_well(seconds: float, shown: bytes) -> None:
    assert write_duration(seconds) == shown


def test_a_key_with_requests_alone_asks_for_a_slice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what a call asks for travels together."""

    async def test(one: Limits, two: Limits) -> None:
        trips: list[int] = []
        ask = one._lane._ask

        async def count(batch: list[Any]) -> list[Any]:
            trips.append(len(batch))
            return await ask(batch)

        monkeypatch.setattr(one._lane, "_ask", count)
        plain = caller(requests=10_000)
        for _ in range(150):
            assert await let_in(one, plain) is not None
        assert trips == [1, 1]
        trips.clear()
        await let_in(one, caller(requests=10, all_requests=10, tokens=100, all_tokens=100, calls=2, all_calls=2), tokens=10)
        assert trips == [5]

    run(test)
