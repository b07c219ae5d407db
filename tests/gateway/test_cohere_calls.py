"""The official OpenAI SDK against a gateway whose upstream speaks Cohere v2: answers, streams, ends, and three books that agree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import openai
import pydantic
import pytest

from billing.money import BRL, to_brl
from tests.gateway.world import Tenant, World, await_true, chat_body, sse_events

CHAT = "/v1/chat/completions"
UNITS = {"input": "10", "cached_input": "2", "output": "30"}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "O tempo numa cidade",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": True,
    },
}
LAX_TOOL: Any = {"type": "function", "function": {**TOOL["function"], "strict": False}}
CLOCK: Any = {"type": "function", "function": {"name": "get_time"}}
MESSAGES: list[Any] = [
    {"role": "developer", "content": "Responda em português."},
    {"role": "user", "content": "Como está o tempo em São Paulo?", "name": "ana"},
]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    models = {"chat": "command-a-03-2025", "old": "command-r-08-2024", "vision": "command-a-vision-07-2025"}
    can = {"vision": ["tools", "json", "vision"]}
    names = {
        kind: world.route("cohere", model, units=UNITS, capabilities=can.get(kind, ["tools", "json"])).name
        for kind, model in models.items()
    }
    reasoning = world.route("cohere", "command-a-reasoning-08-2025", units=UNITS, is_reasoning=True)
    return {**names, "reasoning": reasoning.name}


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    world.sandbox.post("/llm/__reset")
    return tenant


@pytest.fixture
def client(world: World, ready: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=ready.secret, max_retries=0) as client:
        yield client


def ask(world: World, tenant: Tenant, **fields: Any) -> httpx.Response:
    return httpx.post(world.gateway.url + CHAT, json=fields, headers=tenant.headers, timeout=30)


def agree(world: World, tenant: Tenant) -> list[Any]:
    """The sandbox's ledger, our usage records and the wallet say the same, bucket by bucket; gives the records."""
    await_true(lambda: world.sandbox.ledger()["in_flight"] == 0)
    billed = {call["id"]: call["usage"] for call in world.sandbox.ledger()["calls"] if call["status"] == "finished"}
    records = tenant.records()
    assert {record.upstream_id for record in records} == set(billed)
    for record in records:
        usage = billed[record.upstream_id]
        assert record.input_tokens + record.cached_input_tokens == usage["prompt_tokens"]
        assert record.cached_input_tokens == usage["cached_tokens"]
        assert record.output_tokens == usage["completion_tokens"]
        assert record.reasoning_tokens == usage["reasoning_tokens"] == 0
        assert (record.usage_source, record.outcome) == ("upstream", "completed")
    spent = sum(record.net_nanos for record in records)
    wallet = tenant.fresh()
    assert wallet.held_nanos == 0
    assert wallet.posted_nanos == 100 * BRL - spent
    return records


# ── Chat ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_answers_whole_and_bills_what_cohere_bills(
    world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=routes["chat"], messages=MESSAGES, max_tokens=60, temperature=0.2, top_p=1, n=1, seed=7, user="u1"
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model
    assert raw.headers["x-tokia-dropped-params"] == "messages[].name,user"
    body = json.loads(raw.text, parse_float=Decimal)
    assert body["choices"][0]["native_finish_reason"] == "COMPLETE"
    [record] = agree(world, ready)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == record.input_tokens
    assert answer.usage.completion_tokens == record.output_tokens
    assert body["usage"]["cost"] == to_brl(record.net_nanos).normalize()
    assert (record.provider_name, record.upstream_model) == ("cohere", "command-a-03-2025")


def test_it_streams_the_same_text(world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant) -> None:
    whole = client.chat.completions.create(model=routes["chat"], messages=MESSAGES, max_tokens=200)
    chunks = list(
        client.chat.completions.create(
            model=routes["chat"], messages=MESSAGES, max_tokens=200, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    agree(world, ready)


def test_it_serves_the_async_client(world: World, routes: dict[str, str], ready: Tenant) -> None:
    async def ask_twice() -> tuple[Any, str]:
        async with openai.AsyncOpenAI(base_url=f"{world.gateway.url}/v1", api_key=ready.secret, max_retries=0) as client:
            whole = await client.chat.completions.create(model=routes["chat"], messages=MESSAGES, max_tokens=90)
            stream = await client.chat.completions.create(model=routes["chat"], messages=MESSAGES, max_tokens=90, stream=True)
            return whole, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    whole, text = asyncio.run(ask_twice())
    assert text == whole.choices[0].message.content
    agree(world, ready)


def test_it_calls_tools_and_takes_their_results(world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant) -> None:
    question: list[Any] = [{"role": "user", "content": "Use get_weather e get_time agora."}]
    with client.chat.completions.stream(model=routes["chat"], messages=question, tools=[LAX_TOOL, CLOCK]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert [call.function.name for call in message.tool_calls] == ["get_weather", "get_time"]
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "São Paulo"}
    assert json.loads(message.tool_calls[1].function.arguments) == {}
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"].startswith("Vou usar get_weather")
    history: list[Any] = [
        *question,
        message.to_dict(),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"graus": 21, "url": "https://tempo.test"}'},
        {"role": "tool", "tool_call_id": message.tool_calls[1].id, "content": ""},
    ]
    told = client.chat.completions.create(model=routes["chat"], messages=history, tools=[LAX_TOOL, CLOCK])
    assert told.choices[0].finish_reason == "stop"
    agree(world, ready)


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("required", ["get_weather"]),
        ("none", None),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [CLOCK]}}, ["get_time"]),
    ],
    ids=["required", "none", "named", "allowed"],
)
def test_it_obeys_the_choice_of_tools(client: openai.OpenAI, routes: dict[str, str], choice: Any, called: list[str] | None) -> None:
    answer = client.chat.completions.create(
        model=routes["chat"],
        messages=[{"role": "user", "content": "Oi"}],
        tools=[LAX_TOOL, CLOCK],
        tool_choice=choice,
    )
    calls = answer.choices[0].message.tool_calls
    assert (None if calls is None else [call.function.name for call in calls]) == called  # type: ignore[union-attr]


def test_it_cites_documents_and_takes_its_citations_back(
    world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant
) -> None:
    documents = [{"id": "lei", "data": {"text": "Pix é instantâneo.", "url": "https://bcb.test/pix", "title": "Pix"}}, "Outro."]
    question: list[Any] = [{"role": "user", "content": "O que é o Pix?"}]
    with client.chat.completions.stream(
        model=routes["chat"],
        messages=question,
        extra_body={"documents": documents},
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.annotations is not None
    cited = message.annotations[0].url_citation
    assert (cited.url, cited.title, cited.start_index) == ("https://bcb.test/pix", "Pix", 0)
    assert message.model_extra is not None
    assert message.model_extra["citations"][0]["sources"][0]["id"] == "lei"
    more: list[Any] = [*question, message.to_dict(), {"role": "user", "content": "E depois?"}]
    again = client.chat.completions.create(model=routes["chat"], messages=more, extra_body={"documents": documents})
    assert again.choices[0].message.annotations
    agree(world, ready)


def test_it_parses_a_json_schema(client: openai.OpenAI, routes: dict[str, str]) -> None:
    class City(pydantic.BaseModel):
        city: str
        uf: str

    answer = client.chat.completions.parse(
        model=routes["chat"], messages=[{"role": "user", "content": "Dê um JSON."}], response_format=City
    )
    assert answer.choices[0].message.parsed == City(city="São Paulo", uf="SP")
    loose = client.chat.completions.create(
        model=routes["chat"], messages=[{"role": "user", "content": "Dê um JSON."}], response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(loose.choices[0].message.content or ""), dict)


def test_it_sees_pictures_only_where_the_model_does(
    world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant
) -> None:
    part = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "O que é isto?"}, part]}]
    assert client.chat.completions.create(model=routes["vision"], messages=messages).choices[0].message.content
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=routes["chat"], messages=messages)
    assert refused.value.param == "messages[0].content[1]"
    agree(world, ready)


def test_it_thinks_as_much_as_it_is_asked_to(world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant) -> None:
    def thoughts(**fields: Any) -> str:
        answer = client.chat.completions.create(model=routes["reasoning"], messages=MESSAGES, max_tokens=900, **fields)
        return str((answer.choices[0].message.model_extra or {}).get("reasoning_content", ""))

    assert thoughts()
    assert thoughts(reasoning_effort="none") == ""
    assert len(thoughts(extra_body={"thinking": {"type": "enabled", "token_budget": 3}})) < len(thoughts(reasoning_effort="high"))
    stream = client.chat.completions.create(model=routes["reasoning"], messages=MESSAGES, max_tokens=900, stream=True)
    streamed = "".join((chunk.choices[0].delta.model_extra or {}).get("reasoning_content", "") for chunk in stream)
    assert streamed == thoughts()
    agree(world, ready)


def test_it_tells_logprobs(client: openai.OpenAI, routes: dict[str, str]) -> None:
    whole = client.chat.completions.create(model=routes["chat"], messages=MESSAGES, max_tokens=5, logprobs=True)
    assert whole.choices[0].logprobs is not None
    assert len(whole.choices[0].logprobs.content or []) == 5
    stream = client.chat.completions.create(model=routes["chat"], messages=MESSAGES, max_tokens=5, logprobs=True, stream=True)
    pieces = [chunk.choices[0].logprobs.content for chunk in stream if chunk.choices[0].logprobs]
    assert len(pieces) == 5


def test_it_bills_cached_tokens_as_such(world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant) -> None:
    long: list[Any] = [{"role": "system", "content": "regra " * 1_500}, {"role": "user", "content": "Oi"}]
    for _ in range(2):
        answer = client.chat.completions.create(model=routes["chat"], messages=long, max_tokens=5)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert (answer.usage.prompt_tokens_details.cached_tokens or 0) >= 1_024
    assert [record.cached_input_tokens > 0 for record in agree(world, ready)] == [False, True]


# ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("fields", "finish", "native"),
    [
        ({}, "stop", "COMPLETE"),
        ({"stop": ["simulada"]}, "stop", "STOP_SEQUENCE"),
        ({"max_tokens": 3}, "length", "MAX_TOKENS"),
        ({"tools": [TOOL]}, "tool_calls", "TOOL_CALL"),
    ],
    ids=["complete", "stop", "length", "tools"],
)
def test_it_says_how_an_answer_ended(
    world: World, routes: dict[str, str], ready: Tenant, fields: dict[str, Any], finish: str, native: str, is_stream: bool
) -> None:
    told = ask(world, ready, model=routes["chat"], messages=MESSAGES, stream=is_stream, **fields)
    choice = (
        [event for event in sse_events(told.text) if event != "[DONE]"][-1]["choices"][0]
        if is_stream
        else told.json()["choices"][0]
    )
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (finish, native)
    [record] = agree(world, ready)
    assert record.finish_reason == finish


@pytest.mark.parametrize(
    ("fault", "status", "code"), [("errorfinish", 502, "upstream_error"), ("errorfinish:504", 504, "provider_timeout")]
)
def test_an_answer_that_says_it_failed_costs_nothing(
    world: World, routes: dict[str, str], ready: Tenant, fault: str, status: int, code: str
) -> None:
    world.sandbox.script("cohere", fault)
    told = ask(world, ready, **chat_body(routes["chat"], max_tokens=20))
    assert (told.status_code, told.json()["error"]["code"]) == (status, code)
    [record] = ready.records()
    assert (record.outcome, record.net_nanos) == ("failed", 0)


@pytest.mark.parametrize("fault", ["errorfinish", "errorfinish:504", "errormid:3", "cleaneof:3", "nodone", "reset:3"])
def test_a_stream_that_breaks_ends_with_an_error_and_bills_what_came(
    world: World, routes: dict[str, str], ready: Tenant, fault: str
) -> None:
    world.sandbox.script("cohere", fault)
    events = sse_events(ask(world, ready, **chat_body(routes["chat"], stream=True, max_tokens=40)).text)
    assert "error" in events[-1]
    assert all(event["choices"][0]["finish_reason"] is None for event in events[:-1])
    [record] = ready.records()
    assert record.outcome == "cut"
    assert 0 < record.output_tokens <= 60
    assert record.net_nanos > 0


@pytest.mark.parametrize("fault", ["errorfirst", "malformed", "truncated", "html", "503", "429", "401"])
def test_a_failure_before_the_first_piece_is_an_http_status(
    world: World, routes: dict[str, str], ready: Tenant, fault: str
) -> None:
    world.sandbox.script("cohere", fault)
    told = ask(world, ready, **chat_body(routes["chat"], stream=fault == "errorfirst", max_tokens=20))
    if fault == "malformed":  # a fault of streams
        assert told.status_code == 200
        return
    assert told.status_code in (429, 502, 503)
    assert told.json()["error"]["message"]
    assert [record.net_nanos for record in ready.records()] == [0]


@pytest.mark.parametrize("fault", ["onebyte", "crlf", "bom", "comments", "nospace", "multiline", "hugeline:300000", "separators"])
def test_a_stream_in_odd_clothes_is_read(world: World, routes: dict[str, str], ready: Tenant, fault: str) -> None:
    world.sandbox.script("cohere", fault)
    events = sse_events(ask(world, ready, **chat_body(routes["chat"], stream=True, max_tokens=60)).text)
    assert events[-1] == "[DONE]"
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    agree(world, ready)


@pytest.mark.parametrize(
    ("fault", "source"),
    [("nousage", "counted"), ("absurdusage", "suspect"), ("negativeusage", "suspect"), ("stringusage", "suspect")],
)
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_usage_that_can_not_be_true_is_bounded(
    world: World, routes: dict[str, str], ready: Tenant, fault: str, source: str, is_stream: bool
) -> None:
    world.sandbox.script("cohere", fault)
    assert ask(world, ready, **chat_body(routes["chat"], stream=is_stream, max_tokens=30)).status_code == 200
    [record] = ready.records()
    assert record.usage_source == source
    assert 0 < record.output_tokens <= (600 if fault == "absurdusage" else 60)


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_cohere_can_not_say_is_refused_before_money_is_held(world: World, routes: dict[str, str], ready: Tenant) -> None:
    for fields, param in (
        ({"n": 2}, "n"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"tools": [TOOL], "response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"stop": list("abcdef")}, "stop"),
    ):
        told = ask(world, ready, model=routes["chat"], messages=MESSAGES, **fields)
        assert (told.status_code, told.json()["error"]["param"]) == (400, param)
    assert ready.records() == []
    assert ready.fresh().held_nanos == 0
    told = ask(world, ready, model=routes["chat"], messages=MESSAGES, max_tokens=5, n=2, logit_bias={"1": 5}, drop_params=True)
    assert told.status_code == 200
    assert told.headers["x-tokia-dropped-params"] == "logit_bias,messages[].name,n"


def test_names_of_unknown_parameters_can_not_break_a_header(world: World, routes: dict[str, str], ready: Tenant) -> None:
    odd = {"x\r\nset-cookie: a": 1, "ção\ud800": 2, **{f"unknown_{number}": 3 for number in range(500)}}
    body = json.dumps({**chat_body(routes["chat"], max_tokens=3), **odd, "drop_params": True})
    told = httpx.post(world.gateway.url + CHAT, content=body, headers=ready.headers, timeout=30)
    assert told.status_code in (200, 400)
    assert "set-cookie" not in told.headers
    del odd["ção\ud800"]
    body = json.dumps({**chat_body(routes["chat"], max_tokens=3), **odd, "ção": 2, "drop_params": True})
    told = httpx.post(world.gateway.url + CHAT, content=body, headers=ready.headers, timeout=30)
    assert told.status_code == 200
    assert "set-cookie" not in told.headers
    assert len(told.headers["x-tokia-dropped-params"]) == 1_000
