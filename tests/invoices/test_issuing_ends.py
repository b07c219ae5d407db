"""How a note ends: cancelled here or elsewhere, refused, replaced; and one that a person issued by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from billing.models import Event
from invoices import distribution, issuing
from invoices.dps.nfse import read_nfse
from invoices.errors import Incomplete, NotNow
from invoices.models import Invoice, InvoiceEvent, InvoiceLine, InvoicePolicy, Issuer
from tests.invoices.cast import CENTAVO, make_invoice, make_issuer, make_taker
from tests.invoices.tax_office import TaxOffice
from tokia import clock

pytestmark = pytest.mark.django_db
Status, Kind = Invoice.Status, InvoiceEvent.Kind
WHY = "Serviço faturado para o tomador errado"
PDF = b"%PDF-1.7 of the city's own site"


@pytest.fixture
def issuer(db: None, tax_office: TaxOffice) -> Issuer:
    return make_issuer(pfx=tax_office.pfx())


@pytest.fixture
def issued(issuer: Issuer, tax_office: TaxOffice) -> Invoice:
    invoice = issuing.issue(make_invoice())
    assert invoice.status == Status.ISSUED, invoice.problem
    return invoice


def later(invoice: Invoice) -> Invoice:
    Invoice.everywhere.filter(pk=invoice.pk).update(due_at=clock.now() - dt.timedelta(seconds=1))
    return issuing.issue(invoice, only_if_due=True)


def kinds(invoice: Invoice) -> list[str]:
    return list(InvoiceEvent.everywhere.filter(invoice=invoice).values_list("kind", flat=True))


def live(invoice: Invoice) -> list[bool]:
    return list(InvoiceLine.everywhere.filter(invoice=invoice).values_list("is_live", flat=True))


def statuses(tax_office: TaxOffice) -> list[str]:
    return [note["status"] for note in tax_office.notes()]


def cancel(invoice: Invoice, **fields: Any) -> Invoice:
    return issuing.cancel(invoice, **{"code": "1", "reason": WHY, "by": "ana", **fields})


# ── Cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_cancels_a_note_once_however_often_it_is_asked(issued: Invoice, tax_office: TaxOffice) -> None:
    assert cancel(issued).status == Status.CANCEL_PENDING
    assert cancel(issued).status == Status.CANCEL_PENDING
    invoice = issuing.issue(issued)
    assert cancel(issued).status == Status.CANCELLED
    assert (invoice.status, invoice.due_at, live(invoice)) == (Status.CANCELLED, None, [False])
    assert b"e101101" in bytes(invoice.cancel_xml or b"")
    ledger = tax_office.ledger()
    assert ([note["status"] for note in ledger["notes"]], len(ledger["events"])) == (["cancelled"], 1)
    assert Event.everywhere.filter(type="invoice.cancelled").count() == 1


@pytest.mark.parametrize("fault", ["lost", "500", "503"])
def test_it_asks_before_it_cancels_again(issued: Invoice, tax_office: TaxOffice, fault: str) -> None:
    tax_office.script("cancel", fault)
    cancel(issued)
    invoice = issuing.issue(issued)
    assert invoice.status == Status.CANCEL_PENDING
    signed = bytes(invoice.cancel_xml or b"")
    asked = InvoiceEvent.everywhere.filter(invoice=invoice).count()
    invoice = later(invoice)
    assert (invoice.status, statuses(tax_office)) == (Status.CANCELLED, ["cancelled"])
    assert kinds(invoice)[asked] == "query"
    assert signed.startswith(b"<?xml")
    assert len(tax_office.ledger()["events"]) == 1


def test_it_learns_that_a_note_was_cancelled_elsewhere_when_it_cancels(issued: Invoice, tax_office: TaxOffice) -> None:
    """E0840: cancelled already."""
    tax_office.post(f"__cancel/{issued.access_key}", code="2", reason="Serviço não prestado ao tomador")
    cancel(issued)
    invoice = issuing.issue(issued)
    assert invoice.status == Status.CANCELLED
    assert "Serviço não prestado ao tomador".encode() in bytes(invoice.cancel_xml or b"")
    assert len(tax_office.ledger()["events"]) == 1


def test_it_learns_from_the_distribution_that_a_note_was_cancelled_elsewhere(
    issuer: Issuer, issued: Invoice, tax_office: TaxOffice
) -> None:
    tax_office.post(f"__cancel/{issued.access_key}", code="2", reason="Serviço não prestado ao tomador")
    distribution.read_new(issuer)
    distribution.read_new(issuer)
    issued.refresh_from_db()
    assert (issued.status, live(issued)) == (Status.CANCELLED, [False])
    event = InvoiceEvent.everywhere.get(invoice=issued, kind=Kind.REMOTE)
    assert b"e101101" in bytes(event.body or b"")
    assert Event.everywhere.filter(type="invoice.cancelled").count() == 1


def test_it_tells_the_way_out_when_the_time_to_cancel_is_over(issued: Invoice, tax_office: TaxOffice) -> None:
    tax_office.post("__city/3106200", cancel_days=0)
    tax_office.post("__settings", offset_seconds=86_400 * 3)
    cancel(issued)
    invoice = issuing.issue(issued)
    assert (invoice.status, invoice.problem_code, invoice.due_at) == (Status.ISSUED, "CANCEL", None)
    assert "Substitua-a" in invoice.problem
    assert (live(invoice), invoice.cancel_xml, statuses(tax_office)) == ([True], None, ["issued"])
    tax_office.post("__settings", offset_seconds=0)
    new = issuing.issue(issuing.replace(invoice, code="99", reason=WHY, by="ana"))
    assert new.status == Status.ISSUED, new.problem
    assert statuses(tax_office) == ["replaced", "issued"]


def test_it_refuses_to_cancel_without_a_reason_or_what_is_no_note(issuer: Issuer, issued: Invoice) -> None:
    with pytest.raises(Incomplete):
        cancel(issued, reason="curto")
    with pytest.raises(Incomplete):
        cancel(issued, code="7")
    with pytest.raises(NotNow):
        cancel(make_invoice(organization=make_taker(tax_id="45997418000153")))


# ── Replacing ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_replacement_takes_the_facts_over_in_one_moment(issued: Invoice, tax_office: TaxOffice) -> None:
    new = issuing.replace(issued, code="05", reason=WHY, by="ana")
    assert issuing.replace(issued, code="05", reason=WHY, by="ana").pk == new.pk
    assert (live(issued), live(new)) == ([True], [False])
    with pytest.raises(NotNow):
        cancel(issued)
    new = issuing.issue(new)
    issued.refresh_from_db()
    assert (new.status, issued.status) == (Status.ISSUED, Status.REPLACED), new.problem
    assert (live(issued), live(new)) == ([False], [True])
    assert (issued.cancel_code, issued.cancel_reason, new.cancel_reason) == ("05", WHY, "")
    old_note, new_note = tax_office.notes()
    assert (old_note["status"], new_note["status"], new_note["replaces"]) == ("replaced", "issued", issued.access_key)
    assert read_nfse(bytes(new.nfse_xml or b"")).replaces == issued.access_key


def test_a_replacement_whose_answer_was_lost_changes_over_when_it_is_found(
    issuer: Issuer, issued: Invoice, tax_office: TaxOffice
) -> None:
    tax_office.script("emit", "lost")
    new = issuing.issue(issuing.replace(issued, code="05", reason=WHY, by="ana"))
    assert (new.status, live(issued), live(new)) == (Status.UNCERTAIN, [True], [False])
    distribution.read_new(issuer)  # it tells that the old one was replaced before our answer comes
    issued.refresh_from_db()
    assert issued.status == Status.ISSUED
    new = later(new)
    issued.refresh_from_db()
    assert (new.status, issued.status, live(issued), live(new)) == (Status.ISSUED, Status.REPLACED, [False], [True])


def test_a_replacement_that_is_refused_leaves_the_old_note(issued: Invoice, tax_office: TaxOffice) -> None:
    tax_office.script("emit", {"kind": "reject", "code": "E0050", "text": "Prazo de substituição encerrado."})
    new = issuing.issue(issuing.replace(issued, code="05", reason=WHY, by="ana"))
    assert new.status == Status.REJECTED
    issuing.discard(new, by="ana")
    issued.refresh_from_db()
    assert (issued.status, live(issued)) == (Status.ISSUED, [True])
    again = issuing.replace(issued, code="05", reason=WHY, by="ana")
    assert again.reference.endswith(":3")
    assert issuing.issue(again).status == Status.ISSUED


def test_a_replacement_tells_less_after_a_part_of_a_top_up_went_back(issued: Invoice, tax_office: TaxOffice) -> None:
    new = issuing.issue(issuing.replace(issued, code="99", reason=WHY, by="ana", amount_centavos=2_345))
    assert (new.status, InvoiceLine.everywhere.get(invoice=new).amount_nanos) == (Status.ISSUED, 2_345 * CENTAVO)
    assert tax_office.notes()[1]["amount"] == "23.45"
    for amount in (0, 9_999_999):
        with pytest.raises(Incomplete):
            issuing.replace(new, code="99", reason=WHY, by="ana", amount_centavos=amount)
    Invoice.everywhere.filter(pk=new.pk).update(policy=InvoicePolicy.Kind.MONTHLY)
    with pytest.raises(Incomplete):
        issuing.replace(new, code="99", reason=WHY, by="ana", amount_centavos=1)


# ── By hand ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_manual_channel_waits_for_the_document_and_takes_it(issuer: Issuer, tax_office: TaxOffice) -> None:
    Issuer.objects.update(channel=Issuer.Channel.MANUAL)
    invoice = issuing.issue(make_invoice())
    assert (invoice.status, invoice.problem_code, invoice.due_at, invoice.number) == (Status.DRAFT, "MANUAL", None, None)
    for wrong in ({}, {"number": "7"}, {"number": "7", "pdf": b"<html>"}, {"nfse_xml": b"<nfe/>"}):
        with pytest.raises(Incomplete):
            issuing.upload(invoice, by="ana", **wrong)
    invoice = issuing.upload(invoice, by="ana", number="2026/77", pdf=PDF)
    assert (invoice.status, invoice.nfse_number, invoice.channel, invoice.delivery) == (Status.ISSUED, "2026/77", "manual", "due")
    assert invoice.problem_code == ""
    assert tax_office.notes() == []
    assert cancel(invoice).status == Status.CANCELLED  # at the city's site, by hand, too


def test_an_uploaded_xml_must_be_of_this_amount_and_taker(issued: Invoice, tax_office: TaxOffice) -> None:
    xml = bytes(issued.nfse_xml or b"")
    other = make_invoice(centavos=100)
    with pytest.raises(Incomplete, match="valor"):
        issuing.upload(other, by="ana", nfse_xml=xml)
    stranger = make_invoice(organization=make_taker(tax_id="45997418000153"))
    with pytest.raises(Incomplete, match="tomador"):
        issuing.upload(stranger, by="ana", nfse_xml=xml)
    with pytest.raises(Incomplete, match="já está em outra"):
        issuing.upload(make_invoice(), by="ana", nfse_xml=xml)


def test_an_invoice_in_doubt_takes_only_the_xml_of_its_own_dps(issued: Invoice, tax_office: TaxOffice) -> None:
    xml = bytes(issued.nfse_xml or b"")
    Invoice.everywhere.filter(pk=issued.pk).update(status=Status.UNCERTAIN, access_key="", issued_at=None)
    with pytest.raises(NotNow):
        issuing.upload(issued, by="ana", number="7", pdf=PDF)
    invoice = issuing.upload(issued, by="ana", nfse_xml=xml)
    assert (invoice.status, invoice.access_key, invoice.channel) == (Status.ISSUED, tax_office.notes()[0]["access_key"], "sefin")
