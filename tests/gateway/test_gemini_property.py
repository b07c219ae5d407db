"""Any conversation that Gemini's dialect lets through is one that the strict sandbox and Google's published types take; any other
body is refused by name, and nothing breaks."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.gemini_request import translate_chat
from gateway.dialects.gemini_signatures import name_call
from gateway.errors import BadRequest
from gateway.parsing import parse_chat
from tests.examples import examples
from tokia.sandbox import llm_gemini_types
from tokia.sandbox.llm_gemini_rules import refuse_bad_request, sign_call

MODELS = (
    "gemini-2.0-flash", "gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-lite", "gemini-3-pro-preview",
    "gemini-3.5-flash-lite",    "gemini-3.8-flash", "gemini-4-argon", "gemini-2.5-flash-image",
)  # fmt: skip
PNG = "data:image/png;base64,AAAA"

words = st.text(max_size=12)
text_parts = st.builds(lambda text: {"type": "text", "text": text}, words)
media_parts = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.jpg"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
    ]
)
systems = st.builds(lambda role, text: [{"role": role, "content": text}], st.sampled_from(["system", "developer"]), words)
users = st.builds(lambda parts: [{"role": "user", "content": parts}], st.lists(text_parts | media_parts, max_size=3))
plain = st.builds(lambda role, text: [{"role": role, "content": text}], st.sampled_from(["user", "assistant"]), words)
names = st.sampled_from(["soma", "busca", "agora"])
signers = st.sampled_from(["none", "id", "extra"])


@st.composite
def tool_steps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An assistant's calls, signed or not, and their answers in any order."""
    calls, signer = [], draw(signers)
    for number, name in enumerate(draw(st.lists(names, min_size=1, max_size=4))):
        arguments = draw(st.sampled_from([{}, {"a": 1}, {"texto": "é \u2028"}]))
        signature = sign_call({"name": name, "args": arguments}) if number == 0 else None
        id_ = name_call(f"c{draw(st.integers(0, 10**6))}-{number}", signature if signer == "id" else None)
        call = {"id": id_, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        if signer == "extra" and signature:
            call["extra_content"] = {"google": {"thought_signature": signature}}
        calls.append(call)
    answers = [{"role": "tool", "tool_call_id": call["id"], "content": draw(words | st.just('{"ok": true}'))} for call in calls]
    return [{"role": "assistant", "content": draw(st.none() | words), "tool_calls": calls}, *draw(st.permutations(answers))]


leaves = st.sampled_from(
    [{"type": "string"}, {"type": ["integer", "null"]}, {"const": 1}, {"enum": ["a", "b"]}, {"type": "string", "format": "email"},
     {"$ref": "#/$defs/N", "description": "d"}, {"type": "number", "exclusiveMinimum": 0}, {}]
)  # fmt: skip
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from(["a", "b", "const"]), inner, max_size=3),
        ),
    ),
    max_leaves=8,
)
rooted = st.builds(
    lambda schema: {**schema, "$defs": {"N": {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}}}}, schemas
)
declared: st.SearchStrategy[Any] = st.builds(
    lambda name, schema, strict: {"type": "function", "function": {"name": name, "parameters": schema, "strict": strict}},
    names, rooted, st.booleans(),
)  # fmt: skip
parameters = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.lists(declared, max_size=3, unique_by=lambda tool: str(tool["function"]["name"])),
        "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "soma"}}]),
        "response_format": st.just({"type": "json_object"})
        | st.builds(lambda schema: {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}, rooted),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        "temperature": st.floats(0, 2), "top_p": st.floats(0, 1), "n": st.integers(1, 8), "seed": st.integers(-(2**40), 2**40),
        "stop": st.lists(words, max_size=5), "presence_penalty": st.floats(-2, 2), "logprobs": st.booleans(),
        "modalities": st.sampled_from([["text"], ["text", "image"]]), "drop_params": st.booleans(), "stream": st.booleans(),
        "extra_body": st.just({"google": {"thinking_config": {"include_thoughts": True}}}),
    },
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _types() -> None:
    llm_gemini_types.load()


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(systems, users, plain, tool_steps()), min_size=1, max_size=6), parameters, st.sampled_from(MODELS))
def test_what_it_lets_through_is_taken(steps: list[list[dict[str, Any]]], fields: dict[str, Any], model: str) -> None:
    messages = [message for step in steps for message in step]
    call = parse_chat(json.dumps({"model": "x", "messages": messages, **fields}).encode())
    try:
        body, _ = translate_chat(call, model, 1_000)
    except BadRequest as refused:
        assert refused.param
        return
    sent = json.loads(msgspec.json.encode(body))
    refuse_bad_request(sent, model=model)
    assert llm_gemini_types.find_slip(sent) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e9, 1e9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "function", "name", "parameters", "google", "thinking_config", "thought_signature", "schema",
                         "url", "image_url", "json_schema", "properties", "$ref", "budget_tokens", "allowed_tools",
                         "tools", "mode"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
OPEN_FIELDS = (
    "tool_choice", "reasoning_effort", "thinking", "extra_body", "modalities", "top_k", "seed", "top_logprobs", "logprobs",
    "logit_bias", "web_search_options", "functions", "function_call", "audio", "metadata", "store", "prediction", "verbosity",
    "whatever",
)  # fmt: skip


@settings(max_examples=examples(200), deadline=None)
@given(
    st.dictionaries(st.sampled_from(OPEN_FIELDS), anything, max_size=4), anything, anything, st.sampled_from(MODELS), st.booleans()
)
def test_nothing_that_a_caller_sends_breaks_it(fields: dict[str, Any], inner: Any, other: Any, model: str, drops: bool) -> None:
    said = {"role": "assistant", "content": "a", "images": other, "extra_content": inner}
    tool_call = {"id": inner, "type": "function", "function": other, "extra_content": other}
    messages = [{"role": "user", "content": "oi"}, said, {"role": "assistant", "tool_calls": [tool_call]}]
    tools = [{"type": "function", "function": inner}, {"type": "function", "function": {"name": "a", "parameters": other}}]
    bodies = [fields, {"messages": messages}, {"tools": tools}, {"response_format": {"type": "json_schema", "json_schema": inner}}]
    for body in bodies:
        whole = {"model": "x", "messages": [{"role": "user", "content": "oi"}], "drop_params": drops, **body}
        try:
            body, _ = translate_chat(parse_chat(json.dumps(whole).encode()), model, 100)
            msgspec.json.encode(body)
        except BadRequest as refused:
            assert refused.param or refused.code == "invalid_json"
