#!/usr/bin/env python
"""Django's door: `manage.py up` starts everything, `manage.py help` lists the rest."""

import os
import sys

from tokia.stackhome import StackHome

if __name__ == "__main__":
    command = sys.argv[1:2]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
    if command != ["up"]:
        StackHome.of_environment().lend_environment()
    # Migrations own the tables; every other command works as the role that can't touch the ledger (see billing/sql).
    if command == ["migrate"]:
        os.environ["DATABASE_URL"] = os.environ.get("DATABASE_OWNER_URL") or os.environ.get("DATABASE_URL", "")
        sys.argv.append("--skip-checks")  # unfold's ask for permissions, of which an empty database has no table
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
