"""What a Gemini that misbehaves does to a call: framing that changes nothing, streams that break, refusals."""

from __future__ import annotations

import httpx
import pytest

from tests.gateway.world import Tenant, World, await_true, sse_events

BUDGET, LEVEL = "gemini-2.5-flash", "gemini-3.8-flash"


@pytest.mark.parametrize("fault", ["onebyte", "crlf", "comments", "nospace", "multiline", "bom", "separators", "slowfirst"])
def test_any_framing_of_its_stream_reads_the_same(world: World, tenant: Tenant, fault: str) -> None:
    route = world.fault_route("google", fault if fault != "slowfirst" else "slowfirst50", BUDGET)
    world.await_served(tenant, route)
    body = {
        "model": route,
        "messages": [{"role": "user", "content": "Oi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = httpx.post(f"{world.gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=60)
    events = sse_events(answer.text)
    assert events[-1] == "[DONE]"
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events[:-2])
    assert "Você disse: “Oi”" in text and (fault != "separators" or "\u2028" in text)
    assert tenant.records()[-1].usage_source == "upstream"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cleaneof3", "upstream_cut"),
        ("errormid3", "provider_overloaded"),
        ("reset3", None),
        ("truncated", None),
        ("malformed", None),
    ],
)
def test_a_stream_that_breaks_ends_with_an_error_and_costs_what_was_delivered(
    world: World, tenant: Tenant, fault: str, code: str | None
) -> None:
    route = world.fault_route("google", fault, BUDGET)
    world.await_served(tenant, route)
    body = {"model": route, "messages": [{"role": "user", "content": "Oi [tokens=60]"}], "stream": True}
    answer = httpx.post(f"{world.gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=30)
    if answer.status_code != 200:  # it broke within what came first, before anything was delivered
        assert answer.status_code == (503 if code == "provider_overloaded" else 502) and tenant.records()[-1].gross_nanos == 0
        return
    events = sse_events(answer.text)
    assert "error" in events[-1] and "[DONE]" not in answer.text
    assert code is None or events[-1]["error"]["code"] == code
    await_true(lambda: tenant.fresh().held_nanos == 0)
    record = tenant.records()[-1]
    assert record.outcome == "cut"
    assert record.gross_nanos > 0


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("429", 429, "rate_limit_exceeded"), ("401", 502, "provider_unavailable"), ("403", 502, "provider_unavailable"),
     ("500", 502, "upstream_error"), ("503", 503, "provider_overloaded"), ("html", 502, "provider_malformed"),
     ("errorfirst", 503, "provider_overloaded")],
)  # fmt: skip
def test_its_errors_become_ours(world: World, tenant: Tenant, fault: str, status: int, code: str) -> None:
    route = world.fault_route("google", fault, LEVEL)
    world.await_served(tenant, route)
    body = {"model": route, "messages": [{"role": "user", "content": "Oi"}], "stream": fault == "errorfirst"}
    answer = httpx.post(f"{world.gateway.url}/v1/chat/completions", json=body, headers=tenant.headers, timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (answer.headers.get("retry-after") == "1") == (status == 429) or status == 503
    assert tenant.records()[-1].gross_nanos == 0
    assert tenant.fresh().held_nanos == 0
