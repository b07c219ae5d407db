"""Chunks to Anthropic's events, and Anthropic's own events carried through: every ending, every cut, whatever the chunking."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway import sse
from gateway.calls import ChatCall, Message
from gateway.dialects.messages_native import show_usage
from gateway.errors import BadRequest
from gateway.metering import overloaded
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


def test_it_knows_the_sequence_that_a_host_names() -> None:
    last = sse.frame(b'{"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":"B"}]}')
    events = shape(chunk(content="x"), last, call=call_of(stop=["A", "B"]))
    assert events[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "B"}


def test_the_opening_waits_for_a_first_word() -> None:
    shaper = Messages().open_shaper(call_of(), ROUTE)
    assert shaper.read(chunk(role="assistant", content="")) == b""
    assert [event["type"] for event in events_of(shaper.read(chunk(content="a")))][:3] == [
        "message_start", "ping", "content_block_start",
    ]  # fmt: skip


def test_it_puts_refusals_in_the_callers_words() -> None:
    surface = Messages()
    surface._paths = ["system", "messages[0]", "messages[0]"]
    for param, path in (
        ("messages[2].content[1].type", "messages[0].content"), ("messages[1].tool_calls[0].id", "messages[0].content"),
        ("messages[0].content", "system"), ("tools[3]", "tools[3]"), ("stop", "stop_sequences"), ("messages[9].x", "messages[9].x"),
        ("reasoning_effort", "thinking"),
    ):  # fmt: skip
        error = surface.reword(BadRequest(f"Não '{param}'.", f"Not '{param}'.", param=param))
        assert (error.param, error.message, error.english) == (path, f"Não '{path}'.", f"Not '{path}'.")
    assert surface.reword(overloaded()).status == 529


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
