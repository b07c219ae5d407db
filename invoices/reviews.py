"""The end of a fiscal review: a person and the accountant decided, and the note stays as it is."""

from __future__ import annotations

from invoices.attention import CANCEL_CODE, REVIEW_CODE, REVIEWED_CODE
from invoices.errors import NotNow
from invoices.models import Invoice, InvoiceEvent
from invoices.states import move, note, taken


def close_review(invoice: Invoice, *, reason: str, by: str) -> None:
    """Leaves the queue; `invoices.returns` lets it be from now on, whatever went back. Raises NotNow where nothing is in review."""
    with taken(invoice) as row:
        if row.problem_code not in (REVIEW_CODE, CANCEL_CODE):
            raise NotNow("Esta nota não está em revisão.")
        note(row, InvoiceEvent.Kind.PERSON, f"Revisão encerrada: {reason}", by=by)
        move(row, row.status, problem_code=REVIEWED_CODE, problem=f"Revisão encerrada: {reason}", problem_field="")
