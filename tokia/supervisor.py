"""One supervisor for every process of a stack: order, readiness, merged logs, restarts, clean stop.

A child that dies before it was ever ready stops the start; one that dies later is started again, with back-off.
Stopping goes in reverse order. Should the supervisor itself be killed, the kernel stops the children (see `processes`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tokia.processes import SystemUser, spawn

BACK_OFF_SECONDS_MAX = 30.0
RESTARTS_MAX = 5
TAIL_LINES = 15  # of a child's output, told when it fails
STEADY_SECONDS = 60.0  # a child that ran for so long starts again without delay
LOG_BYTES_MAX = 20 * 1_048_576
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)


class StartFailed(Exception):
    """The stack can't start; the message says why, in one or a few lines."""


class StopAsked(Exception):
    """A signal asked for the stop while the stack was still starting."""


@dataclass(frozen=True)
class Child:
    """A long-running process and how to know that it works."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    is_ready: Callable[[], bool]
    ready_seconds: float = 60.0
    user: SystemUser | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    is_optional: bool = False  # the stack starts without it
    chatter: re.Pattern[str] | None = None  # lines that only the log file gets


@dataclass
class _Run:
    """A child's present process."""

    child: Child
    process: subprocess.Popen[bytes]
    pump: threading.Thread
    started: float = field(default_factory=time.monotonic)
    was_ready: bool = False
    failures: int = 0
    start_again_at: float | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))


class Supervisor:
    """Owns the children of one stack. All methods but `ask_to_stop` belong to the main thread."""

    def __init__(self, folder: Path, *, is_loud: bool = True) -> None:
        """`folder` receives `up.log` and `pids.json`; `is_loud` also prints every line."""
        folder.mkdir(parents=True, exist_ok=True)
        self.pids_file = folder / "pids.json"
        self.log_file = folder / "up.log"
        self.is_loud = is_loud
        self._runs: dict[str, _Run] = {}
        self._stops_asked = 0
        self._lock = threading.Lock()
        self._use_colour = is_loud and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._colours: dict[str, int] = {"tokia": 1}
        self._log: IO[str] = self._fresh_log()

    # ── Starting ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def start(self, child: Child) -> None:
        """Start a child without waiting for it."""
        self._raise_if_stopping()
        self._runs[child.name] = self._launch(child)
        self._write_pids()

    def await_ready(self, *names: str) -> list[str]:
        """Wait until the named children are ready; returns those optional ones that are not.

        Raises `StartFailed` with the last lines of a child that died or took too long.
        """
        given_up = []
        for name in names:
            run = self._runs[name]
            deadline = run.started + run.child.ready_seconds
            while not self._is_ready(run):
                self._raise_if_stopping()
                code = run.process.poll()
                if code is None and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                reason = "did not become ready in time" if code is None else f"ended at once ({describe_exit(code)})"
                if not run.child.is_optional:
                    run.pump.join(1)
                    raise StartFailed(f"{name} {reason}. Its last lines:\n" + "\n".join(f"  {line}" for line in run.tail))
                self.say(f"{name} {reason}; going on without it.")
                self._end(self._runs.pop(name))
                self._write_pids()
                given_up.append(name)
                break
            else:
                run.was_ready = True
        return given_up

    def run(self, name: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> None:
        """Run a step to its end; raises `StartFailed` unless it exits with 0."""
        self._raise_if_stopping()
        step = self._launch(Child(name=name, argv=argv, env=env, cwd=cwd, is_ready=lambda: True))
        try:
            while (code := step.process.poll()) is None:
                self._raise_if_stopping()
                time.sleep(0.02)
        except StopAsked:
            self._end(step)
            raise
        step.pump.join(2)
        if code:
            lines = "\n".join(f"  {line}" for line in step.tail)
            raise StartFailed(f"{name} failed ({describe_exit(code)}). Its last lines:\n{lines}")

    # ── Running ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def watch(self) -> None:
        """Keep every child running until somebody asks to stop."""
        while not self._stops_asked:
            for run in list(self._runs.values()):
                self._tend(run)
            time.sleep(0.1)

    def ask_to_stop(self) -> None:
        """Safe in a signal handler. The second time the children are not given time to finish."""
        self._stops_asked += 1

    def stop(self) -> None:
        """Stop the children in reverse order of their start and wait for each."""
        for run in reversed(list(self._runs.values())):
            began = time.monotonic()
            self._end(run)
            self._write("tokia", f"{run.child.name} ended in {time.monotonic() - began:.1f} s", is_chatter=True)
        self._runs.clear()
        self.pids_file.unlink(missing_ok=True)
        self._log.close()

    def restart(self, name: str, *, number: signal.Signals) -> None:
        """End a child by this signal and start it again, as a crash would; for tests of what survives it."""
        run = self._runs[name]
        run.process.send_signal(number)
        run.process.wait(run.child.stop_seconds)
        for attempt in range(RESTARTS_MAX):
            self.start(run.child)
            try:
                self.await_ready(name)
                return
            except StartFailed:  # after SIGKILL, what is left of it may hold its memory for an instant
                if attempt == RESTARTS_MAX - 1:
                    raise
                time.sleep(0.3)

    def pid_of(self, name: str) -> int:
        return self._runs[name].process.pid

    # ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def say(self, text: str) -> None:
        for line in text.splitlines() or [""]:
            self._write("tokia", line)

    def _write(self, name: str, line: str, *, is_chatter: bool = False) -> None:
        with self._lock:
            if not self._log.closed:
                if self._log.tell() > LOG_BYTES_MAX:
                    self._log.close()
                    self._log = self._fresh_log()
                self._log.write(f"{time.strftime('%H:%M:%S')} {name:<8} │ {line}\n")
                self._log.flush()
            if not self.is_loud or is_chatter:
                return
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            prefix = f"{name:<8} │"
            with contextlib.suppress(BrokenPipeError, ValueError):  # nobody reads any more
                print(f"\x1b[{colour}m{prefix}\x1b[0m {line}" if self._use_colour else f"{prefix} {line}", flush=True)  # noqa: T201

    def _fresh_log(self) -> IO[str]:
        if self.log_file.exists():
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        return self.log_file.open("w", encoding="utf-8", errors="replace")

    # ── One child ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _launch(self, child: Child) -> _Run:
        try:
            process = spawn(
                child.argv,
                env=child.env,
                cwd=child.cwd,
                output=subprocess.PIPE,
                user=child.user,
                death_signal=child.stop_signal,
            )
        except OSError as error:
            raise StartFailed(f"{child.name} can't be started: {error}") from error
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        pump = threading.Thread(target=self._pump, args=(child, process, tail), name=f"log-{child.name}", daemon=True)
        pump.start()
        return _Run(child=child, process=process, pump=pump, tail=tail)

    def _pump(self, child: Child, process: subprocess.Popen[bytes], tail: deque[str]) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip()
                tail.append(line)
                self._write(child.name, line, is_chatter=bool(child.chatter and child.chatter.search(line)))

    def _is_ready(self, run: _Run) -> bool:
        return run.process.poll() is None and run.child.is_ready()

    def _tend(self, run: _Run) -> None:
        """Start a dead child again: at once when it had run steadily, else after 0.5, 1, 2 … 30 seconds."""
        now = time.monotonic()
        code = run.process.poll()
        if code is None:
            return
        if run.start_again_at is None:
            _signal_session(run.process.pid, signal.SIGKILL)  # what it left behind would hold its port
            failures = 0 if now - run.started > STEADY_SECONDS else run.failures + 1
            delay = min(BACK_OFF_SECONDS_MAX, 2.0 ** (failures - 2)) if failures else 0.0
            run.failures, run.start_again_at = failures, now + delay
            self.say(f"{run.child.name} stopped ({describe_exit(code)}); starting it again in {delay:g} s.")
        if now < run.start_again_at:
            return
        fresh = self._launch(run.child)
        fresh.failures, fresh.was_ready = run.failures, True
        self._runs[run.child.name] = fresh
        self._write_pids()

    def _end(self, run: _Run) -> None:
        process, deadline = run.process, time.monotonic() + run.child.stop_seconds
        if process.poll() is None:
            process.send_signal(run.child.stop_signal)
        while process.poll() is None and time.monotonic() < deadline and self._stops_asked < 2:
            time.sleep(0.02)
        if process.poll() is None:
            # PostgreSQL's SIGQUIT (immediate shutdown) leaves no shared memory behind, SIGKILL would.
            process.send_signal(signal.SIGQUIT if run.child.stop_signal is signal.SIGINT else signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        _signal_session(process.pid, signal.SIGKILL)
        process.wait(5)
        run.pump.join(2)

    def _write_pids(self) -> None:
        text = json.dumps({name: run.process.pid for name, run in self._runs.items()})
        temporary = self.pids_file.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(self.pids_file)

    def _raise_if_stopping(self) -> None:
        if self._stops_asked:
            raise StopAsked


def describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _signal_session(pid: int, number: signal.Signals) -> None:
    """Signal what is left of a child's process group; its leader is already gone or about to be."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
