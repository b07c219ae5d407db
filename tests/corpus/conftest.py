"""The sandbox for the corpus: no gateway and no database is needed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.world import Sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"))
    sandbox.env["SANDBOX_LLM_DELAY_MS"] = "0"
    sandbox.start()
    deadline = time.monotonic() + 60  # the published types are read in the background
    while "anthropic" not in httpx.get(f"{sandbox.url}/healthz", timeout=10).json()["types"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20) as client:
        yield client
