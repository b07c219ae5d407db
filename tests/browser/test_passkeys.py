"""A passkey from its making to its end, with Chromium's own authenticator (CDP, WebAuthn); and the pages around it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visitor
from tests.conftest import ROOT, Stack

pytestmark = pytest.mark.browser
FORGET = "from allauth.mfa.models import Authenticator; Authenticator.objects.all().delete()"
PAGES = {
    "account-security": "/conta/seguranca/", "account-privacy": "/conta/privacidade/",
    "settings-security": "/app/configuracoes/seguranca/", "settings-privacy": "/app/configuracoes/privacidade/",
    "audit-log": "/app/configuracoes/seguranca/registro/",
}  # fmt: skip


def test_it_makes_a_passkey_and_signs_in_with_it_alone(stack: Stack, chromium: Browser) -> None:
    demo = stack.demo
    # A passkey belongs to a name: an IP address has none.
    context = chromium.new_context(locale="pt-BR", timezone_id="America/Sao_Paulo")
    visitor = Visitor(context, demo["web_url"].replace("127.0.0.1", "localhost"))
    page = visitor.page
    devices = context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    devices.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    try:
        visitor.go("/conta/entrar/")
        page.get_by_label("E-mail").fill(demo["email"])
        page.get_by_label("Senha", exact=True).fill(demo["password"])
        page.get_by_role("button", name="Entrar", exact=True).click()
        page.wait_for_url("**/app/**")
        _walk(visitor, page, demo)
    finally:
        subprocess.run(
            [sys.executable, "manage.py", "shell", "-c", FORGET], cwd=ROOT, env=stack.env, check=True, capture_output=True
        )
        context.close()
    assert visitor.troubles == []


def _walk(visitor: Visitor, page: Page, demo: dict[str, str]) -> None:
    visitor.go("/conta/seguranca/")
    page.get_by_role("link", name="Criar chave de acesso").click()
    page.get_by_label("Senha", exact=True).fill(demo["password"])
    page.get_by_role("button", name="Confirmar").click()
    page.get_by_label("Nome").fill("Notebook")
    page.get_by_role("button", name="Criar chave de acesso").click()
    expect(page.get_by_role("heading", name="Códigos de recuperação")).to_be_visible()
    visitor.shoot("recovery-codes")
    page.get_by_role("link", name="Já guardei: voltar a Segurança").click()
    expect(page.get_by_text("Notebook")).to_be_visible()

    context = page.context
    context.clear_cookies(name="sessionid")
    visitor.go("/conta/entrar/")
    visitor.shoot("login")
    page.get_by_role("button", name="Entrar com chave de acesso").click()  # no e-mail, no password
    page.wait_for_url("**/app/**")

    context.clear_cookies(name="sessionid")
    visitor.go("/conta/entrar/")
    page.get_by_label("E-mail").fill(demo["email"])
    page.get_by_label("Senha", exact=True).fill(demo["password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    expect(page.get_by_role("heading", name="Segunda etapa")).to_be_visible()
    visitor.shoot("second-step")
    page.get_by_role("button", name="Usar chave de acesso").click()
    page.wait_for_url("**/app/**")

    for name, path in PAGES.items():
        visitor.go(path)
        visitor.shoot(name)
        found = [item["id"] for item in Axe().run(page).response["violations"] if item["impact"] in ("serious", "critical")]
        assert found == [], f"{path}: {found}"
    visitor.go("/conta/seguranca/")
    page.get_by_role("link", name="Remover Notebook").click()
    page.get_by_label("Senha", exact=True).fill(demo["password"])
    page.get_by_role("button", name="Confirmar").click()
    page.get_by_role("button", name="Remover chave de acesso").click()
    expect(page.get_by_text("Chave de acesso removida.")).to_be_visible()
