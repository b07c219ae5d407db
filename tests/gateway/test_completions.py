"""`/v1/completions`, the legacy address: with the official SDK, and what it refuses by its name."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from pydantic import TypeAdapter

from gateway.errors import BadRequest
from gateway.surfaces.completions import Shaper, Told, parse_completion
from tests.gateway.world import Tenant, World, sse_events

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6"}
COMPLETION = TypeAdapter(Completion)


def parse(**fields: Any) -> Any:
    return parse_completion(json.dumps({"model": "x/y", **fields}).encode())


@pytest.mark.parametrize(
    ("fields", "chat"),
    [
        ({"prompt": "oi"}, {"max_tokens": 16}),
        ({"prompt": ["oi"], "max_tokens": 9, "stop": ["x"], "temperature": 0, "seed": 3, "user": "u"},
         {"max_tokens": 9, "stop": ["x"], "temperature": 0, "seed": 3, "user": "u"}),
        ({"prompt": "oi", "logprobs": 0}, {"max_tokens": 16, "logprobs": True}),
        ({"prompt": "oi", "logprobs": 3}, {"max_tokens": 16, "logprobs": True, "top_logprobs": 3}),
        ({"prompt": "oi", "n": 2, "best_of": 2, "suffix": "", "echo": False}, {"max_tokens": 16, "n": 2}),
        ({"prompt": "oi", "logit_bias": {"1": -100}, "top_k": 4}, {"max_tokens": 16, "logit_bias": {"1": -100}, "top_k": 4}),
    ],
)  # fmt: skip
def test_it_asks_a_chat(fields: dict[str, Any], chat: dict[str, Any]) -> None:
    call = parse(**fields)
    assert call.decoded == {"model": "x/y", "messages": [{"role": "user", "content": "oi"}], **chat}
    assert {name: json.loads(bytes(raw)) for name, raw in call.fields.items()} == call.decoded
    assert call.choices == chat.get("n", 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"), ({"prompt": ""}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"), ({"prompt": [[1, 2]]}, "prompt"), ({"prompt": 7}, "prompt"), ({"prompt": [None]}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"), ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": "a", "n": 2, "best_of": 3}, "best_of"), ({"prompt": "a", "n": 0}, "n"), ({"prompt": "a", "n": 17}, "n"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"), ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "logprobs": 1, "echo": True}, "echo"), ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "messages": []}, "messages"), ({"prompt": "a", "tools": []}, "tools"),
        ({"prompt": "a", "stream_options": {}}, "stream_options"), ({"prompt": "a", "api_base": "http://x"}, "api_base"),
    ],
)  # fmt: skip
def test_it_refuses_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(**fields)
    assert refused.value.param == param


@given(st.lists(st.lists(st.text(max_size=5), max_size=4), min_size=1, max_size=3), st.text(max_size=5))
def test_streamed_texts_are_whole(choices: list[list[str]], echoed: str) -> None:
    shaper = Shaper(Told(echoed=echoed, wants_usage=False))
    frames = b"".join(
        b"data: " + json.dumps({"id": "chatcmpl-1", "choices": [{"index": index, "delta": {"content": piece}}]}).encode() + b"\n\n"
        for index, pieces in enumerate(choices)
        for piece in ["", *pieces]
    )
    told = [json.loads(frame.removeprefix(b"data: ")) for frame in shaper.read(frames).split(b"\n\n") if frame]
    for index, pieces in enumerate(choices):
        text = "".join(choice["text"] for chunk in told for choice in chunk["choices"] if choice["index"] == index)
        assert text == echoed + "".join(pieces)


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    units = {"input": "10", "cached_input": "1", "output": "30"}
    return {slug: world.route(slug, model, units=units).name for slug, model in MODELS.items()}


@pytest.fixture
def client(world: World, routes: dict[str, str], tenant: Tenant) -> Any:
    world.await_served(tenant, *routes.values())
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("slug", MODELS)
def test_it_answers_the_sdk(client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, slug: str) -> None:
    whole = client.completions.create(model=routes[slug], prompt="Diga olá.", max_tokens=60)
    COMPLETION.validate_python(whole.to_dict())
    assert (whole.object, whole.choices[0].finish_reason) == ("text_completion", "stop")
    assert whole.id.startswith("cmpl-")
    assert whole.choices[0].text
    text, usage, reasons = "", None, []
    asked: dict[str, Any] = {"stream_options": {"include_usage": True}}
    for chunk in client.completions.create(model=routes[slug], prompt="Diga olá.", max_tokens=60, stream=True, **asked):
        COMPLETION.validate_python({**chunk.to_dict(), "choices": [
            {**choice.to_dict(), "finish_reason": "stop"} for choice in chunk.choices]})  # fmt: skip
        text += "".join(choice.text for choice in chunk.choices)
        reasons += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
        usage = chunk.usage or usage
    assert text == whole.choices[0].text
    assert reasons == ["stop"]
    first, second = tenant.records()
    assert (first.surface, second.is_stream) == ("completions", True)
    for said, record in ((whole.usage, first), (usage, second)):
        assert said is not None
        assert said.prompt_tokens == record.input_tokens + record.cached_input_tokens
        assert said.completion_tokens == record.output_tokens
        assert said.to_dict()["cost"]


def test_it_answers_the_async_sdk(world: World, routes: dict[str, str], tenant: Tenant) -> None:
    world.await_served(tenant, *routes.values())

    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
            return (await client.completions.create(model=routes["openai"], prompt="oi", max_tokens=30)).choices[0].text

    assert asyncio.run(run())


def test_it_stops_at_sixteen_tokens_as_openai_does(client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    answer = client.completions.create(model=routes["openai"], prompt="Conte. [tokens=500]")
    assert answer.choices[0].finish_reason == "length"
    assert tenant.records()[0].output_tokens == 16


def test_it_echoes_counts_and_gives_several(client: openai.OpenAI, routes: dict[str, str]) -> None:
    answer = client.completions.create(model=routes["openai"], prompt="Era uma vez", echo=True, n=2, max_tokens=40)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.text.startswith("Era uma vez") and len(choice.text) > 11 for choice in answer.choices)
    streamed = ""
    for chunk in client.completions.create(model=routes["openai"], prompt="Era uma vez", echo=True, max_tokens=40, stream=True):
        assert chunk.choices
        streamed += chunk.choices[0].text
    assert streamed == answer.choices[0].text


@pytest.mark.parametrize("is_stream", [False, True])
def test_it_gives_logprobs_in_the_old_shape(client: openai.OpenAI, routes: dict[str, str], is_stream: bool) -> None:
    asked: dict[str, Any] = {"model": routes["openai"], "prompt": "oi", "logprobs": 1, "max_tokens": 12}
    answers = list(client.completions.create(**asked, stream=True)) if is_stream else [client.completions.create(**asked)]
    text = ""
    tokens: list[str] = []
    offsets: list[int] = []
    for answer in answers:
        [choice] = answer.choices
        text += choice.text
        if choice.logprobs is not None:
            tokens += choice.logprobs.tokens or []
            offsets += choice.logprobs.text_offset or []
            assert choice.logprobs.top_logprobs is not None
            assert len(choice.logprobs.token_logprobs or []) == len(choice.logprobs.top_logprobs)
    assert "".join(tokens) == text
    assert [text[at : at + len(token)] for at, token in zip(offsets, tokens, strict=True)] == tokens


def test_a_stream_that_is_cut_ends_with_an_error(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant
) -> None:
    world.sandbox.script("openai", "cleaneof:3")
    body = {"model": routes["openai"], "prompt": "oi", "stream": True, "max_tokens": 60}
    answer = httpx.post(f"{world.gateway.url}/v1/completions", json=body, headers=tenant.headers, timeout=20)
    events = sse_events(answer.text)
    assert events[-1]["error"]["code"] == "upstream_cut"
    [record] = tenant.records()
    assert (record.outcome, tenant.fresh().held_nanos) == ("cut", 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"{", b"[]", b'{"model":"m"}', b'{"model":"m","prompt":"a","prompt":"b"}',
        json.dumps({"model": "m", "prompt": ["a"] * 100_000}).encode(),
        json.dumps({"model": "m", "prompt": list(range(100_000))}).encode(), b'{"model":"m","prompt":"a","n":1e400}',
        b'{"model":"m","prompt":' + b"[" * 500 + b"]" * 500 + b"}",
    ],
)  # fmt: skip
def test_hostile_bodies_are_refused_at_once(world: World, client: openai.OpenAI, tenant: Tenant, raw: bytes) -> None:
    took = []
    with httpx.Client(headers=tenant.headers) as caller:
        for _ in range(4):
            started = time.perf_counter()
            answer = caller.post(f"{world.gateway.url}/v1/completions", content=raw)
            took.append(time.perf_counter() - started)
            assert 400 <= answer.status_code < 500, answer.text[:300]
    assert min(took) < 0.05 + len(raw) / 20_000_000
    assert tenant.records() == []
    assert tenant.fresh().held_nanos == 0
