"""An invoice that is issued: the note is kept, the one it replaces ends, and its delivery is due."""

from __future__ import annotations

import datetime as dt
import logging

from django.db import IntegrityError, transaction

from invoices.channels import Issued
from invoices.dps.nfse import read_nfse
from invoices.models import Invoice, InvoiceLine
from invoices.problems import NO_PROBLEM, tell_issued
from invoices.states import move, note, release
from tokia import clock

log = logging.getLogger("invoices.issuing")
Status = Invoice.Status


def foreign_reason(invoice: Invoice, answer: Issued) -> str:
    """Why a note that bears our number is not this invoice's; empty where it is.

    A series that another program numbers too gives such a note to whoever asks for ours: it must never be taken for ours.
    """
    if Invoice.everywhere.filter(access_key=answer.access_key).exclude(pk=invoice.pk).exclude(access_key="").exists():
        return "Essa nota já pertence a outra fatura."
    if not answer.nfse_xml or not answer.access_key:  # a city's own document: told apart by its reference
        return ""
    try:
        nfse = read_nfse(answer.nfse_xml)
    except ValueError:
        return "" if invoice.channel != "sefin" else "O XML da nota não se lê."
    if nfse.amount_centavos != invoice.amount_centavos:
        return "O número desta DPS já foi usado por uma nota de outro valor."
    taker = str(invoice.taker.get("tax_id", ""))
    if nfse.taker_tax_id and taker and nfse.taker_tax_id != taker:
        return "O número desta DPS já foi usado por uma nota de outro tomador."
    return ""


def finish(row: Invoice, *, access_key: str, number: str, issued_at: dt.datetime, nfse_xml: bytes, verification_code: str) -> None:
    """ISSUED, inside the transaction that holds the row; the invoice it replaces becomes REPLACED there, too."""
    now = clock.now()
    old = row.replaces
    if old is not None:
        _end_replaced(row, old)
    row.attempts = 0
    release(row, due_at=None)
    move(
        row, Status.ISSUED, access_key=access_key, nfse_number=number, issued_at=issued_at, nfse_xml=nfse_xml or None,
        verification_code=verification_code[:40], delivery=Invoice.Delivery.DUE, delivery_due_at=now, delivery_attempts=0,
        **NO_PROBLEM,
    )  # fmt: skip
    if old is not None:
        _change_over(row)
    tell_issued(row)


def _end_replaced(row: Invoice, old: Invoice) -> None:
    """Its reason goes from the draft to the note that it ends."""
    ended = Invoice.everywhere.select_for_update().get(pk=old.pk)
    release(ended, due_at=None)
    move(
        ended, Status.REPLACED, cancel_code=row.cancel_code, cancel_reason=row.cancel_reason, cancel_by=row.cancel_by,
        cancelled_at=clock.now(), **NO_PROBLEM,
    )  # fmt: skip
    note(ended, "ours", f"Substituída pela {row}.")
    row.cancel_code = row.cancel_reason = row.cancel_by = ""


def _change_over(row: Invoice) -> None:
    """The facts become live here, now that the old lines stopped. They may have been billed again only where the old note was
    cancelled elsewhere meanwhile: then a person decides, since both notes exist."""
    try:
        with transaction.atomic():
            InvoiceLine.everywhere.filter(invoice=row).update(is_live=True)
    except IntegrityError:
        log.critical("facts of a replacement are on another live invoice", extra={"invoice": row.pk})
        problem = "O que esta nota cobra está também em outra nota emitida. Cancele uma das duas."
        move(row, Status.ISSUED, problem_code="REVIEW", problem=problem)
