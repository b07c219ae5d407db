"""The ledger's SQL: the one truth about money for gateway, verbs, admin and tests. Loaded by billing's migrations.

`ids` month of a call's id · `tiers` the volume discount · `partitions` of the usage records · `sessions` of gateway processes ·
`holds` place and expire · `settle` batches · `single` one call alone · `entries` money in and out · `refunds` · `guards` triggers ·
`grants` · `budgets` · `rollups` by day · `agreements` of people · `seals` the chain · `closing` of days and months · `invariants`
what must always be empty (read by `billing/reconcile.py`).
"""

from __future__ import annotations

from pathlib import Path

# The order matters: SQL functions name the ones before them.
LEDGER_FILES = ("ids", "tiers", "partitions", "sessions", "holds", "settle", "single", "entries", "refunds", "guards", "grants")


def read_sql(name: str) -> str:
    """The text of `billing/sql/<name>.sql`."""
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
