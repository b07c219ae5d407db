"""A real sandbox Stripe over HTTP, asked by the official SDK, and a real door for its events."""

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

from accounts.models import Organization
from billing import tasks
from billing.cards import holders, stripe_client, webhook
from billing.models import Card, CardPayment, Wallet
from billing.reconcile import find_violations
from tests.make import make_wallet
from tokia.processes import free_port

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = {"visa": "4242424242424242", "declined": "4000000000000002", "asks": "4000002760003184"}


@dataclass
class StripeSide:
    """The sandbox Stripe's hidden side: who pays, what goes wrong, how it tells."""

    url: str
    client: httpx.Client

    def post(self, verb: str, **body: Any) -> dict[str, Any]:
        answer = self.client.post(f"{self.url}/api/{verb}", json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def state(self) -> dict[str, Any]:
        told: dict[str, Any] = self.client.get(f"{self.url}/api/state").json()
        return told

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.state()["objects"] if record["object"] == kind]

    def check_out(self, payment: CardPayment, number: str = NUMBERS["visa"], **form: str) -> httpx.Response:
        """The person types a card on Stripe's page."""
        return self.client.post(f"{self.url}/checkout/{payment.session_id}", data={"numero": number, **form})

    def answer_bank(self, payment: CardPayment, *, says: str = "sim") -> httpx.Response:
        return self.client.post(payment.page_url, data={"resposta": says})

    def deliver(self, **body: Any) -> list[int]:
        statuses: list[int] = self.post("deliver", **body)["statuses"]
        return statuses


@pytest.fixture(scope="session")
def stripe_process() -> Iterator[StripeSide]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tokia.sandbox", "--home", str(django_settings.TOKIA_HOME / "stripe"), "--http-port", str(port),
         "--psp-port", str(free_port()), "--smtp-port", str(free_port())],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "sandbox:" in process.stdout.readline()
        with httpx.Client(trust_env=False, timeout=20) as client:
            yield StripeSide(url=f"http://127.0.0.1:{port}/stripe", client=client)
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def stripe_side(stripe_process: StripeSide, settings: Settings) -> Iterator[StripeSide]:
    """Stripe, empty, without scripted faults, its events held back; our settings point to it."""
    settings.STRIPE_API_URL = stripe_process.url
    settings.STRIPE_TIMEOUT_SECONDS = 15.0
    stripe_process.post("reset")
    stripe_process.post("settings", refund_ms=50, has_pix=True)
    stripe_process.post("hook", url="http://127.0.0.1:9/nobody", secret=settings.STRIPE_WEBHOOK_SECRETS[0])
    stripe_process.post("hold")
    yield stripe_process
    stripe_client.close_all()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def door(stripe_side: StripeSide, committed_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[StripeSide]:
    """Real HTTP for Stripe's events; each is followed at once in the thread that took it, as a worker would. Events are held:
    `deliver` sends them."""
    monkeypatch.setattr(webhook, "_hurry", tasks.follow_stripe_event)
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
    stripe_side.post("hook", url=f"{settings.WEB_URL}/webhooks/stripe/", secret=settings.STRIPE_WEBHOOK_SECRETS[0])
    yield stripe_side
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def wallet(stripe_side: StripeSide, db: None) -> Iterator[Wallet]:
    """Afterwards the money must add up, as after `committed_db`."""
    yield make_wallet(brl="0")
    assert find_violations() == []


def save_card(organization: Organization, token: str = "pm_card_visa") -> Card:
    """A card that its holder saved, by the API instead of the page."""
    holder = holders.holder_of(organization)
    assert holder.stripe_id is not None
    setup = stripe_client.client().v1.setup_intents.create(
        {"customer": holder.stripe_id, "payment_method": token, "confirm": True, "allowed_payment_method_types": ["card"]}
    )
    card = holders.keep_card(holder, stripe_client.read_card(str(setup.payment_method)))
    assert card is not None
    return card


def wait_until(is_true: Callable[[], bool], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def in_threads(act: Callable[[], object], *, times: int) -> list[object]:
    """The same act at once, each with a database connection of its own."""
    barrier, results = threading.Barrier(times), []

    def run() -> None:
        try:
            barrier.wait()
            results.append(act())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
