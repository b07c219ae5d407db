"""What the OpenAI-compatible providers refuse, and in which words."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.sandbox.conftest import Sandbox

HELLO = [{"role": "user", "content": "Oi"}]
TOOL = {"type": "function", "function": {"name": "somar", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "somar", "arguments": "{}"}}
ASSISTANT = {"role": "assistant", "content": None, "tool_calls": [CALL]}

REFUSALS: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({"foo": 1}, "foo", "unknown_parameter"),
    ({"top_k": 5}, "top_k", "unknown_parameter"),
    ({"messages": None}, "messages", "missing_required_parameter"),
    ({"messages": []}, "messages", "empty_array"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [*HELLO, {"role": "assistant", "content": "a", "reasoning_content": "b"}]},
     "messages[1].reasoning_content", "unknown_parameter"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", None),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
    ({"messages": [*HELLO, ASSISTANT]}, "messages.[2].role", None),
    ({"messages": [*HELLO, ASSISTANT, *HELLO]}, "messages.[2].role", None),
    ({"messages": [*HELLO, {"role": "tool", "tool_call_id": "x", "content": "1"}]}, "messages.[1].role", None),
    ({"temperature": 3}, "temperature", "decimal_above_max_value"),
    ({"temperature": "quente"}, "temperature", "invalid_type"),
    ({"top_p": -0.1}, "top_p", "decimal_below_min_value"),
    ({"n": 0}, "n", "integer_below_min_value"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
    ({"stream_options": {"include_usage": True}}, "stream_options", None),
    ({"top_logprobs": 2}, "top_logprobs", None),
    ({"tool_choice": "auto"}, "tool_choice", None),
    ({"parallel_tool_calls": False}, "parallel_tool_calls", None),
    ({"tools": []}, "tools", "empty_array"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "outra"}}}, "tool_choice", None),
    ({"tools": [{"type": "function", "function": {"name": "com espaço"}}]}, "tools[0].function.name", "invalid_value"),
    ({"tools": [{**TOOL, "function": {**TOOL["function"], "strict": True}}]}, None, "invalid_json_schema"),  # type: ignore[dict-item]
    ({"response_format": {"type": "json_object"}}, "messages", None),
    ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
    ({"reasoning_effort": "low"}, None, None),
    ({"model": "gpt-5", "max_tokens": 9}, "max_tokens", "unsupported_parameter"),
    ({"model": "o4-mini", "temperature": 0.2}, "temperature", "unsupported_value"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, None, "invalid_parameter_combination"),
    ({"messages": [{"role": "user", "content": "ação " * 128_001}]}, "messages", "context_length_exceeded"),
]  # fmt: skip


def send(sandbox: Sandbox, slug: str, path: str, body: dict[str, Any]) -> httpx.Response:
    headers = {"authorization": f"Bearer sandbox-{slug}"}
    return sandbox.http.post(f"/llm/{slug}{path}", json=body, headers=headers, timeout=20)


def send_openai(sandbox: Sandbox, body: dict[str, Any]) -> httpx.Response:
    whole = {name: value for name, value in {"model": "gpt-4o", "messages": HELLO, **body}.items() if value is not None}
    return send(sandbox, "openai", "/v1/chat/completions", whole)


@pytest.mark.parametrize(("body", "param", "code"), REFUSALS)
def test_it_refuses_as_openai_does(sandbox: Sandbox, body: dict[str, Any], param: str | None, code: str | None) -> None:
    answer = send_openai(sandbox, body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert answer.headers["x-request-id"].startswith("req_")


def test_it_takes_what_openai_takes(sandbox: Sandbox) -> None:
    for body in (
        {"model": "gpt-5", "max_completion_tokens": 2000, "temperature": 1, "reasoning_effort": "minimal"},
        {"messages": [*HELLO, ASSISTANT, {"role": "tool", "tool_call_id": "call_1", "content": "2"}], "tools": [TOOL]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Oi"}]}], "user": "u1", "seed": 7, "metadata": {}},
        {"stream": True, "stream_options": {"include_usage": True}, "service_tier": "auto", "store": False},
    ):
        assert send_openai(sandbox, body).status_code == 200, body


def test_it_refuses_what_the_published_types_do_not_allow(sandbox: Sandbox) -> None:
    deadline = time.monotonic() + 20
    while "openai" not in sandbox.get("/healthz")["types"] and time.monotonic() < deadline:
        time.sleep(0.1)
    answer = send_openai(sandbox, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]})
    assert answer.json()["error"]["code"] == "invalid_type"
    assert send_openai(sandbox, {"logit_bias": "x"}).json()["error"]["param"] == "logit_bias"


def test_it_refuses_bad_embeddings(sandbox: Sandbox) -> None:
    def status(**body: Any) -> int:
        return send(sandbox, "openai", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "oi", **body}).status_code

    assert status() == 200
    assert status(input="") == status(input=[]) == status(input=["", "a"]) == status(input=["a"] * 2049) == 400
    assert status(encoding_format="hex") == status(dimensions=0) == status(foo=1) == 400
    assert status(model="gpt-4o") == 404


def test_mistral_forbids_unknown_fields_and_include_usage(sandbox: Sandbox) -> None:
    def detail(**body: Any) -> Any:
        whole = {"model": "mistral-small-latest", "messages": HELLO, **body}
        answer = send(sandbox, "mistral", "/v1/chat/completions", whole)
        assert answer.status_code == 422, answer.text
        return answer.json()["message"]["detail"][0]

    assert detail(max_completion_tokens=5)["loc"] == ["body", "max_completion_tokens"]
    assert detail(stream=True, stream_options={"include_usage": True})["loc"] == ["body", "stream_options", "include_usage"]
    messages = [*HELLO, {"role": "assistant", "content": "a", "reasoning_content": "b"}, *HELLO]
    assert detail(messages=messages)["loc"] == ["body", "messages", 1, "assistant", "reasoning_content"]


def test_the_hosts_that_ignore_unknown_fields_do(sandbox: Sandbox) -> None:
    for slug, path, model in (
        ("groq", "/openai/v1/chat/completions", "llama-3.3-70b-versatile"),
        ("deepseek", "/chat/completions", "deepseek-chat"),
        ("deepseek", "/v1/chat/completions", "deepseek-chat"),
        ("cohere", "/compatibility/v1/chat/completions", "command-a-03-2025"),
        ("local", "/v1/chat/completions", "smollm2-135m-instruct"),
    ):
        answer = send(sandbox, slug, path, {"model": model, "messages": HELLO, "top_k": 5, "chat_template_kwargs": {}})
        assert answer.status_code == 200, answer.text


def test_every_provider_refuses_a_wrong_key_in_its_own_shape(sandbox: Sandbox) -> None:
    def refusal(path: str) -> tuple[int, Any]:
        answer = sandbox.http.post(f"/llm/{path}/chat/completions", headers={"authorization": "Bearer errada"}, json={})
        return answer.status_code, answer.json()

    assert refusal("openai/v1")[1]["error"]["code"] == "invalid_api_key"
    assert refusal("groq/openai/v1")[1]["error"]["message"] == "Invalid API Key"
    assert refusal("deepseek")[1]["error"]["type"] == "authentication_error"
    assert refusal("mistral/v1")[1]["detail"] == "Unauthorized"
    assert refusal("cohere/compatibility/v1")[1]["message"] == "invalid api token"
    status, body = refusal("google/v1beta/openai")
    assert (status, body[0]["error"]["status"]) == (400, "INVALID_ARGUMENT")
    for slug in ("openai/v1", "groq/openai/v1", "deepseek", "mistral/v1", "cohere/compatibility/v1"):
        assert refusal(slug)[0] == 401


def test_each_host_puts_usage_where_it_really_does(sandbox: Sandbox) -> None:
    def last_events(slug: str, path: str, model: str, **body: Any) -> list[str]:
        whole = {"model": model, "messages": HELLO, "stream": True, **body}
        text = send(sandbox, slug, f"{path}/chat/completions", whole).text
        return [line for line in text.split("\n") if line.startswith("data: {")][-2:]

    assert '"usage"' in last_events("mistral", "/v1", "mistral-small-latest")[-1]
    deepseek = last_events("deepseek", "", "deepseek-chat", stream_options={"include_usage": True})[-1]
    assert '"prompt_cache_miss_tokens"' in deepseek
    assert '"finish_reason":"stop"' in deepseek
    finish, usage = last_events("groq", "/openai/v1", "llama-3.1-8b-instant", stream_options={"include_usage": True})
    assert '"x_groq"' in finish
    assert '"choices":[]' in usage


def test_a_mistral_tool_id_has_nine_characters(sandbox: Sandbox) -> None:
    body = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "somar"}], "tools": [TOOL]}
    answer = send(sandbox, "mistral", "/v1/chat/completions", body).json()
    identifier = answer["choices"][0]["message"]["tool_calls"][0]["id"]
    assert len(identifier) == 9
    assert identifier.isalnum()


def test_a_reasoning_host_shows_its_reasoning(sandbox: Sandbox) -> None:
    answer = send(sandbox, "deepseek", "/chat/completions", {"model": "deepseek-reasoner", "messages": HELLO}).json()
    assert answer["choices"][0]["message"]["reasoning_content"]
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
