"""The sandbox's tax office over real TLS, empty before every test, and our settings pointing to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from invoices import exchanges
from tests.sandbox.conftest import Sandbox, start_sandbox


@dataclass
class FiscalControl:
    """The tax office's hidden side: what it issued, what goes wrong next, what happens elsewhere."""

    sandbox: Sandbox

    @property
    def http(self) -> httpx.Client:
        return self.sandbox.http

    @property
    def folder(self) -> Path:
        """Where the certificates lie: `a1.pfx`, `a1-expired.pfx`, `a1-other.pfx`, `fiscal-ca.pem`."""
        return self.sandbox.folder

    def script(self, operation: str, *faults: str | dict[str, Any], times: int = 1) -> None:
        """The next answers to `operation` (connect, emit, find, read, cancel, read_event, distribution, parameters, focus_…)."""
        self.sandbox.post("/fiscal/__script", {"operation": operation, "faults": list(faults), "times": times})

    def set(self, **settings: Any) -> None:
        self.sandbox.post("/fiscal/__settings", settings)

    def set_city(self, code: str, **facts: Any) -> None:
        self.sandbox.post(f"/fiscal/__city/{code}", facts)

    def cancel_elsewhere(self, access_key: str) -> None:
        self.sandbox.post(f"/fiscal/__cancel/{access_key}", {"code": "9", "reason": "Cancelada no portal nacional"})

    def ledger(self) -> dict[str, Any]:
        told: dict[str, Any] = self.sandbox.get("/fiscal/__ledger")
        return told

    def notes(self) -> list[dict[str, Any]]:
        notes: list[dict[str, Any]] = self.ledger()["notes"]
        return notes


@pytest.fixture(scope="session")
def fiscal_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiscalControl]:
    running = start_sandbox(tmp_path_factory.mktemp("fiscal"))
    yield FiscalControl(running)
    running.stop()


@pytest.fixture
def fiscal(fiscal_process: FiscalControl, settings: Settings) -> Iterator[FiscalControl]:
    """The tax office, Focus NFe and the ADN, without notes and without scripted faults."""
    sandbox = fiscal_process.sandbox
    settings.SEFIN_URL = f"{sandbox.sefin_url}/SefinNacional"
    settings.ADN_URL = f"{sandbox.sefin_url}/contribuintes"
    settings.PARAM_URL = f"{sandbox.sefin_url}/parametrizacao"
    settings.SEFIN_CA_FILE = str(sandbox.folder / "fiscal-ca.pem")
    settings.SEFIN_TIMEOUT_SECONDS = 5.0
    settings.FOCUS_URL = f"{sandbox.url}/focus"
    settings.CEP_URL = f"{sandbox.url}/cep"
    sandbox.post("/fiscal/__reset")
    fiscal_process.set(focus_ms=20, focus_rate=10_000)
    yield fiscal_process
    exchanges.close_clients()
