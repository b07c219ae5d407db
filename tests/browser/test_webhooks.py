"""Webhooks and alerts in Chromium: an address is made, tested, refuses, is sent to again; who is told is chosen."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_a_developer_connects_an_address_and_finance_chooses_its_alerts(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    demo = stack.demo
    control = f"{demo['sandbox_url']}/receiver/api/erp-browser"
    visitor = visit(demo["web_url"])
    page = visitor.go("/conta/entrar/")
    page.locator("input[name=login]").fill(demo["email"])
    page.locator("input[name=password]").fill(demo["password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/app/")
    page.get_by_role("link", name="Webhooks").first.click()
    page.get_by_role("link", name="Criar webhook").first.click()
    page.get_by_label("Endereço").fill("https://169.254.169.254/latest/meta-data")
    page.get_by_role("button", name="Criar webhook").click(no_wait_after=True)
    expect(page.get_by_text("não é público")).to_be_visible()
    visitor.troubles.clear()  # the page with the error is a 400, which Chromium tells its console
    page.get_by_label("Endereço").fill(f"{demo['sandbox_url']}/receiver/erp-browser")
    page.get_by_label("Nome").fill("ERP")
    page.get_by_role("button", name="Criar webhook").click()
    secret = page.locator("#segredo").input_value()
    httpx.put(control, json={"secret": secret, "status": 503}).raise_for_status()
    page.get_by_role("link", name="Já guardei o segredo").click()
    page.get_by_role("button", name="Enviar teste").click()
    expect(page.get_by_text("O endereço respondeu 503")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Reenviar").click()
    expect(page.get_by_text("O endereço recebeu a mensagem")).to_be_visible(timeout=20_000)
    visitor.shoot("webhooks-delivery")
    newest, *_ = httpx.get(control).json()["messages"]
    assert newest["is_signed"] and '"type":"ping"' in newest["body"]
    page.get_by_role("link", name="ERP").first.click()
    expect(page.get_by_role("cell", name="Teste")).to_be_visible()
    visitor.shoot("webhooks-log")
    page.get_by_role("link", name="Avisos", exact=True).first.click()
    page.get_by_role("link", name="Configurar avisos").click()
    # As it is by itself: other tests look at this company, too.
    page.get_by_label("Avisar quando o saldo ficar abaixo de (R$)").fill("20,00")
    page.get_by_label("Outros e-mails").fill("erp@acme.com.br")
    page.get_by_role("button", name="Salvar avisos").click()
    expect(page.get_by_text("Avisos salvos.")).to_be_visible()
    visitor.shoot("alert-choices")
    page.goto(f"{demo['web_url']}/app/webhooks/")
    page.get_by_role("link", name="Entregas").click()
    page.get_by_role("button", name="Remover").click()
    page.locator("dialog[open] input[name=typed]").fill("ERP")
    page.locator("dialog[open]").get_by_role("button", name="Remover webhook").click()
    expect(page.get_by_text("Webhook removido")).to_be_visible()
