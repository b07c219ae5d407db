"""Money that goes back to who paid: refunds that we ask (held first, settled or released by the bank's answer), refunds of Pix
that nobody could place, and returns that the payer's bank makes by itself (MED).

A refund's id is its hold's id, and its hex the devolução's id at the bank: asking again is asking for the same one.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid

from django.db import transaction

from accounts.suspension import suspend
from billing import ledger
from billing.errors import HoldAlreadyResolved, InsufficientBalance, NotReversible
from billing.models import LedgerEntry, Lot, Refund, UnmatchedPix, Wallet
from billing.money import format_brl, from_centavos
from billing.pix import psp
from billing.pix.errors import PixResolved, PspRefused, PspUnavailable, RefundRefused
from billing.pix.received import Devolucao, ReceivedPix, amount_text, read_devolucao
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger("billing.pix")

WINDOW = dt.timedelta(days=90)  # the API's: later no Pix can be returned
LIVE = (Refund.Status.HELD, Refund.Status.PROCESSING)
DISPUTE_REASON = "Devolução contestada pelo banco do pagador (MED)."


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def refundable_nanos(lot: Lot) -> int:
    """The unused part of a top-up, in whole centavos; 0 where it can't go back."""
    if end_to_end_id_of(lot) is None or clock.now() - lot.created_at > WINDOW:
        return 0
    left = min(ledger.lot_remaining(lot), Wallet.everywhere.get(pk=lot.wallet_id).available_nanos)
    return max(left - left % from_centavos(1), 0)


def end_to_end_id_of(lot: Lot) -> str | None:
    """The payment that a lot came from; None for money that did not come by PIX."""
    kind, _, end_to_end_id = lot.entry.reference.partition(":")
    return end_to_end_id if kind == "pix" and lot.kind == Lot.Kind.PAID else None


def refund_lot(lot: Lot, *, amount_nanos: int, by: str, reason: str) -> Refund:
    """Hold unused money of a top-up and ask the bank to return it. Raises RefundRefused; the bank's silence is no error."""
    end_to_end_id = end_to_end_id_of(lot)
    if end_to_end_id is None:
        raise RefundRefused("Só uma recarga por PIX pode ser devolvida.")
    if clock.now() - lot.created_at > WINDOW:
        raise RefundRefused("O PIX só pode ser devolvido em até 90 dias.")
    if amount_nanos <= 0 or amount_nanos % from_centavos(1):
        raise RefundRefused("O valor precisa ser positivo e ter no máximo duas casas decimais.")
    if not reason.strip():
        raise RefundRefused("Informe o motivo.")
    refund = Refund(
        id=uuid.uuid4(), lot=lot, end_to_end_id=end_to_end_id, amount_nanos=amount_nanos, reason=reason[:140], requested_by=by[:150]
    )
    try:
        with transaction.atomic():
            refund.save(force_insert=True)
            ledger.reserve_refund(refund.id, lot=lot, amount_nanos=amount_nanos)
    except InsufficientBalance:
        raise RefundRefused(f"Disponível para devolução: {format_brl(refundable_nanos(lot))}.") from None
    return ask_refund(refund)


def refund_unmatched(unmatched: UnmatchedPix, *, by: str, reason: str) -> Refund:
    """Return a Pix that no charge explains. It never entered a wallet. Raises PixResolved."""
    with transaction.atomic():
        locked = _lock_open(unmatched)
        refund = Refund.objects.create(
            id=uuid.uuid4(), unmatched=locked, end_to_end_id=locked.end_to_end_id, amount_nanos=locked.amount_nanos,
            reason=reason[:140], requested_by=by[:150],
        )  # fmt: skip
    return ask_refund(refund)


def credit_unmatched(unmatched: UnmatchedPix, *, wallet: Wallet, by: str, reason: str) -> LedgerEntry:
    """Put a Pix that no charge explains into the wallet that a person named. Raises PixResolved."""
    with transaction.atomic():
        locked = _lock_open(unmatched)
        entry = ledger.post_entry(
            kind=LedgerEntry.Kind.TOP_UP, reference=f"pix:{locked.end_to_end_id}", wallet=wallet,
            amount_nanos=locked.amount_nanos, book="world:pix", lot_kind=Lot.Kind.PAID, reason=reason, actor=by,
        )  # fmt: skip
        resolve_unmatched(locked, status=UnmatchedPix.Status.CREDITED, by=by, reason=reason)
    return entry


def resolve_unmatched(unmatched: UnmatchedPix, *, status: str, by: str, reason: str) -> None:
    UnmatchedPix.objects.filter(pk=unmatched.pk).update(
        status=status, resolved_by=by[:150], resolved_reason=reason[:300], resolved_at=clock.now()
    )


def _lock_open(unmatched: UnmatchedPix) -> UnmatchedPix:
    locked = UnmatchedPix.objects.select_for_update().get(pk=unmatched.pk)
    if locked.status != UnmatchedPix.Status.OPEN or locked.refunds.filter(status__in=LIVE).exists():
        raise PixResolved("Este PIX já foi resolvido ou está sendo devolvido.")
    return locked


# ── The bank's answer ────────────────────────────────────────────────────────────────────────────────────────────────
def ask_refund(refund: Refund) -> Refund:
    """Ask, or ask again with the same id. Silence leaves it held: the sweep goes on. Only a definite no releases it."""
    Refund.objects.filter(pk=refund.pk).update(asked_at=clock.now())
    crashpoint("refund_held")
    try:
        told = psp.request_devolucao(
            end_to_end_id=refund.end_to_end_id, refund_id=refund.id.hex, amount=amount_text(refund.amount_nanos),
            description=refund.reason,
        )  # fmt: skip
        follow_refund(refund, read_devolucao(told))
    except PspUnavailable as silence:
        log.warning("no answer about a refund", extra={"refund": str(refund.pk), "detail": str(silence)})
    except PspRefused as refusal:
        _settle_doubt(refund, refusal)
    except (KeyError, TypeError, ValueError):
        log.error("an odd answer about a refund", extra={"refund": str(refund.pk)})
    refund.refresh_from_db()
    return refund


def read_refund(refund: Refund) -> Refund:
    """Ask how a refund under way stands. Raises PspUnavailable."""
    Refund.objects.filter(pk=refund.pk).update(asked_at=clock.now())
    try:
        told = psp.read_devolucao(end_to_end_id=refund.end_to_end_id, refund_id=refund.id.hex)
        follow_refund(refund, read_devolucao(told))
    except PspRefused as refusal:
        raise PspUnavailable(str(refusal)) from refusal
    except (KeyError, TypeError, ValueError) as error:
        raise PspUnavailable("an odd devolução") from error
    refund.refresh_from_db()
    return refund


def follow_refund(refund: Refund, told: Devolucao) -> None:
    """Move a refund to where the bank says it is: settle on DEVOLVIDO, release on NAO_REALIZADO. Repeatable."""
    if told.amount_nanos != refund.amount_nanos:
        log.critical("the bank refunds another amount", extra={"refund": str(refund.pk)})
        return
    if told.status == "DEVOLVIDO":
        _finish(refund, status=Refund.Status.DONE, bank_reason="")
    elif told.status == "NAO_REALIZADO":
        _finish(refund, status=Refund.Status.REFUSED, bank_reason=told.reason or "Não realizada pelo banco.")
    else:
        Refund.objects.filter(pk=refund.pk, status=Refund.Status.HELD).update(status=Refund.Status.PROCESSING)


def _settle_doubt(refund: Refund, refusal: PspRefused) -> None:
    """A refused request may be the echo of one that went through: read it by its id before giving the money back."""
    try:
        read_refund(refund)
    except PspUnavailable as silence:
        if isinstance(silence.__cause__, PspRefused) and silence.__cause__.http_status == 404:
            _finish(refund, status=Refund.Status.REFUSED, bank_reason=f"{refusal.kind} {refusal.detail}".strip()[:200])
        else:
            log.warning("no answer about a refund", extra={"refund": str(refund.pk), "detail": str(silence)})


def _finish(refund: Refund, *, status: str, bank_reason: str) -> None:
    with transaction.atomic():
        locked = Refund.objects.select_for_update(of=("self",)).get(pk=refund.pk)
        if locked.status not in LIVE:
            return
        if locked.lot_id is not None and status == Refund.Status.DONE:
            ledger.settle_refund(locked.id, actor=locked.requested_by, reason=locked.reason)
        elif locked.lot_id is not None:
            ledger.release_refund(locked.id)
        elif locked.unmatched is not None and status == Refund.Status.DONE:
            resolve_unmatched(locked.unmatched, status=UnmatchedPix.Status.REFUNDED, by=locked.requested_by, reason=locked.reason)
        locked.status, locked.bank_reason, locked.done_at = status, bank_reason[:200], clock.now()
        locked.save(update_fields=["status", "bank_reason", "done_at"])


# ── What the bank did by itself ──────────────────────────────────────────────────────────────────────────────────────
def follow_devolucoes(received: ReceivedPix) -> None:
    """Every devolução of a payment: ours moves its Refund, a stranger that took money back is booked as a dispute."""
    for told in received.devolucoes:
        refund = _ours(received, told)
        if refund is not None and refund.status != Refund.Status.REFUSED:
            follow_refund(refund, told)
        elif told.status == "DEVOLVIDO":
            book_dispute(received, told)


def _ours(received: ReceivedPix, told: Devolucao) -> Refund | None:
    try:
        refund_id = uuid.UUID(hex=told.id)
    except ValueError:
        return None
    return Refund.objects.filter(pk=refund_id, end_to_end_id=received.end_to_end_id).first()


def book_dispute(received: ReceivedPix, told: Devolucao) -> None:
    """Take what the bank took: from the wallet what is there, the rest as overdraft, and the organization is suspended.

    A Pix that nobody placed is simply gone. Repeatable: the reference is the bank's id of the return.
    """
    entry = LedgerEntry.objects.filter(reference=f"pix:{received.end_to_end_id}").first()
    if entry is None:
        for unmatched in UnmatchedPix.objects.filter(end_to_end_id=received.end_to_end_id, status=UnmatchedPix.Status.OPEN):
            resolve_unmatched(unmatched, status=UnmatchedPix.Status.REFUNDED, by="banco", reason=DISPUTE_REASON)
        return
    if LedgerEntry.objects.filter(reference=f"med:{told.rtr_id}").exists():
        return
    wallet = Wallet.everywhere.get(lots__entry=entry)
    try:
        with transaction.atomic():
            ledger.post_entry(
                kind=LedgerEntry.Kind.REVERSAL, reference=f"med:{told.rtr_id}", wallet=wallet,
                amount_nanos=-told.amount_nanos, book="world:pix", reason=DISPUTE_REASON, actor="banco", reverses=entry,
            )  # fmt: skip
            suspend(wallet.organization, reason="Um pagamento foi contestado no banco de origem.")
    except (NotReversible, InsufficientBalance, HoldAlreadyResolved):
        # A second return of the same Pix, or one held by calls under way: the window is read again, and a person is told.
        log.critical("a dispute that the ledger can't book", extra={"rtr_id": told.rtr_id, "wallet": wallet.pk})
        return
    log.error("a dispute took money back", extra={"rtr_id": told.rtr_id, "wallet": wallet.pk, "nature": told.nature})
