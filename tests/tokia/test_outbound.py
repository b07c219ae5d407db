"""Calls to addresses that customers chose, against real sockets on loopback: nothing of our own network is reached."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_django import Settings

from tests.receiver import Receiver, receiving
from tokia import outbound
from tokia.outbound import AddressRefused, Outgoing, check_addresses, is_public, parse_url, send, send_all

INSIDE = "não é público"
NAME = "hooks.acme.test"


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    with receiving() as found:
        settings.OUTBOUND_LOOPBACK = [found.authority]
        yield found


def lead(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """DNS answers these, one after the other; what was asked is kept."""
    asked: list[str] = []

    async def look_up(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    monkeypatch.setattr(outbound, "look_up", look_up)
    return asked


# ── Which addresses ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "192.88.99.1", "::", "::1",
        "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "fd00::1", "fc00::1", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1",
        "64:ff9b::7f00:1", "64:ff9b::808:808", "2002:7f00:1::", "2001:0:7f00:1::", "100::1", "4000::1",
    ],
)  # fmt: skip
def test_it_calls_no_address_that_is_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "200.160.2.3", "2001:12ff:0:2::3", "2606:4700::1111"])
def test_it_calls_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "0x7f.1", "0x7f000001",
        "2130706433", "017700000001", "127.1", "0", "[fd00::1]", "100.64.0.1", "0.0.0.0", "224.0.0.1", "localhost", "localhost.",
        "postgres", "db.internal", "printer.local", "a.localhost", "[fe80::1%25eth0]",
    ],
)  # fmt: skip
def test_it_refuses_an_inner_address_as_it_is_written(host: str) -> None:
    with pytest.raises(AddressRefused, match=INSIDE):
        parse_url(f"https://{host}/x")
    assert INSIDE in send(Outgoing(url=f"https://{host}/x", body=b"{}")).error


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://acme.com.br/x", "https://"), ("gopher://acme.com.br", "https://"), ("file:///etc/passwd", "não é uma URL"),
        ("https://", "não é uma URL"), ("acme.com.br/x", "não é uma URL"), ("", "não é uma URL"),
        ("https://acme.com.br:99999/", "não é uma URL"), ("https://[::1", "não é uma URL"),
        ("https://a\\b.com.br/", "não é uma URL"), ("https://a\\@b.com.br/", "usuário e senha"),
        ("https://acme.com.br/\r\nx: y", "não é uma URL"), ("https://acme .com.br/", "não é uma URL"),
        ("https://acme.com.br/" + "a" * 500, "não é uma URL"), ("https://me:pass@acme.com.br/", "usuário e senha"),
        ("https://acme.com.br:8443/", "porta 443"), ("http://acme.com.br:443/", "porta 443"),
        ("https://acme.com.br:22/", "porta 443"),
    ],
)  # fmt: skip
def test_it_refuses_what_is_no_plain_https_address(url: str, says: str) -> None:
    with pytest.raises(AddressRefused, match=says):
        parse_url(url)


def test_it_takes_http_only_in_the_sandbox(settings: Settings) -> None:
    assert parse_url("http://acme.com.br/x").port == 80
    settings.IS_PRODUCTION = True
    with pytest.raises(AddressRefused, match="https://"):
        parse_url("http://acme.com.br/x")


def test_it_knows_receivers_on_loopback_only_in_the_sandbox(settings: Settings) -> None:
    settings.OUTBOUND_LOOPBACK = ["127.0.0.1:9000"]
    assert parse_url("http://127.0.0.1:9000/x").is_receiver
    with pytest.raises(AddressRefused):
        parse_url("http://127.0.0.1:9001/x")
    settings.IS_PRODUCTION = True
    with pytest.raises(AddressRefused):
        parse_url("http://127.0.0.1:9000/x")


def test_it_reads_a_name_as_dns_knows_it() -> None:
    target = parse_url("HTTPS://Ação.COM.br./a?b=1#c")
    assert (target.host, target.path, target.authority) == ("xn--ao-siap.com.br", "/a?b=1", "xn--ao-siap.com.br")


def test_one_inner_address_among_public_ones_is_enough_to_refuse() -> None:
    target = parse_url("https://acme.com.br/")
    assert check_addresses(target, ["8.8.8.8", "2606:4700::1111", "8.8.8.8"]) == ["8.8.8.8", "2606:4700::1111"]
    for inner in ("10.0.0.1", "::1", "::ffff:10.0.0.1", "fe80::1%eth0"):
        with pytest.raises(AddressRefused):
            check_addresses(target, ["8.8.8.8", inner])
    with pytest.raises(AddressRefused, match="Não encontramos"):
        check_addresses(target, [])


# ── The look-up ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1", "100.64.0.1"]
)
def test_a_public_name_that_leads_inside_is_not_called(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    asked = lead(monkeypatch, [address])
    answer = send(Outgoing(url="https://hooks.acme.com.br/x", body=b"{}"))
    assert (answer.status, asked) == (None, ["hooks.acme.com.br"]) and INSIDE in answer.error


def test_a_name_is_looked_up_once_so_a_changed_answer_changes_nothing(
    receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOUND_LOOPBACK = [f"{NAME}:{receiver.port}"]
    asked = lead(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    assert send(Outgoing(url=f"http://{NAME}:{receiver.port}/x?y=1", body=b"{}")).is_taken
    assert asked == [NAME]
    [got] = receiver.got
    assert (got.path, got.headers["host"]) == ("/x?y=1", f"{NAME}:{receiver.port}")


def test_a_receiver_named_for_the_sandbox_must_lie_on_loopback(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OUTBOUND_LOOPBACK = [f"{NAME}:9000"]
    lead(monkeypatch, ["10.0.0.1"])
    assert INSIDE in send(Outgoing(url=f"http://{NAME}:9000/", body=b"")).error


def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(outbound, "look_up", look_up)
    assert "Não encontramos" in send(Outgoing(url="https://hooks.acme.com.br/", body=b"")).error


# ── The call ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_follows_no_redirect(receiver: Receiver) -> None:
    receiver.answers = [(302, {"location": "http://169.254.169.254/latest/meta-data"}, b"moved")]
    answer = send(Outgoing(url=receiver.url, body=b"{}"))
    assert (answer.status, answer.is_taken, answer.excerpt, len(receiver.got)) == (302, False, "moved", 1)


def test_it_does_not_use_a_proxy_of_the_environment(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert send(Outgoing(url=receiver.url, body=b"{}")).is_taken


def test_it_keeps_the_first_bytes_of_an_answer(receiver: Receiver) -> None:
    receiver.answers = [(200, {}, b"\x00\xff" + b"a" * 1_000_000)]
    answer = send(Outgoing(url=receiver.url, body=b"{}"))
    assert answer.is_taken and answer.excerpt.startswith("\ufffd\ufffdaaa") and len(answer.excerpt) == outbound.EXCERPT_BYTES


def test_it_unpacks_no_answer(receiver: Receiver) -> None:
    bomb = gzip.compress(b"a" * 5_000_000)
    receiver.answers = [(200, {"content-encoding": "gzip"}, bomb)]
    answer = send(Outgoing(url=receiver.url, body=b"{}"))
    assert answer.is_taken and "aaaa" not in answer.excerpt and len(answer.excerpt) <= outbound.EXCERPT_BYTES
    assert receiver.got[0].headers["accept-encoding"] == "identity"


def dripping(first: bytes, drop: bytes) -> tuple[int, Callable[[], None]]:
    """A server that says `first`, then `drop` every 50 ms."""
    server = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def serve() -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(65_536)
            peer.sendall(first)
            while not is_over.wait(0.05):
                try:
                    peer.sendall(drop)
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def stop() -> None:
        is_over.set()
        thread.join(5)
        server.close()

    return server.getsockname()[1], stop


def test_an_answer_that_drips_has_an_end(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.6)
    monkeypatch.setattr(outbound, "BODY_SECONDS", 0.2)
    port, stop = dripping(b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n")
    settings.OUTBOUND_LOOPBACK = [f"127.0.0.1:{port}"]
    begun = time.monotonic()
    answer = send(Outgoing(url=f"http://127.0.0.1:{port}/", body=b"{}"))
    stop()
    assert answer.status is None and "Sem resposta" in answer.error and time.monotonic() - begun < 10
    port, stop = dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"a")
    settings.OUTBOUND_LOOPBACK = [f"127.0.0.1:{port}"]
    answer = send(Outgoing(url=f"http://127.0.0.1:{port}/", body=b"{}"))
    stop()
    assert answer.is_taken and answer.excerpt.startswith("aa"), "the status has told all"


def test_what_speaks_no_http_is_told(settings: Settings) -> None:
    port, stop = dripping(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"")
    settings.OUTBOUND_LOOPBACK = [f"127.0.0.1:{port}"]
    answer = send(Outgoing(url=f"http://127.0.0.1:{port}/", body=b"{}"))
    stop()
    assert "não era HTTP" in answer.error
    assert "recusou a conexão" in send(Outgoing(url=f"http://127.0.0.1:{port}/", body=b"{}")).error


def test_many_calls_go_at_once(receiver: Receiver) -> None:
    receiver.pause_seconds = 1
    begun = time.monotonic()
    answers = send_all([Outgoing(url=f"{receiver.url}{number}", body=b"{}") for number in range(8)])
    assert all(answer.is_taken for answer in answers) and time.monotonic() - begun < 6  # one after the other: eight
    assert send_all([]) == []


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    both, authority = folder / f"{name}.pem", folder / f"{name}.ca.pem"
    authority.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ) + authority.read_bytes()
    )  # fmt: skip
    return both, authority


def test_the_certificate_is_checked_against_the_name_not_the_address(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, authority = certificate(tmp_path, NAME)
    asked_names: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    server.sni_callback = lambda _socket, name, _context: asked_names.append(name)
    monkeypatch.setattr(outbound, "_tls", lambda: ssl.create_default_context(cafile=str(authority)))
    lead(monkeypatch, ["127.0.0.1"])
    with receiving(tls=server) as receiver:
        settings.OUTBOUND_LOOPBACK = [f"{NAME}:{receiver.port}", f"other.acme.test:{receiver.port}"]
        assert send(Outgoing(url=f"https://{NAME}:{receiver.port}/x", body=b"{}")).is_taken
        refused = send(Outgoing(url=f"https://other.acme.test:{receiver.port}/x", body=b"{}"))
        assert refused.status is None and "certificado" in refused.error
        assert asked_names[0] == NAME and len(receiver.got) == 1


def test_the_look_up_is_the_systems() -> None:
    assert "127.0.0.1" in asyncio.run(outbound.look_up("localhost", 80)) or "::1" in asyncio.run(outbound.look_up("localhost", 80))
