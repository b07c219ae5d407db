"""Focus NFe: both resources, every outcome and every fault."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from invoices import focus
from invoices.channels import Cancelled, Exists, Issued, Later, Missing, Outcome, Pending, Rejected, Uncertain
from invoices.distribution import check_focus_notes, check_note
from invoices.dps.nfse import read_nfse
from invoices.dps.schema import check_schema
from invoices.errors import Incomplete, NoCertificate
from invoices.exchanges import Answer
from invoices.focus import Focus, invoice_reference, reference_of, resource_of, store_token
from invoices.models import Invoice, Issuer
from invoices.opening import open_channel
from tests.invoices.cast import make_issuer
from tests.invoices.notes import make_document, sign_cancel
from tests.invoices.rawserver import answer, read_request, serve
from tests.invoices.tax_office import TaxOffice

pytestmark = pytest.mark.django_db
TOKEN = "focus-sandbox"


@pytest.fixture
def issuer(tax_office: TaxOffice) -> Issuer:
    tax_office.post("__settings", focus_ms=20, focus_rate=10_000)
    issuer = make_issuer(channel=Issuer.Channel.FOCUS)
    store_token(issuer, token=TOKEN)
    return issuer


@pytest.fixture(params=["nfsen", "nfse"])
def invoice(issuer: Issuer, request: pytest.FixtureRequest) -> Invoice:
    return make_document(issuer, focus_resource=request.param)


@pytest.fixture
def national(issuer: Issuer) -> Invoice:
    return make_document(issuer, focus_resource="nfsen")


def ended(channel: Focus, invoice: Invoice, *, ask: Callable[[Invoice], Outcome] | None = None) -> Outcome:
    """What a query tells once the work there is done."""
    for _ in range(200):
        outcome = (ask or channel.find)(invoice)
        if not isinstance(outcome, Pending):
            return outcome
        time.sleep(0.02)
    raise AssertionError("still pending")


def issued(invoice: Invoice) -> Issued:
    channel = Focus(invoice.issuer)
    assert isinstance(channel.submit(invoice), Pending)
    outcome = ended(channel, invoice)
    assert isinstance(outcome, Issued), outcome
    invoice.status, invoice.issued_at, invoice.access_key = Invoice.Status.ISSUED, outcome.issued_at, outcome.access_key
    invoice.save()
    return outcome


def docs(tax_office: TaxOffice) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tax_office.ledger()["focus"]["docs"]
    return found


# ── Issuing ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_issues_a_note_of_the_nation(tax_office: TaxOffice, national: Invoice) -> None:
    outcome = issued(national)
    assert check_schema(outcome.nfse_xml, "NFSe") == []
    nfse = read_nfse(outcome.nfse_xml)
    assert (nfse.access_key, nfse.number, nfse.amount_centavos) == (outcome.access_key, outcome.nfse_number, 15_000)
    assert (nfse.dps_id, nfse.taker_tax_id) == (national.dps_id, "45997418000153")
    assert [note["access_key"] for note in tax_office.notes()] == [outcome.access_key]
    assert json.loads(outcome.heard.body)["status"] == "autorizado"


def test_it_issues_a_note_of_a_city(tax_office: TaxOffice, issuer: Issuer) -> None:
    invoice = make_document(issuer, focus_resource="nfse")
    outcome = issued(invoice)
    assert (outcome.access_key, outcome.nfse_number) == ("", "1")
    assert outcome.verification_code
    assert b"abrasf" in outcome.nfse_xml
    assert tax_office.notes() == []  # none of Sefin's


def test_it_says_each_thing_by_the_name_it_has_there(tax_office: TaxOffice, national: Invoice) -> None:
    """The DPS that Focus makes of our JSON is the one that we would have sent."""
    outcome = issued(national)
    body = json.loads(bytes(national.dps_xml or b""))
    told = read_nfse(outcome.nfse_xml)
    assert body["valor_servico"] == "150.00"
    assert body["codigo_tributacao_nacional_iss"] == "010301"
    assert body["numero_dps"] == national.number
    assert b"<cIndOp>100301</cIndOp>" in outcome.nfse_xml
    assert b"<pTotTribFed>13.45</pTotTribFed>" in outcome.nfse_xml
    assert told.description == body["descricao_servico"]


@pytest.mark.parametrize("fault", ["lost", {"kind": "timeout", "ms": 3_000}, "garbage", "half"])
def test_it_is_uncertain_where_the_answer_was_lost_and_finds_the_note(
    tax_office: TaxOffice, invoice: Invoice, settings: Settings, fault: object
) -> None:
    settings.SEFIN_TIMEOUT_SECONDS = 0.8
    tax_office.script("focus_submit", fault)
    channel = Focus(invoice.issuer)
    assert isinstance(channel.submit(invoice), Uncertain)
    assert isinstance(ended(channel, invoice), Issued)
    assert len(docs(tax_office)) == 1


def test_it_makes_no_second_note_of_a_ref(tax_office: TaxOffice, invoice: Invoice) -> None:
    tax_office.post("__settings", focus_ms=300)
    channel = Focus(invoice.issuer)
    assert isinstance(channel.submit(invoice), Pending)
    assert isinstance(channel.submit(invoice), Exists)  # em_processamento
    first = ended(channel, invoice)
    assert isinstance(channel.submit(invoice), Exists)  # already_processed
    assert isinstance(first, Issued)
    assert len(docs(tax_office)) == 1


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "429", "retry_after": 9}, Later), ("503", Later), ("500", Uncertain), ("502", Uncertain),
        ({"kind": "reject", "status": 400, "code": "empresa_nao_habilitada", "text": "Empresa não habilitada"}, Rejected),
        ({"kind": "reject", "status": 422, "code": "erro_validacao", "text": "Já existe um DPS com esta referência."}, Exists),
        ({"kind": "reject", "status": 422, "code": "erro_validacao", "text": "CNPJ do tomador inválido"}, Rejected),
        ({"kind": "reject", "status": 403, "code": "permissao_negada", "text": "Bloqueada"}, Rejected),
    ],
)  # fmt: skip
def test_it_hears_each_refusal(tax_office: TaxOffice, national: Invoice, fault: object, outcome: type) -> None:
    tax_office.script("focus_submit", fault)
    heard = Focus(national.issuer).submit(national)
    assert isinstance(heard, outcome), heard
    if isinstance(heard, Later) and heard.heard.status_code == 429:
        assert heard.seconds == 9.0
    assert docs(tax_office) == []
    issued(national)


def test_it_hears_why_a_note_is_refused_and_sends_it_again(tax_office: TaxOffice, national: Invoice) -> None:
    tax_office.script("focus_submit", {"kind": "erro_autorizacao", "code": "E0235", "text": "Endereço do tomador obrigatório."})
    channel = Focus(national.issuer)
    assert isinstance(channel.submit(national), Pending)
    refused = ended(channel, national)
    assert isinstance(refused, Rejected)
    assert [(message.code, message.text) for message in refused.messages] == [("E0235", "Endereço do tomador obrigatório.")]
    issued(national)  # the same ref


def test_it_says_what_to_do_about_a_token(tax_office: TaxOffice, national: Invoice) -> None:
    store_token(national.issuer, token="someone-elses")
    channel = Focus(national.issuer)
    refused = channel.submit(national)
    assert isinstance(refused, Rejected)
    assert refused.messages[0].code == "FOCUS_TOKEN"
    assert "token" in refused.messages[0].text
    assert isinstance(channel.find(national), Uncertain)  # what it hides is not known
    assert isinstance(channel.find_cancel(national), Uncertain)


@pytest.mark.parametrize(
    ("fault", "outcome"), [("429", Later), ("503", Later), ("500", Uncertain), ("lost", Uncertain), ("half", Uncertain)]
)
def test_it_concludes_nothing_from_a_question_without_answer(
    tax_office: TaxOffice, national: Invoice, fault: str, outcome: type
) -> None:
    issued(national)
    for ask in (Focus(national.issuer).find, Focus(national.issuer).find_cancel):
        tax_office.script("focus_find", fault)
        assert isinstance(ask(national), outcome)


def test_it_knows_no_note_that_was_never_sent(invoice: Invoice) -> None:
    assert isinstance(Focus(invoice.issuer).find(invoice), Missing)


# ── Cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_cancels_a_note_once(invoice: Invoice) -> None:
    issued(invoice)
    channel = Focus(invoice.issuer)
    assert isinstance(channel.find_cancel(invoice), Missing)
    invoice.cancel_xml = sign_cancel(invoice)
    assert isinstance(channel.cancel(invoice), Cancelled)
    assert isinstance(channel.cancel(invoice), Exists)
    assert isinstance(channel.find_cancel(invoice), Cancelled)
    assert isinstance(channel.find(invoice), Uncertain)  # issued, and not any more: for a person


@pytest.mark.parametrize("fault", ["lost", "half", "garbage"])
def test_it_is_uncertain_of_a_cancellation_and_finds_it(tax_office: TaxOffice, invoice: Invoice, fault: str) -> None:
    issued(invoice)
    invoice.cancel_reason = "Valor informado incorretamente"  # without a body of its own it tells the reason
    tax_office.script("focus_cancel", fault)
    channel = Focus(invoice.issuer)
    assert isinstance(channel.cancel(invoice), Uncertain)
    assert isinstance(channel.find_cancel(invoice), Cancelled)


def test_it_hears_that_the_time_to_cancel_is_over(tax_office: TaxOffice, national: Invoice) -> None:
    issued(national)
    national.cancel_xml = sign_cancel(national)
    tax_office.post("__city/3106200", cancel_days=1)
    tax_office.post("__settings", offset_seconds=3 * 86_400)
    outcome = Focus(national.issuer).cancel(national)
    assert isinstance(outcome, Rejected)
    assert outcome.messages[0].code == "E0822"
    assert isinstance(Focus(national.issuer).find_cancel(national), Missing)


def test_it_hears_that_a_note_can_not_be_cancelled(tax_office: TaxOffice, national: Invoice) -> None:
    national.cancel_xml = sign_cancel(national)
    unknown = Focus(national.issuer).cancel(national)
    assert isinstance(unknown, Rejected)
    assert unknown.messages[0].code == "nao_encontrado"
    tax_office.script("focus_cancel", {"kind": "reject", "status": 400, "code": "nfe_nao_autorizada", "text": "Não autorizada"})
    assert isinstance(Focus(national.issuer).cancel(national), Rejected)


def test_it_notes_a_cancellation_in_their_panel(tax_office: TaxOffice, invoice: Invoice) -> None:
    issued(invoice)
    invoice.refresh_from_db()
    assert not check_note(invoice.pk)
    invoice.cancel_reason = "Cancelada no painel da Focus"
    assert isinstance(Focus(invoice.issuer).cancel(invoice), Cancelled)  # behind our back
    assert check_note(invoice.pk)
    invoice.refresh_from_db()
    assert invoice.status == Invoice.Status.CANCELLED
    assert not check_note(invoice.pk)


def test_it_asks_each_night_what_was_cancelled_in_their_panel(tax_office: TaxOffice, issuer: Issuer) -> None:
    notes = [make_document(issuer, focus_resource="nfsen") for _ in range(3)]
    for invoice in notes:
        issued(invoice)
    assert check_focus_notes(seconds=30) == 0
    notes[1].cancel_reason = "Cancelada no painel da Focus"
    assert isinstance(Focus(issuer).cancel(notes[1]), Cancelled)
    assert check_focus_notes(seconds=30) == 1
    for invoice in notes:
        invoice.refresh_from_db()
    assert [invoice.status for invoice in notes] == ["issued", "cancelled", "issued"]


# ── Answers that are not what they say ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ({"status": "processando_autorizacao"}, Pending),
        ({"status": "autorizado"}, Pending),  # its XML is not there yet
        ({"status": "autorizado", "caminho_xml_nota_fiscal": "https://example.com/nota.xml"}, Pending),  # nobody's business
        ({"status": "negado"}, Rejected),
        ({"status": "cancelado"}, Uncertain),
        ({"status": "autorizado", "ref": "outra"}, Uncertain),
        ({"status": "novo"}, Uncertain),
        ({}, Uncertain),
    ],
)
def test_it_believes_no_more_than_is_said(national: Invoice, told: dict[str, str], outcome: type) -> None:
    channel = Focus(national.issuer)
    assert isinstance(channel._read_status(national, Answer(200, json.dumps(told).encode(), told, None)), outcome)


def test_it_believes_no_note_of_another_amount(tax_office: TaxOffice, national: Invoice) -> None:
    issued(national)
    for changes in ({"amount_centavos": 15_001}, {"environment": "1"}):
        other = Invoice(**{**{field.attname: getattr(national, field.attname) for field in Invoice._meta.fields}, **changes})
        assert isinstance(Focus(national.issuer).find(other), Uncertain)


def test_it_sends_its_token_to_focus_alone(national: Invoice, settings: Settings) -> None:
    heard: list[bytes] = []

    def hear(connection: Any) -> None:
        heard.append(read_request(connection))
        connection.sendall(
            b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: https://example.com/x.xml\r\nconnection: close\r\n\r\n"
        )

    with serve(hear) as url:
        settings.FOCUS_URL = url
        assert Focus(national.issuer)._read_file(national, "/arquivos/x.xml") == b""
    assert len(heard) == 1
    assert b"authorization: basic" in heard[0].lower()
    with serve(answer(b"<x/>")) as url:
        settings.FOCUS_URL = "https://api.focusnfe.com.br"
        assert Focus(national.issuer)._read_file(national, f"{url}/x.xml") == b""
    is_theirs = Focus(national.issuer)._is_theirs
    base = "https://api.focusnfe.com.br"
    assert is_theirs("https://focusnfe.s3.sa-east-1.amazonaws.com/a.xml", base=base)
    assert is_theirs("https://api.focusnfe.com.br/a.xml", base=base)
    for url in (
        "http://focusnfe.s3.sa-east-1.amazonaws.com/a", "https://focusnfe.com.br.example.com/a", "https://evil-focusnfe.com.br/a",
        "https://focusnfe.s3.amazonaws.com:8443/a", "https://169.254.169.254/latest", "file:///etc/passwd",
    ):  # fmt: skip
        assert not is_theirs(url, base=base), url


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("reference", "ref"),
    [
        ("month:12:2026-11:1", "monthC12C2026H11C1"),
        ("month:1:22026-11:1", "monthC1C22026H11C1"),
        ("topup:9f3c:1", "topupC9f3cC1"),
        ("A:é", "Z000041CZ0000e9"),
    ],
)
def test_it_names_a_note_by_its_reference(reference: str, ref: str) -> None:
    invoice = Invoice(reference=reference)
    assert reference_of(invoice) == ref
    assert ref.isalnum()
    assert ref.isascii()
    assert invoice_reference(ref) == reference


def test_it_knows_the_official_hosts() -> None:
    assert focus.HOSTS == {"1": "https://api.focusnfe.com.br", "2": "https://homologacao.focusnfe.com.br"}


def test_it_asks_where_the_document_was_born(issuer: Issuer, settings: Settings) -> None:
    settings.FOCUS_URL = ""
    channel = open_channel(issuer, channel="focus")
    assert isinstance(channel, Focus)
    assert channel._base(Invoice(environment="1")) == "https://api.focusnfe.com.br"
    assert channel._base(Invoice(environment="2")) == "https://homologacao.focusnfe.com.br"


def test_it_needs_a_token(issuer: Issuer) -> None:
    for token in ("", "curto", "with:colon-in-it", "com espaço dentro"):
        with pytest.raises(Incomplete):
            store_token(issuer, token=token)
    store_token(issuer, token="  9f8e7d6c5b4a3210  ")
    assert b"9f8e7d6c" not in bytes(issuer.focus_token or b"")
    issuer.focus_token = b"not a seal"
    with pytest.raises(NoCertificate):
        Focus(issuer)
    issuer.focus_token = None
    with pytest.raises(NoCertificate):
        Focus(issuer)


def test_it_chooses_the_resource_by_the_city(tax_office: TaxOffice, issuer: Issuer) -> None:
    assert resource_of(issuer) == "nfse"  # without a certificate nobody can be asked
    issuer = make_issuer(pfx=tax_office.pfx(), channel=Issuer.Channel.FOCUS, is_active=False)
    assert resource_of(issuer) == "nfsen"
    issuer.city_code = "3550308"
    assert resource_of(issuer) == "nfse"
