"""The two lanes to the ledger: holds and settlements. What they send are billing's SQL functions, nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psycopg
from django.conf import settings

from gateway.batcher import Entry, Lane
from gateway.errors import ledger_unavailable
from gateway.session import Session
from gateway.spool import Spool
from gateway.statements import Connection, Statement

log = logging.getLogger(__name__)
FENCED_WAIT_SECONDS = 2.0
HOLD_PATIENCE_SECONDS = 2.5
WATCH_SECONDS = 0.25
# The same by single-row statements, for a batch of one: most of them are, while there is little to do.
HOLD_CALL = Statement("hold_call", "SELECT 1, result, available_nanos FROM billing_hold_call($1, $2, $3, $4)")
HOLD_BATCH = Statement("hold_batch", "SELECT ord, result, available_nanos FROM billing_hold_batch($1, $2, $3, $4)")
HOLD_BUDGETED = Statement(
    "hold_budgeted", "SELECT 1, result, available_nanos, budget_id, left_nanos FROM billing_hold_budgeted($1, $2, $3, $4, $5)"
)
HOLD_BATCH_BUDGETED = Statement(
    "hold_batch_v2", "SELECT ord, result, available_nanos, budget_id, left_nanos FROM billing_hold_batch_v2($1, $2, $3, $4, $5)"
)
SETTLE_CALL = Statement("settle_call", "SELECT id, net_nanos FROM billing_settle_call($1, $2, $3)")
SETTLE_BATCH = Statement("settle_batch", "SELECT id, net_nanos FROM billing_settle_batch($1, $2, $3)")


class HoldItem(msgspec.Struct, frozen=True):
    id: str
    wallet_id: int
    amount_nanos: int
    let_go: Callable[[], None]  # settles the call at nothing, where its hold turns out placed and nobody waits for it
    budgets: str = ""  # that it is taken from, as PostgreSQL writes a bigint[]; empty: none


class HoldResult(msgspec.Struct, frozen=True):
    """`result` as `billing_hold_batch` says: 1 placed, 2 already placed, 3 settled, 0 insufficient, 4 clock, 5 no wallet, 6 the
    hard budget `budget_id` has only `left_nanos` left."""

    result: int
    available_nanos: int
    session_id: int
    budget_id: int = 0
    left_nanos: int = 0


class HoldLane(Lane[HoldItem, HoldResult]):
    """Nobody waits here for an outage to end: callers are refused, and what was perhaps placed is found out and released."""

    statements = (HOLD_CALL, HOLD_BATCH, HOLD_BUDGETED, HOLD_BATCH_BUDGETED)

    def __init__(self, session: Session) -> None:
        super().__init__("hold", linger_ms=settings.GATEWAY_HOLD_LINGER_MS, queue_max=settings.GATEWAY_LEDGER_QUEUE_MAX)
        self._session = session

    def new_key(self) -> str:
        return ""

    async def send(self, connection: Connection, batch: Sequence[Entry[HoldItem, HoldResult]], key: str) -> list[HoldResult]:
        session_id = self._session.id
        if not session_id:
            raise OSError("no ledger session yet")
        if len(batch) == 1:
            item = batch[0].item
            told = [b"%d" % session_id, item.id.encode(), b"%d" % item.wallet_id, b"%d" % item.amount_nanos]
            if item.budgets:
                rows = await HOLD_BUDGETED.ask(connection, [*told, item.budgets.encode()])
            else:
                rows = await HOLD_CALL.ask(connection, told)
        else:
            ids = ",".join([entry.item.id for entry in batch])
            wallets = ",".join([str(entry.item.wallet_id) for entry in batch])
            amounts = ",".join([str(entry.item.amount_nanos) for entry in batch])
            arrays = [f"{{{column}}}".encode() for column in (ids, wallets, amounts)]
            if any(entry.item.budgets for entry in batch):
                budgets = ",".join([f'"{entry.item.budgets}"' for entry in batch])
                rows = await HOLD_BATCH_BUDGETED.ask(connection, [b"%d" % session_id, *arrays, f"{{{budgets}}}".encode()])
            else:
                rows = await HOLD_BATCH.ask(connection, [b"%d" % session_id, *arrays])
        results: list[HoldResult | None] = [None] * len(batch)
        for place, result, available, *budget in rows:
            refusing = [int(number or 0) for number in budget]
            results[int(place or 0) - 1] = HoldResult(int(result or 0), int(available or 0), session_id, *refusing)
        return [result for result in results if result is not None]

    async def refuse(self, entry: Entry[HoldItem, HoldResult], error: psycopg.Error) -> None:
        if not entry.answer.done():
            entry.answer.set_exception(ledger_unavailable())

    async def on_fenced(self) -> bool:
        """Another session, then the same ids again: one that the old session had placed is over and is not placed again."""
        self._session.note_fenced(self._session.id)
        deadline = time.monotonic() + FENCED_WAIT_SECONDS
        while not self._session.id and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return True

    async def on_down(self, batch: list[Entry[HoldItem, HoldResult]]) -> list[Entry[HoldItem, HoldResult]]:
        _refuse_waiting([*batch, *self._queue])
        self._queue.clear()  # never sent
        return batch

    async def watch(self) -> None:
        """Nobody waits longer than that for a statement that hangs, either."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            late = time.monotonic() - HOLD_PATIENCE_SECONDS
            _refuse_waiting([entry for entry in self.entries if entry.queued_at < late])

    def on_answer(self, entry: Entry[HoldItem, HoldResult], result: HoldResult) -> None:
        """A hold that nobody waits for any more is released."""
        answer = entry.answer
        if result.result in (1, 2) and (answer.cancelled() or answer.exception() is not None):
            entry.item.let_go()


def _refuse_waiting(entries: Sequence[Entry[HoldItem, HoldResult]]) -> None:
    for entry in entries:
        if not entry.answer.done():
            entry.answer.set_exception(ledger_unavailable())


class SettleItem(msgspec.Struct, frozen=True):
    id: str
    row: bytes  # a JSON object with UsageRecord's columns
    gross_nanos: int


class Settled(msgspec.Struct, frozen=True):
    """What a call came to. `is_estimate`: the database has not answered yet, the discount is unknown."""

    gross_nanos: int
    net_nanos: int
    is_estimate: bool = False
    is_own_key: bool = False  # the platform fee: the customer's own key at the provider served


class SettleLane(Lane[SettleItem, Settled]):
    """Nothing is ever given up: a caller that waited too long goes on with the row in the spool, the lane goes on too."""

    statements = (SETTLE_CALL, SETTLE_BATCH)

    def __init__(self, session: Session, spool: Spool) -> None:
        super().__init__("settle", linger_ms=settings.GATEWAY_SETTLE_LINGER_MS)
        self.is_spool_broken = False
        self._session = session
        self._spool = spool

    def new_key(self) -> str:
        return str(uuid.uuid4())

    async def send(self, connection: Connection, batch: Sequence[Entry[SettleItem, Settled]], key: str) -> list[Settled]:
        told = [key.encode(), b"%d" % self._session.id]
        if len(batch) == 1:
            rows = await SETTLE_CALL.ask(connection, [*told, batch[0].item.row])
        else:
            rows = await SETTLE_BATCH.ask(connection, [*told, b"[" + b",".join([entry.item.row for entry in batch]) + b"]"])
        nets: dict[str, int] = {(id_ or b"").decode(): int(net or 0) for id_, net in rows}
        return [Settled(entry.item.gross_nanos, nets[entry.item.id]) for entry in batch]

    async def refuse(self, entry: Entry[SettleItem, Settled], error: psycopg.Error) -> None:
        """A poison row, kept whole for a person. Its answer is finished: it is not the customer's fault."""
        item = entry.item
        payload: Any = json.loads(item.row)
        connection = self._connection or await self._connect()
        try:
            await connection.execute(
                "INSERT INTO billing_unsettledcall (id, payload, error, created_at) VALUES (%s, %s::jsonb, %s, now())"
                " ON CONFLICT (id) DO NOTHING",
                (item.id, json.dumps(payload), f"{error.sqlstate}: {error}"[:1000]),
            )
        except psycopg.Error:
            log.exception("an unsettled call could not be stored: %s", item.id)
        settled = Settled(item.gross_nanos, item.gross_nanos, is_estimate=True)
        if not entry.answer.done():
            entry.answer.set_result(settled)
        self.on_answer(entry, settled)

    def on_answer(self, entry: Entry[SettleItem, Settled], result: Settled) -> None:
        if self._spool.holds(entry.item.id):
            self._spool.mark_taken(entry.item.id)

    def spool_overdue(self, *, older_seconds: float) -> None:
        """Rows that have waited for so long go to the disk, and their answers go on. Blocks for one sync."""
        now = time.monotonic()
        overdue = [entry for entry in self.entries if not entry.answer.done() and now - entry.queued_at >= older_seconds]
        if not overdue:
            return
        try:
            self._spool.write([(entry.item.id, entry.item.row) for entry in overdue])
            self.is_spool_broken = False
        except OSError:
            log.critical("the spool can't be written: no new calls; %s settlements are in memory only", len(overdue))
            self.is_spool_broken = True
        for entry in overdue:
            entry.answer.set_result(Settled(entry.item.gross_nanos, entry.item.gross_nanos, is_estimate=True))

    async def watch(self) -> None:
        seconds = settings.GATEWAY_SPOOL_AFTER_MS / 1000
        while True:
            await asyncio.sleep(min(WATCH_SECONDS, seconds / 4))
            self.spool_overdue(older_seconds=seconds)
