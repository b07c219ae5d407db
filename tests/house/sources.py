"""The checkout's own Python files, parsed once, for the house tests."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = ("accounts", "billing", "gateway", "invoices")
PACKAGES = (*APPS, "tokia")


@cache
def modules() -> dict[str, ast.Module]:
    """Parsed modules of the product by dotted name, migrations apart."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                found[dotted(path)] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: ast.Module) -> set[str]:
    """Every dotted name that the module imports, wherever in it; `from a import b` counts as `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@cache
def tracked_files() -> list[Path]:
    """What git would carry to another machine: tracked files, and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
