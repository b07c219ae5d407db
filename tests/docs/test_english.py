"""The documentation in English says what the Portuguese one does: page by page, block by block, at the same addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils.translation import override
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tokia import docs, docs_reference, docs_search
from tokia.docs_markdown import read_head, render
from tokia.language import ENGLISH

PORTUGUESE = settings.LANGUAGE_CODE
ENGLISH_CONTENT = docs.CONTENT / "en"
# Names in code spans that are words, not names of the API.
WORDS_IN_CODE = {"AAAA-MM-DD": "YYYY-MM-DD", "{modelo}": "{model}", "id.timestamp.corpo": "id.timestamp.body"}
# Code, addresses, and what is quoted of the API.
NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|“[^”]*”", re.DOTALL)
PORTUGUESE_WORDS = re.compile(
    r"\b(que|com|para|uma?|dos|das|de|da|em|por|ou|seu|sua|cada|mais|como|quando|chaves?|saldo|erros?|modelos?|nota|"
    r"empresa|valor|campo|tipo|texto|lista|resposta|pedido|requisi\w+|chamadas?)\b|\w*[àáâãçéêíóôõú]\w*",
    re.IGNORECASE,
)
BRAZILIAN_NAMES = {"Brasília", "São", "Paulo"}


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).parse(text)


def pages_in(language: str) -> dict[str, docs.Page]:
    with override(language):
        return docs.pages()


def written() -> Iterator[tuple[str, str, str]]:
    """Slug, Portuguese and English text of each page of the folder, as they are written."""
    for path in sorted(docs.CONTENT.glob("*.md")):
        yield path.stem, path.read_text(encoding="utf-8"), (ENGLISH_CONTENT / path.name).read_text(encoding="utf-8")


def test_it_has_an_english_page_for_each_portuguese_one() -> None:
    assert names_in(ENGLISH_CONTENT) == names_in(docs.CONTENT)
    assert list(pages_in(ENGLISH)) == list(pages_in(PORTUGUESE))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.md"))


def test_it_says_the_same_block_by_block() -> None:
    """The same headings, lists, rows and examples in the same places, with the same links, names and numbers in each."""
    wrong = [f"{slug}: {told}" for slug, text, english in written() for told in differences(text, english)]
    assert wrong == []


def test_it_says_the_same_on_the_generated_pages() -> None:
    english = pages_in(ENGLISH)
    wrong = [
        f"{slug}: {told}"
        for slug, page in pages_in(PORTUGUESE).items()
        if slug not in {path.stem for path in docs.CONTENT.glob("*.md")}
        for told in differences(page.markdown, english[slug].markdown)
    ]
    assert wrong == []


def differences(text: str, english: str) -> Iterator[str]:
    ours, theirs = parse(text), parse(english)
    if [shape_of(token) for token in ours] != [shape_of(token) for token in theirs]:
        place = next(
            (at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if shape_of(one) != shape_of(other)), -1
        )
        yield f"another shape, after {theirs[place - 1].content!r}"
        return
    for one, other in zip(ours, theirs, strict=True):
        if one.type == "inline" and held_by(one, are_words_english=True) != held_by(other):
            yield f"{other.content!r} holds {held_by(other)}, not {held_by(one, are_words_english=True)}"


def shape_of(token: Token) -> tuple[Any, ...]:
    """Of a fence, all of it: its example is run once, for both."""
    return (token.type, token.tag, token.level, *((token.info, token.content) if token.type == "fence" else ()))


def held_by(token: Token, *, are_words_english: bool = False) -> dict[str, list[str]]:
    """Code, links, places and numbers of a block, in any sequence: sentences are built another way."""
    code = [inner.content for inner in token.children or () if inner.type == "code_inline"]
    if are_words_english:
        for word, english in WORDS_IN_CODE.items():
            code = [each.replace(word, english) for each in code]
    text = "".join(inner.content for inner in token.children or () if inner.type == "text")
    numbers = re.findall(r"\d[\d.,]*\d|\d", text)
    return {
        "code": sorted(code),
        "links": sorted(str(inner.attrGet("href")) for inner in token.children or () if inner.type == "link_open"),
        "places": sorted(re.findall(r"\{\{ ?\w+ ?\}\}", token.content)),
        "numbers": sorted(re.sub("[.,]", "", number) for number in numbers),
    }


def test_it_keeps_the_anchors() -> None:
    """A link to a heading, as the errors of `/v1` have, leads there in both languages."""
    english = pages_in(ENGLISH)
    for slug, page in pages_in(PORTUGUESE).items():
        assert english[slug].anchors == page.anchors, slug
    rendered = english["roteamento"].rendered
    assert 'id="orcamento-de-latencia"' in rendered.html and "Latency budget" in rendered.html
    assert [heading.id for heading in rendered.headings] == list(english["roteamento"].anchors)
    assert [passage.id for passage in english["roteamento"].passages] == ["", *english["roteamento"].anchors]


def test_it_explains_the_same_codes() -> None:
    for heading in pages_in(ENGLISH)["erros"].rendered.headings:
        if heading.level == 3:
            assert heading.id == heading.text
    for part in pages_in(ENGLISH)["erros"].markdown.split("\n### ")[1:]:
        code, body = part.split("\n", 1)
        assert re.search(r"^\*\*.+\*\* · .*charged", body, re.MULTILINE), f"{code}: charged or not?"
        assert "**What to do:**" in body, f"{code}: no cure"


def test_it_refuses_anchors_that_are_not_those_of_its_headings() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        render("# A\n\nB\n\n## C\n\n## D\n", anchors=["c"])


def test_it_mixes_no_languages() -> None:
    for slug, page in pages_in(ENGLISH).items():
        prose = NOT_PROSE.sub(" ", f"{page.section}\n{page.markdown}")
        found = {found[0] for found in PORTUGUESE_WORDS.finditer(prose)} - BRAZILIAN_NAMES
        assert found == set(), f"{slug}: {found}"


def test_it_describes_each_page_to_search_engines() -> None:
    leads = [page.lead for page in pages_in(ENGLISH).values()]
    assert len(leads) == len(set(leads)) and all(40 <= len(lead) <= 200 for lead in leads)
    for path in ENGLISH_CONTENT.glob("*.md"):
        assert read_head(path.read_text(encoding="utf-8"))


def test_it_has_english_for_every_text_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    known = docs_reference.english_texts()
    asked: set[str] = set()

    class Listening(dict[str, str]):
        def get(self, text: str, default: Any = None) -> Any:
            asked.add(text)
            return super().get(text, default)

    monkeypatch.setattr(docs_reference, "english_texts", lambda: Listening(known))
    with override(ENGLISH):
        for slug, _, _ in docs_reference.heads():
            docs_reference.write_page(slug)
    asked = {text for text in asked if text and not text.startswith("Permissão: ")}
    assert sorted(asked - known.keys()) == [], "write them in templates/docs/content/en/api.toml"
    assert sorted(known.keys() - asked) == [], "nobody says this any more"


def test_it_does_not_leak_from_one_language_into_the_other() -> None:
    for language, title, section, table in (
        (ENGLISH, "Limits", "Errors and limits", "Table 1"),
        (PORTUGUESE, "Limites", "Erros e limites", "Tabela 1"),
        (ENGLISH, "Limits", "Errors and limits", "Table 1"),
    ):
        with override(language):
            page = docs.pages()["limites"]
            assert (page.title, page.section) == (title, section) and section in dict(docs.contents())
            assert table in page.rendered.html
            after = docs.neighbours(page).after
            assert after is not None and after is docs.pages()["custos"]
            assert {row["t"] for row in docs_search.index()} == {each.title for each in docs.pages().values()}
    with override(ENGLISH):  # a page is in its own language, whatever is active when somebody first asks for it
        page = docs.Page(
            "a", language=PORTUGUESE, section="", title="", lead="", write=lambda: "# A\n\nB\n\n```text\nC\n```\n", original=None
        )
        assert "Copiar" in page.rendered.html and "Texto" in page.rendered.html


def test_it_finds_in_the_language_of_the_page() -> None:
    with override(ENGLISH):
        assert docs_search.find("latency budget")[0].entry.url == "/docs/roteamento/#orcamento-de-latencia"
        assert docs_search.find("insufficient_balance")[0].entry.url == "/docs/erros/#insufficient_balance"
        assert docs_search.find("disjuntor") == []
    assert docs_search.find("disjuntor")[0].entry.title == "Glossário"
    assert docs_search.find("orçamento de latência")[0].entry.heading == "Orçamento de latência"


def test_it_shows_strangers_the_language_that_they_chose(client: Client) -> None:
    for language, title, words in (
        (PORTUGUESE, "Início rápido", "saldo"),
        (ENGLISH, "Quickstart", "balance"),
        (PORTUGUESE, "Início rápido", "saldo"),
    ):
        client.cookies[settings.LANGUAGE_COOKIE_NAME] = language
        page = client.get("/docs/inicio-rapido/")
        assert f">{title}</h1>" in page.content.decode() and "Cookie" in page["Vary"]
        assert client.get("/docs/inicio-rapido.md").content.decode().startswith(f"# {title}\n")
        assert "/docs/custos/" in client.get("/docs/busca/", {"q": words}).content.decode()
        found = client.get("/docs/indice.json")  # kept by the browser for minutes: but for one language
        assert found.json()[0]["t"] == title and "Cookie" in found["Vary"]
