"""The sandbox's tax office in a process of its own, and what tests do to it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tokia.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
READ_SECONDS = 2.0  # how long our client waits for an answer in tests


@dataclass
class TaxOffice:
    """`home/sandbox` has the certificates, `client` speaks to the control door."""

    http_url: str
    sefin_url: str
    home: Path
    client: httpx.Client

    @property
    def settings(self) -> dict[str, Any]:
        """Our settings that point here; the same names are the environment's of another process."""
        return {
            "SEFIN_URL": f"{self.sefin_url}/SefinNacional", "ADN_URL": f"{self.sefin_url}/contribuintes",
            "PARAM_URL": f"{self.sefin_url}/parametrizacao", "SEFIN_CA_FILE": str(self.home / "sandbox" / "fiscal-ca.pem"),
            "SEFIN_TIMEOUT_SECONDS": READ_SECONDS, "FOCUS_URL": f"{self.http_url}/focus",
        }  # fmt: skip

    def post(self, verb: str, **body: Any) -> Any:
        answer = self.client.post(f"{self.http_url}/fiscal/{verb}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def script(self, operation: str, *faults: Any, times: int = 1) -> None:
        """What goes wrong with the next calls of an operation."""
        self.post("__script", operation=operation, faults=list(faults), times=times)

    def ledger(self) -> dict[str, Any]:
        told: dict[str, Any] = self.client.get(f"{self.http_url}/fiscal/__ledger").json()
        return told

    def notes(self) -> list[dict[str, Any]]:
        """Every note of Sefin that exists, ended ones too."""
        found: list[dict[str, Any]] = self.ledger()["notes"]
        return found

    def pfx(self, name: str = "a1") -> bytes:
        return (self.home / "sandbox" / f"{name}.pfx").read_bytes()


@contextmanager
def open_office(home: Path) -> Iterator[TaxOffice]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tokia.sandbox", "--home", str(home), "--http-port", "0", "--psp-port", "0",
         "--smtp-port", str(free_port()), "--sefin-port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        told = re.search(r"sandbox: (\S+) .* sefin (\S+)", line)
        assert told, line
        with httpx.Client(trust_env=False, timeout=10) as client:
            yield TaxOffice(http_url=told[1], sefin_url=told[2], home=home, client=client)
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()
