"""Claude on Bedrock, asked at Anthropic's and OpenAI's newer addresses: thinking, tools and caches survive both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.gateway.test_bedrock_sdk import CLAUDE, NEW, UNITS, billed, buckets
from tests.gateway.world import Tenant, World

TOOL: dict[str, Any] = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
ASKED: list[Any] = [{"role": "user", "content": "Como está o tempo?"}]


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    fields: dict[str, Any] = {"units": UNITS, "capabilities": ["tools", "reasoning"]}
    return {model: world.route("bedrock", model, name=f"aws/{place}", **fields).name for place, model in enumerate((CLAUDE, NEW))}


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    return tenant


@pytest.fixture
def claude(world: World, ready: Tenant) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=world.gateway.url, api_key=ready.secret, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("model", [CLAUDE, NEW])
def test_anthropics_sdk_thinks_and_calls_tools_through_bedrock(
    world: World, claude: anthropic.Anthropic, routes: dict[str, str], ready: Tenant, model: str, is_stream: bool
) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 2_000} if model == CLAUDE else {"type": "adaptive"}
    system = [{"type": "text", "text": f"Prefixo {is_stream}. " * 600, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    kwargs: Any = {"model": routes[model], "max_tokens": 5_000, "tools": [TOOL], "thinking": thinking, "system": system}
    history: list[Any] = [*ASKED]
    for step in range(2):
        if is_stream:
            with claude.messages.stream(messages=history, **kwargs) as stream:
                message = stream.get_final_message()
        else:
            message = claude.messages.create(messages=history, **kwargs)
        first = message.content[0]
        assert first.type == "thinking"
        assert first.signature
        record = ready.records()[-1]
        assert buckets(record) == billed(world)
        assert message.usage.output_tokens == record.output_tokens
        assert (message.usage.cache_creation_input_tokens, message.usage.cache_read_input_tokens) == (
            record.cache_write_tokens, record.cached_input_tokens,
        )  # fmt: skip
        if step == 0:
            assert message.stop_reason == "tool_use"
            call = message.content[-1]
            assert call.type == "tool_use"
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "25 graus"}
            history += [{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]}]
            history += [{"role": "user", "content": [result]}]
    assert message.stop_reason == "end_turn"
    written, read = ready.records()
    assert written.cache_write_tokens == read.cached_input_tokens > 1_024


@pytest.mark.parametrize("is_stream", [False, True])
def test_responses_call_tools_through_bedrock(world: World, routes: dict[str, str], ready: Tenant, is_stream: bool) -> None:
    tool: Any = {"type": "function", "name": "get_weather", "parameters": TOOL["input_schema"], "strict": False}
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=ready.secret, max_retries=0) as client:
        kwargs: Any = {"model": routes[CLAUDE], "tools": [tool], "reasoning": {"effort": "medium"}, "max_output_tokens": 6_000}
        history: list[Any] = [*ASKED]
        for step in range(2):
            if is_stream:
                with client.responses.stream(
                    input=history, store=False, include=["reasoning.encrypted_content"], **kwargs
                ) as stream:
                    for _ in stream:
                        pass
                    response: Any = stream.get_final_response()
            else:
                response = client.responses.create(input=history, store=False, include=["reasoning.encrypted_content"], **kwargs)
            assert response.status == "completed"
            if step == 0:
                [call] = [item for item in response.output if item.type == "function_call"]
                history += [item.model_dump(exclude_none=True) for item in response.output]
                for item in history:
                    item.pop("parsed_arguments", None)
                history += [{"type": "function_call_output", "call_id": call.call_id, "output": "25 graus"}]
        assert "25 graus" in response.output_text
    assert [buckets(record) for record in ready.records()] == [billed(world, 1), billed(world, 0)]
