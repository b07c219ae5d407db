"""OpenAI's words to Converse. Whatever is translated is judged by botocore's published model and the sandbox's rules."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects import bedrock
from gateway.dialects.bedrock_messages import tool_id
from gateway.dialects.bedrock_request import translate_chat
from gateway.errors import BadRequest
from gateway.parsing import parse_chat
from tests.examples import examples
from tokia.sandbox.llm_anthropic_rules import sign_thinking
from tokia.sandbox.llm_bedrock_rules import refuse_bad_converse
from tokia.sandbox.llm_bedrock_types import find_slip

OLD, NEW = "us.anthropic.claude-haiku-4-5-20251001-v1:0", "us.anthropic.claude-opus-4-8-v1:0"
ANCIENT = "anthropic.claude-3-5-sonnet-20241022-v2:0"
NOVA, NOVA_2, LLAMA, GPT = (
    "us.amazon.nova-pro-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "us.meta.llama3-3-70b-instruct-v1:0",
    "openai.gpt-oss-120b-1:0",
)
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "soma", "parameters": {"properties": {"a": {"type": "number"}}}}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MARK = {"cache_control": {"type": "ephemeral"}}
DEPLOYMENT = ServedDeployment(
    id=1, provider_slug="bedrock", provider_name="AWS", dialect="bedrock", base_url="https://bedrock-runtime.us-west-2.amazonaws.com",
    upstream_model=OLD, priority=1, weight=1, secret="AKIATEST:verysecret", is_strict=False, is_simulated=False,
)  # fmt: skip


def call_of(messages: list[Any] | None = None, **fields: Any) -> ChatCall:
    return parse_chat(json.dumps({"model": "x/y", "messages": messages or [{"role": "user", "content": "oi"}], **fields}).encode())


def translate(
    messages: list[Any] | None = None, *, model: str = OLD, output_tokens: int = 5_000, **fields: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    body, dropped = translate_chat(call_of(messages, **fields), model, output_tokens)
    assert find_slip(body, model=model) is None
    refuse_bad_converse(body, model=model)
    return body, dropped


def tool_turn(*, thinking: list[Any] | None = None, ids: tuple[str, ...] = ("call:1", "call:2"), **extra: Any) -> list[Any]:
    calls = [{"id": id_, "type": "function", "function": {"name": "soma", "arguments": '{"a":1}'}} for id_ in ids]
    assistant: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": calls}
    if thinking:
        assistant["thinking_blocks"] = thinking
    return [
        {"role": "user", "content": "some"},
        assistant,
        *({"role": "tool", "tool_call_id": id_, "content": "2", **extra} for id_ in ids),
    ]


# ── There ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_moves_every_system_message_to_the_top() -> None:
    body, _ = translate([
        {"role": "system", "content": "a"}, {"role": "user", "content": "b"},
        {"role": "developer", "content": [{"type": "text", "text": "c", **MARK}]},
        {"role": "system", "content": " "},
    ])  # fmt: skip
    assert body["system"] == [{"text": "a"}, {"text": "c"}, {"cachePoint": {"type": "default"}}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "b"}]}]
    assert body["inferenceConfig"] == {"maxTokens": 5_000}
    assert set(body) == {"system", "messages", "inferenceConfig"}


def test_it_groups_tool_results_first_in_one_user_turn() -> None:
    body, _ = translate([*tool_turn(), {"role": "user", "content": "e agora?"}], tools=[TOOL])
    assert body["messages"][1]["content"] == [
        {"toolUse": {"toolUseId": "call:1", "name": "soma", "input": {"a": 1}}},
        {"toolUse": {"toolUseId": "call:2", "name": "soma", "input": {"a": 1}}},
    ]
    assert body["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "call:1", "content": [{"text": "2"}]}},
        {"toolResult": {"toolUseId": "call:2", "content": [{"text": "2"}]}},
        {"text": "e agora?"},
    ]
    spec = {"name": "soma", "inputSchema": {"json": {"type": "object", "properties": {"a": {"type": "number"}}}}}
    assert body["toolConfig"] == {"tools": [{"toolSpec": spec}]}


def test_it_declares_the_tools_of_the_history_where_the_caller_offers_none() -> None:
    body, dropped = translate(tool_turn())
    [tool] = body["toolConfig"]["tools"]
    assert (tool["toolSpec"]["name"], tool["toolSpec"]["description"]) == ("soma", "Not available now: do not call it.")
    assert dropped == ()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "soma"}}, {"tool": {"name": "soma"}}),
        (None, None),
    ],
)
def test_it_translates_tool_choice(asked: Any, expected: dict[str, Any] | None) -> None:
    body, _ = translate(tools=[TOOL], **({"tool_choice": asked} if asked else {}))
    assert body["toolConfig"].get("toolChoice") == expected


def test_no_tool_may_be_called_where_none_is_chosen() -> None:
    assert "toolConfig" not in translate(tools=[TOOL], tool_choice="none")[0]
    with pytest.raises(BadRequest) as caught:
        translate(tool_turn(), tools=[TOOL], tool_choice="none")
    assert caught.value.param == "tool_choice"
    body, dropped = translate(tool_turn(), tools=[TOOL], tool_choice="none", drop_params=True)
    assert (list(body["toolConfig"]), dropped) == (["tools"], ("tool_choice",))


def test_one_call_at_a_time_is_said_in_claudes_words_or_refused() -> None:
    body, _ = translate(tools=[TOOL], parallel_tool_calls=False, tool_choice="required")
    assert body["additionalModelRequestFields"] == {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    body, _ = translate(tools=[TOOL], parallel_tool_calls=False, tool_choice={"type": "function", "function": {"name": "soma"}})
    assert body["additionalModelRequestFields"]["tool_choice"]["name"] == "soma"
    with pytest.raises(BadRequest):
        translate(tools=[TOOL], parallel_tool_calls=False, model=NOVA)
    assert translate(tools=[TOOL], parallel_tool_calls=True, model=NOVA)[1] == ()


def test_it_takes_images_documents_and_sound_as_bytes() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
        {"type": "file", "file": {"filename": "Relatório_final (v2).pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "file", "file": {"filename": "Relatório_final (v2).pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "file", "file": {"file_data": "data:text/csv;base64,YSxi"}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": "UklGRg=="}},
    ]
    [turn] = translate([{"role": "user", "content": content}])[0]["messages"]
    image, first, second, third, sound, text = turn["content"]
    assert image == {"image": {"format": "png", "source": {"bytes": PIXEL}}}
    assert first["document"] == {"format": "pdf", "name": "Relat rio final (v2)", "source": {"bytes": "JVBERi0="}}
    assert second["document"]["name"] == "Relat rio final (v2) (2)"
    assert (third["document"]["format"], third["document"]["name"]) == ("csv", "document")
    assert sound == {"audio": {"format": "wav", "source": {"bytes": "UklGRg=="}}}
    assert text == {"text": "."}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}},
        {"type": "image_url", "image_url": {"url": "data:text/html;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "data:application/zip;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"format": "xyz", "data": "AAAA"}},
        {"type": "video_url", "text": "x"},
    ],
)
def test_it_refuses_parts_that_it_can_not_carry(part: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        translate([{"role": "user", "content": [part]}])
    assert (caught.value.param or "").startswith("messages[0].content[0]")


def test_it_keeps_the_last_four_cache_marks_each_behind_its_block() -> None:
    parts = [{"type": "text", "text": str(number), **MARK} for number in range(4)]
    body, _ = translate(
        [{"role": "system", "content": [{"type": "text", "text": "s", **MARK}]}, {"role": "user", "content": parts}],
        tools=[{**TOOL, **MARK}],
    )
    assert [list(tool) for tool in body["toolConfig"]["tools"]] == [["toolSpec"]]
    assert body["system"] == [{"text": "s"}]
    assert [next(iter(block)) for block in body["messages"][0]["content"]] == ["text", "cachePoint"] * 4


def test_marks_of_tool_results_stand_beside_them() -> None:
    hour: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    for turn in (tool_turn(ids=("a",), **hour), tool_turn(ids=("a",), content=[{"type": "text", "text": "2", **hour}])):
        body, _ = translate(turn, tools=[TOOL])
        assert body["messages"][2]["content"] == [{"toolResult": {"toolUseId": "a", "content": [{"text": "2"}]}}, point]


@pytest.mark.parametrize(("model", "in_system", "in_tools"), [(OLD, True, True), (NOVA, True, False), (LLAMA, False, False)])
def test_marks_go_only_where_a_family_takes_them(model: str, in_system: bool, in_tools: bool) -> None:
    marked = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
    body, dropped = translate(
        [{"role": "system", "content": [{"type": "text", "text": "s", **marked}]}, {"role": "user", "content": "x"}],
        model=model, tools=[{**TOOL, **marked}],
    )  # fmt: skip
    assert any("cachePoint" in block for block in body["system"]) == in_system
    assert any("cachePoint" in tool for tool in body["toolConfig"]["tools"]) == in_tools
    assert dropped == ()  # a mark changes no meaning


@pytest.mark.parametrize(
    ("fields", "model", "config", "extra", "dropped"),
    [
        ({"temperature": 1.7, "top_p": 0.5}, OLD, {"temperature": 1.0}, None, ("temperature", "top_p")),
        ({"temperature": 0.3, "top_p": 0.5}, LLAMA, {"temperature": 0.3, "topP": 0.5}, None, ()),
        ({"top_p": 0.5, "top_k": 5}, OLD, {"topP": 0.5}, {"top_k": 5}, ()),
        ({"top_k": 5}, NOVA, {}, {"inferenceConfig": {"topK": 5}}, ()),
        ({"top_k": 5}, "mistral.mistral-large-2407-v1:0", {}, {"top_k": 5}, ()),
        ({"temperature": 0.2, "top_p": 1}, NEW, {}, None, ("temperature",)),
        ({"reasoning_effort": "none"}, NEW, {}, None, ()),
        ({"reasoning_effort": "medium", "temperature": 0.2}, OLD, {},
         {"thinking": {"type": "enabled", "budget_tokens": 4_096}}, ("temperature",)),
        ({"reasoning_effort": "low"}, GPT, {}, {"reasoning_effort": "low"}, ()),
        ({"reasoning_effort": "max"}, GPT, {}, {"reasoning_effort": "high"}, ("reasoning_effort",)),
        ({"reasoning_effort": "medium"}, NOVA_2, {}, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}, ()),
        ({"reasoning_effort": "high"}, NOVA_2, {},
         {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}, ("reasoning_effort",)),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, OLD, {},
         {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, ()),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, NEW, {}, {"thinking": {"type": "adaptive"}}, ()),
        ({"thinking": {"type": "disabled"}}, NEW, {}, {"thinking": {"type": "disabled"}}, ()),
        ({"stop": ["FIM", " "], "drop_params": True}, OLD, {"stopSequences": ["FIM"]}, None, ("stop",)),
        ({"stop": "FIM"}, LLAMA, {"stopSequences": ["FIM"]}, None, ()),
        ({"n": 1, "logprobs": False, "presence_penalty": 0, "logit_bias": {}, "modalities": ["text"], "seed": None}, LLAMA,
         {}, None, ()),
        ({"user": "u", "seed": 3, "store": False, "metadata": {"a": "b"}, "service_tier": "flex"}, OLD, {}, None,
         ("user", "seed", "store", "metadata", "service_tier")),
    ],
)  # fmt: skip
def test_it_translates_parameters(
    fields: dict[str, Any], model: str, config: dict[str, Any], extra: dict[str, Any] | None, dropped: tuple[str, ...]
) -> None:
    body, left_out = translate(model=model, **fields)
    assert body["inferenceConfig"] == {"maxTokens": 5_000, **config}
    assert body.get("additionalModelRequestFields") == extra
    assert left_out == dropped


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({"n": 2}, OLD), ({"logprobs": True}, OLD), ({"presence_penalty": 0.5}, OLD), ({"logit_bias": {"1": 2}}, OLD),
        ({"modalities": ["text", "audio"]}, OLD), ({"web_search_options": {}}, OLD), ({"top_k": 3}, LLAMA), ({"min_p": 0.1}, OLD),
        ({"reasoning_effort": "high"}, LLAMA), ({"reasoning_effort": "high"}, ANCIENT), ({"thinking": {"type": "enabled"}}, NOVA),
    ],
)  # fmt: skip
def test_what_converse_can_not_say_is_refused_by_name_or_left_out(fields: dict[str, Any], model: str) -> None:
    [name] = fields
    with pytest.raises(BadRequest) as caught:
        translate(model=model, **fields)
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
    assert translate(model=model, drop_params=True, **fields)[1] == (name,)


def test_new_claudes_think_adaptively() -> None:
    body, _ = translate(model=NEW, reasoning_effort="xhigh")
    assert body["outputConfig"] == {"effort": "xhigh"}
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "adaptive", "display": "summarized"}}
    body, _ = translate(model=NEW, reasoning_effort="xhigh", tools=[TOOL], tool_choice="required")
    assert (body["outputConfig"], "additionalModelRequestFields" in body) == ({"effort": "high"}, False)


def test_a_tool_loop_keeps_its_thinking_or_goes_on_without() -> None:
    kept = [
        {"index": 0, "type": "thinking", "thinking": "penso", "signature": sign_thinking("penso")},
        {"index": 1, "type": "redacted_thinking", "data": "c2VsYWRv"},
        {"type": "thinking", "thinking": "sem assinatura"},
        "lixo",
    ]
    body, dropped = translate(tool_turn(thinking=kept), tools=[TOOL], reasoning_effort="medium")
    assert body["messages"][1]["content"][:2] == [
        {"reasoningContent": {"reasoningText": {"text": "penso", "signature": sign_thinking("penso")}}},
        {"reasoningContent": {"redactedContent": "c2VsYWRv"}},
    ]
    assert (len(body["messages"][1]["content"]), dropped) == (4, ())
    assert body["additionalModelRequestFields"]["thinking"]["type"] == "enabled"
    body, dropped = translate(tool_turn(), tools=[TOOL], reasoning_effort="medium")
    assert ("additionalModelRequestFields" in body, dropped) == (False, ("reasoning_effort",))
    body, _ = translate(tool_turn(thinking=kept), tools=[TOOL], model=LLAMA)
    assert len(body["messages"][1]["content"]) == 2


def test_it_says_schemas_and_json() -> None:
    format_ = {
        "type": "json_schema",
        "json_schema": {"name": "n", "description": "d", "strict": True, "schema": {"type": "object", "properties": {}}},
    }
    body, _ = translate(response_format=format_)
    told = {"name": "n", "description": "d", "schema": '{"type":"object","properties":{},"additionalProperties":false}'}
    assert body["outputConfig"] == {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": told}}}
    body, _ = translate(response_format={"type": "json_object"})
    assert "JSON" in body["system"][-1]["text"]
    assert "outputConfig" not in translate(response_format={"type": "text"})[0]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "assistant", "content": "a"}], [("user", ["."]), ("assistant", ["a"])]),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], [("user", ["a", "b"])]),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "Era uma vez  "}],
         [("user", ["a"]), ("assistant", ["Era uma vez"])]),
        ([{"role": "user", "content": " "}], [("user", ["."])]),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "b"}],
         [("user", ["a", "b"])]),
        ([{"role": "system", "content": "s"}], [("user", ["."])]),
        ([{"role": "user", "content": [{"type": "text", "text": "a\u2028✓"}]}], [("user", ["a\u2028✓"])]),
    ],
)  # fmt: skip
def test_turns_alternate_and_begin_with_the_user(messages: list[Any], expected: list[Any]) -> None:
    body, _ = translate(messages)
    assert [(turn["role"], [block["text"] for block in turn["content"]]) for turn in body["messages"]] == expected


def test_foreign_tool_ids_fit_and_stay_pairs() -> None:
    assert tool_id("call_abc.1:2-3") == "call_abc.1:2-3"
    assert tool_id("função 1").startswith("fun__o_1_")
    assert tool_id("a/1") != tool_id("a 1")
    long = "x" * 300
    assert len(tool_id(long)) == 64
    assert tool_id(long) != tool_id(long + "y")
    body, _ = translate(tool_turn(ids=(long, long + "y", "ção")), tools=[TOOL])
    assert len({block["toolUse"]["toolUseId"] for block in body["messages"][1]["content"]}) == 3


def test_tool_names_and_arguments_are_checked_with_their_path() -> None:
    for tools, path in (
        ([{"type": "function", "function": {"name": "a b"}}], "tools[0].function.name"),
        ([{"type": "custom", "custom": {"name": "x"}}], "tools[0]"),
    ):
        with pytest.raises(BadRequest) as caught:
            translate(tools=tools)
        assert caught.value.param == path
    turn = tool_turn(ids=("a",))
    turn[1]["tool_calls"][0]["function"]["arguments"] = "[1]"
    with pytest.raises(BadRequest) as caught:
        translate(turn, tools=[TOOL])
    assert caught.value.param == "messages[1].tool_calls[0].function.arguments"


def test_requests_are_signed_or_carry_a_bearer_key() -> None:
    route: Any = ServedRoute
    request = bedrock.chat_request(call_of(stream=True, user="u"), route, DEPLOYMENT, 100)
    assert request.url == (
        "https://bedrock-runtime.us-west-2.amazonaws.com/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse-stream"
    )
    headers = dict(request.headers)
    assert "/us-west-2/bedrock/aws4_request" in headers["authorization"]
    assert "verysecret" not in str(request.headers)
    assert request.dropped == ("user",)
    keyed = replace(DEPLOYMENT, secret="ABSKkey")
    request = bedrock.chat_request(call_of(), route, keyed, 100)
    assert dict(request.headers)["authorization"] == "Bearer ABSKkey"
    assert request.url.endswith("/converse")


# ── Hostile ──────────────────────────────────────────────────────────────────────────────────────────────────────────
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "name", "function", "id", "text", "url", "data", "format", "ttl", "schema", "x"]), inner
        )
    ),
    max_leaves=8,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "file", "input_audio", "refusal", "x"])},
    optional=dict.fromkeys(("text", "image_url", "file", "input_audio", "cache_control"), anything),
)
turns = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
        "content": anything | st.lists(parts, max_size=3),
    },
    optional={
        name: anything | st.lists(anything, max_size=2) for name in ("tool_calls", "tool_call_id", "thinking_blocks", "name")
    },
)
fields = st.dictionaries(
    st.sampled_from([
        "tools", "tool_choice", "response_format", "reasoning_effort", "thinking", "stop", "top_k", "temperature", "metadata", "n",
        "parallel_tool_calls", "logit_bias", "modalities", "functions", "audio", "x",
    ]),
    anything | st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": anything}), max_size=2),
    max_size=4,
)  # fmt: skip


@settings(max_examples=examples(400), deadline=None)
@given(messages=st.lists(turns, min_size=1, max_size=4), asked=fields, model=st.sampled_from([OLD, NEW, NOVA_2, GPT, LLAMA]))
def test_whatever_comes_is_translated_or_refused(messages: list[Any], asked: dict[str, Any], model: str) -> None:
    raw = json.dumps({"model": "x/y", "messages": messages, **asked}).encode()
    try:
        body, _ = translate_chat(parse_chat(raw), model, 500)
    except BadRequest as error:
        assert error.status == 400
    else:
        assert all(turn["content"] for turn in body["messages"])
        json.dumps(body)
