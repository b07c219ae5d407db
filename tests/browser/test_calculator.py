"""The calculator in a browser: it answers as one types, on a phone too, and as a plain form where no script runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PHONE, Visitor
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def verdict_after(page: Page, act: Callable[[], object]) -> str:
    """What the page says once it has answered."""
    shown = page.locator("[data-verdict]")
    before = shown.inner_text()
    act()
    expect(shown).not_to_have_text(before)
    return shown.inner_text()


def test_the_calculator_answers_as_one_types(stack: Stack, visit: Callable[[str], Visitor], chromium: Browser) -> None:
    visitor = visit(stack.demo["web_url"])
    page = visitor.go("/")
    by_use = verdict_after(page, lambda: page.get_by_label("Requisições por mês").fill("1.000.000"))
    assert "por mês" in by_use or "neste caso" in by_use
    verdict_after(page, lambda: page.get_by_text("Meu gasto", exact=True).click())
    slider = page.get_by_label("Gasto por mês, de US$ 50 a US$ 5.000")
    slider.focus()
    verdict_after(page, lambda: page.keyboard.press("End"))
    expect(page.get_by_label("Gasto por mês direto no provedor, em dólares")).to_have_value("5.000")
    verdict_after(page, lambda: page.get_by_label("Minha empresa recolhe tributos de importação").check())
    page.locator("tr[data-set-up=direct] summary").click()
    expect(page.locator("tr[data-set-up=direct]")).to_contain_text("IRRF sobre importação")
    page.get_by_text("Premissas", exact=True).click()
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert [fault["id"] for fault in Axe().run(page).response["violations"]] == []
    visitor.shoot("calculadora")
    page.get_by_label("Tokens de entrada").fill("0")
    expect(page.locator("#comparacao [role=alert]")).to_contain_text("informe um número inteiro de 1 a 2.000.000")

    plain = chromium.new_context(java_script_enabled=False, locale="pt-BR")
    try:
        page = plain.new_page()
        page.goto(stack.demo["web_url"] + "/")
        page.get_by_label("Requisições por mês").fill("2.000")
        page.get_by_role("button", name="Calcular custo").click()
        assert "requisicoes=2.000" in page.url and page.url.endswith("#calculadora")
        expect(page.locator("#comparacao")).to_contain_text("2.000 requisições por mês")
    finally:
        plain.close()
