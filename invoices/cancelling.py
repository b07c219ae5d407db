"""Cancelling an issued note: the request is signed once, kept, sent, and asked for before it is sent again.

A part of `invoices.issuing`, whose table has its statuses.
"""

from __future__ import annotations

import logging

from invoices import backoff, certificates
from invoices.channels import Cancelled, CancelOutcome, Channel, Exists, Later, Missing, Pending, Rejected
from invoices.dps.build import build_cancel, clean_reason
from invoices.dps.ids import REPLACED_KIND, cancel_id
from invoices.dps.nfse import read_event
from invoices.dps.sign import sign
from invoices.errors import Incomplete, NotNow
from invoices.focus import build_cancel_body
from invoices.models import Invoice, InvoiceEvent, Issuer
from invoices.opening import open_channel
from invoices.problems import NO_PROBLEM, problem_of, tell_cancelled, told
from invoices.states import ClaimLost, held, move, note, release, renew, taken
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger("invoices.issuing")
Status, Kind = Invoice.Status, InvoiceEvent.Kind
CODES = ("1", "2", "9")  # mistake, not rendered, other (e101101/cMotivo)
REFUSED_CODE, STUCK_CODE = "CANCEL", "SILENCE"


def cancel(invoice: Invoice, *, code: str, reason: str, by: str) -> Invoice:
    """Ask for the cancellation of an issued note; the queue does the rest. Asked twice, it is one.

    Raises Incomplete for a code that is none or a reason of fewer than 15 characters, NotNow where the note is not issued or is
    being replaced. A note issued by hand was cancelled by hand: it is CANCELLED here at once.
    """
    if code not in CODES:
        raise Incomplete("Escolha o motivo do cancelamento.", problem_code="REASON", param="invoice.cancel_code")
    reason = clean_reason(reason)
    with taken(invoice) as row:
        if row.status in (Status.CANCEL_PENDING, Status.CANCELLED):
            return row
        if row.status != Status.ISSUED:
            raise NotNow("Só uma nota emitida é cancelada.")
        if replacement_of(row) is not None:
            raise NotNow("Uma substituta desta nota está em andamento. Descarte a substituta, ou espere por ela.")
        note(row, Kind.PERSON, f"Cancelamento pedido: {reason}", by=by)
        row.cancel_code, row.cancel_reason, row.cancel_by = code, reason, by[:150]
        row.cancel_xml, row.attempts = None, 0
        if row.channel == Issuer.Channel.MANUAL:
            _end(row)
            return row
        release(row, due_at=clock.now())
        move(row, Status.CANCEL_PENDING, **NO_PROBLEM)
    crashpoint("cancel_asked")
    return row


def replacement_of(invoice: Invoice) -> Invoice | None:
    """The draft that would take its place, while it is under way."""
    return Invoice.everywhere.filter(replaces=invoice, status__in=Invoice.LIVE).exclude(status=Status.ISSUED).first()


def carry_on(mine: Invoice) -> None:
    """One step of a claimed CANCEL_PENDING invoice. Raises NoCertificate, ClaimLost."""
    channel = open_channel(mine.issuer, channel=mine.channel)
    if mine.cancel_xml is None:
        _build(mine)
    elif _was_sent(mine):
        answer = channel.find_cancel(mine)
        crashpoint("cancel_found")
        _take(mine, answer, kind=Kind.QUERY)
        if not isinstance(answer, Missing):
            return
    _send(mine, channel)


def _was_sent(invoice: Invoice) -> bool:
    """Perhaps: `_send` writes its event before the first byte."""
    asked = InvoiceEvent.everywhere.filter(invoice=invoice, kind=Kind.PERSON).order_by("-pk").values_list("pk", flat=True).first()
    return InvoiceEvent.everywhere.filter(invoice=invoice, kind=Kind.CANCEL, pk__gt=asked or 0).exists()


def _build(mine: Invoice) -> None:
    """The request, kept before it is sent: signed XML, at Focus a text in JSON. Raises NoCertificate."""
    body = _signed(mine) if mine.channel == Issuer.Channel.SEFIN else build_cancel_body(reason=mine.cancel_reason)
    with held(mine):
        renew(mine)
        move(mine, Status.CANCEL_PENDING, cancel_xml=body, **NO_PROBLEM)
    crashpoint("cancel_signed")


def _signed(invoice: Invoice) -> bytes:
    issuer = invoice.issuer
    xml = build_cancel(
        access_key=invoice.access_key, tax_id=issuer.tax_id, environment=invoice.environment, code=invoice.cancel_code,
        reason=invoice.cancel_reason, at=clock.now(),
    )  # fmt: skip
    a1 = certificates.load(issuer)
    reference = cancel_id(invoice.access_key)
    return sign(xml, reference=reference, key=a1.key, certificate=a1.certificate, method=issuer.signature)


def _send(mine: Invoice, channel: Channel) -> None:
    with held(mine):
        note(mine, Kind.CANCEL, "Pedido de cancelamento enviado.")
        renew(mine)
        move(mine, Status.CANCEL_PENDING)
    crashpoint("cancel_sending")
    answer = channel.cancel(mine)
    crashpoint("cancel_sent")
    _take(mine, answer, kind=Kind.CANCEL)
    if isinstance(answer, Exists):  # E0840: cancelled already, by a request of ours whose answer was lost, or elsewhere
        _take(mine, channel.find_cancel(mine), kind=Kind.QUERY, is_last=True)


def _take(mine: Invoice, answer: CancelOutcome, *, kind: str, is_last: bool = False) -> None:
    try:
        with held(mine):
            note(mine, kind, told(answer), heard=answer.heard)
            if isinstance(answer, Cancelled):
                if answer.event_xml:
                    mine.cancel_xml = answer.event_xml
                _end(mine)
            elif isinstance(answer, Rejected):
                _go_back(mine, answer)
            elif isinstance(answer, (Exists, Missing)) and not is_last:
                renew(mine)
                move(mine, Status.CANCEL_PENDING)
            else:
                _wait(mine, answer)
    except ClaimLost:  # whoever has it now asks, and learns it there
        note(mine, kind, told(answer), heard=answer.heard)
        raise


def _end(row: Invoice) -> None:
    release(row, due_at=None)
    row.attempts = 0
    now = clock.now()
    due = {"delivery": Invoice.Delivery.DUE, "delivery_due_at": now, "delivery_attempts": 0}  # whoever got the note is told
    move(row, Status.CANCELLED, cancelled_at=now, **due, **NO_PROBLEM)
    tell_cancelled(row)


def _go_back(mine: Invoice, refusal: Rejected) -> None:
    """The note is valid and stays so. The way out is told, as after the city's deadline: a replacement, or the city's analysis."""
    problem = problem_of(refusal)
    text = f"O cancelamento foi recusado ({problem['problem_code']}): {problem['problem']}"
    way_out = " A nota continua válida. Substitua-a por outra, ou peça a análise do cancelamento ao município."
    mine.cancel_code = mine.cancel_reason = mine.cancel_by = ""
    mine.cancel_xml, mine.attempts = None, 0
    release(mine, due_at=None)
    log.error("a cancellation was refused", extra={"invoice": mine.pk, "code": problem["problem_code"]})
    move(mine, Status.ISSUED, problem_code=REFUSED_CODE, problem=text[: 600 - len(way_out)] + way_out, problem_field="")


def _wait(mine: Invoice, answer: CancelOutcome) -> None:
    mine.attempts += 1
    seconds = answer.seconds if isinstance(answer, Later) else None
    release(mine, due_at=backoff.next_try(mine, told_seconds=seconds, is_pending=isinstance(answer, Pending)))
    fields = dict(NO_PROBLEM)
    if backoff.is_stuck(mine):
        fields["problem_code"] = STUCK_CODE
        fields["problem"] = "O órgão não responde ao cancelamento há horas. A consulta continua sozinha."
        if mine.problem_code != STUCK_CODE:
            log.critical("a cancellation has no answer for hours", extra={"invoice": mine.pk, "attempts": mine.attempts})
    move(mine, Status.CANCEL_PENDING, **fields)


def note_remote_cancel(invoice: Invoice, *, event_xml: bytes) -> Invoice:
    """An event that ends the note was found at the national distribution: made at the city's site, or by our own replacement.

    Told once, or again, or of a note that ended here already: one effect. Raises NotNow while a worker is at the note: the reader
    of the distribution comes again.
    """
    with taken(invoice) as row:
        if row.status not in (Status.ISSUED, Status.CANCEL_PENDING):
            return row
        note(row, Kind.REMOTE, "Cancelada fora daqui.", body=event_xml)
        if _says_replaced(event_xml) and replacement_of(row) is not None:
            return row  # ours: the replacement's own answer, when it comes, changes both
        row.cancel_xml = event_xml
        _end(row)
    return row


def _says_replaced(event_xml: bytes) -> bool:
    try:
        return read_event(event_xml).kind == REPLACED_KIND
    except ValueError:
        return False
