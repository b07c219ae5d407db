"""English in a real browser: the switch without JavaScript's help, the scripts' own words, and back to Portuguese."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import Visitor, sign_in
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_it_speaks_english_until_asked_for_portuguese(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    page = visitor.go("/modelos/")
    page.get_by_role("button", name="English").click()
    page.wait_for_function("document.documentElement.lang === 'en'")
    assert page.url.endswith("/modelos/")
    page.locator("input[name=m]").nth(0).check()
    assert page.locator("[data-comparison-hint]").inner_text() == "Tick one more model."
    page.get_by_role("button", name="Português").click()
    page.wait_for_function("document.documentElement.lang === 'pt-BR'")
    sign_in(visitor, stack.demo)
    page.locator("summary[aria-label='Sua conta']").click()
    page.get_by_role("button", name="English").click()
    page.wait_for_function("document.documentElement.lang === 'en'")
    assert page.url.endswith("/app/") and page.get_by_role("link", name="Statement", exact=True).count()
    page = visitor.go("/app/recarregar/")
    page.locator("input[name=valor]").first.check(force=True)
    assert "R$" in page.locator("[data-pay]").inner_text() and page.locator("[data-pay]").inner_text().endswith(".00")
    visitor.shoot("english-top-up")
