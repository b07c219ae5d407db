"""The private database's schema: migrated as its owner, in a process of its own, since this one works as the application's role.

Runs that start together (`deploy/test.sh` names TOKIA_TEST_SCHEMA, a file of theirs alone) migrate once: the first that comes, for
all of them. The others load what it came to.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.stores import stores
from tokia.stores import find_postgres

ROOT = Path(__file__).resolve().parent.parent


def make_schema() -> None:
    shared = os.environ.get("TOKIA_TEST_SCHEMA")
    if not shared:
        _migrate()
        return
    with Path(shared + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not Path(shared).exists():
            _migrate()
            _run(str(find_postgres() / "pg_dump"), "--file", shared + ".part", stores.postgres.superuser_url)
            Path(shared + ".part").rename(shared)
            return
    load = ["--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output", os.devnull]
    _run(str(find_postgres() / "psql"), *load, "--file", shared, stores.postgres.superuser_url)


def _migrate() -> None:
    _run(sys.executable, "manage.py", "migrate", "--verbosity=0")


def _run(*argv: str) -> None:
    ran = subprocess.run(argv, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
