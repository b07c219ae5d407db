"""English is whole: every sentence of a page and every marked text has its entry, and each entry fits and says no Portuguese."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.template.loader import get_template
from django.utils.translation import gettext, ngettext, npgettext, override, pgettext

from tokia import catalogues
from tokia.management.commands.english import all_paths
from tokia.sentences import find_fault
from tokia.template_loader import ROOT, find_translation, is_translated

# Words that no English sentence has, and letters of none but the names below.
TELLTALES = re.compile(
    r"\b(não|você|sua|seu|suas|seus|uma|umas|para|com|por|pelo|pela|dos|das|que|quando|esta|este|está|são|já|até|ou|chaves?|saldo|"
    r"recargas?|empresas?|conta|notas?|modelos?|preços?|orçamentos?|hoje|ontem|agora|nenhum|nenhuma|todos|todas|mais|menos|dias?|"
    r"mês|meses|hora|horas|valor|pagamentos?|chamadas?|limites?|senha|entrar|sair|salvar|criar|voltar|ver)\b|\w*[ãõçêôâ]\w*",
    re.IGNORECASE,
)
NAMES = re.compile(
    r"Português|Brasília|São Paulo|Portal Nacional|Simples Nacional|Receita Federal|Marco Civil|Nota Fiscal|nota fiscal"
    r"|<code>[^<]*</code>|/[\w/-]+/|\"[^\"]*\"|“[^”]*”|\{[^{}]*\}|%\(\w+\)s|Olá|\w+@[\w.]+"
    r"|Estadão|Pix Copia e Cola|Pagar com QR Code"
)
MARKS = frozenset(catalogues._MARKS)


@cache
def read() -> tuple[tuple[Path, Any], ...]:
    return tuple(catalogues.read_catalogues())


def entries() -> Iterator[tuple[Path, Any]]:
    for path, catalogue in read():
        for entry in catalogue:
            yield path, entry


def words_of(entry: Any) -> list[tuple[str, str]]:
    """What each of an entry's texts stands for."""
    if entry.msgid_plural:
        return [(entry.msgid if number == 0 else entry.msgid_plural, text) for number, text in sorted(entry.msgstr_plural.items())]
    return [(entry.msgid, entry.msgstr)]


@cache
def wanted() -> tuple[catalogues.Wanted, ...]:
    return tuple(catalogues.find_wanted(all_paths()))


def test_nothing_is_without_english() -> None:
    known = catalogues.known_texts(read())
    found = catalogues.find_missing(wanted(), known)
    missing = sorted({(one.source, one.text) for one in found})
    assert not missing, "manage.py english prints these as entries to fill in"
    assert len(known) > 1_500


def test_no_entry_is_of_a_text_that_is_gone() -> None:
    alive = {(one.context, one.text) for one in wanted()} | {(one.template, one.text) for one in wanted()}
    gone = {(path.name, entry.msgctxt, entry.msgid) for path, entry in entries() if (entry.msgctxt, entry.msgid) not in alive}
    assert {one for one in gone if one[1] is not None or f'"{one[2]}"' not in gateway_source()} == set()
    assert not [entry.msgid for _, entry in entries() if entry.obsolete or entry.fuzzy]


@cache
def gateway_source() -> str:
    """A module of the hot path marks nothing: its words stand there plainly, and are looked up where a page shows them."""
    folder = ROOT.parent / "gateway"
    return "\n".join(file.read_text() for file in folder.rglob("*.py") if "migrations" not in file.parts)


def test_every_entry_fits_its_text() -> None:
    faults = [(path.name, key, text, fault) for path, entry in entries() for key, text in words_of(entry)
              if (fault := find_fault(key, text)) and not (entry.msgid_plural and is_only_a_number(key, text))]  # fmt: skip
    assert not faults


def is_only_a_number(key: str, text: str) -> bool:
    """A form for one thing may say "one" where another counts."""
    return set(re.findall(r"\{\w+\}", text)) <= set(re.findall(r"\{\w+\}", key))


def test_one_text_has_one_translation() -> None:
    told: dict[tuple[str | None, str], set[str]] = {}
    for _, entry in entries():
        told.setdefault((entry.msgctxt, entry.msgid), set()).add(str(words_of(entry)))
    assert {key: texts for key, texts in told.items() if len(texts) > 1} == {}


def test_no_portuguese_is_left_in_it() -> None:
    left = [(path.name, text, found.group()) for path, entry in entries() for key, text in words_of(entry)
            if text != key and (found := TELLTALES.search(NAMES.sub(" ", text)))]  # fmt: skip
    assert not left


def test_what_is_said_alike_in_both_is_no_sentence() -> None:
    """A word may be the same in both languages; a sentence is only untranslated."""
    same = [(path.name, entry.msgid) for path, entry in entries()
            if entry.msgstr == entry.msgid and TELLTALES.search(NAMES.sub(" ", entry.msgid))]  # fmt: skip
    assert not same


def test_what_django_reads_is_what_is_written() -> None:
    for place in catalogues.PLACES:
        assert (place / "django.mo").read_bytes() == catalogues.join_catalogues(place), "manage.py english --compile"
    with override("en"):
        for _, entry in entries():
            if entry.msgid_plural:
                for number in (1, 2):
                    told = (npgettext(entry.msgctxt, entry.msgid, entry.msgid_plural, number) if entry.msgctxt
                            else ngettext(entry.msgid, entry.msgid_plural, number))  # fmt: skip
                    assert told == entry.msgstr_plural[number - 1]
            else:
                assert (pgettext(entry.msgctxt, entry.msgid) if entry.msgctxt else gettext(entry.msgid)) == entry.msgstr


def test_no_package_changes_our_portuguese() -> None:
    """A word of ours may be some package's English: Django's Brazilian catalogue must not say it otherwise."""
    with override("pt-br"):
        changed = {one.text: gettext(one.text) for one in wanted() if one.template is None and not one.context and not one.plural}
    assert {text: told for text, told in changed.items() if text != told} == {}


@pytest.mark.parametrize("suffix", [".html", ".txt"])
def test_every_template_compiles_in_english(suffix: str) -> None:
    names = [str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob(f"*{suffix}"))]
    names = [name for name in names if is_translated(name)]
    assert len(names) > 3
    with override("en"):
        for name in names:
            get_template(name)
        assert find_translation("base.html", "Pular para o conteúdo") == "Skip to the content"


def marked() -> Iterator[tuple[str, ast.Call, bool, bool]]:
    """Each call of a mark: where, the call, whether it stands outside of every function, whether it is lazy."""
    for path in all_paths():
        for file in sorted(path.rglob("*.py")):
            source = file.read_text()
            if "gettext" not in source or {"migrations", "sandbox"} & set(file.parts):
                continue
            tree = ast.parse(source)
            imports = [
                one for one in ast.walk(tree) if isinstance(one, ast.ImportFrom) and one.module == "django.utils.translation"
            ]
            names = {alias.asname or alias.name: alias.name for node in imports for alias in node.names}
            for call, is_early in calls_in(tree, is_early=True):
                if isinstance(call.func, ast.Name) and names.get(call.func.id) in MARKS:
                    yield f"{file.name}:{call.lineno}", call, is_early, names[call.func.id].endswith(("_lazy", "_noop"))


def calls_in(node: ast.AST, *, is_early: bool) -> Iterator[tuple[ast.Call, bool]]:
    if isinstance(node, ast.Call):
        yield node, is_early
    is_early = is_early and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for inner in ast.iter_child_nodes(node):
        yield from calls_in(inner, is_early=is_early)


def test_no_text_is_said_before_anybody_asks() -> None:
    """At import no language is active: a text of a module or a class is lazy. And only a whole text can be looked up."""
    calls = list(marked())
    assert len(calls) > 500
    assert [where for where, _, is_early, is_lazy in calls if is_early and not is_lazy] == []
    assert [where for where, call, _, _ in calls if call.args and is_made_up(call.args[0])] == []


def is_made_up(given: ast.expr) -> bool:
    """A text put together before it is looked up is in no catalogue."""
    is_formatted = isinstance(given, ast.Call) and isinstance(given.func, ast.Attribute) and given.func.attr == "format"
    return isinstance(given, ast.JoinedStr | ast.BinOp) or is_formatted
