"""A Responses body → a chat completion: what works, what is echoed, and what is refused by its name. Pure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import ChatCall
from gateway.errors import BadRequest
from gateway.surfaces.responses import Stored, build_call, find_references
from gateway.surfaces.responses_body import read_body
from gateway.surfaces.responses_input import Thoughts
from gateway.surfaces.responses_stream import seal_thoughts

ORGANIZATION = 7
FUNCTION = {"type": "function", "name": "soma", "description": "Soma", "parameters": {"type": "object"}, "strict": True}
CALL = {"type": "function_call", "call_id": "c1", "name": "soma", "arguments": '{"a":1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "1"}
SCHEMA = {"name": "n", "schema": {"properties": {"api_key": {}}}, "strict": True}
THOUGHT = {"type": "thinking", "thinking": "hum", "signature": "s"}


def call_of(given: Any = "oi", *, stored: Stored | None = None, **fields: Any) -> ChatCall:
    body = json.dumps({"model": "x/y", "input": given, **fields}).encode()
    return build_call(read_body(body), stored or Stored(), organization_id=ORGANIZATION)


def messages_of(given: Any, **fields: Any) -> list[Any]:
    messages: list[Any] = call_of(given, **fields).decoded["messages"]
    return messages


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ("oi", [{"role": "user", "content": "oi"}]),
        ([{"role": "developer", "content": "a"}, {"type": "message", **user({"type": "input_text", "text": "b"})}],
         [{"role": "developer", "content": "a"}, {"role": "user", "content": "b"}]),
        ([user({"type": "input_text", "text": "veja"},
               {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"})],
         [user({"type": "text", "text": "veja"},
               {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}})]),
        ([user({"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"})],
         [user({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}})]),
        ([user({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}})],
         [user({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}})]),
        ([user({"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}})],
         [user({"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}})]),
        (["não"], None),
        ([user({"type": "input_text", "text": ""})], [{"role": "user", "content": ""}]),
        ([{"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
            {"type": "output_text", "text": "olá", "annotations": [], "logprobs": []}]}, {"role": "user", "content": "e?"}],
         [{"role": "assistant", "content": "olá"}, {"role": "user", "content": "e?"}]),
        ([{"role": "assistant", "content": [{"type": "refusal", "refusal": "não posso"}]}],
         [{"role": "assistant", "content": [{"type": "refusal", "refusal": "não posso"}]}]),
    ],
)  # fmt: skip
def test_it_reads_messages(given: Any, messages: list[Any] | None) -> None:
    if messages is None:
        with pytest.raises(BadRequest):
            messages_of(given)
    else:
        assert messages_of(given) == messages


def test_it_puts_the_instructions_first_and_not_into_the_items() -> None:
    call = call_of("oi", instructions="seja breve")
    assert call.decoded["messages"][0] == {"role": "system", "content": "seja breve"}
    assert [item["role"] for item in call.told.items] == ["user"]


def chat_call(id_: str, arguments: str = '{"a":1}') -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": "soma", "arguments": arguments}}


def tool(id_: str, content: Any = "1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def assistant(content: Any, *calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields, **({"tool_calls": list(calls)} if calls else {})}


TWO = {**CALL, "call_id": "c2"}
TWO_OUT = {**OUTPUT, "call_id": "c2"}
TEXT = {"role": "assistant", "content": "vejamos"}


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        ([CALL, OUTPUT], [assistant(None, chat_call("c1")), tool("c1")]),
        ([TEXT, CALL, OUTPUT], [assistant("vejamos", chat_call("c1")), tool("c1")]),
        ([CALL, TEXT, OUTPUT], [assistant("vejamos", chat_call("c1")), tool("c1")]),
        ([CALL, TWO, OUTPUT, TWO_OUT], [assistant(None, chat_call("c1"), chat_call("c2")), tool("c1"), tool("c2")]),
        ([CALL, TWO, TWO_OUT, OUTPUT], [assistant(None, chat_call("c1"), chat_call("c2")), tool("c2"), tool("c1")]),
        ([CALL, OUTPUT, TWO, TWO_OUT],
         [assistant(None, chat_call("c1")), tool("c1"), assistant(None, chat_call("c2")), tool("c2")]),
        ([CALL, {"role": "user", "content": "rápido"}, OUTPUT],
         [assistant(None, chat_call("c1")), tool("c1"), {"role": "user", "content": "rápido"}]),
        ([TEXT, TEXT], [assistant("vejamos"), assistant("vejamos")]),
        ([{**CALL, "arguments": ""}, {**OUTPUT, "output": [{"type": "input_text", "text": "1"},
                                                           {"type": "input_image", "image_url": "data:image/png;base64,AA"}]}],
         [assistant(None, chat_call("c1", "")),
          tool("c1", [{"type": "text", "text": "1"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}])]),
        ([{"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": "select 1"},
          {"type": "custom_tool_call_output", "call_id": "c1", "output": "1"}],
         [assistant(None, {"id": "c1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}), tool("c1")]),
        ([{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hum"}]}, CALL, OUTPUT],
         [assistant(None, chat_call("c1"), reasoning_content="hum"), tool("c1")]),
        ([CALL, OUTPUT, {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "logo"}]}, TEXT],
         [assistant(None, chat_call("c1")), tool("c1"), assistant("vejamos", reasoning_content="logo")]),
        ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "em vão"}]}, {"role": "user", "content": "oi"}],
         [{"role": "user", "content": "oi"}]),
    ],
)  # fmt: skip
def test_it_reads_tool_loops(items: list[Any], messages: list[Any]) -> None:
    assert messages_of(items) == messages


def test_it_opens_its_own_thoughts_and_nobody_elses() -> None:
    extras = {"c1": {"google": {"thought_signature": "g"}}}
    sealed = seal_thoughts(Thoughts("hum", [THOUGHT], {}, extras), organization_id=ORGANIZATION)
    [answer, _] = messages_of([{"type": "reasoning", "summary": [], "encrypted_content": sealed}, CALL, OUTPUT])
    assert answer["thinking_blocks"] == [THOUGHT]
    assert answer["reasoning_content"] == "hum"
    assert answer["tool_calls"][0]["extra_content"] == extras["c1"]
    foreign = seal_thoughts(Thoughts("hum"), organization_id=ORGANIZATION + 1)
    for wrong in (foreign, "gAAAAA", sealed[:-4] + "AAAA", "", 7):
        with pytest.raises(BadRequest) as refused:
            messages_of([{"type": "reasoning", "summary": [], "encrypted_content": wrong}, CALL, OUTPUT])
        assert (refused.value.code, refused.value.param) == ("invalid_encrypted_content", "input[0].encrypted_content")


def test_it_gives_what_belongs_to_a_text_back_to_it() -> None:
    sealed = seal_thoughts(Thoughts(extra={"google": {"thought_signature": "g"}}), organization_id=ORGANIZATION)
    messages = messages_of(
        [TEXT, {"type": "reasoning", "summary": [], "encrypted_content": sealed}, {"role": "user", "content": "e?"}]
    )
    assert messages[0] == assistant("vejamos", extra_content={"google": {"thought_signature": "g"}})


def test_it_follows_references_and_history() -> None:
    stored = Stored(history=[{"role": "user", "content": "antes"}, CALL], referred={"msg_1": {**TEXT, "id": "msg_1"}})
    call = call_of([OUTPUT, {"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}], stored=stored)
    assert [message["role"] for message in call.decoded["messages"]] == ["user", "assistant", "tool", "assistant", "assistant"]
    assert [item.get("type") for item in call.told.items] == ["function_call_output", None, None]
    assert all(item["id"] for item in call.told.items)


@pytest.mark.parametrize(
    ("fields", "chat"),
    [
        ({"max_output_tokens": 9}, {"max_completion_tokens": 9}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
         {"response_format": {"type": "json_object"}, "verbosity": "low"}),
        ({"text": {"format": {"type": "json_schema", **SCHEMA}}},
         {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}),
        ({"text": {"format": {"type": "text"}}}, {}),
        ({"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "prompt_cache_retention": "24h"},
         {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "prompt_cache_retention": "24h"}),
        ({"prompt_cache_options": {"mode": "explicit"}}, {"prompt_cache_options": {"mode": "explicit"}}),
        ({"service_tier": "auto", "store": False, "metadata": {"a": "b"}, "truncation": "disabled", "max_tool_calls": 3}, {}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}),
        ({"tools": [FUNCTION], "parallel_tool_calls": False, "tool_choice": "required"},
         {"tools": [{"type": "function", "function": {k: v for k, v in FUNCTION.items() if k != "type"}}],
          "parallel_tool_calls": False, "tool_choice": "required"}),
        ({"tools": [], "parallel_tool_calls": False, "tool_choice": "none"}, {}),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "soma"}},
         {"tools": [{"type": "function", "function": {k: v for k, v in FUNCTION.items() if k != "type"}}],
          "tool_choice": {"type": "function", "function": {"name": "soma"}}}),
        ({"tools": [FUNCTION, {**FUNCTION, "name": "outra"}],
          "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "soma"}]}},
         {"tools": [{"type": "function", "function": {k: v for k, v in FUNCTION.items() if k != "type"}}]}),
        ({"tools": [{"type": "custom", "name": "sql", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}]},
         {"tools": [{"type": "custom", "custom": {"name": "sql", "format": {
             "type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}}}]}),
        (dict.fromkeys(("background", "conversation", "prompt", "tools", "tool_choice", "reasoning", "text", "include")), {}),
    ],
)  # fmt: skip
def test_it_translates_parameters(fields: dict[str, Any], chat: dict[str, Any]) -> None:
    asked = dict(call_of("oi", **fields).decoded)
    del asked["model"], asked["messages"]
    assert asked == chat


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        *[({"tools": [FUNCTION, {"type": kind}]}, "tools[1].type", "unsupported_value") for kind in (
            "web_search", "web_search_preview", "file_search", "computer", "computer_use_preview", "code_interpreter", "mcp",
            "image_generation", "local_shell", "shell", "apply_patch", "namespace", "tool_search", None, 7)],
        ({"tools": [{**FUNCTION, "defer_loading": True}]}, "tools[0].defer_loading", "unsupported_parameter"),
        ({"tools": [{**FUNCTION, "frob": 1}]}, "tools[0].frob", "unknown_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "invalid_value"),
        ({"tools": "x"}, "tools", "invalid_value"),
        ({"tools": [FUNCTION] * 129}, "tools", "array_above_max_length"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name", "invalid_value"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice.type", "unsupported_value"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"context_management": []}, "context_management", "unsupported_parameter"),
        ({"moderation": {}}, "moderation", "unsupported_parameter"),
        ({"truncation": "auto"}, "truncation", "unsupported_parameter"),
        ({"truncation": "x"}, "truncation", "invalid_value"),
        ({"include": ["x"]}, "include[0]", "invalid_value"),
        ({"stop": ["x"]}, "stop", "unknown_parameter"),
        ({"messages": []}, "messages", "unknown_parameter"),
        ({"n": 2}, "n", "unknown_parameter"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", "invalid_value"),
        ({"reasoning": {"effort": "heroic"}}, "reasoning.effort", "invalid_value"),
        ({"reasoning": {"summary": "x"}}, "reasoning.summary", "invalid_value"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "unsupported_parameter"),
        ({"reasoning": {"context": "current_turn"}}, "reasoning.context", "unsupported_parameter"),
        ({"text": {"verbosity": "x"}}, "text.verbosity", "invalid_value"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name", "invalid_value"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema", "invalid_value"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"top_p": -1}, "top_p", "invalid_value"),
        ({"top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"max_output_tokens": 1.5}, "max_output_tokens", "invalid_type"),
        ({"max_tool_calls": 0}, "max_tool_calls", "invalid_value"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "invalid_value"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a", "invalid_value"),
        ({"metadata": {"a": 1}}, "metadata[...]", "invalid_type"),
        ({"api_base": "http://x"}, "api_base", "unsupported_parameter"),
    ],
)  # fmt: skip
def test_it_refuses_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        call_of("oi", **fields)
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "input"),
        (7, "input"),
        ([], "input"),
        ([None], "input[0]"),
        ([{"role": "critic", "content": "x"}], "input[0].role"),
        ([{"role": "user"}], "input[0].content"),
        ([{"role": "user", "content": [{"type": "input_text"}]}], "input[0].content[0].text"),
        ([{"role": "user", "content": [None]}], "input[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}], "input[0].content[0].file_id"),
        ([{"role": "user", "content": [{"type": "input_file", "file_url": "http://x"}]}], "input[0].content[0].file_url"),
        ([{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}], "input[0].content[0].type"),
        ([{"role": "assistant", "content": [{"type": "input_image", "image_url": "x"}]}], "input[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}] * 101}], "input"),
        ([{"type": "web_search_call", "id": "ws_1"}], "input[0].type"),
        ([{"type": "function_call", "name": "x", "arguments": "{}"}], "input[0].call_id"),
        ([CALL], "input"),
        ([CALL, CALL], "input[1].call_id"),
        ([OUTPUT], "input[0].call_id"),
        ([CALL, {**OUTPUT, "output": 7}], "input[1].output"),
        ([CALL, OUTPUT, OUTPUT], "input[2].call_id"),
        ([{"type": "reasoning", "summary": 7}], "input[0].summary"),
    ],
)
def test_it_refuses_items_by_their_place(given: Any, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        call_of(given)
    assert refused.value.param == param


def test_it_leaves_hosted_tools_out_where_the_caller_says_so() -> None:
    call = call_of("oi", tools=[{"type": "web_search"}, FUNCTION], truncation="auto", drop_params=True)
    assert call.dropped == ("truncation", "tools[0]")
    assert [tool["type"] for tool in call.decoded["tools"]] == ["function"]
    assert [tool["name"] for tool in call.told.shown["tools"]] == ["soma"]
    assert call.drops_unsupported


def test_it_echoes_what_was_asked() -> None:
    asked: dict[str, Any] = {
        "metadata": {"a": "b"}, "service_tier": "flex", "max_tool_calls": 3, "top_logprobs": 1, "truncation": "disabled",
        "instructions": "i", "user": "u", "text": {"verbosity": "low"}, "temperature": 0.5,
    }  # fmt: skip
    shown = call_of("oi", **asked).told.shown
    assert {name: shown[name] for name in asked if name != "text"} == {
        name: value for name, value in asked.items() if name != "text"
    }
    assert shown["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert (shown["top_p"], shown["parallel_tool_calls"], shown["tool_choice"], shown["background"]) == (1.0, True, "auto", False)


@pytest.mark.parametrize(("asked", "by_key", "is_stored"), [
    (None, False, False), (None, True, True), (True, False, True), (True, True, True), (False, False, False), (False, True, False),
])  # fmt: skip
def test_the_callers_word_goes_over_the_keys_option(asked: bool | None, by_key: bool, is_stored: bool) -> None:
    body = json.dumps({"model": "x/y", "input": "oi", **({} if asked is None else {"store": asked})}).encode()
    call = build_call(read_body(body), Stored(), organization_id=ORGANIZATION, stores_by_default=by_key)
    assert call.told.is_stored is is_stored


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "role", "content", "id", "text"]), inner),
    max_leaves=8,
)


@given(json_values, st.dictionaries(st.sampled_from(["tools", "tool_choice", "text", "reasoning", "include"]), json_values))
def test_it_refuses_or_reads_whatever_comes(given: Any, fields: dict[str, Any]) -> None:
    try:  # whatever it refers to is stored
        referred = {id_: {"type": "message", "role": "user", "content": id_} for _, id_ in find_references(given)}
        call = call_of(given, stored=Stored(referred=referred), **fields)
    except BadRequest as refused:
        assert refused.param
    else:
        assert call.messages
