"""Many workers, workers that die, two timetables: one note of each invoice, one number, by the tax office's own books."""

from __future__ import annotations

import datetime as dt
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from invoices import exchanges, issuing, queue, tasks
from invoices.models import DpsSeries, Invoice, InvoiceLine, Issuer
from tests.invoices.cast import make_invoice, make_taker
from tests.invoices.tax_office import TaxOffice
from tokia import clock, crashpoints

Status = Invoice.Status
WHY = "Serviço faturado para o tomador errado"
STEPS = ("claimed", "numbered", "signed", "sending", "sent", "answered")
CANCEL_STEPS = ("cancel_signed", "cancel_sending", "cancel_sent")


def at_once(work: Callable[[], object], *, workers: int) -> None:
    def one() -> None:
        try:
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(one) for _ in range(workers)]:
            done.result(30)


def die_at(step: str, work: Callable[[], object]) -> None:
    """Do the work in a process of its own, which is killed with -9 at that step."""
    connections.close_all()
    exchanges.close_clients()
    child = os.fork()
    if child == 0:
        try:
            crashpoints._armed = step
            work()
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"{step} was not reached: exit {os.waitstatus_to_exitcode(status)}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def lease_over(invoice: Invoice) -> None:
    past = clock.now() - dt.timedelta(seconds=1)
    Invoice.everywhere.filter(pk=invoice.pk).update(claimed_until=past, due_at=past)


def check_one_note(invoice: Invoice, tax_office: TaxOffice, *, status: str = Status.ISSUED) -> None:
    invoice.refresh_from_db()
    [note] = tax_office.notes()
    assert (invoice.status, invoice.access_key, invoice.number) == (status, note["access_key"], 1), invoice.problem
    assert DpsSeries.objects.get().next_number == 2


@pytest.fixture
def invoice(issuer: Issuer) -> Iterator[Invoice]:
    yield make_invoice(issuer=issuer)
    exchanges.close_clients()


def test_twenty_workers_on_one_invoice_make_one_note(invoice: Invoice, tax_office: TaxOffice) -> None:
    at_once(lambda: issuing.issue(Invoice(pk=invoice.pk), only_if_due=True), workers=20)
    check_one_note(invoice, tax_office)
    assert sum(call.get("path") == "/SefinNacional/nfse" for call in tax_office.ledger()["calls"]) == 1


def test_two_timetables_and_tasks_delivered_twice_make_one_note_of_each(invoice: Invoice, tax_office: TaxOffice) -> None:
    for _ in range(5):
        make_invoice(organization=make_taker(tax_id="45997418000153"))
    at_once(tasks.issue_due, workers=3)
    queue.issue_due()  # a slot was taken: what is left
    notes = tax_office.notes()
    assert sorted(note["dps_id"][-3:] for note in notes) == ["001", "002", "003", "004", "005", "006"]
    assert Invoice.everywhere.filter(status=Status.ISSUED).count() == 6
    assert sum(call.get("path") == "/SefinNacional/nfse" for call in tax_office.ledger()["calls"]) == 6


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_at_any_step_leaves_one_note_and_one_number(step: str, invoice: Invoice, tax_office: TaxOffice) -> None:
    die_at(f"invoice_{step}", lambda: issuing.issue(invoice, only_if_due=True))
    if step != "answered":  # its lease stands: nobody else is at it
        invoice.refresh_from_db()
        before = invoice.status
        assert issuing.issue(invoice).status == before
        lease_over(invoice)
    issuing.issue(invoice, only_if_due=True)
    check_one_note(invoice, tax_office)


def test_a_worker_killed_while_it_asks_leaves_one_note(invoice: Invoice, tax_office: TaxOffice) -> None:
    tax_office.script("emit", "lost")
    assert issuing.issue(invoice).status == Status.UNCERTAIN
    lease_over(invoice)
    die_at("invoice_found", lambda: issuing.issue(invoice))
    lease_over(invoice)
    issuing.issue(invoice, only_if_due=True)
    check_one_note(invoice, tax_office)


@pytest.mark.parametrize("step", CANCEL_STEPS)
def test_a_worker_killed_while_it_cancels_cancels_once(step: str, invoice: Invoice, tax_office: TaxOffice) -> None:
    issuing.issue(invoice)
    issuing.cancel(invoice, code="1", reason=WHY, by="ana")
    die_at(step, lambda: issuing.issue(invoice))
    lease_over(invoice)
    issuing.issue(invoice, only_if_due=True)
    check_one_note(invoice, tax_office, status=Status.CANCELLED)
    assert len(tax_office.ledger()["events"]) == 1


def test_a_replacement_killed_before_its_answer_was_written_changes_over_once(invoice: Invoice, tax_office: TaxOffice) -> None:
    issuing.issue(invoice)
    new = issuing.replace(invoice, code="05", reason=WHY, by="ana")
    die_at("invoice_sent", lambda: issuing.issue(new))
    lease_over(new)
    assert issuing.issue(new, only_if_due=True).status == Status.ISSUED
    invoice.refresh_from_db()
    assert invoice.status == Status.REPLACED
    assert list(InvoiceLine.everywhere.order_by("pk").values_list("is_live", flat=True)) == [False, True]
    assert [note["status"] for note in tax_office.notes()] == ["replaced", "issued"]
