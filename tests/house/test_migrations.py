"""Models and migrations say the same, and migrating twice changes nothing."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command

pytestmark = pytest.mark.django_db


def test_it_has_a_migration_for_every_change_of_a_model() -> None:
    out = StringIO()
    call_command("makemigrations", "--check", "--dry-run", stdout=out)
    assert "No changes detected" in out.getvalue() or "Nenhuma alteração" in out.getvalue()


def test_it_left_nothing_to_migrate() -> None:
    call_command("migrate", "--check", stdout=StringIO())
