"""Real Chromium on the pages of a running stack. Screenshots land in `shots/` (ignored by git) to be looked at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

SHOTS = Path(__file__).parent / "shots"
IS_UNSEEN = bool(os.environ.get("CI"))
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "Debian's chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def take(page: Page, name: str) -> None:
    """A full-page picture, but in CI, where nobody would look at what takes a quarter of a walk's time."""
    if not IS_UNSEEN:
        SHOTS.mkdir(exist_ok=True)
        # The caret is left alone: hiding it leaves `style=""` behind, which htmx then copies, against the CSP.
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True, caret="initial", timeout=60_000)


class Visitor:
    """One person at one screen. Every console error, page error and refused request is a failure of the test."""

    def __init__(self, context: BrowserContext, web_url: str) -> None:
        self.context = context
        self.web_url = web_url
        self.troubles: list[str] = []
        self.page = self.watch(context.new_page())

    def watch(self, page: Page) -> Page:
        page.set_default_timeout(15_000)
        page.on("console", lambda message: self.troubles.append(f"{page.url}: {message.text}") if message.type == "error" else None)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        return page

    def go(self, path: str) -> Page:
        self.page.goto(self.web_url + path)
        return self.page

    def shoot(self, name: str, page: Page | None = None) -> None:
        """A full-page picture on the wide and on the phone screen; neither may scroll sideways."""
        page = page or self.page
        for size, label in ((PHONE, "390"), (WIDE, "1440")):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            page.wait_for_timeout(350)
            take(page, f"{name}-{label}")
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, f"{name} scrolls sideways by {overflow} px at {label}"


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[[str], Visitor]]:
    visitors: list[Visitor] = []

    def open_visitor(web_url: str) -> Visitor:
        context = chromium.new_context(viewport=WIDE, locale="pt-BR", timezone_id="America/Sao_Paulo", reduced_motion="reduce")  # type: ignore[arg-type]
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=web_url)
        visitors.append(Visitor(context, web_url))
        return visitors[-1]

    yield open_visitor
    troubles = [trouble for visitor in visitors for trouble in visitor.troubles]
    for visitor in visitors:
        visitor.context.close()
    assert troubles == []


def sign_in(visitor: Visitor, demo: dict[str, str]) -> Page:
    """As the demo's owner."""
    page = visitor.go("/conta/entrar/")
    page.locator("input[name=login]").fill(demo["email"])
    page.locator("input[name=password]").fill(demo["password"])
    page.get_by_role("button", name="Entrar", exact=True).click()
    page.wait_for_url("**/app/")
    return page
