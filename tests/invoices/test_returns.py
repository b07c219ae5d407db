"""Money of an invoiced top-up goes back: its note follows as far as it may, and a person hears of the rest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from billing import billable
from billing.models import Lot
from invoices import attention, drafting, issuing, queue, returns
from invoices.cutover import eras_of
from invoices.models import Invoice, InvoiceLine, InvoicePolicy, Issuer
from invoices.reconcile import find_violations
from tests.invoices.cast import make_taker
from tests.invoices.months import TOP_UP, Past
from tests.invoices.tax_office import TaxOffice
from tokia import clock
from tokia.clock import Month

Status = Invoice.Status


@pytest.fixture
def past(issuer: Issuer) -> Iterator[Past]:
    """A customer of today, each of whose top-ups is invoiced."""
    InvoicePolicy.objects.update(kind=TOP_UP)
    with Past(make_taker(), since=Month.current()) as past:
        yield past
    assert find_violations() == []


def top_up(past: Past, brl: str = "100", *, is_issued: bool = True) -> tuple[Lot, Invoice]:
    lot = past.top_up(brl, clock.now())
    assert drafting.draft_top_ups() == 1
    invoice = Invoice.everywhere.get(lines__entry=lot.entry_id)
    if is_issued:
        work()
        invoice.refresh_from_db()
        assert invoice.status == Status.ISSUED, invoice.problem
    return lot, invoice


def work() -> None:
    """What the queue does, until nothing is due."""
    for _ in range(6):
        Invoice.everywhere.filter(due_at__isnull=False).update(due_at=clock.now() - dt.timedelta(seconds=1))
        if not queue.issue_due():
            return


def live(lot: Lot) -> Invoice | None:
    return Invoice.everywhere.filter(lines__entry=lot.entry_id, lines__is_live=True).first()


def amounts_there(tax_office: TaxOffice) -> list[tuple[str, str]]:
    return [(note["status"], note["amount"]) for note in tax_office.notes()]


def test_a_whole_refund_cancels_the_note(past: Past, tax_office: TaxOffice) -> None:
    lot, invoice = top_up(past)
    past.refund(lot, "100", clock.now())
    assert returns.follow_returns() == 1 and returns.follow_returns() == 0
    work()
    invoice.refresh_from_db()
    assert (invoice.status, invoice.cancel_by, invoice.cancel_code) == (Status.CANCELLED, returns.ACTOR, "2")
    assert amounts_there(tax_office) == [("cancelled", "100.00")]
    assert returns.follow_returns() == 0 and drafting.draft_top_ups() == 0 and live(lot) is None


def test_a_refund_of_a_part_replaces_the_note_and_another_one_does_it_again(past: Past, tax_office: TaxOffice) -> None:
    lot, _ = top_up(past)
    for back, left in (("30.50", 6_950), ("20", 4_950)):
        past.refund(lot, back, clock.now())
        assert returns.follow_returns() == 1 and returns.follow_returns() == 0
        work()
        invoice = live(lot)
        assert invoice is not None and (invoice.status, invoice.amount_centavos) == (Status.ISSUED, left)
        assert invoice.replaces is not None and invoice.replaces.status == Status.REPLACED
    assert [amount for status, amount in amounts_there(tax_office) if status == "issued"] == ["49.50"]
    assert len(tax_office.notes()) == 3


def test_more_goes_back_while_the_replacement_is_under_way(past: Past) -> None:
    lot, invoice = top_up(past)
    past.refund(lot, "30", clock.now())
    returns.follow_returns()
    past.refund(lot, "10", clock.now())
    assert returns.follow_returns() == 1
    assert Invoice.everywhere.get(replaces=invoice).amount_centavos == 6_000
    past.refund(lot, "60", clock.now())
    assert returns.follow_returns() == 1, "the replacement is discarded"
    assert returns.follow_returns() == 1, "and the note cancelled"
    work()
    invoice.refresh_from_db()
    assert invoice.status == Status.CANCELLED


def test_what_was_never_sent_is_changed_or_discarded(past: Past, tax_office: TaxOffice) -> None:
    lot, invoice = top_up(past, is_issued=False)
    past.refund(lot, "30", clock.now())
    assert returns.follow_returns() == 1
    invoice.refresh_from_db()
    assert (invoice.status, invoice.amount_centavos) == (Status.DRAFT, 7_000)
    past.refund(lot, "70", clock.now())
    assert returns.follow_returns() == 1
    invoice.refresh_from_db()
    assert invoice.status == Status.DISCARDED and tax_office.notes() == [] and returns.follow_returns() == 0


def test_a_dispute_cancels_whether_the_money_was_used_or_not(past: Past) -> None:
    lot, invoice = top_up(past)
    past.use(100_000_000_000, clock.now())
    past.dispute(lot, "100", clock.now())
    assert returns.follow_returns() == 1
    work()
    invoice.refresh_from_db()
    assert invoice.status == Status.CANCELLED
    paid, second = top_up(past, "150")  # pays the debt: consumption that is in no note
    assert second.amount_centavos == 15_000 and live(paid) == second


def test_a_dispute_that_was_won_is_invoiced_again(past: Past, tax_office: TaxOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    lot, _ = top_up(past)
    told: list[list[billable.Return]] = [[]]
    monkeypatch.setattr(drafting, "returns_of", lambda wallets: told[0])
    monkeypatch.setattr(returns, "returns_of", lambda wallets: told[0])
    past.dispute(lot, "40", clock.now())
    told[0] = billable.returns_of([past.wallet.pk])
    returns.follow_returns()
    work()
    assert (note := live(lot)) is not None and note.amount_centavos == 6_000
    told[0] = [*told[0], billable.Return(lot.entry_id, "dispute:dp_1:2", clock.now(), -told[0][0].nanos)]
    assert returns.follow_returns() == 1, "the lower note is cancelled"
    work()
    assert returns.follow_returns() == 1, "and drafted again"
    work()
    assert (note := live(lot)) is not None and note.amount_centavos == 10_000 and note.reference.endswith(":3")
    assert sorted(amounts_there(tax_office)) == [("cancelled", "60.00"), ("issued", "100.00"), ("replaced", "100.00")]


def test_after_the_deadline_a_person_decides(past: Past, tax_office: TaxOffice) -> None:
    lot, invoice = top_up(past)
    tax_office.script("cancel", {"kind": "reject", "code": "E0822"})
    past.refund(lot, "100", clock.now())
    returns.follow_returns()
    work()
    invoice.refresh_from_db()
    assert invoice.status == Status.ISSUED and invoice.problem_code == "CANCEL", invoice.problem
    assert returns.follow_returns() == 1 and returns.follow_returns() == 0
    invoice.refresh_from_db()
    assert invoice.problem_code == attention.REVIEW_CODE and "R$ 0,00" in invoice.problem
    assert invoice in attention.waiting()


def test_a_person_s_own_choice_of_an_amount_stands(past: Past) -> None:
    lot, invoice = top_up(past)
    past.refund(lot, "10", clock.now())
    issuing.replace(invoice, code="99", reason="Combinado com o cliente por e-mail.", by="ana", amount_centavos=5_000)
    work()
    assert returns.follow_returns() == 0
    assert (note := live(lot)) is not None and note.amount_centavos == 5_000


def test_months_are_not_touched(issuer: Issuer) -> None:
    with Past(make_taker(), since=Month.current()) as past:
        lot = past.top_up("100", clock.now())
        past.refund(lot, "100", clock.now())
    assert drafting.draft_top_ups() == 0 and returns.follow_returns() == 0
    assert not InvoiceLine.everywhere.exists() and eras_of(issuer).has_top_ups is False
