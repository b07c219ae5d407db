"""Documents against facts: nothing is found where all is well, and each broken rule is found by its name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from billing import differences
from billing.differences import Subject
from billing.models import Difference, ReconciliationRun
from billing.money import BRL
from invoices import drafting, issuing
from invoices.models import DpsSeries, Invoice, InvoiceLine, InvoicePolicy, Issuer
from invoices.reconcile import check_documents, find_violations
from tests.invoices.cast import make_taker
from tests.invoices.months import Past, moment, month_ago
from tests.invoices.tax_office import TaxOffice
from tokia import clock

Damage = Callable[[Past], object]


@pytest.fixture
def past(issuer: Issuer, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Past]:
    """Two months that are on issued notes, with late calls, and a top-up of the months before."""
    settings.SEFIN_TIMEOUT_SECONDS = 30.0
    monkeypatch.setattr(drafting, "first_business_day", lambda month: month.replace(day=1))
    with Past(make_taker(), since=month_ago(2)) as past:
        past.top_up("100", moment(month_ago(2), 2))
        past.use(7 * BRL + 4_000_000, moment(month_ago(2)), route="maker/big")
        past.use(BRL, moment(month_ago(2)))
        past.close(month_ago(2))
        drafting.draft_due_months()
        past.use(2 * BRL + 4_000_000, moment(month_ago(2), 20), booked_at=moment(month_ago(1)))
        past.use(4 * BRL, moment(month_ago(1)))
        past.close(month_ago(1))
        drafting.draft_due_months()
        for invoice in Invoice.everywhere.order_by("pk"):
            assert issuing.issue(invoice).status == Invoice.Status.ISSUED
        yield past


def first() -> Invoice:
    found = Invoice.everywhere.order_by("pk").first()
    assert found is not None
    return found


def change(**fields: object) -> Damage:
    return lambda past: Invoice.everywhere.filter(pk=first().pk).update(**fields)


def change_line(name: str, **fields: object) -> Damage:
    return lambda past: InvoiceLine.everywhere.filter(invoice__lines__route_name=name, route_name=name).update(**fields)


def forget(past: Past) -> None:
    InvoiceLine.everywhere.all().delete()
    past.other.execute("UPDATE billing_monthclose SET closed_at = closed_at - interval '3 days'")


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a close on two notes": (
        lambda past: InvoiceLine.everywhere.filter(invoice=first(), route_name="maker/big").update(
            invoice=Invoice.everywhere.order_by("-pk")[0]
        ),
        "12 a close is on one live invoice",
    ),
    "a line asleep": (change_line("maker/big", is_live=False), "12 a line is live while its invoice is"),
    "no lines": (
        lambda past: InvoiceLine.everywhere.filter(invoice=first()).delete(), "12 an invoice tells facts, of its policy"
    ),
    "another policy": (change(policy=InvoicePolicy.Kind.TOP_UP), "12 an invoice tells facts, of its policy"),
    "another organization": (
        lambda past: InvoiceLine.everywhere.filter(invoice=first()).update(organization=make_taker(tax_id="11444777000161")),
        "12 an invoice, its lines and their facts are of one organization",
    ),
    "a line too high": (change_line("maker/big", amount_nanos=8 * BRL), "20 models on an invoice = net − promotional of the close"),
    "late too high": (change_line("", amount_nanos=3 * BRL), "20 late usage on an invoice is what its close told"),
    "an amount": (change(amount_centavos=801), "21 centavos = half-up of all nanos − centavos before, of months"),
    "an amount, against the document": (change(amount_centavos=801), "23 a document says what the row says"),
    "a number untaken": (
        lambda past: DpsSeries.objects.update(next_number=1), "22 a number was taken from its series"
    ),
    "no document": (change(nfse_xml=None), "23 what was issued has its document"),
    "no key": (change(access_key=""), "23 what was issued has its document"),
    "another's document": (
        lambda past: Invoice.everywhere.filter(pk=first().pk).update(nfse_xml=Invoice.everywhere.order_by("-pk")[0].nfse_xml),
        "23 a document says what the row says",
    ),
    "no XML at all": (change(nfse_xml=b"<x/>"), "23 a document can be read"),
    "a document too early": (change(status="rejected", issued_at=None), "23 what was not issued has none"),
    "replaced by nobody": (change(status="replaced"), "24 a replaced note has the one that replaced it"),
    "a month forgotten": (forget, "25 a closed month is invoiced"),
}  # fmt: skip


def test_nothing_is_found_where_all_is_well(past: Past, tax_office: TaxOffice) -> None:
    assert find_violations() == []
    assert [note["amount"] for note in tax_office.notes()] == ["8.00", "6.01"], "8.004 and 6.004: the residue"


def test_each_broken_rule_is_found_by_its_name(past: Past) -> None:
    invoices = list(Invoice.everywhere.order_by("pk"))
    lines = list(InvoiceLine.everywhere.order_by("pk"))
    series = DpsSeries.objects.get()
    for name, (damage, rule) in DAMAGES.items():
        damage(past)
        found = find_violations()
        assert any(violation.startswith(f"{rule}: ") for violation in found), (name, found)
        InvoiceLine.everywhere.all().delete()
        for invoice in invoices:
            invoice.save()
        InvoiceLine.everywhere.bulk_create(lines)
        series.save()
        assert find_violations() == [], name


def test_what_is_broken_is_told_and_kept_until_it_holds(past: Past, caplog: pytest.LogCaptureFixture) -> None:
    differences.keep_violations(["3 held = open holds: 7 (5, not 0)"])
    assert check_documents() == []
    change(amount_centavos=801)(past)
    assert len(check_documents()) == 3
    assert "documents and books differ" in caplog.text
    row = Difference.objects.get(subject=Subject.DOCUMENT, reference__startswith="21 ", reference__endswith=f"invoice {first().pk}")
    assert (row.kind, row.status, row.detail) == ("broken", "open", "801 centavos until here of 8004000000 nanos")
    change(amount_centavos=800)(past)
    assert check_documents() == []
    row.refresh_from_db()
    assert row.status == "gone"
    ledger_s = Difference.objects.get(subject=Subject.INVARIANT)
    assert ledger_s.status == "open", "the ledger's own are the ledger's"
    assert ReconciliationRun.objects.filter(subject=Subject.DOCUMENT).count() == 3


def test_old_documents_are_not_read_each_night(past: Past) -> None:
    Invoice.everywhere.update(nfse_xml=b"<x/>", issued_at=clock.now() - dt.timedelta(days=50))
    assert check_documents() == [] and len(find_violations()) == 2
