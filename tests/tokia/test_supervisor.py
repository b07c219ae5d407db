"""Order, readiness, restarts and a stop that leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.stores import stores
from tokia.supervisor import Child, StartFailed, StopAsked, Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "logs", is_loud=False)
    yield made
    made.stop()


def child(name: str, code: str, *, cwd: Path, is_ready: Callable[[], bool] = lambda: True, **options: object) -> Child:
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    return Child(name=name, argv=argv, env=dict(os.environ), cwd=cwd, is_ready=is_ready, **options)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_it_says_why_a_child_did_not_start(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(child("web", "print('no such table'); raise SystemExit(3)", cwd=tmp_path, is_ready=lambda: False))
    with pytest.raises(StartFailed, match=r"(?s)web ended at once \(exit code 3\).*no such table"):
        supervisor.await_ready("web")


def test_it_does_not_wait_for_ever(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(child("web", "import time; time.sleep(60)", cwd=tmp_path, is_ready=lambda: False, ready_seconds=0.3))
    with pytest.raises(StartFailed, match="did not become ready in time"):
        supervisor.await_ready("web")


def test_it_goes_on_without_an_optional_child(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(child("model", "raise SystemExit(4)", cwd=tmp_path, is_ready=lambda: False, is_optional=True))
    assert supervisor.await_ready("model") == ["model"]


def test_it_reports_a_failed_step(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"(?s)migrate failed \(exit code 1\).*refused"):
        supervisor.run("migrate", [sys.executable, "-c", "raise SystemExit('refused')"], env=dict(os.environ), cwd=tmp_path)


def test_it_starts_a_killed_child_again(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(child("web", "import time; time.sleep(60)", cwd=tmp_path))
    supervisor.await_ready("web")
    first = supervisor.pid_of("web")

    def interrupt() -> None:
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: supervisor.pid_of("web") != first)
        supervisor.ask_to_stop()

    helper = threading.Thread(target=interrupt)
    helper.start()
    supervisor.watch()
    helper.join()
    assert is_alive(supervisor.pid_of("web"))
    assert "web stopped (killed by SIGKILL); starting it again" in supervisor.log_file.read_text()


def test_it_stops_in_reverse_order_and_waits(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs", is_loud=False)
    code = """
        import pathlib, signal, sys, time
        def leave(*_):
            time.sleep(0.1)
            with pathlib.Path('order').open('a') as handle: handle.write(sys.argv[0] + NAME)
            raise SystemExit
        signal.signal(signal.SIGTERM, leave)
        pathlib.Path(NAME).touch()
        time.sleep(60)
    """
    for name in ("a", "b", "c"):
        made = child(name, f"NAME = {name!r}\n" + textwrap.dedent(code), cwd=tmp_path, is_ready=(tmp_path / name).exists)
        supervisor.start(made)
    supervisor.await_ready("a", "b", "c")
    pids = [supervisor.pid_of(name) for name in ("a", "b", "c")]
    supervisor.stop()
    assert (tmp_path / "order").read_text().replace("-c", "") == "cba"
    assert not any(map(is_alive, pids))
    assert not supervisor.pids_file.exists()


def test_it_kills_what_does_not_leave_in_its_time(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs", is_loud=False)
    code = "import pathlib, signal, time; signal.signal(15, signal.SIG_IGN); pathlib.Path('up').touch(); time.sleep(60)"
    supervisor.start(child("deaf", code, cwd=tmp_path, is_ready=(tmp_path / "up").exists, stop_seconds=0.3))
    supervisor.await_ready("deaf")
    pid, started = supervisor.pid_of("deaf"), time.monotonic()
    supervisor.stop()
    assert not is_alive(pid)
    assert time.monotonic() - started < 30


def test_it_interrupts_a_start_when_asked_to_stop(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(child("web", "import time; time.sleep(60)", cwd=tmp_path, is_ready=lambda: False))
    threading.Timer(0.2, supervisor.ask_to_stop).start()
    with pytest.raises(StopAsked):
        supervisor.await_ready("web")


def test_it_leaves_nothing_when_it_is_killed_itself(tmp_path: Path) -> None:
    code = f"""
        import os, pathlib, sys, time
        from tokia.supervisor import Child, Supervisor
        supervisor = Supervisor(pathlib.Path({str(tmp_path)!r}), is_loud=False)
        argv = [sys.executable, "-c", "import time; time.sleep(60)"]
        supervisor.start(Child(name="a", argv=argv, env=dict(os.environ), cwd=pathlib.Path("/"), is_ready=lambda: True))
        print(supervisor.pid_of("a"), flush=True)
        time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert is_alive(pid)
        process.kill()
    wait_until(lambda: not is_alive(pid))


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL])
def test_it_keeps_what_postgresql_committed_before_it_was_killed(number: signal.Signals) -> None:
    """SIGQUIT is `pg_ctl stop -m immediate`. On the tests' own cluster."""
    with psycopg.connect(stores.postgres.superuser_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS survivor (n int)")
        connection.execute("INSERT INTO survivor VALUES (1)")
    stores.supervisor.restart("postgres", number=number)
    with psycopg.connect(stores.postgres.superuser_url, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM survivor").fetchone()
        connection.execute("DROP TABLE survivor")
    assert row == (1,)
