"""OpenAI's SDK → gateway → every compatible host as it is, and Azure: whole, streamed, with tools, with reasoning, reconciled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from billing.models import UsageRecord
from gateway.models import Credential
from tests.gateway.world import Tenant, World, chat_body, sse_events
from tests.make import make_price, make_provider, make_route

UNITS = {"input": "10", "cached_input": "2", "output": "30", "reasoning": "20"}
MODELS = {
    "azure": "gpt-4o", "deepseek": "deepseek-reasoner", "fireworks": "accounts/fireworks/models/gpt-oss-120b",
    "groq": "openai/gpt-oss-120b", "mistral": "magistral-medium-latest", "ollama": "qwen3:8b", "perplexity": "sonar-pro",
    "together": "openai/gpt-oss-120b", "vllm": "Qwen/Qwen3-8B", "xai": "grok-4-1-fast-reasoning",
}  # fmt: skip
THINKERS = ("deepseek", "fireworks", "groq", "mistral", "ollama", "together", "vllm", "xai")  # those that show their reasoning
CALLERS = [slug for slug in MODELS if slug != "perplexity"]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
MESSAGES: list[Any] = [{"role": "developer", "content": "Responda em português."}, {"role": "user", "content": "Diga olá."}]
WEATHER: list[Any] = [{"role": "user", "content": "Como está o tempo?"}]


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {slug: world.route(slug, model, name=f"hosts/{slug}", units=UNITS).name for slug, model in MODELS.items()}


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    return tenant


@pytest.fixture
def client(world: World, ready: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=ready.secret, max_retries=0) as client:
        yield client


def ask(world: World, tenant: Tenant, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{world.gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=20)


def buckets(record: UsageRecord) -> tuple[int, int, int, int]:
    return record.input_tokens, record.cached_input_tokens, record.output_tokens, record.reasoning_tokens


def billed(world: World, slug: str) -> tuple[int, int, int, int]:
    """What the sandbox bills for its newest call. Some hosts do not tell which tokens were reasoning: then all are output."""
    usage = world.sandbox.ledger()["calls"][0]["usage"]
    reasoning = usage["reasoning_tokens"] if slug not in ("mistral", "ollama") else 0
    fresh = usage["prompt_tokens"] - usage["cached_tokens"]
    return fresh, usage["cached_tokens"], usage["completion_tokens"] - reasoning, reasoning


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("is_stream", [False, True])
def test_every_host_answers_in_one_shape_and_the_ledgers_agree(
    world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant, slug: str, is_stream: bool
) -> None:
    if is_stream:
        options: Any = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = list(client.chat.completions.create(model=routes[slug], messages=MESSAGES, max_tokens=300, **options))
        *with_choices, last = chunks
        assert all(len(chunk.choices) == 1 for chunk in with_choices)
        deltas = [chunk.choices[0].delta.model_dump() for chunk in with_choices]
        text = "".join(delta["content"] or "" for delta in deltas)
        reasoning = "".join(delta.get("reasoning_content") or "" for delta in deltas)
        assert not any(delta.get("reasoning") for delta in deltas)
        finish, usage = with_choices[-1].choices[0].finish_reason, last.usage
        assert last.choices == []
        assert not any(chunk.usage for chunk in with_choices)
    else:
        answer = client.chat.completions.create(model=routes[slug], messages=MESSAGES, max_tokens=300)
        message = answer.choices[0].message.model_dump()
        text, reasoning = message["content"], message.get("reasoning_content") or ""
        assert "reasoning" not in message
        finish, usage = answer.choices[0].finish_reason, answer.usage
    assert "Você disse" in text
    assert finish == "stop"
    assert bool(reasoning) == (slug in THINKERS)
    [record] = ready.records()
    assert buckets(record) == billed(world, slug)
    assert (record.outcome, record.usage_source, record.finish_reason) == ("completed", "upstream", "stop")
    assert usage is not None
    assert usage.prompt_tokens == record.input_tokens + record.cached_input_tokens
    assert usage.completion_tokens == record.output_tokens + record.reasoning_tokens
    assert ready.fresh().posted_nanos == 100 * 10**9 - record.net_nanos


@pytest.mark.parametrize("slug", CALLERS)
@pytest.mark.parametrize("is_stream", [False, True])
def test_tools_are_called_and_answered_at_every_host(
    client: openai.OpenAI, routes: dict[str, str], slug: str, is_stream: bool
) -> None:
    """Whole in one chunk, without an index, with ids of another host's making."""
    kwargs: Any = {"model": routes[slug], "tools": [TOOL], "max_tokens": 400}
    if is_stream:
        with client.chat.completions.stream(messages=WEATHER, **kwargs) as stream:
            for _ in stream:
                pass
            message = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(messages=WEATHER, **kwargs).choices[0].message
    assert message.tool_calls
    call = message.tool_calls[0]
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "São Paulo"}
    for id_ in (call.id, "toolu_01ABC-def_ghi.jkl"):
        asked = {"id": id_, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
        history: Any = [
            *WEATHER, {"role": "assistant", "content": None, "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": id_, "content": "25 graus"},
        ]  # fmt: skip
        assert "25 graus" in (client.chat.completions.create(messages=history, **kwargs).choices[0].message.content or "")


@pytest.mark.parametrize("slug", MODELS)
def test_usage_that_never_comes_is_counted(world: World, ready: Tenant, routes: dict[str, str], slug: str) -> None:
    for is_stream in (False, True):
        world.sandbox.script(slug, "nousage")
        answer = ask(world, ready, chat_body(routes[slug], stream=is_stream))
        assert answer.status_code == 200
    assert [record.usage_source for record in ready.records()] == ["counted", "counted"]
    assert all(record.input_tokens and record.output_tokens and record.net_nanos for record in ready.records())


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize(("fault", "status"), [("400", 400), ("401", 502), ("429", 429), ("503", 503)])
def test_refusals_of_every_host_are_told_alike(
    world: World, ready: Tenant, routes: dict[str, str], slug: str, fault: str, status: int
) -> None:
    world.sandbox.script(slug, fault)
    answer = ask(world, ready, chat_body(routes[slug], stream=True))
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code", "doc_url"}
    [record] = ready.records()
    assert record.net_nanos == 0


@pytest.mark.parametrize(
    ("native", "finish"),
    [("eos", "stop"), ("model_length", "length"), ("content_filter", "content_filter"), ("length", "length")],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_every_end_is_openais(
    world: World, ready: Tenant, routes: dict[str, str], native: str, finish: str, is_stream: bool
) -> None:
    messages = [{"role": "user", "content": f"oi [finish_reason={native}]"}]
    answer = ask(world, ready, {"model": routes["vllm"], "messages": messages, "stream": is_stream})
    choice = sse_events(answer.text)[-2]["choices"][0] if is_stream else answer.json()["choices"][0]
    assert choice["finish_reason"] == finish
    assert choice.get("native_finish_reason") == (native if native != finish else None)


def test_a_host_that_breaks_down_gives_no_end(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    messages = [{"role": "user", "content": "oi [finish_reason=insufficient_system_resource]"}]
    body = {"model": routes["deepseek"], "messages": messages}
    answer = ask(world, ready, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_cut")
    events = sse_events(ask(world, ready, {**body, "stream": True}).text)
    assert events[-1]["error"]["code"] == "upstream_cut"
    whole, cut = ready.records()
    assert (whole.net_nanos, whole.outcome, cut.outcome) == (0, "failed", "cut")
    assert cut.output_tokens > 0


def test_prefills_reach_those_that_want_them_said(client: openai.OpenAI, routes: dict[str, str]) -> None:
    messages: Any = [{"role": "user", "content": "Conte."}, {"role": "assistant", "content": "Era uma vez"}]
    for slug in ("mistral", "vllm", "groq"):
        assert client.chat.completions.create(model=routes[slug], messages=messages, max_tokens=20).choices


def test_what_a_host_can_not_do_is_refused_before_money_is_held(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    for slug, field in (
        ("groq", {"n": 2}),
        ("perplexity", {"tools": [TOOL]}),
        ("xai", {"logit_bias": {"1": 5}}),
        ("ollama", {"n": 3}),
    ):
        answer = ask(world, ready, chat_body(routes[slug], **field))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(field)))
        dropped = ask(world, ready, chat_body(routes[slug], drop_params=True, **field))
        assert dropped.status_code == 200
        assert dropped.headers["x-tokia-dropped-params"] == next(iter(field))
    assert len(ready.records()) == 4


def test_perplexity_tells_its_sources(client: openai.OpenAI, routes: dict[str, str]) -> None:
    answer = client.chat.completions.create(model=routes["perplexity"], messages=MESSAGES[1:], max_tokens=300)
    annotations = answer.choices[0].message.annotations
    assert annotations is not None
    assert [one.url_citation.url for one in annotations] == ["https://example.com/um", "https://example.com/dois"]
    text = answer.choices[0].message.content or ""
    assert [text[one.url_citation.start_index : one.url_citation.end_index] for one in annotations] == ["[1]", "[2]"]
    assert answer.model_dump()["citations"] == ["https://example.com/um", "https://example.com/dois"]
    chunks = list(client.chat.completions.create(model=routes["perplexity"], messages=MESSAGES[1:], max_tokens=60, stream=True))
    assert all(chunk.model_dump()["citations"] for chunk in chunks)
    assert not any("message" in chunk.choices[0].model_dump() for chunk in chunks)


@pytest.mark.parametrize("suffix", ["", "?api-version=2025-04-01-preview"])
def test_azures_dated_addresses_serve_chat_and_embeddings(world: World, tenant: Tenant, suffix: str) -> None:
    slug = f"azure-dated-{len(suffix)}"
    provider = make_provider(slug=slug, dialect="azure", base_url=f"{world.sandbox.url}/llm/azure{suffix}")
    source = Credential.objects.get(provider=world.provider("azure"))
    Credential.objects.filter(provider=provider).update(secret=source.secret)
    chat = make_route(name=f"{slug}/chat", provider=provider, upstream_model="gpt-4o")
    vectors = make_route(name=f"{slug}/vectors", provider=provider, upstream_model="text-embedding-3-small", surface="embeddings")
    make_price(route=chat, units=UNITS)
    make_price(route=vectors, units={"input": "1"})
    world.await_served(tenant, chat.name, vectors.name)
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        chunks = list(client.chat.completions.create(model=chat.name, messages=MESSAGES, max_tokens=60, stream=True))
        assert all(chunk.choices for chunk in chunks)
        assert len(client.embeddings.create(model=vectors.name, input=["um", "dois"], dimensions=64).data[1].embedding) == 64
    record, vector_record = tenant.records()
    assert record.usage_source == vector_record.usage_source == "upstream"
    assert world.sandbox.ledger()["calls"][1]["model"] == "gpt-4o"


def test_azures_filters_are_told(client: openai.OpenAI, routes: dict[str, str], ready: Tenant) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=routes["azure"], messages=[{"role": "user", "content": "[content_filter]"}])
    assert (refused.value.code, refused.value.param) == ("content_filter", "prompt")
    messages: Any = [{"role": "user", "content": "oi [finish_reason=content_filter]"}]
    answer = client.chat.completions.create(model=routes["azure"], messages=messages, max_tokens=60)
    assert answer.choices[0].finish_reason == "content_filter"
    assert [record.outcome for record in ready.records()] == ["failed", "completed"]
