"""Queries of fiscal documents over the books: `cutover` what a wallet had used, owed and settled when a month closed ·
`invariants` what must always be empty (read by `invoices/reconcile.py`). They only read."""

from __future__ import annotations

from pathlib import Path


def read_sql(name: str) -> str:
    """The text of `invoices/sql/<name>.sql`."""
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
