"""The documentation in Chromium: found, searched, read in one's own language, copied; and read without any script."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.browser.conftest import PHONE, WIDE, Visitor
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
READ = ("inicio-rapido", "roteamento")


def test_a_developer_finds_an_error_and_keeps_a_language(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    page = visitor.go("/")
    page.get_by_role("link", name="Documentação").first.click()
    page.wait_for_url("**/docs/")
    page.get_by_label("Buscar na documentação").fill("saldo insuficiente 402")
    expect(page.get_by_role("link", name="Erros: insufficient_balance")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-docs-found] a").first).to_be_focused()
    page.get_by_role("link", name="Erros: insufficient_balance").click()
    page.wait_for_url("**/docs/erros/#insufficient_balance")
    expect(page.locator("#insufficient_balance")).to_be_in_viewport()

    page.get_by_role("tab", name="Node").first.click()
    visitor.go("/docs/inicio-rapido/")
    panels = page.locator(".docs-tabs").first.get_by_role("tabpanel")
    expect(panels).to_have_count(1)  # the hidden ones are nobody's
    expect(panels.first).to_contain_text('import OpenAI from "openai"')
    page.get_by_role("tab", name="PHP").click()
    visitor.go("/docs/idempotencia/")  # which has no PHP: its first language is shown
    expect(page.locator(".docs-tabs").first.get_by_role("tabpanel")).to_contain_text("import uuid")

    page.get_by_role("button", name="Copiar página como Markdown").click()
    expect(page.get_by_role("button", name="Copiado!")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("# Idempotência\n")
    for scheme, size in (("light", WIDE), ("dark", PHONE)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        for slug in READ:
            visitor.go(f"/docs/{slug}/")
            faults = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            assert faults == [], [(slug, scheme, fault["id"], fault["nodes"][0]["html"][:200]) for fault in faults]
    visitor.shoot("docs-reference")


def test_it_is_all_there_without_a_script(stack: Stack, chromium: Browser) -> None:
    context = chromium.new_context(viewport=PHONE, locale="pt-BR", java_script_enabled=False)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{stack.demo['web_url']}/docs/inicio-rapido/")
    for code in ("pip install openai", "npm install openai", "go get", "gem install", "composer require", "curl "):
        expect(page.locator("pre", has_text=code).first).to_be_visible()
    expect(page.get_by_role("tab")).to_have_count(0)
    expect(page.get_by_text("Copiar página como Markdown")).to_be_hidden()
    page.get_by_label("Buscar na documentação").fill("webhook assinatura")
    page.keyboard.press("Enter")
    page.wait_for_url("**/docs/busca/?q=*")
    expect(page.locator("ol a").first).to_contain_text("Webhooks")
    context.close()
