"""Anthropic's Messages carried through: the caller's bytes up, the provider's events down, and what may not pass."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import PriceList, UnitPrice
from gateway import sse
from gateway.dialects import messages_native
from gateway.dialects.messages_terms import CLOSED_FIELDS, Terms, read_terms
from gateway.errors import BadRequest, UpstreamError
from gateway.surfaces.messages_request import outline_messages
from tests.gateway.test_messages_answer import SHOWN, USAGE, call_of, events_of
from tests.gateway.test_messages_request import DEPLOYMENT, PDF, PNG, ROUTE, TOOL, body_of, native_call, say, text

# ── Up ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)
EXTRAS = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(
        lambda name: name not in {*CLOSED_FIELDS, "speed", "drop_params", "api_key", "base_url", "api_base", "system"}
    ),
    JSON,
    max_size=5,
)


@given(extras=EXTRAS, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_what_it_carries_is_the_same_bytes(extras: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    """Every member but `model` and `max_tokens`, with its white space, its escapes, its order and its numbers."""
    body = json.dumps({**extras, **body_of(tools=[TOOL])}, indent=indent, ensure_ascii=ascii_only)
    try:
        raw = body.encode()
        call = native_call(raw)
    except (BadRequest, UnicodeEncodeError):  # a field of ours with another type, half a surrogate pair
        return
    request = messages_native.chat_request(call, ROUTE, DEPLOYMENT, 77)
    sent, came = (msgspec.json.decode(text, type=dict[str, msgspec.Raw]) for text in (request.body, raw))
    assert (json.loads(bytes(sent.pop("model"))), bytes(sent.pop("max_tokens"))) == ("claude-sonnet-4-6", b"77")
    came.pop("model"), came.pop("max_tokens")
    assert list(sent) == list(came)
    assert all(bytes(sent[name]) == bytes(came[name]) for name in came)


def test_it_sends_the_terms_that_may_pass() -> None:
    terms = read_terms(
        "2026-10-21", "interleaved-thinking-2025-05-14, claude-code-20250219,fast-mode-2026-02-01,x\x7f,context-1m-2025-08-07"
    )
    assert terms.betas == ("interleaved-thinking-2025-05-14", "claude-code-20250219")
    assert terms.dropped == ("anthropic-beta:fast-mode-2026-02-01", "anthropic-beta:context-1m-2025-08-07")
    call = native_call(json.dumps(body_of()).encode(), told=terms)
    request = messages_native.chat_request(call, ROUTE, DEPLOYMENT, 100)
    assert dict(request.headers) == {
        "x-api-key": "segredo", "anthropic-version": "2026-10-21", "content-type": "application/json",
        "anthropic-beta": "interleaved-thinking-2025-05-14,claude-code-20250219",
    }  # fmt: skip
    assert request.dropped == terms.dropped
    assert read_terms("", "") == Terms("2023-06-01", (), ())
    with pytest.raises(BadRequest) as refused:
        read_terms("2024-01-01", "")
    assert refused.value.param == "anthropic-version"


def test_it_leaves_out_thinking_that_nobody_signed() -> None:
    turns: list[Any] = [
        {"role": "user", "content": "a"}, say({"type": "thinking", "thinking": "h", "signature": ""}, role="assistant"),
        say({"type": "thinking", "thinking": "h", "signature": ""}, text("b"), role="assistant"),
        say({"type": "thinking", "thinking": "h", "signature": "s"}, role="assistant"), {"role": "user", "content": "c"},
    ]  # fmt: skip
    request = messages_native.chat_request(native_call(json.dumps(body_of(turns)).encode()), ROUTE, DEPLOYMENT, 100)
    assert json.loads(request.body)["messages"] == [turns[0], say(text("b"), role="assistant"), *turns[3:]]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"container": "c"}, "container"), ({"mcp_servers": []}, "mcp_servers"), ({"fallbacks": [{}]}, "fallbacks"),
        ({"speed": "fast"}, "speed"), ({"inference_geo": "us"}, "inference_geo"),
        ({"tools": [TOOL, {"type": "code_execution_20260120", "name": "c"}]}, "tools[1].type"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management"),
        ({"messages": [say({"type": "document", "source": {"type": "file", "file_id": "file_1"}})]},
         "messages[0].content[0].source.file_id"),
        ({"messages": [say({"type": "tool_result", "tool_use_id": "a", "content": [
            {"type": "image", "source": {"type": "file", "file_id": "f"}}]})]}, "messages[0].content[0].content[0].source.file_id"),
    ],
)  # fmt: skip
def test_it_carries_nothing_of_the_providers_account(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        messages_native.chat_request(native_call(json.dumps(body_of(**fields)).encode()), ROUTE, DEPLOYMENT, 100)
    assert refused.value.param == param


def test_it_carries_searches_only_where_they_have_a_price() -> None:
    call = native_call(json.dumps(body_of(tools=[{"type": "web_search_20250305", "name": "web_search"}], container=None)).encode())
    priced = PriceList(1, "1", {**ROUTE.prices.units, "search": UnitPrice(1, 0, 1)}) if ROUTE.prices else None
    assert messages_native.chat_request(call, dataclasses.replace(ROUTE, prices=priced), DEPLOYMENT, 100)


def test_it_outlines_what_is_counted() -> None:
    outlined = outline_messages(body_of([
        say(text("olá"), {"type": "image", "source": PNG}, {"type": "document", "source": PDF},
            {"type": "tool_result", "tool_use_id": "t", "content": [text("dentro"), {"type": "image", "source": PNG}]}),
        say({"type": "tool_use", "id": "t", "name": "soma", "input": {"a": "ç"}}, role="assistant"),
        say({"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}}),
    ], system=[text("sistema")]))  # fmt: skip
    assert outlined[-1].content == "sistema"
    first, second, third = (message.content for message in outlined[:-1])
    assert isinstance(first, list)
    assert [part.text for part in first if part.text] == ["olá", "dentro"]
    assert sum(part.image_url is not None for part in first) == 2
    assert sum(part.file is not None for part in first) == 1
    assert isinstance(second, list)
    assert second[0].text == 'soma {"a":"ç"}'
    assert isinstance(third, list)
    assert len(third) > 10  # of unknown length: held for a long one


# ── Down ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def frames(*bodies: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (body["type"].encode(), json.dumps(body).encode()) for body in bodies)


START: dict[str, Any] = {
    "type": "message_start",
    "message": {"id": "msg_1", "type": "message", "model": "claude", "usage": {
        "input_tokens": 9, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 1}},
}  # fmt: skip
BLOCKS: list[dict[str, Any]] = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hum"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "olá \u2028 \"x\""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": {"cited_text": "y"}}},
    {"type": "content_block_stop", "index": 1},
    {"type": "something_new", "x": {"y": [1]}},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "tu", "name": "soma", "input": {}}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
    {"type": "content_block_stop", "index": 2},
]  # fmt: skip
DELTA: dict[str, Any] = {
    "type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None, "container": None},
    "usage": {"output_tokens": 30, "output_tokens_details": {"thinking_tokens": 12}, "service_tier": "standard"},
    "context_management": {"applied_edits": []},
}  # fmt: skip
STOP: dict[str, Any] = {"type": "message_stop"}
STREAM = frames(START, {"type": "ping"}, *BLOCKS, DELTA, STOP)


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_what_it_carries_is_the_same_events_however_they_are_cut(cuts: list[int]) -> None:
    reader, tally = messages_native.open_stream(call_of())
    parser = messages_native.open_parser()
    edges = sorted({0, len(STREAM), *cuts})
    out = b"".join(reader.read(parser.feed(STREAM[left:right])) for left, right in itertools.pairwise(edges))
    assert out == frames(START, {"type": "ping"}, *BLOCKS)  # byte for byte; the end waits for the settlement
    assert tally.is_complete
    assert (tally.finish_reason, tally.upstream_id, tally.text) == ("tool_calls", "msg_1", 'humolá \u2028 "x"soma{"a":1}')
    usage = tally.usage
    assert usage is not None
    assert (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens) == (9, 4, 2)
    assert (usage.output_tokens, usage.reasoning_tokens) == (18, 12)
    assert tally.usage_raw == json.dumps(DELTA["usage"]).encode()
    ended = events_of(reader.usage_frame(tally.usage_raw[:-1] + b',"cost":1.5}'))
    assert ended == [{**DELTA, "usage": {**DELTA["usage"], "cost": 1.5}}, STOP]


def test_the_opening_waits_for_the_first_block() -> None:
    reader, _ = messages_native.open_stream(call_of())
    assert reader.read(sse.SseParser().feed(frames(START, {"type": "ping"}))) == b""
    assert reader.read(sse.SseParser().feed(frames(BLOCKS[0]))) == frames(START, {"type": "ping"}, BLOCKS[0])


def test_an_empty_message_ends_well() -> None:
    reader, tally = messages_native.open_stream(call_of())
    out = reader.read(sse.SseParser().feed(frames(START, DELTA, {**DELTA, "usage": {}}, STOP)))
    assert [event["type"] for event in events_of(out)] == ["message_start", "message_delta"]
    assert tally.is_complete
    assert tally.usage is not None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', 503),
        (b'{"type":"error","error":{"type":"rate_limit_error","message":"x"}}', 429),
        (b'{"type":"error","error":{"type":"api_error","message":"x"}}', 502),
        (b'{"type":"content_block_delta","delta":5}', 502), (b"{", 502), (b"[]", 502),
    ],
)  # fmt: skip
def test_it_raises_what_breaks_in_the_middle(data: bytes, status: int) -> None:
    reader, tally = messages_native.open_stream(call_of())
    reader.read(sse.SseParser().feed(frames(START, BLOCKS[0])))
    with pytest.raises(UpstreamError) as failed:
        reader.read([(b"", data)])
    assert failed.value.status == status
    assert not tally.is_complete


@pytest.mark.parametrize("stop_reason", ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "new_one"])
def test_it_carries_a_whole_message(stop_reason: str) -> None:
    members = {
        "id": "msg_1", "type": "message", "model": "claude", "content": [
            {"type": "text", "text": "oi", "citations": [{"x": 1}]}, {"type": "server_thing", "y": {"z": 1.50}},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1}},
        ],
        "stop_reason": stop_reason, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 2}, "extra": {"deep": [1]},
    }  # fmt: skip
    body = json.dumps(members, indent=1).encode()
    answer = messages_native.read_chat(body)
    assert answer.tally.usage is not None
    assert answer.tally.finish_reason in ("stop", "length", "tool_calls", "content_filter")
    shown = json.loads(answer.with_usage(b'{"input_tokens": 3, "output_tokens": 2,"cost":0.1}'))
    assert shown == {**members, "usage": {"input_tokens": 3, "output_tokens": 2, "cost": 0.1}}
    assert json.loads(answer.with_usage(USAGE))["usage"] == SHOWN


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>", b'{"id":"x"}', b'{"stop_reason":"end_turn"}', b'{"id":5,"stop_reason":"x"}']
)
def test_it_refuses_what_is_no_message(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        messages_native.read_chat(body)
