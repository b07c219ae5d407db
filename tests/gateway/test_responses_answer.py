"""A chat completion → a response and its events, checked against the types that OpenAI publishes. Pure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.calls import ServedRoute
from gateway.dialects.base import malformed, timed_out
from gateway.surfaces import responses
from gateway.surfaces.responses_answer import Told
from gateway.surfaces.responses_stream import Shaper, open_thoughts, shape_usage, shape_whole
from tests.gateway.test_responses_request import ORGANIZATION, call_of

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
RESPONSES = TypeAdapter(Response)
ROUTE = ServedRoute(
    name="acme/modelo", display_name="", maker="", surface="chat", description="", context_tokens=1, output_tokens_max=1,
    output_tokens_default=1, token_factor_percent=100, capabilities=(), is_reasoning=False, created=0, prices=None, deployments=(),
)  # fmt: skip
USAGE = {
    "prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17, "cost": 0.5, "cost_details": {"currency": "BRL"},
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip
THOUGHT = {"type": "thinking", "thinking": "hum", "signature": "s"}


def told(**fields: Any) -> Told:
    said: Told = call_of("oi", **fields).told
    return said


def whole(message: dict[str, Any], finish_reason: str = "stop", said: Told | None = None, **choice: Any) -> dict[str, Any]:
    completion = {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason, **choice}], "usage": USAGE}
    shaped: dict[str, Any] = json.loads(shape_whole(said or told(), ROUTE, json.dumps(completion).encode()))
    RESPONSES.validate_python(shaped)
    return shaped


def events_of(raw: bytes) -> list[dict[str, Any]]:
    """Named, numbered, and as the published types say."""
    events = []
    for block in raw.decode().split("\n\n")[:-1]:
        name, data = block.split("\n", 1)
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        EVENTS.validate_python(event)
        events.append(event)
    return events


def frames(*deltas: dict[str, Any], finish_reason: str = "stop", logprobs: Any = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": None, "logprobs": logprobs} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish_reason, "logprobs": None})
    chunks = [{"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def stream(
    *deltas: dict[str, Any], finish_reason: str = "stop", said: Told | None = None, logprobs: Any = None
) -> list[dict[str, Any]]:
    shaper = Shaper(said or told(stream=True), ROUTE)
    raw = shaper.read(frames({"role": "assistant", "content": ""}, *deltas, finish_reason=finish_reason, logprobs=logprobs))
    raw += shaper.end(None, json.dumps(USAGE).encode())  # type: ignore[arg-type]
    events = events_of(raw)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_it_shapes_a_whole_answer() -> None:
    cited: dict[str, Any] = {"start_index": 0, "end_index": 3, "title": "t", "url": "https://x.test"}
    annotations: list[dict[str, Any]] = [{"type": "url_citation", "url_citation": cited}]
    answer = whole({"role": "assistant", "content": "olá", "annotations": annotations})
    assert (answer["object"], answer["status"], answer["model"], answer["store"]) == ("response", "completed", "acme/modelo", False)
    [item] = answer["output"]
    annotations = [{"type": "url_citation", **cited}]
    assert item["content"] == [{"type": "output_text", "text": "olá", "logprobs": [], "annotations": annotations}]
    assert answer["usage"] == {
        "input_tokens": 10, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1}, "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 17, "cost": 0.5, "cost_details": {"currency": "BRL"},
    }  # fmt: skip


def test_it_survives_a_usage_without_details() -> None:
    assert shape_usage(b'{"prompt_tokens":3,"completion_tokens":1,"prompt_tokens_details":null,"cost":1}')["total_tokens"] == 4
    assert shape_usage(b'"x"')["input_tokens"] == 0


@pytest.mark.parametrize(
    ("finish_reason", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("function_call", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_every_ending_has_its_status(finish_reason: str, status: str, reason: str | None) -> None:
    answer = whole({"content": "olá"}, finish_reason)
    last = stream({"content": "olá"}, finish_reason=finish_reason)[-1]
    assert last["type"] == f"response.{status}"
    for response in (answer, last["response"]):
        assert response["status"] == status
        assert (response["incomplete_details"] or {}).get("reason") == reason
        assert response["output"][0]["status"] == status
        assert (response["completed_at"] is None) == (status == "incomplete")
        assert response["usage"]["cost"] == 0.5


def test_it_tells_a_text() -> None:
    events = stream({"content": "ol"}, {"content": "á \u2028"})
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert events[0]["response"]["output"] == []
    assert events[0]["response"]["status"] == "in_progress"
    assert events[-1]["response"]["output"] == [events[-2]["item"]]
    assert events[-2]["item"]["content"][0]["text"] == "olá \u2028"
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1


def test_it_tells_thoughts_then_calls() -> None:
    events = stream(
        {"reasoning_content": "hu"}, {"reasoning": "m"}, {"content": "vejo"},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "soma", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "nada", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        finish_reason="tool_calls",
    )  # fmt: skip
    assert kinds(events)[2:9] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
    ]  # fmt: skip
    thoughts, text, first, second = events[-1]["response"]["output"]
    assert thoughts["summary"] == [{"type": "summary_text", "text": "hum"}]
    assert "encrypted_content" not in thoughts
    assert text["content"][0]["text"] == "vejo"
    assert (first["type"], first["call_id"], first["arguments"]) == ("function_call", "c1", '{"a":1}')
    assert (second["call_id"], second["arguments"]) == ("c2", "{}")
    assert [item["id"][:3] for item in (thoughts, text, first, second)] == ["rs_", "msg", "fc_", "fc_"]
    deltas = [event["delta"] for event in events if event["type"].endswith("arguments.delta")]
    assert deltas == ['{"a"', ":1}", "{}"]


def test_it_tells_a_refusal_and_a_custom_call() -> None:
    events = stream(
        {"content": "bem"}, {"refusal": "não posso"},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "custom", "custom": {"name": "sql", "input": "sel"}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "ect"}}]},
    )  # fmt: skip
    assert [kind for kind in kinds(events) if kind.startswith(("refusal", "custom"))] == [
        "refusal.delta", "refusal.done", "custom_tool_call_input.delta", "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
    ]  # fmt: skip
    message, custom = events[-1]["response"]["output"]
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]
    assert (custom["type"], custom["input"], custom["call_id"]) == ("custom_tool_call", "select", "c1")


def test_it_gives_logprobs() -> None:
    said = [{"token": "olá", "logprob": -0.1, "bytes": [111], "top_logprobs": []}]
    events = stream({"content": "olá"}, logprobs={"content": said})
    delta = next(event for event in events if event["type"] == "response.output_text.delta")
    assert delta["logprobs"] == said
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == said
    assert whole({"content": "olá"}, logprobs={"content": said})["output"][0]["content"][0]["logprobs"] == said


def test_an_empty_answer_has_an_empty_message() -> None:
    assert whole({"content": ""})["output"][0]["content"][0]["text"] == ""
    assert whole({"content": None}, "length")["output"] == []
    assert stream()[-1]["response"]["output"][0]["content"][0]["text"] == ""


def test_it_seals_thoughts_for_who_asked() -> None:
    included: dict[str, Any] = {"include": ["reasoning.encrypted_content"]}
    extra, call_extra = {"google": {"thought_signature": "t"}}, {"google": {"thought_signature": "c"}}
    call = {"id": "c1", "type": "function", "function": {"name": "soma", "arguments": "{}"}, "extra_content": call_extra}
    message = {
        "reasoning_content": "hum",
        "thinking_blocks": [THOUGHT],
        "content": "vejo",
        "tool_calls": [call],
        "extra_content": extra,
    }
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": "hum"}, {"thinking_blocks": [{"index": 0, **THOUGHT}]}, {"content": "vejo"},
        {"tool_calls": [{"index": 0, **call}]}, {"extra_content": extra},
    ]  # fmt: skip
    streamed = stream(*deltas, said=told(stream=True, **included))
    assert kinds(streamed).count("output_item.done") == 4
    for output in (whole(message, "tool_calls", told(**included))["output"], streamed[-1]["response"]["output"]):
        assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "reasoning"]
        first = open_thoughts(output[0]["encrypted_content"], organization_id=ORGANIZATION)
        last = open_thoughts(output[3]["encrypted_content"], organization_id=ORGANIZATION)
        assert first is not None
        assert last is not None
        assert (first.text, first.blocks) == ("hum", [THOUGHT])
        assert (last.extra, last.extras) == (extra, {"c1": call_extra})
        again = call_of(
            [{"role": "user", "content": "oi"}, *output, {"type": "function_call_output", "call_id": "c1", "output": "1"}]
        )
        assert again.decoded["messages"][1] == {"role": "assistant", **message}
    assert "encrypted" not in json.dumps(whole(message))


def test_it_seals_a_signature_that_comes_after_the_text() -> None:
    events = stream({"reasoning_content": "hum"}, {"content": "vejo"}, {"thinking_blocks": [THOUGHT]},
                    said=told(stream=True, include=["reasoning.encrypted_content"]))  # fmt: skip
    thoughts = open_thoughts(events[-1]["response"]["output"][0]["encrypted_content"], organization_id=ORGANIZATION)
    assert thoughts is not None
    assert thoughts.blocks == [THOUGHT]


def test_what_is_kept_has_what_is_sealed() -> None:
    said = told(store=True)
    answer = whole({"reasoning_content": "hum", "content": "olá"}, said=said)
    kept = json.loads(said.kept)
    assert "encrypted_content" not in answer["output"][0]
    assert kept["output"][0]["encrypted_content"]
    assert answer["store"] is True
    assert json.dumps(answer, separators=(",", ":")).startswith(f'{{"id":"{answer["id"]}","object":"response","store":true,')


def test_it_pads_deltas_for_who_asked() -> None:
    events = stream({"content": "olá"}, {"content": "sim"}, said=told(stream=True, stream_options={"include_obfuscation": True}))
    padded = [len(event["delta"]) + len(event["obfuscation"]) for event in events if "delta" in event]
    assert padded == [32, 32]
    assert not any("obfuscation" in event for event in stream({"content": "olá"}))


def test_it_fails_with_what_was_delivered_and_an_error_that_sdks_raise() -> None:
    shaper = Shaper(told(stream=True), ROUTE)
    shaper.read(frames({"content": "ol"}, {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "soma"}}]}))
    events = events_of(shaper.fail(timed_out(), is_english=True))
    failed, error = events[-2:]
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": timed_out().english}
    assert [item["status"] for item in failed["response"]["output"]] == ["completed", "incomplete"]
    assert failed["response"]["output"][1]["arguments"] == ""
    assert (error["type"], error["code"], error["error"]["code"]) == ("error", "provider_timeout", "provider_timeout")
    first = events_of(Shaper(told(stream=True), ROUTE).fail(malformed(), is_english=False))
    assert kinds(first) == ["created", "in_progress", "failed", "error"]
    [slow] = events_of(responses.error_frame(timed_out(), is_english=False, request_id="x"))
    assert (slow["type"], slow["sequence_number"]) == ("error", 0)


def test_a_refusal_of_a_model_is_told_in_the_callers_words() -> None:
    from gateway.errors import BadRequest

    refusal = BadRequest("Sem 'response_format'.", "No 'response_format'.", param="response_format")
    error = json.loads(responses.error_body(refusal, is_english=True, request_id="x"))["error"]
    assert (error["param"], error["message"]) == ("text.format", "No 'text.format'.")


pieces = st.lists(st.text(min_size=1, max_size=6), max_size=4)


@given(pieces, pieces, st.lists(pieces, max_size=3))
def test_streamed_and_whole_are_the_same(thoughts: list[str], texts: list[str], calls: list[list[str]]) -> None:
    deltas: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in thoughts] + [{"content": piece} for piece in texts]
    for index, arguments in enumerate(calls):
        deltas.append({"tool_calls": [{"index": index, "id": f"c{index}", "type": "function", "function": {"name": "f"}}]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in arguments]
    message = {"reasoning_content": "".join(thoughts), "content": "".join(texts), "tool_calls": [
        {"id": f"c{index}", "type": "function", "function": {"name": "f", "arguments": "".join(arguments)}}
        for index, arguments in enumerate(calls)]}  # fmt: skip
    said, other = told(stream=True), told()
    other.id, other.created_at = said.id, said.created_at
    events = stream(*deltas, said=said)
    assert events[-1]["response"]["output"] == whole(message, said=other)["output"]
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == sorted(
        events[-1]["response"]["output"], key=lambda item: item["id"][-4:]
    )
