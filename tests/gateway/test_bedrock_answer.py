"""Converse's answers, whole and streamed, and its refusals, in OpenAI's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dialects import bedrock
from gateway.dialects.bedrock_answer import read_chat
from gateway.errors import UpstreamError
from gateway.sse import Event
from tests.gateway.test_bedrock_request import DEPLOYMENT, call_of

# ── Back ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
USAGE = {"inputTokens": 10, "outputTokens": 4, "totalTokens": 114, "cacheReadInputTokens": 60, "cacheWriteInputTokens": 40}
STOPS = [
    ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("model_context_window_exceeded", "length"),
    ("tool_use", "tool_calls"), ("guardrail_intervened", "content_filter"), ("content_filtered", "content_filter"),
    ("something_new", "stop"),
]  # fmt: skip


def answer_of(content: list[Any], stop: str = "end_turn", usage: Any = USAGE) -> bytes:
    body = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop, "metrics": {"latencyMs": 1}}
    return json.dumps({**body, "usage": usage} if usage is not None else body).encode()


def test_it_reads_a_whole_answer() -> None:
    answer = read_chat(answer_of([
        {"reasoningContent": {"reasoningText": {"text": "penso", "signature": "S"}}},
        {"reasoningContent": {"redactedContent": "cmVk"}},
        {"text": "olá "}, {"text": "você"},
        {"toolUse": {"toolUseId": "t1", "name": "soma", "input": {"a": "é"}}},
        {"toolUse": {"toolUseId": "t2", "name": "soma", "input": {}}},
        {"somethingNew": {}},
    ], "tool_use"))  # fmt: skip
    completion = json.loads(answer.with_usage(b"{}"))
    [choice] = completion["choices"]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("tool_calls", "tool_use")
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("olá você", "penso")
    assert message["thinking_blocks"] == [
        {"type": "thinking", "thinking": "penso", "signature": "S"}, {"type": "redacted_thinking", "data": "cmVk"},
    ]  # fmt: skip
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"a":"é"}', "{}"]
    assert completion["id"] == answer.tally.upstream_id
    usage = answer.tally.usage
    assert usage is not None
    assert (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens, usage.output_tokens) == (10, 60, 40, 4)
    assert json.loads(answer.tally.usage_raw or b"")["prompt_tokens"] == 110


@pytest.mark.parametrize(("stop", "expected"), STOPS)
def test_every_stop_reason_has_openais_word_and_keeps_its_own(stop: str, expected: str) -> None:
    [choice] = json.loads(read_chat(answer_of([{"text": "x"}], stop)).with_usage(b"{}"))["choices"]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (expected, stop)
    reader, tally = bedrock.open_stream(call_of(stream=True))
    chunks = frames(reader.read([ev("contentBlockDelta", delta={"text": "x"}), ev("messageStop", stopReason=stop)]))
    assert (chunks[-1]["choices"][0]["finish_reason"], chunks[-1]["choices"][0]["native_finish_reason"]) == (expected, stop)
    assert (tally.finish_reason, tally.is_complete) == (expected, False)
    reader.read([ev("metadata", usage=USAGE)])
    assert tally.is_complete


@pytest.mark.parametrize("stop", ["malformed_model_output", "malformed_tool_use"])
def test_malformed_output_is_an_error_of_the_upstream(stop: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_chat(answer_of([], stop))
    assert (caught.value.code, caught.value.retryable) == ("provider_malformed", True)
    reader, _ = bedrock.open_stream(call_of(stream=True))
    with pytest.raises(UpstreamError):
        reader.read([ev("messageStop", stopReason=stop)])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b'{"output":{"message":{"content":[]}}}',
        b'{"output":1,"stopReason":"end_turn"}',
        b"\xff",
        b'{"output":',
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        read_chat(body)


@pytest.mark.parametrize(
    ("usage", "is_suspect"),
    [
        (None, False),
        ({"inputTokens": "10"}, True),
        ({"inputTokens": -5, "outputTokens": 2, "totalTokens": 1}, True),
        ({"inputTokens": 5, "outputTokens": 2, "totalTokens": 7, "cacheReadInputTokens": -1}, True),
        ({"inputTokens": 5, "outputTokens": 2, "totalTokens": 7}, False),
    ],
)
def test_usage_that_can_not_be_true_is_suspect(usage: Any, is_suspect: bool) -> None:
    assert read_chat(answer_of([{"text": "x"}], usage=usage)).tally.is_suspect == is_suspect


def ev(name: str, **members: Any) -> Event:
    return name.encode(), json.dumps({"contentBlockIndex": 0, **members, "p": "abc"}).encode()


def frames(raw: bytes) -> list[Any]:
    return [json.loads(block[6:]) for block in raw.decode().split("\n\n") if block]


def test_it_streams_text_thinking_and_tools() -> None:
    reader, tally = bedrock.open_stream(call_of(stream=True, stream_options={"include_usage": True}))
    assert reader.read([ev("messageStart", role="assistant")]) == b""  # nothing is promised yet
    chunks = frames(reader.read([
        ev("contentBlockDelta", delta={"reasoningContent": {"text": "pen"}}),
        ev("contentBlockDelta", delta={"reasoningContent": {"text": "so"}}),
        ev("contentBlockDelta", delta={"reasoningContent": {"signature": "SIG"}}), ev("contentBlockStop"),
        ev("contentBlockDelta", contentBlockIndex=1, delta={"text": "olá\u2028"}), ev("contentBlockStop", contentBlockIndex=1),
        ev("contentBlockStart", contentBlockIndex=2, start={"toolUse": {"toolUseId": "t1", "name": "soma"}}),
        ev("contentBlockDelta", contentBlockIndex=2, delta={"toolUse": {"input": '{"a"'}}),
        ev("contentBlockDelta", contentBlockIndex=2, delta={"toolUse": {"input": ":1}"}}),
        ev("contentBlockStop", contentBlockIndex=2),
        ev("contentBlockStart", contentBlockIndex=3, start={"toolUse": {"toolUseId": "t2", "name": "hora"}}),
        ev("contentBlockStop", contentBlockIndex=3), ev("fromTheFuture", x=1), ev("messageStop", stopReason="tool_use"),
        ev("metadata", usage=USAGE, metrics={"latencyMs": 3}), ev("contentBlockDelta", delta={"text": "depois do fim"}),
    ]))  # fmt: skip
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "penso"
    assert [delta["thinking_blocks"] for delta in deltas if "thinking_blocks" in delta] == [
        [{"index": 0, "type": "thinking", "thinking": "penso", "signature": "SIG"}]
    ]
    assert "".join(delta.get("content", "") for delta in deltas) == "olá\u2028"
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [(call["index"], call.get("id"), call["function"]["arguments"]) for call in calls] == [
        (0, "t1", ""), (0, None, '{"a"'), (0, None, ":1}"), (1, "t2", ""), (1, None, "{}"),
    ]  # fmt: skip
    assert {chunk["id"] for chunk in chunks} == {tally.upstream_id}
    assert all(chunk["usage"] is None and chunk["model"] == "x/y" for chunk in chunks)
    assert tally.is_complete
    assert "depois" not in tally.text
    assert frames(reader.usage_frame(b'{"prompt_tokens":1}'))[0]["choices"] == []


def test_redacted_thinking_leaves_whole() -> None:
    reader, _ = bedrock.open_stream(call_of(stream=True))
    chunks = frames(
        reader.read([ev("contentBlockDelta", delta={"reasoningContent": {"redactedContent": "cmVk"}}), ev("contentBlockStop")])
    )
    assert chunks[1]["choices"][0]["delta"]["thinking_blocks"] == [{"index": 0, "type": "redacted_thinking", "data": "cmVk"}]


@pytest.mark.parametrize(
    "event",
    [
        (b"contentBlockDelta", b"{"), (b"contentBlockDelta", b"\xff"), (b"messageStop", b"[]"), (b"metadata", b'{"usage"'),
        ev("contentBlockDelta", delta={"toolUse": {"input": "x"}}), ev("contentBlockDelta", delta="x"),
    ],
)  # fmt: skip
def test_events_that_can_not_be_read_end_the_stream(event: Event) -> None:
    reader, _ = bedrock.open_stream(call_of(stream=True))
    with pytest.raises(UpstreamError) as caught:
        reader.read([event])
    assert caught.value.code == "provider_malformed"


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("kind", "status", "message", "expected", "code", "retryable"),
    [
        ("ValidationException", 400, "The text field is blank", 400, "invalid_value", False),
        ("ValidationException", 400, "Input is too long for requested model.", 400, "context_length_exceeded", False),
        ("ValidationException", 400, "The provided model identifier is invalid.", 502, "upstream_error", True),
        (
            "ValidationException",
            400,
            "Invocation of model ID x with on-demand throughput isn’t supported.",
            502,
            "upstream_error",
            True,
        ),
        ("ServiceQuotaExceededException", 400, "Your request exceeds the service quota", 502, "provider_unavailable", True),
        ("AccessDeniedException", 403, "You don't have access to the model", 502, "provider_unavailable", True),
        (
            "UnrecognizedClientException",
            403,
            "The security token included in the request is invalid.",
            502,
            "provider_unavailable",
            True,
        ),
        ("ResourceNotFoundException", 404, "not found", 502, "upstream_error", True),
        ("ModelTimeoutException", 408, "took too long", 504, "provider_timeout", True),
        ("ModelErrorException", 424, "model failed", 502, "upstream_error", True),
        ("ThrottlingException", 429, "Too many tokens", 429, "rate_limit_exceeded", True),
        ("ModelNotReadyException", 429, "not ready", 429, "rate_limit_exceeded", True),
        ("InternalServerException", 500, "oops", 502, "upstream_error", True),
        ("ServiceUnavailableException", 503, "busy", 503, "provider_overloaded", True),
    ],
)
def test_every_exception_is_the_right_refusal(
    kind: str, status: int, message: str, expected: int, code: str, retryable: bool
) -> None:
    body = json.dumps({"__type": f"com.amazon#{kind}:http://internal.amazon.com/", "message": message}).encode()
    error = bedrock.read_error(status, None, body, DEPLOYMENT)
    assert (error.status, error.code, error.retryable) == (expected, code, retryable)
    name = kind[0].lower() + kind[1:]
    if name.lower() in bedrock.STATUSES:
        reader, _ = bedrock.open_stream(call_of(stream=True))
        with pytest.raises(UpstreamError) as caught:
            reader.read([(b"!" + name.encode(), json.dumps({"message": message}).encode())])
        assert (caught.value.status, caught.value.code) == (expected, code)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"message":3}', b"{" * 5_000])
def test_refusals_that_say_nothing_are_still_refusals(body: bytes) -> None:
    assert bedrock.read_error(400, None, body, DEPLOYMENT).status == 400
    assert bedrock.read_stream_error(b"unheardOf", body).status == 502


def test_no_secret_is_told() -> None:
    said = bedrock.read_error(400, None, json.dumps({"message": "bad AKIATEST:verysecret at https://h/"}).encode(), DEPLOYMENT)
    assert "verysecret" not in said.english
