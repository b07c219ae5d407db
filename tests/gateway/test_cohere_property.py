"""Whatever body is asked, Cohere's dialect says it in words that the strict sandbox takes, or refuses it by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.cohere_request import translate_chat
from gateway.errors import BadRequest
from gateway.parsing import parse_chat
from tests.examples import examples
from tests.gateway.test_cohere_dialect import MODEL, ROUTE
from tokia.sandbox import llm_cohere_types
from tokia.sandbox.llm_cohere_rules import refuse_bad_chat

llm_cohere_types.load()

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(-1e9, 1e9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NUMBERS = st.integers(-3, 3) | st.floats(-3, 3)
TEXTS = st.sampled_from(["", " ", "oi", "ção \u2028", "x" * 50])
SCHEMAS = st.sampled_from(
    [
        None,
        {},
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
    ]
)
TOOLS = st.lists(
    st.builds(
        lambda name, schema, strict: {"type": "function", "function": {"name": name, "parameters": schema, "strict": strict}},
        st.sampled_from(["f", "g", "h"]), SCHEMAS, st.sampled_from([None, False, True]),
    ),
    max_size=3,
)  # fmt: skip
PARTS = st.lists(
    st.builds(lambda text: {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}, TEXTS)
    | st.sampled_from(
        [
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "auto"}},
            {"type": "refusal", "refusal": "não"},
        ]
    ),
    max_size=3,
)
CONTENTS = st.none() | TEXTS | PARTS
CITED = [{"index": 0, "start": 0, "end": 1, "text": "o", "sources": [{"type": "document", "id": "d", "document": {"a": "b"}}]}]


def loop_of(count: int, text: str, thoughts: str, results: list[str]) -> list[dict[str, Any]]:
    """An assistant's turn with `count` tool calls and their answers."""
    calls = [
        {
            "id": f"t{number}",
            "index": number,
            "type": "function",
            "function": {"name": "f", "arguments": ["", "{}", '{"a":1}'][number]},
        }
        for number in range(count)
    ]
    said = {"role": "assistant", "content": text, "reasoning_content": thoughts, "tool_calls": calls or None, "citations": CITED}
    answers = zip(calls, results, strict=False)
    return [said, *({"role": "tool", "tool_call_id": call["id"], "content": result, "name": "f"} for call, result in answers)]


TURNS = st.one_of(
    st.builds(lambda role, content: [{"role": role, "content": content, "name": "ana"}],
              st.sampled_from(["system", "developer", "user", "assistant"]), CONTENTS),
    st.builds(loop_of, st.integers(0, 3), TEXTS, TEXTS, st.lists(TEXTS, min_size=3, max_size=3)),
)  # fmt: skip
FIELDS = st.fixed_dictionaries(
    {"messages": st.lists(TURNS, min_size=1, max_size=5).map(lambda turns: [turn for group in turns for turn in group])},
    optional={
        "temperature": NUMBERS, "top_p": NUMBERS, "frequency_penalty": NUMBERS, "presence_penalty": NUMBERS, "tools": TOOLS,
        "top_k": st.integers(-3, 900), "n": st.integers(1, 3), "seed": st.integers(-(2**70), 2**70),
        "stop": TEXTS | st.lists(TEXTS, max_size=6),
        "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]),
        "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {
            "name": "n", "schema": {"type": "object"}}}]),
        "reasoning_effort": st.sampled_from(["none", "minimal", "high", "max"]), "logprobs": st.booleans(),
        "drop_params": st.booleans(),
        "thinking": st.sampled_from([{"type": "disabled"}, {"type": "enabled", "budget_tokens": 9}]), "stream": st.booleans(),
        "documents": st.lists(TEXTS | st.just({"id": "d", "data": {"a": "b"}}), max_size=2), "parallel_tool_calls": st.booleans(),
        "safety_mode": st.sampled_from(["STRICT", "OFF"]), "citation_options": st.just({"mode": "fast"}), "user": TEXTS,
    },
)  # fmt: skip
SEEING_THINKER = replace(ROUTE, is_reasoning=True, capabilities=("vision",))


@settings(max_examples=examples(300), deadline=None)
@given(FIELDS, st.booleans())
def test_what_it_says_is_what_cohere_takes(fields: dict[str, Any], is_able: bool) -> None:
    call = parse_chat(json.dumps({"model": "cohere/x", **fields}).encode())
    route, model = (SEEING_THINKER, "command-a-vision-reasoning") if is_able else (ROUTE, MODEL)
    try:
        body, dropped = translate_chat(call, route, model, 4_000)
    except BadRequest as refused:
        assert refused.param
        return
    refuse_bad_chat(body, model=model)
    assert llm_cohere_types.find_body_slip(body, kind="chat") is None
    assert json.loads(json.dumps(body)) == body
    assert list(dropped) == sorted(set(dropped))


@settings(max_examples=examples(300), deadline=None)
@given(st.dictionaries(st.sampled_from([
    "temperature", "top_p", "p", "top_k", "k", "frequency_penalty", "presence_penalty", "tools", "seed", "stop", "tool_choice",
    "response_format", "reasoning_effort", "thinking", "documents", "citation_options", "safety_mode", "logprobs", "top_logprobs",
    "logit_bias", "modalities", "parallel_tool_calls", "metadata", "messages", "what", "drop_params",
]), JUNK, max_size=6), JUNK)  # fmt: skip
def test_no_nonsense_gets_past_it_as_anything_but_a_refusal(fields: dict[str, Any], junk: Any) -> None:
    messages = [{"role": "user", "content": "oi"}, {"role": "assistant", "content": "x", "reasoning_content": None, "refusal": junk,
                "citations": junk, "audio": None, "tool_calls": None}, {"role": "user", "content": "e?"}]  # fmt: skip
    try:
        call = parse_chat(json.dumps({"model": "cohere/x", "messages": messages, **fields}).encode())
        translate_chat(call, ROUTE, MODEL, 4_000)
    except BadRequest as refused:
        assert refused.english
