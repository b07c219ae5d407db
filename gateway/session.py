"""This process's session in the ledger: opened at start, renewed by a thread of its own, replaced when it was fenced.

A thread, so that a stalled event loop does not look like a dead process. A session that was silent for too long is reaped by
the ledger: its holds expire, and the calls that had them end free of charge.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from typing import Any

import psycopg
from django.conf import settings

log = logging.getLogger(__name__)


class Session:
    """`id` is 0 until there is one."""

    def __init__(self) -> None:
        self.id = 0
        self._host = f"{socket.gethostname()}:{os.getpid()}"
        self._wake = threading.Event()
        self._is_stopping = False
        self._fenced = 0
        self._connection: psycopg.Connection[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-session", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def note_fenced(self, session_id: int) -> None:
        """The ledger said TK001 to this id: open another one soon."""
        if session_id == self.id:
            self._fenced = session_id
            self.id = 0
            self._wake.set()

    def stop(self) -> None:
        """Close the session in the ledger: what it still holds expires. Blocks for a few seconds at most."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._renew()
                pause = settings.GATEWAY_SESSION_SECONDS / 3
            except (psycopg.Error, OSError) as error:
                log.warning("ledger session not renewed: %s", type(error).__name__)
                self._disconnect()
                pause = 0.5
            self._wake.wait(pause)
            self._wake.clear()
        with contextlib.suppress(psycopg.Error, OSError):
            if self.id:
                self._connect().execute("SELECT billing_close_session(%s)", (self.id,))
        self._disconnect()

    def _renew(self) -> None:
        connection = self._connect()
        if self.id:
            try:
                connection.execute("SELECT billing_renew_session(%s, %s)", (self.id, settings.GATEWAY_SESSION_SECONDS))
                return
            except psycopg.Error as error:
                if error.sqlstate != "TK001":
                    raise
                log.error("ledger session %s was fenced: its calls end free of charge", self.id)
                self.id = 0
        row = connection.execute("SELECT billing_open_session(%s, %s)", (self._host, settings.GATEWAY_SESSION_SECONDS)).fetchone()
        self.id = row[0] if row else 0

    def _connect(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                settings.DATABASE_URL, autocommit=True, connect_timeout=3, application_name="tokia-gateway-session",
                options="-c statement_timeout=5000 -c lock_timeout=2000", tcp_user_timeout=8_000,
            )  # fmt: skip
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None
