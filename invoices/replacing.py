"""A note that takes the place of another: a draft of the same facts, and the tax office ends the old one when it issues the new.

Until then each fact is live once, on the old note: the draft's lines are not (`is_live` False). In the one transaction in which the
new note becomes ISSUED, the old one becomes REPLACED, its lines stop, and the new lines begin. A replacement that is refused and
discarded leaves the old note as it was. So whatever adds up live notes goes by live *lines*: a pending replacement has none.
"""

from __future__ import annotations

from django.db.models import Sum

from billing.money import from_centavos
from invoices.cancelling import replacement_of
from invoices.dps.build import clean_reason
from invoices.errors import Incomplete, NotNow
from invoices.models import Invoice, InvoiceEvent, InvoiceLine, InvoicePolicy
from invoices.states import move, note, release, taken
from invoices.terms import active_issuer
from tokia import clock

Status = Invoice.Status
CODES = ("01", "02", "03", "04", "05", "99")  # subst/cMotivo


def replace(invoice: Invoice, *, code: str, reason: str, by: str, amount_centavos: int | None = None) -> Invoice:
    """The draft that replaces an issued note; asked twice, it is the same one. The queue issues it.

    `amount_centavos`: only of a top-up's note, after a part of it went back; a month's note says what was consumed. Raises
    Incomplete for a code, reason or amount that can't be, NotNow where the note is not issued.
    """
    if code not in CODES:
        raise Incomplete("Escolha o motivo da substituição.", problem_code="REASON", param="invoice.cancel_code")
    reason = clean_reason(reason)
    with taken(invoice) as old:
        if old.status != Status.ISSUED:
            raise NotNow("Só uma nota emitida é substituída.")
        pending = replacement_of(old)
        if pending is not None:
            return pending
        amount = _amount_of(old, amount_centavos)
        new = Invoice(
            organization=old.organization, issuer=active_issuer() if not old.issuer.is_active else old.issuer, policy=old.policy,
            reference=_reference(old), month=old.month, competence_on=old.competence_on, amount_centavos=amount, replaces=old,
            cancel_code=code, cancel_reason=reason, cancel_by=by[:150], iss_withheld=old.iss_withheld,
            irrf_centavos=_share(old.irrf_centavos, old, amount), csll_centavos=_share(old.csll_centavos, old, amount),
            pis_cofins_withheld=old.pis_cofins_withheld,
        )  # fmt: skip
        release(new, due_at=clock.now())
        move(new, Status.DRAFT)
        _copy_lines(old, new)
        note(old, InvoiceEvent.Kind.PERSON, f"Substituição pedida: {reason}", by=by)
        note(new, InvoiceEvent.Kind.PERSON, f"Substitui a {old}: {reason}", by=by)
        move(old, Status.ISSUED, problem_code="", problem="", problem_field="")
    return new


def _amount_of(old: Invoice, wanted: int | None) -> int:
    if wanted is None or wanted == old.amount_centavos:
        return old.amount_centavos
    if old.policy != InvoicePolicy.Kind.TOP_UP:
        raise Incomplete(
            "O valor de uma nota do mês é o consumo do mês: ele não muda.", problem_code="AMOUNT", param="invoice.amount_centavos"
        )
    paid = InvoiceLine.everywhere.filter(invoice=old).aggregate(nanos=Sum("amount_nanos"))["nanos"] or 0
    if wanted <= 0 or from_centavos(wanted) > paid:
        raise Incomplete(
            "O valor novo deve ser maior que zero e não passar do que foi pago.", problem_code="AMOUNT",
            param="invoice.amount_centavos",
        )  # fmt: skip
    return wanted


def _share(withheld: int, old: Invoice, amount: int) -> int:
    """What is withheld goes with the amount, half-up."""
    return (withheld * amount * 2 + old.amount_centavos) // (old.amount_centavos * 2)


def _reference(old: Invoice) -> str:
    """ "month:7:2026-11:1" → the next number that no invoice had, discarded ones included."""
    stem = old.reference.rpartition(":")[0]
    taken_numbers = Invoice.everywhere.filter(reference__startswith=f"{stem}:").values_list("reference", flat=True)
    last = max((int(found.rpartition(":")[2]) for found in taken_numbers if found.rpartition(":")[2].isdigit()), default=1)
    return f"{stem}:{last + 1}"


def _copy_lines(old: Invoice, new: Invoice) -> None:
    lines = list(InvoiceLine.everywhere.filter(invoice=old).order_by("pk"))
    for line in lines:
        line.pk, line.invoice, line.is_live = None, new, False
        line._state.adding = True
        if new.policy == InvoicePolicy.Kind.TOP_UP and len(lines) == 1 and new.amount_centavos != old.amount_centavos:
            line.amount_nanos = from_centavos(new.amount_centavos)
    InvoiceLine.everywhere.bulk_create(lines)
