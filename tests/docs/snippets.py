"""The examples of the documentation as programs: taken out of the Markdown, with a running stack's addresses in it.

A page is read from top to bottom: its examples in Python share their names, those in Node are one module, and in the shell
each stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
CONTENT = ROOT / "templates" / "docs" / "content"
# Only parsed here: what they need is nobody's dependency of ours.
PARSED_ONLY = {("ferramentas-prontas", "python", 1): "langchain-openai"}
_IMPORT = re.compile(r"^import .*?;[^\n]*\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Snippet:
    page: str
    number: int  # of its language, in the page
    language: str
    code: str

    @property
    def is_run(self) -> bool:
        return (self.page, self.language, self.number) not in PARSED_ONLY

    def __str__(self) -> str:
        return f"{self.page}, {self.language} {self.number}"


def snippets(*languages: str) -> Iterator[Snippet]:
    """In reading sequence, as they are written (addresses not filled in)."""
    for path in sorted(CONTENT.glob("*.md")):
        counted: dict[str, int] = {}
        for token in MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8")):
            language = token.info.strip()
            if token.type != "fence" or (languages and language not in languages):
                continue
            counted[language] = counted.get(language, 0) + 1
            yield Snippet(path.stem, counted[language], language, token.content)


def by_page(language: str) -> dict[str, list[Snippet]]:
    found: dict[str, list[Snippet]] = {}
    for snippet in snippets(language):
        if snippet.is_run:
            found.setdefault(snippet.page, []).append(snippet)
    return found


def fill(code: str, addresses: dict[str, str]) -> str:
    return re.sub(r"\{\{ ?([a-z_]+) ?\}\}", lambda found: addresses[found[1]], code)


def node_module(codes: list[str]) -> str:
    """The examples of a page as one module, their imports once and first."""
    imports: dict[str, None] = {}
    bodies = []
    for code in codes:
        imports |= dict.fromkeys(found.strip() for found in _IMPORT.findall(code))
        bodies.append(_IMPORT.sub("", code))
    return "\n".join(imports) + "\n" + "\n".join(bodies)
