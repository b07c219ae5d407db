"""An administrator edits prices as in a spreadsheet: keyboard, a pasted column, a percentage, a file; then compares. Nothing is
published by it."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.browser.test_admin import sign_in
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
ROUTE = "anthropic/claude-haiku-4.5"


def paste(page: Page, text: str) -> None:
    """As Ctrl+V of a block that a spreadsheet copied."""
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.keyboard.press("Control+V")


def test_prices_are_edited_as_in_a_spreadsheet(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    sign_in(visitor, stack.demo["admin_email"], stack.demo["admin_password"])
    before = httpx.get(f"{stack.demo['web_url']}/precos.json").json()["version"]
    page = visitor.go("/admin/billing/priceversion/")
    page.get_by_role("link", name="Editar preços em grade").click()
    visitor.shoot("admin-price-drafts")
    page.get_by_role("button", name="Criar rascunho e abrir a grade").click()
    page.get_by_label("Modelo", exact=True).first.fill(ROUTE)
    page.get_by_role("button", name="Filtrar").click()

    expect(page.get_by_text("5 de ")).to_be_visible()
    expect(page.get_by_text("Setas e Enter andam pela grade")).to_be_visible()  # the module is there
    first = page.get_by_label(f"Multiplicador: {ROUTE}, Entrada", exact=True)
    first.click()
    first.press("Enter")  # one row down
    second = page.locator(":focus")
    expect(second).not_to_have_attribute("name", first.get_attribute("name") or "")
    second.press("ArrowUp")
    expect(first).to_be_focused()
    paste(page, "2,1\n2,2\n")
    expect(first).to_have_value("2,1")
    expect(page.get_by_text("2 células coladas")).to_be_visible()
    shown = page.get_by_label(f"Preço em reais: {ROUTE}, Saída").input_value()
    page.get_by_label(f"Preço em reais: {ROUTE}, Saída").fill("caro")
    page.get_by_role("button", name="Conferir sem salvar").click()
    expect(page.get_by_text("“caro” não é um valor").first).to_be_visible()
    visitor.shoot("admin-price-grid-wrong")
    page.get_by_label(f"Preço em reais: {ROUTE}, Saída").fill(shown)
    page.get_by_label(f"Marcar {ROUTE}, Saída").check()
    page.get_by_label("Variação nas linhas marcadas (%)").fill("10")
    page.get_by_role("button", name="Aplicar variação").click()
    expect(page.get_by_text("3 ainda não salvos")).to_be_visible()
    page.get_by_text("Simular uma chamada com estes preços").click()
    page.get_by_label("Tokens de entrada", exact=True).fill("1000000")
    page.get_by_role("button", name="Simular").click()
    expect(page.get_by_text("Preço neste rascunho")).to_be_visible()
    visitor.shoot("admin-price-grid")
    page.get_by_role("button", name="Salvar e comparar").click()
    expect(page).to_have_url(re.compile("/publicar/"))
    expect(page.get_by_role("cell", name=ROUTE).first).to_be_visible()
    visitor.shoot("admin-price-grid-compare")

    page.goto(page.url.replace("/publicar/", "/grade/"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Baixar CSV").click()
    file = download.value.path().read_text("utf-8-sig").replace(";2,10;", ";2,00;")
    page.get_by_text("Importar a grade de um CSV").click()
    page.get_by_label("Arquivo CSV").set_input_files(
        {"name": "precos.csv", "mimeType": "text/csv", "buffer": file.encode("cp1252")}
    )
    page.get_by_role("button", name="Importar no rascunho").click()
    expect(page.get_by_text("1 preço do arquivo no rascunho")).to_be_visible()
    assert httpx.get(f"{stack.demo['web_url']}/precos.json").json()["version"] == before, "a draft is never served"
