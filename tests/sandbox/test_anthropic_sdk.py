"""The official anthropic SDK, pointed straight at the simulated Anthropic, and what the Messages API refuses."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import pytest

from tests.sandbox.conftest import Sandbox

HELLO = [{"role": "user", "content": "Oi"}]
TOOL = {"name": "prever_tempo", "input_schema": {"type": "object", "properties": {"cidade": {"type": "string"}}}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "prever_tempo", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "22 graus"}


def ask(client: anthropic.Anthropic, **options: Any) -> Any:
    return client.messages.create(**{"model": "claude-sonnet-4-6", "max_tokens": 500, "messages": HELLO, **options})


def send(sandbox: Sandbox, body: dict[str, Any], *, version: str | None = "2023-06-01") -> httpx.Response:
    headers = {"x-api-key": "sandbox-anthropic", **({"anthropic-version": version} if version else {})}
    whole = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": HELLO, **body}
    whole = {name: value for name, value in whole.items() if value is not None}
    return sandbox.http.post("/llm/anthropic/v1/messages", json=whole, headers=headers)


def test_it_answers_and_streams_the_same(fresh: Sandbox, anthropic_client: anthropic.Anthropic) -> None:
    whole = ask(anthropic_client, system="Seja breve.")
    assert whole.stop_reason == "end_turn"
    with anthropic_client.messages.stream(
        model="claude-sonnet-4-6", max_tokens=500, system="Seja breve.", messages=[{"role": "user", "content": "Oi"}]
    ) as stream:
        final: Any = stream.get_final_message()
    assert final.content[0].text == whole.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens
    call = fresh.last_call()
    assert call["usage"]["completion_tokens"] == whole.usage.output_tokens
    assert call["id"] == final.id


def test_it_obeys_max_tokens_and_stop_sequences(anthropic_client: anthropic.Anthropic) -> None:
    cut = ask(anthropic_client, max_tokens=4)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 4)
    stopped = ask(anthropic_client, stop_sequences=["simulada"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "simulada")


def test_it_walks_a_tool_loop(anthropic_client: anthropic.Anthropic) -> None:
    question: Any = {"role": "user", "content": "Qual a previsão do tempo?"}
    first = ask(anthropic_client, messages=[question], tools=[TOOL])
    assert first.stop_reason == "tool_use"
    use = first.content[-1]
    assert use.input == {"cidade": "São Paulo"}
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "22 graus"}]}
    turns = [question, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert "22 graus" in ask(anthropic_client, messages=turns, tools=[TOOL]).content[0].text
    with anthropic_client.messages.stream(
        model="claude-sonnet-4-6",
        max_tokens=500,
        messages=[question],
        tools=[TOOL],  # type: ignore[list-item]
    ) as stream:
        assert stream.get_final_message().content[-1].model_dump()["input"] == {"cidade": "São Paulo"}


def test_it_thinks_and_wants_its_thinking_back(anthropic_client: anthropic.Anthropic) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    options = {"max_tokens": 4000, "thinking": thinking, "tools": [TOOL]}
    question = {"role": "user", "content": "prever_tempo"}
    first = ask(anthropic_client, messages=[question], **options)
    assert [block.type for block in first.content] == ["thinking", "tool_use"]
    answer = {"role": "user", "content": [{**RESULT, "tool_use_id": first.content[-1].id}]}
    turns = [question, {"role": "assistant", "content": first.content}, answer]
    assert ask(anthropic_client, messages=turns, **options).stop_reason == "end_turn"
    lost = [question, {"role": "assistant", "content": first.content[1:]}, answer]
    with pytest.raises(anthropic.BadRequestError, match="Expected `thinking`"):
        ask(anthropic_client, messages=lost, **options)


def test_it_writes_and_reads_its_cache_where_told(fresh: Sandbox, anthropic_client: anthropic.Anthropic) -> None:
    system = [{"type": "text", "text": "Cláusula do contrato. " * 500, "cache_control": {"type": "ephemeral"}}]
    first = ask(anthropic_client, system=system)
    second = ask(anthropic_client, system=system)
    written = first.usage.cache_creation_input_tokens
    assert written > 1024
    assert first.usage.cache_creation.ephemeral_5m_input_tokens == written
    assert (first.usage.cache_read_input_tokens, second.usage.cache_read_input_tokens) == (0, written)
    assert second.usage.input_tokens == first.usage.input_tokens < 20
    usage = fresh.last_call()["usage"]
    assert usage["prompt_tokens"] == written + second.usage.input_tokens
    assert usage["cached_tokens"] == written


def test_it_raises_the_sdks_own_errors(anthropic_client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        ask(anthropic_client, model="gpt-4o")
    with pytest.raises(anthropic.AuthenticationError):
        ask(anthropic_client.with_options(api_key="errada"))
    with pytest.raises(anthropic.RateLimitError):
        ask(anthropic_client, model="fault-429-claude-sonnet-4-6")
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        ask(anthropic_client, model="fault-529-claude-sonnet-4-6")
    assert overloaded.value.status_code == 529
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        list(ask(anthropic_client, model="fault-errormid-claude-sonnet-4-6", stream=True))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"foo": 1}, "foo: Extra inputs are not permitted"),
        ({"temperature": 1.5}, "temperature: Input should be less than"),
        ({"temperature": 0.5, "top_p": 0.5}, "cannot both be specified"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 'first message must use the "user" role'),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "must be non-empty"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "Então "}]}, "trailing whitespace"),
        ({"messages": [*HELLO, {"role": "assistant", "content": [USE]}, *HELLO], "tools": [TOOL]}, "without `tool_result`"),
        ({"messages": [{"role": "user", "content": [RESULT]}], "tools": [TOOL]}, "unexpected `tool_use_id`"),
        ({"messages": [*HELLO, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}]},
         "must define tools"),
        ({"tool_choice": {"type": "auto"}}, "only be specified while providing tools"),
        ({"tools": [{"name": "x", "input_schema": {}}]}, "input_schema.type"),
        ({"tools": [{"name": "x y", "input_schema": {"type": "object"}}]}, "match pattern"),
        ({"stop_sequences": [" "]}, "non-whitespace"),
        ({"thinking": {"type": "enabled", "budget_tokens": 500}}, "greater than or equal to 1024"),
        ({"metadata": {"x": 1}}, "metadata: Extra inputs"),
        ({"model": "claude-opus-5", "temperature": 1}, "temperature: Extra inputs are not permitted"),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}] * 5}, "maximum of 4 blocks"),
    ],
)  # fmt: skip
def test_it_refuses_as_anthropic_does(sandbox: Sandbox, body: dict[str, Any], words: str) -> None:
    answer = send(sandbox, body)
    error = answer.json()
    assert (answer.status_code, error["error"]["type"]) == (400, "invalid_request_error")
    assert words in error["error"]["message"]
    assert error["request_id"] == answer.headers["request-id"]


def test_it_wants_its_version_and_takes_both(sandbox: Sandbox) -> None:
    assert "anthropic-version" in send(sandbox, {}, version=None).json()["error"]["message"]
    assert send(sandbox, {"temperature": 0.5}).status_code == 200
    assert send(sandbox, {"temperature": 0.5}, version="2026-10-21").status_code == 400
    assert send(sandbox, {}, version="2026-10-21").status_code == 200


def test_it_takes_what_the_api_takes(sandbox: Sandbox) -> None:
    turns = [
        *HELLO,
        *HELLO,
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [RESULT, {"type": "text", "text": "e aí?"}]},
    ]
    schema = {"type": "object", "properties": {"cidade": {"type": "string"}}, "required": ["cidade"], "additionalProperties": False}
    assert send(sandbox, {"messages": turns, "tools": [TOOL], "tool_choice": {"type": "auto"}}).status_code == 200
    filled = send(sandbox, {"output_config": {"format": {"type": "json_schema", "schema": schema}}}).json()
    assert json.loads(filled["content"][0]["text"]) == {"cidade": "São Paulo"}
    assert send(sandbox, {"model": "claude-opus-5", "thinking": {"type": "adaptive"}}).json()["content"][0]["type"] == "thinking"
