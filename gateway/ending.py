"""How background tasks are ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_SECONDS = 1.0


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them, and again until each has ended; what they raise is theirs.

    Once is not enough on Python 3.11: `asyncio.wait_for`, by which redis-py writes and psycopg waits, swallows a cancellation that
    comes in the very turn of the loop in which what it waits for is done (cpython's bpo-37658, mended in 3.12).
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
