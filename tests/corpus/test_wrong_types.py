"""Every dialect with every type in every place: a refusal that names the place, never an exception of Python's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from tests.corpus.cases import Case, Kind, read_cases
from tests.corpus.targets import TARGETS, Target
from tests.examples import examples

VALUES: list[Any] = [
    None, True, -1, 10**18, 10**400, 1.5e300, "", "x", "\x00\u2028", [], [None], [[]], {}, {"a": {"b": []}}, [{}], [7], ["x"],
    {"type": 7}, {"type": []}, {"type": {}}, {"mode": {}}, {"type": "function", "function": []},
    [{"type": "function", "function": 7}], [{"type": "function", "function": {"name": 7}}],
    [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": 7, "required": 7, "oneOf": 7}}}],
    [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"properties": {"a": 7}, "anyOf": [7, {}]}}}],
    {"type": "json_schema", "json_schema": {"schema": {"type": [7], "properties": {"a": {"$ref": 7}}}}},
    {"type": "json_schema", "json_schema": {"name": 7, "schema": {"type": "object", "properties": {"a": {"enum": {}}}}}},
    {"type": "json_schema", "json_schema": {"schema": {"properties": {"a": {"items": []}, "b": {"anyOf": [[]]}}, "required": 7}}},
    {"type": "allowed_tools", "allowed_tools": {"mode": [], "tools": [7]}}, {"google": {"thinking_config": {"thinking_level": {}}}},
    {"type": "enabled", "budget_tokens": []},
]  # fmt: skip
_FIELDS = (
    "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens metadata modalities n"
    " parallel_tool_calls prediction presence_penalty prompt_cache_key reasoning_effort response_format safety_identifier seed"
    " service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p top_k k p min_p user verbosity"
    " web_search_options thinking extra_body documents citation_options safety_mode drop_params cache_control temperatura"
)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
USER: dict[str, Any] = {"role": "user", "content": "oi"}
CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_MEMBERS = (
    "content name refusal audio function_call tool_calls reasoning_content reasoning thinking_blocks annotations extra_content"
    " images citations cache_control tool_call_id"
)
FIELDS, MEMBERS = _FIELDS.split(), _MEMBERS.split()


def spoilt(document: Any) -> Iterator[Any]:
    """The document with each of its members, in turn, something else."""
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, inner in items:
        for value in (*VALUES[:18], *spoilt(inner)):
            if isinstance(document, dict):
                yield {**document, key: value}
            else:
                yield [*document[:key], value, *document[key + 1 :]]


def bodies() -> Iterator[dict[str, Any]]:
    for field in FIELDS:
        for value in VALUES:
            yield {"messages": [USER], field: value}
            yield {"messages": [USER], "tools": [TOOL], "drop_params": True, field: value}
    for role in ("system", "user", "assistant", "tool"):
        for member in MEMBERS:
            for value in VALUES:
                yield {"messages": [USER, {"role": role, "content": "a", member: value}, USER], "tools": [TOOL]}
    answered = {"role": "tool", "tool_call_id": "call_1", "content": "a"}
    turns = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, answered]
    for messages in spoilt(turns):
        yield {"messages": messages, "tools": [TOOL]}
    parts: list[Any] = [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "data:,", "detail": "x"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_data": "x", "filename": "y"}},
    ]
    for content in spoilt(parts):
        yield {"messages": [{"role": "user", "content": content}]}
    thinking = [{"type": "thinking", "thinking": "a", "signature": "b"}, {"type": "redacted_thinking", "data": "c"}]
    for blocks in spoilt(thinking):
        yield {"messages": [USER, {"role": "assistant", "content": "a", "thinking_blocks": blocks}, USER]}
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    for tools in spoilt([{"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}]):
        yield {"messages": [USER], "tools": tools}


def case_of(body: dict[str, Any], kind: Kind) -> Case:
    return Case("wrong", "wrong", "", kind, json.dumps(body).encode())


def stumbles(target: Target, body: dict[str, Any], kind: Kind) -> str | None:
    case = case_of(body, kind)
    try:
        target.request(case, case.body)
    except GatewayError as error:
        return None if 400 <= error.status < 500 else f"{error.status}"
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}" if place is not None else ""
        return f"{type(error).__name__}: {str(error)[:80]} at {where}"
    return None


@pytest.mark.parametrize("kind", ["plain", "thinks"])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_it_refuses_every_wrong_type_and_stumbles_over_none(target: Target, kind: Kind) -> None:
    found: dict[str, str] = {}
    for body in bodies():
        stumble = stumbles(target, body, kind)
        if stumble is not None:
            found.setdefault(stumble, json.dumps(body)[:300])
    assert not found, "\n".join(f"{stumble}\n    {body}" for stumble, body in found.items())


_KEYS = st.sampled_from([*MEMBERS, *FIELDS, "type", "role", "text"])
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
_VALUE = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=8)


@settings(max_examples=examples(150), deadline=None)
@given(target=st.sampled_from(TARGETS), case=st.sampled_from(read_cases()), place=st.integers(0, 40), value=_VALUE)
def test_it_stumbles_over_no_case_with_a_part_exchanged(target: Target, case: Case, place: int, value: Any) -> None:
    try:
        body = json.loads(case.raw)
    except ValueError:
        return
    paths = list(_paths(body))
    path = paths[place % len(paths)]
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert stumbles(target, body, case.kind) is None


def _paths(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))
