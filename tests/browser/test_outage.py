"""A provider dies: the call is answered by another one, its page tells the whole way, and the public status page turns."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
SICK = "deepseek"
TURN_SECONDS = 60.0  # UX: the page turns within a minute


def script(demo: dict[str, str], *faults: str, times: int) -> None:
    answer = httpx.post(f"{demo['sandbox_url']}/llm/__script", json={"provider": SICK, "faults": list(faults), "times": times})
    assert answer.status_code == 200, answer.text


def call(client: httpx.Client) -> httpx.Response:
    body = {"model": "tokia/balanced", "max_tokens": 40, "stream": True, "messages": [{"role": "user", "content": "Diga bom dia."}]}
    answer = client.post("/chat/completions", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def state_of(demo: dict[str, str]) -> tuple[str, str]:
    """Of the sick provider, and the headline."""
    report = httpx.get(f"{demo['web_url']}/status.json").json()
    states = [item["state"] for item in report.get("providers", []) if item["id"] == SICK]
    return (states or ["unmeasured"])[0], report["headline"]


def test_it_answers_tells_and_turns_when_a_provider_dies(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    demo = stack.demo
    visitor = visit(demo["web_url"])
    with httpx.Client(base_url=demo["base_url"], headers={"Authorization": f"Bearer {demo['api_key']}"}) as client:
        healthy = call(client)
        assert healthy.headers["x-tokia-provider"] == SICK
        script(demo, "500", times=10_000)
        died_at = time.monotonic()
        try:
            fallen = call(client)
            assert fallen.headers["x-tokia-provider"] != SICK and int(fallen.headers["x-tokia-attempts"]) == 2
            told = client.get("/generation", params={"id": fallen.headers["x-request-id"]}).json()["data"]
            assert [attempt["status"] for attempt in told["provider_responses"]] == [500, 200]
            state, words = state_of(demo)
            while state not in ("slow", "down"):
                assert time.monotonic() - died_at < TURN_SECONDS, (state, words)
                call(client)
                time.sleep(0.5)
                state, words = state_of(demo)
            turned_after = time.monotonic() - died_at
            while "DeepSeek" not in look_at_the_status(visitor):  # between a pause and its probe it may look well
                assert time.monotonic() - died_at < 2 * TURN_SECONDS, state_of(demo)
                call(client)
                time.sleep(0.5)
            visitor.shoot("status-sick")
            look_at_the_call(visitor, demo, fallen.headers["x-request-id"])
        finally:
            httpx.delete(f"{demo['sandbox_url']}/llm/__script")
    print(f"the status page turned after {turned_after:.1f} s: {words}")


def look_at_the_status(visitor: Visitor) -> str:
    """The page's big line."""
    page = visitor.go("/status/")
    assert page.locator("svg[role=img]").count() > 0
    for label in page.locator("svg[role=img]").evaluate_all("all => all.map(each => each.getAttribute('aria-label'))"):
        assert label
    return page.get_by_role("heading", level=1).inner_text()


def look_at_the_call(visitor: Visitor, demo: dict[str, str], call_id: str) -> None:
    page = visitor.go("/conta/entrar/")
    page.locator("input[name=login]").fill(demo["email"])
    page.locator("input[name=password]").fill(demo["password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/app/")
    page = visitor.go(f"/app/requisicoes/{call_id}/")
    way = page.locator("section", has=page.get_by_role("heading", name="Caminho"))
    for words in ("tokia/balanced", "Falhou", "o provedor respondeu com erro", "Atendeu", "Liquidada por"):
        expect(way).to_contain_text(words)
    visitor.shoot("request-fell-back")
    page = visitor.go("/app/requisicoes/?caminho=nova-tentativa")
    expect(page.get_by_text("Nova tentativa", exact=True).first).to_be_visible()
    visitor.shoot("requests-retried")


def test_it_shows_a_healthy_status_to_everybody(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    deadline = time.monotonic() + TURN_SECONDS
    while "Ainda sem medição" in httpx.get(f"{stack.demo['web_url']}/status/").text:
        assert time.monotonic() < deadline
        time.sleep(1)
    page = visitor.go("/")
    page.get_by_role("link", name="Status").first.click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("Latência adicionada")).to_be_visible()
    visitor.shoot("status")
