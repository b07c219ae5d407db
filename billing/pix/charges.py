"""A top-up by PIX, from the amount asked to the money in the wallet. The bank's answer is the truth; a notice only hurries.

open_charge: the txid is minted and committed, then the bank is told (PUT, safe to repeat).
confirm_charge: GET /cob/{txid}, then every payment of it is credited at what was PAID, once per endToEndId.
Money that no charge of ours explains becomes an UnmatchedPix, for a person.

Lock order: charge or unmatched row, then the ledger (which locks the wallet).
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import uuid
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from accounts.models import User
from billing import ledger, top_ups
from billing.models import Charge, LedgerEntry, Lot, PixNotice, UnmatchedPix, Wallet
from billing.pix import brcode, psp, refunds
from billing.pix.errors import PspRefused, PspUnavailable
from billing.pix.received import ReceivedPix, amount_text, parse_pix
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger("billing.pix")

OPEN = (Charge.Status.OPENING, Charge.Status.PENDING)
REUSE_SECONDS_MIN = 300  # an open charge that ends sooner is not offered again
NOTICE_RETRY_SECONDS = (5, 15, 60, 300, 900, 3_600)


# ── Opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def open_charge(wallet: Wallet, *, amount_nanos: int, by: User | None) -> Charge:
    """The charge of this amount that awaits payment, or a new one with its code.

    Raises TopUpRefused, TooManyOpenCharges, PspRefused; PspUnavailable leaves the charge OPENING: the same call goes on with it.
    """
    top_ups.check_amount(wallet.organization, amount_nanos=amount_nanos)
    with transaction.atomic():
        top_ups.lock_openings(wallet)
        charge = _open_one(wallet, amount_nanos) or _mint(wallet, amount_nanos=amount_nanos, by=by)
    crashpoint("charge_minted")
    if charge.status == Charge.Status.OPENING:
        register_charge(charge)
    return charge


def register_charge(charge: Charge) -> Charge:
    """Tell the bank about a minted charge and keep its code. Safe to repeat; raises PspUnavailable, PspRefused."""
    Charge.everywhere.filter(pk=charge.pk).update(asked_at=clock.now())
    try:
        cob = _create_or_find(charge)
        code = cob.get("pixCopiaECola") or brcode.dynamic_code(
            location=cob.get("location") or cob["loc"]["location"],
            name=settings.RECEIVER_NAME, city=settings.RECEIVER_CITY, amount=amount_text(charge.amount_nanos),
        )  # fmt: skip
        created_at = dt.datetime.fromisoformat(cob["calendario"]["criacao"])
        seconds = int(cob["calendario"]["expiracao"])
    except (KeyError, TypeError, ValueError) as error:
        raise PspUnavailable(f"PUT /cob: odd answer, {type(error).__name__}") from error
    except PspRefused as refusal:
        Charge.everywhere.filter(pk=charge.pk, status=Charge.Status.OPENING).update(
            status=Charge.Status.FAILED, bank_error=str(refusal)[:200]
        )
        log.error("the bank refused a charge", extra={"txid": charge.txid, "kind": refusal.kind, "status": refusal.http_status})
        raise
    # A notice may have been faster: only an OPENING charge becomes PENDING.
    Charge.everywhere.filter(pk=charge.pk, status=Charge.Status.OPENING).update(status=Charge.Status.PENDING)
    Charge.everywhere.filter(pk=charge.pk).update(brcode=code, expires_at=created_at + dt.timedelta(seconds=seconds), bank_error="")
    charge.refresh_from_db()
    return charge


def _open_one(wallet: Wallet, amount_nanos: int) -> Charge | None:
    awaiting = Charge.everywhere.filter(wallet=wallet, status__in=OPEN, expires_at__gt=clock.now())
    soon = clock.now() + dt.timedelta(seconds=min(REUSE_SECONDS_MIN, settings.CHARGE_EXPIRES_SECONDS // 2))
    same = awaiting.filter(amount_nanos=amount_nanos, expires_at__gt=soon).order_by("-created_at").first()
    if same is None:
        top_ups.check_open(wallet)
    return same


def _mint(wallet: Wallet, *, amount_nanos: int, by: User | None) -> Charge:
    now = clock.now()
    return Charge.everywhere.create(
        id=clock.new_id(), wallet=wallet, txid=f"tk{uuid.uuid4().hex}", amount_nanos=amount_nanos, created_by=by,
        created_at=now, expires_at=now + dt.timedelta(seconds=settings.CHARGE_EXPIRES_SECONDS),
    )  # fmt: skip


def _create_or_find(charge: Charge) -> psp.Json:
    """PUT; after any refusal or lost answer GET, and take what is there if it is what we asked."""
    requested = _requested(charge)
    try:
        return psp.create_cob(txid=charge.txid, requested=requested)
    except (PspRefused, PspUnavailable) as failure:
        try:
            found = psp.read_cob(charge.txid)
        except (PspRefused, PspUnavailable):
            raise failure from None
        if found.get("valor", {}).get("original") == requested["valor"]["original"]:
            return found
        raise


def _requested(charge: Charge) -> psp.Json:
    organization = charge.wallet.organization
    requested: psp.Json = {
        "calendario": {"expiracao": settings.CHARGE_EXPIRES_SECONDS},
        "valor": {"original": amount_text(charge.amount_nanos), "modalidadeAlteracao": 0},
        "chave": settings.PSP_PIX_KEY,
        "solicitacaoPagador": f"Recarga Tokia {identifier_of(charge)}",
    }
    if re.fullmatch(r"[0-9A-Z]{14}", organization.tax_id):
        requested["devedor"] = {"cnpj": organization.tax_id, "nome": organization.name[:140]}
    elif re.fullmatch(r"\d{11}", organization.tax_id):
        requested["devedor"] = {"cpf": organization.tax_id, "nome": organization.name[:140]}
    return requested


# ── Confirming ───────────────────────────────────────────────────────────────────────────────────────────────────────
def confirm_charge(charge: Charge) -> Charge:
    """Ask the bank about one charge and book what it says. Raises PspUnavailable."""
    Charge.everywhere.filter(pk=charge.pk).update(asked_at=clock.now())
    try:
        cob = psp.read_cob(charge.txid)
    except PspRefused as refusal:
        if refusal.http_status != 404:
            raise PspUnavailable(str(refusal)) from refusal
        cob = {}  # the bank never heard of it, or has forgotten: only time ends it
    payments = [parse_pix(pix) for pix in cob.get("pix") or []]
    if payments:
        credit_charge(charge, payments)
    elif str(cob.get("status", "")).startswith("REMOVIDA"):
        Charge.everywhere.filter(pk=charge.pk, status__in=OPEN).update(status=Charge.Status.EXPIRED, bank_error=cob["status"])
    expire_charge(charge)
    charge.refresh_from_db()
    return charge


def expire_charge(charge: Charge) -> None:
    """Past its time a charge is EXPIRED for the customer; the bank is still asked for CHARGE_GRACE_SECONDS."""
    Charge.everywhere.filter(pk=charge.pk, status__in=OPEN, expires_at__lte=clock.now()).update(status=Charge.Status.EXPIRED)


def credit_charge(charge: Charge, payments: Sequence[ReceivedPix]) -> None:
    """Book the payments that the bank confirms for a charge: each at the amount paid, once, whatever the charge's state."""
    with transaction.atomic():
        locked = Charge.everywhere.select_for_update(of=("self",)).select_related("wallet").get(pk=charge.pk)
        for received in payments:
            if not _has_payment(locked, received.end_to_end_id):
                _credit_one(locked, received)
        locked.save(update_fields=["payments", "received_nanos", "status", "paid_at", "bank_error"])
    crashpoint("charge_credited")
    for received in payments:
        refunds.follow_devolucoes(received)


def _has_payment(charge: Charge, end_to_end_id: str) -> bool:
    return any(known["endToEndId"] == end_to_end_id for known in charge.payments)


def _credit_one(charge: Charge, received: ReceivedPix) -> None:
    unmatched = UnmatchedPix.objects.select_for_update().filter(end_to_end_id=received.end_to_end_id).first()
    if unmatched is not None and (unmatched.status != UnmatchedPix.Status.OPEN or unmatched.refunds.exists()):
        return  # a person already credited it or sent it back
    credit_pix(charge.wallet, end_to_end_id=received.end_to_end_id, amount_nanos=received.amount_nanos, actor="pix")
    if unmatched is not None:
        unmatched.status, unmatched.resolved_by = UnmatchedPix.Status.CREDITED, "pix"
        unmatched.resolved_reason, unmatched.resolved_at = f"Encontrada a cobrança {charge.txid}", clock.now()
        unmatched.save()
    charge.payments = [
        *charge.payments,
        {"endToEndId": received.end_to_end_id, "valor": received.amount, "horario": received.paid_at.isoformat()},
    ]
    charge.received_nanos += received.amount_nanos
    charge.status, charge.paid_at, charge.bank_error = Charge.Status.PAID, charge.paid_at or received.paid_at, ""
    if charge.received_nanos != charge.amount_nanos:
        log.warning("paid another amount", extra={"txid": charge.txid, "received_nanos": charge.received_nanos})


def credit_pix(wallet: Wallet, *, end_to_end_id: str, amount_nanos: int, actor: str, reason: str = "") -> LedgerEntry:
    """The one entry of a payment, for ever: the same endToEndId again is the same entry, with another amount an error.

    Told once, in the same transaction.
    """
    with transaction.atomic():
        entry = ledger.post_entry(
            kind=LedgerEntry.Kind.TOP_UP, reference=f"pix:{end_to_end_id}", wallet=wallet, amount_nanos=amount_nanos,
            book="world:pix", lot_kind=Lot.Kind.PAID, reason=reason, actor=actor,
        )  # fmt: skip
        refunds.tell_top_up(wallet, end_to_end_id=end_to_end_id, amount_nanos=amount_nanos)
    return entry


# ── Notices ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def confirm_notice(notice: PixNotice) -> None:
    """Follow a rumour to the bank; done once the bank has answered, whatever it said. Retried by the sweep otherwise."""
    try:
        _follow(notice)
    except PspUnavailable as error:
        pause = NOTICE_RETRY_SECONDS[min(notice.failures, len(NOTICE_RETRY_SECONDS) - 1)]
        PixNotice.objects.filter(pk=notice.pk).update(
            failures=notice.failures + 1, last_error=str(error)[:300], due_at=clock.now() + dt.timedelta(seconds=pause)
        )
        raise
    PixNotice.objects.filter(pk=notice.pk).update(status=PixNotice.Status.DONE, done_at=clock.now(), last_error="")


def _follow(notice: PixNotice) -> None:
    charge = Charge.everywhere.select_related("wallet").filter(txid=notice.txid).first() if notice.txid else None
    if charge is not None:
        charge = confirm_charge(charge)
        if _has_payment(charge, notice.end_to_end_id):
            return
    try:
        pix = psp.read_pix(notice.end_to_end_id)
    except PspRefused as refusal:
        raise PspUnavailable(str(refusal)) from refusal
    if pix is None:
        log.warning("a notice of a Pix that the bank does not know", extra={"end_to_end_id": notice.end_to_end_id})
        return
    place_pix(parse_pix(pix), told=pix)


def place_pix(received: ReceivedPix, *, told: psp.Json) -> None:
    """A payment that the bank confirms: to the charge of its txid, else to UnmatchedPix with all that the bank told."""
    charge = Charge.everywhere.select_related("wallet").filter(txid=received.txid).first() if received.txid else None
    if charge is not None:
        credit_charge(charge, [received])
        return
    if not LedgerEntry.objects.filter(reference=f"pix:{received.end_to_end_id}").exists():
        _, is_new = UnmatchedPix.objects.get_or_create(
            end_to_end_id=received.end_to_end_id,
            defaults={
                "txid": received.txid, "amount_nanos": received.amount_nanos, "payload": told, "paid_at": received.paid_at,
            },
        )  # fmt: skip
        if is_new:
            log.error("money that no charge explains", extra={"end_to_end_id": received.end_to_end_id, "txid": received.txid})
    refunds.follow_devolucoes(received)


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def identifier_of(charge: Charge) -> str:
    """What the payer's bank shows and a person can read out."""
    return f"TK{charge.txid[-8:].upper()}"
