#!/usr/bin/env python
"""Django's door: `manage.py up` starts everything, `manage.py help` lists the rest."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokia.settings")
    # Migrations own the tables; every other command works as the role that can't touch the ledger (see billing/sql).
    if sys.argv[1:2] == ["migrate"] and (owner := os.environ.get("DATABASE_OWNER_URL")):
        os.environ["DATABASE_URL"] = owner
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
