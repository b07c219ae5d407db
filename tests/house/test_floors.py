"""Imports only go down. The contracts stand in pyproject.toml; here is what import-linter can't see."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

from tests.house.sources import APPS, PACKAGES, ROOT, imports_of, modules

DOORS = ("asgi", "views", "api", "admin", "tasks", "forms", "urls", "webhook")
# Doors may be opened by: the list of prefixes, the process that serves them, another door.
DOOR_OPENERS = (*DOORS, "apps", "wsgi", "celery", "adapter")


def test_it_keeps_every_contract() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_it_knows_the_floor_of_every_module_of_tokia() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    placed = {name.strip() for layer in layers for name in layer.replace("|", ":").split(":")}
    present = {".".join(name.split(".")[:2]) for name in modules() if name.startswith("tokia.")}
    assert present - placed - {"tokia.sandbox"} == set()


@pytest.mark.parametrize("name", [name for name in modules() if name.split(".")[0] in APPS])
def test_it_imports_no_door_from_below(name: str) -> None:
    parts = name.split(".")
    is_door = parts[-1].startswith(("admin_", "api_")) or parts[-1].endswith(("_views", "_forms"))
    if is_door or parts[-1] in DOOR_OPENERS or "management" in parts:
        return
    known = modules()
    doors = {target for target in imports_of(known[name]) if target in known and target.split(".")[-1] in DOORS}
    assert doors == set()


def test_it_serves_v1_without_djangos_http() -> None:
    graph = grimp.build_graph(*PACKAGES, include_external_packages=False, cache_dir=None)
    reached = {"gateway.asgi", *graph.find_upstream_modules("gateway.asgi")}
    hot = [name for name in reached if name.startswith("gateway.")]
    offenders = {
        name: found
        for name in hot
        if (found := {target for target in imports_of(modules()[name]) if target.startswith(("django.http", "django.views"))})
    }
    assert len(hot) > 5
    assert offenders == {}


@pytest.mark.parametrize("app", [*APPS, "tokia"])
def test_it_has_a_front_door_that_only_tells(app: str) -> None:
    body = modules()[app].body
    assert len(body) == 1, f"{app}/__init__.py is a docstring of one screen and nothing else."
