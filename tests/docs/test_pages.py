"""The documentation's pages: every one opens, every link and anchor leads somewhere, no number is another than the code's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client
from django.urls import Resolver404, resolve

from tokia import docs, docs_search
from tokia.docs_markdown import read_head, render
from tokia.openapi import TAGS

# Words of English that nobody left behind on purpose; *token*, *prompt*, *streaming* and the like are Portuguese by now.
LEFTOVERS = re.compile(r"\b(the|and|with|your|you|this|click|page not found|search|read more|lorem ipsum)\b", re.IGNORECASE)
ENGLISH_ON_PURPOSE = re.compile(r"`[^`]*`|\*[^*]*\*|```.*?```|\([^)]*\)|\bBearer\b|Server-Sent Events", re.DOTALL)


class Reader(HTMLParser):
    """What a page has: links, ids, headings, the description."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.description = ""
        self.scripts: list[str] = []
        self.styles = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "meta" and given.get("name") == "description":
            self.description = str(given["content"])
        if "style" in given or any(name.startswith("on") for name in given):
            self.styles += 1


@pytest.fixture(scope="module")
def opened() -> dict[str, Reader]:
    """Every page, asked by a stranger."""
    client = Client()
    found = {}
    for url in ["/docs/", *(page.url for page in docs.pages().values())]:
        answer = client.get(url)
        assert answer.status_code == 200, url
        found[url] = Reader(answer.content.decode())
    return found


def test_it_lists_each_page_of_the_folder_once() -> None:
    listed = [slug for _, slugs in docs.SECTIONS for slug in slugs]
    assert sorted(listed) == sorted(path.stem for path in docs.CONTENT.glob("*.md"))
    assert len(docs.pages()) == len(listed) + len(TAGS)


def test_it_gives_each_page_one_title_a_description_and_headings_in_order(opened: dict[str, Reader]) -> None:
    descriptions = set()
    for url, page in opened.items():
        assert page.headings.count(1) == 1, url
        assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False)), url
        assert 40 <= len(page.description) <= 200, f"{url}: {page.description}"
        assert len(page.ids) == len(set(page.ids)), f"{url}: an id twice"
        assert page.styles == 0, f"{url}: inline style or handler, which the policy forbids"
        descriptions.add(page.description)
    assert len(descriptions) == len(opened)


def test_it_links_only_to_what_is_there(opened: dict[str, Reader]) -> None:
    broken = [f"{url} → {link}" for url, page in opened.items() for link in page.links if not leads_somewhere(url, link, opened)]
    assert broken == []


def leads_somewhere(url: str, link: str, opened: dict[str, Reader]) -> bool:
    path, _, anchor = link.partition("#")
    path = path or url
    if path.startswith(("https://", "http://", "mailto:")):
        return True
    if path in opened:
        return not anchor or anchor in opened[path].ids
    try:
        resolve(path.partition("?")[0])
    except Resolver404:
        return False
    return True


def test_it_speaks_portuguese() -> None:
    for _, slugs in docs.SECTIONS:
        for slug in slugs:
            text = ENGLISH_ON_PURPOSE.sub(" ", docs.pages()[slug].markdown)
            assert (found := LEFTOVERS.search(text)) is None, f"{slug}: {found[0] if found else ''}"


def test_it_serves_each_page_as_markdown(client: Client) -> None:
    for slug, page in docs.pages().items():
        answer = client.get(f"/docs/{slug}.md")
        assert answer["content-type"].startswith("text/markdown")
        text = answer.content.decode()
        assert text.startswith(f"# {page.title}\n") and "{{" not in text, slug
    assert client.get("/docs/nada.md").status_code == client.get("/docs/nada/").status_code == 404


def test_it_finds_by_code_and_without_accents() -> None:
    assert docs_search.find("insufficient_balance")[0].entry.url == "/docs/erros/#insufficient_balance"
    assert docs_search.find("orcamento de latencia")[0].entry.url == "/docs/roteamento/#orcamento-de-latencia"
    assert "/docs/webhooks/" in docs_search.find("assinatura webhook")[0].entry.url
    assert docs_search.find("") == docs_search.find("xyzzy") == []


def test_it_searches_without_a_script(client: Client) -> None:
    found = client.get("/docs/busca/", {"q": "Idempotency-Key"}).content.decode()
    assert "/docs/idempotencia/" in found
    nothing = client.get("/docs/busca/", {"q": "<script>xyzzy"}).content.decode()
    assert "Nada encontrado" in nothing and "<script>xyzzy" not in nothing
    assert "Escreva o que procura" in client.get("/docs/busca/").content.decode()


def test_it_gives_the_browser_an_index_of_everything(client: Client) -> None:
    answer = client.get("/docs/indice.json")
    rows: list[dict[str, Any]] = json.loads(answer.content)
    assert {row["u"].partition("#")[0] for row in rows} == {page.url for page in docs.pages().values()}
    assert len(answer.content) < 250_000


def test_it_shows_every_language_where_no_script_runs(client: Client) -> None:
    html = client.get("/docs/inicio-rapido/").content.decode()
    panels = re.findall(r'<div role="tabpanel"[^>]*>', html)
    assert len(panels) == 6 and not any("hidden" in panel for panel in panels)


def test_it_lets_no_html_of_a_page_through() -> None:
    html = render("# A\n\nB <script>alert(1)</script>\n\n[x](javascript:alert(1))\n").html
    assert "<script" not in html and "href" not in html


def test_it_asks_for_a_title_and_a_paragraph() -> None:
    for text in ("# A\n\n## B\n", "A\n\nB\n", "## A\n\nB\n"):
        with pytest.raises(ValueError, match="begins with"):
            read_head(text)


# ── What the texts say in numbers ────────────────────────────────────────────────────────────────────────────────────
def facts() -> Iterator[tuple[str, str]]:
    """Sentences of pages that hold a number of the code."""
    from billing import hook_deliveries, hooks
    from gateway import (
        answer_cache,
        attempts,
        batch_check,
        exchange,
        files,
        idempotency,
        images_call,
        keeping,
        metering,
        moderation_call,
        parsing,
        preferences,
        rerank_call,
        speech_call,
        tags,
        transcription_call,
    )
    from tokia import manners

    def number(value: int) -> str:
        return f"{value:,}".replace(",", ".")

    yield "chat", f"até {number(parsing.MESSAGES_MAX)} mensagens"
    yield "chat", f"de 1 a {parsing.CHOICES_MAX}; cada uma é cobrada"
    yield "streaming", f"mais de {exchange.SLOW_START_SECONDS:.0f} segundos"
    yield "imagens-e-visao", f"até {parsing.IMAGES_MAX} imagens"
    yield "imagens-e-visao", f"até {number(images_call.PROMPT_CHARACTERS_MAX)} caracteres"
    yield "imagens-e-visao", f"de 1 a {images_call.IMAGES_MAX} imagens"
    yield "imagens-e-visao", f"De 1 a {images_call.INPUT_IMAGES_MAX} imagens"
    yield "imagens-e-visao", f"até {images_call.SIDE_MAX} de lado"
    yield "audio", f"até {number(speech_call.CHARACTERS_MAX)} caracteres"
    yield "audio", f"até {transcription_call.FILE_BYTES_MAX // 1_048_576} MiB"
    yield "audio", f"no mínimo {transcription_call.SECONDS_MIN} segundos"
    yield "audio", ", ".join(f"`{name}`" for name in speech_call.FORMATS)
    yield "embeddings-e-rerank", f"Até {number(parsing.INPUTS_MAX)} textos"
    yield "embeddings-e-rerank", f"Até {number(rerank_call.DOCUMENTS_MAX)} documentos"
    yield "embeddings-e-rerank", f"até {rerank_call.DOCUMENTS_PER_SEARCH} documentos"
    yield "embeddings-e-rerank", f"passa de {rerank_call.PART_TOKENS} tokens"
    yield "moderacao", f"até {moderation_call.INPUTS_MAX} textos"
    yield "moderacao", f"até {moderation_call.IMAGES_MAX} imagens"
    yield "lotes-e-arquivos", f"Até {number(batch_check.LINES_MAX)} linhas"
    yield "lotes-e-arquivos", " ou ".join(f"`{purpose}`" for purpose in files.PURPOSES)
    yield "roteamento", f"até {preferences.SESSION_MAX} caracteres"
    yield (
        "roteamento",
        "`price`, `throughput` ou `latency`" if set(preferences.SORTS) == {"price", "throughput", "latency"} else "?",
    )
    yield "fallbacks", f"(até {preferences.MODELS_MAX})"
    yield "fallbacks", "até quatro tentativas" if attempts.ATTEMPTS_MAX == 4 else "?"
    yield "idempotencia", f"1 a {idempotency.KEY_BYTES_MAX} caracteres"
    yield "idempotencia", f"passa de {keeping.ANSWER_BYTES_MAX // 1_048_576} MiB"
    yield "cache", f"de 1 a {number(answer_cache.TTL_SECONDS_MAX)}; sem ele, {answer_cache.TTL_SECONDS}"
    yield "cache", "acima de 1 MiB" if answer_cache.ENTRY_BYTES_MAX == answer_cache.BODY_BYTES_MAX == 1_048_576 else "?"
    yield "cache", ", ".join(f"`{name}`" for name in ("user", "metadata", "tags", "session_id", "safety_identifier"))
    yield "limites", f"abaixo de {metering.OUTPUT_TOKENS_FLOOR} tokens"
    yield "limites", f"| {number(parsing.TOOLS_MAX)} |"
    yield "orcamentos-e-projetos", f"Até {tags.TAGS_MAX} por chamada"
    yield "webhooks", f"até {hooks.HOOKS_MAX} por empresa"
    yield "webhooks", "dez vezes" if hook_deliveries.ATTEMPTS_MAX == 10 else "?"
    yield "webhooks", "(" + ", ".join(waits(hook_deliveries.RETRY_SECONDS)) + ")"
    yield "webhooks", "por cinco dias" if hook_deliveries.DISABLED_AFTER.days == 5 else "?"
    yield "api-de-gestao", f"de 1 a {manners.PAGE_SIZE_MAX}; sem ele, {manners.PAGE_SIZE}"
    yield "api-de-gestao", f"até {manners.BODY_BYTES_MAX // 1024} KiB"


def waits(seconds: tuple[int, ...]) -> Iterator[str]:
    for each in seconds:
        yield f"{each} s" if each < 60 else f"{each // 60} min" if each < 3_600 else f"{each // 3_600} h"


def test_it_says_the_numbers_of_the_code() -> None:
    wrong = [f"{slug}: {text!r} is not there" for slug, text in facts() if text not in docs.pages()[slug].markdown]
    assert wrong == []


def test_it_tells_every_event_and_every_scope() -> None:
    from accounts.scopes import SCOPES
    from billing.events import LEVELS

    told = docs.pages()["webhooks"].markdown
    assert [type for type in LEVELS if f"`{type}`" not in told] == []
    told = docs.pages()["autenticacao"].markdown
    assert [name for name in SCOPES if f"`{name}`" not in told] == []


def test_it_tells_every_address_of_the_gateway() -> None:
    from gateway.asgi import PARENTS, READS, RESOURCES

    told = docs.pages()["referencia-v1"].markdown
    assert [path for path in (*PARENTS, *RESOURCES, *READS) if path not in told and not path.startswith("/v1/v2/")] == []
