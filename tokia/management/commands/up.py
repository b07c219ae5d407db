"""`manage.py up`: start the whole of Tokia on this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

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
        if options["detach"]:
            start_in_background(home, options=options)
            self.stdout.write(banner(home))
            return
        try:
            run(home, port_base=options["port_base"], wants_model=not options["no_model"], is_loud=not options["quiet"])
        except StartFailed as failure:
            raise CommandError(str(failure)) from None


def start_in_background(home: StackHome, *, options: dict[str, Any]) -> None:
    """Start the same command in a session of its own and show its progress until it is ready."""
    argv = [sys.executable, "manage.py", "up", "--quiet"]
    if options["port_base"] is not None:
        argv += ["--port-base", str(options["port_base"])]
    if options["no_model"]:
        argv.append("--no-model")
    with subprocess.Popen(
        argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            while not (home.is_ready() and home.running_pid() == process.pid):
                if process.poll() is not None:
                    assert process.stderr is not None
                    raise CommandError(process.stderr.read().removeprefix("CommandError: ").strip())
                time.sleep(0.1)
        except KeyboardInterrupt:
            process.terminate()
            raise
        process.stderr = None
