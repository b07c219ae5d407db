"""The second channel, all the way: what is slow there is asked for, what was lost is found, a reference makes one note."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest

from invoices import issuing
from invoices.focus import store_token
from invoices.models import Invoice, Issuer
from tests.invoices.cast import make_invoice, make_issuer
from tests.invoices.tax_office import TaxOffice
from tokia import clock

pytestmark = pytest.mark.django_db
Status = Invoice.Status
WHY = "Serviço faturado para o tomador errado"


@pytest.fixture
def issuer(db: None, tax_office: TaxOffice) -> Issuer:
    tax_office.post("__settings", focus_ms=30, focus_rate=10_000)
    issuer = make_issuer(channel=Issuer.Channel.FOCUS, city_code="3550308", municipal_registration="12345678")
    store_token(issuer, token="focus-sandbox")
    return issuer


def docs(tax_office: TaxOffice) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tax_office.ledger()["focus"]["docs"]
    return found


def ended(invoice: Invoice, *, meanwhile: tuple[str, ...]) -> Invoice:
    """The invoice once it is in none of these statuses, its steps taken as they fall due."""
    for _ in range(50):
        time.sleep(0.05)
        Invoice.everywhere.filter(pk=invoice.pk).update(due_at=clock.now() - dt.timedelta(seconds=1))
        invoice = issuing.issue(invoice, only_if_due=True)
        if invoice.status not in meanwhile:
            return invoice
    raise AssertionError(f"still {invoice.status}: {invoice.problem}")


def test_it_issues_and_cancels_in_a_city_with_its_own_emitter(issuer: Issuer, tax_office: TaxOffice) -> None:
    invoice = issuing.issue(make_invoice())
    assert (invoice.status, invoice.focus_resource, invoice.channel) == (Status.SENDING, "nfse", "focus"), invoice.problem
    invoice = ended(invoice, meanwhile=(Status.SENDING,))
    assert invoice.status == Status.ISSUED, invoice.problem
    assert invoice.nfse_number
    issuing.cancel(invoice, code="9", reason=WHY, by="ana")
    issuing.issue(invoice)
    invoice = ended(invoice, meanwhile=(Status.CANCEL_PENDING,))
    assert invoice.status == Status.CANCELLED
    [doc] = docs(tax_office)
    assert doc["status"] == "cancelado"


def test_a_lost_answer_is_found_by_its_reference(issuer: Issuer, tax_office: TaxOffice) -> None:
    tax_office.script("focus_submit", "lost")
    invoice = issuing.issue(make_invoice())
    assert invoice.status == Status.UNCERTAIN
    invoice = ended(invoice, meanwhile=(Status.UNCERTAIN, Status.SENDING))
    assert invoice.status == Status.ISSUED, invoice.problem
    assert len(docs(tax_office)) == 1


def test_it_is_repaired_and_goes_on_with_its_reference_and_number(issuer: Issuer, tax_office: TaxOffice) -> None:
    tax_office.script("focus_submit", "erro_autorizacao")
    invoice = issuing.issue(make_invoice())
    if invoice.status == Status.SENDING:
        invoice = ended(invoice, meanwhile=(Status.SENDING,))
    assert invoice.status == Status.REJECTED
    issuing.reissue(invoice, by="ana")
    issuing.issue(invoice)
    invoice = ended(invoice, meanwhile=(Status.SENDING, Status.UNCERTAIN))
    assert (invoice.status, invoice.number) == (Status.ISSUED, 1), invoice.problem
    assert [doc["status"] for doc in docs(tax_office)][-1] == "autorizado"


def test_without_a_token_its_queue_waits(issuer: Issuer, tax_office: TaxOffice) -> None:
    Issuer.objects.update(focus_token=None)
    invoice = issuing.issue(make_invoice())
    assert (invoice.status, invoice.problem_code) == (Status.SIGNED, "CERTIFICATE")
    store_token(issuer, token="focus-sandbox")
    issuing.issue(invoice, only_if_due=True)
    assert ended(invoice, meanwhile=(Status.SENDING,)).status == Status.ISSUED
