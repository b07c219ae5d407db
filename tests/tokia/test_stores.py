"""The embedded pair: who may come in, and what each database role may do."""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.stores import refuse_the_outside, stores


def test_it_lets_nobody_in_without_a_password() -> None:
    for url in (stores.postgres.app_url, stores.postgres.superuser_url):
        head, _, tail = url.partition("@")
        bare = f"{head.rpartition(':')[0]}:wrong@{tail}"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(bare)
    with socket.create_connection(("127.0.0.1", stores.valkey.port)) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(64).startswith(b"-NOAUTH")


def test_it_keeps_the_data_for_the_servers_account() -> None:
    assert stat.S_IMODE(stores.postgres.data.stat().st_mode) == 0o700
    if stores.postgres.user:
        assert stores.postgres.data.stat().st_uid == stores.postgres.user.uid


def test_it_gives_the_application_rows_but_no_structure() -> None:
    with (
        psycopg.connect(stores.postgres.owner_url, autocommit=True) as owner,
        psycopg.connect(stores.postgres.app_url, autocommit=True) as app,
    ):
        owner.execute("CREATE TABLE room (id bigserial PRIMARY KEY, n int)")
        try:
            app.execute("INSERT INTO room (n) VALUES (1)")
            app.execute("UPDATE room SET n = 2")
            app.execute("DELETE FROM room")
            for statement in ("TRUNCATE room", "DROP TABLE room", "ALTER TABLE room ADD m int", "CREATE TABLE other (n int)"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    app.execute(statement)
        finally:
            owner.execute("DROP TABLE room")


def test_it_gives_no_role_more_than_its_work() -> None:
    with psycopg.connect(stores.postgres.owner_url) as owner:
        rows = owner.execute(
            "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname LIKE 'tokia%' ORDER BY 1"
        ).fetchall()
    assert rows == [("tokia_app", False, False, False), ("tokia_owner", False, False, False)]


def test_it_settles_the_roles_again_without_harm() -> None:
    stores.postgres.settle_roles()
    with psycopg.connect(stores.postgres.app_url) as app:
        assert app.execute("SELECT current_user").fetchone() == ("tokia_app",)


def test_it_keeps_the_queue_safe_from_eviction() -> None:
    import redis

    client = redis.Redis.from_url(stores.valkey.url)
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    client.close()


def test_it_keeps_tests_on_this_machine() -> None:
    with pytest.raises(PermissionError, match="don't leave this machine"):
        refuse_the_outside("socket.connect", (None, ("192.0.2.1", 443)))
    refuse_the_outside("socket.connect", (None, ("127.0.0.1", 443)))


def test_it_leaves_no_process_behind_when_a_run_is_killed() -> None:
    """A pytest that is SIGKILLed: the kernel ends its stores."""
    code = "from tests.stores import stores; print(stores.supervisor.pid_of('postgres'), stores.home, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, home = process.stdout.readline().split()
        process.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    shutil.rmtree(home, ignore_errors=True)
