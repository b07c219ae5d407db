"""Slots for work that waits for other people's servers: so many workers do it at a time, and the others go on with what is ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import DatabaseError, connection


@contextmanager
def take_slot(name: str, *, slots: int) -> Iterator[int | None]:
    """A slot of `slots`, kept until the end; None where all are taken. A worker that dies leaves its slot with its connection."""
    taken: int | None = None
    with connection.cursor() as cursor:
        for slot in range(slots):
            cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s), %s)", [name, slot])
            [(is_mine,)] = cursor.fetchall()
            if is_mine:
                taken = slot
                break
    try:
        yield taken
    finally:
        if taken is not None:
            with suppress(DatabaseError), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtext(%s), %s)", [name, taken])
