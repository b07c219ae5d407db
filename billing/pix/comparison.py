"""The bank's list of Pix against our books, both ways. It only looks: what is missing here is the sweep's to book.

A period is compared by the time of the payment. What our books have of the period and the list does not is asked for one by one
(a Pix that a person placed weeks later is older than the list).
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator

from billing.differences import Comparison, Subject, comparing
from billing.models import Event, LedgerEntry, Lot, Posting, Refund, UnmatchedPix
from billing.money import format_brl
from billing.pix import psp
from billing.pix.errors import PspRefused, PspUnavailable
from billing.pix.received import Devolucao, ReceivedPix, listed, parse_pix

SETTLING = dt.timedelta(minutes=10)  # what came just now may be in one list and not yet in the other
ASKED_MAX = 200  # Pix that are asked for one by one in a run


def compare_pix(*, first_at: dt.datetime, last_at: dt.datetime) -> tuple[Comparison, Comparison]:
    """What was received and what was returned in a period. Raises PspUnavailable: then nothing was compared."""
    with (
        comparing(Subject.PIX_REFUND, first_at=first_at, last_at=last_at) as returned,
        comparing(Subject.PIX, first_at=first_at, last_at=last_at) as received,
    ):
        told: dict[str, ReceivedPix] = {}
        for page in psp.list_pix(start=first_at, end=last_at):
            batch = [parse_pix(pix) for pix in page]
            told |= {pix.end_to_end_id: pix for pix in batch}
            _compare_batch(batch, received=received, returned=returned)
        settled_at = last_at - SETTLING
        _compare_ours(told, received, returned, first_at=first_at, last_at=settled_at)
    return received, returned


def _compare_batch(batch: list[ReceivedPix], *, received: Comparison, returned: Comparison) -> None:
    booked = _booked(pix.end_to_end_id for pix in batch)
    unplaced = {row.end_to_end_id: row for row in UnmatchedPix.objects.filter(end_to_end_id__in=[p.end_to_end_id for p in batch])}
    for pix in batch:
        row = unplaced.get(pix.end_to_end_id)
        ours, detail = booked.get(pix.end_to_end_id), ""
        if ours is None and row is not None:
            if row.status == UnmatchedPix.Status.OPEN:
                detail = "Na fila de PIX não identificados."
            else:
                ours = row.amount_nanos
        received.compare(pix.end_to_end_id, at=pix.paid_at, ours=ours, theirs=pix.amount_nanos, detail=detail)
        _compare_returns(pix, returned, row)


def _compare_returns(pix: ReceivedPix, returned: Comparison, unplaced: UnmatchedPix | None) -> None:
    for told in pix.devolucoes:
        if told.status == "DEVOLVIDO":
            returned.compare(
                _name(pix.end_to_end_id, told), at=pix.paid_at, ours=_returned(pix, told, unplaced), theirs=told.amount_nanos,
                detail=f"{told.nature}, do PIX de {format_brl(pix.amount_nanos)}.",
            )  # fmt: skip


def _name(end_to_end_id: str, told: Devolucao) -> str:
    return f"{end_to_end_id}/{told.id}"


def _returned(pix: ReceivedPix, told: Devolucao, unplaced: UnmatchedPix | None) -> int | None:
    """What our books have of a return: a refund that is done, a dispute, or a note at a Pix that nobody placed."""
    if (refund := _refund_of(told.id)) is not None and refund.status == Refund.Status.DONE:
        return refund.amount_nanos
    entry = LedgerEntry.objects.filter(reference=f"med:{told.rtr_id}").first()
    if entry is not None:
        return sum(Posting.objects.filter(entry=entry, destination="world:pix").values_list("amount_nanos", flat=True))
    if unplaced is not None and any(item.get("id") == told.id for item in listed(unplaced.payload.get("devolucoes"))):
        return told.amount_nanos
    return None


def _refund_of(told_id: str) -> Refund | None:
    try:
        return Refund.objects.filter(pk=uuid.UUID(hex=told_id)).first()
    except ValueError:
        return None


def _booked(end_to_end_ids: Iterable[str]) -> dict[str, int]:
    lots = Lot.everywhere.filter(entry__reference__in=[f"pix:{name}" for name in end_to_end_ids], kind=Lot.Kind.PAID)
    return {reference[4:]: nanos for reference, nanos in lots.values_list("entry__reference", "amount_nanos")}


def _compare_ours(
    told: dict[str, ReceivedPix], received: Comparison, returned: Comparison, *, first_at: dt.datetime, last_at: dt.datetime
) -> None:
    """What our books have of the period and the bank's list has not."""
    lots = Lot.everywhere.filter(entry__reference__startswith="pix:", created_at__gte=first_at, created_at__lte=last_at)
    asked: dict[str, ReceivedPix | None] = {}
    for reference, nanos, at in lots.values_list("entry__reference", "amount_nanos", "created_at"):
        name = reference[4:]
        if name not in told:
            pix = _ask(name, asked)
            received.compare(name, at=at, ours=nanos, theirs=pix.amount_nanos if pix else None)
    for name, devolucao_id, nanos, at in _our_returns(first_at, last_at):
        pix = told.get(name) or _ask(name, asked)
        found = [item for item in pix.devolucoes if devolucao_id in (item.id, item.rtr_id)] if pix else []
        theirs = sum(item.amount_nanos for item in found if item.status == "DEVOLVIDO") if found else None
        if theirs != nanos:
            returned.compare(f"{name}/{devolucao_id}", at=at, ours=nanos, theirs=theirs)


def _our_returns(first_at: dt.datetime, last_at: dt.datetime) -> Iterator[tuple[str, str, int, dt.datetime]]:
    """(endToEndId, the return's id at the bank, nanos, when): refunds that are done, and disputes (their event names the Pix)."""
    done = Refund.objects.filter(status=Refund.Status.DONE, done_at__gte=first_at, done_at__lte=last_at).exclude(end_to_end_id="")
    for refund in done:
        assert refund.done_at is not None
        yield refund.end_to_end_id, refund.id.hex, refund.amount_nanos, refund.done_at
    told = Event.everywhere.filter(type="dispute.opened", reference__startswith="med:", created_at__gte=first_at)
    for event in told.filter(created_at__lte=last_at):
        entry = LedgerEntry.objects.filter(reference=event.reference).first()
        if entry is not None:
            out = Posting.objects.filter(entry=entry, destination="world:pix").values_list("amount_nanos", flat=True)
            yield str(event.payload["reference"]), event.reference.removeprefix("med:"), sum(out), event.created_at


def _ask(end_to_end_id: str, asked: dict[str, ReceivedPix | None]) -> ReceivedPix | None:
    """Raises PspUnavailable."""
    if end_to_end_id not in asked:
        if len(asked) >= ASKED_MAX:
            raise PspUnavailable("too much of the period is not in the bank's list: is it the right bank?")
        try:
            told = psp.read_pix(end_to_end_id)
        except PspRefused as refusal:
            if refusal.http_status != 400:  # an id that can't be one: the bank has none of it
                raise PspUnavailable(str(refusal)) from refusal
            told = None
        asked[end_to_end_id] = parse_pix(told) if told is not None else None
    return asked[end_to_end_id]
