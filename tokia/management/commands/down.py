"""`manage.py down`: stop the stack of this checkout, wherever it was started."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from tokia.stack import GATEWAY_STOP_SECONDS
from tokia.stackhome import StackHome

INSIST_SECONDS = GATEWAY_STOP_SECONDS + 5  # open streams may finish until then
PATIENCE_SECONDS = INSIST_SECONDS + 20


class Command(BaseCommand):
    help = "Stop the running stack and wait until nothing of it is left."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        home = StackHome.of_environment()
        pid = home.running_pid()
        if pid is None:
            self.stdout.write(f"Nothing runs on {home.folder}.")
            return
        os.kill(pid, signal.SIGTERM)
        started, has_insisted = time.monotonic(), False
        while Path(f"/proc/{pid}").exists() if Path("/proc/self").exists() else home.running_pid() == pid:
            waited = time.monotonic() - started
            if waited > INSIST_SECONDS and not has_insisted:
                has_insisted = True
                os.kill(pid, signal.SIGTERM)  # the second one: children get no more time
            if waited > PATIENCE_SECONDS:
                raise SystemExit(f"Process {pid} does not stop; `kill -9 {pid}` ends it and its children.")
            time.sleep(0.05)
        self.stdout.write("Stopped.")
