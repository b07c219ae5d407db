"""What survives a restart of the sandbox: a key → JSON table in one small SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from tokia.sandbox.asgi import Json


class Store:
    """Keys are `(room, key)`; every write is durable before it returns. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self._rows = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode=WAL")
        self._rows.execute("PRAGMA synchronous=NORMAL")  # a crash of the machine may lose the last moment; of us, nothing
        self._rows.execute("CREATE TABLE IF NOT EXISTS entry (room TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (room, key))")
        path.chmod(0o600)

    def put(self, *, room: str, key: str, value: Json) -> None:
        self._rows.execute(
            "INSERT INTO entry VALUES (?, ?, ?) ON CONFLICT (room, key) DO UPDATE SET value = excluded.value",
            (room, key, json.dumps(value)),
        )

    def delete(self, *, room: str, key: str) -> None:
        self._rows.execute("DELETE FROM entry WHERE room = ? AND key = ?", (room, key))

    def clear(self, room: str) -> None:
        self._rows.execute("DELETE FROM entry WHERE room = ?", (room,))

    def read_all(self, room: str) -> Iterator[tuple[str, Json]]:
        """Every `(key, value)` of a room in the order of first writing."""
        for key, value in self._rows.execute("SELECT key, value FROM entry WHERE room = ? ORDER BY rowid", (room,)):
            yield key, json.loads(value)

    def close(self) -> None:
        self._rows.close()
