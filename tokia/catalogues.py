"""What wants English, and what the catalogues have of it: for the command `english` and the tests of the house.

Several `.po` may stand beside each other, one per room of the house; all of a directory make its one `django.mo`.
Reading them needs `polib`, which only development has.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from billing.comparison_sources import FIRST_PARAMETERS
from billing.models import ComparisonParameter
from gateway.models import Route
from tokia.sentences import find_sentences
from tokia.template_loader import ROOT, is_translated

BASE = Path(settings.BASE_DIR)
PLACES = [BASE / app / "locale" / "en" / "LC_MESSAGES" for app in ("tokia", "accounts", "billing", "gateway", "invoices")]
# Where the text stands among the arguments: (context, singular, plural)
_MARKS: dict[str, tuple[int | None, int, int | None]] = {
    "_": (None, 0, None), "gettext": (None, 0, None), "gettext_lazy": (None, 0, None), "gettext_noop": (None, 0, None),
    "ngettext": (None, 0, 1), "ngettext_lazy": (None, 0, 1), "pgettext": (0, 1, None), "pgettext_lazy": (0, 1, None),
    "npgettext": (0, 1, 2), "npgettext_lazy": (0, 1, 2),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """A text that a person may see in English; `template` is the context a template's own entry would have."""

    text: str
    source: str
    plural: str = ""
    context: str | None = None
    template: str | None = None


def find_wanted(paths: Iterable[Path]) -> Iterator[Wanted]:
    """Of every template and every module under `paths`; what stays Portuguese is not among them."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            relative = file.resolve().relative_to(BASE)
            yield from _of_rows(str(relative))
            if file.suffix == ".py" and not {"tests", "migrations", "sandbox"} & set(relative.parts):
                yield from _of_module(file, str(relative))
            elif file.resolve().is_relative_to(ROOT) and file.is_file():
                name = str(file.resolve().relative_to(ROOT))
                if is_translated(name):
                    for sentence in find_sentences(file.read_text()):
                        yield Wanted(sentence.key, str(relative), template=name)


def _of_rows(relative: str) -> Iterator[Wanted]:
    """What rows keep from the start and pages say by `said`: models, their kinds, and the sources of the comparison."""
    texts: Iterable[str] = ()
    if relative == "gateway/catalog.toml":
        seeded = tomllib.loads((BASE / relative).read_text())
        texts = [row["description"] for row in (*seeded["routes"], *seeded["rules"]) if row.get("description")]
        # Names stay names; the one that we gave ourselves is Portuguese.
        texts += [row["display_name"] for row in seeded["routes"] if not row["display_name"].isascii()] + Route.Surface.labels
    elif relative == "billing/comparison_sources.py":
        texts = [row[4] for row in FIRST_PARAMETERS] + ComparisonParameter.Name.labels
    yield from (Wanted(str(text), relative) for text in texts)


def _of_module(file: Path, relative: str) -> Iterator[Wanted]:
    source = file.read_text()
    for node in ast.walk(ast.parse(source)) if "gettext" in source else ():
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name not in _MARKS:
            continue
        texts = [argument.value if isinstance(argument, ast.Constant) else None for argument in node.args]
        context, singular, plural = (texts[at] if at is not None and at < len(texts) else None for at in _MARKS[name])
        if isinstance(singular, str) and singular:
            yield Wanted(
                singular,
                relative,
                plural=plural if isinstance(plural, str) else "",
                context=context if isinstance(context, str) else None,
            )


def _polib() -> Any:
    """Imported where it is needed: production does not have it."""
    import polib

    return polib


def read_catalogues() -> list[tuple[Path, Any]]:
    """Every English `.po` with its entries."""
    return [(path, _polib().pofile(str(path))) for place in PLACES for path in sorted(place.glob("*.po"))]


def known_texts(catalogues: Iterable[tuple[Path, Any]]) -> set[tuple[str | None, str]]:
    """(context, msgid) of every entry that has its words."""
    return {
        (entry.msgctxt, entry.msgid)
        for _, catalogue in catalogues
        for entry in catalogue
        if not entry.obsolete and (entry.msgstr or (entry.msgstr_plural and all(entry.msgstr_plural.values())))
    }


def find_missing(wanted: Iterable[Wanted], known: set[tuple[str | None, str]]) -> list[Wanted]:
    """What is wanted and in no catalogue."""
    return [
        one
        for one in wanted
        if (one.context, one.text) not in known and (one.template is None or (one.template, one.text) not in known)
    ]


def join_catalogues(place: Path) -> bytes | None:
    """What `django.mo` has to hold of a directory's `.po`; None where there are none."""
    polib = _polib()
    joined = polib.POFile(wrapwidth=0)
    seen: set[tuple[str | None, str]] = set()
    for path in sorted(place.glob("*.po")):
        catalogue = polib.pofile(str(path))
        joined.metadata = joined.metadata or catalogue.metadata
        for entry in catalogue:
            if (entry.msgctxt, entry.msgid) not in seen and not entry.obsolete:
                seen.add((entry.msgctxt, entry.msgid))
                joined.append(entry)
    return joined.to_binary() if seen else None


def write_stubs(missing: Iterable[Wanted]) -> str:
    """As entries of a `.po` without words, each text once, with all places it stands in."""
    places: dict[tuple[str | None, str, str], list[str]] = {}
    for one in missing:
        found = places.setdefault((one.context, one.text, one.plural), [])
        if one.source not in found:
            found.append(one.source)
    polib = _polib()
    return "\n".join(
        polib.POEntry(
            msgctxt=context,
            msgid=text,
            msgid_plural=plural,
            msgstr="",
            msgstr_plural={0: "", 1: ""} if plural else {},
            occurrences=[(source, "") for source in sources],
        ).__unicode__(wrapwidth=0)
        for (context, text, plural), sources in places.items()
    )
