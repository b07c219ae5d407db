"""A real sandbox bank over mutual TLS, and a real door for its notices."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
from django.conf import settings as django_settings
from django.core.wsgi import get_wsgi_application
from django.db import connections
from pytest_django import Settings

from billing import tasks
from billing.models import Charge, Wallet
from billing.money import from_brl
from billing.pix import charges, psp, webhook
from tests.make import make_wallet
from tokia.processes import free_port

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class BankControl:
    """The sandbox bank's hidden side: who pays, what goes wrong."""

    http_url: str
    psp_url: str
    client: httpx.Client

    def post(self, verb: str, **body: Any) -> dict[str, Any]:
        answer = self.client.post(f"{self.http_url}/bank/api/{verb}", json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def pay(self, charge: Charge, **body: Any) -> list[dict[str, Any]]:
        paid: list[dict[str, Any]] = self.post(f"pay/{charge.txid}", **body)["pix"]
        return paid

    def pay_unknown(self, **body: Any) -> dict[str, Any]:
        paid: list[dict[str, Any]] = self.post("pay-unknown", **body)["pix"]
        return paid[0]

    def faults(self, **by_operation: Any) -> None:
        self.post("faults", **by_operation)

    def state(self) -> dict[str, Any]:
        told: dict[str, Any] = self.client.get(f"{self.http_url}/bank/api/state").json()
        return told

    def deliveries(self) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = self.state()["deliveries"]
        return told


@pytest.fixture(scope="session")
def bank_process() -> Iterator[BankControl]:
    http_port, psp_port = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tokia.sandbox", "--home", str(django_settings.TOKIA_HOME), "--http-port", str(http_port),
         "--psp-port", str(psp_port), "--smtp-port", str(free_port())],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "sandbox:" in process.stdout.readline()
        with httpx.Client(trust_env=False, timeout=10) as client:
            yield BankControl(http_url=f"http://127.0.0.1:{http_port}", psp_url=f"https://127.0.0.1:{psp_port}", client=client)
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def bank(bank_process: BankControl, settings: Settings) -> Iterator[BankControl]:
    """The bank, empty, without scripted faults, with refunds that settle at once; our settings point to it."""
    settings.SANDBOX_URL = bank_process.http_url
    settings.PSP_BASE_URL = f"{bank_process.psp_url}/v2"
    settings.PSP_TOKEN_URL = f"{bank_process.psp_url}/oauth/token"
    settings.PSP_TIMEOUT_SECONDS = 3.0
    bank_process.post("reset")
    bank_process.post("settings", refund_ms=50)
    yield bank_process
    for kept in psp._banks.values():
        kept.client.close()
    psp._banks.clear()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Door:
    """Our web server as the bank sees it."""

    url: str


@pytest.fixture
def door(bank: BankControl, committed_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """Real HTTP for the bank's notices; each is followed at once in the thread that took it, as a worker would."""
    monkeypatch.setattr(webhook, "_hurry", tasks.confirm_charge)
    application = get_wsgi_application()

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            answer = application(environ, start_response)
            body = b"".join(answer)
            close: Callable[[], None] = getattr(answer, "close", lambda: None)
            close()
            return [body]
        finally:
            connections.close_all()

    server = make_server("127.0.0.1", 0, serve, server_class=_Server, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings.WEB_URL = f"http://127.0.0.1:{server.server_port}"
    psp.set_webhook(f"{settings.WEB_URL}/webhooks/pix/{settings.PSP_WEBHOOK_SECRET}")
    yield Door(settings.WEB_URL)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def wallet(committed_db: None) -> Wallet:
    return make_wallet(brl="0")


def open_charge(wallet: Wallet, brl: str = "50.00") -> Charge:
    return charges.open_charge(wallet, amount_nanos=from_brl(brl), by=None)


def wait_until(is_true: Callable[[], bool], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
