"""Cards as a customer lives them: save one, pay with it, switch the automatic top-up on, see it work and switch it off."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.conftest import ROOT, Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
VISA, ASKS = "4242424242424242", "4000002760003184"


def sign_in(visitor: Visitor, stack: Stack) -> Page:
    page = visitor.go("/conta/entrar/")
    page.locator("input[name=login]").fill(stack.demo["email"])
    page.locator("input[name=password]").fill(stack.demo["password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    expect(page).to_have_url(re.compile("/app/"))
    return page


def type_card(page: Page, number: str, button: str) -> None:
    """On Stripe's page."""
    page.get_by_label("Cartão de teste").select_option(number)
    page.get_by_role("button", name=button).click()


def test_a_card_is_saved_pays_and_tops_up_by_itself(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    page = sign_in(visitor, stack)

    page = visitor.go("/app/recarregar/cartoes/")
    visitor.shoot("cards-empty")
    page.get_by_role("button", name="Salvar cartão").click()
    expect(page.get_by_role("heading", name="Salvar cartão")).to_be_visible()
    visitor.shoot("stripe-save-card")
    type_card(page, VISA, "Salvar cartão")
    expect(page.get_by_text("Visa •••• 4242 salvo.")).to_be_visible()
    visitor.shoot("cards")

    page = visitor.go("/app/recarregar/cartao/")
    page.get_by_text("R$\u00a0100", exact=True).click()
    visitor.shoot("card-top-up")
    page.get_by_role("button", name="Pagar", exact=True).click()
    expect(page.get_by_role("heading", name="Pagamento confirmado")).to_be_visible()
    visitor.shoot("card-payment-paid")

    page = visitor.go("/app/recarregar/cartao/")
    page.get_by_text("R$\u00a050", exact=True).click()
    page.get_by_text("Outro cartão").click()
    page.get_by_role("button", name="Pagar", exact=True).click()
    expect(page.get_by_role("heading", name="Pagar com cartão")).to_be_visible()
    visitor.shoot("stripe-checkout")
    type_card(page, "4000000000000002", "Pagar")
    expect(page.get_by_role("alert")).to_contain_text("recusado")
    type_card(page, ASKS, "Pagar")
    expect(page.get_by_role("heading", name="O banco do seu cartão pergunta")).to_be_visible()
    page.get_by_role("button", name="Confirmar a compra").click()
    expect(page.get_by_role("heading", name="Pagamento confirmado")).to_be_visible(timeout=15_000)

    page = visitor.go("/app/recarregar/automatica/")
    for label, value in (("Quando o saldo ficar abaixo de", "5000"), ("Recarregar", "300"), ("No máximo por dia", "300"),
                         ("No máximo por mês", "300")):  # fmt: skip
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label(re.compile("Autorizo a Tokia")).check()
    visitor.shoot("auto-top-up-off")
    page.get_by_role("button", name="Ligar recarga automática").click()
    expect(page.get_by_text("Recarga automática ligada.")).to_be_visible()
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", "from billing.tasks import top_up_low_wallets as t; t()"],
        cwd=ROOT, env=stack.env, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    page.reload()
    expect(page.get_by_text("R$\u00a0300,00").first).to_be_visible()
    expect(page.get_by_role("heading", name="Últimas recargas automáticas")).to_be_visible()
    visitor.shoot("auto-top-up-on")
    page.get_by_role("button", name="Desligar agora").click()
    expect(page.get_by_text("Recarga automática desligada.")).to_be_visible()
    visitor.go("/app/extrato/")
    visitor.shoot("statement-cards")
