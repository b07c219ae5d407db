"""`/v1/responses` over the wire: what is stored and read back, what goes wrong upstream, what a stranger or a fool can do."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import psycopg
import pytest

from accounts.models import ApiKey
from gateway.models import StoredResponse
from gateway.surfaces import responses_store
from tests.gateway.test_responses_sdk import QUESTION, TOOL, UNITS
from tests.gateway.world import Tenant, World, await_true, count_rows
from tests.stores import stores

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6", "deepseek": "deepseek-reasoner"}


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {slug: world.route(slug, model, units=UNITS).name for slug, model in MODELS.items()}


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    return tenant


@pytest.fixture
def client(world: World, ready: Tenant) -> Any:
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=ready.secret, max_retries=0) as client:
        yield client


def ask(world: World, tenant: Tenant, body: Any, path: str = "/v1/responses", **kwargs: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(world.gateway.url + path, content=content, headers=tenant.headers, timeout=20, **kwargs)


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    events = [json.loads(block.split("\ndata: ", 1)[1]) for block in answer.text.split("\n\n") if "\ndata: " in block]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


# ── Stored ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("is_stream", [False, True])
def test_it_stores_what_the_caller_asked_for(client: openai.OpenAI, routes: dict[str, str], is_stream: bool) -> None:
    if is_stream:
        with client.responses.stream(model=routes["openai"], input="oi", store=True) as stream:
            answer: Any = stream.get_final_response()
    else:
        answer = client.responses.create(model=routes["openai"], input="oi", store=True)
    found = client.responses.retrieve(answer.id)
    assert found.output_text == answer.output_text
    assert found.to_dict() == {**answer.to_dict(), "output": found.to_dict()["output"]}
    assert found.to_dict()["store"] is True
    client.responses.delete(answer.id)
    for verb in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list, client.responses.cancel):
        with pytest.raises(openai.NotFoundError) as refused:
            verb(answer.id)
        assert refused.value.code == "response_not_found"


@pytest.mark.parametrize("store", [None, False])
def test_it_stores_nothing_that_nobody_asked_for(client: openai.OpenAI, routes: dict[str, str], store: bool | None) -> None:
    before = count_rows("gateway_storedresponse")
    answer = client.responses.create(model=routes["openai"], input="oi", store=store)
    assert answer.to_dict()["store"] is False
    assert count_rows("gateway_storedresponse") == before
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    with pytest.raises(openai.NotFoundError) as refused:
        client.responses.create(model=routes["openai"], input="e?", previous_response_id=answer.id)
    assert (refused.value.param, refused.value.code) == ("previous_response_id", "previous_response_not_found")
    assert '"store": true' in refused.value.message
    assert responses_store.KEY_OPTION in refused.value.message


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_key_may_ask_for_all_its_responses(world: World, routes: dict[str, str], is_stream: bool) -> None:
    """As OpenAI does by default, and as SDKs that refer to earlier items take for granted."""
    key = world.tenant(stores_responses=True)
    with openai.OpenAI(base_url=f"{world.gateway.url}/v1", api_key=key.secret, max_retries=0) as client:
        if is_stream:
            with client.responses.stream(model=routes["openai"], input="um") as stream:
                first: Any = stream.get_final_response()
        else:
            first = client.responses.create(model=routes["openai"], input="um")
        assert first.to_dict()["store"] is True
        assert client.responses.retrieve(first.id).output_text == first.output_text
        assert client.responses.create(model=routes["openai"], input="dois", previous_response_id=first.id).output_text
        given: Any = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "três"}]
        third = client.responses.create(model=routes["anthropic"], input=given, store=False)
        assert third.to_dict()["store"] is False
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(third.id)
        ApiKey.everywhere.filter(pk=key.key.pk).update(stores_responses=False)
        await_true(lambda: client.responses.create(model=routes["openai"], input="um").to_dict()["store"] is False)


def test_it_continues_over_several_turns_without_the_old_instructions(
    client: openai.OpenAI, routes: dict[str, str], ready: Tenant
) -> None:
    first = client.responses.create(model=routes["openai"], input="um", instructions="fale pouco", store=True)
    second = client.responses.create(model=routes["anthropic"], input="dois", previous_response_id=first.id, store=True)
    third = client.responses.create(model=routes["openai"], input="três", previous_response_id=second.id, store=True)
    items: list[Any] = client.responses.input_items.list(third.id, order="asc").data
    assert [getattr(item, "role", "") for item in items] == ["user", "assistant", "user", "assistant", "user"]
    assert [item.content[0].text for item in items if item.type == "message"] == [
        "um", first.output_text, "dois", second.output_text, "três",
    ]  # fmt: skip
    tokens = [record.input_tokens + record.cached_input_tokens for record in ready.records()]
    assert tokens[0] < tokens[2]
    assert third.instructions is None
    counted = client.responses.input_tokens.count(model=routes["openai"], input="quatro", previous_response_id=third.id)
    assert counted.input_tokens > tokens[2]
    assert len(ready.records()) == 3  # counting is free


def test_it_lists_input_items_by_pages(client: openai.OpenAI, routes: dict[str, str], world: World, ready: Tenant) -> None:
    given: list[Any] = [{"role": "user", "content": f"mensagem {number}"} for number in range(5)]
    answer = client.responses.create(model=routes["openai"], input=given, store=True)
    listed: list[Any] = list(client.responses.input_items.list(answer.id, limit=2, order="desc"))
    texts = [item.content[0].text for item in listed]
    assert texts == [f"mensagem {number}" for number in (4, 3, 2, 1, 0)]
    page = httpx.get(f"{world.gateway.url}/v1/responses/{answer.id}/input_items?limit=2&order=asc", headers=ready.headers).json()
    assert (page["object"], page["has_more"], len(page["data"])) == ("list", True, 2)
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][1]["id"])
    for query in (
        "limit=0",
        "limit=101",
        "limit=x",
        "order=up",
        "after=msg_1",
        "include[]=x",
        "&".join(f"a{n}=1" for n in range(200)),
    ):
        url = f"{world.gateway.url}/v1/responses/{answer.id}/input_items?{query}"
        assert httpx.get(url, headers=ready.headers).status_code == 400, query


def test_it_refers_to_stored_items(client: openai.OpenAI, routes: dict[str, str]) -> None:
    """As Vercel's AI SDK does in a tool loop of stored responses."""
    first = client.responses.create(model=routes["openai"], input=QUESTION, tools=[TOOL], store=True)  # type: ignore[list-item]
    [call] = [item for item in first.output if item.type == "function_call"]
    assert call.id
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "22 graus"}
    given: list[Any] = [{"role": "user", "content": QUESTION}, {"type": "item_reference", "id": call.id}, output]
    second = client.responses.create(model=routes["openai"], input=given, tools=[TOOL])  # type: ignore[list-item]
    assert "22 graus" in second.output_text
    given[1]["id"] = "fc_" + "0" * 36
    with pytest.raises(openai.NotFoundError) as refused:
        client.responses.create(model=routes["openai"], input=given)
    assert (refused.value.code, refused.value.param) == ("item_not_found", "input[1].id")
    assert responses_store.KEY_OPTION in refused.value.message


@pytest.mark.parametrize("slug", ["anthropic", "deepseek"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_it_carries_thoughts_through_a_stateless_loop(
    client: openai.OpenAI, routes: dict[str, str], slug: str, is_stream: bool
) -> None:
    asked: dict[str, Any] = {"model": routes[slug], "tools": [TOOL], "store": False, "include": ["reasoning.encrypted_content"],
                             "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 4_000}  # fmt: skip
    if is_stream:
        with client.responses.stream(**asked, input=QUESTION) as stream:
            kinds = {event.type for event in stream}
            first: Any = stream.get_final_response()
        assert {"response.reasoning_summary_part.added", "response.reasoning_summary_text.delta"} <= kinds
    else:
        first = client.responses.create(**asked, input=QUESTION)
    thoughts = first.output[0]
    assert thoughts.type == "reasoning"
    assert thoughts.summary[0].text
    assert thoughts.encrypted_content
    assert thoughts.summary[0].text not in thoughts.encrypted_content
    [call] = [item for item in first.output if item.type == "function_call"]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "22 graus"}
    history: list[Any] = [{"role": "user", "content": QUESTION}, *(item.to_dict() for item in first.output), output]
    second = client.responses.create(**asked, input=history)
    assert "22 graus" in second.output_text


def test_a_stored_response_shows_what_is_sealed_only_when_asked(client: openai.OpenAI, routes: dict[str, str]) -> None:
    answer = client.responses.create(
        model=routes["deepseek"], input="oi", store=True, reasoning={"effort": "low"}, max_output_tokens=4_000
    )
    assert "encrypted_content" not in answer.output[0].to_dict()
    assert "encrypted_content" not in client.responses.retrieve(answer.id).output[0].to_dict()
    found = client.responses.retrieve(answer.id, include=["reasoning.encrypted_content"])
    assert found.output[0].to_dict()["encrypted_content"]
    again = client.responses.create(model=routes["deepseek"], input="e?", previous_response_id=answer.id)
    assert again.status == "completed"


def test_a_stranger_finds_nothing(world: World, client: openai.OpenAI, routes: dict[str, str]) -> None:
    answer = client.responses.create(model=routes["openai"], input="segredo", store=True)
    stranger = world.tenant()
    item = client.responses.input_items.list(answer.id).data[0].id
    base = f"{world.gateway.url}/v1/responses/{answer.id}"
    for method, url in (("GET", base), ("DELETE", base), ("GET", f"{base}/input_items"), ("POST", f"{base}/cancel")):
        refused = httpx.request(method, url, headers=stranger.headers)
        assert refused.status_code == 404, (method, url)
        assert "segredo" not in refused.text
        assert httpx.request(method, url).status_code == 401
    for body in ({"previous_response_id": answer.id, "input": "e?"}, {"input": [{"type": "item_reference", "id": item}]}):
        assert ask(world, stranger, {"model": routes["openai"], **body}).status_code == 404
    assert stranger.records() == []
    assert client.responses.retrieve(answer.id).id == answer.id


def test_it_refuses_what_is_not_offered_on_a_stored_response(
    world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant
) -> None:
    answer = client.responses.create(model=routes["openai"], input="oi", store=True)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.cancel(answer.id)
    assert refused.value.param == "background"
    base = f"{world.gateway.url}/v1/responses"
    for method, url, status in (
        ("GET", f"{base}/{answer.id}?stream=true", 400), ("GET", f"{base}/{answer.id}?include=x", 400),
        ("POST", f"{base}/{answer.id}", 405), ("GET", f"{base}/{answer.id}/cancel", 405),
        ("POST", f"{base}/{answer.id}/input_items", 405),
        ("GET", f"{base}/{answer.id}/x", 404), ("GET", f"{base}/input_tokens", 405), ("POST", f"{base}/compact", 405),
        ("GET", f"{base}/..%2f..", 404), ("GET", f"{base}/{'a' * 5_000}", 404),
    ):  # fmt: skip
        told = httpx.request(method, url, headers=ready.headers)
        assert told.status_code == status, (method, url[:80], told.text[:200])
        assert set(told.json()["error"]) == {"message", "type", "param", "code", "doc_url"}


def test_a_row_holds_no_word_of_it(client: openai.OpenAI, routes: dict[str, str]) -> None:
    answer = client.responses.create(model=routes["openai"], input="abacaxi maduro", store=True, metadata={"cor": "abacaxi"})
    row = StoredResponse.everywhere.get(pk=answer.id.removeprefix("resp_"))
    for field in StoredResponse._meta.concrete_fields:
        assert b"abacaxi" not in (bytes(row.body) if field.name == "body" else str(getattr(row, field.attname)).encode())
    assert b"abacaxi" not in bytes(row.input_items)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_paid_answer_is_not_lost_when_it_can_not_be_stored(
    world: World, ready: Tenant, routes: dict[str, str], is_stream: bool
) -> None:
    with psycopg.connect(stores.postgres.superuser_url, autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON gateway_storedresponse FROM tokia_app")
        try:
            answer = ask(world, ready, {"model": routes["openai"], "input": "oi", "store": True, "stream": is_stream})
        finally:
            connection.execute("GRANT INSERT ON gateway_storedresponse TO tokia_app")
    assert answer.status_code == 200
    response = events_of(answer)[-1]["response"] if is_stream else answer.json()
    assert (response["status"], response["store"]) == ("completed", False)
    assert response["output"][0]["content"][0]["text"]
    [record] = ready.records()
    assert record.outcome == "completed"


def test_it_names_what_it_left_out(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    body = {"model": routes["openai"], "input": "oi", "tools": [{"type": "web_search"}], "truncation": "auto"}
    refused = ask(world, ready, body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "truncation")
    assert ready.records() == []
    answer = ask(world, ready, {**body, "drop_params": True})
    assert answer.status_code == 200
    assert {"truncation", "tools[0]"} <= set(answer.headers["x-tokia-dropped-params"].split(","))
    assert answer.json()["tools"] == []


def test_a_models_refusal_has_the_callers_names(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    body = {"model": routes["anthropic"], "input": "oi", "top_logprobs": 2}
    refused = ask(world, ready, body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "top_logprobs")
    assert ready.records() == []


# ── Upstream ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("slug", ["openai", "anthropic"])
@pytest.mark.parametrize("fault", ["reset:4", "cleaneof:4", "errormid:4"])
def test_a_stream_that_is_cut_ends_as_failed(world: World, ready: Tenant, routes: dict[str, str], slug: str, fault: str) -> None:
    world.sandbox.script(slug, fault)
    answer = ask(world, ready, {"model": routes[slug], "input": "Diga olá.", "stream": True, "store": True})
    failed, error = events_of(answer)[-2:]
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["output"][0]["content"][0]["text"]
    assert failed["response"]["output"][0]["status"] == "incomplete"
    assert error["type"] == "error"
    assert error["code"] == error["error"]["code"]
    [record] = ready.records()
    assert (record.outcome, record.surface) == ("cut", "responses")
    assert failed["response"]["usage"]["output_tokens"] == record.output_tokens + record.reasoning_tokens
    assert round(failed["response"]["usage"]["cost"] * 10**9) == record.net_nanos > 0
    assert ready.fresh().held_nanos == 0
    assert not StoredResponse.everywhere.filter(organization_id=ready.key.organization_id).exists()


def test_the_sdk_raises_when_a_stream_is_cut(world: World, client: openai.OpenAI, routes: dict[str, str]) -> None:
    world.sandbox.script("openai", "cleaneof:3")
    seen = []
    with pytest.raises(openai.APIError) as raised:
        for event in client.responses.create(model=routes["openai"], input="oi", stream=True):
            seen.append(event.type)
    assert seen[-1] == "response.failed"
    assert raised.value.code == "upstream_cut"


@pytest.mark.parametrize("slug", ["openai", "anthropic"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_that_is_too_long_is_incomplete(
    client: openai.OpenAI, routes: dict[str, str], slug: str, is_stream: bool
) -> None:
    asked: dict[str, Any] = {"model": routes[slug], "input": "Conte. [tokens=500]", "max_output_tokens": 20}
    if is_stream:
        answer = list(client.responses.create(**asked, stream=True))[-1]
        assert answer.type == "response.incomplete"
        response = answer.response
    else:
        response = client.responses.create(**asked)
    assert (response.status, response.max_output_tokens) == ("incomplete", 20)
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output_text


@pytest.mark.parametrize(("fault", "status"), [("401", 502), ("429", 429), ("500", 502), ("529", 503), ("html", 502)])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_refusal_before_the_first_byte_has_its_status(
    world: World, ready: Tenant, routes: dict[str, str], fault: str, status: int, is_stream: bool
) -> None:
    world.sandbox.script("openai", fault)
    answer = ask(world, ready, {"model": routes["openai"], "input": "oi", "stream": is_stream})
    assert answer.status_code == status
    assert answer.json()["error"]["code"]
    assert ready.fresh().held_nanos == 0


def test_it_bills_what_the_sandbox_billed(world: World, client: openai.OpenAI, routes: dict[str, str], ready: Tenant) -> None:
    world.sandbox.post("/llm/__reset")
    long = "A cláusula seguinte define o foro. " * 200
    for slug in MODELS:
        for _ in range(2):  # the second one reads from the cache
            client.responses.create(model=routes[slug], instructions=long, input="Resuma.", max_output_tokens=600)
            list(
                client.responses.create(model=routes[slug], instructions=long, input="Resuma.", max_output_tokens=600, stream=True)
            )
    billed = world.sandbox.ledger()["calls"]
    records = ready.records()
    assert len(records) == len(billed) == 12
    assert any(record.cached_input_tokens for record in records)
    assert any(record.reasoning_tokens for record in records)
    prompt = sum(record.input_tokens + record.cached_input_tokens + record.cache_write_tokens for record in records)
    assert prompt == sum(call["usage"]["prompt_tokens"] for call in billed)
    assert sum(record.cached_input_tokens for record in records) == sum(call["usage"]["cached_tokens"] for call in billed)
    completion = sum(record.output_tokens + record.reasoning_tokens for record in records)
    assert completion == sum(call["usage"]["completion_tokens"] for call in billed)
    wallet = ready.fresh()
    assert wallet.posted_nanos == 100 * 10**9 - sum(record.net_nanos for record in records)
    assert wallet.held_nanos == 0


# ── Hostile ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": [value]}
    return value


CALLS = [{"type": "function_call", "call_id": f"c{n}", "name": "f", "arguments": "{}"} for n in range(9_000)]
OUTPUTS = [{"type": "function_call_output", "call_id": f"c{n}", "output": ""} for n in range(9_000)]
HOSTILE: dict[str, Any] = {
    "nothing": b"",
    "not JSON": b"{",
    "a list": b"[]",
    "not UTF-8": b'{"model":"\xff"}',
    "a key twice": b'{"model":"%m","input":"a","input":"b"}',
    "NaN": b'{"model":"%m","input":"a","temperature":NaN}',
    "deep": {"input": [{"role": "user", "content": deep(200)}]},
    "a deep schema": {"input": "a", "text": {"format": {"type": "json_schema", "name": "n", "schema": deep(200)}}},
    "10 000 tools": {"input": "a", "tools": [TOOL] * 10_000},
    "100 000 allowed tools": {
        "input": "a",
        "tools": [TOOL],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get_weather"}] * 100_000},
    },
    "30 000 calls and no output": {
        "input": [{"type": "function_call", "call_id": f"c{n}", "name": "f", "arguments": "{}"} for n in range(30_000)]
    },
    "9 000 calls and outputs": {"input": CALLS[:9_000] + OUTPUTS[:9_000]},
    "4 000 calls and outputs, and one more": {"input": [*CALLS[:4_000], *OUTPUTS[:4_000], OUTPUTS[0]]},
    "100 000 items": {"input": [{"role": "user", "content": "a"}] * 100_000},
    "100 000 parts": {"input": [{"role": "user", "content": [{"type": "input_frob"}] * 100_000}]},
    "a huge number": b'{"model":"%m","input":"a","max_output_tokens":' + b"9" * 400 + b"}",
    "a huge exponent": b'{"model":"%m","input":"a","temperature":1e999}',
    "an input of numbers": {"input": [1, 2, 3]},
    "an input of lists": {"input": [[[]]]},
    "no input": {},
    "references": {"input": [{"type": "item_reference", "id": f"msg_{n:032x}0000"} for n in range(500)]},
    "a reference to nothing": {"input": [{"type": "item_reference"}]},
    "a previous id of another kind": {"input": "a", "previous_response_id": "' OR 1=1 --"},
    "a previous id of numbers": {"input": "a", "previous_response_id": 7},
    "metadata of metadata": {"input": "a", "metadata": {"a": {"b": "c"}}},
    "a foreign seal": {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "gAAAAA" * 20_000}]},
    "our address": {"input": "a", "base_url": "http://169.254.169.254"},
    "a model of a megabyte": {"model": "x" * 1_000_000, "input": "a"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_refused_at_once(world: World, ready: Tenant, routes: dict[str, str], name: str) -> None:
    body = HOSTILE[name]
    model = routes["openai"]
    raw = body.replace(b"%m", model.encode()) if isinstance(body, bytes) else json.dumps({"model": model, **body}).encode()
    took = []
    with httpx.Client(headers=ready.headers) as caller:
        for _ in range(4):  # other callers and the gateway's own clocks run, too: the quickest counts
            started = world.gateway.cpu_ns()
            answer = caller.post(f"{world.gateway.url}/v1/responses", content=raw)
            took.append((world.gateway.cpu_ns() - started) / 1e9)
            assert 400 <= answer.status_code < 500, answer.text[:300]
            assert set(answer.json()["error"]) == {"message", "type", "param", "code", "doc_url"}
    assert ready.records() == []
    assert ready.fresh().held_nanos == 0
    assert min(took) < 0.05 + len(raw) / 20_000_000, f"{min(took) * 1000:.0f} ms for {len(raw)} bytes"
