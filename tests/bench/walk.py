"""`python -m tests.bench.walk` → the walk from the landing page to a first paid call, at a person's pace, as a film with its time.

A newcomer who reads a page for READING seconds and types 9 characters a second does all that a page asks for: sign up, confirm the
e-mail, name the organization, pay by PIX at the demo's bank, create a key, run the page's own snippet. Then how soon the pages
answer: until a page is interactive, by the browser's own clock, in a browser that has never seen the site, on a wide and on a
phone screen. Nothing here passes or fails: figures are told, with the film's place.
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.bench.stack import ROOT, Row, running
from tests.browser.conftest import FLAGS, PHONE, WIDE
from tests.browser.inbox import read_code

PASSWORD = "um-cavalo-azul-no-telhado"
READING = 3.0  # seconds for a page before anything is done on it
TYPING_MS = 110  # a character
FRAMES_EACH = 0.5  # seconds between the film's pictures
FILM_WIDTH = 720
PAGES = ("/", "/modelos/", "/docs/", "/docs/inicio-rapido/", "/status/", "/conta/entrar/")
APP_PAGES = ("/app/", "/app/chaves/", "/app/recarregar/", "/app/uso/", "/app/requisicoes/", "/app/extrato/", "/app/playground/")
# What a page's own clock says, in ms since the navigation began: until its scripts have run, and until something was painted.
CLOCK = """() => {
    const [navigation] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    return {interactive: Math.round(navigation.domContentLoadedEventEnd), painted: Math.round(paint ? paint.startTime : 0)};
}"""


class Film:
    """What the screen showed, and when."""

    def __init__(self, page: Page) -> None:
        self._frames: list[tuple[float, bytes]] = []
        self._session = page.context.new_cdp_session(page)
        self._session.on("Page.screencastFrame", self._keep)
        self._session.send("Page.startScreencast", {"format": "jpeg", "quality": 70})

    def _keep(self, frame: dict[str, Any]) -> None:
        self._session.send("Page.screencastFrameAck", {"sessionId": frame["sessionId"]})
        if not self._frames or time.monotonic() - self._frames[-1][0] >= FRAMES_EACH:
            self._frames.append((time.monotonic(), base64.b64decode(frame["data"])))

    def save(self, path: Path) -> None:
        pictures = []
        for _, data in self._frames:
            picture = Image.open(io.BytesIO(data))
            pictures.append(picture.resize((FILM_WIDTH, picture.height * FILM_WIDTH // picture.width)))
        times = [at for at, _ in self._frames] + [time.monotonic()]
        lengths = [max(20, int((after - at) * 1000)) for at, after in pairwise(times)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=lengths, loop=0, quality=60)


class Walk:
    """One person's way, and when each step was done."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.began = time.monotonic()
        self.steps: list[tuple[str, float]] = []

    def read(self) -> None:
        self.page.wait_for_load_state()
        self.page.wait_for_timeout(READING * 1000)

    def type(self, selector: str, text: str) -> None:
        self.page.locator(selector).click()
        self.page.keyboard.type(text, delay=TYPING_MS)

    def click(self, name: str, role: Any = "button") -> None:
        self.page.get_by_role(role, name=name).first.click()

    def note(self, step: str) -> None:
        self.steps.append((step, time.monotonic() - self.began))


def walk_to_a_paid_call(walk: Walk, demo: Row) -> None:
    page, email = walk.page, f"nova-{time.time_ns()}@empresa.com.br"
    page.goto(demo["web_url"])
    walk.read()
    walk.note("landing page read")
    walk.click("Criar conta", "link")
    walk.read()
    walk.type("input[type=email]", email)
    walk.type("input[name=password1]", PASSWORD)
    page.locator("input[name=terms]").check()
    walk.click("Criar conta")
    walk.read()
    walk.type("input[name=code]", read_code(demo["sandbox_url"], email))
    walk.click("Confirmar e-mail")
    walk.note("signed up, e-mail confirmed")
    walk.read()
    walk.type("#id_cnpj", "12ABC34501DE35")
    expect(page.locator("#id_name")).not_to_have_value("", timeout=10_000)
    walk.click("Continuar para o painel")
    walk.note("organization named")
    walk.read()
    page.locator("main a[href='/app/recarregar/']:visible").first.click()
    walk.read()
    page.get_by_text("R$\u00a050", exact=True).click()
    walk.click("Gerar PIX")
    walk.read()
    with page.context.expect_page() as opened:
        walk.click("Pagar no banco de demonstração", "link")
    opened.value.wait_for_timeout(READING * 1000)
    opened.value.get_by_role("button", name="Pagar agora").click()
    opened.value.close()
    expect(page.get_by_role("heading", name="Pagamento confirmado")).to_be_visible(timeout=10_000)
    walk.note("PIX paid, balance there")
    walk.read()
    page.goto(demo["web_url"] + "/app/")
    page.locator("main a[href^='/app/chaves/']:visible").first.click()
    walk.read()
    if page.locator("input[name=name]").count() == 0:
        walk.click("Criar chave", "link")
        walk.read()
    walk.type("input[name=name]", "produção")
    walk.click("Criar chave")
    walk.read()
    snippet = page.locator("#codigo-python").inner_text()
    page.get_by_label("Já guardei a chave").check()
    walk.click("Concluir", "link")
    walk.note("key created, snippet copied")
    page.goto(demo["web_url"] + "/app/")
    walk.read()
    ran = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=120)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    expect(page.get_by_text("Funcionou!")).to_be_visible(timeout=10_000)
    walk.note("first call paid, the dashboard says so")
    walk.read()


def time_pages(browser: Browser, demo: Row) -> Iterator[tuple[str, list[Row]]]:
    for path in (*PAGES, *APP_PAGES):
        yield path, [time_page(browser, demo, path, size) for size in (WIDE, PHONE)]


def time_page(browser: Browser, demo: Row, path: str, size: Any) -> Row:
    context = browser.new_context(viewport=size, locale="pt-BR")
    if path in APP_PAGES:
        signed_in = context.new_page()
        signed_in.goto(demo["web_url"] + "/conta/entrar/")
        signed_in.locator("input[name=login]").fill(demo["email"])
        signed_in.locator("input[name=password]").fill(demo["password"])
        signed_in.get_by_role("button", name="Entrar", exact=True).click()
        signed_in.wait_for_url("**/app/")
        signed_in.close()
    page = context.new_page()
    page.goto(demo["web_url"] + path, wait_until="load")
    clock: Row = page.evaluate(CLOCK)
    context.close()
    return clock


@contextmanager
def browsing() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--film", type=Path, default=ROOT / "tests" / "browser" / "shots" / "walk.webp")
    args = parser.parse_args()
    with running() as (_, demo, _), browsing() as browser:
        page = browser.new_context(viewport=WIDE, locale="pt-BR").new_page()  # type: ignore[arg-type]
        film, walk = Film(page), Walk(page)
        walk_to_a_paid_call(walk, demo)
        args.film.parent.mkdir(exist_ok=True)
        film.save(args.film)
        print("\n| step | seconds since the landing page |\n|---|---|")
        for step, seconds in walk.steps:
            print(f"| {step} | {seconds:.0f} |")
        print(f"\nThe film: {args.film}\n\n| page | interactive, wide | painted | interactive, phone | painted |")
        print("|---|---|---|---|---|")
        for path, clocks in time_pages(browser, demo):
            print(f"| {path} | " + " | ".join(f"{clock['interactive']} ms | {clock['painted'] or '—'}" for clock in clocks) + " |")


if __name__ == "__main__":
    main()
