"""Finding a passage of the documentation, in the active language: for the form that works without JavaScript and for its index."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from django.utils.translation import override

from tokia import docs

RESULTS_MAX = 20
WORDS_MAX = 8
QUERY_CHARACTERS_MAX = 100
EXCERPT_CHARACTERS = 160
INDEXED_CHARACTERS = 600  # of a passage, in the index that the browser keeps
# What a word found in each place is worth; `docs.js` counts the same way.
IN_TITLE, IN_HEADING, IN_TEXT = 8, 5, 1


@dataclass(frozen=True, slots=True)
class Entry:
    url: str
    title: str  # the page's
    heading: str  # empty: the top of the page
    text: str
    section: str


@dataclass(frozen=True, slots=True)
class Found:
    entry: Entry
    excerpt: str


def bare(text: str) -> str:
    """Lower case without accents: who types "cobranca" means "cobrança"."""
    return unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()


def entries() -> tuple[Entry, ...]:
    return _entries(docs.language_now())


@cache
def _entries(language: str) -> tuple[Entry, ...]:
    made = []
    with override(language):
        pages = docs.pages()
    for page in pages.values():
        for passage in page.passages:
            url = page.url + (f"#{passage.id}" if passage.id else "")
            heading = passage.heading if passage.id else ""
            made.append(Entry(url, page.title, heading, re.sub(r"\s+", " ", passage.text).strip(), page.section))
    return tuple(made)


@cache
def _bare_entries(language: str) -> tuple[tuple[str, str, str], ...]:
    return tuple((bare(entry.title), bare(entry.heading), bare(entry.text)) for entry in _entries(language))


def find(query: str) -> list[Found]:
    """The best first, of the passages that hold the most of the words."""
    words = bare(query[:QUERY_CHARACTERS_MAX]).split()[:WORDS_MAX]
    ranked: list[tuple[int, int, int, Entry]] = []
    language = docs.language_now()
    for place, (entry, (title, heading, text)) in enumerate(zip(_entries(language), _bare_entries(language), strict=True)):
        worths = [
            (IN_TITLE if word in title else 0) + (IN_HEADING if word in heading else 0) + (IN_TEXT if word in text else 0)
            for word in words
        ]
        points = sum(worths) + (IN_HEADING if " ".join(words) in (title, heading) else 0)
        if found := sum(worth > 0 for worth in worths):
            ranked.append((-found, -points, place, entry))
    ranked.sort(key=lambda row: row[:3])
    return [Found(entry, excerpt_of(entry.text, words)) for found, _, _, entry in ranked[:RESULTS_MAX] if found == ranked[0][0]]


def excerpt_of(text: str, words: list[str]) -> str:
    """The text around the first word found, cut at words."""
    if len(text) <= EXCERPT_CHARACTERS:
        return text
    known = bare(text)
    # Where letters fall away (a dash, an emoji) the places move a little: this is only an excerpt.
    at = min((place for word in words if (place := known.find(word)) >= 0), default=0)
    start = max(0, at - EXCERPT_CHARACTERS // 3)
    start = text.rfind(" ", 0, start) + 1 if start else 0
    cut = text[start : start + EXCERPT_CHARACTERS].rsplit(" ", 1)[0]
    return ("… " if start else "") + cut + " …"


def index() -> list[dict[str, str]]:
    """For the browser: short names, since every reader loads it at the first search."""
    return _index(docs.language_now())


@cache
def _index(language: str) -> list[dict[str, str]]:
    return [
        {"u": entry.url, "t": entry.title, "h": entry.heading, "x": entry.text[:INDEXED_CHARACTERS]} for entry in _entries(language)
    ]
