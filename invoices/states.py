"""The one place that writes `Invoice.status`: what may follow what, who is at a row, and what was said about it.

`claim` → (work without any lock: the tax office may take a minute) → `held` … `move`. A claim is a lease: a worker that dies leaves
it to run out. Its end is also its name, so a worker that came back too late writes nothing (`ClaimLost`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from invoices.channels import Heard
from invoices.errors import NotNow
from invoices.models import Invoice, InvoiceEvent, InvoiceLine
from tokia import clock

Status, Kind = Invoice.Status, InvoiceEvent.Kind
LEASE = dt.timedelta(minutes=5)  # longer than any one exchange (SEFIN_TIMEOUT_SECONDS); renewed before each
TEXT_MAX, FIELD_MAX = 600, 60

MOVES: dict[str, frozenset[str]] = {
    Status.DRAFT: frozenset({Status.NUMBERED, Status.REJECTED, Status.ISSUED, Status.DISCARDED}),
    Status.NUMBERED: frozenset({Status.SIGNED, Status.REJECTED, Status.ISSUED, Status.DISCARDED}),
    Status.SIGNED: frozenset({Status.NUMBERED, Status.SENDING, Status.REJECTED, Status.ISSUED, Status.DISCARDED}),
    Status.SENDING: frozenset({Status.ISSUED, Status.REJECTED, Status.UNCERTAIN}),
    Status.UNCERTAIN: frozenset({Status.SENDING, Status.ISSUED, Status.REJECTED}),
    Status.REJECTED: frozenset({Status.DRAFT, Status.NUMBERED, Status.ISSUED, Status.DISCARDED}),
    Status.ISSUED: frozenset({Status.CANCEL_PENDING, Status.CANCELLED, Status.REPLACED}),
    Status.CANCEL_PENDING: frozenset({Status.CANCELLED, Status.ISSUED, Status.REPLACED}),
    Status.CANCELLED: frozenset({Status.REPLACED}),  # found cancelled while its replacement was under way
    Status.REPLACED: frozenset(),
    Status.DISCARDED: frozenset(),
}
# A worker has something to do with these; NUMBERED and SIGNED only after one died, or while no certificate is valid.
OPEN = (Status.DRAFT, Status.NUMBERED, Status.SIGNED, Status.SENDING, Status.UNCERTAIN, Status.CANCEL_PENDING)
NEVER_SENT = (Status.DRAFT, Status.NUMBERED, Status.SIGNED, Status.REJECTED)  # or certainly refused: nothing exists


class ClaimLost(RuntimeError):
    """Somebody else has the row since: what this worker learned is kept as an event, and nothing else is written."""


def claim(invoice_id: int, *, only_if_due: bool) -> Invoice | None:
    """Take an open invoice for LEASE; None where it is not open (or not due), or somebody is at it."""
    now = clock.now()
    with transaction.atomic(durable=True):  # inside another transaction nothing would be written before the first byte leaves
        found = Invoice.everywhere.select_for_update(of=("self",), skip_locked=True).select_related("issuer", "organization")
        found = found.filter(Q(claimed_until=None) | Q(claimed_until__lte=now), pk=invoice_id, status__in=OPEN)
        row = (found.filter(due_at__lte=now) if only_if_due else found).first()
        if row is not None:
            row.claimed_until = now + LEASE
            row.save(update_fields=["claimed_until"])
    return row


@contextmanager
def held(mine: Invoice) -> Iterator[None]:
    """A transaction with the claimed row locked, and `mine` as it stands in it. Raises ClaimLost.

    Where the transaction fails, `mine` keeps its claim; what else it says is read again by the next `held`.
    """
    token = mine.claimed_until
    try:
        with transaction.atomic(durable=True):
            mine.refresh_from_db(from_queryset=Invoice.everywhere.select_for_update())
            if token is None or mine.claimed_until != token:
                raise ClaimLost(f"invoice {mine.pk}")
            yield
    except BaseException:
        mine.claimed_until = token
        raise


@contextmanager
def taken(invoice: Invoice) -> Iterator[Invoice]:
    """The row, locked, for what a person asks. Raises NotNow while a worker is at it."""
    with transaction.atomic():
        row = _locked(invoice.pk)
        if row.claimed_until is not None and row.claimed_until > clock.now():
            raise NotNow(_("Esta nota está sendo processada agora. Tente de novo em um minuto."))
        yield row


def _locked(invoice_id: int) -> Invoice:
    return Invoice.everywhere.select_for_update(of=("self",)).select_related("issuer", "organization").get(pk=invoice_id)


def renew(row: Invoice) -> None:
    """A worker goes on with it: a lease from now on. Saved by the `move` or `save` that follows."""
    row.claimed_until = clock.now() + LEASE


def release(row: Invoice, *, due_at: dt.datetime | None) -> None:
    """The worker leaves it: the next step is due then; None waits for a person."""
    row.claimed_until, row.due_at = None, due_at


def move(row: Invoice, to: str, **fields: Any) -> None:
    """Write a status, with whatever else the caller set on the row. The same status again is only a save.

    Raises NotNow for what may not follow. Billed facts are free again when an invoice ends without being the live one.
    """
    if to != row.status and to not in MOVES[row.status]:
        raise NotNow(f"Uma nota {row.get_status_display().lower()} não pode passar a {Status(to).label.lower()}.")
    for name, value in fields.items():
        setattr(row, name, value)
    row.problem, row.problem_field = row.problem[:TEXT_MAX], row.problem_field[:FIELD_MAX]
    row.status = to
    row.save()
    if to not in Invoice.LIVE:
        InvoiceLine.everywhere.filter(invoice=row, is_live=True).update(is_live=False)


def note(invoice: Invoice, kind: str, text: str, *, heard: Heard | None = None, by: str = "", body: bytes = b"") -> InvoiceEvent:
    """Keep what was said or done, verbatim: an answer, or a document (`body`)."""
    return InvoiceEvent.everywhere.create(
        organization_id=invoice.organization_id, invoice=invoice, kind=kind, text=text[:TEXT_MAX], actor=by[:150],
        status_code=heard.status_code if heard else None, body=(heard.body if heard else body) or None,
    )  # fmt: skip
