"""An administrator publishes a price in the admin; the next call is priced by it within two seconds, without a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.conftest import Stack
from tests.examples import IN_FORCE_SECONDS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
ROUTE = "anthropic/claude-haiku-4.5"
ADMIN_PAGES = [
    "accounts/organization", "accounts/apikey", "billing/wallet", "billing/ledgerentry", "billing/charge", "billing/pixnotice",
    "billing/unmatchedpix", "billing/priceversion", "billing/volumeplan", "billing/usagerecord", "gateway/provider",
    "gateway/route", "gateway/deployment", "gateway/routingrule", "gateway/feedback", "gateway/credential", "gateway/ownkey",
    "billing/difference", "billing/difference/conciliacao", "billing/providerreport/importar", "billing/usageday/margem",
]  # fmt: skip


def sign_in(visitor: Visitor, email: str, password: str) -> None:
    page = visitor.go("/admin/")
    page.get_by_label("E-mail").fill(email)
    page.locator("input[name=password]").fill(password)
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/admin/")


def call(demo: dict[str, str]) -> tuple[dict[str, Any], httpx.Headers]:
    answer = httpx.post(
        f"{demo['base_url']}/chat/completions",
        headers={"Authorization": f"Bearer {demo['api_key']}"},
        json={"model": ROUTE, "max_tokens": 50, "messages": [{"role": "user", "content": "Bom dia"}]},
    )
    assert answer.status_code == 200, answer.text
    usage: dict[str, Any] = json.loads(answer.text, parse_float=Decimal)["usage"]
    return usage, answer.headers


def prices(demo: dict[str, str]) -> dict[str, Decimal]:
    """Reais per token, as the catalog shows them."""
    answer = httpx.get(f"{demo['base_url']}/models/{ROUTE}", headers={"Authorization": f"Bearer {demo['api_key']}"})
    pricing = answer.json()["pricing"]
    return {unit: Decimal(pricing[unit]) for unit in ("prompt", "completion")}


def amount(usage: dict[str, Any], pricing: dict[str, Decimal]) -> Decimal:
    """What the call comes to: the sum, up to the next nano."""
    exact = usage["prompt_tokens"] * pricing["prompt"] + usage["completion_tokens"] * pricing["completion"]
    return Decimal(exact).quantize(Decimal("0.000000001"), rounding=ROUND_CEILING)


def test_it_prices_the_next_call_by_a_version_published_in_the_admin(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    demo = stack.demo
    usage, headers = call(demo)
    old = prices(demo)
    assert usage["cost"] == amount(usage, old)

    visitor = visit(demo["web_url"])
    sign_in(visitor, demo["admin_email"], demo["admin_password"])
    visitor.shoot("admin-home")
    page = visitor.go("/admin/billing/priceversion/")
    page.get_by_role("link", name="Novo rascunho da versão em vigor").click()
    rows = page.locator("[name^=prices-][name$=-route_name]")
    expect(rows.first).to_be_visible()
    row = next(
        name.removesuffix("-route_name")
        for name in (rows.nth(i).get_attribute("name") or "" for i in range(rows.count()))
        if page.locator(f"[name={name}]").input_value() == ROUTE
        and page.locator(f"[name={name.replace('-route_name', '-unit')}]").input_value() == "input"
    )
    cheaper = (old["prompt"] * 1_000_000 * Decimal("0.97")).quantize(Decimal("0.01"))  # a dearer one would wait for its notice
    page.locator(f"[name={row}-override_nanos]").fill(f"{cheaper}".replace(".", ","))
    visitor.shoot("admin-price-draft")
    page.get_by_role("button", name="Salvar e continuar editando").click()
    assert prices(demo) == old, "a draft is never served"
    page.get_by_role("link", name="Comparar e publicar").click()
    expect(page.get_by_role("cell", name=ROUTE).first).to_be_visible()
    visitor.shoot("admin-price-diff")
    page.get_by_role("button", name="Publicar").click()
    expect(page.get_by_text("Em vigor").first).to_be_visible()
    published_at = time.monotonic()
    while prices(demo)["prompt"] != cheaper / 1_000_000:
        assert time.monotonic() - published_at < IN_FORCE_SECONDS, "the gateway still sells at the old price"
        time.sleep(0.05)

    usage, headers = call(demo)
    new = prices(demo)
    assert new["completion"] == old["completion"]
    assert usage["cost"] == amount(usage, new)
    assert Decimal(headers["x-tokia-cost-brl"]) == usage["cost"]


def test_it_shows_every_list_of_the_admin(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    sign_in(visitor, stack.demo["admin_email"], stack.demo["admin_password"])
    for name in ADMIN_PAGES:
        visitor.go(f"/admin/{name}/")
        visitor.shoot("admin-" + name.replace("/", "-"))


def test_it_explains_a_route_and_shows_a_rule(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    sign_in(visitor, stack.demo["admin_email"], stack.demo["admin_password"])
    page = visitor.go("/admin/gateway/routingrule/")
    page.get_by_role("link", name="Simulador de rotas").click()
    page.get_by_label("Modelo pedido").fill("tokia/auto")
    page.get_by_label("Tamanho do texto").fill("60")
    page.get_by_label("Sem uso para treino").check()
    page.get_by_role("button", name="Simular", exact=True).click()
    expect(page.get_by_text("pergunta curta em português")).to_be_visible()
    expect(page.get_by_text("Só depois de: qualquer falha").first).to_be_visible()
    visitor.shoot("admin-explain")
    page = visitor.go("/admin/gateway/routingrule/")
    page.get_by_role("link", name="tokia/balanced").click()
    expect(page.get_by_text("passos da regra", exact=False).first).to_be_visible()
    visitor.shoot("admin-rule")
