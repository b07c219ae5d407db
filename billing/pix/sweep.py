"""What no notice told: notices to retry, charges that await payment, and the bank's own list of Pix.

Each verb asks in order of the longest silence and stops at the bank's first silence: the next run goes on.
"""

from __future__ import annotations

import datetime as dt
import logging

from django.conf import settings
from django.db.models import F, Q

from billing.models import Charge, LedgerEntry, PixNotice, UnmatchedPix
from billing.pix import charges, psp, refunds
from billing.pix.errors import PspRefused, PspUnavailable
from billing.pix.received import ReceivedPix, parse_pix
from tokia import clock

log = logging.getLogger("billing.pix")

BATCH = 200
ASK_AFTER_SECONDS = 50  # the sweep runs each minute


def sweep_notices() -> int:
    """Follow the notices that are due. Returns how many were settled."""
    done = 0
    for notice in PixNotice.objects.filter(status=PixNotice.Status.DUE, due_at__lte=clock.now()).order_by("due_at")[:BATCH]:
        try:
            charges.confirm_notice(notice)
            done += 1
        except PspUnavailable as silence:
            log.warning("the bank is silent", extra={"notice": notice.pk, "detail": str(silence)})
    return done


def sweep_charges() -> int:
    """Ask about every charge that may still be paid, those that expired within the grace included; finish those that the bank
    never acknowledged. Returns how many were asked."""
    now = clock.now()
    silent = Q(asked_at=None) | Q(asked_at__lte=now - dt.timedelta(seconds=ASK_AFTER_SECONDS))
    in_grace = Q(status=Charge.Status.EXPIRED, expires_at__gt=now - dt.timedelta(seconds=settings.CHARGE_GRACE_SECONDS))
    due = Charge.everywhere.filter(silent, in_grace | Q(status__in=charges.OPEN)).select_related("wallet__organization")
    asked = 0
    for charge in due.order_by(F("asked_at").asc(nulls_first=True))[:BATCH]:
        try:
            if charge.status == Charge.Status.OPENING and charge.expires_at > now:
                charges.register_charge(charge)
            charges.confirm_charge(charge)
            asked += 1
        except PspRefused as refusal:
            log.error("the bank refused a charge", extra={"txid": charge.txid, "detail": str(refusal)})
        except PspUnavailable as silence:
            log.warning("the bank is silent", extra={"txid": charge.txid, "detail": str(silence)})
            break
    return asked


def sweep_window(*, hours: int) -> int:
    """Read the bank's list of Pix over the last hours, page by page, and place what our books don't have; match what nobody
    could place to charges that have appeared since. Returns how many were placed. Raises PspUnavailable."""
    placed = 0
    end = clock.now() + dt.timedelta(minutes=5)  # the bank's clock may be ahead
    for page in psp.list_pix(start=end - dt.timedelta(hours=hours), end=end):
        told = {received.end_to_end_id: (received, pix) for pix in page if (received := _read(pix)) is not None}
        known = {reference[4:] for reference in _booked(list(told))}
        known |= set(UnmatchedPix.objects.filter(end_to_end_id__in=told).values_list("end_to_end_id", flat=True))
        for end_to_end_id, (received, pix) in told.items():
            if end_to_end_id not in known or _has_charge(received):
                charges.place_pix(received, told=pix)
                placed += end_to_end_id not in known
            else:
                refunds.follow_devolucoes(received)
    return placed


def _booked(end_to_end_ids: list[str]) -> list[str]:
    references = [f"pix:{end_to_end_id}" for end_to_end_id in end_to_end_ids]
    return list(LedgerEntry.objects.filter(reference__in=references).values_list("reference", flat=True))


def _has_charge(received: ReceivedPix) -> bool:
    """Whether an unplaced Pix has found its charge since: the row was not there when the notice came."""
    return (
        UnmatchedPix.objects.filter(end_to_end_id=received.end_to_end_id, status=UnmatchedPix.Status.OPEN).exists()
        and Charge.everywhere.filter(txid=received.txid).exists()
    )


def _read(pix: psp.Json) -> ReceivedPix | None:
    try:
        return parse_pix(pix)
    except PspUnavailable:
        log.error("the bank lists a Pix that is none")
        return None
