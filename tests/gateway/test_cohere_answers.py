"""Cohere v2's answers in OpenAI's words, without a network: whole, streamed however they are cut, and failed."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import ChatCall, ServedDeployment
from gateway.dialects import cohere
from gateway.dialects.base import Tally
from gateway.errors import UpstreamError
from gateway.parsing import parse_chat

HOST = ServedDeployment(
    id=1, provider_slug="cohere", provider_name="Cohere", dialect="cohere", base_url="https://api.cohere.com",
    upstream_model="command-a-03-2025", priority=1, weight=1, secret="co-secret", is_strict=False, is_simulated=True,
)  # fmt: skip


def call_of(**fields: Any) -> ChatCall:
    return parse_chat(json.dumps({"model": "cohere/x", "messages": [{"role": "user", "content": "oi"}], **fields}).encode())


# ── Whole answers ────────────────────────────────────────────────────────────────────────────────────────────────────
def answer(**fields: Any) -> tuple[dict[str, Any], Tally]:
    whole = {"id": "c1", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": []}, **fields}
    read = cohere.read_chat(json.dumps(whole).encode())
    told: dict[str, Any] = json.loads(read.with_usage(read.tally.usage_raw or b"null"))
    return told, read.tally


@pytest.mark.parametrize(
    ("native", "finish"),
    [("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "tool_calls"),
     ("ERROR_TOXIC", "content_filter"), ("SOMETHING_NEW", "stop")],
)  # fmt: skip
def test_it_reads_a_whole_answer(native: str, finish: str) -> None:
    message = {
        "role": "assistant", "tool_plan": "plano",
        "content": [{"type": "thinking", "thinking": "hum"}, {"type": "text", "text": "oi"}],
        "tool_calls": [{"id": "t", "type": "function", "function": {"name": "agora"}}],
    }  # fmt: skip
    usage = {
        "billed_units": {"input_tokens": 10.0, "output_tokens": 7},
        "tokens": {"input_tokens": 76, "output_tokens": 7},
        "cached_tokens": 4,
    }
    told, tally = answer(finish_reason=native, message=message, usage=usage)
    choice = told["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"], tally.finish_reason) == (finish, native, finish)
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ("oi", "hum\nplano")
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "agora", "arguments": "{}"}
    assert tally.usage is not None
    assert (tally.usage.input_tokens, tally.usage.cached_input_tokens, tally.usage.output_tokens) == (6, 4, 7)
    assert (told["usage"]["prompt_tokens"], told["usage"]["total_tokens"]) == (10, 17)
    assert not tally.is_suspect


@pytest.mark.parametrize(
    ("usage", "billed", "is_suspect"),
    [
        (None, None, False),
        ({}, None, False),
        ({"tokens": {"input_tokens": 9, "output_tokens": 2}}, (9, 0, 2), False),
        ({"billed_units": {"input_tokens": 9, "output_tokens": 2}, "cached_tokens": 60}, (0, 9, 2), False),
        ({"billed_units": {"input_tokens": -9, "output_tokens": 2}}, (0, 0, 2), True),
        ({"billed_units": {"input_tokens": "9", "output_tokens": 2}}, None, True),
        ({"billed_units": {"search_units": 1}}, None, False),
    ],
)
def test_it_bills_billed_units(usage: Any, billed: tuple[int, int, int] | None, is_suspect: bool) -> None:
    _, tally = answer(usage=usage)
    said_usage = tally.usage and (tally.usage.input_tokens, tally.usage.cached_input_tokens, tally.usage.output_tokens)
    assert (said_usage, tally.is_suspect) == (billed, is_suspect)


def test_citations_with_an_address_are_annotations_too() -> None:
    page = {"type": "document", "id": "d", "document": {"url": "https://x.test", "snippet": "s"}}
    citations = [
        {"start": 1, "end": 2, "text": "b", "sources": [page]},
        {"start": 3, "end": 4, "text": "d", "sources": [{"type": "tool", "id": "t", "tool_output": {"a": "b"}}]},
        {"start": 0, "end": 1, "text": "p", "type": "PLAN", "sources": [page]},
    ]
    message = answer(message={"content": [{"type": "text", "text": "abcd"}], "citations": citations})[0]["choices"][0]["message"]
    assert message["citations"] == citations
    assert message["annotations"] == [
        {"type": "url_citation", "url_citation": {"start_index": 1, "end_index": 2, "url": "https://x.test", "title": "d"}}
    ]


@pytest.mark.parametrize(("reason", "status", "code"), [("ERROR", 502, "upstream_error"), ("TIMEOUT", 504, "provider_timeout")])
def test_an_answer_that_failed_is_an_error(reason: str, status: int, code: str) -> None:
    with pytest.raises(UpstreamError) as failed:
        answer(finish_reason=reason)
    assert (failed.value.status, failed.value.code, failed.value.retryable) == (status, code, True)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"message":"x"}', b'{"id":"a","finish_reason":"COMPLETE"}', b"[" * 5_000]
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as failed:
        cohere.read_chat(body)
    assert failed.value.code == "provider_malformed"


@pytest.mark.parametrize(
    ("status", "message", "seen", "code"),
    [
        (400, "invalid request: bad", 400, "invalid_value"),
        (400, "too many tokens: total number of tokens", 400, "context_length_exceeded"),
        (422, "x", 400, "invalid_value"),
        (401, "invalid api token co-secret", 502, "provider_unavailable"),
        (498, "invalid token", 502, "provider_unavailable"),
        (404, "model 'x' not found", 502, "upstream_error"),
        (429, "slow down", 429, "rate_limit_exceeded"),
        (500, "oops", 502, "upstream_error"),
        (503, "busy", 503, "provider_overloaded"),
        (504, "late", 504, "provider_timeout"),
    ],
)
def test_it_reads_refusals(status: int, message: str, seen: int, code: str) -> None:
    error = cohere.read_error(status, None, json.dumps({"id": "1", "message": message}).encode(), HOST)
    assert (error.status, error.code) == (seen, code)
    assert "co-secret" not in error.message + error.english


# ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e, ensure_ascii=False).encode()) for e in events)


def delta(kind: str, index: int = 0, **message: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": message}}


START = {"type": "message-start", "id": "c1", "delta": {"message": {
    "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}}  # fmt: skip
USAGE = {"billed_units": {"input_tokens": 9.0, "output_tokens": 5.0}, "tokens": {"input_tokens": 75, "output_tokens": 5}}
END = {"type": "message-end", "id": "c1", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}}
STREAM = sse(
    START,
    {"type": "debug", "prompt": "x"}, {"type": "something-new", "delta": 3},
    delta("content-start", content={"type": "thinking", "thinking": ""}),
    delta("content-delta", content={"thinking": "hum"}), {"type": "content-end", "index": 0},
    delta("content-start", 1, content={"type": "text", "text": ""}),
    delta("content-delta", 1, content={"text": "olá \u2028 \"x\""})
    | {"logprobs": {"text": "olá", "token_ids": [1], "logprobs": [-0.5]}},
    delta("citation-start", citations={"start": 0, "end": 3, "text": "olá", "sources": [
        {"type": "document", "id": "d", "document": {"url": "https://x.test"}}]}), {"type": "citation-end", "index": 0},
    delta("citation-start", 1, citations={"start": 0, "end": 1, "text": "o", "sources": []}), {"type": "citation-end", "index": 1},
    {"type": "content-end", "index": 1},
    delta("tool-plan-delta", tool_plan="vou"), delta("tool-plan-delta", tool_plan=" somar"),
    delta("tool-call-start", tool_calls={"id": "t1", "type": "function", "function": {"name": "soma", "arguments": ""}}),
    delta("tool-call-delta", tool_calls={"function": {"arguments": '{"a"'}}),
    delta("tool-call-delta", tool_calls={"function": {"arguments": ":1}"}}), {"type": "tool-call-end", "index": 0},
    delta("tool-call-start", 1, tool_calls={"id": "t2", "type": "function", "function": {"name": "agora", "arguments": ""}}),
    {"type": "tool-call-end", "index": 1}, END,
) + b"data: [DONE]\n\n"  # fmt: skip


def read_stream(pieces: list[bytes], **fields: Any) -> tuple[bytes, Tally]:
    reader, tally = cohere.open_stream(call_of(stream=True, **fields))
    parser = cohere.open_parser()
    out = b"".join(reader.read(parser.feed(piece)) for piece in pieces)
    return out + reader.read(parser.close()), tally


def test_it_streams_everything_that_cohere_says() -> None:
    out, tally = read_stream([STREAM], stream_options={"include_usage": True})
    chunks = [json.loads(line[6:]) for line in out.decode().split("\n\n") if line]
    assert all((chunk["id"], chunk["model"], chunk["usage"]) == ("c1", "cohere/x", None) for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "hum\nvou somar"
    assert "".join(d.get("content") or "" for d in deltas) == 'olá \u2028 "x"'
    arguments: dict[int, str] = {}
    for d in deltas:
        for tool in d.get("tool_calls", []):
            arguments[tool["index"]] = arguments.get(tool["index"], "") + tool["function"]["arguments"]
    assert arguments == {0: '{"a":1}', 1: "{}"}
    assert [(c["index"], c["text"]) for d in deltas for c in d.get("citations", [])] == [(0, "olá"), (1, "o")]
    assert [note["url_citation"]["url"] for d in deltas for note in d.get("annotations", [])] == ["https://x.test"]
    logprobs = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    assert logprobs[0]["content"][0]["logprob"] == -0.5
    last = chunks[-1]["choices"][0]
    assert (last["finish_reason"], last["native_finish_reason"]) == ("tool_calls", "TOOL_CALL")
    assert tally.is_complete
    assert tally.upstream_id == "c1"
    assert tally.usage is not None
    assert (tally.usage.input_tokens, tally.usage.output_tokens) == (9, 5)


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=60))
def test_a_stream_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(set(cuts)), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(places)]
    whole, cut = read_stream([STREAM]), read_stream(pieces)
    assert _timeless(cut[0]) == _timeless(whole[0])
    assert cut[1] == whole[1]


def _timeless(out: bytes) -> list[Any]:
    return [{**json.loads(line[6:]), "created": 0} for line in out.decode().split("\n\n") if line]


@pytest.mark.parametrize(
    ("events", "code"),
    [
        (sse(START, {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "x"}}), "upstream_error"),
        (sse(START, {"type": "message-end", "delta": {"finish_reason": "TIMEOUT"}}), "provider_timeout"),
        (sse(START, {"type": "message-end", "delta": {"error": "sem motivo"}}), "upstream_error"),
        (sse(START) + b'data: {"id":"1","message":"failed"}\n\n', "upstream_error"),
        (sse(START) + b'event: error\ndata: {"x":1}\n\n', "upstream_error"),
        (sse(START) + b'data: {"type":"content-delta","delta":3}\n\n', "provider_malformed"),
        (sse(START) + b"data: {{\n\n", "provider_malformed"),
        (sse(delta("content-delta", content={"text": "x"})), "provider_malformed"),
        (sse(START, delta("tool-call-delta", tool_calls={"function": {"arguments": "x"}})), "provider_malformed"),
    ],
)  # fmt: skip
def test_a_stream_that_fails_raises(events: bytes, code: str) -> None:
    with pytest.raises(UpstreamError) as failed:
        read_stream([events])
    assert failed.value.code == code
