"""The outcome of Tokia as a newcomer lives it: sign up, top up by PIX, get a key, call a real model, pay for it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from openai import OpenAI
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.browser.inbox import read_code
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
PASSWORD = "um-cavalo-azul-no-telhado"


def credits(base_url: str, key: str) -> dict[str, Decimal]:
    """`GET /v1/credits` with exact decimals."""
    import json

    answer = httpx.get(f"{base_url}/credits", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    data = json.loads(answer.text, parse_float=Decimal, parse_int=Decimal)["data"]
    return {name: value for name, value in data.items() if isinstance(value, Decimal)}


def sign_up(visitor: Visitor, sandbox_url: str, email: str) -> None:
    page = visitor.go("/")
    visitor.shoot("landing")
    page.get_by_role("link", name="Criar conta").first.click()
    visitor.shoot("sign-up")
    page.get_by_label("E-mail corporativo").fill(email)
    page.locator("input[name=password1]").fill(PASSWORD)
    page.locator("input[name=terms]").check()
    page.get_by_role("button", name="Criar conta").click()
    expect(page.get_by_role("heading", name="Confirme seu e-mail")).to_be_visible()
    visitor.shoot("confirm-email")
    page.get_by_label("Código").fill(read_code(sandbox_url, email))
    page.get_by_role("button", name="Confirmar e-mail").click()
    expect(page.get_by_role("heading", name="Quem vai usar a Tokia?")).to_be_visible()


def introduce_company(visitor: Visitor) -> None:
    """The CNPJ (in its alphanumeric form) brings the rest from the public registry."""
    page = visitor.page
    page.locator("#id_cnpj").press_sequentially("12ABC34501DE35")
    expect(page.locator("#id_name")).not_to_have_value("", timeout=10_000)
    visitor.shoot("start")
    page.get_by_role("button", name="Continuar para o painel").click()
    expect(page.get_by_role("heading", name="Comece em 3 passos")).to_be_visible()
    visitor.shoot("dashboard-empty")


def top_up(visitor: Visitor) -> float:
    """R$ 50 by PIX at the sandbox bank. Returns the seconds from the payment to the page that says so by itself."""
    page = visitor.go("/app/recarregar/")
    page.get_by_text("R$\u00a050", exact=True).click()
    visitor.shoot("top-up")
    page.get_by_role("button", name="Gerar PIX").click()
    expect(page.get_by_role("heading", name="Pague R$ 50,00 por PIX")).to_be_visible()
    expect(page.get_by_role("img", name="QR Code do PIX").locator("svg")).to_be_visible()
    expect(page.locator("[data-countdown]")).to_have_text(re.compile(r"\d\d:\d\d"))
    assert page.locator("#copia-e-cola").input_value().startswith("000201")
    visitor.shoot("charge")
    with visitor.context.expect_page() as opened:
        page.get_by_role("link", name="Pagar no banco de demonstração").click()
    bank = opened.value
    bank.get_by_role("button", name="Pagar agora").click()
    paid_at = time.monotonic()
    expect(page.get_by_role("heading", name="Pagamento confirmado")).to_be_visible(timeout=10_000)
    took = time.monotonic() - paid_at
    bank.close()
    visitor.shoot("charge-paid")
    return took


def create_key(visitor: Visitor) -> tuple[str, str]:
    """Returns the secret, shown once, and the Python snippet with it filled in."""
    page = visitor.go("/app/chaves/")
    visitor.shoot("keys-empty")
    page.get_by_role("link", name="Criar chave").first.click()
    visitor.shoot("create-key")
    page.locator("input[name=name]").fill("produção")
    page.get_by_role("button", name="Criar chave").click()
    expect(page.get_by_text("Copie agora.")).to_be_visible()
    secret = page.locator("#chave").input_value()
    assert re.fullmatch(r"sk-tokia-[0-9A-Za-z]{49}", secret)
    snippet = page.locator("#codigo-python").inner_text()
    for tab in ("Node", "curl", "Python"):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator(f"#codigo-{tab.lower()}")).to_contain_text(secret)
    visitor.shoot("key-created")
    page.get_by_label("Já guardei a chave").check()
    page.get_by_role("link", name="Concluir").click()
    expect(page.get_by_role("cell", name="produção", exact=True)).to_be_visible()
    assert secret not in page.content()
    visitor.shoot("keys")
    return secret, snippet


def follow_first_call(page: Page) -> None:
    expect(page.get_by_text("Aguardando sua primeira requisição")).to_be_visible()


def test_it_takes_a_newcomer_from_sign_up_to_a_paid_call(stack: Stack, visit: Callable[[str], Visitor], tmp_path: Path) -> None:
    demo = stack.demo
    visitor = visit(demo["web_url"])
    sign_up(visitor, demo["sandbox_url"], f"nova-{time.time_ns()}@empresa.com.br")
    introduce_company(visitor)
    assert top_up(visitor) < 2.0
    secret, snippet = create_key(visitor)
    before = credits(demo["base_url"], secret)
    assert before["available"] == Decimal(50)

    page = visitor.go("/app/")
    follow_first_call(page)
    visitor.shoot("dashboard-waiting")
    script = tmp_path / "call.py"
    script.write_text(snippet)
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "CompletionUsage" in ran.stdout
    expect(page.get_by_text("Funcionou!")).to_be_visible(timeout=6_000)
    visitor.shoot("dashboard-first-call")

    model = re.search(r'model="([^"]+)"', snippet)
    assert model
    words = []
    usage = None
    with (
        OpenAI(base_url=demo["base_url"], api_key=secret) as client,
        client.chat.completions.create(
            model=model[1],
            messages=[{"role": "user", "content": "Diga bom dia."}],
            max_tokens=32,
            stream=True,
            stream_options={"include_usage": True},
        ) as events,
    ):
        for event in events:
            words += [choice.delta.content or "" for choice in event.choices]
            usage = event.usage or usage
    assert "".join(words).strip()
    assert usage is not None and usage.completion_tokens > 0

    # The balance fell by exactly what the calls cost, and the list tells what, when, how much and by which prices.
    after = credits(demo["base_url"], secret)
    assert after["available"] == before["available"] - after["total_usage"] > 0
    page = visitor.go("/app/requisicoes/")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    visitor.shoot("requests")
    rows.first.get_by_role("link").first.click()
    expect(page.get_by_text(re.compile("Preços|Versão"))).not_to_have_count(0)
    visitor.shoot("request")
    for name, path in (("statement", "/app/extrato/"), ("usage", "/app/uso/"), ("team", "/app/equipe/")):
        visitor.go(path)
        visitor.shoot(name)
    visitor.go("/app/configuracoes/empresa/")
    visitor.shoot("organization")
    visitor.go("/modelos/")
    visitor.shoot("catalog")
