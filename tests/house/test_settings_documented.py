"""Every name that Tokia reads from the environment stands in deploy/env.example, and nothing else does."""

from __future__ import annotations

import ast
import re
import tomllib

from tests.house.sources import ROOT, modules
from tokia.stack import PORTS

# Set by the stack itself or by Python's world; nobody is asked to know them.
INTERNAL = {"DJANGO_SETTINGS_MODULE", "NO_COLOR"}


def names_read() -> set[str]:
    names = {setting for setting, _ in PORTS.values()}
    catalog = tomllib.loads((ROOT / "gateway" / "catalog.toml").read_text(encoding="utf-8"))
    names |= {provider["key_variable"] for provider in catalog["providers"]}
    for name, module in modules().items():
        if name.startswith("tokia.sandbox"):  # stands outside; its options are told by `python -m tokia.sandbox --help`
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                reads = owner in ("os.environ", "env", "os") and node.func.attr in (
                    "get", "getenv", "str", "int", "float", "bool", "list", "pop",
                )  # fmt: skip
                if reads and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                    names.add(node.args[0].value)
    return names - INTERNAL


def names_documented() -> set[str]:
    text = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8")
    return set(re.findall(r"^#?\s?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))


def test_it_documents_every_setting() -> None:
    assert names_read() - names_documented() == set()


def test_it_documents_no_setting_that_is_gone() -> None:
    assert names_documented() - names_read() == set()
