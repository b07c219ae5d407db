"""An experiment as a developer lives it: drafted in the dashboard, answered by the gateway, read side by side, ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor, take
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
BIG, SMALL = "openai/gpt-4o", "openai/gpt-4o-mini"
CALLS = 240


def sign_in(visitor: Visitor, demo: dict[str, str]) -> None:
    page = visitor.go("/conta/entrar/")
    page.locator("input[name=login]").fill(demo["email"])
    page.locator("input[name=password]").fill(demo["password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/app/")


def call(client: httpx.Client, person: int, *, is_stream: bool) -> str:
    """Returns the id of the call."""
    body = {
        "model": BIG, "user": f"pessoa-{person}", "max_tokens": 60, "stream": is_stream,
        "messages": [{"role": "user", "content": "Diga bom dia de um jeito diferente."}],
    }  # fmt: skip
    answer = client.post("/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-request-id"]


def draft(visitor: Visitor) -> Page:
    page = visitor.go("/app/experimentos/")
    visitor.shoot("experiments-empty")
    page.get_by_role("link", name="Novo experimento").click()
    page.get_by_label("Nome").fill("Dá para usar o menor no resumo?")
    page.get_by_label("Quando pedem o modelo").fill(BIG)
    for letter, label, route in (("A", "Atual", BIG), ("B", "Menor", SMALL)):
        page.get_by_label(f"Rótulo do lado {letter}").fill(label)
        page.get_by_label(f"Modelo do lado {letter}").select_option(route)
        page.get_by_label(f"Peso do lado {letter}").fill("50")
    page.get_by_label("Modelo do lado C").select_option(BIG)
    page.get_by_role("button", name="Salvar rascunho").click()
    expect(page.get_by_text("Dois lados com o mesmo modelo não comparam nada.")).to_be_visible()
    visitor.shoot("experiment-form")
    page.get_by_label("Modelo do lado C").select_option("")
    page.get_by_role("button", name="Salvar rascunho").click()
    expect(page.get_by_role("heading", name="Rascunho: nada é dividido ainda")).to_be_visible()
    visitor.shoot("experiment-draft")
    return page


def await_total(page: Page) -> None:
    """Results are kept for half a minute."""
    deadline = time.monotonic() + 45
    while page.get_by_text(str(CALLS), exact=True).count() == 0:
        assert time.monotonic() < deadline, "the calls are not counted"
        page.wait_for_timeout(2_000)
        page.reload()


def test_it_compares_two_models_on_real_calls(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    demo = stack.demo
    visitor = visit(demo["web_url"])
    sign_in(visitor, demo)
    page = draft(visitor)
    page.get_by_role("button", name="Iniciar").click()
    expect(page.get_by_text("Esperando a primeira chamada")).to_be_visible()
    visitor.shoot("experiment-waiting")
    page.wait_for_timeout(2_500)  # in force within two seconds

    with httpx.Client(base_url=demo["base_url"], headers={"authorization": f"Bearer {demo['api_key']}"}, timeout=30) as client:

        def call_and_rate(number: int) -> None:
            id_ = call(client, number % 120, is_stream=number % 2 == 0)
            if number % 3:
                rated = client.post("/generation/feedback", json={"generation_id": id_, "score": 1 if number % 4 else -1})
                assert rated.status_code == 200, rated.text

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(call_and_rate, range(CALLS)))
    await_total(page)
    table = page.get_by_role("region", name="Resultados lado a lado")
    expect(table.get_by_role("columnheader", name="Menor")).to_be_visible()
    cells = table.get_by_role("row", name="Chamadas").first.get_by_role("cell").all_inner_texts()
    assert sum(int(cell) for cell in cells) == CALLS and all(int(cell) > CALLS // 4 for cell in cells), cells
    expect(page.get_by_text("Menor custa")).to_contain_text("menos por chamada que Atual")
    page.get_by_text("O que entra em cada conta").click()
    visitor.shoot("experiment-running")

    page.get_by_role("button", name="Encerrar experimento").click()
    page.wait_for_timeout(200)
    take(page, "experiment-end-dialog")
    page.get_by_role("dialog").get_by_role("button", name="Encerrar").click()
    expect(page.get_by_text("Experimento encerrado.")).to_be_visible()
    visitor.shoot("experiment-ended")
    visitor.go("/app/experimentos/")
    visitor.shoot("experiments")
    watch_as_staff(visit(demo["web_url"]), demo)


def watch_as_staff(visitor: Visitor, demo: dict[str, str]) -> None:
    page = visitor.go("/admin/")
    page.get_by_label("E-mail").fill(demo["admin_email"])
    page.locator("input[name=password]").fill(demo["admin_password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/admin/")
    page = visitor.go("/admin/gateway/experiment/")
    visitor.shoot("admin-gateway-experiment")
    page.get_by_role("link", name="Dá para usar o menor no resumo?").click()
    expect(page.get_by_text("Menor custa")).to_contain_text("menos por chamada que Atual")
    visitor.shoot("admin-experiment")
    visitor.go("/admin/gateway/experiment/add/")
    visitor.shoot("admin-experiment-add")


def test_a_key_is_changed_where_it_was_made(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    sign_in(visitor, stack.demo)
    page = visitor.go("/app/chaves/")
    visitor.shoot("keys-changeable")
    page.get_by_role("link", name="Mudar").first.click()
    expect(page.get_by_role("heading", name="Mudar a chave")).to_be_visible()
    name = page.locator("input[name=name]").input_value()
    page.get_by_label("Repetir respostas de chamadas iguais").select_option("3600")
    visitor.shoot("key-change")
    page.get_by_role("button", name="Salvar").click()
    expect(page.get_by_text(f"Chave “{name}” alterada.")).to_be_visible()
    page.get_by_role("link", name="Mudar").first.click()
    page.get_by_label("Repetir respostas de chamadas iguais").select_option("")
    page.get_by_role("button", name="Salvar").click()
    expect(page.get_by_text(f"Chave “{name}” alterada.")).to_be_visible()
