"""What happened to our notes elsewhere, read to the end of the national distribution."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from invoices import distribution, issuing
from invoices.channels import Issued
from invoices.distribution import read_new
from invoices.dps.packing import pack
from invoices.errors import NoCertificate
from invoices.exchanges import Answer
from invoices.models import Invoice, InvoiceEvent, Issuer
from invoices.sefin import Sefin
from tests.invoices.cast import make_issuer
from tests.invoices.notes import make_document, sign_cancel
from tests.invoices.tax_office import TaxOffice

pytestmark = pytest.mark.django_db
Status = Invoice.Status


@pytest.fixture
def issuer(tax_office: TaxOffice) -> Issuer:
    return make_issuer(pfx=tax_office.pfx())


def issued(issuer: Issuer) -> Invoice:
    invoice = make_document(issuer)
    outcome = Sefin(issuer).submit(invoice)
    assert isinstance(outcome, Issued), outcome
    invoice.access_key, invoice.nfse_xml, invoice.nfse_number = outcome.access_key, outcome.nfse_xml, outcome.nfse_number
    invoice.status, invoice.issued_at = Status.ISSUED, outcome.issued_at
    invoice.save()
    return invoice


def status_of(invoice: Invoice) -> str:
    return Invoice.everywhere.values_list("status", flat=True).get(pk=invoice.pk)


def last_nsu(issuer: Issuer) -> int:
    return Issuer.objects.values_list("last_nsu", flat=True).get(pk=issuer.pk)


def test_it_follows_a_cancellation_made_elsewhere(tax_office: TaxOffice, issuer: Issuer) -> None:
    gone, kept = issued(issuer), issued(issuer)
    assert read_new(issuer) == 0
    before = last_nsu(issuer)
    tax_office.post(f"__cancel/{gone.access_key}")
    assert read_new(issuer) == 1
    assert (status_of(gone), status_of(kept)) == (Status.CANCELLED, Status.ISSUED)
    assert last_nsu(issuer) > before
    assert InvoiceEvent.everywhere.filter(invoice=gone, kind=InvoiceEvent.Kind.REMOTE).count() == 1
    assert read_new(issuer) == 0  # and again nothing
    assert InvoiceEvent.everywhere.filter(invoice=gone, kind=InvoiceEvent.Kind.REMOTE).count() == 1


def test_it_reads_page_after_page(tax_office: TaxOffice, issuer: Issuer) -> None:
    tax_office.post("__settings", page_size=2)
    invoices = [issued(issuer) for _ in range(3)]
    for invoice in invoices:
        tax_office.post(f"__cancel/{invoice.access_key}")
    assert read_new(issuer) == 3
    assert {status_of(invoice) for invoice in invoices} == {Status.CANCELLED}


def test_it_goes_on_where_it_stopped(tax_office: TaxOffice, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    invoices = [issued(issuer) for _ in range(2)]
    for invoice in invoices:
        tax_office.post(f"__cancel/{invoice.access_key}")
    real = issuing.note_remote_cancel

    def fail(invoice: Invoice, *, event_xml: bytes) -> object:
        if invoice.pk == invoices[1].pk:
            raise RuntimeError("the database went away")
        return real(invoice, event_xml=event_xml)

    monkeypatch.setattr(issuing, "note_remote_cancel", fail)
    with pytest.raises(RuntimeError):
        read_new(issuer)
    assert [status_of(invoice) for invoice in invoices] == [Status.CANCELLED, Status.ISSUED]
    monkeypatch.setattr(issuing, "note_remote_cancel", real)
    assert read_new(issuer) == 1
    assert status_of(invoices[1]) == Status.CANCELLED


def test_it_forgets_nothing_when_it_reads_anew(tax_office: TaxOffice, issuer: Issuer) -> None:
    invoice = issued(issuer)
    tax_office.post(f"__cancel/{invoice.access_key}")
    read_new(issuer)
    Issuer.objects.update(last_nsu=0)
    assert read_new(issuer) == 1  # known already, and nothing comes of it
    assert status_of(invoice) == Status.CANCELLED
    assert InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.REMOTE).count() == 1


def test_it_is_not_surprised_by_what_we_did_ourselves(tax_office: TaxOffice, issuer: Issuer) -> None:
    invoice = issued(issuer)
    invoice.cancel_xml = sign_cancel(invoice)
    Sefin(issuer).cancel(invoice)
    Invoice.everywhere.filter(pk=invoice.pk).update(status=Status.CANCELLED)
    assert read_new(issuer) == 1
    assert not InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.REMOTE).exists()


def test_it_passes_by_notes_that_are_not_ours(tax_office: TaxOffice, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    invoice = issued(issuer)
    tax_office.post(f"__cancel/{invoice.access_key}")
    Invoice.everywhere.filter(pk=invoice.pk).update(access_key="")
    caplog.set_level("INFO", logger="invoices")
    assert read_new(issuer) == 0
    assert "not ours" in caplog.text
    assert last_nsu(issuer) > 0


@pytest.mark.parametrize("fault", ["503", "429", "500", "lost", "garbage"])
def test_it_reads_later_where_the_distribution_is_away(tax_office: TaxOffice, issuer: Issuer, fault: str) -> None:
    invoice = issued(issuer)
    tax_office.post(f"__cancel/{invoice.access_key}")
    tax_office.script("distribution", fault)
    assert read_new(issuer) == 0
    assert last_nsu(issuer) == 0
    assert read_new(issuer) == 1


def test_it_reads_later_where_it_can_not_connect(tax_office: TaxOffice, issuer: Issuer, settings: Settings) -> None:
    settings.ADN_URL = "https://127.0.0.1:1/contribuintes"
    assert read_new(issuer) == 0


def test_it_needs_a_certificate(tax_office: TaxOffice) -> None:
    with pytest.raises(NoCertificate):
        read_new(make_issuer())


def batch(*entries: dict[str, object]) -> Answer:
    return Answer(200, b"", {"LoteDFe": list(entries)}, None)


def test_it_keeps_other_events_once(tax_office: TaxOffice, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation asked of the city's analysis (101103) ends nothing yet."""
    invoice = issued(issuer)
    tax_office.post(f"__cancel/{invoice.access_key}")
    real = distribution._ask(issuer, after=0)[-1].xml
    asked = real.replace(b"101101", b"101103")
    told = {"NSU": 900, "TipoDocumento": "EVENTO", "ChaveAcesso": invoice.access_key, "ArquivoXml": pack(asked)}
    monkeypatch.setattr(distribution, "exchange", lambda *_, **__: batch(told))
    for _ in range(2):
        Issuer.objects.update(last_nsu=0)
        assert read_new(issuer) == 1
    (event,) = InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.REMOTE)
    assert event.text == "Cancelamento solicitado à análise da prefeitura (NSU 900)"
    assert bytes(event.body or b"") == asked
    assert status_of(invoice) == Status.ISSUED
    assert last_nsu(issuer) == 900


def test_it_passes_by_what_can_not_be_read(tax_office: TaxOffice, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        batch(
            {"NSU": 7, "TipoDocumento": "EVENTO", "ArquivoXml": "não é gzip"}, {"nsu": "8", "tipoDocumento": "evento"},
            {"NSU": 9, "TipoDocumento": "EVENTO", "ArquivoXml": pack(b"<a/>")}, {"NSU": None}, {"NSU": 10, "TipoDocumento": "CNC"},
        ),
        batch(),
    ]  # fmt: skip
    monkeypatch.setattr(distribution, "exchange", lambda *_, **__: answers.pop(0))
    assert read_new(issuer) == 0
    assert last_nsu(issuer) == 10


def test_it_does_not_read_for_ever(tax_office: TaxOffice, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "BATCHES_MAX", 3)
    count = iter(range(1, 100))
    monkeypatch.setattr(distribution, "exchange", lambda *_, **__: batch({"NSU": next(count), "TipoDocumento": "NFSE"}))
    assert read_new(issuer) == 0
    assert last_nsu(issuer) == 3
