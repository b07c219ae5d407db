"""What a route can't do is refused before money is held, by its path; parameters are left out for who wants it, content never."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.abilities import check_abilities
from gateway.calls import ChatCall, ServedRoute
from gateway.errors import BadRequest
from gateway.parsing import parse_chat

ROUTE = ServedRoute(
    name="a/b", display_name="", maker="", surface="chat", description="", context_tokens=1_000, output_tokens_max=100,
    output_tokens_default=50, token_factor_percent=100, capabilities=(), is_reasoning=False, created=0, prices=None, deployments=(),
)  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "f"}}]
PARTS: dict[str, dict[str, Any]] = {
    "vision": {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    "audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    "files": {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
}
PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tools": ("tools", {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": True}),
    "functions": ("tools", {"functions": [{"name": "f"}], "function_call": "auto"}),
    "response_format": ("json", {"response_format": {"type": "json_object"}}),
    "reasoning_effort": ("reasoning", {"reasoning_effort": "low"}),
    "modalities": ("audio_output", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
}


def call_of(content: Any = "oi", **fields: Any) -> ChatCall:
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": content}]
    return parse_chat(json.dumps({"model": "a/b", "messages": messages, **fields}).encode())


def test_it_lets_a_plain_call_pass_as_it_is() -> None:
    call = call_of([{"type": "text", "text": "oi"}], temperature=0.5)
    assert check_abilities(call, ROUTE) is call


@pytest.mark.parametrize("need", PARTS)
def test_it_refuses_content_by_its_path_whatever_the_caller_would_drop(need: str) -> None:
    content = [{"type": "text", "text": "oi"}, PARTS[need]]
    for drops in (False, True):
        with pytest.raises(BadRequest) as caught:
            check_abilities(call_of(content, drop_params=drops), ROUTE)
        assert (caught.value.param, caught.value.code) == ("messages[1].content[1]", "unsupported_value")
    call = call_of(content)
    assert check_abilities(call, replace(ROUTE, capabilities=(need,))) is call


@pytest.mark.parametrize("param", PARAMETERS)
def test_it_refuses_a_parameter_by_name_or_leaves_it_out_with_what_goes_with_it(param: str) -> None:
    need, fields = PARAMETERS[param]
    with pytest.raises(BadRequest) as caught:
        check_abilities(call_of(**fields), ROUTE)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    call = check_abilities(call_of(drop_params=True, seed=7, **fields), ROUTE)
    assert call.dropped == (param,)
    assert sorted(call.fields) == ["messages", "model", "seed"]
    assert not set(fields) & set(call.decoded)
    allowed = call_of(**fields)
    assert check_abilities(allowed, replace(ROUTE, capabilities=(need,))) is allowed


@pytest.mark.parametrize(
    "neutral",
    [
        {"tools": []}, {"tools": None}, {"response_format": {"type": "text"}}, {"response_format": None}, {"modalities": ["text"]},
        {"reasoning_effort": "none"}, {"reasoning_effort": None}, {"modalities": None}, {"functions": []},
    ],
)  # fmt: skip
def test_it_minds_no_value_that_asks_for_nothing(neutral: dict[str, Any]) -> None:
    call = call_of(**neutral)
    assert check_abilities(call, ROUTE) is call


def test_it_knows_a_model_that_always_reasons() -> None:
    call = call_of(reasoning_effort="high")
    assert check_abilities(call, replace(ROUTE, is_reasoning=True)) is call
