"""Bodies: what is refused and with which param, and that what we do not touch leaves byte for byte."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.calls import ServedDeployment, ServedRoute
from gateway.dialects import openai
from gateway.errors import BadRequest
from gateway.parsing import FORBIDDEN_FIELDS, parse_chat, parse_embeddings
from tests.examples import examples

DEPLOYMENT = ServedDeployment(
    id=1, provider_slug="groq", provider_name="Groq", dialect="openai", base_url="https://x.test/v1", upstream_model="up-stream",
    priority=1, weight=1, secret="k", is_strict=False, is_simulated=False,
)  # fmt: skip
ROUTE = ServedRoute(
    name="a/b", display_name="", maker="", surface="chat", description="", context_tokens=1000, output_tokens_max=100,
    output_tokens_default=50, token_factor_percent=100, capabilities=(), is_reasoning=False, created=0, prices=None,
    deployments=(DEPLOYMENT,),
)  # fmt: skip
GOOD: dict[str, Any] = {"model": "a/b", "messages": [{"role": "user", "content": "oi"}]}


def body(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b"\xff\xfe", None),
        (b'{"model":"a","messages":[{"role":"user","content":"\xff"}]}', None),
        (b'{"model":"a","messages":[{"role":"user","content":"x"}],"temperature":NaN}', None),
        (b'{"model":"a","messages":[{"role":"user","content":"x"}],"foo":Infinity}', None),
        (b'{"model":"a","model":"b","messages":[{"role":"user","content":"x"}]}', "model"),
        (b'{"model":"a","messages":[{"role":"user","content":"x","content":"y"}]}', "content"),
        (b'{"messages":[]}', "model"),
        (b'{"model":"a"}', "messages"),
        (body(model=7), "model"),
        (body(model=""), "model"),
        (body(messages=[]), "messages"),
        (body(messages="oi"), "messages"),
        (body(messages=[{"content": "x"}]), "messages[0].role"),
        (body(messages=[{"role": "wizard", "content": "x"}]), "messages[0].role"),
        (body(messages=[{"role": "user", "content": 7}]), "messages[0].content"),
        (body(messages=[{"role": "user", "content": [{"text": "x"}]}]), "messages[0].content[0].type"),
        (body(max_tokens=0), "max_tokens"),
        (body(max_tokens="9"), "max_tokens"),
        (body(max_completion_tokens=-1), "max_completion_tokens"),
        (body(n=0), "n"),
        (body(n=17), "n"),
        (body(stream="yes"), "stream"),
        (body(stream_options={"include_usage": True}), "stream_options"),
        (body(temperature="hot"), "temperature"),
        (body(api_base="http://evil.test"), "api_base"),
        (body(base_url="http://evil.test"), "base_url"),
        (body(api_key="sk-x"), "api_key"),
        (body(extra={"deep": [{"api_key": "x"}]}), "extra.deep[0].api_key"),
        (body(tools={"a": 1}), "tools"),
    ],
)
def test_it_refuses_with_the_field_at_fault(raw: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_chat(raw)
    assert refused.value.status == 400
    assert refused.value.param == param


@pytest.mark.parametrize(
    "raw",
    [
        body(deep="@").replace(b'"@"', b"[" * 70 + b"]" * 70),
        body(deep="@").replace(b'"@"', b'{"a":' * 65 + b"1" + b"}" * 65),
        body(deep="@").replace(b'"@"', b"[" * 100_000 + b"]" * 100_000),
        body(many={f"k{i}": i for i in range(1_000_000)}),
        body(many=[1] * 1_000_000),
        body(number="@").replace(b'"@"', b"9" * 100_000),
    ],
    ids=["depth 70", "objects 65", "depth 100000", "a million keys", "a million items", "a number of 100000 digits"],
)
def test_it_refuses_bombs_quickly(raw: bytes) -> None:
    started = time.process_time()
    with pytest.raises(BadRequest):
        parse_chat(raw)
    assert time.process_time() - started < 0.25  # 50 ms on a quiet machine


def test_it_lets_a_tool_have_a_parameter_named_api_key() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"api_key": {"type": "string"}}}}}
    assert parse_chat(body(tools=[tool], metadata={"base_url": "x"})).model == "a/b"


free_names = st.text(max_size=8).filter(lambda name: name not in FORBIDDEN_FIELDS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(free_names, inner, max_size=4),
    max_leaves=12,
)
own_names = st.text(min_size=1, max_size=10).map(lambda text: f"x_{text}")


@settings(max_examples=examples(200), deadline=None)
@given(st.dictionaries(own_names, json_values, max_size=5), st.booleans(), st.sampled_from([None, 1, 4]))
def test_it_passes_unknown_fields_untouched_to_the_upstream(extra: dict[str, Any], is_stream: bool, indent: int | None) -> None:
    asked = {**extra, **GOOD, "messages": [{"role": "user", "content": "“olá” 😀 \u2028", "x": extra}], "stream": is_stream}
    raw = json.dumps(asked, indent=indent).encode()
    call = parse_chat(raw)
    sent = openai.chat_request(call, ROUTE, DEPLOYMENT, 42).body
    expected = {**asked, "model": "up-stream", "max_tokens": 42}
    if is_stream:
        expected["stream_options"] = {"include_usage": True}
    assert json.loads(sent) == expected
    before, after = (msgspec.json.decode(one, type=dict[str, msgspec.Raw]) for one in (raw, sent))
    for name in (*extra, "messages"):
        assert bytes(after[name]) == bytes(before[name])


def test_it_replaces_only_what_it_must() -> None:
    raw = body(max_tokens=7, stream=True, stream_options={"include_usage": False, "include_obfuscation": False}, seed=3)
    sent = json.loads(openai.chat_request(parse_chat(raw), ROUTE, DEPLOYMENT, 7).body)
    assert sent["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert (sent["max_tokens"], sent["seed"]) == (7, 3)


@pytest.mark.parametrize("given_input", ["", [], [""], [[]], ["a", 1], [1, "a"], [[1], "a"], 7, None, [["a"]], ["x"] * 2_049])
def test_it_refuses_embeddings_of_nothing(given_input: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_embeddings(json.dumps({"model": "a/b", "input": given_input}).encode())
    assert (refused.value.param or "").startswith("input")


@pytest.mark.parametrize(
    ("given_input", "inputs", "tokens"), [("a", 1, 0), (["a", "b"], 2, 0), ([1, 2], 1, 2), ([[1], [2, 3]], 2, 3)]
)
def test_it_counts_inputs_and_tokens(given_input: Any, inputs: int, tokens: int) -> None:
    call = parse_embeddings(json.dumps({"model": "a/b", "input": given_input}).encode())
    assert (call.inputs, call.token_count) == (inputs, tokens)


class Pairs(list[tuple[str, Any]]):
    """An object's members, which may come twice."""


def _object(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(st.sampled_from(["a", "b", 'q"', "é"]), inner), max_size=3).map(Pairs)


VALUES = st.recursive(
    st.one_of(st.none(), st.integers(-9, 9), st.text('"\\/uné\n02', max_size=6)),
    lambda inner: st.lists(inner, max_size=3) | _object(inner),
    max_leaves=8,
)


def _write(value: Any, *, is_ascii: bool, escapes_quotes: bool) -> str:
    if isinstance(value, list):
        by = {"is_ascii": is_ascii, "escapes_quotes": escapes_quotes}
        if isinstance(value, Pairs):
            return "{" + ", ".join(f"{_write(name, **by)} : {_write(inner, **by)}" for name, inner in value) + "}"
        return "[" + ",\n".join(_write(item, **by) for item in value) + "]"
    text = json.dumps(value, ensure_ascii=is_ascii)
    return text.replace('\\"', "\\u0022") if escapes_quotes and "\\\\" not in text else text


@given(VALUES, st.booleans(), st.booleans())
@settings(max_examples=examples(300), deadline=None)
def test_a_key_that_comes_twice_is_seen_however_the_body_is_written(value: Any, is_ascii: bool, escapes_quotes: bool) -> None:
    written = _write(value, is_ascii=is_ascii, escapes_quotes=escapes_quotes)
    seen: list[bool] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen.append(len(dict(pairs)) != len(pairs))
        return dict(pairs)

    decoded = json.loads(written, object_pairs_hook=look)
    body = f'{{"model":"a/b","messages":[{{"role":"user","content":"oi"}}],"metadata": {written}}}'.encode()
    if any(seen):
        with pytest.raises(BadRequest, match="duas vezes"):
            parse_chat(body)
    else:
        assert parse_chat(body).decoded["metadata"] == decoded
