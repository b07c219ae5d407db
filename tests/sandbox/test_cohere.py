"""Cohere's own SDK, pointed straight at the simulated Cohere, and what its v2 API refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import pytest
from cohere.types import EmbedByTypeResponse
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse, V2RerankResponse

from tests.sandbox.conftest import Sandbox
from tokia.sandbox import llm_cohere_types

HELLO: list[Any] = [{"role": "user", "content": "Oi"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "prever_tempo", "parameters": {"type": "object", "properties": {"cidade": {"type": "string"}}}},
}
CALL = {"id": "t1", "type": "function", "function": {"name": "prever_tempo", "arguments": "{}"}}
CHAT: dict[str, Any] = {"model": "command-a-03-2025", "messages": HELLO}
EMBED: dict[str, Any] = {
    "model": "embed-v4.0", "texts": ["Oi"], "input_type": "search_query", "embedding_types": ["float"],
}  # fmt: skip
RERANK: dict[str, Any] = {"model": "rerank-v3.5", "query": "Oi", "documents": ["Oi", "Tchau"]}
BODIES = {"chat": CHAT, "embed": EMBED, "rerank": RERANK}


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[cohere.ClientV2]:
    with cohere.ClientV2("sandbox-cohere", base_url=f"{sandbox.url}/llm/cohere", max_retries=0) as client:
        yield client


def send(sandbox: Sandbox, kind: str, fields: dict[str, Any]) -> httpx.Response:
    body = {name: value for name, value in {**BODIES[kind], **fields}.items() if value != "-"}
    return sandbox.http.post(f"/llm/cohere/v2/{kind}", json=body, headers={"authorization": "Bearer sandbox-cohere"})


def refuse_slips(value: Any, hint: Any) -> None:
    """The published types have every field of this, each of its type."""
    assert llm_cohere_types.find_slip(value, hint, "answer") is None


def test_it_answers_and_streams_the_same(fresh: Sandbox, client: cohere.ClientV2) -> None:
    whole = client.chat(model="command-a-03-2025", messages=HELLO)
    assert whole.finish_reason == "COMPLETE"
    events = list(client.chat_stream(model="command-a-03-2025", messages=HELLO))
    text = "".join(event.delta.message.content.text for event in events if event.type == "content-delta")  # type: ignore[union-attr,misc]
    assert whole.message.content is not None
    assert text == whole.message.content[0].text  # type: ignore[union-attr]
    assert [event.type for event in events][:2] == ["message-start", "content-start"]
    last = events[-1]
    assert last.type == "message-end"
    assert last.delta is not None
    assert last.delta.usage is not None
    assert whole.usage is not None
    assert last.delta.usage.billed_units == whole.usage.billed_units
    assert whole.usage.billed_units is not None
    assert whole.usage.tokens is not None
    assert (whole.usage.tokens.input_tokens or 0) > (whole.usage.billed_units.input_tokens or 0)
    call = fresh.last_call()
    assert call["usage"]["prompt_tokens"] == whole.usage.billed_units.input_tokens
    assert call["usage"]["completion_tokens"] == whole.usage.billed_units.output_tokens


def test_it_says_only_what_the_published_types_know(fresh: Sandbox) -> None:
    documents = ["Um documento.", {"id": "d", "data": {"text": "Outro."}}]
    asked: list[tuple[str, dict[str, Any], Any]] = [
        ("chat", {"documents": documents, "logprobs": True}, V2ChatResponse),
        ("chat", {"tools": [TOOL], "messages": [{"role": "user", "content": "Como está o tempo?"}]}, V2ChatResponse),
        ("chat", {"model": "command-a-reasoning-08-2025"}, V2ChatResponse),
        ("embed", {"texts": ["a", "b"], "output_dimension": 256}, EmbedByTypeResponse),
        ("rerank", {"top_n": 1}, V2RerankResponse),
    ]
    for kind, fields, hint in asked:
        answer = send(fresh, kind, fields)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        if kind == "embed":  # `float` is a word of Python's
            told["embeddings"]["float_"] = told["embeddings"].pop("float")
        refuse_slips(told, hint)
        if kind == "chat":
            lines = send(fresh, kind, {**fields, "stream": True}).text.split("\n")
            for line in lines:
                if line.startswith("data: ") and "message-start" not in line:  # it says more, as the real one does
                    refuse_slips(json.loads(line[6:]), V2ChatStreamResponse)


def test_it_walks_a_tool_loop(client: cohere.ClientV2) -> None:
    question: Any = {"role": "user", "content": "Qual a previsão do tempo?"}
    first = client.chat(model="command-a-03-2025", messages=[question], tools=[TOOL])  # type: ignore[list-item]
    assert first.finish_reason == "TOOL_CALL"
    assert first.message.tool_calls is not None
    assert first.message.tool_plan
    made = first.message.tool_calls[0]
    turns: list[Any] = [
        question,
        {"role": "assistant", "tool_calls": [made.dict()], "tool_plan": first.message.tool_plan},
        {"role": "tool", "tool_call_id": made.id, "content": '{"graus": 22}'},
    ]
    second = client.chat(model="command-a-03-2025", messages=turns, tools=[TOOL])  # type: ignore[list-item]
    assert second.finish_reason == "COMPLETE"
    assert second.message.citations is not None
    sources = second.message.citations[0].sources or []
    assert sources[0].tool_output == {"graus": 22}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"max_tokens": 3}, "MAX_TOKENS"),
        ({"stop_sequences": ["simulada"]}, "STOP_SEQUENCE"),
        ({"tools": [TOOL], "tool_choice": "REQUIRED"}, "TOOL_CALL"),
        ({"tools": [TOOL], "tool_choice": "NONE"}, "COMPLETE"),
    ],
)
def test_it_says_how_it_ended(sandbox: Sandbox, fields: dict[str, Any], reason: str) -> None:
    assert send(sandbox, "chat", fields).json()["finish_reason"] == reason


@pytest.mark.parametrize(("fault", "reason"), [("errorfinish", "ERROR"), ("errorfinish:504", "TIMEOUT")])
def test_it_fails_in_its_own_words(fresh: Sandbox, fault: str, reason: str) -> None:
    fresh.script("cohere", fault, times=2)
    assert send(fresh, "chat", {}).json()["finish_reason"] == reason
    assert f'"finish_reason":"{reason}"' in send(fresh, "chat", {"stream": True}).text
    fresh.script("cohere", "errormid:1")
    assert '"finish_reason":"ERROR"' in send(fresh, "chat", {"stream": True}).text
    fresh.script("cohere", "503")
    told = send(fresh, "chat", {})
    assert (told.status_code, set(told.json())) == (503, {"id", "message"})


def test_embeddings_and_searches_are_billed(fresh: Sandbox, client: cohere.ClientV2) -> None:
    answer = client.embed(model="embed-v4.0", input_type="search_document", texts=["um dois", "três"], embedding_types=["float"])
    assert answer.embeddings.float_ is not None
    assert [len(vector) for vector in answer.embeddings.float_] == [1536, 1536]
    assert fresh.last_call()["usage"]["prompt_tokens"] == 3
    ranked = client.rerank(model="rerank-v3.5", query="capital do Brasil", documents=["café", "Brasília é a capital do Brasil."])
    assert ranked.results[0].index == 1
    client.rerank(model="rerank-v3.5", query="x", documents=[" um" * 1_200] * 40)
    assert fresh.last_call()["usage"]["searches"] == 2


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("chat", {"model": "-"}, "model is required"),
    ("chat", {"top_p": 0.5}, "unknown field: parameter 'top_p'"),
    ("chat", {"n": 1}, "unknown field"),
    ("chat", {"temperature": 1.2}, "temperature must be between"),
    ("chat", {"p": 1}, "p must be between"),
    ("chat", {"frequency_penalty": -0.1}, "frequency_penalty"),
    ("chat", {"stop_sequences": list("abcdef")}, "stop_sequences"),
    ("chat", {"stop_sequences": "x"}, "stop_sequences"),
    ("chat", {"messages": []}, "messages"),
    ("chat", {"messages": [{"role": "developer", "content": "x"}]}, "role"),
    ("chat", {"messages": [{"role": "user", "content": ""}]}, "empty"),
    ("chat", {"messages": [{"role": "user", "content": "x", "name": "a"}]}, "unknown field: parameter 'messages[0].name'"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]}, "cache_control"),
    ("chat", {"messages": [*HELLO, {"role": "assistant", "content": "x"}]}, "last message"),
    ("chat", {"messages": [*HELLO, {"role": "assistant", "content": ""}, *HELLO]}, "content or tool calls"),
    ("chat", {"messages": [{"role": "tool", "tool_call_id": "x", "content": "x"}]}, "no tool call before"),
    ("chat", {"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, *HELLO]}, "no results"),
    ("chat", {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{**CALL, "index": 0}]},
                           {"role": "tool", "tool_call_id": "t1", "content": "x"}]}, "tool_calls[0].index"),
    ("chat", {"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]},
                           {"role": "tool", "tool_call_id": "t1", "content": ""}]}, "empty"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test"}}]}]}, "image"),
    ("chat", {"tools": [{"type": "function", "function": {"name": "f"}}]}, "parameters is required"),
    ("chat", {"tools": [{"type": "function", "function": {**TOOL["function"], "strict": True}}]}, "function.strict"),
    ("chat", {"tools": [TOOL], "strict_tools": True}, "required parameter"),
    ("chat", {"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
    ("chat", {"tool_choice": "NONE"}, "tool_choice"),
    ("chat", {"model": "command-r-08-2024", "tools": [TOOL], "tool_choice": "NONE"}, "not supported for model"),
    ("chat", {"tools": [TOOL], "response_format": {"type": "json_object"}}, "response_format"),
    ("chat", {"response_format": {"type": "json_schema"}}, "response_format"),
    ("chat", {"response_format": {"type": "json_object", "json_schema": {"type": "array"}}}, "top level"),
    ("chat", {"response_format": {"type": "json_object", "schema": {}}}, "response_format.schema"),
    ("chat", {"thinking": {"type": "enabled"}}, "thinking"),
    ("chat", {"model": "command-a-reasoning-08-2025", "thinking": {"type": "adaptive"}}, "thinking.type"),
    ("chat", {"documents": [{"text": "x"}]}, "documents[0]"),
    ("chat", {"safety_mode": "LOUD"}, "safety_mode"),
    ("embed", {"input_type": "-"}, "input_type is required"),
    ("embed", {"embedding_types": "-"}, "embedding_types is required"),
    ("embed", {"texts": ["x"] * 97}, "at most 96"),
    ("embed", {"texts": [1]}, "texts"),
    ("embed", {"output_dimension": 300}, "output_dimension"),
    ("embed", {"input": "x"}, "unknown field"),
    ("rerank", {"query": " "}, "query"),
    ("rerank", {"documents": [{"text": "x"}]}, "documents"),
    ("rerank", {"return_documents": True}, "unknown field"),
    ("rerank", {"top_n": 0}, "top_n"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "part"), REFUSED, ids=lambda value: str(value)[:50])
def test_it_refuses_what_cohere_refuses(sandbox: Sandbox, kind: str, fields: dict[str, Any], part: str) -> None:
    deadline = time.monotonic() + 10
    answer = send(sandbox, kind, fields)
    while answer.status_code == 200 and time.monotonic() < deadline:  # the published types load in the background
        time.sleep(0.1)
        answer = send(sandbox, kind, fields)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"id", "message"}
    assert part in answer.json()["message"]


def test_it_knows_its_key_its_models_and_its_methods(sandbox: Sandbox, client: cohere.ClientV2) -> None:
    stranger = cohere.ClientV2("wrong", base_url=f"{sandbox.url}/llm/cohere", max_retries=0)
    with stranger, pytest.raises(cohere.UnauthorizedError):
        stranger.chat(model="command-a-03-2025", messages=HELLO)
    for verb in (
        lambda: client.chat(model="gpt-4o", messages=HELLO),
        lambda: client.rerank(model="command-a-03-2025", query="x", documents=["x"]),
        lambda: client.embed(model="rerank-v3.5", input_type="search_query", texts=["x"], embedding_types=["float"]),
    ):
        with pytest.raises(cohere.NotFoundError):
            verb()
    headers = {"authorization": "Bearer sandbox-cohere"}
    assert sandbox.http.get("/llm/cohere/v2/chat", headers=headers).status_code == 405
    assert sandbox.http.post("/llm/cohere/v2/chat", content=b"{", headers=headers).status_code == 400
