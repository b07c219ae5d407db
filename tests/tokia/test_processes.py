"""Children that hear every signal, whatever shell started us."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokia.processes import spawn

NUMBERS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@pytest.fixture
def deaf() -> Iterator[None]:
    """As in a script's background job (`make up &`) under nohup: the four are ignored here; and blocked besides."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in NUMBERS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGQUIT})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_it_gives_a_child_ears_that_its_shell_did_not(deaf: None, number: signal.Signals, tmp_path: Path) -> None:
    """`sleep` sets no handlers: it is as PostgreSQL in its first instant."""
    with spawn(["sleep", "30"], env={"PATH": "/usr/bin:/bin"}, cwd=tmp_path, output=subprocess.DEVNULL) as process:
        process.send_signal(number)
        try:
            assert process.wait(5) == -number
        finally:
            process.kill()
