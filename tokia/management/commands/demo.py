"""`manage.py demo`: the running stack's addresses and demo logins as one JSON object, for scripts."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand

from tokia.stackhome import StackHome


class Command(BaseCommand):
    help = "Print base_url, api_key, web_url, logins and sandbox_url of the running stack as JSON."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        home = StackHome.of_environment()
        if home.running_pid() is None:
            raise SystemExit("No stack runs here; `make up` starts one.")
        if not home.is_ready():
            raise SystemExit("The stack is still starting; try again in a moment.")
        self.stdout.write(json.dumps(home.demo(), indent=2))
