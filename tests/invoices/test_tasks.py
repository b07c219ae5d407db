"""What happens by the clock: every task has its hour, is safe to be called again, and one's trouble is not the next's."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from celery.local import Proxy

from invoices import distribution, exchanges, tasks
from invoices.errors import NoCertificate, NotNow
from invoices.models import Certificate, Invoice, Issuer
from tests.invoices.cast import ADDRESS, make_invoice, make_taker
from tests.invoices.tax_office import TaxOffice
from tokia import clock
from tokia.celery import app

Status = Invoice.Status
BY_HAND = {"invoices.tasks.check_note"}  # Focus NFe's notice hurries it


def test_every_task_is_in_the_timetable() -> None:
    known = {f"invoices.tasks.{name}" for name, found in vars(tasks).items() if isinstance(found, Proxy)}
    timed = {entry["task"] for entry in app.conf.beat_schedule.values() if entry["task"].startswith("invoices.")}
    assert known - BY_HAND == timed


def test_they_carry_an_invoice_from_missing_data_to_its_note(issuer: Issuer, tax_office: TaxOffice) -> None:
    organization = make_taker(has_address=False)
    invoice = make_invoice(organization=organization)
    for _ in range(2):  # each delivered twice
        tasks.issue_due()
    invoice.refresh_from_db()
    assert (invoice.status, invoice.problem_code) == (Status.REJECTED, "TAKER")
    organization.address = ADDRESS
    organization.save()
    for task in (tasks.take_up_repaired, tasks.issue_due, tasks.deliver_due) * 2:
        task()
    invoice.refresh_from_db()
    assert (invoice.status, invoice.delivery) == (Status.ISSUED, "sent")
    assert len(tax_office.notes()) == 1
    exchanges.close_clients()


def test_a_pause_is_told_and_ends_with_a_certificate(
    issuer: Issuer, tax_office: TaxOffice, caplog: pytest.LogCaptureFixture
) -> None:
    invoice = make_invoice()
    ends_at = Certificate.objects.get().ends_at
    Certificate.objects.update(ends_at=clock.now() - dt.timedelta(hours=1))
    tasks.issue_due()
    assert [record.levelname for record in caplog.records if record.message == "invoices wait for a certificate"] == ["CRITICAL"]
    tasks.read_distribution()  # no certificate, no reading; it comes again
    Certificate.objects.update(ends_at=ends_at)
    tasks.issue_due()
    invoice.refresh_from_db()
    assert invoice.status == Status.ISSUED
    exchanges.close_clients()


@pytest.mark.parametrize("trouble", [NoCertificate("…"), NotNow("…")])
def test_a_note_that_is_at_work_keeps_no_distribution_from_being_read_again(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    read: list[int] = []

    def fail(issuer: Issuer) -> Any:
        read.append(issuer.pk)
        raise trouble

    monkeypatch.setattr(distribution, "read_new", fail)
    tasks.read_distribution()
    tasks.read_distribution()
    assert read == [issuer.pk] * 2
