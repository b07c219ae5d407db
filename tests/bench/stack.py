"""`manage.py up` in a home of its own: the same processes as anybody starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokia.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
PORTS = ("WEB", "GATEWAY", "SANDBOX", "PSP", "SMTP", "MODEL", "SEFIN")
Row = dict[str, Any]


@contextmanager
def started(argv: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def running(*words: str) -> Iterator[tuple[Path, Row, dict[str, str]]]:
    """Its home, the demo's addresses and sign-in, and the environment of its processes. `words`: for `manage.py up`."""
    with tempfile.TemporaryDirectory(prefix="tokia-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o711)
        env = {**os.environ, **{f"TOKIA_{name}_PORT": str(free_port()) for name in PORTS}, "TOKIA_HOME": folder}
        print("starting the stack …", flush=True)
        with started([sys.executable, "manage.py", "up", "--quiet", *words], env) as process:
            while not (home / "ready").exists():
                if process.poll() is not None:
                    raise SystemExit((home / "logs" / "up.log").read_text())
                time.sleep(0.2)
            demo: Row = json.loads(subprocess.check_output([sys.executable, "manage.py", "demo"], cwd=ROOT, env=env))
            lines = (home / "env").read_text().splitlines()
            yield home, demo, {**env, **dict(line.split("=", 1) for line in lines if "=" in line)}
