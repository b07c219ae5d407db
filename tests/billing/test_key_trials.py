"""A key that is tried, paused, given a limit and a last day: on its pages, through a real socket, in the gateway's check."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.authentication import caller_of
from accounts.key_pauses import pause_key, resume_key
from accounts.keys import revoke_key
from accounts.models import ApiKey, AuditEvent
from billing.models import Budget
from billing.money import BRL
from gateway.callers import check_caller, read_caller
from gateway.errors import Forbidden
from tests.cast import Cast, make_cast
from tests.make import make_key, make_wallet
from tokia import clock
from tokia.manners import ApiError

pytestmark = pytest.mark.django_db
CALL_ID = "01a20051-68db-7488-b402-f4044dbfefa2"
ANSWER = {
    "id": f"chatcmpl-{CALL_ID}",
    "choices": [{"message": {"content": "<b>Olá</b>"}}],
    "usage": {"total_tokens": 15, "cost": 0.0019},
}
REFUSAL = {"error": {"message": "Saldo insuficiente.", "code": "insufficient_balance"}}


class Gateway(ThreadingHTTPServer):
    answer: tuple[int, Any] = (200, ANSWER)
    asked: list[tuple[str, dict[str, Any]]]


class Door(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.headers["Authorization"], body))
        status, told = self.server.answer
        text = told.encode() if isinstance(told, str) else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    cache.clear()
    server = Gateway(("127.0.0.1", 0), Door)
    server.asked = []
    settings.GATEWAY_URL = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def test_it_tries_a_key_once_and_shows_the_secret_nowhere(
    client: Client, cast: Cast, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, secret = make_key(organization=cast.acme, user=cast.alice)
    client.force_login(cast.alice)
    part = client.post(reverse("try_key"), {"chave": secret, "modelo": "tokia/demo"}, headers={"HX-Request": "true"})
    page = part.content.decode()
    assert "A chave funciona" in page and "&lt;b&gt;Olá" in page and "R$\u00a00,0019" in page and CALL_ID in page
    assert "<html" not in page and part["HX-Trigger"] == "saldo-mudou" and "no-store" in part["Cache-Control"]
    [(authorization, body)] = gateway.asked
    assert authorization == f"Bearer {secret}" and body["model"] == "tokia/demo" and body["max_tokens"] <= 64
    whole = client.post(reverse("try_key"), {"chave": secret, "modelo": "tokia/demo"}).content.decode()
    assert "<h1" in whole and secret not in page + whole + caplog.text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((402, REFUSAL), "falta saldo para chamar. Você não foi cobrado."),
        ((403, {"error": {"message": "Esta chave está pausada.", "code": "key_paused"}}), "/docs/erros/#key_paused"),
        ((500, {"error": "x"}), "A chamada foi recusada."),
        ((502, "<html>"), "A API não respondeu agora."),
    ],
)
def test_it_says_what_the_gateway_refused(
    client: Client, cast: Cast, gateway: Gateway, answer: tuple[int, Any], words: str
) -> None:
    gateway.answer = answer
    _, secret = make_key(organization=cast.acme, user=cast.alice)
    client.force_login(cast.alice)
    assert words in client.post(reverse("try_key"), {"chave": secret, "modelo": "m"}).content.decode()


def test_it_tries_only_ones_own_keys_and_not_for_ever(client: Client, cast: Cast, gateway: Gateway) -> None:
    _, secret = make_key(organization=cast.acme, user=cast.alice)
    for person, status in ((cast.charlie, 404), (cast.bob, 404), (cast.carol, 403)):
        client.force_login(person)
        assert client.post(reverse("try_key"), {"chave": secret}).status_code == status
    assert gateway.asked == []
    client.force_login(cast.alice)
    for _ in range(10):
        client.post(reverse("try_key"), {"chave": secret, "modelo": "m"})
    assert "São 10 requisições por minuto" in client.post(reverse("try_key"), {"chave": secret}).content.decode()
    assert len(gateway.asked) == 10


def test_a_paused_key_is_refused_by_gateway_and_api_until_it_is_resumed(client: Client, cast: Cast) -> None:
    make_wallet(organization=cast.acme)
    key, _ = make_key(organization=cast.acme, user=cast.alice, name="robô")
    client.force_login(cast.alice)
    address = reverse("pause_key", args=[key.pk])
    page = client.post(address, {"pausar": "1"}, follow=True).content.decode()
    assert "pausada. As chamadas" in page and ">Pausada<" in page and "Reativar" in page
    key.refresh_from_db()
    caller = read_caller(key.pk)
    assert caller and caller.is_paused
    with pytest.raises(Forbidden, match="pausada"):
        check_caller(caller)
    with pytest.raises(ApiError, match="pausada"):
        caller_of(key)
    page = client.post(address, {"pausar": "0"}, follow=True).content.decode()
    assert "reativada" in page and ">Ativa<" in page
    caller = read_caller(key.pk)
    assert caller and check_caller(caller) is caller
    assert sorted(AuditEvent.everywhere.filter(kind__in=("key_paused", "key_resumed")).values_list("kind", flat=True)) == [
        "key_paused", "key_resumed",
    ]  # fmt: skip
    revoke_key(key)
    assert not pause_key(key) and not resume_key(key) and key.paused_at is None
    client.force_login(cast.bob)
    assert client.post(address, {"pausar": "1"}).status_code == 404, "a developer's own keys only"


def test_a_key_has_a_limit_by_the_day_and_a_last_day(client: Client, cast: Cast) -> None:
    client.force_login(cast.alice)
    today = clock.today_in_brazil()
    for wrong in ("", str(today - dt.timedelta(days=1)), "ontem"):
        page = client.post("/app/chaves/nova/", {"name": "x", "expires_in": "data", "expires_on": wrong}).content.decode()
        assert ApiKey.everywhere.count() == 0 and 'id="id_expires_on_error"' in page, wrong
    typed = {"name": "x", "expires_in": "data", "expires_on": str(today), "spend_limit": "12,50", "limit_window": "day"}
    assert "Copie agora" in client.post("/app/chaves/nova/", typed).content.decode()
    key = ApiKey.everywhere.get()
    assert key.expires_at == dt.datetime.combine(today + dt.timedelta(days=1), dt.time(), clock.SAO_PAULO)
    budget = Budget.everywhere.get()
    assert (budget.window, budget.limit_nanos, budget.subject_id) == ("day", 12 * BRL + BRL // 2, key.pk)
