"""The folder of one stack (`TOKIA_HOME`): its lock, secrets, ports, environment and demo access.

up.lock       held by the running supervisor; its number is inside
ready         exists while everything answers
secrets.json  made at the first start and remembered; 0600
ports.json    where PostgreSQL and Valkey listen
steps.json    which migrations and seeds were done, by fingerprint
env           what every process of the stack gets; 0600; `manage.py` lends it to its other commands
demo.key      the demo key's secret, which the database does not know; 0600
logs/  postgres/  valkey/  sandbox/  spool/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

from tokia.supervisor import StartFailed

CHECKOUT = Path(__file__).resolve().parent.parent
DEMO_EMAIL = "demo@tokia.local"
ADMIN_EMAIL = "admin@tokia.local"


@dataclass(frozen=True)
class Secrets:
    """Every secret of a sandbox stack. A production one gets its own from the environment (deploy/env.example)."""

    home_id: str
    secret_key: str
    encryption_key: str
    webhook_secret: str
    postgres_superuser: str
    postgres_owner: str
    postgres_app: str
    valkey: str
    demo_password: str
    admin_password: str

    @classmethod
    def fresh(cls) -> Secrets:
        drawn = {field.name: secrets.token_urlsafe(32) for field in fields(cls)}
        drawn |= {
            "home_id": secrets.token_hex(8),
            "secret_key": secrets.token_urlsafe(48),
            "encryption_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            # Typed by people who try the product.
            "demo_password": f"demo-{secrets.token_hex(5)}",
            "admin_password": f"admin-{secrets.token_hex(5)}",
        }
        return cls(**drawn)


class StackHome:
    """One stack's folder. Two stacks never share one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.lock_file = self.folder / "up.lock"
        self.ready_file = self.folder / "ready"
        self.env_file = self.folder / "env"
        self.demo_key_file = self.folder / "demo.key"
        self.logs = self.folder / "logs"

    @classmethod
    def of_environment(cls) -> StackHome:
        return cls(Path(os.environ.get("TOKIA_HOME") or CHECKOUT / ".tokia"))

    # ── Who runs ─────────────────────────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home for this process; raises `StartFailed` when another one does. The kernel drops it at our end."""
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)  # as root, PostgreSQL's own account passes through
        with self.lock_file.open("a+") as handle:
            if not _takes(handle, patience_seconds=1):  # somebody may be asking whether we run, for an instant
                self.refuse_second()
                raise StartFailed(f"{self.lock_file} is held by another process.")
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            self.ready_file.unlink(missing_ok=True)
            try:
                yield
            finally:
                self.ready_file.unlink(missing_ok=True)
                handle.truncate(0)

    def running_pid(self) -> int | None:
        """The supervisor's process; None when the stack does not run, whatever a crash left in the file."""
        try:
            with self.lock_file.open("r+") as handle:
                if not _takes(handle, patience_seconds=0):
                    return int(handle.read() or 0) or None
        except FileNotFoundError:
            pass
        return None

    def refuse_second(self) -> None:
        if pid := self.running_pid():
            raise StartFailed(f"Tokia is already running on {self.folder} (process {pid}). `make down` stops it.")

    def is_ready(self) -> bool:
        return self.running_pid() is not None and self.ready_file.exists()

    # ── What is remembered ───────────────────────────────────────────────────────────────────────────────────────────
    def secrets(self) -> Secrets:
        """Made the first time. A file of an older version gets the secrets that it lacks."""
        path = self.folder / "secrets.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        names = {field.name for field in fields(Secrets)}
        kept = Secrets(**asdict(Secrets.fresh()) | {name: text for name, text in known.items() if name in names})
        if asdict(kept) != known:
            self.write_private(path, json.dumps(asdict(kept), indent=1))
        return kept

    def ports(self) -> dict[str, int]:
        path = self.folder / "ports.json"
        remembered: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return remembered

    def remember_ports(self, ports: Mapping[str, int]) -> None:
        self.write_private(self.folder / "ports.json", json.dumps(dict(ports)))

    def steps_done(self) -> dict[str, str]:
        """What was done on this stack's database, and the fingerprint of what it depended on."""
        path = self.folder / "steps.json"
        done: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return done

    def remember_steps(self, done: Mapping[str, str]) -> None:
        self.write_private(self.folder / "steps.json", json.dumps(dict(done)))

    def write_private(self, path: Path, text: str) -> None:
        """Whole or not at all, readable by us alone from the first byte."""
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
            handle.write(text)
        temporary.replace(path)

    def write_environment(self, variables: Mapping[str, str]) -> None:
        self.write_private(self.env_file, "".join(f"{name}={text}\n" for name, text in sorted(variables.items())))

    def environment(self) -> dict[str, str]:
        if not self.env_file.exists():
            return {}
        lines = self.env_file.read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def lend_environment(self) -> None:
        """Give this process the running stack's settings, unless its environment names a database of its own."""
        if os.environ.get("TOKIA_ENV") == "production" or "DATABASE_URL" in os.environ or self.running_pid() is None:
            return
        for name, text in self.environment().items():
            os.environ.setdefault(name, text)

    def pids(self) -> dict[str, int]:
        """Today's processes by name (postgres, valkey, sandbox, model, gateway, web, worker, beat)."""
        path = self.logs / "pids.json"
        running: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        return running

    # ── What a visitor needs ─────────────────────────────────────────────────────────────────────────────────────────
    def demo(self) -> dict[str, str]:
        """The addresses and logins of the running stack, for people and scripts. Secrets of the sandbox only."""
        variables, kept = self.environment(), self.secrets()
        return {
            "base_url": f"{variables['GATEWAY_URL']}/v1",
            "api_key": self.demo_key_file.read_text(encoding="utf-8").strip() if self.demo_key_file.exists() else "",
            "web_url": variables["WEB_URL"],
            "email": DEMO_EMAIL,
            "password": kept.demo_password,
            "admin_url": f"{variables['WEB_URL']}/admin/",
            "admin_email": ADMIN_EMAIL,
            "admin_password": kept.admin_password,
            "sandbox_url": variables["SANDBOX_URL"],
        }


def _takes(handle: IO[str], *, patience_seconds: float) -> bool:
    """Take the file's lock; False when another process holds it for longer than `patience_seconds`."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True
