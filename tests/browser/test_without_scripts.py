"""Where a form suffices, it does: signing in, topping up, making a key, filters and the language without JavaScript."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import PHONE, Visitor, sign_in
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_it_serves_a_browser_that_runs_no_scripts(stack: Stack, chromium: Browser) -> None:
    context = chromium.new_context(viewport=PHONE, locale="pt-BR", java_script_enabled=False)  # type: ignore[arg-type]
    visitor = Visitor(context, stack.demo["web_url"])
    page = visitor.go("/modelos/")
    page.get_by_label("Buscar modelo ou provedor").fill("claude")
    page.get_by_label("Buscar modelo ou provedor").press("Enter")
    page.wait_for_url(re.compile("busca=claude"))
    expect(page.locator("main").get_by_text("GPT-4o mini", exact=True)).to_have_count(0)

    sign_in(visitor, stack.demo)
    visitor.go("/app/recarregar/")
    page.get_by_role("button", name="Gerar PIX").click()
    expect(page.get_by_role("heading", name=re.compile("Pague R\\$"))).to_be_visible()
    assert page.locator("#copia-e-cola").input_value().startswith("000201")

    name = f"sem scripts {time.time_ns()}"
    visitor.go("/app/chaves/nova/")
    page.locator("input[name=name]").fill(name)
    page.get_by_role("button", name="Criar chave").click()
    assert page.locator("#chave").input_value().startswith("sk-tokia-")
    visitor.go("/app/chaves/")
    expect(page.get_by_role("cell", name=name, exact=True)).to_be_visible()

    visitor.go("/app/uso/")
    page.locator("main form").first.get_by_role("button").last.click()
    expect(page.get_by_role("heading", name="Uso", exact=True)).to_be_visible()
    page.goto(stack.demo["web_url"] + "/contato/")
    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert visitor.troubles == []
    context.close()
