"""The gateway's tests run against real processes: one sandbox and one gateway per session, one tenant per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.conftest import empty_database
from tests.gateway.world import Gateway, Sandbox, Tenant, World


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"))
    sandbox.start()
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="session")
def gateway(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its log is read at the end: a traceback or a warning of Python's fails the session."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    gateway.start()
    yield gateway
    code = gateway.stop()
    log = gateway.log.read_text()
    assert "Traceback" not in log, log[-6000:]
    assert code == 0, log[-2000:]


@pytest.fixture(scope="module")
def world(
    sandbox: Sandbox, gateway: Gateway, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Commits for real; afterwards the money must add up, then the tables are emptied."""
    from billing.reconcile import find_violations

    with django_db_blocker.unblock():
        connections.close_all()  # another module's tests may have stopped its server
        sandbox.post("/llm/__reset")
        world = World(folder=tmp_path_factory.mktemp("world"), sandbox=sandbox, gateway=gateway)
        with world.closing:
            yield world
        violations = list(find_violations())
        empty_database()
    assert violations == []


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()
