"""What every suite stands on: the migrated database, a database that really commits, and a whole running stack."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from django.core.cache import cache
from django.db import connections
from hypothesis import settings as hypothesis_settings
from psycopg import sql
from pytest_django import DjangoDbBlocker, Settings

from billing.reconcile import find_violations
from tests.examples import IS_LONG
from tests.schema import make_schema
from tests.stores import stores
from tokia.processes import free_port, spawn

ROOT = Path(__file__).resolve().parent.parent
_numbers = itertools.count(100_000, 100_000)
NUMBERED_TABLES = (
    "accounts_apikey", "accounts_organization", "billing_gatewaysession", "gateway_credential", "gateway_deployment",
    "gateway_ownkey",
)  # fmt: skip
# Rows that migrations made, or that belong to Django: they outlive a test.
KEPT_TABLES = {
    "django_migrations", "django_content_type", "auth_permission", "auth_group", "accounts_snapshotversion",
    "billing_comparisonparameter",
}  # fmt: skip
# In `make test` always the same examples, in `make torture` others each time.
hypothesis_settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis_settings.register_profile("long", deadline=None)
hypothesis_settings.load_profile("long" if IS_LONG else "suite")


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: DjangoDbBlocker) -> None:
    make_schema()


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Settings) -> None:
    """Argon2 is slow on purpose; the cast's passwords are nobody's secret. (Processes of a stack keep the real hasher.)"""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def nothing_kept_of_before() -> None:
    """What the admin's badge keeps for some seconds is another test's."""
    cache.delete("admin:attention")


@pytest.fixture
def committed_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A database in which commits are real, for tests with threads, processes or several connections.

    Afterwards the money must add up (MONEY's invariants), then every table is emptied except the reference data.
    """
    with django_db_blocker.unblock():
        yield
        violations: list[str] = []
        try:
            violations = find_violations()
        finally:
            empty_database()
    assert violations == []


def empty_database() -> None:
    """As the superuser and without triggers: the ledger's tables refuse it to everybody else."""
    connections.close_all()
    with psycopg.connect(stores.postgres.superuser_url) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition"
        ).fetchall()
        tables = [sql.Identifier(name) for (name,) in rows if name not in KEPT_TABLES]
        connection.execute("SET LOCAL lock_timeout = '15s'")  # a test that left a transaction open
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.SQL(", ").join(tables)))
        # Rate limits, circuits and vitals go by numbers, in processes and stores that outlive the tables: none comes twice.
        first = next(_numbers)
        for table in NUMBERED_TABLES:
            connection.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, first])
    cache.clear()


@dataclass
class Stack:
    """A real `manage.py up` in a home of its own."""

    home: Path
    process: subprocess.Popen[bytes]
    demo: dict[str, str]
    env: dict[str, str]  # for subprocesses: DATABASE_URL, DATABASE_OWNER_URL, VALKEY_URL and all that the children have

    def pid_of(self, name: str) -> int:
        """Today's process of a child (postgres, valkey, sandbox, model, gateway, web, worker, beat)."""
        pids: dict[str, int] = json.loads((self.home / "logs" / "pids.json").read_text())
        return pids[name]

    def log(self) -> str:
        path = self.home / "logs" / "up.log"
        return path.read_text(errors="replace") if path.exists() else "(the stack is gone)"


def clean_environment() -> dict[str, str]:
    """Ours without the private stores, so that `manage.py up` starts its own, and without anybody's key at a real provider."""
    ours = stores.environment()
    return {name: value for name, value in os.environ.items() if name not in ours and not name.endswith("_API_KEY")}


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="tokia-stack-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o711)
        ports = {f"TOKIA_{name}_PORT": str(free_port()) for name in ("WEB", "GATEWAY", "SANDBOX", "PSP", "SMTP", "MODEL", "SEFIN")}
        env = {**clean_environment(), **ports, "TOKIA_HOME": folder}
        # It ends with us, even if we are killed: the kernel asks it to stop, and it stops its children.
        argv = [sys.executable, "manage.py", "up"]
        process = spawn(argv, env=env, cwd=ROOT, output=subprocess.DEVNULL)
        try:
            demo = _await_demo(process, home, env)
            lines = (home / "env").read_text().splitlines()
            children_env = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
            yield Stack(home=home, process=process, demo=demo, env={**env, **children_env})
        finally:
            _stop(process, home)


def _await_demo(process: subprocess.Popen[bytes], home: Path, env: dict[str, str]) -> dict[str, str]:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and process.poll() is None:
        if (home / "ready").exists():
            printed = subprocess.run(
                [sys.executable, "manage.py", "demo"], cwd=ROOT, env=env, capture_output=True, text=True, check=True
            )
            demo: dict[str, str] = json.loads(printed.stdout)
            return demo
        time.sleep(0.2)
    log = home / "logs" / "up.log"
    lines = log.read_text(errors="replace").splitlines()[-80:] if log.exists() else ["(no log)"]
    raise AssertionError("`manage.py up` did not become ready:\n" + "\n".join(lines))


def _stop(process: subprocess.Popen[bytes], home: Path) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    log = home / "logs" / "up.log"
    if log.exists():  # pytest shows it beside a failing test
        print("── the stack's last lines ──", *log.read_text(errors="replace").splitlines()[-60:], sep="\n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's suite goes last: Playwright's event loop stays in this thread, and Django's ORM refuses to work beside one."""
    items.sort(
        key=lambda item: (item.path.is_relative_to(ROOT / "tests" / "browser"), item.get_closest_marker("torture") is not None)
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test that used the stack shows the stack's log."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(running, Stack):
        report.sections.append(("the stack's log", "\n".join(running.log().splitlines()[-80:])))
    return report
