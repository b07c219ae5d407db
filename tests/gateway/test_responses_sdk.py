"""`/v1/responses` with the official SDK against a real gateway: what a customer's program does, and what it is billed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from billing.money import to_brl
from tests.gateway.world import Tenant, World

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6"}
UNITS = {"input": "10", "cached_input": "1", "output": "30"}
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "O tempo numa cidade",
    "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False,
    },
    "strict": True,
}  # fmt: skip
QUESTION = "Como está o tempo em São Paulo?"


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {slug: world.route(slug, model, units=UNITS).name for slug, model in MODELS.items()}


@pytest.fixture
def client(world: World, routes: dict[str, str], tenant: Tenant) -> Any:
    world.await_served(tenant, *routes.values())
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("slug", MODELS)
def test_it_answers_and_bills_exactly_what_it_says(
    client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, slug: str
) -> None:
    answer = client.responses.create(
        model=routes[slug], instructions="Responda em português.", input="Diga olá.", metadata={"pedido": "7"}, user="u1"
    )
    assert answer.status == "completed"
    assert answer.id.startswith("resp_")
    assert answer.output_text
    item: Any = answer.output[0]
    assert len(answer.output) == 1
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
    assert answer.metadata == {"pedido": "7"}
    assert (answer.model, answer.instructions, answer.error) == (routes[slug], "Responda em português.", None)
    told = json.loads(answer.model_dump_json())
    assert told["store"] is False
    [record] = tenant.records()
    assert record.surface == "responses"
    assert answer.usage is not None
    assert answer.usage.input_tokens == record.input_tokens + record.cached_input_tokens + record.cache_write_tokens
    assert answer.usage.output_tokens == record.output_tokens + record.reasoning_tokens
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert told["usage"]["cost"] == pytest.approx(float(to_brl(record.net_nanos)))


@pytest.mark.parametrize("slug", MODELS)
def test_it_streams_events_that_the_accumulator_takes(
    client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, slug: str
) -> None:
    kinds, numbers, text = [], [], ""
    with client.responses.stream(model=routes[slug], input="Diga olá em uma frase.") as stream:
        for event in stream:
            kinds.append(event.type)
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                text += event.delta
        final = stream.get_final_response()
    assert numbers == list(range(len(numbers)))
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert final.output_text == text != ""
    assert final.usage is not None
    [record] = tenant.records()
    assert record.is_stream
    assert final.usage.output_tokens == record.output_tokens + record.reasoning_tokens


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("is_stored", [True, False])
def test_it_runs_a_tool_loop(client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, slug: str, is_stored: bool) -> None:
    first = client.responses.create(model=routes[slug], input=QUESTION, tools=[TOOL], store=is_stored)  # type: ignore[list-item]
    [call] = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather"
    assert json.loads(call.arguments)
    assert call.call_id != call.id
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "22 graus, céu limpo"}
    if is_stored:
        second = client.responses.create(
            model=routes[slug], previous_response_id=first.id, input=[output], tools=[TOOL]  # type: ignore[list-item]
        )  # fmt: skip
        assert second.previous_response_id == first.id
    else:
        history: list[Any] = [{"role": "user", "content": QUESTION}, *first.output, output]
        second = client.responses.create(model=routes[slug], input=history, tools=[TOOL])  # type: ignore[list-item]
    assert "22 graus" in second.output_text
    assert len(tenant.records()) == 2


class Person(BaseModel):
    name: str
    city: str


@pytest.mark.parametrize("slug", MODELS)
def test_it_parses_into_a_model(client: openai.OpenAI, routes: dict[str, str], slug: str) -> None:
    answer = client.responses.parse(model=routes[slug], input="Quem é Ana?", text_format=Person)
    assert answer.output_parsed is not None
    assert answer.output_parsed.city == "São Paulo"
    with client.responses.stream(model=routes[slug], input="Quem é Ana?", text_format=Person) as stream:
        streamed = stream.get_final_response()
    assert streamed.output_parsed is not None
    assert streamed.output_parsed.name == answer.output_parsed.name


def test_it_serves_the_async_sdk(world: World, routes: dict[str, str], tenant: Tenant) -> None:
    world.await_served(tenant, *routes.values())

    async def run() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
            whole = await client.responses.create(model=routes["openai"], input="oi")
            text = ""
            async for event in await client.responses.create(model=routes["anthropic"], input="oi", stream=True):
                if event.type == "response.output_text.delta":
                    text += event.delta
            return whole.output_text, text

    whole, streamed = asyncio.run(run())
    assert whole
    assert streamed


def test_it_streams_a_tool_call(client: openai.OpenAI, routes: dict[str, str]) -> None:
    for slug in MODELS:
        with client.responses.stream(model=routes[slug], input=QUESTION, tools=[TOOL]) as stream:  # type: ignore[list-item]
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        assert "response.function_call_arguments.delta" in kinds
        [call] = [item for item in final.output if item.type == "function_call"]
        assert json.loads(call.arguments) == call.parsed_arguments
        assert call.status == "completed"
