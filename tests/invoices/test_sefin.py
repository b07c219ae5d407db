"""Sefin Nacional over real TLS: every outcome, every fault, both dialects."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from pytest_django import Settings

from invoices import sefin
from invoices.channels import Cancelled, Exists, Issued, Later, Message, Missing, Rejected, Uncertain
from invoices.dps.packing import pack, unpack
from invoices.dps.schema import check_schema
from invoices.exchanges import Answer
from invoices.models import Invoice, Issuer
from invoices.opening import open_channel
from invoices.sefin import Sefin
from tests.invoices.cast import make_issuer
from tests.invoices.notes import make_document, sign_cancel, sign_document
from tests.invoices.tax_office import TaxOffice
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def issuer(tax_office: TaxOffice) -> Issuer:
    return make_issuer(pfx=tax_office.pfx())


@pytest.fixture
def invoice(issuer: Issuer) -> Invoice:
    return make_document(issuer)


def issued(invoice: Invoice) -> Issued:
    outcome = Sefin(invoice.issuer).submit(invoice)
    assert isinstance(outcome, Issued), outcome
    invoice.access_key = outcome.access_key
    invoice.status, invoice.issued_at = Invoice.Status.ISSUED, outcome.issued_at
    invoice.save()
    return outcome


def test_it_issues_a_note(tax_office: TaxOffice, invoice: Invoice) -> None:
    outcome = issued(invoice)
    assert check_schema(outcome.nfse_xml, "NFSe") == []
    (note,) = tax_office.notes()
    assert (note["access_key"], str(note["number"])) == (outcome.access_key, outcome.nfse_number)
    assert abs(outcome.issued_at - clock.now()) < dt.timedelta(minutes=2)
    assert outcome.heard.status_code == 201
    told = json.loads(outcome.heard.body)  # verbatim
    assert unpack(told["nfseXmlGZipB64"], bytes_max=100_000) == outcome.nfse_xml
    assert outcome.alerts == ()


def test_it_keeps_the_alerts_of_a_note(tax_office: TaxOffice, invoice: Invoice) -> None:
    tax_office.post("__settings", alerts=[{"codigo": "A0001", "descricao": "Sem o grupo IBSCBS."}])
    assert issued(invoice).alerts == (Message("A0001", "Sem o grupo IBSCBS."),)


def test_it_finds_a_note_by_its_dps(tax_office: TaxOffice, invoice: Invoice) -> None:
    channel = open_channel(invoice.issuer, channel="sefin")
    assert isinstance(channel.find(invoice), Missing)
    first = issued(invoice)
    found = channel.find(invoice)
    assert isinstance(found, Issued)
    assert (found.access_key, found.nfse_xml, found.nfse_number) == (first.access_key, first.nfse_xml, first.nfse_number)


@pytest.mark.parametrize("dialect", ["swagger", "capitalised", "object", "array", "list"])
def test_it_hears_why_a_note_is_rejected(tax_office: TaxOffice, invoice: Invoice, dialect: str) -> None:
    tax_office.post("__settings", dialect=dialect)
    invoice.organization.address |= {"city": "São Paulo", "state": "SP"}
    invoice.issuer.city_code = invoice.city_code = "3550308"  # keeps its own emitter
    invoice.dps_id = invoice.dps_id.replace("3106200", "3550308")
    invoice.dps_xml = sign_document(invoice)
    outcome = Sefin(invoice.issuer).submit(invoice)
    assert isinstance(outcome, Rejected), outcome
    assert "E0039" in [message.code for message in outcome.messages]
    assert all(message.text for message in outcome.messages)
    assert outcome.heard.status_code == 400
    assert tax_office.notes() == []


@pytest.mark.parametrize("dialect", ["swagger", "list"])
def test_it_hears_that_a_note_exists(tax_office: TaxOffice, invoice: Invoice, dialect: str) -> None:
    tax_office.post("__settings", dialect=dialect)
    first = issued(invoice)
    channel = Sefin(invoice.issuer)
    assert isinstance(channel.submit(invoice), Exists)
    found = channel.find(invoice)
    assert isinstance(found, Issued)
    assert found.access_key == first.access_key
    assert len(tax_office.notes()) == 1


@pytest.mark.parametrize("fault", ["lost", {"kind": "timeout", "ms": 3_000}, "half", "garbage"])
def test_it_is_uncertain_where_the_answer_was_lost_and_finds_the_note(
    tax_office: TaxOffice, invoice: Invoice, settings: Settings, fault: object
) -> None:
    settings.SEFIN_TIMEOUT_SECONDS = 1.0
    tax_office.script("emit", fault)
    channel = Sefin(invoice.issuer)
    outcome = channel.submit(invoice)
    assert isinstance(outcome, Uncertain), outcome
    assert outcome.heard.text
    assert len(tax_office.notes()) == 1  # it was made
    found = channel.find(invoice)
    assert isinstance(found, Issued)
    assert found.access_key == tax_office.notes()[0]["access_key"]


@pytest.mark.parametrize("fault", [{"kind": "timeout_before", "ms": 3_000}, "500", "502"])
def test_it_is_uncertain_where_nothing_is_told_and_finds_no_note(
    tax_office: TaxOffice, invoice: Invoice, settings: Settings, fault: object
) -> None:
    settings.SEFIN_TIMEOUT_SECONDS = 0.5
    tax_office.script("emit", fault)
    channel = Sefin(invoice.issuer)
    assert isinstance(channel.submit(invoice), Uncertain)
    assert isinstance(channel.find(invoice), Missing)
    settings.SEFIN_TIMEOUT_SECONDS = 5.0
    issued(invoice)  # the same bytes
    assert len(tax_office.notes()) == 1


def test_it_comes_later_where_it_is_told_to(tax_office: TaxOffice, invoice: Invoice) -> None:
    tax_office.script("emit", {"kind": "429", "retry_after": 7}, "503")
    channel = Sefin(invoice.issuer)
    first, second = channel.submit(invoice), channel.submit(invoice)
    assert isinstance(first, Later)
    assert (first.seconds, first.heard.status_code) == (7.0, 429)
    assert isinstance(second, Later)
    assert (second.seconds, second.heard.status_code) == (None, 503)
    assert tax_office.notes() == []


def test_it_comes_later_where_it_can_not_connect(tax_office: TaxOffice, invoice: Invoice, settings: Settings) -> None:
    channel = Sefin(invoice.issuer)
    tax_office.script("connect", "refuse")
    refused = channel.submit(invoice)
    assert isinstance(refused, Later)
    assert refused.heard.status_code is None
    settings.SEFIN_URL = "https://127.0.0.1:1/SefinNacional"
    assert isinstance(channel.submit(invoice), Later)
    assert isinstance(channel.find(invoice), Later)
    assert tax_office.notes() == []


@pytest.mark.parametrize(
    ("operation", "fault", "outcome"),
    [
        ("find", "429", Later), ("find", "503", Later), ("find", "500", Uncertain), ("find", "lost", Uncertain),
        ("find", "garbage", Uncertain), ("find", {"kind": "reject", "code": "E0404", "status": 403}, Uncertain),
        ("read", "429", Later), ("read", "502", Uncertain), ("read", "half", Uncertain), ("read", "garbage", Uncertain),
        ("read", {"kind": "reject", "code": "E2000", "status": 404}, Uncertain),
    ],
)  # fmt: skip
def test_it_concludes_nothing_from_a_question_without_answer(
    tax_office: TaxOffice, invoice: Invoice, operation: str, fault: object, outcome: type
) -> None:
    issued(invoice)
    tax_office.script(operation, fault)
    assert isinstance(Sefin(invoice.issuer).find(invoice), outcome)


# ── Cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_cancels_a_note_once(tax_office: TaxOffice, invoice: Invoice) -> None:
    issued(invoice)
    channel = Sefin(invoice.issuer)
    assert isinstance(channel.find_cancel(invoice), Missing)
    invoice.cancel_xml = sign_cancel(invoice)
    done = channel.cancel(invoice)
    assert isinstance(done, Cancelled), done
    assert check_schema(done.event_xml, "evento") == []
    assert isinstance(channel.cancel(invoice), Exists)  # E0840
    found = channel.find_cancel(invoice)
    assert isinstance(found, Cancelled)
    assert found.event_xml == done.event_xml


@pytest.mark.parametrize("fault", ["lost", {"kind": "timeout", "ms": 3_000}, "half", "garbage"])
def test_it_is_uncertain_of_a_cancellation_and_finds_it(
    tax_office: TaxOffice, invoice: Invoice, settings: Settings, fault: object
) -> None:
    issued(invoice)
    invoice.cancel_xml = sign_cancel(invoice)
    settings.SEFIN_TIMEOUT_SECONDS = 1.0
    tax_office.script("cancel", fault)
    channel = Sefin(invoice.issuer)
    assert isinstance(channel.cancel(invoice), Uncertain)
    assert isinstance(channel.find_cancel(invoice), Cancelled)


@pytest.mark.parametrize(("fault", "outcome"), [("429", Later), ("503", Later), ("500", Uncertain)])
def test_it_cancels_later(tax_office: TaxOffice, invoice: Invoice, fault: str, outcome: type) -> None:
    issued(invoice)
    invoice.cancel_xml = sign_cancel(invoice)
    tax_office.script("cancel", fault)
    channel = Sefin(invoice.issuer)
    assert isinstance(channel.cancel(invoice), outcome)
    assert isinstance(channel.cancel(invoice), Cancelled)


def test_it_hears_that_the_time_to_cancel_is_over(tax_office: TaxOffice, invoice: Invoice) -> None:
    issued(invoice)
    invoice.cancel_xml = sign_cancel(invoice)
    tax_office.script("cancel", {"kind": "reject", "code": "E0822", "text": "O prazo para cancelamento da NFS-e expirou."})
    outcome = Sefin(invoice.issuer).cancel(invoice)
    assert isinstance(outcome, Rejected)
    assert outcome.messages[0].code == "E0822"


def test_it_finds_a_cancellation_made_elsewhere(tax_office: TaxOffice, invoice: Invoice) -> None:
    issued(invoice)
    tax_office.post(f"__cancel/{invoice.access_key}")
    assert isinstance(Sefin(invoice.issuer).find_cancel(invoice), Cancelled)


@pytest.mark.parametrize(("fault", "outcome"), [("503", Later), ("500", Uncertain), ("garbage", Uncertain), ("lost", Uncertain)])
def test_it_concludes_nothing_from_a_question_about_events(
    tax_office: TaxOffice, invoice: Invoice, fault: str, outcome: type
) -> None:
    issued(invoice)
    tax_office.post(f"__cancel/{invoice.access_key}")
    tax_office.script("read_event", fault)
    assert isinstance(Sefin(invoice.issuer).find_cancel(invoice), outcome)


def test_it_knows_a_note_that_was_replaced(tax_office: TaxOffice, invoice: Invoice) -> None:
    old = issued(invoice)
    new = make_document(
        invoice.issuer, organization=invoice.organization, replaces=invoice, amount_centavos=14_000, cancel_code="99",
        cancel_reason="Correção do valor da fatura",
    )  # fmt: skip
    issued(new)
    found = Sefin(invoice.issuer).find_cancel(invoice)
    assert isinstance(found, Cancelled)
    assert b"105102" in found.event_xml
    assert old.access_key.encode() in found.event_xml


# ── Answers that contradict themselves ───────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def proof(invoice: Invoice) -> tuple[Invoice, dict[str, str]]:
    return invoice, json.loads(issued(invoice).heard.body)


def read(invoice: Invoice, told: dict[str, str], *, access_key: str = "") -> Issued | Uncertain:
    answer = Answer(201, json.dumps(told).encode(), told, None)
    return sefin._read_note(invoice, answer, access_key=access_key)


def test_it_believes_no_answer_that_contradicts_itself(proof: tuple[Invoice, dict[str, str]]) -> None:
    invoice, told = proof
    xml = unpack(told["nfseXmlGZipB64"], bytes_max=100_000)
    other_key = invoice.access_key[:-2] + ("19" if invoice.access_key[-2:] != "19" else "28")
    assert isinstance(read(invoice, told), Issued)
    for change in (
        {"chaveAcesso": ""},
        {"chaveAcesso": other_key},  # its check digit does not hold
        {"idDps": "DPS310620021122233300018100001000000000099999"},
        {"nfseXmlGZipB64": "não é base64"},
        {"nfseXmlGZipB64": pack(b"<NFSe/>")},
        {"nfseXmlGZipB64": pack(xml.replace(b"<nNFSe>", b"<nNFSe>x"))},
        {"nfseXmlGZipB64": pack(xml.replace(invoice.dps_id.encode(), invoice.dps_id[:-1].encode() + b"9"))},
        {"nfseXmlGZipB64": pack(xml + b" " * 3_000_000)},
        {"nfseXmlGZipB64": pack(b'<!DOCTYPE a [<!ENTITY b "c">]>' + xml.partition(b"?>")[2])},
    ):
        outcome = read(invoice, told | change)
        assert isinstance(outcome, Uncertain), change
        assert outcome.heard.text.endswith(".") or ":" in outcome.heard.text
    assert isinstance(read(invoice, told, access_key="1" * 50), Uncertain)  # a query asked for another


@pytest.mark.parametrize(
    ("status", "found", "outcome"),
    [
        (400, {"erros": [{"codigo": "E0235", "descricao": "Endereço"}]}, Rejected),
        (403, {"Erros": [{"Codigo": "E1200", "Descricao": "Certificado"}]}, Rejected),
        (400, {"erros": [{"codigo": "E0001"}, {"Codigo": "e0014"}]}, Exists),
        (400, {"erros": []}, Uncertain),
        (403, None, Uncertain),
        (404, None, Uncertain),
        (408, {"erros": [{"codigo": "E1"}]}, Uncertain),
        (429, {"erros": [{"codigo": "E1"}]}, Later),
        (503, {"erros": [{"codigo": "E1"}]}, Later),
        (500, {"erros": [{"codigo": "E0235", "descricao": "Endereço"}]}, Uncertain),
        (504, None, Uncertain),
        (302, None, Uncertain),
    ],
)
def test_it_takes_only_a_message_for_a_refusal(status: int, found: object, outcome: type) -> None:
    assert isinstance(sefin._read_refusal(Answer(status, b"", found, None), exists="E0014"), outcome)


def test_it_takes_no_page_of_a_proxy_for_a_missing_note() -> None:
    assert sefin._is_missing(Answer(404, b"", None, None))
    assert sefin._is_missing(Answer(404, b"{}", {}, None))
    assert not sefin._is_missing(Answer(404, b"<html>", None, None))
