"""One private PostgreSQL and Valkey per pytest run (`-p tests.stores`), whatever the environment names.

It starts while it is imported: pytest-django reads the settings before any conftest is loaded. Nothing outside loopback
is reached from the pytest process.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tokia.processes import free_port
from tokia.stores import Passwords, Postgres, Valkey
from tokia.supervisor import Supervisor


class PrivateStores:
    """The pair, its folder (also the run's `TOKIA_HOME`) and the addresses of the three database roles."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tokia-test-"))
        self.home.chmod(0o711)  # as root, PostgreSQL's own account passes through
        self.supervisor = Supervisor(self.home / "logs", is_loud=False)
        passwords = Passwords(superuser=secrets.token_urlsafe(), owner=secrets.token_urlsafe(), app=secrets.token_urlsafe())
        self.postgres = Postgres(self.home, port=free_port(), passwords=passwords, home_id=secrets.token_hex(8), is_durable=False)
        self.valkey = Valkey(self.home, port=free_port(), password=secrets.token_urlsafe())

    def start(self) -> None:
        for store in (self.valkey, self.postgres):
            store.prepare()
            self.supervisor.start(store.child())
        self.supervisor.await_ready("postgres", "valkey")
        self.postgres.settle_roles()

    def environment(self) -> dict[str, str]:
        return {
            "TOKIA_ENV": "sandbox",
            "TOKIA_HOME": str(self.home),
            "DATABASE_URL": self.postgres.app_url,
            "DATABASE_OWNER_URL": self.postgres.owner_url,
            "VALKEY_URL": self.valkey.url,
        }

    def stop(self) -> None:
        self.supervisor.stop()
        self.postgres.remove()
        shutil.rmtree(self.home, ignore_errors=True)


def refuse_the_outside(event: str, args: tuple[object, ...]) -> None:
    """An audit hook: a test that would call a real bank or provider fails with this sentence instead."""
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = str(args[1][0])
        if host not in ("localhost", "::1", "0.0.0.0") and not host.startswith("127."):
            raise PermissionError(f"Tests don't leave this machine, but {host} was called.")


def start() -> PrivateStores:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled run tidies up as after Ctrl-C
    stores = PrivateStores()
    atexit.register(stores.stop)
    stores.start()
    os.environ.update(stores.environment())
    os.environ["MONTH_CLOSE_GRACE_HOURS"] = "0"  # last month can be closed, in the first hours of a month too
    sys.addaudithook(refuse_the_outside)
    return stores


stores = start()
