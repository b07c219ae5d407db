"""`manage.py up`: start the whole of Tokia on this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tokia.stack import banner, run
from tokia.stackhome import CHECKOUT, StackHome
from tokia.supervisor import StartFailed


class Command(BaseCommand):
    help = "Start PostgreSQL, Valkey, the sandbox, web, gateway, worker and beat; Ctrl-C stops them."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("-d", "--detach", action="store_true", help="leave it running in the background")
        parser.add_argument("--port-base", type=int, help="web, gateway, sandbox, bank, SMTP and model listen from here on")
        parser.add_argument("--no-model", action="store_true", help="without the local model: the sandbox's simulator answers")
        parser.add_argument("--quiet", action="store_true", help="only into the log file")

    def handle(self, *args: Any, **options: Any) -> None:
        home = StackHome.of_environment()
        try:
            if options["detach"]:
                start_in_background(home, options=options)
                self.stdout.write(banner(home, stop="`make down`"))
            else:
                run(home, port_base=options["port_base"], wants_model=not options["no_model"], is_loud=not options["quiet"])
        except StartFailed as failure:
            raise SystemExit(str(failure)) from None


def start_in_background(home: StackHome, *, options: dict[str, Any]) -> None:
    """Start the same command in a session of its own and show its progress until it is ready."""
    home.refuse_second()
    argv = [sys.executable, "manage.py", "up", "--quiet"]
    if options["port_base"] is not None:
        argv += ["--port-base", str(options["port_base"])]
    if options["no_model"]:
        argv.append("--no-model")
    home.logs.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (home.logs / "up.err").open("w+") as errors:
        process = subprocess.Popen(
            argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        shown = 0
        try:
            while not (home.ready_file.exists() and home.running_pid() == process.pid):
                if process.poll() is not None:
                    show_progress(home, shown=shown)
                    errors.seek(0)
                    raise StartFailed("It did not start." if shown else errors.read().strip())
                time.sleep(0.1)
                if home.running_pid() == process.pid:
                    shown = show_progress(home, shown=shown)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    process.returncode = 0  # it outlives us on purpose


def show_progress(home: StackHome, *, shown: int) -> int:
    """Print the supervisor's own lines beyond the first `shown` ones; returns how many there are."""
    log = home.logs / "up.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = [line.partition("│ ")[2] for line in lines if line[9:].startswith("tokia ")]
    for text in said[shown:]:
        print(text, flush=True)  # noqa: T201
    return max(shown, len(said))
