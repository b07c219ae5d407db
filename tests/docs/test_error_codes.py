"""Every code that a program can be answered with has its place on the page of errors: meaning, whether it is charged, cure.

The codes are read from the sources, so that a new one fails here until somebody explains it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.conftest import ROOT
from tokia import docs
from tokia.manners import TITLES

NAMES = ("code", "error_code")
# Modules of the gateway that no answer of `/v1` comes from: pages, forms and the admin, the worker's own words.
NOT_ANSWERED = re.compile(
    r"(^admin|_views$|_forms$|^experiments$|^circuit_reports$|^own_keys$|^management$|^migrations$|^playground|^incidents?$)"
)
# Said by an upstream, or between ourselves, and turned into another before anybody sees it.
INNER = {"insufficient_quota"}
# What our own lists of kinds name and an upstream says.
FROM_UPSTREAMS = {"content_policy_violation"}
ERRORS = (
    "accounts/errors.py", "billing/errors.py", "billing/pix/errors.py", "billing/cards/errors.py", "invoices/errors.py",
    "tokia/outbound.py",
)  # fmt: skip
# In those, what only our own staff meets, in the admin.
STAFF_ONLY = {"pix_resolved", "price_missing"}


def codes_in(path: Path) -> Iterator[str]:
    """Constants given to `code`: of a class, of a call, of a variable."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id in NAMES for target in targets):
                yield from constants_of(node.value)
        elif isinstance(node, ast.keyword) and node.arg in NAMES:
            yield from constants_of(node.value)


def constants_of(node: ast.expr) -> Iterator[str]:
    """Of a constant, of what a condition chooses, of an `or`; not of what is asked in between."""
    match node:
        case ast.Constant(value=str(code)) if code:
            yield code
        case ast.IfExp(body=body, orelse=other):
            yield from constants_of(body)
            yield from constants_of(other)
        case ast.BoolOp(values=values):
            for value in values:
                yield from constants_of(value)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def gateway_codes() -> set[str]:
    found = set(FROM_UPSTREAMS)
    for path in (ROOT / "gateway").rglob("*.py"):
        if not any(NOT_ANSWERED.search(Path(part).stem) for part in path.relative_to(ROOT / "gateway").parts):
            found |= set(codes_in(path))
    return found - INNER


@cache
def api_codes() -> set[str]:
    """Of the doors of `/api/v1`, of what they import of ours, and of the apps' own errors."""
    doors = [path for app in ("accounts", "billing", "invoices", "tokia") for path in (ROOT / app).glob("api*.py")]
    doors += [ROOT / "accounts" / "operations.py", ROOT / "accounts" / "authentication.py", ROOT / "tokia" / "manners.py"]
    modules = {*doors, *(ROOT / path for path in ERRORS)}
    modules |= {found for path in doors for found in imported_by(path)}
    found = {code for path in modules for code in codes_in(path)}
    return (found | {code for code, _ in TITLES.values()}) - STAFF_ONLY


def imported_by(path: Path) -> Iterator[Path]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for module in named:
                file = ROOT / (module.replace(".", "/") + ".py")
                if file.exists():
                    yield file


def test_it_reads_the_codes_of_the_sources() -> None:
    assert {"invalid_api_key", "context_length_exceeded", "response_not_found", "upstream_cut", "batch_expired"} <= gateway_codes()
    assert {"scope_missing", "psp_unavailable", "hook_refused", "invalid_cursor", "rate_limited"} <= api_codes()


def test_it_explains_every_code() -> None:
    explained = {heading.id for heading in docs.pages()["erros"].rendered.headings if heading.level == 3}
    assert sorted(gateway_codes() - explained) == [], "of /v1: explain them on the page of errors"
    assert sorted(api_codes() - explained) == [], "of /api/v1: explain them on the page of errors"


def test_it_explains_no_code_that_there_is_not() -> None:
    explained = {heading.id for heading in docs.pages()["erros"].rendered.headings if heading.level == 3}
    assert sorted(explained - gateway_codes() - api_codes()) == []


def test_it_says_of_each_code_what_it_cost_and_what_to_do() -> None:
    text = docs.pages()["erros"].markdown
    for part in text.split("\n### ")[1:]:
        code, body = part.split("\n", 1)
        body = body.partition("\n## ")[0]
        assert re.search(r"^\*\*.+\*\* · .*cobrad[oa]", body, re.MULTILINE), f"{code}: charged or not?"
        assert "**O que fazer:**" in body, f"{code}: no cure"


def test_it_calls_each_class_by_its_status() -> None:
    """Of the gateway's own classes, the status on the page is the code's."""
    from gateway import errors

    text = docs.pages()["erros"].markdown
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.GatewayError) and "code" in vars(kind):
            told = text.split(f"\n### {kind.code}\n")[1].split("\n### ")[0]
            assert str(kind.status) in told.partition("·")[0], f"{kind.code}: {kind.status}"
