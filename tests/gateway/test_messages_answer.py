"""Chunks to Anthropic's events, and Anthropic's own events carried through: every ending, every cut, whatever the chunking."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.calls import ChatCall, Message
from gateway.dialects import messages_native
from gateway.dialects.messages_native import show_usage
from gateway.errors import UpstreamError
from gateway.surfaces.messages import Messages
from gateway.surfaces.messages_answer import message_id, shape_message, stop_reason_of
from tests.gateway.test_messages_request import ROUTE

USAGE = (
    b'{"prompt_tokens":35,"completion_tokens":9,"total_tokens":44,"prompt_tokens_details":{"cached_tokens":20,"cache_write_tokens":5},'
    b'"completion_tokens_details":{"reasoning_tokens":4},"cost":0.000000001,"cost_details":{"currency":"BRL"}}'
)
SHOWN = {
    "input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 20, "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 4}, "cost": 1e-09, "cost_details": {"currency": "BRL"},
}  # fmt: skip


def call_of(**decoded: Any) -> ChatCall:
    return ChatCall(
        model="x/y", fields={}, decoded=decoded, messages=[Message("user", "Diga olá em uma frase.")], body_bytes=100,
        is_stream=True, wants_usage=False, output_tokens_asked=100, choices=1,
    )  # fmt: skip


def chunk(finish: str | None = None, *, native: str | None = None, **delta: Any) -> bytes:
    choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
    if native:
        choice["native_finish_reason"] = native
    return sse.frame(json.dumps({"id": "chatcmpl-1", "model": "gpt", "choices": [choice]}).encode())


def tool(index: int, arguments: str = "", *, id_: str = "", name: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if id_:
        made |= {"id": id_, "type": "function"}
        made["function"]["name"] = name
    return made


def events_of(raw: bytes) -> list[dict[str, Any]]:
    """Decoded, each under the name that its `event:` line gives."""
    found = []
    for name, data in sse.SseParser().feed(raw):
        event = json.loads(data)
        assert event["type"] == name.decode()
        found.append(event)
    return found


def shape(*frames: bytes, call: ChatCall | None = None) -> list[dict[str, Any]]:
    shaper = Messages().open_shaper(call or call_of(), ROUTE)
    raw = b"".join(shaper.read(frame) for frame in frames)
    return events_of(raw + shaper.end(None, USAGE))  # type: ignore[arg-type]


def gather(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks as a client puts them together; also that the events come in Anthropic's order."""
    blocks: list[dict[str, Any]] = []
    is_open = False
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(blocks)
                is_open = True
                blocks.append({**event["content_block"], "json": ""})
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(blocks) - 1
                delta = event["delta"]
                name = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "json"}.get(delta["type"])
                if name is None:
                    blocks[-1]["signature"] = delta["signature"]
                else:
                    blocks[-1][name] += delta["partial_json" if name == "json" else name]
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(blocks) - 1
                is_open = False
    assert not is_open
    for block in blocks:
        arguments = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(arguments)
    return blocks


def test_it_shapes_thinking_text_and_parallel_calls() -> None:
    events = shape(
        chunk(role="assistant", content=""), chunk(reasoning_content="hum"), chunk(reasoning_content="…"), chunk(content="olá "),
        chunk(content="\u2028\"x\""), chunk(tool_calls=[tool(0, id_="call_1", name="soma")]), chunk(tool_calls=[tool(0, '{"a"')]),
        chunk(tool_calls=[tool(0, ":1}")]), chunk(tool_calls=[tool(1, "", id_="call_2", name="nada")]), chunk("tool_calls"),
    )  # fmt: skip
    assert [event["type"] for event in events][:2] == ["message_start", "ping"]
    assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]
    message = events[0]["message"]
    assert (message["id"], message["model"], message["content"], message["stop_reason"]) == ("msg_1", "gpt", [], None)
    assert message["usage"]["input_tokens"] > 5
    assert gather(events) == [
        {"type": "thinking", "thinking": "hum…", "signature": ""},
        {"type": "text", "text": 'olá \u2028"x"'},
        {"type": "tool_use", "id": "toolu__call_1", "name": "soma", "input": {"a": 1}},
        {"type": "tool_use", "id": "toolu__call_2", "name": "nada", "input": {}},
    ]
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"] == SHOWN


def test_it_untangles_calls_whose_pieces_alternate() -> None:
    events = shape(
        chunk(tool_calls=[tool(0, '{"a":', id_="a", name="f"), tool(1, '{"b":', id_="b", name="g")]),
        chunk(tool_calls=[tool(1, "2}")]), chunk(tool_calls=[tool(0, "1}")]),
        chunk(tool_calls=[tool(2, '{"c":3}', id_="c", name="h")]), chunk("stop"),
    )  # fmt: skip
    assert [(block["name"], block["input"]) for block in gather(events)] == [("f", {"a": 1}), ("g", {"b": 2}), ("h", {"c": 3})]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"  # whatever the host says


def test_text_after_a_call_opens_a_block_of_its_own() -> None:
    blocks = gather(
        shape(chunk(content="a"), chunk(tool_calls=[tool(0, "{}", id_="a", name="f")]), chunk(content="b"), chunk("stop"))
    )
    assert [block["type"] for block in blocks] == ["text", "tool_use", "text"]


def test_it_keeps_signatures_that_a_dialect_gives() -> None:
    blocks = gather(shape(
        chunk(reasoning_content="hum"),
        chunk(thinking_blocks=[{"index": 0, "type": "thinking", "thinking": "hum", "signature": "s"}]),
        chunk(thinking_blocks=[{"index": 1, "type": "redacted_thinking", "data": "x"}]),
        chunk(thinking_blocks=[{"index": 2, "type": "thinking", "thinking": "só aqui", "signature": "t"}]), chunk(content="oi"),
        chunk("stop"),
    ))  # fmt: skip
    assert blocks == [
        {"type": "thinking", "thinking": "hum", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "só aqui", "signature": "t"}, {"type": "text", "text": "oi"},
    ]  # fmt: skip


ENDINGS = [
    ("stop", "", "end_turn"), ("length", "", "max_tokens"), ("tool_calls", "", "end_turn"), ("content_filter", "", "refusal"),
    ("function_call", "", "end_turn"), ("", "", "end_turn"), ("stop", "stop_sequence", "stop_sequence"),
    ("stop", "STOP_SEQUENCE", "stop_sequence"),
    ("stop", "pause_turn", "pause_turn"), ("length", "model_context_window_exceeded", "model_context_window_exceeded"),
    ("stop", "COMPLETE", "end_turn"), ("content_filter", "SAFETY", "refusal"),
]  # fmt: skip


@pytest.mark.parametrize(("finish", "native", "expected"), ENDINGS)
def test_it_maps_every_ending(finish: str, native: str, expected: str) -> None:
    assert stop_reason_of(finish, native, has_tools=False, is_refused=False) == expected
    events = shape(chunk(content="x"), chunk(finish or None, native=native or None), call=call_of(stop=["FIM"]))
    assert events[-2]["delta"]["stop_reason"] == expected
    assert events[-2]["delta"]["stop_sequence"] == ("FIM" if expected == "stop_sequence" else None)
    if expected in ("end_turn",):
        assert stop_reason_of(finish, native, has_tools=True, is_refused=False) == "tool_use"
        assert stop_reason_of(finish, native, has_tools=False, is_refused=True) == "refusal"


def test_an_answer_without_a_word_is_whole() -> None:
    events = shape(chunk(role="assistant"), chunk("stop"))
    assert gather(events) == []
    assert [event["type"] for event in shape()] == ["message_start", "ping", "message_delta", "message_stop"]


def test_it_shapes_a_whole_completion() -> None:
    said: dict[str, Any] = {
        "content": "oi", "reasoning_content": "hum", "tool_calls": [
            {"id": "call:1", "type": "function", "function": {"name": "f", "arguments": '{"a":1.50}'}},
            {"id": None, "type": "function", "function": {"name": "g", "arguments": "{cort"}},
        ],
    }  # fmt: skip
    whole = {"id": "chatcmpl-x", "model": "gpt", "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}]}
    raw = shape_message(call_of(), ROUTE, json.dumps({**whole, "usage": json.loads(USAGE)}).encode())
    message = json.loads(raw)
    assert message["content"][:2] == [{"type": "thinking", "thinking": "hum", "signature": ""}, {"type": "text", "text": "oi"}]
    first, second = message["content"][2:]
    assert (first["id"], first["input"]) == ("toolu_-Y2FsbDox", {"a": 1.5})
    assert second["id"].startswith("toolu_")
    assert second["input"] == {}
    assert b'{"a":1.50}' in raw
    assert (message["stop_reason"], message["usage"]) == ("tool_use", SHOWN)
    said = {"content": None, "refusal": "não posso", "thinking_blocks": [{"type": "thinking", "thinking": "h", "signature": "s"}]}
    whole["choices"] = [{"message": said, "finish_reason": "stop"}]
    message = json.loads(shape_message(call_of(), ROUTE, json.dumps({**whole, "usage": json.loads(USAGE)}).encode()))
    assert [block["type"] for block in message["content"]] == ["thinking", "text"]
    assert message["stop_reason"] == "refusal"


def test_it_names_messages_as_anthropic_does() -> None:
    assert message_id("msg_01") == "msg_01"
    assert message_id("chatcmpl-9x") == "msg_9x"
    assert message_id("gen 1/2") == "msg_gen_1_2"
    assert message_id(None) != message_id(None)


def test_a_usage_in_anthropics_words_stays_as_it_is() -> None:
    raw = b'{"output_tokens": 7, "x":1,"cost":1.10}'
    assert show_usage(raw) is raw
    assert b'"cost":0.000000001' in show_usage(USAGE)


# ── Carried through ──────────────────────────────────────────────────────────────────────────────────────────────────
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
