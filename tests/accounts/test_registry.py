from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import lookups
from accounts.lookups import LookupAway
from accounts.registry import look_up_company
from tests.make import make_user
from tokia.processes import free_port

CNPJ = "11222333000181"
COMPANY = {
    "razao_social": "ACME TECNOLOGIA LTDA", "nome_fantasia": None, "descricao_situacao_cadastral": "ATIVA",
    "descricao_tipo_de_logradouro": "AVENIDA", "logradouro": "PAULISTA", "numero": "1000", "bairro": "BELA VISTA",
    "municipio": "SAO PAULO", "uf": "SP", "cep": "01310-100", "email": None,
}  # fmt: skip


class Answers(BaseHTTPRequestHandler):
    status: int = 200
    body: bytes = b"{}"
    drip_seconds: float = 0.0

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        step = 1 if self.drip_seconds else 65_536
        with contextlib.suppress(ConnectionError):  # who asked has given up
            for at in range(0, len(self.body), step):
                time.sleep(self.drip_seconds)
                self.wfile.write(self.body[at : at + step])

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def answers(settings: Settings) -> Iterator[type[Answers]]:
    class Mine(Answers): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    settings.CNPJ_URL = f"http://127.0.0.1:{server.server_port}/cnpj"
    yield Mine
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_reads_what_the_registry_knows(answers: type[Answers]) -> None:
    answers.body = json.dumps(COMPANY).encode()
    company = look_up_company(CNPJ)
    assert company is not None and company.is_active
    assert (company.name, company.trade_name) == ("ACME TECNOLOGIA LTDA", "")
    assert company.address["street"] == "AVENIDA PAULISTA" and company.address["postal_code"] == "01310100"


def test_it_tells_an_unknown_company_from_a_registry_that_is_away(answers: type[Answers], settings: Settings) -> None:
    answers.status = 404
    assert look_up_company(CNPJ) is None
    for status, body in ((500, b"{}"), (302, b""), (200, b"not json"), (200, b"[1]"), (200, b'"' + b"x" * 70_000 + b'"')):
        answers.status, answers.body = status, body
        with pytest.raises(LookupAway):
            look_up_company(CNPJ)
    settings.CNPJ_URL = f"http://127.0.0.1:{free_port()}/cnpj"
    with pytest.raises(LookupAway):
        look_up_company(CNPJ)
    settings.CNPJ_URL = ""
    with pytest.raises(LookupAway):
        look_up_company(CNPJ)


def test_it_waits_no_longer_than_its_bound(answers: type[Answers], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "SECONDS_MAX", 0.5)
    answers.body, answers.drip_seconds = json.dumps(COMPANY).encode(), 0.1
    started = time.monotonic()
    with pytest.raises(LookupAway):
        look_up_company(CNPJ)
    assert time.monotonic() - started < 10


@pytest.mark.django_db
def test_it_fills_the_form_and_never_answers_with_an_error_page(client: Client, answers: type[Answers]) -> None:
    client.force_login(make_user())
    answers.body = json.dumps(COMPANY).encode()
    page = client.get("/app/comecar/cnpj/", {"cnpj": "11.222.333/0001-81", "invoice_email": "ana@acme.com.br"}).content.decode()
    assert "ACME TECNOLOGIA LTDA" in page and "Confira." in page and "ana@acme.com.br" in page
    answers.body = json.dumps(COMPANY | {"descricao_situacao_cadastral": "BAIXADA"}).encode()
    assert "está baixada" in client.get("/app/comecar/cnpj/", {"cnpj": CNPJ}).content.decode()
    answers.status = 503
    response = client.get("/app/comecar/cnpj/", {"cnpj": CNPJ, "name": "À mão"})
    assert response.status_code == 200
    assert "Preencha à mão" in response.content.decode() and "À mão" in response.content.decode()
    assert "CNPJ inválido" in client.get("/app/comecar/cnpj/", {"cnpj": "1"}).content.decode()
