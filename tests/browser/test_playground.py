"""The playground in a real browser against the real gateway: two models side by side, to the nano; a stop; an empty wallet."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor, sign_in
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
PATH = "/app/playground/"
MODEL, OTHER = "openai/gpt-4o-mini", "anthropic/claude-haiku-4.5"


def slow_down(demo: dict[str, str], *, ms: int) -> None:
    """Between two pieces of the sandbox's answers."""
    httpx.post(f"{demo['sandbox_url']}/llm/__delay", json={"ms": ms}).raise_for_status()


def ended(page: Page) -> None:
    expect(page.locator("[data-send]")).to_be_enabled(timeout=20_000)


def test_it_compares_two_models_and_tells_what_each_cost(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    demo = stack.demo
    visitor = visit(demo["web_url"])
    page = sign_in(visitor, demo)
    keys: list[str] = []
    page.on("response", lambda answer: keys.append(answer.url) if answer.url.endswith("/chave/") else None)
    visitor.go(f"{PATH}?modelo={MODEL}")
    assert page.locator("[data-model='1']").input_value() == MODEL
    page.get_by_role("button", name="Resumo").click()
    page.locator("[data-model='2']").select_option(OTHER)
    bound = int(page.locator("[data-estimate]").get_attribute("data-nanos") or 0)
    expect(page.locator("[data-estimate]")).to_have_text(re.compile(r"^até R\$"))
    page.locator("[data-text]").last.press("Control+Enter")

    first = page.locator("article").first
    expect(first.locator("[data-text] div")).not_to_be_empty()
    begun = len(first.locator("[data-text]").inner_text())
    assert first.locator("[data-state]").inner_text() == "Escrevendo…"
    ended(page)
    assert len(first.locator("[data-text]").inner_text()) > begun  # it came in pieces
    total = 0
    for article in page.locator("article").all():
        expect(article.locator("[data-state]")).to_have_text("Pronta")
        for part in ("first", "speed", "tokens"):
            assert article.locator(f"[data-{part}]").inner_text() != "–"
        cost = article.locator("[data-cost]")
        total += int(cost.get_attribute("data-nanos") or 0)
        record = page.request.get(
            demo["web_url"] + (article.get_by_role("link", name="Ver requisição").get_attribute("href") or "")
        )
        assert (cost.get_attribute("title") or "?") in record.text()  # what was charged, all nine decimals
        assert "Playground: " in record.text()
    assert 0 < total <= bound
    assert len(keys) == 1  # one key for both
    visitor.shoot("playground")

    # What was written is of this tab only, and the link carries none of it.
    page.reload()
    assert "reunião de segunda" in page.locator("[data-text]").last.input_value()
    page.get_by_role("button", name="Copiar link").click()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "#p=" in link and "reuni" not in link and "haiku" in link
    page.get_by_role("button", name="Ver código").click()
    expect(page.locator("[data-code=curl]")).to_contain_text("$TOKIA_API_KEY")
    assert "sk-tokia-" not in page.content()
    page.keyboard.press("Escape")

    # A stop is charged for what came until then; the account says how much.
    page.locator("[data-model='2']").select_option("")
    slow_down(demo, ms=400)
    page.get_by_role("button", name="Enviar").click()
    expect(page.locator("article [data-text] div")).not_to_be_empty()
    page.get_by_role("button", name="Parar").click()
    slow_down(demo, ms=15)
    ended(page)
    expect(page.locator("article [data-state]")).to_have_text("Parada")
    assert int(page.locator("article [data-cost]").get_attribute("data-nanos") or 0) > 0

    # An empty wallet, in the gateway's words (tests/gateway/test_cors.py): the way on is there. The demo's is never empty for sure.
    refusal = {"error": {"message": "…", "type": "billing_error", "param": None, "code": "insufficient_balance"}}
    allowed = {"access-control-allow-origin": demo["web_url"]}
    page.route("**/v1/chat/completions", lambda route: route.fulfill(status=402, json=refusal, headers=allowed))
    page.get_by_role("button", name="Enviar").click()
    ended(page)
    alert = page.locator("article [data-error]")
    expect(alert).to_contain_text("Saldo insuficiente")
    assert alert.get_by_role("link", name="Recarregar").get_attribute("href") == "/app/recarregar/"
    visitor.troubles[:] = [trouble for trouble in visitor.troubles if "402" not in trouble]  # as the browser logs it

    page.get_by_role("button", name="Limpar").click()
    page.reload()
    assert page.locator("[data-text]").input_value() == ""
