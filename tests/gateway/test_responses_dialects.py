"""`/v1/responses` over every dialect: texts, tool loops in every way to keep them, and thoughts that come home."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.gateway.test_responses_sdk import QUESTION, TOOL, UNITS
from tests.gateway.world import Tenant, World

# Provider, its model, and whether its thoughts are shown.
MODELS: dict[str, tuple[str, bool]] = {
    "anthropic": ("claude-sonnet-4-6", True),
    "bedrock": ("anthropic.claude-sonnet-4-5-20250929-v1:0", True),
    "cohere": ("command-a-reasoning-08-2025", True),
    "deepseek": ("deepseek-reasoner", True),
    "google": ("gemini-3.8-flash", True),
    "mistral": ("mistral-large-latest", False),
    "openai": ("gpt-4o-mini", False),
}
SIGNED = ("anthropic", "bedrock")  # a loop that lost its thinking would think no more


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {
        slug: world.route(
            slug,
            model,
            name=f"{slug}/m",
            units=UNITS,
            is_reasoning=thinks,
            capabilities=[*("tools", "vision", "json"), *(["reasoning"] if thinks else [])],
        ).name
        for slug, (model, thinks) in MODELS.items()
    }


@pytest.fixture
def client(world: World, routes: dict[str, str], tenant: Tenant) -> Any:
    world.await_served(tenant, *routes.values())
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, *, is_stream: bool, **asked: Any) -> Any:
    if not is_stream:
        return client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        return stream.get_final_response()


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("way", ["stored", "sealed", "plain"])
def test_it_carries_a_tool_loop(
    client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, slug: str, is_stream: bool, way: str
) -> None:
    thinks = MODELS[slug][1]
    asked: dict[str, Any] = {"model": routes[slug], "tools": [TOOL], "max_output_tokens": 6_000, "is_stream": is_stream}
    if thinks:
        asked["reasoning"] = {"effort": "medium", "summary": "auto"}
    if way == "sealed":
        asked["include"] = ["reasoning.encrypted_content"]
    first = ask(client, **asked, input=QUESTION, store=way == "stored")
    assert first.status == "completed"
    if thinks:
        assert first.output[0].type == "reasoning"
        assert first.output[0].summary[0].text
        assert bool(first.output[0].to_dict().get("encrypted_content")) == (way == "sealed")
    [call] = [item for item in first.output if item.type == "function_call"]
    assert json.loads(call.arguments)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "22 graus, céu limpo"}
    if way == "stored":
        second = ask(client, **asked, input=[output], previous_response_id=first.id)
    else:
        history = [{"role": "user", "content": QUESTION}, *(item.to_dict() for item in first.output), output]
        second = ask(client, **asked, input=history)
    assert "22 graus" in second.output_text
    if slug in SIGNED and way != "plain":
        assert second.output[0].type == "reasoning", "the loop's thinking was lost on the way"
    records = tenant.records()
    assert [record.outcome for record in records] == ["completed", "completed"]
    for response, record in zip((first, second), records, strict=True):
        assert response.usage.input_tokens == record.input_tokens + record.cached_input_tokens + record.cache_write_tokens
        assert response.usage.output_tokens == record.output_tokens + record.reasoning_tokens
        assert response.usage.output_tokens_details.reasoning_tokens == record.reasoning_tokens
    assert tenant.fresh().held_nanos == 0


@pytest.mark.parametrize("slug", MODELS)
def test_a_conversation_may_change_its_model(client: openai.OpenAI, routes: dict[str, str], slug: str) -> None:
    """Thoughts and ids of one provider go to another, which gets none that it would refuse."""
    asked: dict[str, Any] = {"reasoning": {"effort": "medium"}} if MODELS[slug][1] else {}
    first = client.responses.create(model=routes[slug], input=QUESTION, tools=[TOOL], store=True, **asked)  # type: ignore[list-item]
    [call] = [item for item in first.output if item.type == "function_call"]
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "22 graus"}
    for name in routes.values():
        second = client.responses.create(model=name, input=[output], previous_response_id=first.id, tools=[TOOL])  # type: ignore[list-item]
        assert "22 graus" in second.output_text, name
