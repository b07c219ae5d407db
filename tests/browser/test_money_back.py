"""Money back and money given, in Chromium: a top-up returned by a click, a coupon that staff made, the link of a referral."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.browser.test_admin import sign_in as sign_in_staff
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def sign_in(visitor: Visitor, demo: dict[str, str]) -> Page:
    page = visitor.go("/conta/entrar/")
    page.locator("input[name=login]").fill(demo["email"])
    page.locator("input[name=password]").fill(demo["password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/app/")
    return page


def top_up(visitor: Visitor, reais: str) -> None:
    page = visitor.go("/app/recarregar/")
    page.get_by_text("Outro", exact=True).click()
    page.locator("input[name=outro]").fill(reais)
    page.get_by_role("button", name="Gerar PIX").click()
    with visitor.context.expect_page() as opened:
        page.get_by_role("link", name="Pagar no banco de demonstração").click()
    opened.value.get_by_role("button", name="Pagar agora").click()
    expect(page.get_by_role("heading", name="Pagamento confirmado")).to_be_visible(timeout=10_000)
    opened.value.close()


def test_staff_give_and_a_customer_redeems_refers_and_returns(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    demo = stack.demo
    staff = visit(demo["web_url"])
    sign_in_staff(staff, demo["admin_email"], demo["admin_password"])
    page = staff.go("/admin/billing/coupon/criar/")
    page.get_by_label("Código").fill("feira-2026")
    page.get_by_label("Valor em reais").fill("25,00")
    page.get_by_label("Gastar em quantos dias").fill("30")
    page.get_by_label("Motivo").fill("Feira de tecnologia")
    staff.shoot("admin-coupon-create")
    page.get_by_role("button", name="Criar cupom").click()
    expect(page.get_by_text("Cupom FEIRA-2026 criado")).to_be_visible()
    page = staff.go("/admin/billing/promotionrules/mudar/")
    page.get_by_label("Indicações ligadas").check()
    page.get_by_label("Motivo").fill("Programa de indicações")
    staff.shoot("admin-promotion-rules")
    page.get_by_role("button", name="Mudar regras").click()
    expect(page.get_by_text("indicações: não → sim").first).to_be_visible()

    visitor = visit(demo["web_url"])
    sign_in(visitor, demo)
    page = visitor.go("/app/cupom/")
    page.get_by_label("Código do cupom").fill("nao-existe")
    page.get_by_role("button", name="Usar código").click(no_wait_after=True)
    expect(page.get_by_text("Este código não existe")).to_be_visible()
    visitor.troubles.clear()  # the page with the error is a 409, which Chromium tells its console
    page.get_by_label("Código do cupom").fill("feira-2026")
    page.get_by_role("button", name="Usar código").click()
    expect(page.get_by_text("Cupom FEIRA-2026 resgatado")).to_be_visible()
    visitor.shoot("coupon-redeemed")

    page = visitor.go("/app/indicacao/")
    expect(page.get_by_label("Seu link")).to_have_value(
        f"{demo['web_url']}/?indicacao=" + page.locator("strong").first.inner_text()
    )
    visitor.shoot("referral")

    top_up(visitor, "73,50")
    page = visitor.go("/app/recargas/")
    visitor.shoot("top-ups")
    page.get_by_role("link", name="Devolver R$").first.click()
    page.get_by_label("Quanto devolver").fill("23,50")
    visitor.shoot("refund")
    page.get_by_role("button", name="Devolver ao pagador").click()
    expect(page.get_by_role("heading", name="Recargas e devoluções")).to_be_visible()
    expect(page.get_by_text("Devolução de R$\u00a023,50").first).to_be_visible()
    visitor.shoot("top-ups-returning")
    expect(page.get_by_text("Devolvida").first).to_be_visible(timeout=30_000)  # by itself
