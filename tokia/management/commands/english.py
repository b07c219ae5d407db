"""`manage.py english [paths…]`: what has no English yet, as entries to fill in; `--compile` makes what Django reads of them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tokia import catalogues


class Command(BaseCommand):
    help = "Prints every sentence of pages and every marked text without English, as .po entries; --compile writes the .mo files."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="*", type=Path, help="templates and modules, or folders of them; all of the project's")
        parser.add_argument("--compile", action="store_true", help="write django.mo beside the .po")

    def handle(self, *, paths: list[Path], compile: bool, **options: Any) -> None:
        try:
            if compile:
                self._compile()
                return
            known = catalogues.known_texts(catalogues.read_catalogues())
            missing = catalogues.find_missing(catalogues.find_wanted([path.resolve() for path in paths] or all_paths()), known)
        except ImportError as error:
            raise CommandError("This needs polib, which comes with the packages of development.") from error
        except OSError as error:  # polib's word for a line that it does not understand
            raise CommandError(str(error)) from error
        if missing:
            self.stdout.write(catalogues.write_stubs(missing))
        self.stderr.write(f"{len({(one.context, one.text) for one in missing})} without English.")

    def _compile(self) -> None:
        for place in catalogues.PLACES:
            if (content := catalogues.join_catalogues(place)) is not None:
                (place / "django.mo").write_bytes(content)
                self.stderr.write(f"{(place / 'django.mo').relative_to(settings.BASE_DIR)}: {len(content)} bytes")


def all_paths() -> list[Path]:
    """Where people's texts stand."""
    return [Path(settings.BASE_DIR) / name for name in ("templates", "tokia", "accounts", "billing", "gateway", "invoices")]
