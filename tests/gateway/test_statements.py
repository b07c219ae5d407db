"""The lanes' own way to PostgreSQL: rows, refusals, long texts, ends of connections; and what a gateway's process does not load."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
import uvloop
from django.conf import settings

from gateway.batcher import is_worth_repeating
from gateway.memory import release_file_pages
from gateway.statements import SILENCE_SECONDS, Connection, Statement
from tests.stores import stores

pytestmark = pytest.mark.usefixtures("committed_db")
ECHO = Statement("echo", "SELECT $1::text, NULL, 7::bigint")
REFUSE = Statement("refuse", "SELECT 1 / $1::int")
SLEEP = Statement("sleep", "SELECT pg_sleep($1::float)")
DIE = Statement("die", "SELECT pg_terminate_backend(pg_backend_pid())")


def with_connection(work: Callable[[Connection], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        connection = await psycopg.AsyncConnection.connect(settings.DATABASE_URL, autocommit=True)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def test_it_gives_rows_as_texts_however_long_the_parameter_is() -> None:
    async def work(connection: Connection) -> list[Any]:
        await ECHO.prepare(connection)
        return [await ECHO.ask(connection, [text]) for text in (b"a", b"x" * 8_000_000, b"b")]

    short, long, after = with_connection(work)
    assert short == [(b"a", None, b"7")]
    assert [len(long[0][0]), after[0][0]] == [8_000_000, b"b"]  # more than a socket takes at once


def test_a_refusal_has_its_sqlstate_and_the_connection_goes_on() -> None:
    async def work(connection: Connection) -> Any:
        await REFUSE.prepare(connection)
        with pytest.raises(psycopg.Error) as refused:
            await REFUSE.ask(connection, [b"0"])
        cursor = await connection.execute("SELECT 5")  # what `refuse` of a lane does next, with a cursor
        return refused.value.sqlstate, await cursor.fetchone(), await REFUSE.ask(connection, [b"1"])

    assert with_connection(work) == ("22012", (5,), [(b"1",)])


def test_a_server_that_ended_while_nobody_asked_is_noticed_at_the_next_statement() -> None:
    """On the gateway's own event loop, which tells of such a socket at most once."""

    async def work(connection: Connection) -> float:
        await ECHO.prepare(connection)
        pid = connection.pgconn.backend_pid
        with psycopg.connect(stores.postgres.superuser_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
            while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone():
                await asyncio.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            await ECHO.ask(connection, [b"a"])
        return time.monotonic() - began

    async def run() -> float:
        connection = await psycopg.AsyncConnection.connect(settings.DATABASE_URL, autocommit=True)
        try:
            return await work(connection)
        finally:
            await connection.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) < SILENCE_SECONDS / 2


def test_a_text_that_is_none_is_refused_when_it_is_prepared() -> None:
    async def work(connection: Connection) -> str | None:
        with pytest.raises(psycopg.Error) as refused:
            await Statement("odd", "SELECT billing_never_heard_of($1)").prepare(connection)
        return refused.value.sqlstate

    assert with_connection(work) == "42883"


def test_a_connection_that_ends_is_an_unknown_outcome() -> None:
    async def work(connection: Connection) -> list[bool]:
        await DIE.prepare(connection)
        worth = []
        for _ in range(2):  # while it waits, and where it is already gone
            with pytest.raises((psycopg.Error, OSError)) as ended:
                await DIE.ask(connection, [])
            worth.append(is_worth_repeating(ended.value))
        return worth

    assert with_connection(work) == [True, True]


def test_a_wait_that_is_given_up_leaves_no_reader_behind() -> None:
    async def work(connection: Connection) -> bool:
        await SLEEP.prepare(connection)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await SLEEP.ask(connection, [b"5"])
        return asyncio.get_running_loop().remove_reader(connection.pgconn.socket)

    assert with_connection(work) is False


def test_a_gateway_of_its_own_loads_no_pages() -> None:
    code = (
        "import sys, gateway.asgi; from django.apps import apps;"
        "print([config.name for config in apps.get_app_configs()], [name for name in ('unfold', 'allauth', 'celery', 'httpx')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=settings.BASE_DIR)
    assert done.stdout.strip() == f"{settings.GATEWAY_APPS} []", done.stderr


def test_pages_of_a_library_are_given_back_and_read_again() -> None:
    from gateway.tokens import count_text

    released = release_file_pages("/rs_bpe/")
    assert released > 1_000_000 or not sys.platform.startswith("linux")
    assert count_text("olá, mundo") > 0
    assert release_file_pages("/no such library/") == 0
