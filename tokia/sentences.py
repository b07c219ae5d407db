"""The sentences of a Django template's source, and the same source with other words in their places. Pure.

A sentence is a run of text with its inline elements, variables and ifs, an attribute that people read or hear, or a
literal in a tag or filter. Its key is what a translator sees: `Faltam <strong>{amount}</strong>{if} para {tier}{endif}.`
Whitespace is collapsed, elements have no attributes, a variable is its last name. Where two originals would be written
alike they are numbered (`<a2>`, `{name2}`); `{s}` is `{{ …|pluralize }}`, which another language may leave out or spell
(`{s:y,ies}`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tokia.template_pieces import DJANGO, Group, Node, Piece, attributes, nest, runs, scan

_ENTITY = re.compile(r"&#?\w+;")
_LETTER = re.compile(r"[^\W\d_]")
_LITERAL = re.compile(r"(?:(?P<before>\|\s*\w+:|\b\w+=)\s*)?(?P<quote>[\"'])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)")
_PLURAL = re.compile(r"\|\s*pluralize(?::(?P<quote>[\"'])(?P<forms>.*?)(?P=quote))?")
_MARKER = re.compile(r"\{(?P<name>\w+)(?::(?P<forms>[^{}]*))?\}|</?[a-z]+\d*>")
_NAMED = re.compile(r"%\(\w+\)[sd]")
_PLURAL_NAME = re.compile(r"s\d*")
_CODE = frozenset({"code", "kbd", "samp", "var"})

_READ_ATTRIBUTES = frozenset({"title", "aria-label", "aria-description", "aria-valuetext", "placeholder", "alt", "label"})
_META = re.compile(r"""\b(?:name|property)=["'][\w:-]*(?:description|title|site_name|alt|locale)["']""")
_BUTTON = re.compile(r"""<input\b[^>]*\btype=["'](?:submit|button|reset)["']""")
# Tags whose literals name things: addresses, files, icons, or what a value is compared with.
_NAMING_TAGS = frozenset({"block", "elif", "extends", "icon", "if", "ifchanged", "load", "now", "static", "translate", "url"})
_NAMING_WORDS = ("class=", "classes=", "css=", "kind=", "name=", "id=", "url=", "href=", "table=", "target=", "tab=")
_NAMING_FILTERS = ("stringformat:", "pluralize:", "cut:", "split:", "floatformat:", "join:")


@dataclass(frozen=True, slots=True)
class Sentence:
    """`source[start:end]` says `key`; `kind` is text, attribute or literal; `originals` are the places of its markers."""

    key: str
    start: int
    end: int
    kind: str
    quote: str = ""
    originals: dict[str, tuple[int, int]] = field(default_factory=dict)


def find_sentences(source: str) -> list[Sentence]:
    """All of them, the outer before what stands inside of its elements and variables."""
    pieces = list(scan(source))
    found = [sentence for run in runs(nest(pieces)) for sentence in _cut(source, run, kind="text", quote="")]
    for piece in pieces:
        token = source[piece.start : piece.end]
        if token.startswith("<") and piece.name and not token.startswith("</"):
            found += _of_element(source, piece)
        elif piece.kind in ("var", "tag") or (piece.kind == "break" and piece.name and token.startswith("{%")):
            found += _literals(source, piece.start, piece.end)
    return sorted(found, key=lambda sentence: (sentence.start, -sentence.end))


def _of_element(source: str, piece: Piece) -> Iterator[Sentence]:
    token = source[piece.start : piece.end]
    for name, start, end, quote in attributes(source, start=piece.start, end=piece.end):
        is_read = name in _READ_ATTRIBUTES or (piece.name == "html" and name == "lang")
        is_read = is_read or (name == "content" and piece.name == "meta" and bool(_META.search(token)))
        is_read = is_read or (name == "value" and bool(_BUTTON.match(token)))
        if not is_read and not name.startswith(("data-", "hx-confirm", "hx-prompt")):
            continue
        for run in runs(nest(scan(source, start=start, end=end, has_elements=False))):
            for sentence in _cut(source, run, kind="attribute", quote=quote):
                if is_prose(sentence.key) or (is_read and not _is_code(sentence.key)):
                    yield sentence
    for django in DJANGO.finditer(source, piece.start, piece.end):
        if not django.group().startswith("{#"):
            yield from _literals(source, django.start(), django.end())


def _literals(source: str, start: int, end: int) -> Iterator[Sentence]:
    token = source[start:end]
    words = token[2:-2].split()
    if not words or (token.startswith("{%") and words[0] in _NAMING_TAGS):
        return
    for found in _LITERAL.finditer(source, start, end):
        before = (found["before"] or "").lstrip("| ")
        if before in _NAMING_WORDS or before in _NAMING_FILTERS:
            continue
        quote = found["quote"]
        text = found["text"].replace(f"\\{quote}", quote).replace("\\\\", "\\")
        # A form of a date may have another one in English; "c" and "Y-m-d" are for machines.
        if ("/" in text or "\\" in text) if before in ("date:", "time:") else is_prose(text):
            lead = len(text) - len(text.lstrip())
            tail = len(text) - len(text.rstrip())
            place = (found.start("text") + lead, found.end("text") - tail)
            yield Sentence(_collapse(text), *place, kind="literal", quote=quote)


def _is_code(text: str) -> bool:
    """An address, an identifier or an example of one: a single word with other signs in it."""
    return " " not in text and "pt" not in text and bool(re.search(r"[/_@:=\\#{}]|\d", text))


def is_prose(text: str) -> bool:
    """Words for people: with a space, a capital or a letter that no identifier has; no list of classes, no address."""
    bare = _ENTITY.sub(" ", _MARKER.sub(" ", text)).strip()
    if len(_LETTER.findall(bare)) < 2 or _is_code(text):
        return False
    if not bare.isascii() and _LETTER.search(re.sub(r"[\x00-\x7f]", "", bare)):
        return True
    words = bare.split()
    if len(words) == 1:
        return bare[0].isupper() and not re.search(r"[./_-]", bare)
    return sum(bool(re.search(r"[a-z]-[a-z\d]|[\[\]:]\S|\w/\w", word)) for word in words) * 2 < len(words)


def _has_letters(text: str) -> bool:
    return bool(_LETTER.search(_ENTITY.sub("", text)))


def _says_something(node: Node, source: str) -> bool:
    if isinstance(node, Group):
        return any(_says_something(inner, source) for body in node.bodies for inner in body)
    return node.kind == "var" or (node.kind == "text" and bool(source[node.start : node.end].strip()))


def _is_lettered(node: Node, source: str) -> bool:
    if isinstance(node, Group):
        return False
    text = source[node.start : node.end]
    if node.kind == "var":  # `{{ n|pluralize:"item pede,itens pedem" }}` holds the words
        plural = _PLURAL.search(text)
        return bool(plural and len(_LETTER.findall(plural["forms"] or "")) > 6)
    return node.kind == "text" and _has_letters(text)


def _cut(source: str, nodes: Sequence[Node], *, kind: str, quote: str) -> Iterator[Sentence]:
    """The sentences of a run: one, if letters stand beside its elements and ifs, else those of each of them."""
    kept = list(nodes)
    while kept and not _says_something(kept[0], source):
        kept.pop(0)
    while kept and not _says_something(kept[-1], source):
        kept.pop()
    if not any(_is_lettered(node, source) for node in kept):
        for node in kept:
            if isinstance(node, Group) and node.marks[0].name not in _CODE:
                for body in node.bodies:
                    yield from _cut(source, body, kind=kind, quote=quote)
        return
    start, end = kept[0].start, kept[-1].end
    start += len(source[start:end]) - len(source[start:end].lstrip())
    end -= len(source[start:end]) - len(source[start:end].rstrip())
    key, originals = _Key(source).write(kept)
    yield Sentence(key, start, end, kind, quote, originals)


def _collapse(text: str) -> str:
    return " ".join(re.sub(r"[ \t\r\n]+", " ", text).strip(" ").split(" "))


class _Key:
    """Writes a run as its key, each original under a marker of its own."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.originals: dict[str, tuple[int, int]] = {}
        self._markers: dict[tuple[str, str], str] = {}
        self._choices = 0

    def write(self, nodes: Iterable[Node]) -> tuple[str, dict[str, tuple[int, int]]]:
        return _collapse("".join(self._written(node) for node in nodes)), self.originals

    def _written(self, node: Node) -> str:
        if isinstance(node, Group):
            return self._choice(node) if node.is_choice else self._element(node)
        text = self.source[node.start : node.end]
        if node.kind == "text":
            return text
        if node.kind == "comment":
            return ""
        if node.kind == "void":
            return self._marker(node, "<{}>", node.name)
        return self._marker(node, "{{{}}}", node.name if node.kind == "tag" else _name_of(text))

    def _marker(self, piece: Piece, form: str, name: str) -> str:
        """The same original has the same marker; another one of the same name gets a number."""
        text = self.source[piece.start : piece.end]
        known = (form + name, " ".join(text.split()))
        if known not in self._markers:
            number = 1 + sum(form_name == form + name for form_name, _ in self._markers)
            self._markers[known] = form.format(f"{name}{number if number > 1 else ''}")
            while self._markers[known] in self.originals:  # a variable named `name2` beside two named `name`
                number += 1
                self._markers[known] = form.format(f"{name}{number}")
            self.originals[self._markers[known]] = (piece.start, piece.end)
        return self._markers[known]

    def _element(self, group: Group) -> str:
        opened = self._marker(group.marks[0], "<{}>", group.marks[0].name)
        closed = f"</{opened[1:]}"
        self.originals.setdefault(closed, (group.marks[1].start, group.marks[1].end))
        return f"{opened}{''.join(self._written(node) for node in group.bodies[0])}{closed}"

    def _choice(self, group: Group) -> str:
        self._choices += 1
        number, elifs = self._choices if self._choices > 1 else "", 0
        text = ""
        for index, mark in enumerate(group.marks):
            elifs += mark.kind == "elif"
            name = f"{mark.kind}{number}" + ("_" * (elifs - 1) if mark.kind == "elif" else "")
            self.originals[f"{{{name}}}"] = (mark.start, mark.end)
            text += f"{{{name}}}"
            if index < len(group.bodies):
                text += "".join(self._written(node) for node in group.bodies[index])
        return text


def _name_of(variable: str) -> str:
    """`{{ key.limit|brl }}` is `limit`, `{{ row.0 }}` is `row0`, `{{ n|pluralize }}` is `s`."""
    if _PLURAL.search(variable):
        return "s"
    path = re.split(r"[|\s]", variable[2:-2].strip(), maxsplit=1)[0].split(".")
    name = path[-1] if not path[-1].isdigit() or len(path) == 1 else "".join(path[-2:])
    name = re.sub(r"\W", "", name) or "text"
    return f"{name}_" if _PLURAL_NAME.fullmatch(name) or re.fullmatch(r"(?:if|elif|else|endif)_*\d*", name) else name


def find_fault(key: str, translation: str) -> str | None:
    """What keeps `translation` from standing for `key`, in words; None if it may."""
    if any(mark in translation and mark not in key for mark in ("{{", "{%", "{#", "%}", "}}")):
        return "writes a tag of its own"
    wanted = {found.group() for found in _MARKER.finditer(key) if not _PLURAL_NAME.fullmatch(found["name"] or "")}
    told = {found.group() for found in _MARKER.finditer(translation) if not _PLURAL_NAME.fullmatch(found["name"] or "")}
    if wanted != told or set(_NAMED.findall(key)) != set(_NAMED.findall(translation)):
        odd = sorted((wanted ^ told) or set(_NAMED.findall(key)) ^ set(_NAMED.findall(translation)))
        return f"differs in {', '.join(odd)}"
    plurals = {found["name"] for found in _MARKER.finditer(translation) if _PLURAL_NAME.fullmatch(found["name"] or "")}
    if not plurals <= {found["name"] for found in _MARKER.finditer(key)}:
        return f"has a plural that is not there: {', '.join(sorted(plurals))}"
    return _find_knot(key, translation)


def _find_knot(key: str, translation: str) -> str | None:
    opened: list[str] = []
    for found in _MARKER.finditer(translation):
        marker = found.group()
        if marker.startswith("</") or re.fullmatch(r"\{endif\d*\}", marker):
            opener = f"<{marker[2:]}" if marker.startswith("</") else marker.replace("endif", "if")
            if not opened or opened.pop() != opener:
                return f"is not balanced at {marker}"
        elif f"</{marker[1:]}" in key or re.fullmatch(r"\{if\d*\}", marker):
            opened.append(marker)
        elif (choice := re.fullmatch(r"\{(?:else|elif)(\d*)_*\}", marker)) and opened[-1:] != [f"{{if{choice[1]}}}"]:
            return f"is not balanced at {marker}"
    return f"is not balanced at {opened[-1]}" if opened else None


def replace_sentences(source: str, translation_of: Callable[[str], str | None]) -> str:
    """The source with the translations in place; a sentence without one, or with one that does not fit, stays."""
    return _patch(source, 0, len(source), find_sentences(source), translation_of)


def _patch(source: str, start: int, end: int, found: Sequence[Sentence], translation_of: Callable[[str], str | None]) -> str:
    text, position, index = "", start, 0
    while index < len(found):
        sentence, index = found[index], index + 1
        inner = []
        while index < len(found) and found[index].start < sentence.end:
            inner.append(found[index])
            index += 1
        text += source[position : sentence.start]
        translation = translation_of(sentence.key)
        if translation is None or find_fault(sentence.key, translation):
            text += _patch(source, sentence.start, sentence.end, inner, translation_of)
        else:
            text += _say(source, sentence, inner, translation, translation_of)
        position = sentence.end
    return text + source[position:end]


def _say(
    source: str, sentence: Sentence, inner: Sequence[Sentence], translation: str, translation_of: Callable[[str], str | None]
) -> str:
    if sentence.kind == "literal":
        return translation.replace("\\", "\\\\").replace(sentence.quote, f"\\{sentence.quote}")
    text, position = "", 0
    for found in _MARKER.finditer(translation):
        text += _quoted(translation[position : found.start()], sentence)
        position = found.end()
        marker = f"{{{found['name']}}}" if found["name"] else found.group()
        place = sentence.originals.get(marker)
        if place is None:  # no marker: the author's own braces
            text += _quoted(found.group(), sentence)
            continue
        held = [one for one in inner if place[0] <= one.start and one.end <= place[1]]
        original = _patch(source, *place, held, translation_of)
        if _PLURAL_NAME.fullmatch(found["name"] or ""):
            forms = f':"{found["forms"]}"' if found["forms"] else ""
            original = _PLURAL.sub(lambda _, forms=forms: f"|pluralize{forms}", original)  # type: ignore[misc]
        text += original
    return text + _quoted(translation[position:], sentence)


def _quoted(text: str, sentence: Sentence) -> str:
    if sentence.kind != "attribute":
        return text
    return text.replace(sentence.quote, "&quot;" if sentence.quote == '"' else "&#39;")
