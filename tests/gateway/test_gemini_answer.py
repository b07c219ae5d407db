"""Gemini's answers to OpenAI's words, whole and streamed: every end, every error, and what is no answer at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import ChatCall, ServedDeployment
from gateway.dialects import gemini
from gateway.dialects.base import Tally, openai_usage
from gateway.dialects.gemini_answer import FAILED, FINISH
from gateway.errors import UpstreamError
from gateway.parsing import parse_chat
from gateway.sse import SseParser

USAGE = {
    "promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 20, "thoughtsTokenCount": 7,
    "toolUsePromptTokenCount": 5, "totalTokenCount": 132,
}  # fmt: skip
SIGNATURE = "+/+/abc="
CALL = {"functionCall": {"name": "soma", "args": {"a": 1, "b": [12345678901234567890, 1.50]}}}


def call_of(**fields: Any) -> ChatCall:
    messages = [{"role": "user", "content": "oi"}]
    return parse_chat(json.dumps({"model": "x/y", "messages": messages, **fields}).encode())


def deployment(model: str = "gemini-2.5-flash") -> ServedDeployment:
    return ServedDeployment(
        id=1, provider_slug="google", provider_name="Google", dialect="gemini", base_url="https://g.test/v1beta",
        upstream_model=model, priority=1, weight=1, secret="AIzaSecret", is_strict=True, is_simulated=False,
    )  # fmt: skip


def answer_of(*parts: dict[str, Any], finish: str | None = "STOP", index: int = 0, **members: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": index, **members}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-x", "responseId": "resp-1"}


def read(body: Any) -> tuple[dict[str, Any], Tally]:
    answer = gemini.read_chat(json.dumps(body).encode())
    usage = answer.tally.usage
    return json.loads(answer.with_usage(openai_usage(usage) if usage else b"null")), answer.tally


def stream(*events: Any, call: ChatCall | None = None) -> tuple[list[dict[str, Any]], Tally]:
    reader, tally = gemini.open_stream(call or call_of(stream=True))
    out = reader.read([(b"", json.dumps(event).encode()) for event in events])
    return [json.loads(frame[6:]) for frame in out.decode().split("\n\n") if frame], tally


# ── Whole ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_reads_text_thoughts_calls_pictures_and_signatures() -> None:
    told, tally = read(
        answer_of(
            {"text": "hum ", "thought": True}, {"text": "a"}, {"text": "b", "thoughtSignature": SIGNATURE},
            {**CALL, "thoughtSignature": SIGNATURE}, {"functionCall": {"name": "nada", "id": "g-1"}},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"executableCode": {"language": "PYTHON", "code": "1"}}, {"somethingNew": {"x": 1}},
        )
    )  # fmt: skip
    assert (told["id"], told["model"], told["object"]) == ("resp-1", "gemini-x", "chat.completion")
    choice = told["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("tool_calls", "STOP")
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("ab", "hum ")
    assert message["extra_content"] == {"google": {"thought_signature": SIGNATURE}}
    first, second = message["tool_calls"]
    assert first["function"] == {"name": "soma", "arguments": '{"a":1,"b":[12345678901234567890,1.5]}'}
    assert first["extra_content"] == {"google": {"thought_signature": SIGNATURE}}
    assert first["id"].startswith("call_") and "__thought__" in first["id"] and first["id"].endswith("-_-_abc")
    assert (second["id"], second["function"]["arguments"]) == ("g-1", "{}")
    assert message["images"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    assert tally.upstream_id == "resp-1" and tally.is_complete


def test_usage_falls_into_disjoint_buckets() -> None:
    told, tally = read(answer_of({"text": "a"}))
    usage = tally.usage
    assert usage is not None
    assert (usage.input_tokens, usage.cached_input_tokens) == (65, 40)  # 100 + 5 − 40
    assert (usage.output_tokens, usage.reasoning_tokens) == (20, 7)
    assert told["usage"]["prompt_tokens"] == 105
    assert told["usage"]["completion_tokens"] == 27
    assert told["usage"]["total_tokens"] == 132
    assert told["usage"]["prompt_tokens_details"]["cached_tokens"] == 40
    assert told["usage"]["completion_tokens_details"]["reasoning_tokens"] == 7
    media = {
        **USAGE,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 50}, {"modality": "AUDIO", "tokenCount": 30},
                                {"modality": "IMAGE", "tokenCount": 15}, {"modality": "VIDEO", "tokenCount": 5}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}, {"modality": "TEXT", "tokenCount": 30}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 12}, {"modality": "TEXT", "tokenCount": 8}],
    }  # fmt: skip
    _, tally = read({**answer_of({"text": "a"}), "usageMetadata": media})
    usage = tally.usage
    assert usage is not None and not tally.is_suspect
    assert (usage.audio_input_tokens, usage.image_input_tokens, usage.cached_input_tokens, usage.input_tokens) == (20, 15, 40, 30)
    assert (usage.image_output_tokens, usage.output_tokens, usage.reasoning_tokens) == (12, 8, 7)
    assert (usage.prompt_tokens, usage.completion_tokens) == (105, 27)


@pytest.mark.parametrize(
    "usage",
    [
        {"promptTokenCount": -5, "candidatesTokenCount": 3}, {"promptTokenCount": 5, "candidatesTokenCount": -3},
        {"promptTokenCount": 5, "cachedContentTokenCount": 9, "candidatesTokenCount": 1}, {"promptTokenCount": "5"}, [], "x",
        {"promptTokenCount": 5, "toolUsePromptTokenCount": -9, "candidatesTokenCount": 1},
        {"promptTokenCount": 5, "thoughtsTokenCount": -2, "candidatesTokenCount": 1},
        {"promptTokenCount": 5, "candidatesTokenCount": 1, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 10**9}]},
    ],
)  # fmt: skip
def test_usage_that_can_not_be_true_is_suspect(usage: Any) -> None:
    _, tally = read({**answer_of({"text": "a"}), "usageMetadata": usage})
    assert tally.is_suspect
    if tally.usage is not None:
        assert tally.usage.prompt_tokens >= 0 and tally.usage.completion_tokens >= 0 and tally.usage.prompt_tokens < 100


@pytest.mark.parametrize(("native", "finish"), [*FINISH.items(), ("SOME_REASON_OF_TOMORROW", "stop")])
def test_every_finish_reason_whole_and_streamed(native: str, finish: str) -> None:
    told, tally = read(answer_of({"text": "a"}, finish=native))
    assert (told["choices"][0]["finish_reason"], tally.finish_reason) == (finish, finish)
    assert told["choices"][0]["native_finish_reason"] == native
    with_call, _ = read(answer_of(CALL, finish=native))
    assert with_call["choices"][0]["finish_reason"] == ("tool_calls" if finish == "stop" else finish)
    chunks, tally = stream(answer_of({"text": "a"}, finish=None), answer_of(finish=native))
    assert (chunks[-1]["choices"][0]["finish_reason"], chunks[-1]["choices"][0]["native_finish_reason"]) == (finish, native)
    assert tally.finish_reason == finish and not tally.is_complete  # the body's end is the end


@pytest.mark.parametrize("native", sorted(FAILED))
def test_a_model_that_tripped_gives_an_error_that_may_be_tried_again(native: str) -> None:
    for failing in (
        lambda: read(answer_of(finish=native)),
        lambda: stream(answer_of({"text": "a"}, finish=None), answer_of(finish=native)),
    ):
        with pytest.raises(UpstreamError) as failed:
            failing()
        assert (failed.value.status, failed.value.code, failed.value.retryable) == (502, native.lower(), True)


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "JAILBREAK"])
def test_a_prompt_that_was_blocked_is_filtered_content(reason: str) -> None:
    blocked = {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 9}, "modelVersion": "m"}
    told, tally = read(blocked)
    [choice] = told["choices"]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("content_filter", reason)
    assert choice["message"]["content"] is None
    assert tally.usage is not None and (tally.usage.input_tokens, tally.usage.output_tokens) == (9, 0)
    chunks, tally = stream(blocked)
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "content_filter"]
    assert tally.finish_reason == "content_filter"
    assert told["id"].startswith("gen-")


def test_log_probabilities_and_citations() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://x.test", "title": "X"}}],
        "groundingSupports": [{"segment": {"startIndex": 3, "endIndex": 7}, "groundingChunkIndices": [0]}],
    }
    chosen = [{"token": "é", "logProbability": -0.5}, {"token": "b", "logProbability": -1}]
    result = {"chosenCandidates": chosen, "topCandidates": [{"candidates": [chosen[0], chosen[1]]}]}
    told, _ = read(answer_of({"text": "é você"}, logprobsResult=result, groundingMetadata=grounding))
    choice = told["choices"][0]
    first, second = choice["logprobs"]["content"]
    assert (first["token"], first["logprob"], first["bytes"]) == ("é", -0.5, [195, 169])
    assert [top["token"] for top in first["top_logprobs"]] == ["é", "b"]
    assert second["top_logprobs"] == []
    [annotation] = choice["message"]["annotations"]  # bytes 3 to 7 are characters 2 to 5
    assert annotation["url_citation"] == {"start_index": 2, "end_index": 5, "title": "X", "url": "https://x.test"}
    odds: list[Any] = [
        {"groundingSupports": [{}]},
        {"groundingSupports": 5},
        {"groundingChunks": 1, "groundingSupports": [grounding]},
    ]
    for odd in odds:
        assert "annotations" not in read(answer_of({"text": "a"}, groundingMetadata=odd))[0]["choices"][0]["message"]


HOSTILE: list[bytes] = [
    b"", b"null", b"[]", b"{}", b'{"candidates":[]}', b'{"candidates":[{}]}', b'{"candidates":"x"}', b"<html>", b"\xff\xfe",
    b'{"candidates":[{"content":{"parts":"x"},"finishReason":"STOP"}]}',
    b'{"candidates":[{"content":{"parts":[5]},"finishReason":"STOP"}]}',
    b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":[1]}}]},"finishReason":"STOP"}]}',
    b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":5}}]},"finishReason":"STOP"}]}',
    b'{"candidates":[{"content":{"parts":[{"text":{"a":1}}]},"finishReason":"STOP"}]}', b'{"candidates":[{"finishReason":5}]}',
    b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}',  # it did not end
    b"[" * 100_000, b'{"candidates":' * 5_000, b'{"candidates":[{"index":1e400,"finishReason":"STOP"}]}',
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=[body[:40].decode("latin-1") for body in HOSTILE])
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as failed:
        gemini.read_chat(body)
    assert (failed.value.status, failed.value.code, failed.value.retryable) == (502, "provider_malformed", True)


# ── Streamed ─────────────────────────────────────────────────────────────────────────────────────────────────────────
EVENTS = [
    answer_of({"text": "hum", "thought": True}, finish=None),
    {"usageMetadata": {"promptTokenCount": 100}},
    answer_of({"text": "olá \u2028 "}, finish=None),
    answer_of({"text": '"x" 😀'}, finish=None),
    answer_of({**CALL, "thoughtSignature": SIGNATURE}, {"functionCall": {"name": "dois", "args": {}}}, finish=None),
    answer_of({"functionCall": {"name": "três", "args": {}}}, finish=None),
    answer_of({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, finish=None),
    answer_of({"text": "", "thoughtSignature": "AAAA"}, {"text": "", "thoughtSignature": "BBBB"}),
    {"usageMetadata": {**USAGE, "candidatesTokenCount": 33}, "responseId": "resp-1"},
]


def test_it_streams_everything_in_its_place() -> None:
    chunks, tally = stream(*EVENTS, call=call_of(stream=True, stream_options={"include_usage": True}))
    assert {chunk["id"] for chunk in chunks} == {"resp-1"}
    assert all(chunk["usage"] is None and len(chunk["choices"]) == 1 for chunk in chunks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "reasoning_content": "hum"}
    assert "".join(delta.get("content", "") for delta in deltas) == 'olá \u2028 "x" 😀'
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "soma"), (1, "dois"), (2, "três")]
    assert "extra_content" in calls[0] and "extra_content" not in calls[1]
    assert [picture["index"] for delta in deltas for picture in delta.get("images", [])] == [0]
    assert [delta["extra_content"]["google"]["thought_signature"] for delta in deltas if "extra_content" in delta] == ["BBBB"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "tool_calls"]
    assert tally.usage is not None
    assert (tally.usage.input_tokens, tally.usage.cached_input_tokens, tally.usage.output_tokens) == (65, 40, 33)


def test_a_picture_of_megabytes_comes_in_one_line() -> None:
    event = answer_of({"inlineData": {"mimeType": "image/png", "data": "A" * 3_000_000}})
    reader, tally = gemini.open_stream(call_of(stream=True))
    out = reader.read(gemini.open_parser().feed(b"data: " + json.dumps(event).encode() + b"\r\n\r\n"))
    assert len(out) > 3_000_000 and tally.finish_reason == "stop"


def test_every_choice_has_to_end() -> None:
    call = call_of(stream=True, n=2)
    events = [answer_of({"text": "a"}, index=1, finish=None), answer_of({"text": "b"}, index=0), answer_of({"text": "c"}, index=7)]
    chunks, tally = stream(*events, call=call)
    assert tally.finish_reason == ""  # the second is missing: an end of the body here is a cut
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [1, 0, 0]
    chunks, tally = stream(*events, answer_of(index=1, finish="MAX_TOKENS"), answer_of({"text": "late"}, index=0), call=call)
    assert tally.finish_reason == "length"
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


@given(st.lists(st.integers(1, 400), max_size=60), st.sampled_from([b"\r\n", b"\n", b"\r"]))
def test_any_cut_of_the_bytes_reads_the_same(cuts: list[int], end: bytes) -> None:
    body = b"".join(b"data: " + json.dumps(event, ensure_ascii=False).encode() + end + end for event in EVENTS)
    reader, tally = gemini.open_stream(call_of(stream=True))
    parser, out, place = SseParser(), b"", 0
    for cut in [*cuts, len(body)]:
        out += reader.read(parser.feed(body[place : place + cut]))
        place += cut
    out += reader.read(parser.close())
    deltas = [json.loads(frame[6:])["choices"][0]["delta"] for frame in out.decode().split("\n\n") if frame]
    assert "".join(delta.get("content", "") for delta in deltas) == 'olá \u2028 "x" 😀'
    assert sum(len(delta.get("tool_calls", [])) for delta in deltas) == 3
    assert (tally.finish_reason, tally.usage is not None) == ("tool_calls", True)


@pytest.mark.parametrize("data", [*(body for body in HOSTILE if body[:1] == b"{" and len(body) < 200), b"nonsense"])
def test_a_stream_of_rubbish_never_looks_whole(data: bytes) -> None:
    reader, tally = gemini.open_stream(call_of(stream=True))
    try:
        reader.read([(b"", data)])
    except UpstreamError as error:
        assert error.code == "provider_malformed"
    assert not tally.finish_reason and not tally.is_complete


def test_an_error_in_the_middle_is_an_error() -> None:
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    with pytest.raises(UpstreamError) as failed:
        stream(answer_of({"text": "a"}, finish=None), error)
    assert (failed.value.status, failed.value.code, failed.value.retryable) == (503, "provider_overloaded", True)


# ── Errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def google_error(code: int, message: str, status: str = "INVALID_ARGUMENT", *details: Any) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "status": status, "details": list(details)}}).encode()


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
OURS, BROKEN, THEIRS = (
    (502, "provider_unavailable", True, None),
    (502, "upstream_error", True, None),
    (400, "invalid_value", False, None),
)
LIMITED = (429, "rate_limit_exceeded", True)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, google_error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", BAD_KEY), OURS),
        (400, google_error(400, "API key expired. Please renew the API key."), OURS),
        (400, google_error(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"), OURS),
        (403, google_error(403, "Your project has been denied access.", "PERMISSION_DENIED"), OURS),
        (429, google_error(429, "You exceeded your current quota.", "RESOURCE_EXHAUSTED", RETRY), (*LIMITED, 7.5)),
        (429, google_error(429, "Resource exhausted.", "RESOURCE_EXHAUSTED", {"retryDelay": 5}, "x"), (*LIMITED, 1.0)),
        (400, google_error(400, "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."),
         (400, "context_length_exceeded", False, None)),
        (400, google_error(400, "Unsupported MIME type: image/gif"), THEIRS),
        (404, google_error(404, "models/x is not found", "NOT_FOUND"), BROKEN),
        (500, google_error(500, "An internal error has occurred.", "INTERNAL"), BROKEN),
        (503, google_error(503, "The model is overloaded.", "UNAVAILABLE"), (503, "provider_overloaded", True, 2.0)),
        (504, google_error(504, "Deadline expired.", "DEADLINE_EXCEEDED"), (504, "provider_timeout", True, None)),
        (400, b"[" + google_error(400, "list of one") + b"]", THEIRS),
        (502, b"<html>", BROKEN), (400, b"", THEIRS),
        (400, b'{"error":{"message":5,"details":{"a":1}}}', THEIRS), (400, b"[" * 9_999, THEIRS),
    ],
)  # fmt: skip
def test_its_errors_become_ours(status: int, body: bytes, expected: tuple[int, str, bool, float | None]) -> None:
    error = gemini.read_error(status, None, body, deployment())
    assert (error.status, error.code, error.retryable, error.retry_after_seconds) == expected
    assert "AIza" not in error.message


def test_an_error_never_shows_our_key() -> None:
    error = gemini.read_error(400, None, google_error(400, "Invalid value AIzaSecret in https://internal.google/x"), deployment())
    assert "AIzaSecret" not in error.message and "internal.google" not in error.message


"""EMB"""
