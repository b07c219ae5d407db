"""Liveness asks nobody; readiness needs only the database."""

from __future__ import annotations

import pytest
from django.db import OperationalError
from django.test import RequestFactory

from tokia import health


def test_it_is_alive_without_a_database() -> None:
    answer = health.live(RequestFactory().get("/healthz"))
    assert (answer.status_code, answer.content) == (200, b"ok")


@pytest.mark.django_db
def test_it_tells_what_is_missing_and_stays_ready() -> None:
    answer = health.ready(RequestFactory().get("/readyz"))
    assert answer.status_code == 200
    assert answer.content == b'{"database": "ok", "valkey": "ok", "exchange": "missing", "prices": "missing"}'


def test_it_is_not_ready_without_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise OperationalError("gone")

    for check in ("_database", "_exchange", "_prices"):
        monkeypatch.setattr(health, check, refuse)
    answer = health.ready(RequestFactory().get("/readyz"))
    assert answer.status_code == 503
