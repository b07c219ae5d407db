"""The official openai SDK, pointed straight at the simulated OpenAI."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam
from pydantic import BaseModel

from tests.sandbox.conftest import Sandbox

WEATHER_TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "prever_tempo",
        "parameters": {"type": "object", "properties": {"cidade": {"type": "string"}, "dias": {"type": "integer"}}},
    },
}


def ask(client: openai.OpenAI, text: str = "Olá, tudo bem?", **options: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **options})


def test_it_answers_and_the_ledger_knows_the_same_tokens(fresh: Sandbox, openai_client: openai.OpenAI) -> None:
    answer = ask(openai_client)
    assert "Olá, tudo bem?" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    call = fresh.last_call()
    assert (call["id"], call["status"]) == (answer.id, "finished")
    assert call["usage"]["prompt_tokens"] == answer.usage.prompt_tokens
    assert call["usage"]["completion_tokens"] == answer.usage.completion_tokens


def test_it_streams_the_same_text_with_usage_only_when_asked(openai_client: openai.OpenAI) -> None:
    whole = ask(openai_client)
    plain = list(ask(openai_client, stream=True))
    assert all(chunk.choices for chunk in plain)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in plain) == whole.choices[0].message.content
    asked = list(ask(openai_client, stream=True, stream_options={"include_usage": True}))
    assert asked[-1].choices == []
    assert asked[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in asked[:-1])
    assert len({chunk.id for chunk in asked}) == 1


def test_it_obeys_max_tokens_and_stop(openai_client: openai.OpenAI) -> None:
    cut = ask(openai_client, max_tokens=5)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 5)
    stopped = ask(openai_client, stop=["simulada"])
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content.endswith("resposta ")
    exact = ask(openai_client, "Escreva. [tokens=321]")
    assert exact.usage.completion_tokens == 321


def test_it_gives_n_choices_and_logprobs(openai_client: openai.OpenAI) -> None:
    answer = ask(openai_client, n=3, logprobs=True, top_logprobs=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert answer.usage.completion_tokens == sum(len(choice.logprobs.content) for choice in answer.choices)


def test_it_calls_a_tool_and_reads_its_result(openai_client: openai.OpenAI) -> None:
    question = {"role": "user", "content": "Como está o tempo em São Paulo?"}
    first = ask(openai_client, messages=[question], tools=[WEATHER_TOOL])
    call = first.choices[0].message.tool_calls[0]
    assert first.choices[0].finish_reason == "tool_calls"
    assert json.loads(call.function.arguments) == {"cidade": "São Paulo", "dias": 1}
    result = {"role": "tool", "tool_call_id": call.id, "content": "22 graus"}
    messages = [question, first.choices[0].message.model_dump(exclude_none=True, exclude={"annotations"}), result]
    second = ask(openai_client, messages=messages, tools=[WEATHER_TOOL])
    assert "22 graus" in second.choices[0].message.content


def test_it_streams_a_tool_call_in_pieces(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(
        model="gpt-4o", messages=[{"role": "user", "content": "prever_tempo, por favor"}], tools=[WEATHER_TOOL]
    ) as stream:
        final = stream.get_final_completion()
    call = final.choices[0].message.tool_calls
    assert call is not None
    assert json.loads(call[0].function.arguments)["cidade"] == "São Paulo"


def test_it_fills_a_json_schema(openai_client: openai.OpenAI) -> None:
    class City(BaseModel):
        nome: str
        habitantes: int
        capital: bool

    parsed = openai_client.chat.completions.parse(
        model="gpt-4o", messages=[{"role": "user", "content": "Uma cidade"}], response_format=City
    )
    assert isinstance(parsed.choices[0].message.parsed, City)
    answer = ask(openai_client, "Responda em JSON", response_format={"type": "json_object"})
    assert "resposta" in json.loads(answer.choices[0].message.content)


def test_it_counts_reasoning_and_spends_a_small_budget_on_it(openai_client: openai.OpenAI) -> None:
    thought = ask(openai_client, model="gpt-5", max_completion_tokens=1000)
    details = thought.usage.completion_tokens_details
    assert details.reasoning_tokens > 0
    assert thought.usage.completion_tokens > details.reasoning_tokens
    starved = ask(openai_client, model="o4-mini", max_completion_tokens=10)
    assert (starved.choices[0].finish_reason, starved.choices[0].message.content) == ("length", "")
    assert starved.usage.completion_tokens_details.reasoning_tokens == 10
    assert ask(openai_client, model="gpt-5", reasoning_effort="none").usage.completion_tokens_details.reasoning_tokens == 0


def test_it_reads_a_long_prefix_from_the_cache_the_second_time(openai_client: openai.OpenAI) -> None:
    document = "Contrato de prestação de serviços. " * 400
    first = ask(openai_client, document + "Resuma.")
    second = ask(openai_client, document + "Traduza.")
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert cached >= 1024
    assert cached % 128 == 0
    assert cached < second.usage.prompt_tokens


def test_it_embeds_in_both_encodings(fresh: Sandbox, openai_client: openai.OpenAI) -> None:
    texts = ["bom dia", "boa noite"]
    answer = openai_client.embeddings.create(model="text-embedding-3-small", input=texts, dimensions=256)
    raw = openai_client.embeddings.create(model="text-embedding-3-small", input=texts, dimensions=256, encoding_format="base64")
    assert [len(item.embedding) for item in answer.data] == [256, 256]
    coded: Any = raw.data[1].embedding
    if isinstance(coded, str):
        coded = list(struct.unpack("<256f", base64.b64decode(coded)))
    assert coded == pytest.approx(answer.data[1].embedding)
    assert sum(value * value for value in answer.data[0].embedding) == pytest.approx(1)
    assert fresh.last_call()["usage"]["prompt_tokens"] == answer.usage.prompt_tokens == 4
    tokens = openai_client.embeddings.create(model="text-embedding-3-small", input=[[1, 2, 3], [4]])
    assert tokens.usage.prompt_tokens == 4


def test_it_lists_models(openai_client: openai.OpenAI) -> None:
    assert "gpt-4o-mini" in [model.id for model in openai_client.models.list()]


def test_it_raises_the_sdks_own_errors(fresh: Sandbox, openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        ask(openai_client, model="claude-sonnet-4-6")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as stranger:
        ask(openai_client.with_options(api_key="sk-errada"))
    assert stranger.value.code == "invalid_api_key"
    with pytest.raises(openai.RateLimitError) as limited:
        ask(openai_client, model="fault-429-gpt-4o")
    assert limited.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.InternalServerError):
        ask(openai_client, model="fault-503-gpt-4o")
    with pytest.raises(openai.APIError, match="Overloaded"):
        list(ask(openai_client, model="fault-errormid-gpt-4o", stream=True))


def test_it_serves_the_async_client(fresh: Sandbox) -> None:
    async def ask_ten() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{fresh.url}/llm/openai/v1", api_key="sandbox-openai", max_retries=0) as client:
            calls = [
                client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": f"oi {number}"}])
                for number in range(10)
            ]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]

    assert len(set(asyncio.run(ask_ten()))) == 10
    totals = fresh.ledger()["totals"]
    assert [(total["model"], total["calls"], total["finished"]) for total in totals] == [("gpt-4o", 10, 10)]
