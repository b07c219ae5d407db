"""The habits of the hosts that speak OpenAI's words: what goes up to each, and what comes back in OpenAI's own."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.calls import ChatCall, ServedDeployment
from gateway.dialects import azure, openai
from gateway.dialects.base import UpstreamRequest
from gateway.dialects.openai_hosts import COMMON, HABITS, habits_of
from gateway.errors import BadRequest, UpstreamError
from gateway.parsing import parse_chat, parse_embeddings
from tests.examples import examples
from tests.gateway.test_parsing import DEPLOYMENT, ROUTE


def call_of(messages: list[Any] | None = None, **fields: Any) -> ChatCall:
    return parse_chat(json.dumps({"model": "x/y", "messages": messages or [{"role": "user", "content": "oi"}], **fields}).encode())


def deployment(slug: str, **fields: Any) -> ServedDeployment:
    return replace(DEPLOYMENT, provider_slug=slug, is_strict=slug in ("openai", "mistral"), **fields)


def request(slug: str, messages: list[Any] | None = None, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    sent: UpstreamRequest = openai.chat_request(call_of(messages, **fields), ROUTE, deployment(slug), 42)
    return json.loads(sent.body), sent.dropped


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_provider_that_an_administrator_adds_has_its_hosts_habits() -> None:
    assert habits_of("vllm-sp-1") is HABITS["vllm"]
    assert habits_of("ollama") is HABITS["ollama"]
    assert habits_of("deepseek-beta") is HABITS["deepseek-beta"]
    assert habits_of("deepseek-cn") is HABITS["deepseek"]
    assert habits_of("minha-gpu") is habits_of("vllmx") is COMMON


@pytest.mark.parametrize("slug", [*HABITS, "minha-gpu"])
def test_a_plain_call_goes_up_as_it_came(slug: str) -> None:
    body, dropped = request(slug, temperature=0.5, top_p=0.9, stop=None)
    assert body.pop("max_tokens") == 42
    expected = {
        "model": "up-stream",
        "messages": [{"role": "user", "content": "oi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": None,
    }
    if "stop" in HABITS.get(slug, COMMON).lacks:
        del expected["stop"]
    assert (body, dropped) == (expected, ())


@pytest.mark.parametrize("slug", [*HABITS, "minha-gpu"])
def test_usage_of_a_stream_is_asked_for_where_it_does_not_come_by_itself(slug: str) -> None:
    body, _ = request(slug, stream=True)
    asked = slug not in ("mistral", "perplexity")
    assert body.get("stream_options") == ({"include_usage": True} if asked else None)


@pytest.mark.parametrize("slug", [*HABITS, "minha-gpu"])
def test_developers_are_heard_by_hosts_that_know_only_systems(slug: str) -> None:
    messages = [{"role": "developer", "content": "a"}, {"role": "user", "content": "developer"}]
    body, _ = request(slug, messages)
    assert body["messages"][0]["role"] == ("developer" if slug in ("openai", "azure") else "system")
    assert body["messages"][1] == messages[1]


@pytest.mark.parametrize("slug", HABITS)
def test_names_stay_where_they_are_taken(slug: str) -> None:
    body, _ = request(slug, [{"role": "user", "name": "ana", "content": "oi"}])
    assert ("name" in body["messages"][0]) == (slug not in ("groq", "mistral", "perplexity"))


@pytest.mark.parametrize(
    ("slug", "member", "extra"),
    [
        ("mistral", {"prefix": True}, {}),
        ("deepseek-beta", {"prefix": True}, {}),
        ("vllm", {}, {"continue_final_message": True, "add_generation_prompt": False}),
        ("deepseek", {}, {}),
        ("openai", {}, {}),
    ],
)
def test_a_prefill_is_said_in_the_hosts_words(slug: str, member: dict[str, Any], extra: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "conte"}, {"role": "assistant", "content": "Era uma vez"}]
    body, _ = request(slug, messages)
    assert body["messages"] == [messages[0], messages[1] | member]
    assert {name: value for name, value in body.items() if name not in ("model", "messages", "max_tokens")} == extra


@pytest.mark.parametrize(("slug", "name"), [(slug, name) for slug, row in HABITS.items() for name in sorted(row.lacks)])
def test_what_a_host_lacks_is_refused_by_name_or_left_out(slug: str, name: str) -> None:
    values: dict[str, Any] = {
        "n": 2, "logprobs": True, "top_logprobs": 3, "logit_bias": {"1": 1}, "functions": [{"name": "f"}],
        "function_call": {"name": "f"},
        "modalities": ["text", "audio"], "audio": {"voice": "x"}, "web_search_options": {}, "stop": ["x"],
        "tools": [{"type": "function", "function": {"name": "f"}}], "thinking": {"type": "enabled", "budget_tokens": 2_000},
        "extra_body": {"x": 1}, "chat_template_kwargs": {"x": 1}, "min_p": 0.1, "repetition_penalty": 1.1, "documents": ["x"],
    }  # fmt: skip
    with pytest.raises(BadRequest) as caught:
        request(slug, **{name: values[name]})
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
    body, dropped = request(slug, drop_params=True, **{name: values[name]})
    assert (name in body, dropped) == (False, (name,))


@pytest.mark.parametrize("slug", HABITS)
def test_values_that_ask_for_nothing_are_never_refused(slug: str) -> None:
    neutral: dict[str, Any] = {
        "n": 1, "logprobs": False, "logit_bias": {}, "modalities": ["text"], "tools": [], "top_logprobs": None,
        "web_search_options": None,
    }  # fmt: skip
    assert request(slug, **neutral)[1] == ()


def test_hints_that_a_host_refuses_are_left_out_and_named() -> None:
    body, dropped = request("mistral", user="u", store=True, metadata={"a": "b"}, seed=3, service_tier="flex", verbosity=None)
    assert dropped == ("user", "store", "service_tier")
    assert (body["metadata"], body["random_seed"]) == ({"a": "b"}, 3)
    assert not {"user", "store", "seed", "service_tier", "verbosity"} & set(body)
    assert request("perplexity", seed=3)[1] == ("seed",)
    assert request("vllm", user="u", seed=3)[0]["user"] == "u"


# ── Azure ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://r.openai.azure.com/openai/v1", "https://r.openai.azure.com/openai/v1/chat/completions"),
        ("https://r.openai.azure.com/openai/v1?api-version=preview",
         "https://r.openai.azure.com/openai/v1/chat/completions?api-version=preview"),
        ("https://r.openai.azure.com", "https://r.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"),
        ("https://r.openai.azure.com/openai?api-version=2025-04-01-preview",
         "https://r.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2025-04-01-preview"),
    ],
)  # fmt: skip
def test_azure_is_asked_at_its_addresses_with_its_key(base_url: str, expected: str) -> None:
    served = deployment("azure-eua", base_url=base_url, upstream_model="my gpt", secret="k")
    sent = azure.chat_request(
        call_of([{"role": "developer", "content": "x"}], stream=True), replace(ROUTE, is_reasoning=True), served, 42
    )
    assert sent.url == expected
    assert ("api-key", "k") in sent.headers
    assert "authorization" not in dict(sent.headers)
    body = json.loads(sent.body)
    assert (body["model"], body["max_completion_tokens"], body["messages"][0]["role"]) == ("my gpt", 42, "developer")
    call = parse_embeddings(b'{"model":"x/y","input":"oi","encoding_format":"base64","dimensions":9}')
    [embedding] = azure.embeddings_requests(call, served)
    assert embedding.url == expected.replace("chat/completions", "embeddings")
    assert json.loads(embedding.body) == {"model": "my gpt", "input": "oi", "dimensions": 9}


def test_azures_refusals_are_read() -> None:
    said = {
        "error": {"message": "The response was filtered", "type": None, "param": "prompt", "code": "content_filter", "status": 400}
    }
    error = azure.read_error(400, None, json.dumps(said).encode(), deployment("azure"))
    assert (error.status, error.code, error.param, error.retryable) == (400, "content_filter", "prompt", False)
    error = azure.read_error(401, None, b'{"statusCode":401,"message":"Unauthorized"}', deployment("azure"))
    assert error.code == "provider_unavailable"
    error = azure.read_error(404, None, b'{"error":{"code":"DeploymentNotFound","message":"no"}}', deployment("azure"))
    assert (error.status, error.retryable) == (502, True)


# ── Back ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def chunk(delta: Any = None, *, finish: str | None = None, **members: Any) -> bytes:
    choice = {"index": 0, "delta": delta if delta is not None else {}, "finish_reason": finish}
    return json.dumps({"id": "c1", "object": "chat.completion.chunk", "choices": [choice], **members}).encode()


def stream(*chunks: bytes) -> tuple[list[Any], Any]:
    reader, tally = openai.open_stream(call_of(stream=True))
    raw = reader.read([(b"", one) for one in chunks])
    return [json.loads(block[6:]) for block in raw.split(b"\n\n") if block], tally


def whole(message: dict[str, Any], *, finish: str = "stop", **members: Any) -> tuple[Any, Any]:
    body = {"id": "c1", "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}], **members}
    answer = openai.read_chat(json.dumps(body).encode())
    return json.loads(answer.with_usage(b"{}"))["choices"][0], answer.tally


def test_what_is_as_openai_writes_it_passes_byte_for_byte() -> None:
    reader, _ = openai.open_stream(call_of(stream=True))
    for raw in (
        b'{ "id":"x", "choices":[ {"delta":{"content":"\\u00e9","reasoning_content":"r"},"finish_reason":null} ],"z":1.0 }',
        b'{"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}}]}',
        b'{"id":"x","choices":[{"index":0,"delta":{"reasoning":null},"finish_reason":"tool_calls"}]}',
    ):
        assert reader.read([(b"", raw)]) == b"data: " + raw + b"\n\n"


def test_reasoning_is_told_under_one_name() -> None:
    events, tally = stream(chunk({"reasoning": "pen"}), chunk({"reasoning": "so"}), chunk({"content": "oi"}, finish="stop"))
    assert [event["choices"][0]["delta"] for event in events] == [
        {"reasoning_content": "pen"}, {"reasoning_content": "so"}, {"content": "oi"},
    ]  # fmt: skip
    assert tally.text == "pensooi"
    choice, tally = whole({"content": "oi", "reasoning": "penso"})
    assert choice["message"] == {"role": "assistant", "content": "oi", "reasoning_content": "penso"}
    choice, _ = whole({"content": "oi", "reasoning": "penso", "reasoning_content": "penso"})
    assert choice["message"]["reasoning"] == choice["message"]["reasoning_content"] == "penso"


def test_contents_as_lists_are_text_and_thinking() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "penso"}], "closed": True}
    choice, tally = whole({"content": [thought, {"type": "text", "text": "oi"}, {"type": "reference", "reference_ids": [1]}]})
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ("oi", "penso")
    assert tally.text == "oipenso"
    choice, _ = whole(
        {"content": [thought], "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    )
    assert choice["message"]["content"] is None
    events, tally = stream(
        chunk({"content": [thought]}), chunk({"content": "oi"}), chunk({"content": [{"type": "thinking", "thinking": "x"}]})
    )
    assert [event["choices"][0]["delta"] for event in events] == [
        {"content": "", "reasoning_content": "penso"}, {"content": "oi"}, {"content": "", "reasoning_content": "x"},
    ]  # fmt: skip
    assert tally.text == "pensooix"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("eos", "stop"), ("EOS", "stop"), ("end_turn", "stop"), ("model_length", "length"), ("max_tokens", "length"),
        ("content_filtered", "content_filter"), ("tool_use", "tool_calls"), ("unheard_of", "stop"),
    ],
)  # fmt: skip
def test_ends_of_their_own_become_openais_and_are_kept(theirs: str, ours: str) -> None:
    choice, tally = whole({"content": "oi"}, finish=theirs)
    assert (choice["finish_reason"], choice["native_finish_reason"], tally.finish_reason) == (ours, theirs, ours)
    [event], tally = stream(chunk({"content": "oi"}, finish=theirs))
    assert (event["choices"][0]["finish_reason"], event["choices"][0]["native_finish_reason"]) == (ours, theirs)
    assert tally.finish_reason == ours


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call"])
def test_openais_own_ends_pass(reason: str) -> None:
    choice, tally = whole({"content": "oi"}, finish=reason)
    assert (choice["finish_reason"], tally.finish_reason, "native_finish_reason" in choice) == (reason, reason, False)


@pytest.mark.parametrize("reason", ["insufficient_system_resource", "error", "abort"])
def test_breakdowns_are_no_ends(reason: str) -> None:
    for read in (lambda: whole({"content": "x"}, finish=reason), lambda: stream(chunk({"content": "x"}), chunk(finish=reason))):
        with pytest.raises(UpstreamError) as caught:
            read()
        assert (caught.value.code, caught.value.retryable) == ("upstream_cut", True)


def test_tool_calls_have_their_index_and_may_come_whole() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    [event], tally = stream(chunk({"tool_calls": [call, {**call, "id": "b"}]}))
    assert [one["index"] for one in event["choices"][0]["delta"]["tool_calls"]] == [0, 1]
    assert tally.text == 'f{"x":1}f{"x":1}'
    choice, _ = whole({"content": None, "tool_calls": [call]}, finish="tool_calls")
    assert choice["message"]["tool_calls"] == [call]


def test_azures_first_and_late_chunks_break_no_client() -> None:
    first = b'{"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}'
    late = b'{"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"finish_reason":null,"content_filter_offsets":{}}]}'
    events, tally = stream(first, chunk({"content": "oi"}), late)
    assert [event["choices"][0]["delta"] for event in events] == [{"content": "oi"}, {}]
    assert tally.upstream_id == "c1"


def test_perplexitys_sources_are_kept_and_become_annotations() -> None:
    sources: dict[str, Any] = {
        "citations": ["https://a.test/", "https://b.test/"],
        "search_results": [{"title": "A", "url": "https://a.test/"}, {"title": "B", "url": "https://b.test/"}],
    }
    choice, _ = whole({"content": "um[1] dois[2][9]"}, **sources)
    assert choice["message"]["annotations"] == [
        {"type": "url_citation", "url_citation": {"url": "https://a.test/", "title": "A", "start_index": 2, "end_index": 5}},
        {"type": "url_citation", "url_citation": {"url": "https://b.test/", "title": "B", "start_index": 10, "end_index": 13}},
    ]
    choice, _ = whole({"content": "[2]"}, citations=sources["citations"])
    assert choice["message"]["annotations"][0]["url_citation"]["url"] == "https://b.test/"
    assert "annotations" not in whole({"content": "[1]"}, citations=[])[0]["message"]
    assert "annotations" not in whole({"content": "[1]"}, citations=[None], search_results="x")[0]["message"]
    repeated = json.loads(chunk({"content": "m[1]"}, **sources))
    repeated["choices"][0]["message"] = {"role": "assistant", "content": "um[1]"}
    [event], tally = stream(json.dumps(repeated).encode())
    assert "message" not in event["choices"][0]
    assert event["citations"] == sources["citations"]
    assert tally.text == "m[1]"


@pytest.mark.parametrize(
    ("usage", "buckets"),
    [
        # xAI: the reasoning stands beside the completion
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40, "completion_tokens_details": {"reasoning_tokens": 25}},
         (10, 0, 5, 25)),
        # OpenAI: within it
        ({"prompt_tokens": 10, "completion_tokens": 30, "total_tokens": 40, "completion_tokens_details": {"reasoning_tokens": 25}},
         (10, 0, 5, 25)),
        # Perplexity
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "reasoning_tokens": 7}, (10, 0, 5, 7)),
        # DeepSeek
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_cache_hit_tokens": 4,
          "prompt_cache_miss_tokens": 6},
         (6, 4, 5, 0)),
    ],
)  # fmt: skip
def test_usage_is_read_as_each_host_means_it(usage: dict[str, Any], buckets: tuple[int, int, int, int]) -> None:
    _, tally = whole({"content": "x"}, usage=usage)
    read = tally.usage
    assert (read.input_tokens, read.cached_input_tokens, read.output_tokens, read.reasoning_tokens) == buckets
    told = msgspec.json.decode(tally.usage_raw)
    assert told["completion_tokens"] == read.output_tokens + read.reasoning_tokens
    assert told["total_tokens"] == told["prompt_tokens"] + told["completion_tokens"]
    assert not tally.is_suspect


def test_usage_in_the_choice_counts() -> None:
    moonshot = json.loads(chunk({}, finish="stop"))
    moonshot["choices"][0]["usage"] = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    _, tally = stream(json.dumps(moonshot).encode())
    assert (tally.usage.input_tokens, tally.usage.output_tokens) == (3, 2)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"code":"Client specified an invalid argument","error":"Model not found"}', 400, "Model not found"),  # xAI
        (
            b'{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}',
            400,
            "too long",
        ),  # vLLM, older
        (b'{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}', 400, "too long"),  # vLLM
        (b'{"error":{"message":"bad","type":"api_error","param":null,"code":null}}', 400, "bad"),  # Ollama
        (b'{"error":{"message":"bad","type":"bad_request","code":400}}', 400, "bad"),  # Perplexity
        (b'{"error":{"object":"error","type":"invalid_request_error","message":"bad"}}', 400, "bad"),  # Fireworks
        (b"<html><title>401 Authorization Required</title></html>", 401, ""),  # Perplexity
    ],
)
def test_every_hosts_refusal_is_read(body: bytes, status: int, message: str) -> None:
    error = openai.read_error(status, None, body, deployment("x"))
    assert message in error.english
    assert error.code == ("provider_unavailable" if status == 401 else error.code)
    assert "400" not in error.code


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":[1]}}]}', b'{"choices":[{"message":{"content":{}}}]}',
        b'{"choices":[{"delta":{"content":[{"thinking":3}]}}]}', b'{"choices":[{"message":{"tool_calls":[3]}}]}',
    ],
)  # fmt: skip
def test_hostile_answers_are_malformed_not_crashes(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        openai.read_chat(body)
        stream(body)
    assert caught.value.code == "provider_malformed"


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"[1]"},"finish_reason":"eos"}],"citations":{"a":1},"search_results":[3,null]}',
        b'{"choices":[{"message":{"content":"x","reasoning":"r"},"delta":3}]}',
        b'{"choices":[{"finish_reason":"eos"}],"citations":["x"]}',
    ],
)
def test_odd_but_legible_answers_are_answers(body: bytes) -> None:
    json.loads(openai.read_chat(body).with_usage(b"{}"))


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 9) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "type", "index", "function", "text"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=examples(300), deadline=None)
@given(slug=st.sampled_from(sorted(HABITS)), delta=junk, call=junk, finish=junk, beside=junk)
def test_no_host_can_crash_us_or_be_crashed_into(slug: str, delta: Any, call: Any, finish: Any, beside: Any) -> None:
    body = {
        "choices": [{"message": delta, "delta": delta, "finish_reason": finish, "usage": beside}], "citations": beside,
        "usage": beside, "search_results": beside,
    }  # fmt: skip
    for read in (lambda: openai.read_chat(json.dumps(body).encode()).with_usage(b"{}"), lambda: stream(json.dumps(body).encode())):
        with contextlib.suppress(UpstreamError):
            read()
    with contextlib.suppress(BadRequest):
        request(
            slug,
            [{"role": "assistant", "content": None, "tool_calls": call}, {"role": "tool", "tool_call_id": beside}],
            stop=finish,
            n=call,
        )
