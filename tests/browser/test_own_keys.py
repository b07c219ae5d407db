"""The pages of own provider keys in Chromium: a key is tried and stored, serves a call, and is removed."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
SECRET = "sandbox-anthropic-own-acme"
MODEL = "anthropic/claude-haiku-4.5"


def test_a_company_stores_its_key_and_pays_the_fee_only(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    demo = stack.demo
    visitor = visit(demo["web_url"])
    page = visitor.go("/conta/entrar/")
    page.locator("input[name=login]").fill(demo["email"])
    page.locator("input[name=password]").fill(demo["password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/app/")
    page.get_by_role("link", name="Chaves de provedores").first.click()
    expect(page.get_by_role("heading", name="Chaves de provedores")).to_be_visible()
    visitor.shoot("own-keys-empty")
    page.get_by_role("link", name="Guardar chave").first.click()
    page.get_by_label("Provedor", exact=True).select_option(label="Anthropic (simulado)")
    page.get_by_label("Rótulo", exact=True).fill("conta da Acme na Anthropic")
    page.get_by_label("Chave do provedor", exact=True).fill("sk-ant-inventada")
    page.locator("input[name=use][value=only]").check()
    page.get_by_role("button", name="Conferir e guardar").click(no_wait_after=True)
    expect(page.get_by_text("recusou esta chave")).to_be_visible()
    visitor.troubles.clear()  # the page with the error is a 400, which Chromium tells its console
    visitor.shoot("own-keys-refused")
    page.get_by_label("Chave do provedor", exact=True).fill(SECRET)
    page.get_by_role("button", name="Conferir e guardar").click()
    expect(page.get_by_text("Anthropic aceitou a chave")).to_be_visible()
    assert SECRET not in page.content()

    def cost() -> tuple[bool, float]:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Bom dia"}], "max_tokens": 50}
        headers = {"authorization": f"Bearer {demo['api_key']}"}
        usage = httpx.post(f"{demo['base_url']}/chat/completions", json=body, headers=headers, timeout=30).json()["usage"]
        return usage.get("is_byok", False), usage["cost"]

    page.wait_for_timeout(2_000)
    is_own, fee = cost()
    assert is_own and fee > 0
    page.locator("select[name=use]").select_option(label="Usar primeiro")
    page.get_by_role("button", name="Mudar").click()
    expect(page.get_by_text("Vale em até 2 segundos")).to_be_visible()
    page.get_by_role("button", name="Testar a chave de Anthropic").click()
    expect(page.get_by_text("Anthropic aceita a chave")).to_be_visible()
    httpx.post(f"{demo['sandbox_url']}/llm/__keys", json={"key": SECRET, "status": 402})
    page.get_by_role("button", name="Testar a chave de Anthropic").click()
    expect(page.get_by_text("recusou a chave: sem saldo")).to_be_visible()
    visitor.shoot("own-keys")
    httpx.post(f"{demo['sandbox_url']}/llm/__keys", json={"key": SECRET})
    page.goto(f"{demo['web_url']}/app/requisicoes/")
    page.locator("a[href*='/app/requisicoes/']").nth(1).click()
    visitor.shoot("own-keys-request")
    page.goto(f"{demo['web_url']}/app/chaves-de-provedores/")
    page.get_by_role("button", name="Remover a chave de Anthropic").click()
    page.locator("dialog[open] input[name=typed]").fill("Anthropic")
    visitor.shoot("own-keys-remove")
    page.locator("dialog[open]").get_by_role("button", name="Remover chave").click()
    expect(page.get_by_text("removida")).to_be_visible()
