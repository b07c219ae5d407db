"""The lines of a batch and their money. The rows are the queue; every verb is one transaction.

| what dies, and where | line | money |
|---|---|---|
| before `begin_call` commits | runs again once its lease is over | nothing was held |
| between `begin_call` and `deliver_call` | runs again, as another call | the hold goes back then; the upstream is ours to pay |
| `deliver_call` before its commit | the same | the same |
| `deliver_call` after its commit | is done | was settled with it, once |

So a line is answered and settled, or neither. Lock order: the line, then the ledger's (gateway session, wallets, the rest).
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from billing import holds
from billing.holds import EndedCall, Settled
from billing.models import UsageRecord, Wallet
from billing.pricing import Usage
from gateway.batch_store import open_details
from gateway.calls import Caller
from gateway.models import Batch, BatchLine
from gateway.secrets import seal, unseal
from tokia import clock
from tokia.crashpoints import crashpoint

log = logging.getLogger(__name__)
TRIES_MAX = 12  # over an hour or so
DELAY_SECONDS, DELAY_SECONDS_MAX = 5, 600


class LineLost(Exception):
    """The line is another worker's by now, or its batch was stopped: nothing is done to it."""


class Line(NamedTuple):
    """A line that this worker has claimed."""

    id: int
    batch_id: uuid.UUID
    organization_id: int
    number: int
    tries: int
    request: bytes  # opened
    lease_id: uuid.UUID
    endpoint: str
    is_english: bool  # its refusals


def lease_seconds() -> dt.timedelta:
    return dt.timedelta(seconds=settings.BATCH_LEASE_SECONDS)


# ── Queue ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def claim_lines(batch: Batch, caller: Caller, *, lease_id: uuid.UUID, limit: int) -> list[Line]:
    """Up to `limit` lines that are due, or whose worker died; what a dead worker held for them goes back."""
    is_due = Q(status=BatchLine.Status.PENDING, due_at__lte=clock.now())
    is_orphan = Q(status=BatchLine.Status.RUNNING, lease_until__lt=Now())
    with transaction.atomic():
        rows = list(
            BatchLine.everywhere.select_for_update(skip_locked=True)
            .filter(is_due | is_orphan, batch=batch)
            .defer("answer")
            .order_by("number")[:limit]
        )
        _release([row for row in rows if row.call_id is not None], batch=batch, caller=caller)
        BatchLine.everywhere.filter(pk__in=[row.pk for row in rows]).update(
            status=BatchLine.Status.RUNNING, lease_id=lease_id, lease_until=Now() + lease_seconds(), call_id=None
        )
    organization_id, is_english = batch.organization_id, open_details(batch).is_english
    return [
        Line(
            row.pk, batch.pk, organization_id, row.number, row.tries,
            unseal(bytes(row.request), organization_id=organization_id), lease_id, batch.endpoint, is_english,
        )
        for row in rows
    ]  # fmt: skip


def release_orphans(batch: Batch, caller: Caller) -> int:
    """Lines of dead workers go back to the queue, in a batch that begins no more. Gives how many are still under way."""
    with transaction.atomic():
        running = BatchLine.everywhere.filter(batch=batch, status=BatchLine.Status.RUNNING)
        rows = list(running.select_for_update(skip_locked=True).filter(lease_until__lt=Now()).defer("answer", "request"))
        _release([row for row in rows if row.call_id is not None], batch=batch, caller=caller)
        BatchLine.everywhere.filter(pk__in=[row.pk for row in rows]).update(status=BatchLine.Status.PENDING, call_id=None)
        return running.count()


def renew_lines(line_ids: Collection[int], *, lease_id: uuid.UUID) -> None:
    """Only of lines that are really under way: a worker that lost one leaves it to its lease."""
    BatchLine.everywhere.filter(pk__in=line_ids, lease_id=lease_id, status=BatchLine.Status.RUNNING).update(
        lease_until=Now() + lease_seconds()
    )


def _release(rows: list[BatchLine], *, batch: Batch, caller: Caller) -> None:
    """Calls that nobody will finish: settled at nothing."""
    ended = [
        EndedCall(
            id=row.call_id, wallet_id=caller.wallet_id, api_key_id=batch.api_key_id, price_version_id=row.price_version_id,
            route_name=row.route_name, gross_nanos=0, outcome=UsageRecord.Outcome.FAILED, usage=Usage(requests=0),
            usage_source=UsageRecord.UsageSource.NONE, surface="batch", status_code=500, error_code="worker_lost",
            project_id=caller.project_id,
        )
        for row in rows
        if row.call_id is not None
    ]  # fmt: skip
    if ended:
        holds.settle(ended)
        log.warning("batch lines of a dead worker run again", extra={"batch": str(batch), "count": len(ended)})


# ── One call ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def begin_call(
    line: Line,
    *,
    call_id: uuid.UUID,
    wallet_id: int,
    amount_nanos: int,
    session: int,
    route_name: str,
    version: int,
    budgets: Sequence[int] = (),
) -> None:
    """The line's call and its hold, from the wallet and from `budgets`, committed before an upstream hears of it.

    Raises InsufficientBalance, BudgetExceeded, SessionFenced, LedgerUnavailable, LineLost."""
    with transaction.atomic():
        row = _lock(line)
        if not Batch.everywhere.filter(pk=line.batch_id, status=Batch.Status.IN_PROGRESS).exists():
            raise LineLost
        row.call_id, row.route_name, row.price_version_id = call_id, route_name, version
        row.save(update_fields=["call_id", "route_name", "price_version_id"])
        holds.place_hold(session, call_id=call_id, wallet=Wallet(pk=wallet_id), amount_nanos=amount_nanos, budgets=budgets)
        crashpoint("batch_before_hold_commit")
    crashpoint("batch_after_hold_commit")


def deliver_call(line: Line, *, ended: EndedCall, session: int, shape: Callable[[Settled], bytes]) -> Settled:
    """The answer and its settlement, in one transaction. `shape` gives the line of the output.

    Raises SessionFenced (the hold is gone: nothing is charged, the line runs again), LedgerUnavailable, LineLost."""
    with transaction.atomic():
        row = _lock(line, call_id=ended.id)
        holds.renew_session(session)
        [settled] = holds.settle([ended], session=session)
        row.answer = seal(shape(settled), organization_id=line.organization_id)
        row.status, row.error_code = BatchLine.Status.DONE, ""
        row.save(update_fields=["answer", "status", "error_code"])
        crashpoint("batch_before_commit")
    crashpoint("batch_after_commit")
    return settled


def fail_line(line: Line, *, answer: bytes, error_code: str, ended: EndedCall | None) -> None:
    """For good and free of charge. `ended`: the call, where one was begun. Raises LineLost, LedgerUnavailable."""
    with transaction.atomic():
        row = _lock(line, call_id=ended.id if ended else None)
        if ended is not None:
            holds.settle([ended])
        row.answer = seal(answer, organization_id=line.organization_id)
        row.status, row.error_code = BatchLine.Status.FAILED, error_code[:40]
        row.save(update_fields=["answer", "status", "error_code"])


def postpone_line(
    line: Line, *, error_code: str, ended: EndedCall | None, seconds: float | None = None, least: float = 0.0
) -> None:
    """Back into the queue, free of charge, later with each try. `seconds`: then, and it does not count as a try."""
    delay = seconds if seconds is not None else max(least, min(DELAY_SECONDS * 2**line.tries, DELAY_SECONDS_MAX))
    with transaction.atomic():
        row = _lock(line, call_id=ended.id if ended else None)
        if ended is not None:
            holds.settle([ended])
        row.status, row.call_id, row.error_code = BatchLine.Status.PENDING, None, error_code[:40]
        row.tries += seconds is None
        row.due_at = clock.now() + dt.timedelta(seconds=delay)
        row.save(update_fields=["status", "call_id", "error_code", "tries", "due_at"])


def _lock(line: Line, *, call_id: uuid.UUID | None = None) -> BatchLine:
    """The line's row, if it is still ours. Raises LineLost."""
    row = (
        BatchLine.everywhere.select_for_update()
        .filter(pk=line.id, status=BatchLine.Status.RUNNING, lease_id=line.lease_id, call_id=call_id)
        .defer("request", "answer")
        .first()
    )
    if row is None:
        raise LineLost
    return row
