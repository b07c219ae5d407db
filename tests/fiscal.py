"""The sandbox's tax office for tests: one process on free ports, and a handle to what goes wrong there."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

ROOT = Path(__file__).resolve().parent.parent
A1_PASSWORD = "a1-sandbox"
ANNOUNCEMENT = re.compile(r"sandbox: (http://\S+) .* sefin (https://\S+)")


@dataclass
class FiscalSandbox:
    """A running tax office.

    `sefin_url`, `adn_url`, `param_url`, `focus_url`, `cep_url` are what the settings of the same names want; `folder` has
    `fiscal-ca.pem` (SEFIN_CA_FILE), `a1.pfx`, `a1-expired.pfx`, `a1-other.pfx`, `a1-plain.pfx` (password `a1-sandbox`).
    """

    url: str
    fiscal_url: str
    folder: Path
    process: subprocess.Popen[str]
    http: httpx.Client
    _contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    @property
    def sefin_url(self) -> str:
        return f"{self.fiscal_url}/SefinNacional"

    @property
    def adn_url(self) -> str:
        return f"{self.fiscal_url}/contribuintes"

    @property
    def param_url(self) -> str:
        return f"{self.fiscal_url}/parametrizacao"

    @property
    def focus_url(self) -> str:
        return f"{self.url}/focus"

    @property
    def cep_url(self) -> str:
        return f"{self.url}/cep"

    @property
    def ca_file(self) -> Path:
        return self.folder / "fiscal-ca.pem"

    def settings(self) -> dict[str, str]:
        """For `override_settings(**fiscal.settings())`."""
        urls = {"SEFIN_URL": self.sefin_url, "ADN_URL": self.adn_url, "PARAM_URL": self.param_url}
        return {**urls, "SEFIN_CA_FILE": str(self.ca_file), "FOCUS_URL": self.focus_url, "CEP_URL": self.cep_url}

    def script(self, operation: str, *faults: str | dict[str, Any], times: int = 1) -> None:
        """`script("emit", "lost")`, `script("find", {"kind": "429", "retry_after": 2}, times=3)`."""
        self._control("__script", operation=operation, faults=list(faults), times=times)

    def set(self, **settings: Any) -> None:
        """`set(dialect="array")`, `set(offset_seconds=86_400)`, `set(unknown_tax_ids=[…])`."""
        self._control("__settings", **settings)

    def set_city(self, code: str, **facts: Any) -> None:
        """`set_city("3106200", uses_emitter=False)`, `im="any"`, `cancel_days=0`, `iss_percent="5.00"`."""
        self._control(f"__city/{code}", **facts)

    def cancel_elsewhere(self, access_key: str, **facts: Any) -> dict[str, Any]:
        """As a person does it at the national portal."""
        return self._control(f"__cancel/{access_key}", **facts)

    def ledger(self) -> dict[str, Any]:
        """`notes`, `events`, `focus`, `calls`, `pending` (faults not yet taken)."""
        told: dict[str, Any] = self.http.get("/fiscal/__ledger").raise_for_status().json()
        return told

    def notes(self) -> list[dict[str, Any]]:
        notes: list[dict[str, Any]] = self.ledger()["notes"]
        return notes

    def note_xml(self, access_key: str) -> bytes:
        return self.http.get(f"/fiscal/__xml/{access_key}").raise_for_status().content

    def reset(self) -> None:
        """Nothing was ever issued, nothing is scripted; certificates stay."""
        self._control("__reset")

    def a1(self, name: str = "a1") -> tuple[Any, Any]:
        """Key and certificate of a pfx file."""
        key, certificate, _ = pkcs12.load_key_and_certificates((self.folder / f"{name}.pfx").read_bytes(), A1_PASSWORD.encode())
        return key, certificate

    def context(self, name: str = "a1") -> ssl.SSLContext:
        """TLS with the certificate of a pfx file; "" has none. Made once: it costs more than a test."""
        if name not in self._contexts:
            context = ssl.create_default_context(cafile=str(self.ca_file))
            if name:
                key, certificate = self.a1(name)
                pem = key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ) + certificate.public_bytes(serialization.Encoding.PEM)
                path = self.folder / f"{name}.test.pem"
                path.write_bytes(pem)
                context.load_cert_chain(path)
                path.unlink()
            self._contexts[name] = context
        return self._contexts[name]

    def client(self, name: str = "a1", *, timeout: float = 10) -> httpx.Client:
        """A client of `sefin_url` with the certificate of a pfx file."""
        return httpx.Client(base_url=self.sefin_url, verify=self.context(name), trust_env=False, timeout=timeout)

    def _control(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(f"/fiscal/{path}", json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


@contextmanager
def running_fiscal(home: Path) -> Iterator[FiscalSandbox]:
    """A sandbox on free ports over `home`, stopped at the end; whatever `home` holds of an earlier one is still known."""
    argv = [sys.executable, "-m", "tokia.sandbox", "--home", str(home), "--http-port", "0", "--psp-port", "0", "--smtp-port", "0"]
    env = {**os.environ, "SANDBOX_LLM_TYPES": "0"}
    process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        match = ANNOUNCEMENT.fullmatch(line.strip())
        assert match is not None, f"{line!r}, exit {process.poll()}"
        with httpx.Client(base_url=match[1], verify=False, trust_env=False, timeout=20) as http:
            yield FiscalSandbox(url=match[1], fiscal_url=match[2], folder=home / "sandbox", process=process, http=http)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        finally:
            process.kill()
            process.stdout.close()
