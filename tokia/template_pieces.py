"""A Django template's source as pieces (text, variables, tags, elements) and as runs of prose. Pure.

Nothing is rendered and nothing of Django imported: the forms of Django's own lexer (`{{ }}`, `{% %}`, `{# #}`, each on one
line) and of HTML's start tags are all that is known. What an author left unbalanced breaks a run; it is never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

DJANGO = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}")
_MARK = re.compile(r"\{%|\{\{|\{#|<(?=[a-zA-Z/!?])")
_IN_TAG = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|[\"'>]")
_ATTRIBUTE = re.compile(r"([\w:@.-]+)\s*=\s*$")

INLINE = frozenset({
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "i", "ins", "kbd", "mark", "q", "s", "samp",
    "small", "span", "strong", "sub", "sup", "time", "u", "var",
})  # fmt: skip
_INLINE_VOID = frozenset({"br", "wbr"})
# Their content is no prose of a template, or not one that could be cut into sentences.
_OPAQUE_ELEMENTS = frozenset({"script", "style", "pre", "svg", "textarea", "template"})
_OPAQUE_TAGS = frozenset({"comment", "verbatim", "blocktranslate", "blocktrans"})
# Tags that write some words, or none, in the middle of a sentence. Every other tag ends a run.
_WORD_TAGS = frozenset({"cycle", "firstof", "icon", "now", "query", "static", "url", "web_url"})
# Parts of a page that are a few words (a `span`), wherever they are included.
_WORD_INCLUDES = re.compile(r"""include\s+["']parts/_money\.html["']""")


@dataclass(frozen=True, slots=True)
class Piece:
    """`kind`: text, var, tag (a simple tag), comment, open, close, void, if, else, elif, endif, opaque (a start tag) or break.

    The content of an opaque element is a break without a name."""

    kind: str
    start: int
    end: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """An inline element, or `{% if %}` with its branches: `marks` stand around and between the `bodies`."""

    marks: tuple[Piece, ...]
    bodies: tuple[tuple[Node, ...], ...]

    @property
    def is_choice(self) -> bool:
        return self.marks[0].kind == "if"

    @property
    def start(self) -> int:
        return self.marks[0].start

    @property
    def end(self) -> int:
        return self.marks[-1].end


Node = Piece | Group


def scan(source: str, *, start: int = 0, end: int | None = None, has_elements: bool = True) -> Iterator[Piece]:
    """The pieces of `source[start:end]`, without a gap; `has_elements` is False for an attribute's value."""
    end = len(source) if end is None else end
    position = text_start = start
    while position < end:
        found = _MARK.search(source, position, end)
        if found is None:
            break
        piece = _django_piece(source, found.start(), end) if found.group() != "<" else None
        if found.group() == "<" and has_elements:
            piece = _element_piece(source, found.start(), end)
        if piece is None:
            position = found.start() + 1
            continue
        if piece.start > text_start:
            yield Piece("text", text_start, piece.start)
        yield piece
        position = text_start = piece.end
        if piece.kind == "opaque":
            close = re.compile(rf"</{piece.name}\b", re.IGNORECASE).search(source, position, end)
            stop = close.start() if close else end
            if stop > position:
                yield Piece("break", position, stop)
            position = text_start = stop
    if end > text_start:
        yield Piece("text", text_start, end)


def _django_piece(source: str, start: int, end: int) -> Piece | None:
    found = DJANGO.match(source, start, end)
    if found is None:
        return None
    token = found.group()
    if token.startswith("{{"):
        return Piece("var", start, found.end())
    if token.startswith("{#"):
        return Piece("comment", start, found.end())
    words = token[2:-2].split()
    name = words[0] if words else ""
    if name in _OPAQUE_TAGS:
        close = re.compile(rf"\{{%-?\s*end{name}\b.*?%\}}").search(source, found.end(), end)
        return Piece("comment" if name == "comment" else "break", start, close.end() if close else end)
    if name in ("if", "elif", "else", "endif"):
        return Piece(name, start, found.end())
    if name in _WORD_TAGS:
        return Piece("tag", start, found.end(), name)
    if _WORD_INCLUDES.match(" ".join(words)):
        return Piece("tag", start, found.end(), "money")
    return Piece("break", start, found.end(), name)


def _element_piece(source: str, start: int, end: int) -> Piece | None:
    if source.startswith("<!--", start):
        close = source.find("-->", start, end)
        return Piece("comment", start, close + 3 if close >= 0 else end)
    if source[start + 1] in "!?":
        close = source.find(">", start, end)
        return Piece("break", start, close + 1 if close >= 0 else end)
    found = re.compile(r"</?([a-zA-Z][\w:-]*)").match(source, start, end)
    if found is None:
        return None
    name, stop, quote = found.group(1).lower(), end, ""
    for token in _IN_TAG.finditer(source, found.end(), end):
        text = token.group()
        if text == ">" and not quote:
            stop = token.end()
            break
        if text in "\"'" and quote in ("", text):
            quote = "" if quote else text
    if name in _INLINE_VOID:
        return Piece("void", start, stop, name)
    if name not in INLINE:
        return Piece("break" if source[start + 1] == "/" or name not in _OPAQUE_ELEMENTS else "opaque", start, stop, name)
    return Piece("close" if source[start + 1] == "/" else "open", start, stop, name)


def attributes(source: str, *, start: int, end: int) -> Iterator[tuple[str, int, int, str]]:
    """The quoted attributes of the start tag at `source[start:end]`: name, where the value starts and ends, the quote."""
    quote, value_start, name = "", 0, ""
    for token in _IN_TAG.finditer(source, start, end):
        text = token.group()
        if text not in ('"', "'"):
            continue
        if not quote:
            named = _ATTRIBUTE.search(source, start, token.start())
            quote, value_start, name = text, token.end(), named.group(1).lower() if named else ""
        elif quote == text:
            if name:
                yield name, value_start, token.start(), quote
            quote = ""


class _Frame:
    def __init__(self, mark: Piece | None) -> None:
        self.marks = [mark] if mark else []
        self.bodies: list[list[Node]] = [[]]

    def flat(self) -> list[Node]:
        """What it holds, with its marks as breaks: it was not balanced, or it is more than a part of a sentence."""
        nodes: list[Node] = []
        for index, body in enumerate(self.bodies):
            if index < len(self.marks):
                nodes.append(_as_break(self.marks[index]))
            nodes += body
        return nodes + [_as_break(mark) for mark in self.marks[len(self.bodies) :]]


def _as_break(piece: Piece) -> Piece:
    return Piece("break", piece.start, piece.end, piece.name)


def nest(pieces: Iterable[Piece]) -> list[Node]:
    """Inline elements and ifs that are balanced and hold no break become groups; every other mark a break."""
    stack = [_Frame(None)]

    def drop_to(depth: int) -> None:
        while len(stack) > depth:
            nodes = stack.pop().flat()
            stack[-1].bodies[-1] += nodes

    for piece in pieces:
        if piece.kind in ("open", "if"):
            stack.append(_Frame(piece))
            continue
        if piece.kind not in ("close", "else", "elif", "endif"):
            stack[-1].bodies[-1].append(_as_break(piece) if piece.kind == "opaque" else piece)
            continue
        depth = _find_frame(stack, piece)
        if depth is None:
            stack[-1].bodies[-1].append(_as_break(piece))
            continue
        drop_to(depth + 1)
        stack[-1].marks.append(piece)
        if piece.kind in ("else", "elif"):
            stack[-1].bodies.append([])
            continue
        frame = stack.pop()
        if any(isinstance(node, Piece) and node.kind == "break" for body in frame.bodies for node in body):
            stack[-1].bodies[-1] += frame.flat()
        else:
            stack[-1].bodies[-1].append(Group(tuple(frame.marks), tuple(tuple(body) for body in frame.bodies)))
    drop_to(1)
    return stack[0].bodies[0]


def _find_frame(stack: list[_Frame], piece: Piece) -> int | None:
    for depth in range(len(stack) - 1, 0, -1):
        first = stack[depth].marks[0]
        if piece.kind == "close" and first.kind == "open" and first.name == piece.name:
            return depth
        if first.kind == "if":
            return None if piece.kind == "close" else depth
    return None


def runs(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """The nodes between two breaks."""
    run: list[Node] = []
    for node in nodes:
        if isinstance(node, Piece) and node.kind == "break":
            if run:
                yield run
            run = []
        else:
            run.append(node)
    if run:
        yield run
