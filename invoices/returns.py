"""Money of an invoiced top-up that went back to who paid it: the note is cancelled, or replaced by one of what is left.

Under per_topup a top-up's note tells what was received less what went back (`drafting.due_of_top_up`): refunds once they are
settled, disputes (MED, chargeback) as soon as the money is gone, reversals. Each turn compares, and does what the note allows:

| the note | nothing is left | less is left | more is left (a dispute was won) |
|---|---|---|---|
| was never sent | discarded | its amount is changed | its amount is changed |
| is being sent, asked for or cancelled | next turn | next turn | next turn |
| issued | `issuing.cancel` | `issuing.replace` | `issuing.cancel`, then drafted again, if it was lowered here |
| issued, the cancellation was refused (the city's deadline) | fiscal review, by a person | fiscal review | fiscal review |
| cancelled or discarded here | | drafted again, at what is left | drafted again |

Under monthly_consumption nothing is done: unused money never was invoiced, and used money is not refunded. A dispute of money that
was used takes nothing back from a month's note, for the service was rendered. Usage itself is never taken back in the books: there
is no negative usage, so no note of consumption is ever too high.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from django.db import connection
from django.db.models import Exists, OuterRef

from billing.billable import returns_of
from billing.errors import BillingError
from billing.models import Lot
from billing.money import from_centavos
from invoices import issuing
from invoices.attention import REVIEW_CODE, REVIEWED_CODE
from invoices.cancelling import REFUSED_CODE, replacement_of
from invoices.cutover import Eras, eras_of
from invoices.drafting import draft_top_up, due_of_top_up, half_up, withheld
from invoices.errors import Incomplete, InvoiceError, NotNow
from invoices.models import Invoice, InvoiceEvent, InvoiceLine
from invoices.states import NEVER_SENT, move, note, taken
from invoices.terms import active_issuer

ACTOR = "devoluções"
CANCEL_REASON = "Pagamento devolvido ao tomador; o serviço não foi prestado."
REPLACE_REASON = "Parte do pagamento foi devolvida ao tomador."
AGAIN_REASON = "Valor da nota refeito: pagamento contestado voltou ao prestador."
NOT_RENDERED, OTHER = "2", "99"
log = logging.getLogger("invoices.returns")


def follow_returns() -> int:
    """Bring every invoiced top-up's note in line with what is left of its money; returns how many were touched. For a task."""
    try:
        eras = eras_of(active_issuer())
    except Incomplete:
        return 0
    touched = 0
    for lot in _lots_with_returns():
        try:
            touched += follow_top_up(lot, eras=eras)
        except NotNow:  # a worker is at it: the next turn
            log.info("a note whose money went back waits", extra={"entry": lot.entry_id})
        except (InvoiceError, BillingError):
            log.exception("a note whose money went back", extra={"entry": lot.entry_id})
    return touched


def follow_top_up(lot: Lot, *, eras: Eras) -> bool:
    """One top-up. True where something was done. Raises NotNow while a worker is at the note."""
    due = due_of_top_up(lot, eras=eras)
    line = InvoiceLine.everywhere.filter(entry=lot.entry_id, is_live=True).select_related("invoice__organization").first()
    if line is None:
        return _draft_again(lot, centavos=half_up(due))
    invoice, wanted = line.invoice, half_up(due)
    pending = replacement_of(invoice)
    if pending is not None:
        return _change_replacement(invoice, pending, wanted)
    if wanted == invoice.amount_centavos:
        return False
    if invoice.status in NEVER_SENT:
        return _change_draft(invoice, nanos=due)
    if invoice.status != Invoice.Status.ISSUED:
        return False
    return _change_issued(invoice, wanted)


def _change_issued(invoice: Invoice, wanted: int) -> bool:
    if invoice.problem_code in (REVIEW_CODE, REVIEWED_CODE):
        return False
    if invoice.problem_code == REFUSED_CODE:
        return _leave_to_a_person(invoice, wanted)
    if wanted > invoice.amount_centavos and (invoice.replaces is None or invoice.replaces.cancel_by != ACTOR):
        return False  # a person asked for the lower amount
    try:
        if 0 < wanted < invoice.amount_centavos:
            issuing.replace(invoice, code=OTHER, reason=REPLACE_REASON, by=ACTOR, amount_centavos=wanted)
        else:
            reason = AGAIN_REASON if wanted else CANCEL_REASON
            issuing.cancel(invoice, code=NOT_RENDERED if not wanted else "9", reason=reason, by=ACTOR)
    except Incomplete as refusal:  # there is no way that software may go
        log.error("a note whose money went back can't be changed", extra={"invoice": invoice.pk, "detail": refusal.message})
        return _leave_to_a_person(invoice, wanted)
    return True


def _leave_to_a_person(invoice: Invoice, wanted: int) -> bool:
    """It stays issued, and in the admin's queue until a person and the accountant have decided."""
    left = f"{wanted // 100},{wanted % 100:02d}"
    text = f"Parte do dinheiro voltou a quem pagou: a nota deveria ser de R$ {left}. {invoice.problem}"
    with taken(invoice) as row:
        if row.status != Invoice.Status.ISSUED:
            return False
        note(row, InvoiceEvent.Kind.OURS, text, by=ACTOR)
        move(row, Invoice.Status.ISSUED, problem_code=REVIEW_CODE, problem=text.strip(), problem_field="")
    log.critical("a note needs a fiscal review", extra={"invoice": invoice.pk, "wanted_centavos": wanted})
    return True


def _change_draft(invoice: Invoice, *, nanos: int) -> bool:
    """Nothing of it was sent: its amount is what is left; the draft goes where nothing is."""
    wanted = half_up(nanos)
    if wanted <= 0:
        issuing.discard(invoice, by=ACTOR)
        return True
    with taken(invoice) as row:
        if row.status not in NEVER_SENT:
            return False
        InvoiceLine.everywhere.filter(invoice=row).update(amount_nanos=nanos)
        note(row, InvoiceEvent.Kind.OURS, "Valor alterado: parte do pagamento voltou, ou voltou a ser recebida.", by=ACTOR)
        move(row, row.status, amount_centavos=wanted, **withheld(row.organization, wanted))
    return True


def _change_replacement(invoice: Invoice, pending: Invoice, wanted: int) -> bool:
    """More went back while the note of what is left is under way. A person's own replacement goes its way first."""
    if wanted == pending.amount_centavos or pending.status not in NEVER_SENT or pending.cancel_by != ACTOR:
        return False
    if 0 < wanted < invoice.amount_centavos:
        return _change_draft(pending, nanos=from_centavos(wanted))
    issuing.discard(pending, by=ACTOR)  # the next turn sees the old note alone
    return True


def _draft_again(lot: Lot, *, centavos: int) -> bool:
    """Of a note that was ended here, and not by a person, because its money had gone back: it came again."""
    last = Invoice.everywhere.filter(lines__entry=lot.entry_id).order_by("-pk").first()
    if last is None or centavos <= 0 or not _ended_here(last):
        return False
    return draft_top_up(lot) is not None


def _ended_here(invoice: Invoice) -> bool:
    if invoice.status == Invoice.Status.CANCELLED:
        return invoice.cancel_by == ACTOR
    asked = InvoiceEvent.everywhere.filter(invoice=invoice, kind=InvoiceEvent.Kind.PERSON).order_by("-pk").first()
    return invoice.status == Invoice.Status.DISCARDED and asked is not None and asked.actor == ACTOR


def _lots_with_returns() -> Iterator[Lot]:
    """Top-ups that are, or were, on an invoice, and of which money went back."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT p.wallet_id FROM billing_posting p"
            " WHERE p.destination LIKE 'world:%' AND p.destination <> 'revenue:usage'"
            " AND p.wallet_id IN (SELECT t.wallet_id FROM invoices_invoiceline l JOIN billing_lot t ON t.entry_id = l.entry_id)"
        )
        wallets = [wallet for (wallet,) in cursor.fetchall()]
    entries = {back.entry_id for back in returns_of(wallets)} if wallets else set()
    invoiced = Exists(InvoiceLine.everywhere.filter(entry=OuterRef("entry")))
    lots = Lot.everywhere.filter(invoiced, kind=Lot.Kind.PAID, entry__in=entries - {None})
    yield from lots.select_related("entry", "wallet__organization").order_by("pk")
