"""A worker's turn at the batches: check new ones, make calls for the lines that are due, write what has ended.

Several workers may take turns at once; each line and each batch is one worker's at a time, by its lease. A turn lasts TURN_SECONDS,
then it begins nothing more and waits for what is under way. Whoever dies leaves rows that the next turn takes up.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

import msgspec
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import SnapshotVersion
from billing import holds
from billing.errors import BudgetExceeded, InsufficientBalance, SessionFenced
from billing.pricing import Usage
from gateway import catalog
from gateway.batch_calls import LineProcess, Request, Snapshot, call_line, end_call, read_request, word_error
from gateway.batch_check import LeaseLost, check_batch
from gateway.batch_lines import (
    TRIES_MAX,
    Line,
    LineLost,
    begin_call,
    claim_lines,
    deliver_call,
    fail_line,
    lease_seconds,
    postpone_line,
    release_orphans,
    renew_lines,
)
from gateway.batch_results import begin_end, end_batch, write_line
from gateway.batch_store import stop_batch
from gateway.callers import check_caller, read_caller
from gateway.calls import CallContext, Caller
from gateway.ending import end_tasks
from gateway.errors import Unauthorized, internal_error
from gateway.metering import OpenCall
from gateway.models import Batch, BatchLine
from gateway.surfaces.responses_store import ResponseStore
from gateway.threads import DatabaseThreads
from gateway.upstream import Upstream
from tokia import clock
from tokia.errors import TokiaError

log = logging.getLogger(__name__)
TURN_SECONDS = 20.0
LOOK_SECONDS = 0.5  # between two looks for work
POOR_PAUSE = dt.timedelta(seconds=30)  # until a batch tries again whose wallet had too little
SLOTS = 0x746F6B69  # the advisory locks of workers that run batches
THREADS = 6
T = TypeVar("T")


def run_batches(*, seconds: float = TURN_SECONDS) -> int:
    """One turn; gives how many lines were answered. Nothing where BATCH_RUNNERS workers are at it already."""
    if not has_work():
        return 0
    for slot in range(settings.BATCH_RUNNERS):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [SLOTS, slot])
            [is_ours] = cursor.fetchone() or [False]
        if not is_ours:
            continue
        try:
            return asyncio.run(Turn().run(seconds=seconds))
        finally:
            with contextlib.suppress(DatabaseError), connection.cursor() as cursor:  # a connection that was lost has no lock
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [SLOTS, slot])
    return 0


def has_work() -> bool:
    return Batch.everywhere.filter(ended_at=None).exists()


class Turn:
    """One worker's turn. All its database work is in threads."""

    def __init__(self) -> None:
        self.lease_id = uuid.uuid4()
        self.session = 0  # opened with the first line: a turn that only looks leaves no row
        self.delivered = 0
        self._threads = DatabaseThreads("batches", count=THREADS)
        self._process = LineProcess(Snapshot(catalog.EMPTY), Upstream(), ResponseStore())
        self._catalog_version = -1
        self._lines: dict[asyncio.Task[None], Line] = {}
        self._batches: dict[asyncio.Task[None], uuid.UUID] = {}

    async def run(self, *, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        await self._process.upstream.start()
        await self._process.credentials.start()
        heart = asyncio.create_task(self._beat())
        try:
            is_first = True
            while True:
                if is_first or time.monotonic() < deadline:
                    await self._try_look()
                    is_first = False
                running = [*self._lines, *self._batches]
                if not running:
                    return self.delivered
                await asyncio.wait(running, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                self._lines = {task: line for task, line in self._lines.items() if not task.done()}
                self._batches = {task: id_ for task, id_ in self._batches.items() if not task.done()}
        finally:
            for task in (rest := [*self._lines, *self._batches]):
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            await end_tasks([heart])
            if self.session:
                with contextlib.suppress(Exception):  # it is reaped soon
                    await self._threads.run(lambda: holds.close_session(self.session))
            await self._process.upstream.stop()
            await self._process.credentials.stop()
            await self._process.responses.stop()
            await self._threads.stop()

    def _open_session(self) -> int:
        return holds.open_session(f"batches {socket.gethostname()[:60]} {os.getpid()}")

    # ── Alive ────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(min(settings.BATCH_LEASE_SECONDS, settings.GATEWAY_SESSION_SECONDS) / 5)
            try:
                await self._threads.run(self._renew)
            except SessionFenced:
                log.warning("a batch worker was fenced; it goes on under another session")
                self.session = await self._threads.run(self._open_session)
            except Exception as error:  # the database is away: leases run out if it stays so
                log.warning("leases not renewed: %s", type(error).__name__)

    def _renew(self) -> None:
        renew_lines([line.id for line in self._lines.values()], lease_id=self.lease_id)
        Batch.everywhere.filter(pk__in=list(self._batches.values()), lease_id=self.lease_id).update(
            lease_until=Now() + lease_seconds()
        )
        if self.session:
            holds.renew_session(self.session)

    # ── Work ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _try_look(self) -> None:
        try:
            await self._look()
        except Exception as error:  # the database is away: what is under way goes on
            log.warning("no look at the batches: %s: %s", type(error).__name__, error)

    async def _look(self) -> None:
        """Begin what is due, as far as there is room."""
        await self._threads.run(self._refresh_catalog)
        busy = set(self._batches.values())
        for batch in await self._threads.run(lambda: open_batches(busy)):
            caller = await self._threads.run(partial(read_caller, batch.api_key_id))
            if caller is None:
                continue
            step = await self._threads.run(partial(self._next_step, batch, caller))
            if step == "lines":
                await self._begin_lines(batch, caller)
            elif step and await self._claim(batch):
                work = self._check(batch, caller) if step == "check" else self._end(batch)
                self._batches[asyncio.create_task(work)] = batch.pk

    def _refresh_catalog(self) -> None:
        version = SnapshotVersion.objects.get(subject="catalog").number
        due = self._process.snapshots.catalog.next_change_at
        if version != self._catalog_version or (due is not None and due <= time.time()):
            self._process.snapshots.catalog = catalog.load()
            self._catalog_version = version

    def _next_step(self, batch: Batch, caller: Caller) -> str:
        """What a batch waits for: "check", "lines", "end"; empty: nothing of ours now."""
        status, is_late = batch.status, clock.now() >= batch.expires_at
        if status in (Batch.Status.VALIDATING, Batch.Status.IN_PROGRESS):
            try:
                check_caller(caller)
            except Unauthorized as error:  # a key that was revoked, or has expired, spends nothing more
                stop_batch(batch, error=error)
                status = batch.status
            except TokiaError:  # a suspended organization's batches wait, until their window's end
                if not is_late:
                    return ""
        if status == Batch.Status.VALIDATING and not is_late:
            return "check"
        if status in (Batch.Status.FINALIZING, Batch.Status.CANCELLING):
            # Counted after everybody could see the status: whoever claims a line from now on is refused its call (`begin_call`).
            return "end" if release_orphans(batch, caller) == 0 else ""
        lines = BatchLine.everywhere.filter(batch=batch)
        if is_late or not lines.filter(status__in=[BatchLine.Status.PENDING, BatchLine.Status.RUNNING]).exists():
            is_ending = begin_end(batch)
            return "end" if is_ending and release_orphans(batch, caller) == 0 else ""
        is_paused = batch.paused_until is not None and batch.paused_until > clock.now()
        return "" if is_paused else "lines"

    async def _claim(self, batch: Batch) -> bool:
        free = Batch.everywhere.filter(Q(lease_until=None) | Q(lease_until__lt=Now()), pk=batch.pk, ended_at=None)
        until = Now() + lease_seconds()
        return await self._threads.run(lambda: free.update(lease_id=self.lease_id, lease_until=until)) == 1

    async def _check(self, batch: Batch, caller: Caller) -> None:
        await self._step(batch, check_batch(self._process, self._threads, batch, caller, lease_id=self.lease_id))

    async def _end(self, batch: Batch) -> None:
        await self._step(batch, self._threads.run(lambda: end_batch(batch, lease_id=self.lease_id)))

    async def _step(self, batch: Batch, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LeaseLost:
            pass
        except Exception:
            log.exception("batch %s: a step failed; it is tried again", batch)
            return  # its lease runs out first
        await self._threads.run(
            lambda: Batch.everywhere.filter(pk=batch.pk, lease_id=self.lease_id).update(lease_id=None, lease_until=None)
        )

    async def _begin_lines(self, batch: Batch, caller: Caller) -> None:
        most = settings.BATCH_LINES_AT_ONCE
        of_organization = Counter(line.organization_id for line in self._lines.values())[batch.organization_id]
        room = min(most - len(self._lines), max(1, most // 2) - of_organization)
        if room <= 0:
            return
        if not self.session:
            self.session = await self._threads.run(self._open_session)
        for line in await self._threads.run(lambda: claim_lines(batch, caller, lease_id=self.lease_id, limit=room)):
            self._lines[asyncio.create_task(self._run_line(line, batch, caller))] = line

    # ── One line ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _run_line(self, line: Line, batch: Batch, caller: Caller) -> None:
        """Answered and settled, failed for good, or back in the queue; where not even that can be written, its lease runs out."""
        context = CallContext(id=str(clock.new_id()), started_ns=time.monotonic_ns())
        opened: list[OpenCall] = []
        session = self.session
        try:
            try:
                request = read_request(line.request, endpoint=batch.endpoint)
                await self._call(line, request, caller, context, opened, session)
            except LineLost:
                with contextlib.suppress(LineLost):  # the batch was stopped, or another worker has it
                    await self._threads.run(lambda: postpone_line(line, error_code="", ended=None, seconds=0))
            except (InsufficientBalance, BudgetExceeded) as error:
                await self._wait_for_money(line, batch, error)
            except SessionFenced as error:
                await self._postpone(line, opened, error, seconds=1)
            except TokiaError as error:
                is_retryable = error.retryable and line.tries + 1 < TRIES_MAX
                await (self._postpone if is_retryable else self._fail)(line, opened, error)
            except Exception:
                log.exception("batch line %s failed", line.id)
                is_retryable = line.tries + 1 < TRIES_MAX
                await (self._postpone if is_retryable else self._fail)(line, opened, internal_error())
        except LineLost:
            return
        except Exception as error:
            log.warning("batch line %s left to its lease: %s", line.id, type(error).__name__)

    async def _call(
        self, line: Line, request: Request, caller: Caller, context: CallContext, opened: list[OpenCall], session: int
    ) -> None:
        async def begin(call: OpenCall, amount_nanos: int) -> None:
            begin_ = partial(
                begin_call, line, call_id=uuid.UUID(context.id), wallet_id=caller.wallet_id, amount_nanos=amount_nanos,
                session=session, route_name=call.route.name, version=call.prices.version_id,
                budgets=[cover.id for cover in caller.budgets_of(context.tags)],
            )  # fmt: skip
            await self._threads.run(begin_)

        ended = await call_line(self._process, caller, request, context, begin, opened)

        def shape(settled: holds.Settled) -> bytes:
            body = ended.shape(settled)
            return write_line(
                call_id=context.id, custom_id=request.custom_id, status=200, body=body, dropped=opened[0].dropped
            )  # fmt: skip

        await self._threads.run(lambda: deliver_call(line, ended=ended.call, session=session, shape=shape))
        self.delivered += 1

    async def _wait_for_money(self, line: Line, batch: Batch, error: InsufficientBalance | BudgetExceeded) -> None:
        """The line keeps its place, and its batch waits: a top-up, or a budget's next day, may come within the window."""
        until = clock.now() + POOR_PAUSE

        def wait() -> None:
            postpone_line(line, error_code=error.code, ended=None, seconds=0)
            Batch.everywhere.filter(pk=batch.pk).update(paused_until=until)

        await self._threads.run(wait)

    async def _postpone(self, line: Line, opened: list[OpenCall], error: TokiaError, *, seconds: float | None = None) -> None:
        ended = _end_unanswered(opened, error)
        least = error.retry_after_seconds or 0.0
        await self._threads.run(lambda: postpone_line(line, error_code=error.code, ended=ended, seconds=seconds, least=least))

    async def _fail(self, line: Line, opened: list[OpenCall], error: TokiaError) -> None:
        call_id = opened[0].context.id if opened else str(clock.new_id())
        body = word_error(error, endpoint=line.endpoint, call_id=call_id, is_english=line.is_english)
        custom_id: str = msgspec.json.decode(line.request)["custom_id"]  # it was checked
        answer = write_line(call_id=call_id, custom_id=custom_id, status=error.status, body=body)
        await self._threads.run(lambda: fail_line(line, answer=answer, error_code=error.code, ended=_end_unanswered(opened, error)))


def _end_unanswered(opened: list[OpenCall], error: TokiaError) -> holds.EndedCall | None:
    """The call that brought no answer, at nothing."""
    if not opened:
        return None
    return end_call(opened[0], Usage(requests=0), outcome="failed", status=error.status, error_code=error.code)


def open_batches(busy: set[uuid.UUID]) -> list[Batch]:
    """Those that somebody may work on, by turns: in another order each time, so that none waits for all the others."""
    batches = Batch.everywhere.filter(ended_at=None).exclude(pk__in=busy).order_by("?")
    return list(batches[:200])
