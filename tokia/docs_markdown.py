"""Markdown → HTML of the documentation: headings with anchors, coloured code, tabs of languages, notes. Pure.

Raw HTML is not let through. Code blocks of several languages one after the other become tabs; without JavaScript they stay one
after the other. Colours are classes (`deploy/css/docs.css`), since the pages' policy allows no inline style. The few words that
it adds itself are in the active language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

# A fence's word → its tab. What is not here (json, text, env…) stands alone.
LANGUAGES = {"curl": "curl", "python": "Python", "node": "Node", "go": "Go", "ruby": "Ruby", "php": "PHP"}
_LEXERS = {"curl": "bash", "node": "javascript", "env": "bash", "text": "text"}
_LINE_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True)
_ATTENTION = re.compile(r"(Atenção|Cuidado|Attention|Caution)\b")


@dataclass(frozen=True, slots=True)
class Heading:
    level: int  # 2 or 3
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """What stands under one heading, as plain text, for the search; the first has no id."""

    id: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    html: SafeString  # without the title
    headings: tuple[Heading, ...]


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def read_head(markdown: str) -> tuple[str, str]:
    """The title, and the first paragraph as plain text. Raises ValueError where a page does not begin with them."""
    tokens = _parser().parse("\n\n".join(markdown.split("\n\n", 2)[:2]))
    kinds = [token.type for token in tokens]
    if kinds[:4] != ["heading_open", "inline", "heading_close", "paragraph_open"] or tokens[0].tag != "h1":
        raise ValueError("a page begins with its title and a paragraph")
    return plain(tokens[1]), plain(tokens[4])


def render(markdown: str, *, anchors: Sequence[str] | None = None) -> Rendered:
    """`anchors`: the ids of the headings, in sequence; without them they are made of the headings' texts.

    Raises ValueError where there are not as many as headings.
    """
    parser = _parser()
    tokens = parser.parse(markdown)
    headings = _anchor(tokens, anchors)
    for token in tokens:
        for inner in token.children or ():
            if inner.type == "link_open" and str(inner.attrGet("href")).startswith("http"):
                inner.attrSet("rel", "noopener")
    html = mark_safe(_write(parser, tokens[3:]))  # noqa: S308 - pages of ours, by a parser that takes no HTML
    return Rendered(html=html, headings=headings)


def read_passages(markdown: str, *, anchors: Sequence[str] | None = None) -> list[Passage]:
    """What stands under each heading. Raises as `render` does."""
    tokens = _parser().parse(markdown)
    _anchor(tokens, anchors)
    return list(_passages(tokens))


def read_anchors(markdown: str) -> tuple[str, ...]:
    """The ids that the headings have of their own."""
    return tuple(heading.id for heading in _anchor(_parser().parse(markdown), None))


def plain(token: Token) -> str:
    """An inline token's text, without its marks."""
    return "".join(inner.content if inner.type in ("text", "code_inline") else " " if "break" in inner.type else ""
                   for inner in token.children or ())  # fmt: skip


def slugify(text: str) -> str:
    """Of a heading: letters without accents, digits and underlines; error codes stay as they are."""
    bare = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "-", bare).strip("-")


def _anchor(tokens: Sequence[Token], anchors: Sequence[str] | None) -> tuple[Heading, ...]:
    """Every heading gets an id."""
    found = [
        (token, plain(tokens[place + 1]))
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag != "h1"
    ]
    headings = []
    ids = _ids(text for token, text in found) if anchors is None else anchors
    for (token, text), id_ in zip(found, ids, strict=True):
        token.attrSet("id", id_)
        headings.append(Heading(level=int(token.tag[1]), id=id_, text=text))
    return tuple(headings)


def _ids(texts: Iterable[str]) -> Iterable[str]:
    """Of headings: twice the same text gets another number."""
    seen: dict[str, int] = {}
    for text in texts:
        id_ = slugify(text) or "parte"
        seen[id_] = seen.get(id_, 0) + 1
        yield f"{id_}-{seen[id_]}" if seen[id_] > 1 else id_


def _passages(tokens: Sequence[Token]) -> Iterable[Passage]:
    id_, heading, parts = "", "", list[str]()
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            if parts or heading:
                yield Passage(id_, heading, " ".join(parts))
            id_, heading, parts = str(token.attrGet("id") or ""), plain(tokens[place + 1]), []
            if token.tag == "h1":
                id_ = ""
        elif token.type == "inline" and tokens[place - 1].type != "heading_open":
            parts.append(plain(token))
        elif token.type == "fence":
            parts.append(token.content)
    yield Passage(id_, heading, " ".join(parts))


# ── HTML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _write(parser: MarkdownIt, tokens: Sequence[Token]) -> str:
    """Runs of tokens by the library's own writer; code, tables, headings' links and notes by ours."""
    parts: list[str] = []
    run: list[Token] = []
    place, number, tables = 0, 0, 0

    def flush() -> None:
        if run:
            parts.append(parser.renderer.render(run, parser.options, {}))
            run.clear()

    while place < len(tokens):
        token = tokens[place]
        if token.type == "fence":
            flush()
            fences = [token]
            while _may_join(fences, tokens, place + 1):
                place += 1
                fences.append(tokens[place])
            parts.append(_write_code(fences, number))
            number += 1
        elif token.type == "table_open":
            flush()
            tables += 1
            label = escape(_("Tabela {number}").format(number=tables))
            parts.append(f'<div class="docs-table" tabindex="0" role="region" aria-label="{label}"><table>')
        elif token.type == "table_close":
            flush()
            parts.append("</table></div>\n")
        elif token.type == "heading_close":
            opened = next(before for before in reversed(tokens[:place]) if before.type == "heading_open")
            id_ = escape(str(opened.attrGet("id")))
            flush_heading = f'<a class="docs-anchor" href="#{id_}" aria-label="{escape(_("Link para esta seção"))}">#</a>'
            flush()
            parts.append(f"{flush_heading}</{token.tag}>\n")
        elif token.type == "blockquote_open":
            flush()
            first = next((plain(inner) for inner in tokens[place:] if inner.type == "inline"), "")
            kind = "attention" if _ATTENTION.match(first) else "tip"
            parts.append(f'<div class="docs-note docs-note-{kind}" role="note">\n')
        elif token.type == "blockquote_close":
            flush()
            parts.append("</div>\n")
        else:
            run.append(token)
        place += 1
    flush()
    return "".join(parts)


def _may_join(fences: list[Token], tokens: Sequence[Token], place: int) -> bool:
    """The next block is the same example in a language that is not there yet."""
    if place >= len(tokens) or tokens[place].type != "fence":
        return False
    mine = {fence.info for fence in fences}
    return mine <= LANGUAGES.keys() and tokens[place].info in LANGUAGES and tokens[place].info not in mine


def _write_code(fences: list[Token], number: int) -> str:
    if len(fences) == 1:
        return _write_block(fences[0], f"codigo-{number}")
    tabs = "".join(
        f'<button type="button" role="tab" id="aba-{number}-{fence.info}" aria-controls="codigo-{number}-{fence.info}-painel"'
        f' aria-selected="{"true" if not place else "false"}" tabindex="{-1 if place else 0}" data-tab="{fence.info}">'
        f"{LANGUAGES[fence.info]}</button>"
        for place, fence in enumerate(fences)
    )
    panels = "".join(
        f'<div role="tabpanel" id="codigo-{number}-{fence.info}-painel" aria-labelledby="aba-{number}-{fence.info}"'
        f' data-panel="{fence.info}">{_write_block(fence, f"codigo-{number}-{fence.info}")}</div>'
        for fence in fences
    )
    label = escape(_("Linguagem do exemplo"))
    return f'<div class="docs-tabs" data-tabs="codigo"><div role="tablist" aria-label="{label}">{tabs}</div>{panels}</div>\n'


def _write_block(fence: Token, id_: str) -> str:
    """One block of code with its name and a button that copies it. It scrolls by itself, so the keyboard may reach it."""
    name = fence.info.strip()
    shown = LANGUAGES.get(name) or {"json": "JSON", "text": _("Texto"), "env": ".env"}.get(name, name)
    code = highlight(fence.content, get_lexer_by_name(_LEXERS.get(name, name or "text")), _LINE_FORMATTER)
    label = escape(_("Exemplo em {language}").format(language=shown))
    return (
        f'<figure class="docs-code"><figcaption><span>{escape(shown)}</span>'
        f'<button type="button" data-copy="#{id_}"><span data-copy-label aria-live="polite">{escape(_("Copiar"))}</span></button>'
        f'</figcaption><pre tabindex="0" aria-label="{label}"><code id="{id_}">{code}</code></pre></figure>\n'
    )
