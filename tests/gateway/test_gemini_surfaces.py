"""Gemini asked by the other addresses of a chat model: Anthropic's SDK and the Responses API, over several turns of tools."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from tests.gateway.world import Tenant, World

MODELS = ("gemini-2.5-flash", "gemini-4-argon")
ASKED = "get_weather e get_time [signed]"  # Google's stand-in for a lost signature will not do
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {model: world.route("google", model, capabilities=["tools", "reasoning"]).name for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("is_stream", [False, True])
def test_anthropics_sdk_keeps_a_signed_loop_going(
    world: World, routes: dict[str, str], tenant: Tenant, model: str, is_stream: bool
) -> None:
    world.await_served(tenant, *routes.values())
    tools: Any = [{"name": "get_weather", "input_schema": CITY}, {"name": "get_time", "input_schema": {"type": "object"}}]
    asked: Any = {"model": routes[model], "max_tokens": 4_000, "tools": tools, "system": "Seja breve.",
                  "thinking": {"type": "enabled", "budget_tokens": 2_000}}  # fmt: skip
    history: list[Any] = [{"role": "user", "content": [{"type": "text", "text": ASKED, "cache_control": {"type": "ephemeral"}}]}]
    with anthropic.Anthropic(base_url=world.gateway.url, api_key=tenant.secret, max_retries=0) as client:

        def ask() -> anthropic.types.Message:
            if is_stream:
                with client.messages.stream(messages=history, **asked) as stream:
                    return stream.get_final_message()
            answer: anthropic.types.Message = client.messages.create(messages=history, **asked)
            return answer

        first = ask()
        assert first.stop_reason == "tool_use"
        assert [block.type for block in first.content] == ["thinking", "tool_use", "tool_use"]
        history.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "22"} for block in first.content if block.type == "tool_use"
        ]
        history.append({"role": "user", "content": results[::-1]})
        last = ask()
    assert last.stop_reason == "end_turn"
    assert last.content[-1].type == "text" and "A ferramenta respondeu: 22" in last.content[-1].text
    record, billed = tenant.records()[-1], world.sandbox.ledger()["calls"][0]
    assert (record.surface, record.usage_source) == ("messages", "upstream")
    assert record.input_tokens == billed["usage"]["prompt_tokens"] == last.usage.input_tokens
    assert record.output_tokens + record.reasoning_tokens == billed["usage"]["completion_tokens"] == last.usage.output_tokens


@pytest.mark.parametrize("model", MODELS)
def test_the_responses_api_keeps_a_signed_loop_going(world: World, routes: dict[str, str], tenant: Tenant, model: str) -> None:
    world.await_served(tenant, *routes.values())
    tools: Any = [
        {"type": "function", "name": "get_weather", "parameters": CITY, "strict": True},
        {"type": "function", "name": "get_time", "parameters": {**CITY, "properties": {"city": {"const": "SP"}}}, "strict": True},
    ]
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        first = client.responses.create(model=routes[model], input=ASKED, tools=tools, reasoning={"effort": "low"}, store=False)
        calls = [item for item in first.output if item.type == "function_call"]
        assert [call.name for call in calls] == ["get_weather", "get_time"]
        items: list[Any] = [{"role": "user", "content": ASKED}, *(item.model_dump(exclude_none=True) for item in first.output)]
        items += [{"type": "function_call_output", "call_id": call.call_id, "output": "22"} for call in reversed(calls)]
        with client.responses.stream(model=routes[model], input=items, tools=tools, store=False) as stream:
            for _ in stream:
                pass
            last = stream.get_final_response()
    assert "A ferramenta respondeu: 22" in last.output_text
    record, billed = tenant.records()[-1], world.sandbox.ledger()["calls"][0]
    assert (record.surface, record.usage_source) == ("responses", "upstream")
    assert record.input_tokens == billed["usage"]["prompt_tokens"]
    assert record.output_tokens + record.reasoning_tokens == billed["usage"]["completion_tokens"]
