"""OpenAI's SDK against a real gateway whose upstream is Gemini's own protocol: what a customer's program does and is billed."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pydantic
import pytest

from tests.gateway.world import Tenant, World, sse_events

OLD, BUDGET, LEVEL, NEWEST = "gemini-2.0-flash", "gemini-2.5-flash", "gemini-3.8-flash", "gemini-4-argon"
PAINTER = "gemini-2.5-flash-image"
UNITS = {"input": "10", "cached_input": "2", "output": "30", "reasoning": "20", "audio_input": "40", "image_input": "15",
         "image_output": "90"}  # fmt: skip
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n0000").decode()
WAV = base64.b64encode(b"RIFF0000WAVE").decode()


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties or {"city": {"type": "string"}}, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "x", "parameters": parameters}}


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {model: world.route("google", model, units=UNITS).name for model in (OLD, BUDGET, LEVEL, NEWEST, PAINTER)}


@pytest.fixture
def client(world: World, routes: dict[str, str], tenant: Tenant) -> Any:
    world.await_served(tenant, *routes.values())
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        yield client


def last_billed(world: World) -> dict[str, Any]:
    call: dict[str, Any] = world.sandbox.ledger()["calls"][0]
    return call


def check_billed(world: World, tenant: Tenant) -> None:
    """The newest usage record says what the sandbox says it served, bucket by bucket, and the wallet paid it."""
    record, billed = tenant.records()[-1], last_billed(world)
    told = billed["usage"]
    assert record.upstream_id == billed["id"]
    prompt = record.input_tokens + record.cached_input_tokens + record.audio_input_tokens + record.image_input_tokens
    assert prompt == told["prompt_tokens"]
    assert record.cached_input_tokens == told["cached_tokens"]
    assert record.audio_input_tokens == told["audio_input_tokens"]
    assert record.image_input_tokens == told["image_input_tokens"]
    assert record.image_output_tokens == told["image_output_tokens"]
    assert record.output_tokens + record.reasoning_tokens + record.image_output_tokens == told["completion_tokens"]
    assert record.reasoning_tokens == told["reasoning_tokens"]
    assert record.usage_source == "upstream"
    wallet = tenant.fresh()
    assert wallet.held_nanos == 0
    assert wallet.posted_nanos == 100 * 10**9 - sum(record.net_nanos for record in tenant.records())


@pytest.mark.parametrize("model", [OLD, BUDGET, LEVEL, NEWEST])
@pytest.mark.parametrize("is_stream", [False, True])
def test_it_answers_and_bills_what_google_counts(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, model: str, is_stream: bool
) -> None:
    messages: Any = [{"role": "system", "content": "Responda em português."}, {"role": "user", "content": "Olá, tudo bem? 😀"}]
    if is_stream:
        stream = client.chat.completions.create(
            model=routes[model], messages=messages, max_tokens=200, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.model for chunk in chunks}) == 1
        assert chunks[0].choices[0].delta.role == "assistant"
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        [finish] = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
        assert not chunks[-1].choices
        usage = chunks[-1].usage
    else:
        answer = client.chat.completions.create(model=routes[model], messages=messages, max_tokens=200)
        text, finish, usage = answer.choices[0].message.content or "", answer.choices[0].finish_reason, answer.usage
        assert answer.choices[0].model_extra == {"native_finish_reason": "STOP"}
    assert "Olá, tudo bem? 😀" in text and model in text
    assert finish == "stop"
    assert usage is not None and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    check_billed(world, tenant)


@pytest.mark.parametrize("model", [OLD, BUDGET, LEVEL, NEWEST])
@pytest.mark.parametrize("keeps_extra", [True, False])
def test_it_calls_tools_over_several_turns_whatever_the_client_keeps(
    client: openai.OpenAI, routes: dict[str, str], model: str, keeps_extra: bool
) -> None:
    """Two calls at once, answered in another order; signatures come back in the ids alone where the client drops the rest."""
    tools: Any = [tool("get_weather"), tool("get_time", city={"type": "string"}, zone={"type": ["string", "null"]})]
    history: list[Any] = [{"role": "user", "content": "get_weather e get_time, por favor [signed]"}]
    for step in range(2):
        answer = client.chat.completions.create(model=routes[model], messages=history, tools=tools)
        message = answer.choices[0].message
        calls = message.tool_calls or []
        assert answer.choices[0].finish_reason == "tool_calls"
        assert [call.function.name for call in calls if call.type == "function"] == ["get_weather", "get_time"]
        assert len({call.id for call in calls}) == 2
        dumped = message.model_dump(exclude_none=True)
        assert ("extra_content" in dumped["tool_calls"][0]) == (model in (LEVEL, NEWEST))
        assert "extra_content" not in dumped["tool_calls"][1]
        if not keeps_extra:
            for call in dumped["tool_calls"]:
                call.pop("extra_content", None)
        history.append(dumped)
        history += [
            {"role": "tool", "tool_call_id": call.id, "content": f'{{"resposta": "{number}-{step}"}}'}
            for number, call in reversed(list(enumerate(calls)))
        ]
        if step == 0:
            history.append({"role": "user", "content": "de novo: get_weather e get_time"})
    final = client.chat.completions.create(model=routes[model], messages=history, tools=tools)
    said = final.choices[0].message.content or ""
    assert "A ferramenta respondeu" in said
    assert said.index("0-1") < said.index("1-1")


@pytest.mark.parametrize(
    ("slug", "model"), [("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-6"), ("mistral", "mistral-large-2512")]
)
def test_a_conversation_may_go_on_elsewhere(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, slug: str, model: str
) -> None:
    """What Gemini signed is nothing to the others, strict as they are; and it takes their calls in turn."""
    other = world.route(slug, model, name=f"{slug}/elsewhere").name
    world.await_served(tenant, other)
    tools: Any = [tool("get_weather"), tool("get_time")]
    history: list[Any] = [{"role": "user", "content": "get_weather e get_time"}]
    for route in (routes[NEWEST], other, routes[NEWEST]):
        message = client.chat.completions.create(model=route, messages=history, tools=tools).choices[0].message
        history.append(message.model_dump(exclude_none=True))
        calls = message.tool_calls or []
        assert len(calls) == 2
        history += [{"role": "tool", "tool_call_id": call.id, "content": "1"} for call in calls]
        history += [{"role": "assistant", "content": "Pronto."}, {"role": "user", "content": "de novo: get_weather e get_time"}]


@pytest.mark.parametrize("model", [BUDGET, NEWEST])
def test_its_stream_accumulates_in_the_sdk(client: openai.OpenAI, routes: dict[str, str], model: str) -> None:
    tools: Any = [tool("get_weather"), tool("get_time")]
    with client.chat.completions.stream(
        model=routes[model], messages=[{"role": "user", "content": "get_weather e get_time"}], tools=tools, reasoning_effort="high"
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "São Paulo"}] * 2
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].message.model_extra and final.choices[0].message.model_extra["reasoning_content"]
    history: list[Any] = [
        {"role": "user", "content": "get_weather e get_time"},
        final.choices[0].message.model_dump(exclude_none=True),
        *({"role": "tool", "tool_call_id": call.id, "content": "1"} for call in calls),
    ]
    for message in history[1]["tool_calls"]:
        message["function"].pop("parsed_arguments", None)
    assert client.chat.completions.create(model=routes[model], messages=history, tools=tools).choices[0].finish_reason == "stop"


class Invoice(pydantic.BaseModel):
    class Line(pydantic.BaseModel):
        nome: str
        amount: float
        tags: list[str] | None = None

    email: str
    lines: list[Line]


@pytest.mark.parametrize("model", [OLD, BUDGET, NEWEST])
def test_it_gives_json_of_the_schema_that_was_asked_for(client: openai.OpenAI, routes: dict[str, str], model: str) -> None:
    answer = client.chat.completions.parse(
        model=routes[model], messages=[{"role": "user", "content": "Uma fatura"}], response_format=Invoice
    )
    assert answer.choices[0].message.parsed == Invoice(
        email="ana@example.com", lines=[Invoice.Line(nome="Ana", amount=1.0, tags=["exemplo"])]
    )
    loose = client.chat.completions.create(
        model=routes[model], messages=[{"role": "user", "content": "Oi"}], response_format={"type": "json_object"}
    )
    assert json.loads(loose.choices[0].message.content or "")["modelo"] == model


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_time"}}, "none", "auto"])
def test_it_obeys_tool_choice(client: openai.OpenAI, routes: dict[str, str], choice: Any) -> None:
    tools: Any = [tool("get_weather"), tool("get_time")]
    answer = client.chat.completions.create(
        model=routes[LEVEL], messages=[{"role": "user", "content": "Oi"}], tools=tools, tool_choice=choice
    )
    names = [call.function.name for call in answer.choices[0].message.tool_calls or [] if call.type == "function"]
    assert names == ({"required": ["get_weather"]}.get(choice, []) if isinstance(choice, str) else ["get_time"])


def test_it_sees_hears_and_reads(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant) -> None:
    pdf = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4").decode()
    parts: Any = [
        {"type": "text", "text": "O que é isto?"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/fotos/gato.jpg?x=1"}},
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
    ]
    answer = client.chat.completions.create(model=routes[BUDGET], messages=[{"role": "user", "content": parts}])
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.audio_tokens == 85
    record = tenant.records()[-1]
    assert (record.audio_input_tokens, record.image_input_tokens) == (85, 170)
    check_billed(world, tenant)


@pytest.mark.parametrize("is_stream", [False, True])
def test_it_paints(world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, is_stream: bool) -> None:
    messages: Any = [{"role": "user", "content": "Pinte um gato"}]
    extra: Any = {"modalities": ["text", "image"]}
    if is_stream:
        options: Any = {"include_usage": True}
        with client.chat.completions.stream(
            model=routes[PAINTER], messages=messages, extra_body=extra, stream_options=options
        ) as stream:
            message: Any = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(model=routes[PAINTER], messages=messages, extra_body=extra).choices[0].message
    assert message.model_extra is not None
    [picture] = message.model_extra["images"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert tenant.records()[-1].image_output_tokens == 1_290
    check_billed(world, tenant)
    history: Any = [
        *messages,
        {"role": "assistant", "content": message.content, "images": [picture]},
        {"role": "user", "content": "Outro"},
    ]
    assert client.chat.completions.create(model=routes[PAINTER], messages=history).choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("model", "effort", "thinks"),
    [(BUDGET, "none", False), (BUDGET, "low", True), (BUDGET, "high", True), (LEVEL, "minimal", True), (NEWEST, "max", True)],
)
def test_it_shows_what_it_thought(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, model: str, effort: Any, thinks: bool
) -> None:
    answer = client.chat.completions.create(
        model=routes[model], messages=[{"role": "user", "content": "Pense."}], reasoning_effort=effort, max_tokens=2_000
    )
    message = answer.choices[0].message
    assert bool((message.model_extra or {}).get("reasoning_content")) == thinks
    assert answer.usage is not None and answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == tenant.records()[-1].reasoning_tokens
    check_billed(world, tenant)


def test_it_gives_several_choices_log_probabilities_and_stops(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant
) -> None:
    answer = client.chat.completions.create(
        model=routes[OLD], messages=[{"role": "user", "content": "Oi [tokens=30]"}], n=3, logprobs=True, top_logprobs=2, seed=7,
        presence_penalty=0.5, frequency_penalty=0.1, temperature=0.2, top_p=0.9, stop=["teste"], user="u1",
    )  # fmt: skip
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    first = answer.choices[0]
    assert first.logprobs is not None and first.logprobs.content
    assert first.logprobs.content[0].logprob == -0.105 and len(first.logprobs.content[0].top_logprobs) == 1
    assert "teste" not in (first.message.content or "")
    check_billed(world, tenant)
    stream = client.chat.completions.create(
        model=routes[BUDGET], messages=[{"role": "user", "content": "Oi"}], n=2, stream=True, logprobs=True, max_tokens=40
    )
    finishes = {}
    for chunk in stream:
        for choice in chunk.choices:
            if choice.finish_reason:
                finishes[choice.index] = choice.finish_reason
    assert finishes == {0: "length", 1: "length"}
    check_billed(world, tenant)


def test_it_names_what_it_left_out_and_refuses_what_it_can_not_say_before_money_is_held(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant
) -> None:
    hello: Any = [{"role": "user", "content": "Oi"}]
    raw = client.chat.completions.with_raw_response.create(
        model=routes[NEWEST], messages=hello, temperature=0.3, user="u", store=False, metadata={"a": "b"}, max_tokens=100
    )
    assert raw.headers["x-tokia-dropped-params"] == "metadata,user,temperature"
    before = len(tenant.records())
    refused: list[tuple[dict[str, Any], str]] = [
        ({"n": 2}, "n"), ({"frequency_penalty": 1}, "frequency_penalty"), ({"logprobs": True}, "logprobs"),
        ({"reasoning_effort": "none"}, "reasoning_effort"), ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"extra_body": {"min_p": 0.1}}, "min_p"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x", "format": "wav"}}, "audio"),
        ({"tools": [tool("a")], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"messages": [*hello, {"role": "assistant", "content": "Era uma"}]}, "messages[1]"),
    ]  # fmt: skip
    for fields, param in refused:
        with pytest.raises(openai.BadRequestError) as failure:
            client.chat.completions.create(**{"model": routes[NEWEST], "messages": hello, **fields})
        assert failure.value.param == param, param
    assert len(tenant.records()) == before
    dropped = client.chat.completions.with_raw_response.create(
        model=routes[NEWEST], messages=hello, frequency_penalty=1, reasoning_effort="none", extra_body={"drop_params": True}
    )
    assert dropped.headers["x-tokia-dropped-params"] == "frequency_penalty,reasoning_effort"


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("wish", "finish"),
    [
        ("[finish=SAFETY]", "content_filter"), ("[finish=RECITATION]", "content_filter"), ("[finish=SPII]", "content_filter"),
        ("[finish=LANGUAGE]", "content_filter"), ("[finish=BLOCKLIST]", "content_filter"), ("[finish=MAX_TOKENS]", "length"),
        ("[finish=PROHIBITED_CONTENT]", "content_filter"), ("[finish=OTHER]", "stop"), ("[finish=SOMETHING_NEW]", "stop"),
        ("[block=PROHIBITED_CONTENT]", "content_filter"), ("[finish=MALFORMED_FUNCTION_CALL]", None),
        ("[finish=UNEXPECTED_TOOL_CALL]", None),
    ],
)  # fmt: skip
def test_every_end_has_its_finish_reason(
    world: World, client: openai.OpenAI, routes: dict[str, str], tenant: Tenant, wish: str, finish: str | None, is_stream: bool
) -> None:
    body = {"model": routes[BUDGET], "messages": [{"role": "user", "content": f"Oi {wish}"}], "stream": is_stream}
    answer = httpx.post(f"{world.gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=30)
    if finish is None:
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == wish.strip("[]").removeprefix("finish=").lower()
        assert tenant.records()[-1].gross_nanos == 0
        return
    assert answer.status_code == 200, answer.text
    if is_stream:
        assert answer.text.endswith("data: [DONE]\n\n")
        choices = [event["choices"][0] for event in sse_events(answer.text) if event != "[DONE]"]
        [last] = [choice for choice in choices if choice["finish_reason"]]
    else:
        [last] = answer.json()["choices"]
    assert last["finish_reason"] == finish
    assert last["native_finish_reason"] == wish.strip("[]").partition("=")[2]
    check_billed(world, tenant)


def test_embeddings_are_the_same_in_numbers_and_base64_in_batches_and_at_length_one(world: World, tenant: Tenant) -> None:
    quiet = world.route("google", "gemini-embedding-001", units={"input": "10"}, surface="embeddings").name
    told = world.route("google", "gemini-embedding-2", units={"input": "10"}, surface="embeddings").name
    world.await_served(tenant, quiet, told)
    texts = [f"texto número {number}" for number in range(230)]
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
        coded = client.embeddings.create(model=quiet, input=texts)  # the SDK asks for base64
        plain = client.embeddings.create(model=quiet, input=texts[:2], encoding_format="float")
        short = client.embeddings.create(model=told, input=texts[:2], dimensions=256, encoding_format="float", user="u")
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model=quiet, input=[[1, 2, 3]])
    assert refused.value.param == "input"
    assert [item.index for item in coded.data] == list(range(230))
    assert len(plain.data[0].embedding) == 3072
    assert coded.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-7)
    assert [len(item.embedding) for item in short.data] == [256, 256]
    assert sum(value * value for value in short.data[0].embedding) == pytest.approx(1)
    first, _, last = tenant.records()
    assert (first.usage_source, last.usage_source) == ("counted", "upstream")
    assert last.input_tokens == short.usage.prompt_tokens == last_billed(world)["usage"]["prompt_tokens"]


def test_it_serves_many_at_once_and_every_ledger_agrees(world: World, routes: dict[str, str]) -> None:
    tenant = world.tenant(requests_per_minute=100_000)
    world.await_served(tenant, *routes.values())
    world.sandbox.post("/llm/__reset")
    rng = random.Random(11)

    def one(number: int) -> None:
        model = rng.choice([OLD, BUDGET, LEVEL, NEWEST])
        words = " ".join(rng.choice(["carteira", "saldo", "nota"]) for _ in range(rng.randint(1, 100)))
        content: Any = (
            [{"type": "text", "text": words}, {"type": "image_url", "image_url": {"url": PNG}}] if number % 5 == 0 else words
        )
        messages = [{"role": "system", "content": "Prefixo igual. " * 600}, {"role": "user", "content": content}]
        body = {"model": routes[model], "messages": messages, "max_tokens": rng.randint(1, 300), "stream": number % 2 == 0}
        answer = httpx.post(f"{world.gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=30)
        assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(60)))
    records, totals = tenant.records(), world.sandbox.ledger()["totals"]
    assert sum(total["finished"] for total in totals) == len(records) == 60
    summed = {
        "prompt_tokens": sum(r.input_tokens + r.cached_input_tokens + r.image_input_tokens for r in records),
        "cached_tokens": sum(r.cached_input_tokens for r in records),
        "image_input_tokens": sum(r.image_input_tokens for r in records),
        "completion_tokens": sum(r.output_tokens + r.reasoning_tokens for r in records),
        "reasoning_tokens": sum(r.reasoning_tokens for r in records),
    }
    assert all(summed.values())
    assert {name: sum(total[name] for total in totals) for name in summed} == summed
    wallet = tenant.fresh()
    assert wallet.held_nanos == 0
    assert wallet.posted_nanos == 100 * 10**9 - sum(record.net_nanos for record in records)
    assert {record.usage_source for record in records} == {"upstream"}


def test_the_async_client_streams_too(world: World, routes: dict[str, str], tenant: Tenant) -> None:
    world.await_served(tenant, *routes.values())

    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{world.gateway.url}/v1", api_key=tenant.secret, max_retries=0) as client:
            stream = await client.chat.completions.create(
                model=routes[LEVEL], messages=[{"role": "user", "content": "Oi"}], stream=True, reasoning_effort="low"
            )
            return [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "Você disse: “Oi”" in "".join(asyncio.run(run()))
    check_billed(world, tenant)
