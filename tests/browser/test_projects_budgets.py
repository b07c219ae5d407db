"""Projects and budgets in Chromium against a running gateway: a key in a project meets its limit, then its project is archived."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
MODEL = "anthropic/claude-haiku-4.5"


def test_a_key_meets_its_budget_and_its_projects_archive(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    demo = stack.demo
    visitor = visit(demo["web_url"])
    page = visitor.go("/conta/entrar/")
    page.locator("input[name=login]").fill(demo["email"])
    page.locator("input[name=password]").fill(demo["password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/app/")
    page.get_by_role("link", name="Projetos").first.click()
    page.get_by_label("Novo projeto").fill("Loja")
    page.get_by_role("button", name="Criar projeto").click()
    expect(page.get_by_role("heading", name="Loja")).to_be_visible()
    project_url = page.url
    page.get_by_role("link", name="Criar chave").first.click()
    expect(page.locator("select[name=project]")).to_have_value(project_url.rstrip("/").rsplit("/", 1)[1])
    page.locator("input[name=name]").fill("loja")
    page.locator("input[name=spend_limit]").fill("0,01")
    visitor.shoot("key-with-budget")
    page.get_by_role("button", name="Criar chave").click()
    secret = page.locator("#chave").input_value()

    def call() -> tuple[int, str]:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Bom dia"}], "max_tokens": 1_000}
        answer = httpx.post(
            f"{demo['base_url']}/chat/completions", json=body, headers={"authorization": f"Bearer {secret}"}, timeout=30
        )
        return answer.status_code, answer.text

    status, told = call()
    assert (status, "budget_exceeded" in told, "0,01" in told) == (403, True, True), told
    visitor.go("/app/orcamentos/")
    card = page.locator("li.panel").filter(has_text="loja")
    expect(card).to_contain_text("Recusa chamadas")
    card.get_by_role("link", name="Mudar").click()
    page.locator("input[name=limit]").fill("20,00")
    page.get_by_role("button", name="Salvar").click()
    expect(page.get_by_text("Orçamento alterado.")).to_be_visible()
    page.wait_for_timeout(2_000)
    status, told = call()
    assert status == 200, told
    page.reload()
    visitor.shoot("budgets")
    visitor.page.goto(project_url)
    expect(page.get_by_role("cell", name=MODEL)).to_be_visible()
    visitor.shoot("project")
    page.get_by_role("button", name="Arquivar", exact=True).click()
    page.locator("#arquivar input[name=typed]").fill("Loja")
    page.get_by_role("button", name="Arquivar projeto").click()
    expect(page.get_by_role("button", name="Restaurar")).to_be_visible()
    page.wait_for_timeout(2_000)
    status, told = call()
    assert status == 403 and "project_archived" in told, told
    page.get_by_role("button", name="Restaurar").click()
    expect(page.get_by_role("button", name="Arquivar", exact=True)).to_be_visible()
    page.wait_for_timeout(2_000)
    assert call()[0] == 200
    visitor.go("/app/projetos/")
    visitor.shoot("projects")
    visitor.go("/app/chaves/")
    visitor.shoot("keys-budgets")
