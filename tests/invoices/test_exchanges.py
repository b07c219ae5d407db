"""What certainly never arrived, what may have, and what was said in which dialect."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pytest_django import Settings

from invoices import exchanges
from invoices.channels import Message
from invoices.exchanges import Lost, Unsent, exchange, read_messages
from tests.invoices.rawserver import answer, read_request, say, serve
from tokia.sandbox.certs import ensure_certificates


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    settings.SEFIN_TIMEOUT_SECONDS = 0.5
    yield exchanges.client_of(("test",), context_of=ssl.create_default_context)
    exchanges.close_clients()


def test_it_says_that_nothing_left_where_nobody_listens(client: httpx.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unsent, match="ConnectError"):
        exchange(client, "POST", f"http://127.0.0.1:{port}/nfse", body=b"{}")


def test_it_says_that_nothing_left_where_the_server_is_not_who_it_says(client: httpx.Client, tmp_path: Path) -> None:
    ensure_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with serve(answer(b"{}"), context=context) as url, pytest.raises(Unsent, match="ConnectError"):
        exchange(client, "POST", f"{url}/nfse", body=b"{}")


def test_it_says_that_nothing_left_where_our_certificate_is_refused(client: httpx.Client, tmp_path: Path) -> None:
    """Under TLS 1.3 the refusal comes when the request is on its way: it was not read, whatever it looks like."""
    ensure_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "ca.pem")
    trusting = exchanges.client_of(("trusting",), context_of=lambda: ssl.create_default_context(cafile=str(tmp_path / "ca.pem")))
    with serve(answer(b"{}"), context=context) as url, pytest.raises(Unsent, match="certificado recusado: TLSV13_ALERT"):
        exchange(trusting, "POST", f"{url.replace('127.0.0.1', 'localhost')}/nfse", body=b"{}")


@pytest.mark.parametrize(
    "talk",
    [
        say(),  # hangs up
        say(b"HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{"),  # cut
        say(b"what is this\r\n\r\n"),
        say(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"),
    ],
)
def test_it_may_have_arrived_where_the_answer_is_not_whole(client: httpx.Client, talk: object) -> None:
    with serve(talk) as url, pytest.raises(Lost):  # type: ignore[arg-type]
        exchange(client, "POST", f"{url}/nfse", body=b"{}")


def test_it_may_have_arrived_where_nobody_answers(client: httpx.Client) -> None:
    def hang(connection: socket.socket) -> None:
        read_request(connection)
        connection.recv(1)

    with serve(hang) as url, pytest.raises(Lost, match="ReadTimeout"):
        exchange(client, "POST", f"{url}/nfse", body=b"{}", seconds=0.2)


def test_it_reads_no_answer_without_end(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "ANSWER_BYTES_MAX", 1_000)
    with serve(answer(b"x" * 1_001)) as url, pytest.raises(Lost, match="1000 bytes"):
        exchange(client, "GET", url)


def test_it_waits_for_no_answer_that_dribbles(client: httpx.Client) -> None:
    def dribble(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b" ")
            time.sleep(0.05)

    with serve(dribble) as url, pytest.raises(Lost, match="não termina"):
        exchange(client, "GET", url, seconds=0.2)


def test_it_follows_no_redirect(client: httpx.Client) -> None:
    with serve(answer(b"", status="302 Found", headers="location: http://127.0.0.1:1/\r\n")) as url:
        found = exchange(client, "GET", url)
    assert (found.status_code, found.location, found.found) == (302, "http://127.0.0.1:1/", None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("retry-after: 7\r\n", 7.0),
        ("retry-after: 999999\r\n", 3_600.0),
        ("date: Sun, 22 Nov 2026 12:00:00 GMT\r\nretry-after: Sun, 22 Nov 2026 12:01:30 GMT\r\n", 90.0),
        ("date: Sun, 22 Nov 2026 12:00:00 GMT\r\nretry-after: Sun, 22 Nov 2026 11:00:00 GMT\r\n", 0.0),
        ("retry-after: logo\r\n", None),
        ("", None),
    ],
)
def test_it_hears_how_long_to_wait(client: httpx.Client, headers: str, seconds: float | None) -> None:
    with serve(answer(b"", status="429 Too Many Requests", headers=headers)) as url:
        assert exchange(client, "GET", url).retry_seconds == seconds


def test_it_speaks_http_1_1_and_says_who_it_is(client: httpx.Client) -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    with serve(listen) as url:
        exchange(client, "POST", f"{url}/nfse", body=b'{"a":1}', auth=httpx.BasicAuth("token", ""))
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /nfse HTTP/1.1\r\n")
    assert b"content-type: application/json" in head
    assert b"authorization: basic" in head.lower()
    assert body == b'{"a":1}'


E0235 = Message("E0235", "Endereço do tomador obrigatório.", "toma/end")


@pytest.mark.parametrize(
    "found",
    [
        {"erros": [{"codigo": "E0235", "descricao": "Endereço do tomador obrigatório.", "complemento": "toma/end"}]},
        {"Erros": [{"Codigo": "E0235", "Descricao": "Endereço do tomador obrigatório.", "Complemento": "toma/end"}]},
        {"erro": {"codigo": "E0235", "descricao": "Endereço do tomador obrigatório.", "complemento": "toma/end"}},
        {"erro": [{"Codigo": "E0235", "Descricao": "Endereço do tomador obrigatório.", "Complemento": "toma/end"}]},
        [{"Codigo": "E0235", "Descricao": "Endereço do tomador obrigatório.", "Complemento": "toma/end"}],
        {"codigo": "E0235", "mensagem": "Endereço do tomador obrigatório.", "correcao": "toma/end"},
    ],
)
def test_it_hears_every_dialect(found: object) -> None:
    assert read_messages(found) == (E0235,)


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {},
        "erro",
        {"erros": []},
        {"erro": {}},
        {"erros": [{"codigo": None}]},
        {"erros": "E0235"},
        {"mensagem": "x"},
        [[1]],
    ],
)
def test_it_hears_no_message_where_there_is_none(found: object) -> None:
    assert read_messages(found) == ()
