"""What upstreams do wrong, over real sockets: who is billed what, what the caller sees, and that the process survives."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest

from tests.gateway.world import Tenant, World, await_true, chat_body, sse_events

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6"}
UNITS = {"input": "10", "output": "30"}


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    return {slug: world.route(slug, model, units=UNITS).name for slug, model in MODELS.items()}


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    return tenant


def ask(world: World, tenant: Tenant, body: dict[str, Any], **kwargs: Any) -> httpx.Response:
    return httpx.post(f"{world.gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=20, **kwargs)


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("401", 502, "provider_unavailable"),
        ("403", 502, "provider_unavailable"),
        ("429", 429, "rate_limit_exceeded"),
        ("500", 502, "upstream_error"),
        ("503", 503, "provider_overloaded"),
        ("529", 503, "provider_overloaded"),
        ("html", 502, "provider_malformed"),
        ("redirect", 502, "upstream_error"),
    ],
)
def test_it_maps_refusals_before_the_first_byte(
    world: World, ready: Tenant, routes: dict[str, str], slug: str, is_stream: bool, fault: str, status: int, code: str
) -> None:
    world.sandbox.script(slug, fault)
    answer = ask(world, ready, chat_body(routes[slug], stream=is_stream))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    told = {name: value for name, value in answer.json()["error"].items() if name != "doc_url"}  # which is an address of ours
    assert "sandbox" not in str(told).lower() and "127.0.0.1" not in str(told)
    [record] = ready.records()
    assert (record.outcome, record.net_nanos, record.status_code) == ("failed", 0, status)
    assert record.attempts[0]["error"] == code
    assert ready.fresh().held_nanos == 0


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("fault", ["reset", "shortlength", "longlength", "truncated", "endless", "gzipbomb"])
def test_it_never_takes_half_a_json_answer_for_a_whole(
    world: World, ready: Tenant, routes: dict[str, str], slug: str, fault: str
) -> None:
    world.sandbox.script(slug, fault)
    answer = ask(world, ready, chat_body(routes[slug]))
    assert answer.status_code == 502
    [record] = ready.records()
    assert (record.outcome, record.net_nanos) == ("failed", 0)


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("fault", ["reset:4", "cleaneof:4", "errormid:4"])
def test_it_bills_what_was_delivered_when_a_stream_is_cut(
    world: World, ready: Tenant, routes: dict[str, str], slug: str, fault: str
) -> None:
    world.sandbox.script(slug, fault)
    answer = ask(world, ready, chat_body(routes[slug], stream=True, stream_options={"include_usage": True}, max_tokens=80))
    events = sse_events(answer.text)
    assert answer.status_code == 200
    assert "[DONE]" not in events
    assert events[-1]["error"]["code"]
    delivered = "".join(event["choices"][0]["delta"].get("content") or "" for event in events[:-1])
    assert delivered
    [record] = ready.records()
    assert (record.outcome, record.usage_source) == ("cut", "counted")
    assert 0 < record.output_tokens <= 20
    told = events[-1]["error"]["usage"]  # OpenAI's SDKs keep the error's insides
    assert (told["prompt_tokens"], told["completion_tokens"]) == (record.input_tokens, record.output_tokens)
    assert round(told["cost"] * 10**9) == record.net_nanos > 0
    assert ready.fresh().held_nanos == 0


@pytest.mark.parametrize("slug", MODELS)
def test_it_gives_a_status_to_an_error_that_is_the_first_event(
    world: World, ready: Tenant, routes: dict[str, str], slug: str
) -> None:
    world.sandbox.script(slug, "errorfirst")
    answer = ask(world, ready, chat_body(routes[slug], stream=True))
    if answer.status_code == 200:  # Messages begins with message_start, which is an event already
        assert "error" in sse_events(answer.text)[-1]
    else:
        assert answer.status_code in (502, 503)
    [record] = ready.records()
    assert record.net_nanos == 0


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("fault", ["onebyte", "crlf", "bom", "comments", "nospace", "multiline", "separators"])
def test_it_reads_streams_as_the_standard_says(world: World, ready: Tenant, routes: dict[str, str], slug: str, fault: str) -> None:
    world.sandbox.script(slug, fault)
    body = chat_body(routes[slug], stream=True, stream_options={"include_usage": True}, max_tokens=60)
    events = sse_events(ask(world, ready, body).text)
    assert events[-1] == "[DONE]"
    assert events[-2]["usage"]["cost"] > 0
    assert any(event["choices"][0]["finish_reason"] for event in events[:-2])
    [record] = ready.records()
    assert (record.outcome, record.usage_source) == ("completed", "upstream")


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("fault", ["hugeline", "malformed"])
def test_it_ends_a_stream_that_it_cannot_read_with_an_error_event(
    world: World, ready: Tenant, routes: dict[str, str], slug: str, fault: str
) -> None:
    world.sandbox.script(slug, fault)
    answer = ask(world, ready, chat_body(routes[slug], stream=True))
    if answer.status_code == 200:
        assert "error" in sse_events(answer.text)[-1]
    else:
        assert answer.status_code == 502
    [record] = ready.records()
    assert record.outcome in ("cut", "failed")


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "source"),
    [("nousage", "counted"), ("absurdusage", "suspect"), ("negativeusage", "suspect"), ("stringusage", "suspect")],
)
def test_it_never_believes_usage_that_can_not_be(
    world: World, ready: Tenant, routes: dict[str, str], slug: str, is_stream: bool, fault: str, source: str
) -> None:
    world.sandbox.script(slug, fault)
    answer = ask(world, ready, chat_body(routes[slug], stream=is_stream, max_tokens=60))
    assert answer.status_code == 200
    [record] = ready.records()
    assert (record.outcome, record.usage_source) == ("completed", source)
    assert record.hold_nanos is not None
    assert 0 < record.net_nanos <= record.hold_nanos * 200
    assert 0 < record.output_tokens <= 4_000
    assert ready.fresh().posted_nanos > 0


@pytest.mark.parametrize("slug", MODELS)
def test_it_bills_an_overshoot_as_it_was_sent(world: World, ready: Tenant, routes: dict[str, str], slug: str) -> None:
    world.sandbox.script(slug, "overshoot")
    assert ask(world, ready, chat_body(routes[slug], max_tokens=10)).status_code == 200
    [record] = ready.records()
    assert record.output_tokens > 10
    assert record.usage_source == "upstream"


def test_it_passes_on_the_requests_own_mistakes(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    answer = ask(world, ready, chat_body(routes["openai"], frobnicate=True))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unknown_parameter"
    assert answer.json()["error"]["param"] == "frobnicate"
    answer = ask(world, ready, chat_body(routes["anthropic"], n=2))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "n")
    assert [record.net_nanos for record in ready.records()] == [0]  # the second was refused before money was held


def test_it_asks_the_next_deployment_before_the_first_byte(world: World, tenant: Tenant) -> None:
    from gateway.models import Deployment

    route = world.route("mistral", "fault-500-mistral-small", name="test/two-homes", units=UNITS)  # its key was never refused
    Deployment.objects.create(route=route, provider=world.provider("groq"), upstream_model="llama-3.1-8b-instant", priority=2)
    world.await_served(tenant, route.name)
    time.sleep(0.5)  # the second deployment came after the route
    for is_stream in (False, True):
        answer = ask(world, tenant, chat_body(route.name, stream=is_stream, max_tokens=30))
        assert (answer.status_code, answer.headers["x-tokia-provider"], answer.headers["x-tokia-attempts"]) == (200, "groq", "2")
    for record in tenant.records():
        assert [attempt["status"] for attempt in record.attempts] == [500, 200]
        assert (record.outcome, record.provider_name) == ("completed", "groq")


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("is_stream", [False, True])
def test_it_closes_the_upstream_when_the_caller_hangs_up(
    world: World, ready: Tenant, routes: dict[str, str], slug: str, is_stream: bool
) -> None:
    world.sandbox.script(slug, "stallmid:5" if is_stream else "stall")
    body = chat_body(routes[slug], stream=is_stream, max_tokens=100)
    if is_stream:
        with httpx.stream("POST", f"{world.gateway.url}/v1/chat/completions", json=body, headers=ready.headers) as answer:
            seen = ""
            for text in answer.iter_text():
                seen += text
                if seen.count("data: ") >= 5:
                    break
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{world.gateway.url}/v1/chat/completions", json=body, headers=ready.headers, timeout=1)
    await_true(lambda: ready.records(), why="the call was not settled")
    [record] = ready.records()
    assert record.outcome == "cancelled"
    assert (record.net_nanos > 0) == is_stream
    assert ready.fresh().held_nanos == 0
    await_true(lambda: world.sandbox.ledger()["stalled"] == 0, why="the upstream call was not closed")


def test_it_lets_a_slow_reader_hold_back_the_upstream(world: World, ready: Tenant, routes: dict[str, str]) -> None:
    """Memory stays flat: 40 callers who do not read, each of an answer of some hundred KiB."""

    def rss_kib() -> int:
        with open(f"/proc/{world.gateway.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4

    before = rss_kib()
    stop = threading.Event()

    def read_slowly() -> None:
        body = chat_body(routes["openai"], stream=True, max_tokens=4_000)
        with httpx.stream(
            "POST", f"{world.gateway.url}/v1/chat/completions", json=body, headers=ready.headers, timeout=30
        ) as answer:
            for _ in answer.iter_raw(64):
                if stop.wait(0.05):
                    return

    threads = [threading.Thread(target=read_slowly) for _ in range(40)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    grown = rss_kib() - before
    stop.set()
    for thread in threads:
        thread.join()
    assert grown < 48 * 1024, f"{grown} KiB"
    await_true(lambda: len(ready.records()) == 40 and ready.fresh().held_nanos == 0)
