"""Starting a child process that never outlives us, and the ports it listens on.

Linux only where it says so: elsewhere a child of a killed supervisor has to be stopped by hand.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
# What a script's `… &`, nohup or `trap ''` makes a process ignore, and with it every program that it executes.
_SHELL_IGNORES = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@dataclass(frozen=True)
class SystemUser:
    """An unprivileged account of this machine. PostgreSQL refuses to run as root."""

    name: str
    uid: int
    gid: int

    def can_enter(self, folder: Path) -> bool:
        return run_as(self, ["test", "-x", str(folder)]).returncode == 0

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)


def unprivileged_user() -> SystemUser | None:
    """The account for PostgreSQL: None (ourselves) unless we are root.

    As root: the system account `tokia` (made when missing), else an existing `postgres`, else `nobody`.
    """
    if os.geteuid() != 0:
        return None
    for name in ("tokia", "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return _system_user(name)
        if name == "tokia" and (useradd := shutil.which("useradd")):
            made = subprocess.run(
                [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
                capture_output=True,
                check=False,
            )
            if made.returncode == 0:
                return _system_user(name)
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no unprivileged account to run it under.")


def _system_user(name: str) -> SystemUser:
    entry = pwd.getpwnam(name)
    return SystemUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid)


def run_as(
    user: SystemUser | None, argv: Sequence[str], *, env: Mapping[str, str] | None = None, text_in: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short command as `user` and return its result, whatever its exit code. A file that may not be run: 126."""
    try:
        return subprocess.run(
            list(argv),
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            env=env,
            input=text_in,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    except (PermissionError, FileNotFoundError) as error:
        return subprocess.CompletedProcess(list(argv), 126, "", str(error))


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: int | IO[bytes],
    user: SystemUser | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own (the terminal's Ctrl-C reaches only the supervisor).

    The kernel sends it `death_signal` when the thread that called us ends, however that happens: call from the main
    thread only. Whatever our own caller ignores or blocks, the child hears every signal from its first instant: one that
    is ignored until a program has set its handlers is lost, and PostgreSQL would outlive the stop that we asked for.
    """
    return subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
        start_new_session=True,
        preexec_fn=_settle_signals(death_signal, parent=os.getpid()),  # runs after the change of user, which clears it
    )


def _settle_signals(death_signal: signal.Signals, *, parent: int) -> Callable[[], None]:
    """What the child does between fork and exec: hear every signal, and die with its parent."""

    def settle() -> None:
        for number in _SHELL_IGNORES:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
            if os.getppid() != parent:  # it died between fork and prctl
                os._exit(1)

    return settle


def free_port() -> int:
    """Below those that kernels give to connections: none of these can take it before its server binds it."""
    while not is_port_free(port := random.SystemRandom().randrange(20_000, 32_000)):
        pass
    return port


def is_port_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def answers_http(port: int, path: str) -> bool:
    """Whether `GET path` on loopback answers 200 within two seconds. No proxy of the environment is asked."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
