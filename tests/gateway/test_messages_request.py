"""Anthropic's words to a chat completion's: golden cases, refusals with the caller's own paths, what is carried byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import PriceList, UnitPrice
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects import messages_native
from gateway.errors import BadRequest
from gateway.parsing import parse_chat
from gateway.surfaces.messages_content import away_id, home_id
from gateway.surfaces.messages_request import is_closed, outline_messages, parse_message, translate_message
from gateway.tokens import count_text, estimate_chat_input, estimate_text

PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
MARK = {"type": "ephemeral"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"name": "soma", "description": "Soma", "input_schema": SCHEMA}
DEPLOYMENT = ServedDeployment(
    id=1, provider_slug="anthropic", provider_name="Anthropic", dialect="anthropic", base_url="https://a.test", priority=1,
    weight=1, upstream_model="claude-sonnet-4-6", secret="segredo", is_strict=False, is_simulated=False,
)  # fmt: skip
ROUTE = ServedRoute(
    name="x/y", display_name="Y", maker="X", surface="chat", description="", context_tokens=200_000, output_tokens_max=8_000,
    output_tokens_default=4_000, token_factor_percent=100, capabilities=(), is_reasoning=False, created=0,
    prices=PriceList(1, "1", {"input": UnitPrice(1, 0, 1), "output": UnitPrice(1, 0, 1)}), deployments=(DEPLOYMENT,),
)  # fmt: skip


def body_of(messages: list[Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"model": "x/y", "max_tokens": 100, "messages": messages or [{"role": "user", "content": "oi"}], **fields}


def translate(messages: list[Any] | None = None, *, drops: bool = False, can_reason: bool = True, **fields: Any) -> dict[str, Any]:
    asked = parse_message(json.dumps(body_of(messages, **fields)).encode())
    translated = translate_message(asked, drops=drops, can_reason=can_reason).fields
    parse_chat(json.dumps(translated).encode())  # it is a chat completion by our own rules
    return translated


def dropped_of(*, drops: bool = False, can_reason: bool = True, **fields: Any) -> list[str]:
    asked = parse_message(json.dumps(body_of(**fields)).encode())
    return translate_message(asked, drops=drops, can_reason=can_reason).dropped


def native_call(body: bytes, **fields: Any) -> ChatCall:
    asked = parse_message(body)
    return ChatCall(
        model="x/y", fields={}, decoded={}, messages=outline_messages(asked.decoded), body_bytes=len(body), is_stream=False,
        wants_usage=False, output_tokens_asked=100, choices=1, native=asked.members, **fields,
    )  # fmt: skip


def say(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([{"role": "user", "content": "oi"}], [{"role": "user", "content": "oi"}]),
        ([say(text("a"), text("b"))], [{"role": "user", "content": "a\n\nb"}]),
        ([say(text("a", cache_control=MARK))],
         [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": MARK}]}]),
        ([say(text("vê"), {"type": "image", "source": PNG}, {"type": "image", "source": {"type": "url", "url": "https://x.test/a"}})],
         [{"role": "user", "content": [{"type": "text", "text": "vê"},
           {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
           {"type": "image_url", "image_url": {"url": "https://x.test/a"}}]}]),
        ([say({"type": "document", "source": PDF, "title": "contrato.pdf", "context": "o do ano passado"})],
         [{"role": "user", "content": [{"type": "text", "text": "o do ano passado"},
           {"type": "file", "file": {"filename": "contrato.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]}]),
        ([say({"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "corpo"}})],
         [{"role": "user", "content": "T\n\ncorpo"}]),
        ([say({"type": "document", "source": {"type": "content", "content": [text("x"), {"type": "image", "source": PNG}]}})],
         [{"role": "user", "content": [{"type": "text", "text": "x"},
           {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]),
        ([say({"type": "search_result", "title": "T", "source": "https://s.test", "content": [text("achado")]})],
         [{"role": "user", "content": "T\nhttps://s.test\nachado"}]),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "prefil"}],
         [{"role": "user", "content": "a"}, {"role": "assistant", "content": "prefil"}]),
        ([{"role": "user", "content": "a"}, {"role": "system", "content": "muda"}, {"role": "user", "content": "b"}],
         [{"role": "user", "content": "a"}, {"role": "system", "content": "muda"}, {"role": "user", "content": "b"}]),
    ],
)  # fmt: skip
def test_it_translates_turns(asked: list[Any], expected: list[Any]) -> None:
    assert translate(asked)["messages"] == expected


def test_it_translates_a_tool_loop_with_thinking() -> None:
    history = [
        {"role": "user", "content": "some"},
        say(
            {"type": "thinking", "thinking": "hum", "signature": "sig"}, {"type": "redacted_thinking", "data": "xyz"},
            text("já vou"),
            {"type": "tool_use", "id": "toolu__call_1", "name": "soma", "input": {"a": 1}},
            {"type": "tool_use", "id": "toolu_01A", "name": "soma", "input": {}}, role="assistant",
        ),
        say(
            {"type": "tool_result", "tool_use_id": "toolu__call_1", "content": [text("1"), {"type": "image", "source": PNG}]},
            {"type": "tool_result", "tool_use_id": "toolu_01A", "content": "quebrou", "is_error": True, "cache_control": MARK},
            text("e agora?"),
        ),
    ]  # fmt: skip
    assert translate(history, tools=[TOOL])["messages"][1:] == [
        {"role": "assistant", "content": "já vou", "reasoning_content": "hum",
         "thinking_blocks": [
             {"type": "thinking", "thinking": "hum", "signature": "sig"}, {"type": "redacted_thinking", "data": "xyz"}],
         "tool_calls": [
             {"id": "call_1", "type": "function", "function": {"name": "soma", "arguments": '{"a":1}'}},
             {"id": "toolu_01A", "type": "function", "function": {"name": "soma", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1\n[see the attachment below]"},
        {"role": "tool", "tool_call_id": "toolu_01A", "content": "Error: quebrou", "cache_control": MARK},
        {"role": "user", "content": [
            {"type": "text", "text": "[from the result of tool call toolu__call_1]"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, {"type": "text", "text": "e agora?"}]},
    ]  # fmt: skip


def test_it_keeps_thinking_without_a_signature_as_text_only() -> None:
    history = [
        {"role": "user", "content": "a"},
        say({"type": "thinking", "thinking": "h", "signature": ""}, text("b"), role="assistant"),
    ]
    history.append({"role": "user", "content": "c"})
    assert translate(history)["messages"][1] == {"role": "assistant", "content": "b", "reasoning_content": "h"}
    only_thinking = [
        {"role": "user", "content": "a"},
        say({"type": "thinking", "thinking": "h", "signature": ""}, role="assistant"),
    ]
    assert len(translate([*only_thinking, {"role": "user", "content": "c"}])["messages"]) == 2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"system": "s"}, {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "oi"}]}),
        ({"system": [text("a"), text("b")]},
         {"messages": [{"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "oi"}]}),
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}),
        ({"stop_sequences": ["FIM", " "]}, {"stop": ["FIM"]}),
        ({"metadata": {"user_id": "u1"}}, {"user": "u1"}),
        ({"metadata": {"user_id": None}}, {}),
        ({"stream": True}, {"stream": True}),
        ({"tools": [TOOL]},
         {"tools": [{"type": "function", "function": {"name": "soma", "parameters": SCHEMA, "description": "Soma"}}]}),
        ({"tools": [{**TOOL, "strict": True, "cache_control": MARK, "type": "custom"}]},
         {"tools": [{"type": "function", "cache_control": MARK, "function": {
             "name": "soma", "parameters": SCHEMA, "description": "Soma", "strict": True}}]}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 8_000}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 60_000}}, {"reasoning_effort": "high"}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, {"reasoning_effort": "xhigh"}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, {}),
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
         {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA, "strict": True}}}),
        ({"output_format": {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {}}}}},
         {"response_format": {"type": "json_schema", "json_schema": {
             "name": "output", "schema": {"type": "object", "properties": {"a": {}}}, "strict": False}}}),
        ({"cache_control": MARK, "service_tier": "auto", "container": None, "speed": None}, {}),
    ],
)  # fmt: skip
def test_it_translates_parameters(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    base = {"model": "x/y", "max_completion_tokens": 100, "messages": [{"role": "user", "content": "oi"}]}
    assert translate(**fields) == {**base, **expected}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}), ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "soma"}, {"tool_choice": {"type": "function", "function": {"name": "soma"}}}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"tool_choice": "auto", "parallel_tool_calls": False}),
    ],
)  # fmt: skip
def test_it_translates_tool_choice(choice: Any, expected: dict[str, Any]) -> None:
    translated = translate(tools=[TOOL], tool_choice=choice)
    assert {name: translated[name] for name in ("tool_choice", "parallel_tool_calls") if name in translated} == expected


def test_it_hashes_a_long_user_id() -> None:
    user = translate(metadata={"user_id": "user_" + "a" * 150})["user"]
    assert len(user) == 64
    assert user == translate(metadata={"user_id": "user_" + "a" * 150})["user"]


def test_a_model_that_does_not_reason_is_told_nothing_of_it() -> None:
    fields: dict[str, Any] = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    assert "reasoning_effort" not in translate(can_reason=False, **fields)
    assert dropped_of(can_reason=False, **fields) == ["output_config.effort"]
    assert dropped_of(can_reason=False, thinking={"type": "enabled", "budget_tokens": 2_000}) == ["thinking"]
    assert dropped_of(thinking={"type": "disabled"}) == ["thinking"]
    cleared = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    assert dropped_of(context_management=cleared, cache_control=MARK) == ["cache_control", "context_management.edits[0]"]


UNSAID: list[tuple[dict[str, Any], str]] = [
    ({"tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}]}, "tools[1].type"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"mcp_servers": [{"type": "url", "url": "https://m.test", "name": "m"}]}, "mcp_servers"),
    ({"container": "c"}, "container"),
    ({"speed": "fast"}, "speed"),
    ({"inference_geo": "us"}, "inference_geo"),
    ({"inventado": 1}, "inventado"),
    ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management.edits[0]"),
    ({"output_config": {"task_budget": {"type": "tokens", "total": 1}}}, "output_config.task_budget"),
    ({"messages": [say({"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}})]},
     "messages[0].content[0].source.type"),
    ({"messages": [say(text("a"), {"type": "document", "source": PDF, "citations": {"enabled": True}})]},
     "messages[0].content[1].citations"),
    ({"messages": [say({"type": "image", "source": {"type": "file", "file_id": "f"}})]}, "messages[0].content[0].source.type"),
    ({"messages": [
        say(text("a")), say({"type": "server_tool_use", "id": "s", "name": "n", "input": {}}, role="assistant"), say(text("b"))]},
     "messages[1].content[0].type"),
    ({"messages": [say({"type": "container_upload", "file_id": "f"})]}, "messages[0].content[0].type"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), UNSAID)
def test_it_refuses_what_chat_can_not_say_or_drops_it_where_asked(fields: dict[str, Any], param: str) -> None:
    asked = parse_message(json.dumps(body_of(**fields)).encode())
    with pytest.raises(BadRequest) as refused:
        translate_message(asked, drops=False, can_reason=True)
    assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")
    assert translate_message(asked, drops=True, can_reason=True).dropped == [param]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"), ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": 10**12}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"), ({"model": ""}, "model"), ({"messages": 5}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [say({"text": "sem tipo"})]}, "messages[0].content[0].type"),
        ({"messages": [say({"type": "text", "text": 5})]}, "messages[0].content[0].text"),
        ({"messages": [say({"type": "image"})]}, "messages[0].content[0].source"),
        ({"messages": [say({"type": "image", "source": {**PNG, "media_type": "image/tiff"}})]},
         "messages[0].content[0].source.media_type"),
        ({"messages": [say({"type": "tool_result"})]}, "messages[0].content[0].tool_use_id"),
        ({"messages": [say({"type": "tool_use", "id": "a", "name": "b", "input": "c"}, role="assistant")]},
         "messages[0].content[0].input"),
        ({"tools": [{"name": "não", "input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [TOOL], "tool_choice": {"type": "banana"}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice"),
        ({"thinking": {"type": "heroic"}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "heroic"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        ({"stop_sequences": "x"}, "stop_sequences"), ({"system": 5}, "system"), ({"temperature": "x"}, "temperature"),
        ({"api_key": "x"}, "api_key"),
    ],
)  # fmt: skip
def test_it_refuses_what_is_wrong(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        translate_message(parse_message(json.dumps(body_of(**fields)).encode()), drops=True, can_reason=True)
    assert refused.value.param == param


def test_a_schema_may_name_what_a_body_may_not() -> None:
    schema = {"type": "object", "properties": {"api_key": {"type": "string"}}}
    assert translate(
        tools=[{"name": "f", "input_schema": schema}], output_config={"format": {"type": "json_schema", "schema": schema}}
    )


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        (SCHEMA, True), ({"type": "string"}, True), ({**SCHEMA, "required": []}, False),
        ({**SCHEMA, "additionalProperties": True}, False),
        ({**SCHEMA, "properties": {"a": {"type": "object"}}}, False), ({"anyOf": [SCHEMA, {"type": "object"}]}, False),
        ({"type": "array", "items": {"type": "object"}}, False), ({**SCHEMA, "$defs": {"x": {"type": "object"}}}, False),
        ({**SCHEMA, "required": 5}, False),
    ],
)  # fmt: skip
def test_it_knows_a_closed_schema(schema: Any, closed: bool) -> None:
    assert is_closed(schema) is closed


@given(st.text(min_size=1, max_size=60))
def test_an_id_comes_home_as_it_left(id_: str) -> None:
    away = away_id(id_)
    assert away.startswith("toolu_")
    assert away.isascii()
    assert set(away) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    assert home_id(away) == id_


# ── Whatever comes ───────────────────────────────────────────────────────────────────────────────────────────────────
KINDS = st.sampled_from(
    [
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
        "search_result",
        "server_tool_use",
        "x",
    ]
)
WORDS = st.sampled_from(
    [
        "type", "text", "source", "data", "media_type", "url", "content", "id", "name", "input", "tool_use_id",
        "is_error", "citations", "enabled", "cache_control", "title", "context", "thinking", "signature", "base64",
        "application/pdf", "image/png", "file", "file_id", "edits", "effort", "format", "json_schema", "schema",
        "required", "properties", "input_schema", "budget_tokens", "user_id",
    ]
)  # fmt: skip
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 5_000) | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=10,
)
BLOCK = st.dictionaries(WORDS, JUNK, max_size=5).flatmap(lambda block: KINDS.map(lambda kind: {**block, "type": kind}))
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.lists(BLOCK, max_size=4) | JUNK}
)
FIELDS = st.sampled_from(
    [
        "system", "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata",
        "context_management", "stop_sequences", "top_k", "container", "speed", "stream",
    ]
)  # fmt: skip
TOOLISH = st.lists(st.just(TOOL) | st.dictionaries(WORDS, JUNK, max_size=5), max_size=3)


@given(
    turns=st.lists(TURN, min_size=1, max_size=4), fields=st.dictionaries(FIELDS, JUNK | TOOLISH, max_size=3), drops=st.booleans()
)  # fmt: skip
def test_whatever_comes_is_refused_by_name_or_is_a_chat_completion(turns: list[Any], fields: dict[str, Any], drops: bool) -> None:
    raw = json.dumps(body_of(turns, **fields)).encode()
    try:
        asked = parse_message(raw)
    except BadRequest as error:
        assert error.param
        return
    assert outline_messages(asked.decoded) is not None
    try:
        messages_native.chat_request(native_call(raw), ROUTE, DEPLOYMENT, 100)
    except BadRequest as error:
        assert error.param
    try:
        translated = translate_message(asked, drops=drops, can_reason=True)
    except BadRequest as error:
        assert error.param
    else:
        if translated.fields["messages"]:
            parse_chat(json.dumps(translated.fields).encode())


def test_it_estimates_near_the_truth() -> None:
    words = [f"palavra{number % 97} e mais {number}" for number in range(20_000)]
    said = " ".join(words)
    whole = sum(count_text(" ".join(words[start : start + 1_000]) + " ") for start in range(0, len(words), 1_000))
    assert abs(estimate_text(said) - whole) < whole * 0.03
    call = native_call(json.dumps(body_of([say(text("olá"), {"type": "image", "source": PNG})], tools=[TOOL])).encode())
    assert 1_600 < estimate_chat_input(call, factor_percent=100) < 1_700
