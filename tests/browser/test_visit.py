"""An administrator opens the home, finds the customer, sees as it does, can change nothing, and goes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.browser.test_admin import sign_in
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def check_axe(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    grave = [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")]
    assert grave == [], f"{page.url}: {grave}"


def test_it_walks_from_the_home_to_a_visit_and_back(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    sign_in(visitor, stack.demo["admin_email"], stack.demo["admin_password"])
    page = visitor.page
    expect(page.get_by_role("heading", name="Precisam de alguém")).to_be_visible()
    check_axe(page)
    visitor.shoot("admin-inicio")

    page.keyboard.press("Control+k")
    page.locator("#search-input-command").press_sequentially("acme")
    page.locator("#command-results-list").get_by_role("link", name="Acme").first.click()
    page.wait_for_url("**/admin/empresas/*/")
    expect(page.get_by_text("Saldo disponível")).to_be_visible()
    check_axe(page)
    visitor.shoot("admin-empresa")

    page.get_by_role("link", name="Entrar como").click()
    page.get_by_label("Motivo").fill("Chamado 812: saldo não aparece")
    page.get_by_role("button", name="Entrar para olhar").click()
    page.wait_for_url("**/app/")
    banner = page.get_by_role("region", name="Visita")
    expect(banner).to_contain_text("Você está vendo como")
    check_axe(page)
    visitor.shoot("visita-painel")
    visitor.go("/app/chaves/nova/")
    page.get_by_label("Nome").first.fill("escondida")
    page.get_by_role("button", name="Criar chave").click()
    expect(page.get_by_role("heading", name="Em uma visita só se olha")).to_be_visible()
    check_axe(page)
    visitor.shoot("visita-recusada")
    assert [trouble for trouble in visitor.troubles if "403" not in trouble] == []
    visitor.troubles.clear()  # the refusal itself

    page.get_by_role("button", name="Sair da visita").click()
    page.wait_for_url("**/admin/empresas/*/")
    page.get_by_role("link", name="Auditoria").click()
    for words in ("A Tokia passou a ver como a empresa", "A Tokia tentou mudar algo", "motivo: Chamado 812: saldo não aparece"):
        expect(page.get_by_text(words).first).to_be_visible()
    visitor.shoot("admin-empresa-auditoria")
    visitor.go("/admin/saude/")
    expect(page.get_by_role("cell", name="Último sinal").or_(page.get_by_text("Ainda não deixou sinal")).first).to_be_visible()
    check_axe(page)
    visitor.shoot("admin-saude")
