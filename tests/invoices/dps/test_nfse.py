"""What comes back is read to the letter, or refused."""

from __future__ import annotations

import datetime as dt

import pytest

from invoices.dps.build import build_cancel, build_dps
from invoices.dps.ids import cancel_id, check_digit
from invoices.dps.nfse import read_event, read_nfse
from invoices.dps.schema import check_schema
from invoices.dps.sign import sign
from tests.invoices.dps.cases import CASES, CNPJ, ISSUED_AT, REPLACED_KEY
from tests.invoices.dps.notes import key_of_note, make_event, make_nfse
from tests.invoices.pki import make_a1

SIGNER = make_a1()
ID = "DPS310620021122233300018100001000000000000007"
KEY = key_of_note()


def _note(name: str = "normal-letters-monthly", **fields: str) -> bytes:
    dps = sign(build_dps(CASES[name]), reference=ID, key=SIGNER[0], certificate=SIGNER[1], method="rsa-sha256-exc")
    return make_nfse(dps, signer=SIGNER, **fields)  # type: ignore[arg-type]


def test_it_reads_a_note() -> None:
    note = read_nfse(_note())
    assert (note.access_key, note.number, note.dps_id, note.environment) == (KEY, "42", ID, "2")
    assert note.issued_at == dt.datetime(2026, 12, 1, 12, 35, 1, tzinfo=dt.UTC) and note.competence_on == dt.date(2026, 11, 30)
    assert (note.issuer_tax_id, note.taker_tax_id, note.taker_name) == (CNPJ, "12ABC34501DE35", "Ação Cliente <SA>")
    assert (note.amount_centavos, note.net_centavos, note.iss_centavos) == (123_456, 123_456, 3_086)
    assert note.city_code == "3106200" and note.replaces == "" and note.description.startswith("Processamento de dados")


def test_it_reads_a_person_and_what_a_note_replaces() -> None:
    assert read_nfse(_note("normal-cpf-monthly")).taker_tax_id == "52998224725"
    assert read_nfse(_note("normal-replaces")).replaces == REPLACED_KEY


def test_it_reads_whole_reais() -> None:
    assert read_nfse(_note(net="1200")).net_centavos == 120_000


@pytest.mark.parametrize(
    "old, new",
    [
        (f"NFS{KEY}".encode(), f"NFS{KEY[:49]}{(int(KEY[49]) + 1) % 10}".encode()),
        (f'Id="NFS{KEY}"'.encode(), b""),
        (b"<nNFSe>42</nNFSe>", b""),
        (b"<vLiq>1234.56", b"<vLiq>1234.5"),
        (b"<vLiq>1234.56", b"<vLiq>-1.00"),
        (b"<vLiq>1234.56", b"<vLiq>1e3"),
        (b"2026-12-01T09:35:01-03:00", b"2026-12-01T09:35:01"),
        (b"<dCompet>2026-11-30", b"<dCompet>30/11/2026"),
        (b"<DPS ", b"<Outro "),
        (b"<NFSe ", b"<NFE "),
        (b"http://www.sped.fazenda.gov.br/nfse", b"http://example.com/nfse"),
        (b'<?xml version="1.0" encoding="UTF-8"?>', b'<!DOCTYPE NFSe [<!ENTITY a "aaaa">]>'),
        (b"</NFSe>", b""),
        (b"</NFSe>", b"<infNFSe/></NFSe>"),
        (b"<nNFSe>", b"<!--" + b"x" * 2_000_000 + b"--><nNFSe>"),
    ],
)
def test_it_refuses_what_is_no_note(old: bytes, new: bytes) -> None:
    note = _note()
    assert old in note
    with pytest.raises(ValueError):
        read_nfse(note.replace(old, new))


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"\x1f\x8b\x08",
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><NFSe>&a;</NFSe>',
        b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 50 + b'">' + b'<!ENTITY b "' + b"&a;" * 50 + b'">]><NFSe>&b;</NFSe>',
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><NFSe/>',
        b"<a>" * 100_000,
    ],
    ids=["empty", "gzip", "file", "laughs", "remote", "deep"],
)
def test_it_takes_no_harm_from_hostile_xml(xml: bytes) -> None:
    with pytest.raises(ValueError):
        read_nfse(xml)
    with pytest.raises(ValueError):
        read_event(xml)


def _cancel(reason: str = "Valor informado incorretamente") -> bytes:
    request = build_cancel(access_key=KEY, tax_id=CNPJ, environment="2", code="1", reason=reason, at=ISSUED_AT)
    return sign(request, reference=cancel_id(KEY), key=SIGNER[0], certificate=SIGNER[1], method="rsa-sha256-exc")


def test_it_reads_a_cancellation() -> None:
    xml = make_event(_cancel(), signer=SIGNER, access_key=KEY)
    event = read_event(xml)
    assert check_schema(xml, "evento") == []
    assert (event.id, event.kind, event.access_key, event.code) == (f"EVT{KEY}101101001", "101101", KEY, "1")
    assert event.reason == "Valor informado incorretamente" and event.is_cancelling and event.replaced_by == ""
    assert event.happened_at == dt.datetime(2026, 12, 2, 13, 0, tzinfo=dt.UTC)


def test_it_reads_that_another_note_took_its_place() -> None:
    body = (
        b"<e105102><xDesc>Cancelamento de NFS-e por Substitui\xc3\xa7\xc3\xa3o</xDesc><cMotivo>99</cMotivo><chSubstituta>"
        + REPLACED_KEY.encode()
        + b"</chSubstituta></e105102>"
    )
    request = _cancel()
    start, end = request.index(b"<e101101>"), request.index(b"</e101101>") + len(b"</e101101>")
    event = read_event(make_event(request[:start] + body + request[end:], signer=SIGNER, access_key=KEY, kind="105102"))
    assert event.is_cancelling and (event.kind, event.replaced_by, event.code) == ("105102", REPLACED_KEY, "99")


def test_it_knows_an_event_that_cancels_nothing() -> None:
    request = _cancel().replace(b"e101101>", b"e202201>")
    assert not read_event(make_event(request, signer=SIGNER, access_key=KEY, kind="202201")).is_cancelling


@pytest.mark.parametrize(
    "old, new",
    [
        (f"EVT{KEY}101101".encode(), f"EVT{KEY}105102".encode()),
        (f"<chNFSe>{KEY}".encode(), f"<chNFSe>{KEY[:48]}0{check_digit(KEY[:48] + '0')}".encode()),
        (b"<e101101>", b"<e101101/><e101101>"),
        (b"e101101>", b"outro>"),
        (b"infPedReg ", b"outro "),
        (b"<evento ", b"<eventos "),
    ],
)
def test_it_refuses_what_is_no_event_of_that_note(old: bytes, new: bytes) -> None:
    xml = make_event(_cancel(), signer=SIGNER, access_key=KEY)
    assert old in xml
    with pytest.raises(ValueError):
        read_event(xml.replace(old, new))
