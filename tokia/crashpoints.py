"""Named points at which a test may kill this process; see `CRASHPOINT` in the settings. Costs one comparison."""

from __future__ import annotations

import os
import signal

_armed = os.environ.get("CRASHPOINT", "")


def crashpoint(name: str) -> None:
    if _armed and _armed == name:
        os.kill(os.getpid(), signal.SIGKILL)
