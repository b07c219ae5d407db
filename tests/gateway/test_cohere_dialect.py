"""OpenAI's words to Cohere v2, without a network: every rule of `cohere_request` and `cohere_messages`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects import cohere_embed
from gateway.dialects.cohere_request import translate_chat
from gateway.errors import BadRequest
from gateway.parsing import parse_chat, parse_embeddings

MODEL = "command-a-03-2025"
ROUTE = ServedRoute(
    name="cohere/x", display_name="X", maker="Cohere", surface="chat", description="", context_tokens=128_000,
    output_tokens_max=8_000, output_tokens_default=4_000, token_factor_percent=125, capabilities=("tools", "json"),
    is_reasoning=False, created=0, prices=None, deployments=(),
)  # fmt: skip
SEES, THINKS = replace(ROUTE, capabilities=("vision",)), replace(ROUTE, is_reasoning=True)
HOST = ServedDeployment(
    id=1, provider_slug="cohere", provider_name="Cohere", dialect="cohere", base_url="https://api.cohere.com",
    upstream_model="embed-v4.0", priority=1, weight=1, secret="co-secret", is_strict=False, is_simulated=True,
)  # fmt: skip
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "soma", "parameters": {"type": "object", "properties": {"a": {}}, "required": ["a"]}},
}
BARE: dict[str, Any] = {"type": "function", "function": {"name": "agora", "description": "A hora"}}
SENT_BARE = {"name": "agora", "description": "A hora", "parameters": {"type": "object", "properties": {}}}
USER: dict[str, Any] = {"role": "user", "content": "oi"}


def call_of(messages: list[Any] | None = None, **fields: Any) -> ChatCall:
    return parse_chat(json.dumps({"model": "cohere/x", "messages": messages or [USER], **fields}).encode())


def translate(
    messages: list[Any] | None = None, *, route: ServedRoute = ROUTE, model: str = MODEL, output_tokens: int = 5_000, **fields: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    return translate_chat(call_of(messages, **fields), route, model, output_tokens)


def said(messages: list[Any], **fields: Any) -> list[Any]:
    turns: list[Any] = translate(messages, **fields)[0]["messages"]
    return turns


# ── Parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("fields", "expected", "dropped"),
    [
        ({}, {}, ()),
        ({"temperature": 1, "top_p": 1, "n": 1, "frequency_penalty": 0, "logprobs": False}, {"temperature": 1, "p": 0.99}, ()),
        ({"temperature": 1.7}, {"temperature": 1}, ("temperature",)),
        ({"top_p": 0}, {"p": 0.01}, ()),
        ({"top_k": 40, "p": 0.5}, {"k": 40, "p": 0.5}, ()),
        ({"top_k": 900}, {"k": 500}, ("top_k",)),
        ({"top_k": -1}, {}, ()),
        ({"frequency_penalty": 0.5, "presence_penalty": 1.5}, {"frequency_penalty": 0.5, "presence_penalty": 1},
         ("presence_penalty",)),
        ({"stop": "FIM"}, {"stop_sequences": ["FIM"]}, ()),
        ({"stop": ["a", "", "b"]}, {"stop_sequences": ["a", "b"]}, ()),
        ({"seed": 7}, {"seed": 7}, ()),
        ({"seed": -7}, {}, ("seed",)),
        ({"user": "u", "store": True, "metadata": {"a": "b"}, "service_tier": "flex"}, {},
         ("metadata", "service_tier", "store", "user")),
        ({"logit_bias": {}, "modalities": ["text"], "function_call": "none", "logprobs": True}, {"logprobs": True}, ()),
        ({"response_format": {"type": "text"}, "tool_choice": "none", "parallel_tool_calls": False}, {}, ()),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}, ()),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}}}},
         {"response_format": {"type": "json_object", "json_schema": {"type": "object"}}}, ()),
        ({"documents": ["a", {"data": {"x": 1}}], "citation_options": {"mode": "off"}},
         {"documents": ["a", {"data": {"x": 1}}], "citation_options": {"mode": "OFF"}}, ()),
        ({"safety_mode": "STRICT"}, {"safety_mode": "STRICT"}, ()),
        ({"reasoning_effort": "none"}, {}, ()),
        ({"thinking": {"type": "disabled"}}, {}, ()),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}, ()),
    ],
)  # fmt: skip
def test_it_translates_parameters(fields: dict[str, Any], expected: dict[str, Any], dropped: tuple[str, ...]) -> None:
    body, names = translate(**fields)
    assert {name: value for name, value in body.items() if name not in ("model", "max_tokens", "messages")} == expected
    assert (body["model"], body["max_tokens"], names) == (MODEL, 5_000, dropped)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning_effort": "low"}, {"type": "enabled", "token_budget": 1_024}),
        ({"reasoning_effort": "high"}, {"type": "enabled", "token_budget": 4_999}),
        ({"reasoning_effort": "max"}, {"type": "enabled"}),
        ({"reasoning_effort": "none"}, {"type": "disabled"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, {"type": "enabled", "token_budget": 9}),
        ({"thinking": {"type": "enabled", "token_budget": 9}, "reasoning_effort": "low"}, {"type": "enabled", "token_budget": 9}),
        ({"thinking": {"type": "adaptive"}}, {"type": "enabled"}),
    ],
)
def test_it_says_how_much_to_think(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert translate(route=THINKS, **fields)[0]["thinking"] == expected


CAN_NOT: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"logit_bias": {"1": 2}}, "logit_bias"),
    ({"logprobs": True, "top_logprobs": 3}, "top_logprobs"),
    ({"presence_penalty": -0.5}, "presence_penalty"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"min_p": 0.1}, "min_p"),
    ({"chat_template_kwargs": {}}, "chat_template_kwargs"),
    ({"reasoning_effort": "high"}, "reasoning_effort"),
    ({"thinking": {"type": "enabled"}}, "thinking"),
    ({"tools": [TOOL], "response_format": {"type": "json_object"}}, "response_format"),
    ({"documents": ["x"], "response_format": {"type": "json_object"}}, "response_format"),
    ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
    ({"tools": [{**BARE, "function": {**BARE["function"], "strict": True}}]}, "tools[0].function.strict"),
]


@pytest.mark.parametrize(("fields", "param"), CAN_NOT, ids=lambda value: str(value)[:40])
def test_what_it_can_not_say_is_refused_or_dropped_when_told(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        translate(**fields)
    assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")
    body, dropped = translate(**fields, drop_params=True)
    assert dropped == (param,)
    assert body.keys() <= {"model", "max_tokens", "messages", "tools", "documents", "logprobs"}


PIC = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"p": "x"}, "top_p"),
        ({"top_k": "x"}, "top_k"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"seed": "x"}, "seed"),
        ({"stop": list("abcdef")}, "stop"),
        ({"reasoning_effort": ["high"]}, "reasoning_effort"),
        ({"thinking": 3}, "thinking.type"),
        ({"thinking": {"type": "enabled", "token_budget": -1}}, "thinking.token_budget"),
        ({"documents": "x"}, "documents"),
        ({"documents": [{"text": "x"}]}, "documents[0]"),
        ({"citation_options": {"mode": "loud"}}, "citation_options"),
        ({"safety_mode": "NONE"}, "safety_mode"),
        ({"safety_mode": "OFF", "tools": [TOOL]}, "safety_mode"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": ["x"]}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}}}, "tool_choice"),
        ({"messages": [USER, {"role": "assistant", "content": "Era"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}, USER]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [PIC]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "system", "content": [PIC]}, USER]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}, USER]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "["}}]}, USER]},
         "messages[0].tool_calls[0].function.arguments"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}, USER]}, "messages[0].tool_calls[0].id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}, USER]}, "messages[0].tool_calls[0].function"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_nonsense_is_refused_naming_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        translate(fields.pop("messages", None), **fields)
    assert refused.value.param == param


def test_the_first_command_r_models_take_no_choice_of_tools() -> None:
    with pytest.raises(BadRequest):
        translate(model="command-r-08-2024", tools=[TOOL], tool_choice="required")
    body, dropped = translate(model="command-r-plus-08-2024", tools=[TOOL], tool_choice="required", drop_params=True)
    assert "tool_choice" not in body
    assert dropped == ("tool_choice",)
    assert translate(model="command-r7b-12-2024", tools=[TOOL], tool_choice="required")[0]["tool_choice"] == "REQUIRED"


# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("choice", "sent", "names"),
    [
        (None, None, ["soma", "agora"]),
        ("auto", None, ["soma", "agora"]),
        ("required", "REQUIRED", ["soma", "agora"]),
        ("none", "NONE", ["soma", "agora"]),
        ({"type": "function", "function": {"name": "agora"}}, "REQUIRED", ["agora"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL]}}, None, ["soma"]),
    ],
)
def test_it_translates_the_choice_of_tools(choice: Any, sent: str | None, names: list[str]) -> None:
    body, _ = translate(tools=[TOOL, BARE], tool_choice=choice)
    assert body.get("tool_choice") == sent
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body["tools"][-1]["function"] in (SENT_BARE, TOOL["function"])


def test_strict_of_one_tool_holds_for_those_that_are_sent() -> None:
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    assert translate(tools=[strict])[0]["strict_tools"] is True
    assert "strict" not in translate(tools=[strict])[0]["tools"][0]["function"]
    only_bare = {"type": "function", "function": {"name": "agora"}}
    assert "strict_tools" not in translate(tools=[strict, BARE], tool_choice=only_bare)[0]


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_keeps_turns_in_their_order() -> None:
    assert said([
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, USER,
        {"role": "assistant", "content": ""}, {"role": "assistant", "content": None, "refusal": "não"},
        {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
    ]) == [
        {"role": "system", "content": "a\nb"}, USER, {"role": "assistant", "content": "não"}, {"role": "user", "content": "x"},
    ]  # fmt: skip
    assert said([{"role": "system", "content": "só isto"}]) == [{"role": "user", "content": "só isto"}]
    assert said([USER, {"role": "system", "content": "por fim"}])[-1] == {"role": "user", "content": "por fim"}


def test_it_sends_pictures_to_models_that_see() -> None:
    parts = [
        {"type": "text", "text": "veja"},
        PIC,
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
    ]
    [turn] = said([{"role": "user", "content": parts}], route=SEES)
    assert turn["content"][0] == {"type": "text", "text": "veja"}
    assert [block["image_url"] for block in turn["content"][1:]] == [
        {"url": "https://x.test/a.png"}, {"url": "data:image/png;base64,AA", "detail": "low"},
    ]  # fmt: skip
    for url in ("http://169.254.169.254/", "file:///etc/passwd", "data:text/html;base64,AA", 3):
        with pytest.raises(BadRequest):
            said([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}], route=SEES)


def test_thoughts_and_citations_go_back_as_they_came() -> None:
    made = {"id": "t1", "index": 0, "type": "function", "function": {"name": "soma", "arguments": ""}}
    history = [
        USER,
        {"role": "assistant", "content": None, "reasoning_content": "vou somar", "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "t1", "name": "soma", "content": []},
        {"role": "assistant", "content": "São 3.", "reasoning_content": "fácil", "annotations": [], "citations": [
            {"index": 0, "start": 0, "end": 2, "text": "Sã", "sources": [{"type": "tool", "id": "t1:0"}]}, "junk"]},
        USER,
    ]  # fmt: skip
    sent = {"id": "t1", "type": "function", "function": {"name": "soma", "arguments": "{}"}}
    cited = [{"start": 0, "end": 2, "text": "Sã", "sources": [{"type": "tool", "id": "t1:0"}]}]
    assert said(history)[1:4] == [
        {"role": "assistant", "tool_calls": [sent], "tool_plan": "vou somar"},
        {"role": "tool", "tool_call_id": "t1", "content": "{}"},
        {"role": "assistant", "content": "São 3.", "citations": cited},
    ]
    turns = said(history, route=THINKS)
    assert turns[1]["content"] == [{"type": "thinking", "thinking": "vou somar"}]
    assert turns[3]["content"] == [{"type": "thinking", "thinking": "fácil"}, {"type": "text", "text": "São 3."}]


# ── Embeddings ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_embeds_96_texts_a_request() -> None:
    texts = [f"t{number}" for number in range(193)]
    call = parse_embeddings(
        json.dumps({"model": "m", "input": texts, "dimensions": 512, "encoding_format": "base64", "user": "u"}).encode()
    )
    requests = cohere_embed.embeddings_requests(call, HOST)
    bodies = [json.loads(request.body) for request in requests]
    assert [len(body["texts"]) for body in bodies] == [96, 96, 1]
    assert bodies[2] == {
        "model": "embed-v4.0", "input_type": "search_document", "embedding_types": ["float"], "output_dimension": 512,
        "texts": ["t192"],
    }  # fmt: skip
    assert requests[0].url == "https://api.cohere.com/v2/embed"
    assert requests[0].dropped == ("user",)
