"""A stand-in for a gateway process, killed without warning by `test_ledger_torture.py`.

It holds, settles and tops up with random batches over one connection, and re-sends the same bytes until an answer comes. Every
intention is written to its journal before it is sent and every answer after, so that the test knows what must be there:

    S <call> <wallet> <gross>   a settlement will be sent        A <call> <net>   its answer came
    T <reference> <wallet> <nanos>   a top-up will be sent       t <reference>    its answer came
    X <what>   a law was broken

Run as `python -m tests.torture.ledger_worker <address> <journal> <seed> <wallet>…` until SIGTERM.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg

from tokia.clock import new_id

HOLD: LiteralString = (
    "SELECT result, available_nanos FROM billing_hold_batch(%s, %s::uuid[], %s::bigint[], %s::bigint[]) ORDER BY ord"
)
SETTLE: LiteralString = "SELECT id, net_nanos FROM billing_settle_batch(%s, %s, %s::jsonb) ORDER BY id"
TOP_UP: LiteralString = "SELECT billing_post_entry('top_up', %s, %s, %s, 'world:pix', 'paid', NULL, '', 'torture', NULL)"
MILLION = 1_000_000


@dataclass(frozen=True)
class Held:
    id: uuid.UUID
    wallet: int
    nanos: int


@dataclass
class Worker:
    address: str
    journal: int
    random: random.Random
    wallets: list[int]
    connection: psycopg.Connection | None = None
    session: int = 0
    inflight: list[Held] = field(default_factory=list)
    is_over: bool = False

    def note(self, *words: object) -> None:
        os.write(self.journal, (" ".join(map(str, words)) + "\n").encode())

    def ask(self, query: LiteralString, *args: Any) -> list[tuple[Any, ...]]:
        """The same arguments until an answer comes: an unknown outcome is cured by idempotency alone."""
        while True:
            try:
                if self.connection is None:
                    self.connection = psycopg.connect(self.address, autocommit=True, connect_timeout=3)
                return self.connection.execute(query, args).fetchall()
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if self.connection is not None:
                    self.connection.close()
                self.connection = None
                time.sleep(0.03)

    def open_session(self) -> None:
        [(self.session,)] = self.ask("SELECT billing_open_session('torture', 600)")

    def run(self) -> None:
        self.open_session()
        while not self.is_over:
            try:
                self.hold()
            except psycopg.DatabaseError as error:
                if error.sqlstate != "TK001":
                    raise
                # Reaped: answers that were finished are settled late, the others are lost with their holds.
                self.inflight = self.random.sample(self.inflight, len(self.inflight) // 2)
                self.open_session()
            self.settle()
            if self.random.random() < 0.25:
                self.top_up()

    def wallet(self) -> int:
        return self.wallets[0] if self.random.random() < 0.6 else self.random.choice(self.wallets)

    def hold(self) -> None:
        orders = [Held(new_id(), self.wallet(), self.random.randint(1, 60) * MILLION) for _ in range(self.random.randint(1, 30))]
        args = self.session, [held.id for held in orders], [held.wallet for held in orders], [held.nanos for held in orders]
        answers = self.ask(HOLD, *args)
        if any(available < 0 for _, available in answers):
            self.note("X", "available below zero")
        if self.random.random() < 0.15:
            again = self.ask(HOLD, *args)
            if any(first in (1, 2) and second not in (2, 3) for (first, _), (second, _) in zip(answers, again, strict=True)):
                self.note("X", "a hold was lost between two answers")
        self.inflight += [held for held, (result, _) in zip(orders, answers, strict=True) if result in (1, 2)]

    def settle(self) -> None:
        self.random.shuffle(self.inflight)
        number = self.random.randint(0, len(self.inflight))
        ending, self.inflight = self.inflight[:number], self.inflight[number:]
        if not ending:
            return
        calls = [self.ended(held) for held in ending]
        for call in calls:
            self.note("S", call["id"], call["wallet_id"], call["gross_nanos"])
        batch, body = uuid.uuid4(), json.dumps(calls)
        answer = self.ask(SETTLE, batch, self.session, body)
        for id_, net in answer:
            self.note("A", id_, net)
        if self.random.random() < 0.2 and self.ask(SETTLE, self.random.choice([batch, uuid.uuid4()]), self.session, body) != answer:
            self.note("X", "a replay gave another answer")
        if self.random.random() < 0.1:
            self.settle_otherwise(calls[0])

    def ended(self, held: Held) -> dict[str, object]:
        gross = self.random.choice([0, held.nanos, *(self.random.randint(1, held.nanos) for _ in range(6))])
        if self.random.random() < 0.01:
            gross = 3 * held.nanos  # an upstream that overshot its limit
        return {
            "id": str(held.id), "wallet_id": held.wallet, "gross_nanos": gross, "outcome": "completed" if gross else "failed",
            "usage_source": "upstream", "api_key_id": 1, "surface": "chat", "route_name": "torture/model", "price_version_id": 1,
        }  # fmt: skip

    def settle_otherwise(self, call: dict[str, object]) -> None:
        try:
            self.ask(SETTLE, uuid.uuid4(), self.session, json.dumps([{**call, "outcome": "cut"}]))
        except psycopg.DatabaseError as error:
            if error.sqlstate == "TK002":
                return
            raise
        self.note("X", "a call was settled with two outcomes")

    def top_up(self) -> None:
        reference, wallet, nanos = f"pix:{uuid.uuid4().hex}", self.wallet(), self.random.randint(1, 400) * 10 * MILLION
        self.note("T", reference, wallet, nanos)
        entries = {self.ask(TOP_UP, reference, wallet, nanos)[0][0] for _ in range(self.random.choice([1, 1, 2, 3]))}
        self.note("t", reference)
        if len(entries) != 1:
            self.note("X", "a payment has two entries")


def main(address: str, journal: str, seed: str, *wallets: str) -> None:
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    worker = Worker(address, descriptor, random.Random(seed), [int(wallet) for wallet in wallets])
    signal.signal(signal.SIGTERM, lambda *_: setattr(worker, "is_over", True))
    try:
        worker.run()
    except Exception as error:  # the test reads it
        worker.note("X", type(error).__name__, str(error).replace("\n", " "))
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
