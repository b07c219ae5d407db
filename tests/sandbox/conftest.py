"""The sandbox as its users meet it: one real process on free ports for the whole run, and clients that speak to it."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.fiscal import FiscalSandbox, running_fiscal

ROOT = Path(__file__).resolve().parents[2]
PIX_KEY = "7d9f0335-8dcc-4054-9bf9-0dbd61d36906"
START_SECONDS_MAX = 20
ANNOUNCEMENT = re.compile(r"sandbox: (http://\S+) psp (https://\S+) smtp 127\.0\.0\.1:(\d+) sefin (https://\S+)")


@dataclass
class Sandbox:
    """A running sandbox."""

    home: Path
    process: subprocess.Popen[str]
    url: str
    psp_url: str
    smtp_port: int
    sefin_url: str
    http: httpx.Client

    @property
    def folder(self) -> Path:
        return self.home / "sandbox"

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self.http.post(path, json=body or {})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def ledger(self) -> dict[str, Any]:
        report: dict[str, Any] = self.get("/llm/__ledger")
        return report

    def last_call(self) -> dict[str, Any]:
        """The newest call of the ledger, once it has ended."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            report = self.ledger()
            if report["calls"] and not report["in_flight"]:
                call: dict[str, Any] = report["calls"][0]
                return call
            time.sleep(0.02)
        raise AssertionError("a call is still in flight")

    def script(self, provider: str, *faults: str, times: int = 1) -> None:
        self.post("/llm/__script", {"provider": provider, "faults": list(faults), "times": times})

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        self.http.close()
        self.process.terminate()
        try:
            return self.process.wait(timeout=10)
        finally:
            self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()


def start_sandbox(home: Path, *options: str, **environment: str) -> Sandbox:
    """A sandbox on free ports that is ready to serve."""
    env = {**os.environ, "SANDBOX_LLM_DELAY_MS": "0", "SANDBOX_REFUND_MS": "150", **environment}
    argv = [sys.executable, "-m", "tokia.sandbox", "--home", str(home), "--http-port", "0", "--psp-port", "0", "--smtp-port", "0"]
    process = subprocess.Popen([*argv, *options], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    match = ANNOUNCEMENT.fullmatch(line.strip())
    assert match is not None, f"{line!r}, exit {process.poll()}"
    # Without TLS: making a context for each client costs more than a test.
    client = httpx.Client(base_url=match[1], verify=False, trust_env=False, timeout=20)
    return Sandbox(
        home=home,
        process=process,
        url=match[1],
        psp_url=match[2],
        smtp_port=int(match[3]),
        sefin_url=match[4],
        http=client,
    )


def bank_context(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "client.pem")
    return context


@contextmanager
def bank_client(sandbox: Sandbox, *, scope: str = "") -> Iterator[httpx.Client]:
    """A client of the bank with its certificate and a fresh token."""
    with httpx.Client(base_url=sandbox.psp_url, verify=bank_context(sandbox.folder), trust_env=False) as client:
        form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        answer = client.post("/oauth/token", data=form, auth=("tokia-sandbox", "tokia-sandbox-secret"))
        client.headers["authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"
        yield client


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    running = start_sandbox(tmp_path_factory.mktemp("home"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def fresh(sandbox: Sandbox) -> Sandbox:
    """The running sandbox with empty books."""
    sandbox.post("/llm/__reset")
    sandbox.post("/bank/api/reset")
    return sandbox


@pytest.fixture(scope="session")
def open_bank(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with bank_client(sandbox) as client:
        yield client


@pytest.fixture
def bank(fresh: Sandbox, open_bank: httpx.Client) -> httpx.Client:
    """A client of the bank whose books are empty."""
    return open_bank


@pytest.fixture(scope="session")
def open_openai_client(sandbox: Sandbox) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{sandbox.url}/llm/openai/v1", api_key="sandbox-openai", max_retries=0) as client:
        yield client


@pytest.fixture
def openai_client(fresh: Sandbox, open_openai_client: openai.OpenAI) -> openai.OpenAI:
    return open_openai_client


@pytest.fixture(scope="session")
def open_anthropic_client(sandbox: Sandbox) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=f"{sandbox.url}/llm/anthropic", api_key="sandbox-anthropic", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(fresh: Sandbox, open_anthropic_client: anthropic.Anthropic) -> anthropic.Anthropic:
    return open_anthropic_client


@pytest.fixture(scope="session")
def fiscal_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiscalSandbox]:
    with running_fiscal(tmp_path_factory.mktemp("fiscal")) as running:
        yield running


@pytest.fixture
def fiscal(fiscal_process: FiscalSandbox) -> FiscalSandbox:
    """The sandbox's tax office with empty books."""
    fiscal_process.reset()
    return fiscal_process
