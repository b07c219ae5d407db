"""Every page that a person can come to: axe, weight, headings, sideways scroll, and a layout that stays where it is while it loads.

The pages are found by following links, one of each address of the resolver. Each is seen on a wide light or a narrow dark screen;
in the long form on both screens in both themes.
"""

from __future__ import annotations

import gzip
import itertools
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import Resolver404, resolve
from playwright.sync_api import Error, Page

from tests.browser.conftest import PHONE, WIDE, Visitor, sign_in, take
from tests.conftest import Stack
from tests.examples import IS_LONG

pytestmark = [pytest.mark.browser, pytest.mark.timeout(2_400 if IS_LONG else 400)]
WEIGHT_MAX = 100 * 1024  # bytes of scripts and styles, compressed
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# A row is like the rows before it: of long lists the first ones are looked at.
SEEN = {"include": [["html"]], "exclude": [["tbody tr:nth-child(n+6)"], ["main li:nth-child(n+25)"]]}
# No pages: files, what machines read, and what ends the visit.
NO_PAGE = re.compile(r"\.(csv|json|xml|yaml|txt|pdf|zip|ofx|md|png)$|^webhooks|^healthz|^readyz|/sair/|arquivo/$|baixar/$")
LEVELS = "[...document.querySelectorAll('h1, h2, h3, h4')].filter(e => e.checkVisibility()).map(e => +e.tagName[1])"
WEIGHED = "[...document.querySelectorAll('script[src], link[rel=stylesheet]')].map(e => e.src || e.href)"
DRAWN = "() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))"  # the look that was asked for
LINKS = "[...document.querySelectorAll('a[href]')].map(e => e.href)"
SHIFTS = """() => new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => { for (const one of list.getEntries()) if (!one.hadRecentInput) sum += one.value; })
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(sum), 30);
})"""
SHIFT_MAX = 0.1  # "good" of the Web Vitals
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Look(NamedTuple):
    label: str
    size: dict[str, int]
    scheme: Literal["light", "dark"]


LOOKS = (
    Look("claro-1440", WIDE, "light"), Look("escuro-390", PHONE, "dark"), Look("escuro-1440", WIDE, "dark"),
    Look("claro-390", PHONE, "light"),
)  # fmt: skip


@dataclass
class Inspector:
    """Goes through the pages, and writes down what is wrong with each."""

    visitor: Visitor
    is_member: bool
    faults: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # routes
    _weights: dict[str, int] = field(default_factory=dict)

    def walk(self, *starts: str) -> None:
        """From these addresses on, breadth first, one page of each route."""
        queue = list(starts)
        for path in queue:
            route = route_of(path)
            if route is None or route in self.seen or NO_PAGE.search(route) or (route.startswith("app/") and not self.is_member):
                continue
            self.seen.add(route)
            queue.extend(self.inspect(path, route))

    def inspect(self, path: str, route: str) -> list[str]:
        page, name = self.visitor.page, re.sub(r"[^a-z0-9]+", "-", route.lower()).strip("-") or "inicio"
        looks = LOOKS if IS_LONG else LOOKS[zlib.crc32(route.encode()) % 2 :][:1]
        _dress(page, looks[0])
        try:
            answer = page.goto(self.visitor.web_url + path)
        except Error as error:
            if "Download is starting" in error.message:  # a file, whatever its address looks like
                return []
            raise
        if answer is None or answer.status >= 400:
            self.faults.append(f"{path}: answered {answer and answer.status}")
            return []
        shift = page.evaluate(SHIFTS)
        for _ in range(2):  # on a busy machine a page may be painted when half of it has come
            if shift > SHIFT_MAX:
                page.reload()
                shift = page.evaluate(SHIFTS)
        if shift > SHIFT_MAX:
            self.faults.append(f"{path}: the layout moves by {shift:.2f} while it loads")
        for look in looks:
            _dress(page, look)
            self._look(page, f"{name}-{look.label}")
        for size in (WIDE, PHONE):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            if page.evaluate(OVERFLOW) > 0:
                page.wait_for_timeout(500)  # it may still move to its new size
            if (overflow := page.evaluate(OVERFLOW)) > 0:
                self.faults.append(f"{path}: scrolls sideways by {overflow} px at {size['width']}")
        self._weigh(page, path)
        levels = page.evaluate(LEVELS)
        if levels.count(1) != 1 or any(after > before + 1 for before, after in itertools.pairwise(levels)):
            self.faults.append(f"{path}: headings {levels}")
        here = urlsplit(page.url)
        found = (urlsplit(urljoin(page.url, link)) for link in page.evaluate(LINKS))
        return [link.path for link in found if (link.scheme, link.netloc) == (here.scheme, here.netloc)]

    def _look(self, page: Page, name: str) -> None:
        take(page, f"pagina-{name}")
        found = Axe().run(page, context=SEEN, options={"runOnly": RULES, "resultTypes": ["violations"]}).response["violations"]
        for fault in found:
            if fault["impact"] in ("serious", "critical"):
                where = "; ".join(str(node["target"][0])[:90] for node in fault["nodes"][:3])
                self.faults.append(f"{name}: {fault['help']} ({len(fault['nodes'])}×) {where}")

    def _weigh(self, page: Page, path: str) -> None:
        total = 0
        for url in page.evaluate(WEIGHED):
            if url not in self._weights:
                self._weights[url] = len(gzip.compress(httpx.get(url).content))
            total += self._weights[url]
        if total > WEIGHT_MAX:
            self.faults.append(f"{path}: {total} bytes of scripts and styles")


def _dress(page: Page, look: Look) -> None:
    page.set_viewport_size(look.size)  # type: ignore[arg-type]
    page.emulate_media(color_scheme=look.scheme)
    page.evaluate(DRAWN)


def route_of(path: str) -> str | None:
    """The resolver's pattern; None for what is no page of ours."""
    try:
        route = resolve(path).route
    except Resolver404:
        return None
    return None if route.startswith(("admin/", "api/")) else route


def test_every_page_is_sound(stack: Stack, visit: Callable[[str], Visitor]) -> None:
    stranger = Inspector(visit(stack.demo["web_url"]), is_member=False)
    stranger.walk("/", "/conta/senha/esqueci/")
    owner = Inspector(visit(stack.demo["web_url"]), is_member=True, seen=set(stranger.seen))
    sign_in(owner.visitor, stack.demo)
    owner.walk("/app/")
    faults = [*stranger.faults, *owner.faults]
    assert not faults, "\n".join(faults)
