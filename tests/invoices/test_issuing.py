"""An invoice's way to its note, against the tax office's own books: whatever is lost on the way, one note and one number."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from billing.models import Event
from invoices import exchanges, issuing, queue
from invoices.building import dps_of
from invoices.certificates import store_certificate
from invoices.errors import NotNow
from invoices.models import Certificate, DpsSeries, Invoice, InvoiceEvent, InvoiceLine, Issuer
from invoices.states import ClaimLost, claim, held, move
from tests.invoices.cast import ADDRESS, PFX_PASSWORD, make_invoice, make_issuer, make_taker
from tests.invoices.tax_office import TaxOffice
from tokia import clock

pytestmark = pytest.mark.django_db
Status, Kind = Invoice.Status, InvoiceEvent.Kind


@pytest.fixture
def issuer(db: None, tax_office: TaxOffice) -> Iterator[Issuer]:
    yield make_issuer(pfx=tax_office.pfx())
    clock.shift(0)


def later(invoice: Invoice) -> Invoice:
    """The invoice after its next step, when that is due."""
    Invoice.everywhere.filter(pk=invoice.pk).update(due_at=clock.now() - dt.timedelta(seconds=1))
    return issuing.issue(invoice, only_if_due=True)


def kinds(invoice: Invoice) -> list[str]:
    return list(InvoiceEvent.everywhere.filter(invoice=invoice).values_list("kind", flat=True))


def check_one_note(invoice: Invoice, tax_office: TaxOffice) -> None:
    """The row and the tax office say the same: one note, and the one number that was ever taken."""
    [note] = tax_office.notes()
    invoice.refresh_from_db()
    assert invoice.status == Status.ISSUED, invoice.problem
    assert (invoice.access_key, invoice.dps_id, invoice.number) == (note["access_key"], note["dps_id"], 1)
    assert DpsSeries.objects.get().next_number == 2
    assert (invoice.due_at, invoice.claimed_until, invoice.problem_code) == (None, None, "")


def test_it_issues_a_note_of_the_amount_and_taker(issuer: Issuer, tax_office: TaxOffice) -> None:
    invoice = issuing.issue(make_invoice(centavos=12_345))
    check_one_note(invoice, tax_office)
    [note] = tax_office.notes()
    assert (note["amount"], note["taker_tax_id"]) == ("123.45", "11222333000181")
    assert (invoice.nfse_number, invoice.delivery) == (str(note["number"]), "due")
    assert invoice.terms is not None
    assert invoice.taker["city_code"] == "3550308"
    assert InvoiceEvent.everywhere.get(invoice=invoice, kind=Kind.SUBMIT).status_code == 201
    told = Event.everywhere.get(type="invoice.issued")
    assert (told.payload["amount"], told.payload["invoice_id"], told.mail_due_at) == ("123.45", invoice.pk, None)


def test_it_does_nothing_with_what_is_issued(issuer: Issuer, tax_office: TaxOffice) -> None:
    invoice = issuing.issue(make_invoice())
    before = kinds(invoice)
    issuing.issue(invoice)
    issuing.issue(invoice, only_if_due=True)
    assert (kinds(invoice), queue.issue_due()) == (before, 0)
    check_one_note(invoice, tax_office)


@pytest.mark.parametrize("fault", ["lost", {"kind": "timeout", "ms": 2500}, "half", "500", "garbage"])
def test_it_asks_before_it_sends_again_and_finds_what_was_lost(
    issuer: Issuer, tax_office: TaxOffice, fault: Any, settings: Settings
) -> None:
    settings.SEFIN_TIMEOUT_SECONDS = 0.5
    tax_office.script("emit", fault)
    invoice = issuing.issue(make_invoice())
    assert (invoice.status, invoice.number) == (Status.UNCERTAIN, 1)
    assert invoice.due_at is not None
    assert invoice.due_at > clock.now()
    issuing.issue(invoice, only_if_due=True)  # not due yet
    assert kinds(invoice) == ["submit"]
    sent = bytes(invoice.dps_xml or b"")
    invoice = later(invoice)
    if fault == "500":  # nothing came of that one: asked for, it is not there; the same bytes go once more
        assert kinds(invoice) == ["submit", "query", "submit"]
    else:
        assert kinds(invoice) == ["submit", "query"]
    assert bytes(invoice.dps_xml or b"") == sent
    check_one_note(invoice, tax_office)


def test_it_goes_on_asking_while_nobody_answers(issuer: Issuer, tax_office: TaxOffice) -> None:
    tax_office.script("emit", "lost")
    tax_office.script("find", "503", times=3)
    invoice = issuing.issue(make_invoice())
    waits = []
    for _ in range(3):
        invoice = later(invoice)
        assert invoice.status == Status.UNCERTAIN
        assert invoice.due_at is not None
        waits.append((invoice.due_at - clock.now()).total_seconds())
    assert waits == sorted(waits)  # longer each time, whatever the jitter
    assert kinds(invoice) == ["submit", "query", "query", "query"]
    check_one_note(later(invoice), tax_office)


def test_it_tells_a_person_after_hours_without_an_answer_and_goes_on(issuer: Issuer, tax_office: TaxOffice) -> None:
    tax_office.script("emit", "lost")
    tax_office.script("find", "500", times=1)
    invoice = issuing.issue(make_invoice())
    Invoice.everywhere.filter(pk=invoice.pk).update(attempts=11)
    invoice = later(invoice)
    assert (invoice.status, invoice.problem_code) == (Status.UNCERTAIN, "SILENCE")
    check_one_note(later(invoice), tax_office)


@pytest.mark.parametrize("fault", [("emit", "429"), ("emit", "503"), ("connect", "refuse")])
def test_it_comes_later_where_it_certainly_did_not_arrive(issuer: Issuer, tax_office: TaxOffice, fault: tuple[str, str]) -> None:
    invoice = make_invoice()
    first = issuing.issue(make_invoice(organization=make_taker(tax_id="45997418000153")))  # the connection and the city are known
    assert first.status == Status.ISSUED
    tax_office.script(fault[0], fault[1])
    if fault[0] == "connect":
        exchanges.close_clients()
    invoice = issuing.issue(invoice)
    if invoice.status == Status.SENDING:
        assert invoice.due_at is not None
        invoice = later(invoice)
    assert invoice.status == Status.ISSUED, invoice.problem
    assert sorted(note["dps_id"] for note in tax_office.notes()) == sorted([first.dps_id, invoice.dps_id])


def test_it_asks_for_what_exists_already(issuer: Issuer, tax_office: TaxOffice) -> None:
    """E0014: our answer was lost, and so was the memory of it: the same number is sent by hand once more."""
    invoice = issuing.issue(make_invoice())
    Invoice.everywhere.filter(pk=invoice.pk).update(status=Status.SIGNED, access_key="", issued_at=None, due_at=clock.now())
    invoice = issuing.issue(invoice)
    assert kinds(invoice)[-2:] == ["submit", "query"]
    check_one_note(invoice, tax_office)


def test_it_never_takes_a_strangers_note_for_ours(issuer: Issuer, tax_office: TaxOffice) -> None:
    """Another program numbers the same series: the number is given up for that once, and a person decides."""
    first = issuing.issue(make_invoice(centavos=100))
    Invoice.everywhere.filter(pk=first.pk).update(number=77, access_key="")  # as if it were not ours
    DpsSeries.objects.update(next_number=1)
    invoice = issuing.issue(make_invoice(centavos=999, organization=make_taker(tax_id="45997418000153")))
    assert (invoice.status, invoice.problem_code, invoice.access_key) == (Status.REJECTED, "NUMBER", "")
    issuing.reissue(invoice, by="ana")
    invoice = issuing.issue(invoice)
    assert (invoice.status, invoice.number) == (Status.ISSUED, 2)
    assert [note["amount"] for note in tax_office.notes()] == ["1.00", "9.99"]


def test_it_waits_for_the_customers_data_and_goes_on_by_itself(issuer: Issuer, tax_office: TaxOffice) -> None:
    organization = make_taker(has_address=False)
    invoice = issuing.issue(make_invoice(organization=organization))
    assert (invoice.status, invoice.problem_code, invoice.problem_field) == (Status.REJECTED, "TAKER", "taker.postal_code")
    assert (invoice.number, invoice.due_at) == (None, None)
    told = Event.everywhere.get(type="invoice.needs_data")
    assert told.payload["field"] == "taker.postal_code"
    assert "CEP" in told.payload["problem"]
    assert queue.take_up_repaired() == 0
    organization.address = ADDRESS
    organization.save()
    assert queue.take_up_repaired() == 1
    assert queue.issue_due() == 1
    check_one_note(invoice, tax_office)


def test_it_does_not_take_up_again_what_was_refused_for_the_same_data(issuer: Issuer, tax_office: TaxOffice) -> None:
    """A taker that is the issuer itself (E0202) is refused by us; the data are whole, so only a change of them helps."""
    organization = make_taker(tax_id=issuer.tax_id)
    invoice = issuing.issue(make_invoice(organization=organization))
    assert (invoice.status, invoice.problem_code) == (Status.REJECTED, "E0202")
    assert queue.take_up_repaired() == 0
    organization.tax_id = "11222333000181"
    organization.save()
    assert queue.take_up_repaired() == 1
    check_one_note(issuing.issue(invoice), tax_office)


def test_it_is_repaired_and_issued_with_the_same_number(issuer: Issuer, tax_office: TaxOffice) -> None:
    tax_office.script("emit", {"kind": "reject", "code": "E0310", "text": "Código de tributação nacional inválido."})
    invoice = issuing.issue(make_invoice())
    assert (invoice.status, invoice.problem_code, invoice.problem_field) == (Status.REJECTED, "E0310", "terms.service_code")
    assert "Código de tributação" in invoice.problem
    rejected = bytes(invoice.dps_xml or b"")
    assert queue.issue_due() == 0  # it waits for a person
    with pytest.raises(NotNow):
        issuing.reissue(make_invoice(organization=make_taker(tax_id="45997418000153")), by="ana")
    issuer.terms.update(description="Processamento de dados")
    issuing.reissue(invoice, by="ana")
    invoice = issuing.issue(invoice)
    check_one_note(invoice, tax_office)
    assert bytes(invoice.dps_xml or b"") != rejected  # built and signed anew
    assert kinds(invoice) == ["submit", "person", "submit"]


def test_an_expired_certificate_pauses_the_queue_and_a_new_one_drains_it(issuer: Issuer, tax_office: TaxOffice) -> None:
    Certificate.objects.update(ends_at=clock.now() - dt.timedelta(days=1))
    invoices = [make_invoice(organization=make_taker(tax_id=tax_id)) for tax_id in ("11222333000181", "45997418000153")]
    assert queue.issue_due() == 0
    assert [issuing.issue(invoice).problem_code for invoice in invoices] == ["CERTIFICATE"] * 2
    assert Invoice.everywhere.filter(due_at__lte=clock.now(), claimed_until=None).count() == 2  # still due
    assert tax_office.notes() == []
    store_certificate(issuer=issuer, pfx=tax_office.pfx(), password=PFX_PASSWORD, by="ana")
    assert queue.issue_due() == 2
    assert Invoice.everywhere.filter(status=Status.ISSUED, problem_code="").count() == 2
    assert sorted(note["dps_id"][-1] for note in tax_office.notes()) == ["1", "2"]


def test_it_refuses_a_city_that_does_not_issue_nationally(issuer: Issuer, tax_office: TaxOffice) -> None:
    Issuer.objects.update(city_code="3550308")
    invoice = issuing.issue(make_invoice())
    assert (invoice.status, invoice.problem_code, invoice.number) == (Status.REJECTED, "CITY", None)
    assert not Event.everywhere.filter(type="invoice.needs_data").exists()  # it is ours to repair


def test_it_rests_until_the_morning_after_many_tries_of_a_day(issuer: Issuer, tax_office: TaxOffice) -> None:
    invoice = make_invoice()
    InvoiceEvent.everywhere.bulk_create(
        InvoiceEvent(organization_id=invoice.organization_id, invoice=invoice, kind=Kind.SUBMIT, text="…") for _ in range(20)
    )
    invoice = issuing.issue(invoice)
    assert invoice.status == Status.SIGNED
    assert invoice.due_at is not None
    assert invoice.due_at.astimezone(clock.SAO_PAULO).date() == clock.today_in_brazil() + dt.timedelta(days=1)
    assert tax_office.notes() == []


def test_an_error_of_ours_stops_one_invoice_and_no_other(
    issuer: Issuer, tax_office: TaxOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = make_invoice(), make_invoice(organization=make_taker(tax_id="45997418000153"))

    def fail(invoice: Invoice) -> Any:
        if invoice.pk == bad.pk:
            raise RuntimeError("a bug")
        return dps_of(invoice)

    monkeypatch.setattr(issuing, "dps_of", fail)
    assert queue.issue_due() == 2
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.status, bad.attempts, good.status) == (Status.DRAFT, 1, Status.ISSUED)
    assert bad.due_at is not None
    assert bad.due_at > clock.now()
    monkeypatch.undo()
    assert later(bad).status == Status.ISSUED


def test_a_worker_that_comes_back_too_late_writes_nothing(issuer: Issuer) -> None:
    invoice = make_invoice()
    slow = claim(invoice.pk, only_if_due=True)
    assert slow is not None
    assert claim(invoice.pk, only_if_due=True) is None  # somebody is at it
    clock.shift(400)
    quick = claim(invoice.pk, only_if_due=True)  # its lease ran out
    assert quick is not None
    with pytest.raises(ClaimLost), held(slow):
        move(slow, Status.NUMBERED)
    with held(quick):
        move(quick, Status.DRAFT)
    with pytest.raises(NotNow):
        issuing.discard(invoice, by="ana")


def test_it_discards_what_was_never_sent_and_frees_its_facts(issuer: Issuer, tax_office: TaxOffice) -> None:
    invoice = make_invoice()
    assert issuing.discard(invoice, by="ana").status == Status.DISCARDED
    assert not InvoiceLine.everywhere.get(invoice=invoice).is_live
    issued = issuing.issue(make_invoice())
    tax_office.script("emit", "lost")
    uncertain = issuing.issue(make_invoice(organization=make_taker(tax_id="45997418000153")))
    for sent in (issued, uncertain):
        with pytest.raises(NotNow), transaction.atomic():
            issuing.discard(sent, by="ana")
