"""Notes by e-mail: to whom, with what, and that none is lost or sent twice."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from threading import Barrier, Thread
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.locmem import EmailBackend
from django.db import connections

from accounts.models import Organization
from invoices import danfse, delivery
from invoices.delivery import ATTEMPTS_MAX, LEASE, RESENDS_PER_HOUR_MAX, RETRY_MINUTES, claim, deliver, deliver_due, resend
from invoices.errors import NotNow
from invoices.kept_texts import ASKED
from invoices.models import FiscalProfile, Invoice, InvoiceEvent
from tests.cast import Cast, make_cast
from tests.invoices.papers import make_invoice, make_note
from tokia import clock

Status, Delivery = Invoice.Status, Invoice.Delivery
FISCAL, ACCOUNTANT = "fiscal@acme.com.br", "contador@exemplo.com.br"


@pytest.fixture(autouse=True)
def clock_as_it_is() -> Iterator[None]:
    yield
    clock.shift(0)


@pytest.fixture
def cast(db: None) -> Cast:
    cast = make_cast()
    Organization.objects.filter(pk=cast.acme.pk).update(invoice_email="Fiscal@Acme.com.br ")
    FiscalProfile.everywhere.create(organization=cast.acme, accountant_email=ACCOUNTANT)
    return cast


def reached() -> list[str]:
    return sorted(address for message in mail.outbox for address in message.to)


def again(note: Invoice) -> Invoice:
    note.refresh_from_db()
    return note


class Refusing(EmailBackend):
    """Takes no mail for FISCAL."""

    def send_messages(self, email_messages: Any) -> int:
        if FISCAL in email_messages[0].to:
            raise smtplib.SMTPRecipientsRefused({FISCAL: (550, b"no such user")})
        return super().send_messages(email_messages)


class Away(EmailBackend):
    def open(self) -> bool:
        raise ConnectionRefusedError("no server")

    def send_messages(self, email_messages: Any) -> int:
        raise ConnectionRefusedError("no server")


def use(monkeypatch: pytest.MonkeyPatch, backend: type[EmailBackend]) -> None:
    monkeypatch.setattr(delivery, "get_connection", backend)


def test_it_mails_xml_and_page_to_the_address_for_notes_and_the_accountant(cast: Cast) -> None:
    note = make_note(cast.acme)
    assert deliver_due() == 1 and deliver_due() == 0
    assert reached() == [ACCOUNTANT, FISCAL] and all(len(message.to) == 1 for message in mail.outbox)
    message = mail.outbox[0]
    assert isinstance(message, EmailMultiAlternatives)
    assert message.subject == f"Tokia: nota fiscal {note.nfse_number} de novembro de 2026"
    [(xml_name, xml, _), (pdf_name, pdf, _)] = message.attachments
    assert xml_name == f"nota-{note.nfse_number}.xml" and pdf_name == f"nota-{note.nfse_number}.pdf"
    assert (xml if isinstance(xml, bytes) else str(xml).encode()) == bytes(note.nfse_xml or b"")
    assert isinstance(pdf, bytes) and pdf.startswith(b"%PDF")
    html = str(message.alternatives[0][0])
    for text in (message.body, html):
        assert "R$\u00a01.234,56" in text and "novembro de 2026" in text and note.access_key in text and "&amp;amp;" not in text
    assert f"?tpc=1&chave={note.access_key}" in message.body and "{{" not in message.body + html
    again(note)
    assert (note.delivery, note.delivery_due_at) == (Delivery.SENT, None) and note.delivered_at is not None


def test_it_carries_the_xml_over_smtp_byte_for_byte(cast: Cast) -> None:
    note = make_note(cast.acme)
    deliver_due()
    parts = {part.get_filename(): part.get_payload(decode=True) for part in mail.outbox[0].message().walk() if part.get_filename()}
    assert parts[f"nota-{note.nfse_number}.xml"] == bytes(note.nfse_xml or b"")


def test_it_mails_the_owners_where_no_address_was_named_and_each_address_once(cast: Cast) -> None:
    make_note(cast.globex)
    FiscalProfile.everywhere.create(organization=cast.globex, accountant_email=cast.charlie.email.upper())
    deliver_due()
    assert reached() == [cast.charlie.email]


def test_it_leaves_out_who_has_got_it_and_keeps_the_message_id(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    note = make_note(cast.acme)
    use(monkeypatch, Refusing)
    deliver_due()
    assert reached() == [ACCOUNTANT]
    again(note)
    assert note.delivery == Delivery.DUE and note.delivery_due_at is not None and note.delivery_attempts == 1
    assert note.delivery_due_at > clock.now() and deliver_due() == 0  # not before its time
    monkeypatch.undo()
    clock.shift(61)
    assert deliver_due() == 1 and reached() == [ACCOUNTANT, FISCAL]
    told = InvoiceEvent.everywhere.filter(invoice=note, kind="delivery").order_by("id").values_list("text", flat=True)
    assert list(told) == [f"Nota por e-mail para {ACCOUNTANT}.", f"Nota por e-mail para {FISCAL}."]
    assert again(note).delivery == Delivery.SENT


def test_it_tries_longer_and_longer_and_then_says_so(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    note = make_note(cast.acme)
    use(monkeypatch, Away)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        Invoice.everywhere.filter(pk=note.pk).update(delivery_due_at=clock.now())
        assert deliver_due() == 1
        again(note)
        if attempt < ATTEMPTS_MAX:
            assert note.delivery_due_at is not None and note.delivery_attempts == attempt
            minutes = (note.delivery_due_at - clock.now()).total_seconds() / 60
            assert abs(minutes - RETRY_MINUTES[attempt - 1]) < 0.5
    assert (note.delivery, note.delivery_due_at) == (Delivery.FAILED, None) and note.status == Status.ISSUED
    assert "não foi aceito" in InvoiceEvent.everywhere.get(invoice=note, kind="delivery").text
    monkeypatch.undo()
    assert resend(note, by="carol") == [FISCAL, ACCOUNTANT] and deliver_due() == 1 and again(note).delivery == Delivery.SENT


def test_it_follows_a_worker_that_died_after_the_hand_over_with_the_same_message(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = make_note(cast.acme)
    [claimed] = claim()
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "_note", lambda invoice, text: None)  # it died before the row
        delivery._hand_over(claimed, [FISCAL], connection=None)
    assert claim() == []
    Invoice.everywhere.filter(pk=note.pk).update(delivery_due_at=clock.now())  # the lease is over
    deliver_due()
    ids = [str(message.extra_headers["Message-ID"]) for message in mail.outbox if message.to == [FISCAL]]
    assert len(ids) == 2 and len(set(ids)) == 1
    others = {str(message.extra_headers["Message-ID"]) for message in mail.outbox if message.to != [FISCAL]}
    assert len(others) == 1 and not others & set(ids)


def test_it_writes_nothing_once_its_claim_is_another_workers(cast: Cast) -> None:
    note = make_note(cast.acme)
    [late] = claim()
    Invoice.everywhere.filter(pk=note.pk).update(delivery_due_at=clock.now() + 2 * LEASE)
    deliver(late)
    assert again(note).delivery == Delivery.DUE


def test_it_sends_again_as_a_new_message_but_not_without_end(cast: Cast) -> None:
    note = make_note(cast.acme)
    deliver_due()
    first = {str(message.extra_headers["Message-ID"]) for message in mail.outbox}
    for _ in range(RESENDS_PER_HOUR_MAX):
        resend(note, by="carol@acme.com.br")
    with pytest.raises(NotNow, match="várias vezes"):
        resend(note, by="carol@acme.com.br")
    assert deliver_due() == 1 and len(mail.outbox) == 4  # asked five times before the worker came: one mail each
    assert not first & {str(message.extra_headers["Message-ID"]) for message in mail.outbox[2:]}
    assert InvoiceEvent.everywhere.filter(invoice=note, text=ASKED, actor="carol@acme.com.br").count() == RESENDS_PER_HOUR_MAX
    with pytest.raises(NotNow, match="ainda não"):
        resend(make_invoice(cast.acme), by="carol")


def test_it_tells_that_a_note_is_not_valid_any_more(cast: Cast) -> None:
    note = make_note(cast.acme)
    deliver_due()
    Invoice.everywhere.filter(pk=note.pk).update(
        status=Status.CANCELLED, cancel_xml=b"<evento/>", cancel_reason="Valor informado incorretamente", delivery=Delivery.DUE,
        delivery_due_at=clock.now(), delivery_attempts=0,
    )  # fmt: skip
    assert deliver_due() == 1 and len(mail.outbox) == 4
    told = mail.outbox[-1]
    assert told.subject == f"Tokia: nota fiscal {note.nfse_number} cancelada"
    assert "não vale mais" in told.body and "Valor informado incorretamente" in told.body
    assert [name for name, *_ in told.attachments][-1] == f"nota-{note.nfse_number}.cancelamento.xml"
    new = make_note(cast.acme, replaces=note)
    deliver_due()
    assert (
        f"substitui a nota {note.nfse_number}, que não vale mais" in mail.outbox[-1].body
        and new.nfse_number in mail.outbox[-1].body
    )


def test_it_sends_the_xml_though_its_page_can_not_be_drawn(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(invoice: Invoice) -> bytes:
        raise KeyError("a field that nobody thought of")

    note = make_note(cast.acme)
    monkeypatch.setattr(danfse, "pdf_of", fail)
    deliver_due()
    assert [name for name, *_ in mail.outbox[0].attachments] == [f"nota-{note.nfse_number}.xml"]
    assert "O XML está em anexo" in mail.outbox[0].body and again(note).delivery == Delivery.SENT


def test_it_keeps_one_note_from_stopping_the_others(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = make_note(cast.acme), make_note(cast.globex)
    real = delivery.message_of

    def message_of(invoice: Invoice, email: str, *, pdf: bytes) -> EmailMultiAlternatives:
        if invoice.pk == bad.pk:
            raise RuntimeError("a bug")
        return real(invoice, email, pdf=pdf)

    monkeypatch.setattr(delivery, "message_of", message_of)
    assert deliver_due() == 2
    assert again(good).delivery == Delivery.SENT and again(bad).delivery == Delivery.DUE and reached() == [cast.charlie.email]


def test_it_mails_nothing_that_is_no_document(cast: Cast) -> None:
    note = make_invoice(cast.acme, delivery=Delivery.DUE, delivery_due_at=clock.now())
    deliver_due()
    assert not mail.outbox and again(note).delivery == Delivery.NONE


def test_it_breaks_no_header_and_no_html_with_what_others_typed(cast: Cast) -> None:
    Organization.objects.filter(pk=cast.acme.pk).update(name="<script>x</script>")
    make_note(cast.acme, nfse_number="12\r\nBcc: x@y.z")
    deliver_due()
    message = mail.outbox[0]
    assert isinstance(message, EmailMultiAlternatives)
    assert "\n" not in message.subject and "<script>" not in str(message.alternatives[0][0]) and "<script>" in message.body


def test_it_gives_a_note_to_one_of_two_workers(committed_db: None) -> None:
    cast = make_cast()
    for _ in range(6):
        make_note(cast.acme)
    found: list[list[int]] = []
    start = Barrier(2)

    def work() -> None:
        start.wait()
        try:
            found.append([note.pk for note in claim()])
        finally:
            connections.close_all()

    workers = [Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    claimed = [pk for each in found for pk in each]
    assert claimed and len(claimed) == len(set(claimed))
