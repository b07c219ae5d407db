"""OpenAI's words to Messages and back: golden cases of API.md's table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects import anthropic
from gateway.dialects.anthropic_answer import read_chat
from gateway.dialects.anthropic_request import translate_chat
from gateway.errors import BadRequest, UpstreamError
from gateway.parsing import parse_chat
from gateway.sse import Event

OLD, NEW = "claude-haiku-4-5", "claude-opus-5-5"
TOOL = {"type": "function", "function": {"name": "soma", "parameters": {"properties": {"a": {"type": "number"}}}}}
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}


def call_of(messages: list[Any] | None = None, **fields: Any) -> ChatCall:
    return parse_chat(json.dumps({"model": "x/y", "messages": messages or [{"role": "user", "content": "oi"}], **fields}).encode())


def translate(messages: list[Any] | None = None, *, model: str = OLD, output_tokens: int = 5_000, **fields: Any) -> dict[str, Any]:
    return translate_chat(call_of(messages, **fields), model, output_tokens)


def test_it_moves_every_system_message_to_the_top() -> None:
    body = translate([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "developer", "content": "c"}])
    assert body["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "c"}]
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "b"}]}]
    assert translate([{"role": "system", "content": "só"}, {"role": "user", "content": "b"}])["system"] == "só"
    assert body["max_tokens"] == 5_000


def test_it_groups_tool_results_first_in_one_user_turn() -> None:
    history = [
        {"role": "user", "content": "some"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call-1", "type": "function", "function": {"name": "soma", "arguments": '{"a":1}'}},
            {"id": "call-2", "type": "function", "function": {"name": "soma", "arguments": ""}},
        ]},
        {"role": "tool", "tool_call_id": "call-1", "content": "1"},
        {"role": "tool", "tool_call_id": "call-2", "content": [{"type": "text", "text": "2"}]},
        {"role": "user", "content": "e agora?"},
    ]  # fmt: skip
    body = translate(history, tools=[TOOL])
    assert body["messages"][1] == {"role": "assistant", "content": [
        {"type": "tool_use", "id": "call-1", "name": "soma", "input": {"a": 1}},
        {"type": "tool_use", "id": "call-2", "name": "soma", "input": {}},
    ]}  # fmt: skip
    assert body["messages"][2] == {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "call-1", "content": "1"},
        {"type": "tool_result", "tool_use_id": "call-2", "content": [{"type": "text", "text": "2"}]},
        {"type": "text", "text": "e agora?"},
    ]}  # fmt: skip
    without = translate(history)
    assert without["tools"] == [{"name": "soma", "input_schema": {"type": "object", "properties": {}}}]
    assert without["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("asked", "parallel", "expected"),
    [
        ("auto", None, {"type": "auto"}),
        ("required", None, {"type": "any"}),
        ("none", False, {"type": "none"}),
        ({"type": "function", "function": {"name": "soma"}}, None, {"type": "tool", "name": "soma"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_it_translates_tool_choice(asked: Any, parallel: bool | None, expected: dict[str, Any]) -> None:
    fields = {"tool_choice": asked} if asked is not None else {}
    if parallel is not None:
        fields["parallel_tool_calls"] = parallel
    body = translate(tools=[TOOL], **fields)
    assert body["tool_choice"] == expected
    assert body["tools"] == [{"name": "soma", "input_schema": {"properties": {"a": {"type": "number"}}, "type": "object"}}]


def test_it_translates_images_and_keeps_four_cache_marks() -> None:
    mark = {"type": "ephemeral"}
    parts: list[Any] = [{"type": "text", "text": str(number), "cache_control": mark} for number in range(6)]
    parts += [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
    ]
    content = translate([{"role": "user", "content": parts}])["messages"][0]["content"]
    assert [("cache_control" in block) for block in content[:6]] == [False, False, True, True, True, True]
    assert content[6]["source"] == {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    assert content[7]["source"] == {"type": "url", "url": "https://x.test/a.png"}
    for url in ("http://169.254.169.254/", "file:///etc/passwd", "data:text/html;base64,AAAA"):
        with pytest.raises(BadRequest):
            translate([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])


@pytest.mark.parametrize(
    ("fields", "model", "expected"),
    [
        ({"temperature": 1.7, "top_p": 0.5}, OLD, {"temperature": 1.0}),
        ({"top_p": 0.5}, OLD, {"top_p": 0.5}),
        ({"temperature": 0.2}, NEW, {}),
        ({"reasoning_effort": "high"}, NEW,
         {"output_config": {"effort": "high"}, "thinking": {"type": "adaptive", "display": "summarized"}}),
        ({"reasoning_effort": "none"}, NEW, {}),
        ({"reasoning_effort": "medium", "temperature": 0.2}, OLD, {"thinking": {"type": "enabled", "budget_tokens": 4_096}}),
        ({"stop": ["FIM", " "]}, OLD, {"stop_sequences": ["FIM"]}),
        ({"user": "u1", "seed": 3, "logit_bias": {}, "presence_penalty": 1}, OLD, {"metadata": {"user_id": "u1"}}),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": CLOSED}}}, OLD,
         {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}}),
    ],
)  # fmt: skip
def test_it_translates_parameters(fields: dict[str, Any], model: str, expected: dict[str, Any]) -> None:
    body = translate(model=model, **fields)
    assert {name: value for name, value in body.items() if name not in ("model", "max_tokens", "messages")} == expected


def test_it_does_not_think_where_messages_would_refuse_it() -> None:
    forced = translate(tools=[TOOL], tool_choice="required", reasoning_effort="high")
    assert "thinking" not in forced
    loop = translate(
        [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "soma", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ],
        tools=[TOOL], reasoning_effort="high",
    )  # fmt: skip
    assert "thinking" not in loop
    assert "thinking" not in translate(reasoning_effort="high", output_tokens=500)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0]"),
        ({"reasoning_effort": "heroic"}, "reasoning_effort"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}]},
         "messages[0].tool_calls[0].function.arguments"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]}]},
         "messages[0].content[0].type"),
    ],
)  # fmt: skip
def test_it_refuses_what_messages_can_not_say(fields: dict[str, Any], param: str) -> None:
    messages = fields.pop("messages", None)
    with pytest.raises(BadRequest) as refused:
        translate(messages, **fields)
    assert refused.value.param == param


DEPLOYMENT = ServedDeployment(
    id=1, provider_slug="anthropic", provider_name="Anthropic", dialect="anthropic", base_url="https://x.test", upstream_model=OLD,
    priority=1, weight=1, secret="s", is_strict=False, is_simulated=True,
)  # fmt: skip
ROUTE = ServedRoute(
    name="x/y", display_name="", maker="", surface="chat", description="", context_tokens=1, output_tokens_max=1,
    output_tokens_default=1, token_factor_percent=100, capabilities=(), is_reasoning=False, created=0, prices=None,
    deployments=(DEPLOYMENT,),
)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"logprobs": False, "n": 1, "presence_penalty": 0, "temperature": 1, "top_p": 1, "logit_bias": {}, "seed": None}, ()),
        ({"seed": 3, "store": True, "metadata": {"a": "b"}, "verbosity": "low", "user": "u"},
         ("seed", "store", "metadata", "verbosity")),
        ({"temperature": 1.7, "top_p": 0.5}, ("temperature", "top_p")),
        ({"temperature": 0.7, "top_k": 3}, ()),
        ({"reasoning_effort": "high", "temperature": 0.2}, ("temperature",)),
        ({"reasoning_effort": "high", "tools": [TOOL], "tool_choice": "required"}, ("reasoning_effort",)),
        ({"logprobs": True, "top_logprobs": 2, "drop_params": True}, ("logprobs", "top_logprobs")),
    ],
)  # fmt: skip
def test_it_names_what_it_leaves_out(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert anthropic.chat_request(call_of(**fields), ROUTE, DEPLOYMENT, 20_000).dropped == dropped


@pytest.mark.parametrize("fields", [
    {"logprobs": True}, {"top_logprobs": 2}, {"presence_penalty": 0.5}, {"logit_bias": {"1": 3}}, {"audio": {"voice": "a"}},
    {"modalities": ["text", "audio"]}, {"web_search_options": {}}, {"min_p": 0.1}, {"function_call": {"name": "f"}},
])  # fmt: skip
def test_it_refuses_what_would_change_the_meaning(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        anthropic.chat_request(call_of(**fields), ROUTE, DEPLOYMENT, 5_000)
    assert (refused.value.param, refused.value.code) == (next(iter(fields)), "unsupported_parameter")


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"), ("max_tokens", "length"),
     ("model_context_window_exceeded", "length"), ("tool_use", "tool_calls"), ("refusal", "content_filter")],
)  # fmt: skip
def test_it_reads_a_whole_message(stop_reason: str, finish_reason: str) -> None:
    answer = read_chat(json.dumps({
        "id": "msg_1", "model": "claude", "stop_reason": stop_reason, "content": [
            {"type": "thinking", "thinking": "hum", "signature": "s"}, {"type": "text", "text": "oi"},
            {"type": "tool_use", "id": "toolu_1", "name": "soma", "input": {}},
        ],
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 5, "output_tokens": 7},
    }).encode())  # fmt: skip
    usage = answer.tally.usage
    assert usage is not None
    assert (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens) == (10, 20, 5, 7)
    told = json.loads(answer.with_usage(answer.tally.usage_raw or b""))
    choice = told["choices"][0]
    assert choice["finish_reason"] == finish_reason
    assert choice["message"]["reasoning_content"] == "hum"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "soma", "arguments": "{}"}
    assert told["usage"]["prompt_tokens"] == 35
    assert told["usage"]["prompt_tokens_details"]["cached_tokens"] == 20
    assert told["usage"]["total_tokens"] == 42


def events(*bodies: dict[str, Any]) -> list[Event]:
    return [(body["type"].encode(), json.dumps(body).encode()) for body in bodies]


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


START = {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 9, "output_tokens": 1}}}


def test_it_streams_text_thoughts_and_tool_arguments() -> None:
    reader, tally = anthropic.open_stream(call_of(stream=True, stream_options={"include_usage": True}))
    out = reader.read(events(
        START, {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        delta(0, type="thinking_delta", thinking="hum"), delta(0, type="signature_delta", signature="s"),
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        delta(1, type="text_delta", text="olá \u2028 \"x\""), {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t1", "name": "soma", "input": {}}},
        delta(2, type="input_json_delta", partial_json=""), delta(2, type="input_json_delta", partial_json='{"a"'),
        delta(2, type="input_json_delta", partial_json=":1}"), {"type": "content_block_stop", "index": 2},
        {"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "t2", "name": "nada", "input": {}}},
        {"type": "content_block_stop", "index": 3}, {"type": "something_new", "x": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"},
         "usage": {"output_tokens": 30, "cache_read_input_tokens": 4, "output_tokens_details": {"thinking_tokens": 12}}},
        {"type": "message_stop"},
    ))  # fmt: skip
    chunks = [json.loads(line[6:]) for line in out.decode().split("\n\n") if line]
    assert all(chunk["id"] == "msg_1" and chunk["usage"] is None for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "hum"
    kept = [block for d in deltas for block in d.get("thinking_blocks", [])]
    assert kept == [{"index": 0, "type": "thinking", "thinking": "hum", "signature": "s"}]
    assert "".join(d.get("content") or "" for d in deltas) == 'olá \u2028 "x"'
    arguments: dict[int, str] = {}
    for d in deltas:
        for tool in d.get("tool_calls", []):
            arguments[tool["index"]] = arguments.get(tool["index"], "") + tool["function"]["arguments"]
    assert arguments == {0: '{"a":1}', 1: "{}"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert tally.is_complete
    assert tally.usage is not None
    assert (tally.usage.input_tokens, tally.usage.cached_input_tokens) == (9, 4)
    assert (tally.usage.output_tokens, tally.usage.reasoning_tokens) == (18, 12)
    last = json.loads(reader.usage_frame(b'{"cost":1}')[6:])
    assert (last["choices"], last["usage"]) == ([], {"cost": 1})


def test_it_raises_an_error_that_comes_in_the_middle() -> None:
    reader, tally = anthropic.open_stream(call_of(stream=True))
    reader.read(events(START))
    with pytest.raises(UpstreamError) as failed:
        reader.read(events({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))
    assert (failed.value.status, failed.value.retryable) == (503, True)
    assert not tally.is_complete
