"""Money that goes back to who paid by PIX: refunds that we ask (held first, settled or released by the bank's answer), refunds of
Pix that nobody could place, and returns that the payer's bank makes by itself (MED).

A refund's id is its hold's id, and its hex the devolução's id at the bank: asking again is asking for the same one.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid

from django.db import transaction
from django.utils.translation import gettext_noop

from accounts.models import Organization
from accounts.suspension import suspend
from billing import events, ledger
from billing.errors import InsufficientBalance, LedgerRefusal
from billing.models import LedgerEntry, Lot, Refund, UnmatchedPix, Wallet
from billing.pix import psp
from billing.pix.errors import PixResolved, PspRefused, PspUnavailable
from billing.pix.received import Devolucao, ReceivedPix, amount_text, listed, read_devolucao
from billing.refund_books import LIVE, finish_refund, mark_processing
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger("billing.pix")

WINDOW = dt.timedelta(days=90)  # the API's: later no Pix can be returned
DISPUTE_REASON = gettext_noop("Devolução contestada pelo banco do pagador (MED).")
OURS_REASON = gettext_noop("Devolução que o banco recusou e fez depois.")


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def end_to_end_id_of(lot: Lot) -> str | None:
    """The payment that a lot came from; None for money that did not come by PIX."""
    kind, _, end_to_end_id = lot.entry.reference.partition(":")
    return end_to_end_id if kind == "pix" and lot.kind == Lot.Kind.PAID else None


def refund_unmatched(unmatched: UnmatchedPix, *, by: str, reason: str) -> Refund:
    """Return what is left of a Pix that no charge explains. It never entered a wallet. Raises PixResolved."""
    with transaction.atomic():
        locked = _lock_open(unmatched)
        refund = Refund.objects.create(
            id=uuid.uuid4(), unmatched=locked, end_to_end_id=locked.end_to_end_id,
            amount_nanos=locked.amount_nanos - taken_back_nanos(locked), reason=reason[:140], requested_by=by[:150],
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
        tell_top_up(wallet, end_to_end_id=locked.end_to_end_id, amount_nanos=locked.amount_nanos)
        resolve_unmatched(locked, status=UnmatchedPix.Status.CREDITED, by=by, reason=reason)
        for told in _returns_of(locked):  # the payer's bank took part of it before anybody knew whose it was
            _dispute(wallet, entry=entry, end_to_end_id=locked.end_to_end_id, told=told)
    return entry


def tell_top_up(wallet: Wallet, *, end_to_end_id: str, amount_nanos: int) -> None:
    """That a Pix is in the wallet; once, whoever credits it."""
    events.tell(
        wallet.organization, "wallet.top_up", reference=f"wallet.top_up:pix:{end_to_end_id}",
        payload={"amount": amount_text(amount_nanos), "paid_by": "pix", "reference": end_to_end_id, "is_automatic": False},
    )  # fmt: skip


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
        _finish(refund, status=Refund.Status.REFUSED, bank_reason=told.reason or gettext_noop("Não realizada pelo banco."))
    else:
        mark_processing(refund)


def _settle_doubt(refund: Refund, refusal: PspRefused) -> None:
    """A refused request may be the echo of one that went through: read it by its id before giving the money back."""
    try:
        read_refund(refund)
    except PspUnavailable as silence:
        if isinstance(silence.__cause__, PspRefused) and silence.__cause__.http_status == 404:
            _finish(refund, status=Refund.Status.REFUSED, bank_reason=f"{refusal.kind} {refusal.detail}".strip()[:200])
        else:
            log.warning("no answer about a refund", extra={"refund": str(refund.pk), "detail": str(silence)})


def _finish(refund: Refund, *, status: Refund.Status, bank_reason: str) -> None:
    with transaction.atomic():
        is_moved = finish_refund(refund, status=status, bank_reason=bank_reason)
        if is_moved and status == Refund.Status.DONE and refund.unmatched is not None:
            resolve_unmatched(refund.unmatched, status=UnmatchedPix.Status.REFUNDED, by=refund.requested_by, reason=refund.reason)


# ── What the bank did by itself ──────────────────────────────────────────────────────────────────────────────────────
def follow_devolucoes(received: ReceivedPix) -> None:
    """Every devolução of a payment: ours moves its Refund, a stranger that took money back is booked as a dispute."""
    for told in received.devolucoes:
        refund = _ours(received, told)
        if refund is not None and refund.status != Refund.Status.REFUSED:
            follow_refund(refund, told)
        elif told.status == "DEVOLVIDO":
            book_dispute(received, told, is_ours=refund is not None)


def _ours(received: ReceivedPix, told: Devolucao) -> Refund | None:
    try:
        refund_id = uuid.UUID(hex=told.id)
    except ValueError:
        return None
    return Refund.objects.filter(pk=refund_id, end_to_end_id=received.end_to_end_id).first()


def book_dispute(received: ReceivedPix, told: Devolucao, *, is_ours: bool = False) -> None:
    """Take what the payer's bank took, whole or in part, any number of times: from the wallet what is there and not held, the rest
    as overdraft, and the organization is suspended. Of a Pix that nobody placed it is noted, until all of it is gone.

    `is_ours`: a refund of ours that the bank refused first and made all the same. Nobody is suspended for it.
    Repeatable: the reference is the bank's id of the return.
    """
    entry = LedgerEntry.objects.filter(reference=f"pix:{received.end_to_end_id}").first()
    if entry is None:
        _note_return(received, told)
    elif not LedgerEntry.objects.filter(reference=f"med:{told.rtr_id}").exists():
        wallet = Wallet.everywhere.select_related("organization").get(lots__entry=entry)
        _dispute(wallet, entry=entry, end_to_end_id=received.end_to_end_id, told=told, is_ours=is_ours)


def _dispute(wallet: Wallet, *, entry: LedgerEntry, end_to_end_id: str, told: Devolucao, is_ours: bool = False) -> None:
    reference = f"med:{told.rtr_id}"
    try:
        with transaction.atomic():
            ledger.post_entry(
                kind=LedgerEntry.Kind.DISPUTE, reference=reference, wallet=wallet, amount_nanos=-told.amount_nanos,
                book=ledger.WORLD_PIX, reason=OURS_REASON if is_ours else DISPUTE_REASON, actor="banco", reverses=entry,
            )  # fmt: skip
            if not is_ours:
                _suspend(wallet.organization, reference=reference, end_to_end_id=end_to_end_id, amount_nanos=told.amount_nanos)
    except (LedgerRefusal, InsufficientBalance) as refusal:  # booked otherwise: another amount under the same id of the bank
        log.critical("a dispute that the ledger can't book", extra={"rtr_id": told.rtr_id, "detail": refusal.message})
        return
    log.error("a dispute took money back", extra={"rtr_id": told.rtr_id, "wallet": wallet.pk, "nature": told.nature})


def _suspend(organization: Organization, *, reference: str, end_to_end_id: str, amount_nanos: int) -> None:
    reason = gettext_noop("Um pagamento foi contestado no banco de origem.")
    suspend(organization, reason=reason)
    payload = {"amount": amount_text(amount_nanos), "paid_by": "pix", "status": "lost", "reference": end_to_end_id}
    events.tell(organization, "dispute.opened", reference=reference, payload=payload)
    events.tell(  # the mail about the dispute says it too
        organization, "organization.suspended", reference=f"{reference}:suspended", payload={"reason": reason}, is_mailed=False
    )


def _note_return(received: ReceivedPix, told: Devolucao) -> None:
    with transaction.atomic():
        unmatched = UnmatchedPix.objects.select_for_update().filter(end_to_end_id=received.end_to_end_id).first()
        if unmatched is None or unmatched.status != UnmatchedPix.Status.OPEN:
            return
        known = listed(unmatched.payload.get("devolucoes"))
        if all(item.get("id") != told.id or item.get("status") != "DEVOLVIDO" for item in known):
            noted = {"id": told.id, "rtrId": told.rtr_id, "valor": amount_text(told.amount_nanos), "natureza": told.nature,
                     "status": told.status}  # fmt: skip
            unmatched.payload["devolucoes"] = [*(item for item in known if item.get("id") != told.id), noted]
            unmatched.save(update_fields=["payload"])
            log.error("a dispute took money that nobody placed", extra={"end_to_end_id": received.end_to_end_id})
        if taken_back_nanos(unmatched) >= unmatched.amount_nanos:
            resolve_unmatched(unmatched, status=UnmatchedPix.Status.REFUNDED, by="banco", reason=DISPUTE_REASON)


def taken_back_nanos(unmatched: UnmatchedPix) -> int:
    """What the payer's bank has taken back of a Pix that nobody placed."""
    return sum(told.amount_nanos for told in _returns_of(unmatched))


def _returns_of(unmatched: UnmatchedPix) -> list[Devolucao]:
    ours = {refund.id.hex for refund in unmatched.refunds.exclude(status=Refund.Status.REFUSED)}
    told = [read_devolucao(item) for item in listed(unmatched.payload.get("devolucoes"))]
    return [item for item in told if item.status == "DEVOLVIDO" and item.id not in ours]
