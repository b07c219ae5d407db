"""`manage.py verify_ledger`: recompute the chain over the books from its first link, and name the first one that does not hold."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from billing import seals


class Command(BaseCommand):
    help = "Confere a corrente de selos do livro de saldos, do primeiro elo ao último. Sai com 1 se algo foi alterado."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--selar", action="store_true", help="antes, sela o que ainda não tem selo")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["selar"]:
            self.stdout.write(f"{seals.seal_entries(everything=True, seconds=float('inf'))} elos novos.")
        check = seals.check_chain(from_start=True)
        head = seals.Head(check.head_seq, bytes(check.head_digest))
        if check.broken_seq is not None:
            self.stderr.write(f"QUEBRADO no elo nº {check.broken_seq}: {check.detail}")
            sys.exit(1)
        self.stdout.write(f"{check.last_seq} elos conferem. Último selo: {head.text} ({head.digest.hex()}).")
