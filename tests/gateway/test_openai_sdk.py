"""The official SDK against a real gateway, over both dialects: what a customer's program does."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

from billing.money import to_brl
from tests.gateway.world import Tenant, World

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6"}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "O tempo numa cidade",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
MESSAGES: list[Any] = [
    {"role": "system", "content": "Responda em português."},
    {"role": "user", "content": "Como está o tempo em São Paulo?"},
]


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
def test_it_answers_and_bills_exactly_what_it_says(
    client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, slug: str
) -> None:
    raw = client.chat.completions.with_raw_response.create(model=routes[slug], messages=MESSAGES, max_tokens=50)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    body = json.loads(raw.text, parse_float=Decimal)
    [record] = tenant.records()
    assert body["usage"]["cost"] == to_brl(record.net_nanos).normalize()
    assert body["usage"]["cost_details"]["currency"] == "BRL"
    assert Decimal(raw.headers["x-tokia-cost-brl"]) == to_brl(record.net_nanos)
    assert raw.headers["x-request-id"] == str(record.id) == answer._request_id
    assert raw.headers["x-tokia-model"] == routes[slug]
    assert raw.headers["x-tokia-provider"] == slug
    assert raw.headers["x-tokia-attempts"] == "1"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == record.input_tokens + record.cached_input_tokens + record.cache_write_tokens
    assert answer.usage.completion_tokens == record.output_tokens + record.reasoning_tokens
    assert (record.outcome, record.usage_source) == ("completed", "upstream")
    wallet = tenant.fresh()
    assert wallet.held_nanos == 0
    assert to_brl(wallet.posted_nanos) == Decimal(100) - to_brl(record.net_nanos)


@pytest.mark.parametrize("slug", MODELS)
def test_it_streams_with_usage_only_where_asked(client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, slug: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=routes[slug], messages=MESSAGES, stream=True, stream_options={"include_usage": True}, max_tokens=60
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.choices for chunk in chunks].count([]) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.model_extra is not None
    [record] = tenant.records()
    assert Decimal(repr(chunks[-1].usage.model_extra["cost"])) == to_brl(record.net_nanos).normalize()
    assert len({chunk.id for chunk in chunks}) == 1
    assert record.is_stream
    without = list(client.chat.completions.create(model=routes[slug], messages=MESSAGES, stream=True, max_tokens=60))
    assert all(chunk.choices for chunk in without)
    assert all(chunk.usage is None for chunk in without)
    assert without[-1].choices[0].finish_reason
    assert len(tenant.records()) == 2


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("is_stream", [False, True])
def test_it_calls_tools_and_takes_their_results(client: openai.OpenAI, routes: dict[str, str], slug: str, is_stream: bool) -> None:
    kwargs: Any = {"model": routes[slug], "tools": [TOOL], "tool_choice": "required", "max_tokens": 200}
    if is_stream:
        with client.chat.completions.stream(messages=MESSAGES, **kwargs) as stream:
            for _ in stream:
                pass
            message = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(messages=MESSAGES, **kwargs).choices[0].message
    assert message.tool_calls
    call = message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments), dict)
    history = [*MESSAGES, message.model_dump(exclude_none=True, exclude={"parsed"}), {
        "role": "tool", "tool_call_id": call.id, "content": "25 graus, céu limpo"
    }]  # fmt: skip
    for tool_call in history[2].get("tool_calls", []):
        tool_call["function"].pop("parsed_arguments", None)
    kwargs["tool_choice"] = "auto"
    answer = client.chat.completions.create(messages=history, **kwargs)
    assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


@pytest.mark.parametrize("slug", MODELS)
def test_it_obeys_json_mode(client: openai.OpenAI, routes: dict[str, str], slug: str) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    answer = client.chat.completions.create(
        model=routes[slug], messages=[{"role": "user", "content": "Responda em JSON: uma cidade."}], max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "cidade", "strict": True, "schema": schema}},
    )  # fmt: skip
    assert "city" in json.loads(answer.choices[0].message.content or "")
    answer = client.chat.completions.create(
        model=routes[slug], messages=[{"role": "user", "content": "Responda em JSON: uma cidade."}], max_tokens=200,
        response_format={"type": "json_object"},
    )  # fmt: skip
    if slug == "openai":  # Messages has no such mode: there it is an instruction, which the simulator does not follow
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_it_serves_the_async_client_and_many_at_once(world: World, routes: dict[str, str], tenant: Tenant) -> None:
    world.await_served(tenant, *routes.values())

    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:

            async def whole(slug: str) -> str:
                answer = await client.chat.completions.create(model=routes[slug], messages=MESSAGES, max_tokens=40)
                return answer.choices[0].message.content or ""

            async def streamed(slug: str) -> str:
                stream = await client.chat.completions.create(model=routes[slug], messages=MESSAGES, max_tokens=40, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*[work(slug) for _ in range(10) for slug in MODELS for work in (whole, streamed)])

    assert all(asyncio.run(run()))
    assert len(tenant.records()) == 40


def test_it_raises_the_sdks_own_error_classes(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    base_url = f"{world.gateway.url}/v1"
    with (
        openai.OpenAI(base_url=base_url, api_key="sk-tokia-wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as unauthorized,
    ):
        stranger.models.list()
    assert unauthorized.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as not_found:
        client.chat.completions.create(model="openai/nope", messages=MESSAGES)
    assert not_found.value.code == "model_not_found"
    assert not_found.value.request_id
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=routes["openai"], messages=[])
    assert bad.value.param == "messages"
    poor = world.tenant(brl="0.01")
    with (
        openai.OpenAI(base_url=base_url, api_key=poor.secret, max_retries=0) as client_without_money,
        pytest.raises(openai.APIStatusError) as broke,
    ):
        client_without_money.chat.completions.create(model=routes["openai"], messages=MESSAGES, max_tokens=10_000)
    assert (broke.value.status_code, broke.value.code) == (402, "insufficient_balance")
    assert "R$ 0,30" in broke.value.message
    assert "R$ 0,0100" in broke.value.message
    limited = world.tenant(requests_per_minute=1)
    with openai.OpenAI(base_url=base_url, api_key=limited.secret, max_retries=0) as client_in_a_hurry:
        client_in_a_hurry.chat.completions.create(model=routes["openai"], messages=MESSAGES, max_tokens=5)
        with pytest.raises(openai.RateLimitError) as slow:
            client_in_a_hurry.chat.completions.create(model=routes["openai"], messages=MESSAGES, max_tokens=5)
    assert int(slow.value.response.headers["retry-after"]) >= 1
    assert slow.value.response.headers["x-ratelimit-remaining-requests"] == "0"


def test_it_lists_models_credits_and_the_key(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    assert {model.id for model in client.models.list()} >= set(routes.values())
    assert client.models.retrieve(routes["openai"]).id == routes["openai"]
    client.chat.completions.create(model=routes["openai"], messages=MESSAGES, max_tokens=50)
    [record] = tenant.records()
    credits = json.loads(httpx.get(f"{world.gateway.url}/v1/credits", headers=tenant.headers).text, parse_float=Decimal)["data"]
    assert credits["currency"] == "BRL"
    assert credits["total_usage"] == to_brl(record.net_nanos).normalize()
    assert credits["total_credits"] == 100
    assert credits["available"] == 100 - credits["total_usage"]
    assert credits["held"] == 0
    key = httpx.get(f"{world.gateway.url}/v1/key", headers=tenant.headers).json()["data"]
    assert key["label"] == tenant.key.name
    assert key["rate_limit"]["requests"] == 600


def test_it_embeds_text_and_tokens_as_floats_and_base64(world: World, tenant: Tenant) -> None:
    name = world.route("openai", "text-embedding-3-small", surface="embeddings", units={"input": "1"}).name
    world.await_served(tenant, name)
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        by_default = client.embeddings.create(model=name, input=["um", "dois"])
        as_floats = client.embeddings.create(model=name, input=["um", "dois"], encoding_format="float")
        assert [item.index for item in by_default.data] == [0, 1]
        for packed, plain in zip(by_default.data, as_floats.data, strict=True):
            assert packed.embedding == pytest.approx(plain.embedding, abs=1e-6)
        assert client.embeddings.create(model=name, input=[[1, 2, 3], [4, 5]]).data[1].embedding
        assert client.embeddings.create(model=name, input=[1, 2, 3]).usage.prompt_tokens
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model=name, input="")
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model=name, input=[])
    assert len(tenant.records()) == 4
    assert all(record.surface == "embeddings" and record.net_nanos > 0 for record in tenant.records())
