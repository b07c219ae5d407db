"""The fiscal part of the admin in a real browser, on the demo's own issuer: nothing scrolls sideways or breaks the CSP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.test_admin import sign_in
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
PAGES = ("invoices/invoice", "invoices/certificate/enviar", "invoices/taxterms/add")


def test_it_shows_the_queue_and_a_set_up_that_can_issue(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    sign_in(visitor, stack.demo["admin_email"], stack.demo["admin_password"])
    for path in PAGES:
        visitor.go(f"/admin/{path}/")
        visitor.shoot(f"admin-{path.replace('/', '-')}")
    page = visitor.go("/admin/invoices/issuer/")
    page.locator("#result_list tbody th a").first.click()
    expect(page.get_by_label("Razão social")).to_be_visible()
    page.get_by_role("link", name="Conferir a configuração").first.click()
    expect(page.get_by_text("Tudo certo para emitir.")).to_be_visible()
    visitor.shoot("admin-invoices-check")
