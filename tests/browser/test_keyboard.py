"""Signing in, topping up and making a key without a mouse: each stop of the keyboard is seen, and none is a trap."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.conftest import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
STOPS_MAX = 60
# What has the focus: its words, and whether one sees that it has it (a ring of its own, or of the box that stands for it).
FOCUSED = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const labels = [...(at.labels ?? [])];
  const words = at.getAttribute("aria-label") || labels.map((e) => e.innerText).join(" ") || at.innerText || at.name || "";
  const rings = [at, ...labels, at.closest("label"), at.closest(".input")].filter(Boolean);
  const isSeen = rings.some((e) => {
    const style = getComputedStyle(e);
    return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  });
  return { words: words.trim().replace(/\\s+/g, " "), isSeen };
}"""


def tab_to(page: Page, words: str) -> None:
    """Tab on until the stop that says so; on the way every stop has to be seen."""
    passed = []
    for _ in range(STOPS_MAX):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUSED)
        if at is None:
            continue
        assert at["isSeen"], f"nobody sees that {at['words']!r} has the focus"
        if re.search(words, at["words"]):
            return
        passed.append(at["words"][:40])
    raise AssertionError(f"no stop says {words!r} among {passed}")


def test_it_is_all_done_by_the_keyboard(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    visitor = visit(stack.demo["web_url"])
    page = visitor.go("/conta/entrar/")
    tab_to(page, "E-mail")
    page.keyboard.type(stack.demo["email"])
    tab_to(page, "^Senha")
    page.keyboard.type(stack.demo["password"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/app/")

    visitor.go("/app/recarregar/")
    tab_to(page, "Pular para o conteúdo")
    page.keyboard.press("Enter")
    tab_to(page, "R\\$\\s?\\d")
    page.keyboard.press("ArrowRight")
    tab_to(page, "Gerar PIX")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("Pague R\\$"))).to_be_visible()
    tab_to(page, "Copiar")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Copiado!")).to_be_visible()

    visitor.go("/app/chaves/")
    tab_to(page, "Pular para o conteúdo")
    page.keyboard.press("Enter")
    tab_to(page, "Criar chave")
    page.keyboard.press("Enter")
    page.wait_for_url("**/nova/")
    tab_to(page, "^Nome")
    page.keyboard.type("sem mouse")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Copie agora.")).to_be_visible()
    tab_to(page, "Já guardei a chave")
    page.keyboard.press("Space")
    tab_to(page, "Concluir")
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="sem mouse", exact=True)).to_be_visible()
