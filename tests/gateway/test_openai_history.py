"""What OpenAI's own wire and the strictest host of it are told: histories that other models wrote, and models that reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.dialects import openai
from gateway.errors import BadRequest
from gateway.parsing import parse_chat
from tests.gateway.test_parsing import DEPLOYMENT, ROUTE

ASK: dict[str, Any] = {"role": "user", "content": "oi"}


def request(
    slug: str, messages: list[Any] | None = None, *, is_reasoning: bool = False, **fields: Any
) -> tuple[Any, tuple[str, ...]]:
    call = parse_chat(json.dumps({"model": "x/y", "messages": messages or [ASK], **fields}).encode())
    route, deployment = replace(ROUTE, is_reasoning=is_reasoning), replace(DEPLOYMENT, provider_slug=slug, is_strict=True)
    sent = openai.chat_request(call, route, deployment, 42)
    return json.loads(sent.body), sent.dropped


@pytest.mark.parametrize("slug", ["openai", "mistral"])
def test_it_leaves_out_what_sdks_write_although_there_is_none(slug: str) -> None:
    echoed: dict[str, Any] = {
        "role": "assistant", "content": "a", "refusal": None, "audio": None, "function_call": None, "tool_calls": None,
        "annotations": [], "name": None,
    }  # fmt: skip
    body, dropped = request(slug, [ASK, echoed, ASK])
    assert (body["messages"], dropped) == ([ASK, {"role": "assistant", "content": "a"}, ASK], ())


def test_it_keeps_an_empty_content_null() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "não"}
    assert request("openai", [ASK, refused, ASK])[0]["messages"][1] == refused


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"content": None, "refusal": "não"}, {"content": "não"}),
        ({"refusal": "não"}, {"content": "não"}),
        ({"content": "sim", "refusal": None}, {"content": "sim"}),
        ({"content": [{"type": "refusal", "refusal": "não"}]}, {"content": [{"type": "text", "text": "não"}]}),
    ],
)
def test_it_tells_a_refusal_as_text_where_there_is_no_word_for_it(said: dict[str, Any], told: dict[str, Any]) -> None:
    body, _ = request("mistral", [ASK, {"role": "assistant", **said}, ASK])
    assert body["messages"][1] == {"role": "assistant", **told}


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[1].audio"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "messages[1].function_call"),
        ({"role": "function", "name": "f", "content": "x"}, "messages[1].role"),
    ],
)
def test_it_refuses_by_path_what_a_host_has_no_word_for(message: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        request("mistral", [ASK, message, ASK])
    assert (caught.value.param, caught.value.code) == (path, "unsupported_value")


def test_it_leaves_sampling_out_for_models_that_reason_and_refuses_what_they_lack() -> None:
    body, dropped = request("openai", is_reasoning=True, temperature=0.2, top_p=1, presence_penalty=0, seed=7)
    assert dropped == ("temperature",)
    assert not {"temperature", "top_p", "presence_penalty"} & set(body) and body["seed"] == 7
    rests, dropped = request("openai", is_reasoning=True, temperature=0.2, reasoning_effort="none")
    assert (rests["temperature"], dropped) == (0.2, ())
    lacked: dict[str, Any] = {"logprobs": True, "logit_bias": {"1": 1}, "frequency_penalty": 0.5}
    for field, value in lacked.items():
        with pytest.raises(BadRequest) as caught:
            request("openai", is_reasoning=True, **{field: value})
        assert caught.value.param == field
        assert request("openai", is_reasoning=True, drop_params=True, **{field: value})[1] == (field,)
        assert request("openai", **{field: value})[1] == ()


def test_it_passes_what_it_does_not_know_unless_it_is_told_to_drop() -> None:
    """OpenAI grows fields faster than we do."""
    assert request("openai", brand_new=1)[0]["brand_new"] == 1
    body, dropped = request("openai", drop_params=True, brand_new=1, seed=7)
    assert ("brand_new" in body, body["seed"], dropped) == (False, 7, ("brand_new",))


def test_it_names_the_cache_marks_that_it_takes_off() -> None:
    mark = {"cache_control": {"type": "ephemeral"}, "prompt_cache_breakpoint": {"mode": "explicit"}}
    content = [{"type": "text", "text": "a", **mark}]
    body, dropped = request("openai", [{"role": "user", "content": content}])
    assert dropped == ("cache_control",) and "prompt_cache_breakpoint" in body["messages"][0]["content"][0]
    body, dropped = request("mistral", [{"role": "user", "content": content}])
    assert dropped == ("cache_control", "prompt_cache_breakpoint")
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
