"""A refund's status and its money, moved together: held when it is asked for, settled when it was returned, released when not.

The two ways back (`billing/pix/refunds.py`, `billing/cards/`) call these verbs; nobody else writes a Refund's status.

| status | money | goes to |
|---|---|---|
| HELD | held; the bank has not acknowledged it, and is asked again by the same id | PROCESSING, DONE, REFUSED |
| PROCESSING | held; the bank works on it | DONE, REFUSED |
| DONE | out of the wallet (`refund:<id>`) | |
| REFUSED | free again | |

Lock order: the refund's row, then the ledger (which locks the wallet).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils.translation import gettext

from billing import events, ledger
from billing.errors import BillingError, InsufficientBalance
from billing.figures import tell_brl
from billing.models import Lot, Refund, Wallet
from billing.money import CENTAVO, from_centavos, to_brl
from tokia import clock

LIVE = (Refund.Status.HELD, Refund.Status.PROCESSING)
REASON_MAX = 140  # the payer reads it at the bank


class RefundRefused(BillingError):
    """Money that can't go back: already used, out of time, or already on its way."""

    code = "refund_refused"
    status = 409


def left_of(lot: Lot) -> int:
    """What of a lot is neither used nor held, in whole centavos (the rest of a centavo can't be paid)."""
    left = min(ledger.lot_remaining(lot), Wallet.everywhere.get(pk=lot.wallet_id).available_nanos)
    return max(left - left % CENTAVO, 0)


def open_refund(
    lot: Lot, *, refund_id: uuid.UUID, amount_nanos: int, by: str, reason: str, check: Callable[[], None] = lambda: None, **of: Any
) -> Refund:
    """Hold unused money of a lot for a refund. `of`: its end_to_end_id, or its card_payment.

    The same id again is the same refund. `check` runs once, in the transaction that makes it and under the wallet's lock: it may
    still refuse. Raises RefundRefused.
    """
    if amount_nanos <= 0 or amount_nanos % from_centavos(1):
        raise RefundRefused(gettext("O valor precisa ser positivo e ter no máximo duas casas decimais."))
    if not reason.strip():
        raise RefundRefused(gettext("Informe o motivo."))
    try:
        with transaction.atomic():
            refund, is_new = Refund.objects.get_or_create(
                id=refund_id,
                defaults={
                    "lot": lot,
                    "amount_nanos": amount_nanos,
                    "reason": reason.strip()[:REASON_MAX],
                    "requested_by": by[:150],
                    **of,
                },
            )
            if is_new:
                ledger.reserve_refund(refund.id, lot=lot, amount_nanos=amount_nanos)
                check()
    except InsufficientBalance:
        raise RefundRefused(gettext("Disponível para devolução: {amount}.").format(amount=tell_brl(left_of(lot)))) from None
    if (refund.lot_id, refund.amount_nanos) != (lot.pk, amount_nanos):
        raise RefundRefused(gettext("Este pedido já foi usado para outra devolução. Recarregue a página."))
    return refund


def mark_processing(refund: Refund) -> None:
    """The bank has it, and has not decided."""
    Refund.objects.filter(pk=refund.pk, status=Refund.Status.HELD).update(status=Refund.Status.PROCESSING)


def finish_refund(refund: Refund, *, status: Refund.Status, bank_reason: str = "", book: str = ledger.WORLD_PIX) -> bool:
    """The bank's last word: DONE books it, REFUSED frees the money; the organization is told either way.

    False where it was finished before: nothing moves twice.
    """
    with transaction.atomic():
        locked = Refund.objects.select_for_update(of=("self",)).select_related("lot__wallet__organization").get(pk=refund.pk)
        if locked.status not in LIVE:
            return False
        locked.status, locked.bank_reason, locked.done_at = status, bank_reason[:200], clock.now()
        locked.save(update_fields=["status", "bank_reason", "done_at"])
        if locked.lot is None:
            return True
        if status == Refund.Status.DONE:
            ledger.settle_refund(locked.id, actor=locked.requested_by, reason=locked.reason, book=book)
        else:
            ledger.release_refund(locked.id)
        events.tell(
            locked.lot.wallet.organization, f"refund.{status}", reference=f"refund:{locked.id}:{status}",
            payload={
                "amount": f"{to_brl(locked.amount_nanos):.2f}", "paid_by": locked.paid_by, "reason": bank_reason or locked.reason,
                "refund_id": str(locked.id),
            },
        )  # fmt: skip
    return True
