"""The issuer's A1: what comes in, how it lies here, what it opens, and who hears that it ends."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from django.core import mail
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from invoices import certificates
from invoices.certificates import A1, load, store_certificate, tls_context, watch
from invoices.errors import Incomplete, NoCertificate
from invoices.models import Certificate, Issuer
from tests.invoices.pki import NOW, authority, key_of, make_a1, make_server, pfx_of
from tokia import clock, sealing

PASSWORD = "senha-do-a1"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh() -> None:
    certificates._opened.cache_clear()


def _issuer(**fields: Any) -> Issuer:
    told = {"name": "Tokia Serviços Digitais Ltda.", "tax_id": "11222333000181", "city_code": "3106200", **fields}
    return Issuer.objects.create(**told)


def _store(issuer: Issuer, *, pfx: bytes | None = None, password: str = PASSWORD, **fields: Any) -> Certificate:
    return store_certificate(issuer=issuer, pfx=pfx or pfx_of(*make_a1(**fields)), password=password, by="ana@tokia.com.br")


# ── In ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_keeps_an_a1_sealed_and_opens_it_again() -> None:
    issuer = _issuer()
    key, certificate = make_a1()
    pfx = pfx_of(key, certificate)
    row = _store(issuer, pfx=pfx)
    assert row.tax_id == "11222333000181" and row.subject == "TOKIA SERVICOS DIGITAIS LTDA:11222333000181"
    assert row.ends_at == certificate.not_valid_after_utc and row.uploaded_by == "ana@tokia.com.br" and row.is_active
    row.refresh_from_db()
    assert pfx not in bytes(row.pfx) and PASSWORD.encode() not in bytes(row.password)
    assert sealing.decrypt(bytes(row.password)) == PASSWORD
    a1 = load(issuer)
    assert a1.certificate == certificate and a1.key.private_numbers() == key.private_numbers()
    assert a1.chain == (authority().certificate,) and a1.ends_at == row.ends_at


def test_it_keeps_one_row_of_one_certificate() -> None:
    issuer = _issuer()
    pfx = pfx_of(*make_a1())
    first = _store(issuer, pfx=pfx)
    Certificate.objects.filter(pk=first.pk).update(is_active=False)
    assert _store(issuer, pfx=pfx).pk == first.pk and Certificate.objects.get().is_active


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"tax_id": "45997418000153"}, "45.997.418/0001-53"),
        ({"ends_at": NOW - dt.timedelta(days=1)}, "venceu em"),
        ({"der": b""}, "não traz um CNPJ"),
        ({"der": b"\x0c\x0d1122233300018"}, "não traz um CNPJ"),
        ({"may_connect": False}, "não serve"),
        ({"may_sign": False}, "não serve"),
        ({"is_authority": True}, "não serve"),
    ],
)
def test_it_says_why_a_certificate_can_not_be_used(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Incomplete, match=words) as refusal:
        _store(_issuer(), **fields)
    assert (refusal.value.problem_code, refusal.value.param) == ("CERTIFICATE", "pfx") and not Certificate.objects.exists()


@pytest.mark.parametrize("tag", [b"\x04", b"\x0c", b"\x13", b"\x16"])
def test_it_finds_the_cnpj_in_whatever_text_authorities_put_it(tag: bytes) -> None:
    issuer = _issuer(tax_id="12ABC34501DE35")
    assert _store(issuer, der=tag + b"\x0e12abc34501de35").tax_id == "12ABC34501DE35"


def test_it_takes_a_branchs_certificate_for_the_same_root() -> None:
    assert _store(_issuer(), tax_id="11222333000262").tax_id == "11222333000262"


@pytest.mark.parametrize("password", ["errada", ""])
def test_it_says_that_the_password_is_wrong(password: str) -> None:
    with pytest.raises(Incomplete, match="senha") as refusal:
        _store(_issuer(), password=password)
    assert refusal.value.param == "password" and PASSWORD not in str(refusal.value)


@pytest.mark.parametrize(
    "pfx",
    [
        b"", b"nada", b"\x30\x82" + b"x" * 300, pfx_of(*make_a1())[:-40], b"x" * 300_000, pfx_of(key_of("a1"), None),
        pfx_of(None, make_a1()[1]),
    ],
    ids=["empty", "text", "der", "cut", "large", "no-certificate", "no-key"],
)  # fmt: skip
def test_it_refuses_what_is_no_a1(pfx: bytes) -> None:
    with pytest.raises(Incomplete) as refusal:
        store_certificate(issuer=_issuer(), pfx=pfx, password=PASSWORD, by="ana")
    assert refusal.value.problem_code == "CERTIFICATE" and refusal.value.message.endswith(".")


def test_it_refuses_a_key_that_can_not_sign_for_the_tax_office(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: tuple[Any, ...] = (ec.generate_private_key(ec.SECP256R1()), make_a1()[1], [])
    monkeypatch.setattr(pkcs12, "load_key_and_certificates", lambda *_: loaded)
    with pytest.raises(Incomplete, match="chave"):
        _store(_issuer())


def test_it_opens_a_file_without_a_password() -> None:
    assert _store(_issuer(), pfx=pfx_of(*make_a1(), password=""), password="").pk


def test_it_never_logs_the_file_or_the_password(caplog: pytest.LogCaptureFixture) -> None:
    issuer = _issuer()
    with caplog.at_level(logging.DEBUG):
        _store(issuer)
        with pytest.raises(Incomplete):
            _store(issuer, password="outra-senha")
        a1 = load(issuer)
    assert PASSWORD not in caplog.text and "outra-senha" not in caplog.text
    assert "PRIVATE" not in repr(a1) and repr(a1).startswith("<invoices.certificates.A1 object")


# ── Out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_signs_with_the_one_that_ends_last_of_those_valid_today() -> None:
    issuer = _issuer()
    _store(issuer, ends_at=NOW + dt.timedelta(days=20))
    last = _store(issuer, ends_at=NOW + dt.timedelta(days=200))
    off = _store(issuer, ends_at=NOW + dt.timedelta(days=300))
    Certificate.objects.filter(pk=off.pk).update(is_active=False)
    _store(issuer, starts_at=NOW + dt.timedelta(days=5), ends_at=NOW + dt.timedelta(days=400))
    assert f"{load(issuer).certificate.serial_number:x}" == last.serial_number
    clock.shift(6 * 86_400)
    try:
        assert load(issuer).ends_at == NOW + dt.timedelta(days=400)
        clock.shift(500 * 86_400)
        with pytest.raises(NoCertificate):
            load(issuer)
    finally:
        clock.shift(0)


def test_it_has_none_of_another_issuer() -> None:
    _store(_issuer())
    with pytest.raises(NoCertificate):
        load(_issuer(is_active=False, tax_id="45997418000153"))


def test_it_does_not_open_without_the_key_it_was_sealed_with(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    issuer = _issuer()
    _store(issuer)
    load(issuer)
    from cryptography.fernet import Fernet

    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(NoCertificate):
        load(issuer)
    assert [record.message for record in caplog.records if record.levelname == "CRITICAL"] == ["a certificate can't be opened"]


def test_it_opens_a_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = _issuer()
    _store(issuer)
    opened: list[int] = []
    really = certificates._open
    monkeypatch.setattr(certificates, "_open", lambda *given: opened.append(1) or really(*given))  # type: ignore[func-returns-value]
    assert load(issuer) is load(issuer) and len(opened) == 1


def _a1() -> A1:
    key, certificate = make_a1()
    return A1(key=key, certificate=certificate, chain=(authority().certificate,), ends_at=certificate.not_valid_after_utc)


def test_it_shows_the_certificate_and_speaks_http_1_1_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (ca := tmp_path / "ca.pem").write_bytes(authority().pem)
    key, certificate = make_server()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    (own := tmp_path / "server.pem").write_bytes(pem)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    server.load_cert_chain(own)
    server.verify_mode = ssl.CERT_REQUIRED
    server.set_alpn_protocols(["h2", "http/1.1"])
    a1 = _a1()
    context = tls_context(a1, ca_file=str(ca))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "server.pem"]
    seen: dict[str, object] = {}

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, server.wrap_socket(connection, server_side=True) as wrapped:
            seen["alpn"], seen["peer"] = wrapped.selected_alpn_protocol(), wrapped.getpeercert(binary_form=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        with socket.create_connection(listener.getsockname()) as raw, context.wrap_socket(raw, server_hostname="localhost"):
            thread.join(10)
    assert seen == {"alpn": "http/1.1", "peer": a1.certificate.public_bytes(Encoding.DER)}
    assert context.verify_mode == ssl.CERT_REQUIRED and context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_it_writes_the_key_for_us_alone_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[tuple[int, bytes]] = []

    def look(self: ssl.SSLContext, path: str, password: str) -> None:
        seen.append((Path(path).stat().st_mode & 0o777, Path(path).read_bytes()))
        raise ssl.SSLError("a chain that can't be loaded")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look)
    with pytest.raises(ssl.SSLError):
        tls_context(_a1(), ca_file="")
    assert seen[0][0] == 0o600 and b"BEGIN ENCRYPTED PRIVATE KEY" in seen[0][1] and not list(tmp_path.iterdir())


# ── Watch ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _staff() -> list[User]:
    User.objects.create_user("cliente@acme.com.br", "x")
    User.objects.create_user("saiu@tokia.com.br", "x", is_staff=True, is_active=False)
    return [
        User.objects.create_user("ana@tokia.com.br", "x", is_staff=True),
        User.objects.create_superuser("root@tokia.com.br", "x"),
    ]


def test_it_warns_at_thirty_fifteen_and_five_days_and_at_the_end_once_each(caplog: pytest.LogCaptureFixture) -> None:
    _staff()
    row = _store(_issuer(), ends_at=NOW + dt.timedelta(days=60))
    told: list[str] = []
    for days in (31, 30, 29, 16, 15, 14, 6, 5, 4, 1, 0, -1, -2):
        for _ in range(2):
            watch(row.ends_at - dt.timedelta(days=days))
        told += sorted({str(message.subject) for message in mail.outbox})
        assert len(mail.outbox) in (0, 2)
        mail.outbox.clear()
    assert told == [
        "Tokia: o certificado A1 vence em 30 dias", "Tokia: o certificado A1 vence em 15 dias",
        "Tokia: o certificado A1 vence em 5 dias", "Tokia: o certificado A1 venceu; nenhuma nota é emitida",
    ]  # fmt: skip
    assert [record.levelname for record in caplog.records if record.msg == "an issuer's certificate ends"] == ["CRITICAL"] * 4


def test_it_tells_our_own_people_and_nobody_else_what_to_do() -> None:
    staff = _staff()
    row = _store(_issuer(), ends_at=NOW + dt.timedelta(days=10))
    assert watch(NOW) == 1
    assert [message.to for message in mail.outbox] == [[user.email] for user in staff]
    message: Any = mail.outbox[0]
    ends_at = row.ends_at.astimezone(clock.SAO_PAULO)
    html = message.alternatives[0].content
    for text in (message.body, html):
        assert "vence em 10 dias" in text and f"{ends_at:%d/%m/%Y}, às {ends_at:%H:%M}" in text and "11.222.333/0001-81" in text
        assert reverse("admin:invoices_certificate_send") in text and row.serial_number in text
        assert "eça a renovação do e-CNPJ A1" in text and "  " not in text
    assert len({message.extra_headers["Message-ID"] for message in mail.outbox}) == 2


def test_it_tells_what_happens_once_it_is_over() -> None:
    _staff()
    row = _store(_issuer(), ends_at=NOW + dt.timedelta(days=1))
    watch(row.ends_at + dt.timedelta(hours=1))
    message: Any = mail.outbox[0]
    for text in (message.body, message.alternatives[0].content):
        assert "venceu em" in text and "esperam na fila" in text and "enove o e-CNPJ" in text


def test_it_says_no_more_of_one_that_has_a_successor_nor_of_an_issuer_that_is_off() -> None:
    _staff()
    issuer = _issuer()
    _store(issuer, ends_at=NOW + dt.timedelta(days=3))
    _store(issuer, ends_at=NOW + dt.timedelta(days=360))
    _store(_issuer(is_active=False, tax_id="45997418000153"), tax_id="45997418000153", ends_at=NOW + dt.timedelta(days=3))
    assert watch(NOW) == 0 and not mail.outbox


def test_it_tells_again_where_no_mail_went_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _staff()
    row = _store(_issuer(), ends_at=NOW + dt.timedelta(days=3))
    send, refused = mail.EmailMultiAlternatives.send, {"ana@tokia.com.br", "root@tokia.com.br"}

    def refuse(message: mail.EmailMultiAlternatives) -> int:
        if message.to[0] in refused:
            raise ConnectionRefusedError("smtp")
        return send(message)

    monkeypatch.setattr(mail.EmailMultiAlternatives, "send", refuse)
    with pytest.raises(OSError):
        watch(NOW)
    row.refresh_from_db()
    assert row.warned_days is None
    refused.remove("root@tokia.com.br")
    assert watch(NOW) == 1 and watch(NOW) == 0 and [message.to for message in mail.outbox] == [["root@tokia.com.br"]]
