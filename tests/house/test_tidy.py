"""Names, money and hygiene: what a reviewer would otherwise say again and again."""

from __future__ import annotations

import ast
import re

import pytest

from tests.house.sources import APPS, ROOT, modules, tracked_files

BANNED_MODULES = {
    "utils", "util", "helpers", "helper", "common", "core", "lib", "libs", "misc", "service", "services", "manager", "managers",
    "mixin", "mixins", "signals",
}  # fmt: skip
# One word per concept (ARCHITECTURE.md, "Words"): these are the other ones. Names that a library or a wire format gave us are
# listed in ALLOWED.
BANNED_WORDS = {
    "company", "customer", "team", "profile", "credits", "funds", "authorization", "capture", "void", "freeze", "movement", "leg",
    "tariff", "fee", "vendor", "backend", "transformer", "mapper", "adapter", "order", "nota", "receipt",
}  # fmt: skip
ALLOWED = {"AccountAdapter", "FiscalProfile", "fiscal_profile", "LimitProfile", "limit_profile", "ordering"}
WALLET_FIELDS = {"posted_nanos", "held_nanos"}
MONEY_WRITERS = {"billing.ledger", "billing.holds"}  # they call the SQL functions of billing/sql, which do the writing
MONEY_MODULES = (
    "billing.money",
    "billing.pricing",
    "billing.holds",
    "billing.ledger",
    "billing.wallets",
    "billing.pricebooks",
    "billing.price_changes",
    "billing.price_margins",
    "billing.discounts",
    "gateway.pricetag",
)
LEDGER_SQL = re.compile(
    r"\b(update|insert\s+into|delete\s+from)\s+billing_(wallet|lot|hold|posting|ledgerentry|usagerecord|expiredhold)\b",
    re.IGNORECASE,
)
MACHINE_WORDS = re.compile(
    r"(?<![\w.~-])/(?:work|root|Users|home/(?!tokia\b)\w+)/\w"
    r"|files\.pythonhosted\.org|pypi\.org/simple|registry\.npmjs\.org|--index-url|--extra-index-url|--find-links"
)


@pytest.mark.parametrize("name", list(modules()))
def test_it_names_modules_after_their_subject(name: str) -> None:
    assert not BANNED_MODULES & set(name.split("."))


def test_it_uses_one_word_per_concept() -> None:
    offenders = []
    for name, module in modules().items():
        if name.split(".")[0] not in APPS:
            continue
        for node in ast.walk(module):
            for own in _own_names(node):
                words = {word.lower() for part in own.split("_") for word in re.findall(r"[A-Z]?[a-z]+", part)}
                if own.removesuffix("Admin") not in ALLOWED and words & BANNED_WORDS:
                    offenders.append(f"{name}: {own}")
    assert not offenders, "\n".join(offenders)


def _own_names(node: ast.AST) -> list[str]:
    """The name of a class, and the names of its fields."""
    if not isinstance(node, ast.ClassDef):
        return []
    names = [node.name]
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            names += [target.id for target in statement.targets if isinstance(target, ast.Name) and target.id.islower()]
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.append(statement.target.id)
    return names


def test_it_writes_wallets_in_one_place() -> None:
    offenders = []
    for name, module in modules().items():
        if name in MONEY_WRITERS:
            continue
        for node in ast.walk(module):
            if _writes_a_wallet(node):
                offenders.append(f"{name}:{getattr(node, 'lineno', 0)}")
    assert offenders == [], "Only billing/sql, by way of billing.holds and billing.ledger, changes what a wallet holds."


def _writes_a_wallet(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return any(isinstance(target, ast.Attribute) and target.attr in WALLET_FIELDS for target in targets)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        writers = {"update", "create", "get_or_create", "update_or_create", "bulk_create", "bulk_update"}
        return node.func.attr in writers and any(keyword.arg in WALLET_FIELDS for keyword in node.keywords)
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(LEDGER_SQL.search(node.value))


@pytest.mark.parametrize("name", [name for name in modules() if name in MONEY_MODULES])
def test_it_counts_money_in_integers(name: str) -> None:
    floats = [
        node.lineno
        for node in ast.walk(modules()[name])
        if (isinstance(node, ast.Constant) and isinstance(node.value, float)) or (isinstance(node, ast.Name) and node.id == "float")
    ]
    assert floats == [], f"{name} has a float in lines {floats}."


def test_it_carries_no_word_of_this_machine() -> None:
    offenders = []
    for path in tracked_files():
        raw = path.read_bytes()
        if b"\0" in raw or path.name == "test_tidy.py":  # binary, or the words themselves
            continue
        for number, line in enumerate(raw.decode("utf-8").splitlines(), 1):
            if found := MACHINE_WORDS.search(line):
                offenders.append(f"{path.relative_to(ROOT)}:{number}: {found.group()}")
    assert offenders == []


def test_it_takes_its_version_from_the_changelog() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings
    assert re.fullmatch(r"\d+\.\d+\.\d+", headings[0])


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "deploy/README.md"])
def test_it_names_files_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|sql|toml|md|yaml|conf|sh|css|example))\b", text))
    named |= set(re.findall(r"\]\(([^)#:]+)\)", text))
    assert named
    folder = (ROOT / name).parent
    assert sorted(path for path in named if not (ROOT / path).exists() and not (folder / path).exists()) == []
