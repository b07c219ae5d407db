"""One prepared statement at a time over libpq itself: what the lanes send thousands of times, at a fraction of a cursor's cost.

Parameters and results are PostgreSQL's texts. Errors are psycopg's, with their sqlstate; a broken connection's has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import pq

Connection = psycopg.AsyncConnection[Any]
SILENCE_SECONDS = 6.0  # longer than any statement may take: the connection is dead
LOOK_SECONDS = 0.2  # how long a reset socket may go unseen (`look`): a call waits for it


class Statement:
    """A text that each connection prepares once, under its name."""

    __slots__ = ("name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name.encode(), text.encode()

    async def prepare(self, connection: Connection) -> None:
        """Raises psycopg.Error."""
        connection.pgconn.send_prepare(self.name, self.text)
        await _read_result(connection.pgconn)

    async def ask(self, connection: Connection, params: Sequence[bytes | None]) -> list[tuple[bytes | None, ...]]:
        """The rows. Whoever cancels this, or gets an OSError (a TimeoutError after SILENCE_SECONDS among them) or a psycopg.Error
        without a sqlstate, closes the connection.

        Raises psycopg.Error, TimeoutError.
        """
        connection.pgconn.send_query_prepared(self.name, params)
        result = await _read_result(connection.pgconn)
        columns, value = range(result.nfields), result.get_value
        return [tuple([value(row, column) for column in columns]) for row in range(result.ntuples)]


def has_ended(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the server ended an idle connection meanwhile. Asked before it is used again: a wait for its answer could be long."""
    try:
        for _ in range(2):  # its last words, then its end
            connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False


async def _read_result(pgconn: pq.abc.PGconn) -> pq.abc.PGresult:
    """What was sent goes out, and its one result comes in, by the event loop alone. Raises psycopg.Error, TimeoutError."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    results: list[pq.abc.PGresult] = []
    timer: asyncio.TimerHandle | None = None
    dies_at = loop.time() + SILENCE_SECONDS

    def read() -> None:
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    if not ended.done():
                        ended.set_result(None)
                    return
                results.append(result)
        except psycopg.Error as error:
            if not ended.done():
                ended.set_exception(error)

    def write() -> None:
        try:
            if not pgconn.flush():
                loop.remove_writer(descriptor)
        except psycopg.Error as error:
            if not ended.done():
                ended.set_exception(error)

    def look() -> None:
        """uvloop tells nothing more of a socket that was reset, as it is when one writes to a server that has ended."""
        nonlocal timer
        read()
        if ended.done():
            return
        if loop.time() > dies_at:
            ended.set_exception(TimeoutError())
        else:
            timer = loop.call_later(LOOK_SECONDS, look)

    descriptor = pgconn.socket
    is_waiting_to_write = bool(pgconn.flush())
    loop.add_reader(descriptor, read)
    if is_waiting_to_write:
        loop.add_writer(descriptor, write)
    timer = loop.call_later(LOOK_SECONDS, look)
    try:
        await ended
    finally:
        timer.cancel()
        loop.remove_reader(descriptor)
        if is_waiting_to_write:
            loop.remove_writer(descriptor)
    if not results:
        raise psycopg.OperationalError("The connection gave no answer.")
    result = results[0]
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        raise psycopg.errors.error_from_result(result)
    return result
