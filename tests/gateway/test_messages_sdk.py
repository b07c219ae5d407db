"""The official Anthropic SDK against a real gateway: carried through to Anthropic, and translated for everyone else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import pytest

from billing.money import to_brl
from tests.gateway.world import Tenant, World

MODELS = {"anthropic": "claude-sonnet-4-6", "openai": "gpt-4o-mini", "groq": "openai/gpt-oss-120b"}
TOOLS: list[Any] = [
    {"name": name, "description": f"{name} de uma cidade",
     "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
    for name in ("get_weather", "get_time")
]  # fmt: skip
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ASK: list[Any] = [{"role": "user", "content": "Diga olá em uma frase curta."}]


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    units = {"input": "10", "cached_input": "1", "cache_write": "12", "output": "30", "reasoning": "20"}
    named = {
        slug: world.route(slug, model, name=f"msg/{slug}", units=units, capabilities=["tools", "vision", "json"])
        for slug, model in MODELS.items()
    }
    thinker = world.route("openai", "gpt-5.4", name="msg/thinker", units=units, is_reasoning=True)
    return {**{slug: route.name for slug, route in named.items()}, "thinker": thinker.name}


@pytest.fixture
def client(world: World, routes: dict[str, str], tenant: Tenant) -> Iterator[anthropic.Anthropic]:
    world.await_served(tenant, *routes.values())
    with anthropic.Anthropic(base_url=world.gateway.url, api_key=tenant.secret, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("slug", MODELS)
def test_it_answers_and_bills_exactly_what_it_says(
    client: anthropic.Anthropic, routes: dict[str, str], tenant: Tenant, slug: str
) -> None:
    raw = client.messages.with_raw_response.create(
        model=routes[slug], system="Responda em português.", messages=ASK, max_tokens=200
    )
    message = raw.parse()
    assert message.type == "message"
    assert message.role == "assistant"
    assert message.id.startswith("msg_")
    [text] = [block for block in message.content if block.type == "text"]
    assert text.text
    assert message.stop_reason == "end_turn"
    [record] = tenant.records()
    assert (record.surface, record.outcome, record.usage_source) == ("messages", "completed", "upstream")
    assert message.usage.input_tokens == record.input_tokens
    assert (message.usage.cache_read_input_tokens or 0) == record.cached_input_tokens
    assert (message.usage.cache_creation_input_tokens or 0) == record.cache_write_tokens
    assert message.usage.output_tokens == record.output_tokens + record.reasoning_tokens
    assert json.loads(raw.text(), parse_float=Decimal)["usage"]["cost"] == to_brl(record.net_nanos).normalize()
    assert raw.headers["request-id"] == raw.headers["x-request-id"] == str(record.id)
    assert raw.headers["x-tokia-provider"] == slug
    assert tenant.fresh().held_nanos == 0


@pytest.mark.parametrize("slug", MODELS)
def test_it_streams_what_the_accumulator_understands(
    client: anthropic.Anthropic, routes: dict[str, str], tenant: Tenant, slug: str
) -> None:
    with client.messages.stream(model=routes[slug], messages=ASK, max_tokens=200) as stream:
        texts = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(texts) > 2
    [block] = [block for block in message.content if block.type == "text"]
    assert block.text == "".join(texts)
    assert message.stop_reason == "end_turn"
    [record] = tenant.records()
    assert record.is_stream
    assert message.usage.input_tokens == record.input_tokens
    assert message.usage.output_tokens == record.output_tokens + record.reasoning_tokens
    events = list(client.messages.create(model=routes[slug], messages=ASK, max_tokens=200, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert events[0].type == "message_start"
    assert events[0].message.usage.input_tokens > 0
    assert events[-2].type == "message_delta"
    assert events[-2].usage.model_extra is not None
    assert Decimal(repr(events[-2].usage.model_extra["cost"])) == to_brl(tenant.records()[-1].net_nanos).normalize()


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("is_stream", [False, True])
def test_it_calls_tools_at_once_and_takes_their_results(
    client: anthropic.Anthropic, routes: dict[str, str], slug: str, is_stream: bool
) -> None:
    kwargs: Any = {"model": routes[slug], "tools": TOOLS, "max_tokens": 400}
    messages: list[Any] = [{"role": "user", "content": "Use get_weather e get_time para São Paulo."}]
    if is_stream:
        with client.messages.stream(messages=messages, **kwargs) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(messages=messages, **kwargs)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert all(call.id.startswith("toolu_") and call.input == {"city": "São Paulo"} for call in calls)
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "25 graus"},
        {"type": "tool_result", "tool_use_id": calls[1].id, "is_error": True, "content": [{"type": "text", "text": "sem relógio"}]},
        {"type": "text", "text": "E então?"},
    ]
    history = [*messages, {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    answer = client.messages.create(messages=history, **kwargs)
    assert any(block.type == "text" for block in answer.content)


@pytest.mark.parametrize("slug", MODELS)
def test_the_async_client_streams_too(world: World, routes: dict[str, str], tenant: Tenant, slug: str) -> None:
    world.await_served(tenant, *routes.values())

    async def run() -> Any:
        async with (
            anthropic.AsyncAnthropic(base_url=world.gateway.url, api_key=tenant.secret, max_retries=0) as client,
            client.messages.stream(model=routes[slug], messages=ASK, max_tokens=100) as stream,
        ):
            async for _ in stream:
                pass
            return await stream.get_final_message()

    assert asyncio.run(run()).content


@pytest.mark.parametrize("slug", ["anthropic", "openai"])
def test_it_sees_pictures_and_marks(client: anthropic.Anthropic, routes: dict[str, str], tenant: Tenant, slug: str) -> None:
    system: Any = [{"type": "text", "text": "Prefixo longo. " * 700, "cache_control": {"type": "ephemeral"}}]
    content: Any = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "text", "text": "O que há aqui?", "cache_control": {"type": "ephemeral"}},
    ]
    for _ in range(2):
        client.messages.create(model=routes[slug], system=system, messages=[{"role": "user", "content": content}], max_tokens=50)
    first, second = tenant.records()
    assert second.cached_input_tokens > 0
    if slug == "anthropic":
        assert first.cache_write_tokens > 0


def test_it_thinks_natively_with_its_signature(client: anthropic.Anthropic, routes: dict[str, str], tenant: Tenant) -> None:
    kwargs: Any = {
        "model": routes["anthropic"], "max_tokens": 4_000, "tools": TOOLS, "thinking": {"type": "enabled", "budget_tokens": 1_024},
    }  # fmt: skip
    messages: list[Any] = [{"role": "user", "content": "Use get_weather."}]
    with client.messages.stream(messages=messages, **kwargs) as stream:
        message = stream.get_final_message()
    assert message.content[0].type == "thinking"
    assert message.content[0].signature
    [call] = [block for block in message.content if block.type == "tool_use"]
    history = [
        *messages, {"role": "assistant", "content": message.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "25"}]},
    ]  # fmt: skip
    assert client.messages.create(messages=history, **kwargs).content
    assert tenant.records()[0].output_tokens > 0


def test_it_thinks_elsewhere_as_text(client: anthropic.Anthropic, routes: dict[str, str], tenant: Tenant) -> None:
    with client.messages.stream(
        model=routes["groq"], messages=ASK, max_tokens=2_000, thinking={"type": "adaptive"}, output_config={"effort": "high"}
    ) as stream:
        message = stream.get_final_message()
    assert message.content[0].type in ("thinking", "text")
    whole = client.messages.create(
        model=routes["thinker"], messages=ASK, max_tokens=2_000, thinking={"type": "adaptive"}, output_config={"effort": "low"}
    )
    assert whole.content
    assert whole.usage.output_tokens_details is not None
    assert whole.usage.output_tokens_details.thinking_tokens == tenant.records()[-1].reasoning_tokens > 0


def test_it_counts_tokens_for_free(client: anthropic.Anthropic, routes: dict[str, str], tenant: Tenant) -> None:
    for slug in ("anthropic", "openai"):
        short = client.messages.count_tokens(model=routes[slug], messages=ASK)
        long = client.messages.count_tokens(model=routes[slug], messages=ASK, system="palavra " * 1_000, tools=TOOLS)
        assert 5 < short.input_tokens < 60
        assert 1_000 < long.input_tokens < 6_000
    assert tenant.records() == []
    assert tenant.fresh().held_nanos == 0


# ── Every other dialect ──────────────────────────────────────────────────────────────────────────────────────────────
OTHERS = {
    "mistral": "mistral-large-latest", "deepseek": "deepseek-chat", "google": "gemini-2.5-pro", "google3": "gemini-3.8-flash",
    "cohere": "command-a-03-2025", "bedrock": "anthropic.claude-sonnet-4-6",
}  # fmt: skip


@pytest.fixture(scope="module")
def others(world: World) -> dict[str, str]:
    units = {"input": "10", "cached_input": "1", "cache_write": "12", "output": "30", "reasoning": "20"}
    can = ["tools", "vision", "json", "reasoning"]
    return {
        name: world.route(name.rstrip("3"), model, name=f"other/{name}", units=units, capabilities=can).name
        for name, model in OTHERS.items()
    }


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("is_stream", [False, True])
def test_every_dialect_holds_a_tool_loop_in_anthropics_words(
    world: World, others: dict[str, str], tenant: Tenant, name: str, is_stream: bool
) -> None:
    world.await_served(tenant, *others.values())
    kwargs: Any = {
        "model": others[name], "tools": TOOLS, "max_tokens": 3_000, "system": "Responda em português.",
        "thinking": {"type": "adaptive"}, "metadata": {"user_id": "u1"},
    }  # fmt: skip
    messages: list[Any] = [{"role": "user", "content": "Use get_weather e get_time para São Paulo."}]
    with anthropic.Anthropic(base_url=world.gateway.url, api_key=tenant.secret, max_retries=0) as client:

        def ask() -> Any:
            if not is_stream:
                return client.messages.create(messages=messages, **kwargs)
            with client.messages.stream(messages=messages, **kwargs) as stream:
                return stream.get_final_message()

        for turn in range(2):
            message = ask()
            calls = [block for block in message.content if block.type == "tool_use"]
            if turn == 0:
                assert message.stop_reason == "tool_use"
                assert [call.name for call in calls] == ["get_weather", "get_time"]
            if not calls:
                break
            results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"{call.name}: 25"} for call in reversed(calls)]
            messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
        answer = client.messages.create(messages=messages, **kwargs)
    assert answer.content
    for record in tenant.records():
        assert (record.outcome, record.usage_source, record.surface) == ("completed", "upstream", "messages")
    last = tenant.records()[-1]
    assert answer.usage.input_tokens == last.input_tokens
    assert answer.usage.output_tokens == last.output_tokens + last.reasoning_tokens
    assert tenant.fresh().held_nanos == 0


@pytest.mark.parametrize("name", OTHERS)
def test_every_dialect_stops_where_it_is_told(world: World, others: dict[str, str], tenant: Tenant, name: str) -> None:
    world.await_served(tenant, *others.values())
    with anthropic.Anthropic(base_url=world.gateway.url, api_key=tenant.secret, max_retries=0) as client:
        long: list[Any] = [{"role": "user", "content": "[tokens=400] conte"}]
        with client.messages.stream(model=others[name], messages=long, max_tokens=20) as stream:
            assert stream.get_final_message().stop_reason == "max_tokens"
        assert client.messages.create(model=others[name], messages=long, max_tokens=20).stop_reason == "max_tokens"
        stopped = client.messages.create(model=others[name], messages=ASK, max_tokens=2_000, stop_sequences=["simulada"])
        assert stopped.stop_reason in ("stop_sequence", "end_turn")
        assert stopped.stop_sequence == ("simulada" if stopped.stop_reason == "stop_sequence" else None)


def test_it_lists_models_to_the_sdk(client: anthropic.Anthropic, routes: dict[str, str]) -> None:
    assert set(routes.values()) <= {model.id for model in client.models.list()}
    assert client.models.retrieve(routes["openai"]).id == routes["openai"]
