"""Focus NFe's door: whoever knows the secret wakes an invoice up, and does no more."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from celery import current_app
from django.test import Client
from pytest_django import Settings

from invoices.focus import reference_of
from invoices.models import Invoice, Issuer
from tests.invoices.cast import make_issuer
from tests.invoices.notes import make_document
from tokia import clock

pytestmark = pytest.mark.django_db
SECRET = "a-secret-of-the-hook-0123456789abcdef"


@pytest.fixture(autouse=True)
def secret(settings: Settings) -> None:
    settings.FOCUS_WEBHOOK_SECRET = SECRET


@pytest.fixture
def invoice() -> Invoice:
    """Asked for again in an hour."""
    issuer = make_issuer(channel=Issuer.Channel.FOCUS)
    later = clock.now() + dt.timedelta(hours=1)
    return make_document(issuer, is_signed=False, focus_resource="nfse", status=Invoice.Status.SENDING, due_at=later)


def call(body: Any, *, authorization: str | None = SECRET) -> int:
    headers = {} if authorization is None else {"authorization": authorization}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (
        Client(enforce_csrf_checks=True)
        .post("/webhooks/focus/", content, content_type="application/json", headers=headers)
        .status_code
    )


def wait_seconds(invoice: Invoice) -> float:
    invoice.refresh_from_db()
    assert invoice.due_at is not None
    return (invoice.due_at - clock.now()).total_seconds()


@pytest.mark.parametrize("status", ["sending", "uncertain", "cancel_pending"])
def test_it_wakes_an_invoice_that_waits(invoice: Invoice, status: str) -> None:
    Invoice.everywhere.update(status=status, issued_at=clock.now(), cancel_code="1", cancel_reason="x")
    assert call({"ref": reference_of(invoice), "status": "autorizado", "numero": "999"}) == 200
    assert wait_seconds(invoice) <= 0
    assert (invoice.status, invoice.nfse_number) == (status, "")  # what it says of the note is asked for, not believed


def test_it_wakes_an_invoice_once(invoice: Invoice) -> None:
    call({"ref": reference_of(invoice)})
    invoice.refresh_from_db()
    due_at = invoice.due_at
    call({"ref": reference_of(invoice)})
    invoice.refresh_from_db()
    assert invoice.due_at == due_at


@pytest.mark.parametrize("authorization", [None, "", "wrong", SECRET[:-1], f"Bearer {SECRET}", SECRET + "\xe9"])
def test_it_knows_no_stranger(invoice: Invoice, authorization: str | None) -> None:
    assert call({"ref": reference_of(invoice)}, authorization=authorization) == 404
    assert wait_seconds(invoice) > 3_000


def test_it_is_shut_without_a_secret(invoice: Invoice, settings: Settings) -> None:
    settings.FOCUS_WEBHOOK_SECRET = ""
    assert call({"ref": reference_of(invoice)}, authorization="") == 404
    assert wait_seconds(invoice) > 3_000


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", {}, {"status": "autorizado"}, b"[" * 100_000])
def test_it_takes_no_nonsense(body: Any) -> None:
    assert call(body) == 400


def test_it_reads_no_body_without_end() -> None:
    assert call(b" " * 262_145) == 413


@pytest.mark.parametrize("ref", ["monthC1", "Zffffff", "\0", "Z000000", 7, None, {"a": 1}, "x" * 5_000])
def test_it_says_nothing_of_notes_that_are_not_there(invoice: Invoice, ref: Any) -> None:
    assert call({"ref": ref}) in (200, 400)
    assert wait_seconds(invoice) > 3_000


def test_it_wakes_no_invoice_that_is_done_or_of_another_channel(invoice: Invoice) -> None:
    for changes in ({"status": "rejected"}, {"status": "sending", "channel": "sefin"}):
        Invoice.everywhere.update(**changes)
        assert call({"ref": reference_of(invoice)}) == 200
        assert wait_seconds(invoice) > 3_000


def test_it_has_a_note_looked_after_that_was_cancelled_there(invoice: Invoice, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **options: asked.append((name, options["args"])))
    Invoice.everywhere.update(status="issued", issued_at=clock.now())
    assert call({"ref": reference_of(invoice), "status": "autorizado"}) == 200
    assert asked == []
    assert call({"ref": reference_of(invoice), "status": "cancelado"}) == 200
    assert asked == [("invoices.tasks.check_note", [invoice.pk])]


def test_it_wants_to_be_called_again_without_a_broker(invoice: Invoice, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no broker")

    monkeypatch.setattr(current_app, "send_task", fail)
    Invoice.everywhere.update(status="issued", issued_at=clock.now())
    assert call({"ref": reference_of(invoice), "status": "cancelado"}) == 503


def test_it_takes_no_other_method() -> None:
    assert Client().get("/webhooks/focus/", headers={"authorization": SECRET}).status_code == 405
