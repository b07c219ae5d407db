"""What must be true of a stack after torture: its ledger, the callers' memory and the sandbox's own ledger tell the same story."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import namedtuple_row

from billing.sql import read_sql
from tests.conftest import ROOT, Stack
from tests.torture.stack_load import Seen
from tests.torture.stack_setup import Tenant
from tokia.processes import answers_http

LEDGER_CALLS = 20_000
MILLION = 1_000_000
SILENCE = "UPDATE billing_gatewaysession SET expires_at = now() - interval '1 hour'"


@dataclass
class Arena:
    """A running stack with the torture's routes and tenants."""

    stack: Stack
    routes: dict[str, str]
    casts: list[list[Tenant]]

    @classmethod
    def of(cls, stack: Stack, *, casts: int) -> Arena:
        argv = [sys.executable, "-m", "tests.torture.stack_setup", stack.demo["sandbox_url"], str(casts)]
        done = subprocess.run(argv, cwd=ROOT, env=stack.env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        made = json.loads(done.stdout.splitlines()[-1])
        return cls(stack, made["routes"], [[Tenant(**tenant) for tenant in cast] for cast in made["casts"]])

    @property
    def port(self) -> int:
        return urlsplit(self.stack.demo["base_url"]).port or 80

    @property
    def spool(self) -> Path:
        return self.stack.home / "spool"

    def spooled(self) -> list[Path]:
        return list(self.spool.glob("settlements-*.spool")) if self.spool.exists() else []

    def spooled_bytes(self) -> int:
        with contextlib.suppress(FileNotFoundError):  # replayed this instant
            return sum(path.stat().st_size for path in self.spooled())
        return 0

    def app(self) -> psycopg.Connection[Any]:
        """As the application's role."""
        return psycopg.connect(self.stack.env["DATABASE_URL"], autocommit=True, connect_timeout=3, row_factory=namedtuple_row)

    def owner(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.stack.env["DATABASE_OWNER_URL"], autocommit=True, connect_timeout=3)

    def is_database_up(self) -> bool:
        try:
            with self.app() as connection:
                return connection.execute("SELECT 1").fetchone() is not None
        except psycopg.OperationalError:
            return False

    def sandbox(self, path: str, body: object = None, *, method: str = "") -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.stack.demo["sandbox_url"] + path, data, method=method or ("POST" if data else "GET"))
        with urllib.request.urlopen(request, timeout=20) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    def upstream(self, *, limit: int = LEDGER_CALLS) -> dict[str, Any]:
        return self.sandbox(f"/llm/__ledger?limit={limit}")

    def signal(self, name: str, number: signal.Signals) -> int:
        """Gives the pid that got it."""
        pid = self.stack.pid_of(name)
        os.kill(pid, number)
        return pid

    def is_ready(self) -> bool:
        return answers_http(self.port, "/readyz")

    def top_up(self, tenant: Tenant, nanos: int, *, reference: str) -> None:
        """Pay in, sending the same again until the ledger answers."""
        while True:
            try:
                with self.app() as connection:
                    connection.execute(
                        "SELECT billing_post_entry('top_up', %s, %s, %s, 'world:pix', 'paid', NULL, '', 'torture', NULL)",
                        (reference, tenant.wallet, nanos),
                    )
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        tenant.credited_nanos += nanos

    def reap(self, *, dead: int = 0) -> int:
        """Let a dead gateway's sessions be silent for an hour, and reap; gives the expired holds. No pid: all but today's."""
        condition = f"host LIKE '%:{dead}'" if dead else f"host NOT LIKE '%:{self.stack.pid_of('gateway')}'"
        with self.owner() as connection:
            connection.execute(f"{SILENCE} WHERE state <> 'reaped' AND {condition}".encode())
            [(expired,)] = connection.execute("SELECT billing_reap_sessions(30)").fetchall()
            return int(expired)

    def kill_nobody(self) -> Callable[[], bool]:
        """A session of no process, silent for an hour; the answer tells whether the worker has reaped it."""
        with self.owner() as connection:
            [(session,)] = connection.execute("SELECT billing_open_session('nobody:0', 0)").fetchall()
            connection.execute(f"{SILENCE} WHERE id = {session}".encode())

        def is_reaped() -> bool:
            with self.app() as db:
                return db.execute("SELECT state FROM billing_gatewaysession WHERE id = %s", (session,)).fetchone() == ("reaped",)

        return is_reaped


def await_true(check: Callable[[], bool], *, seconds: float, why: str) -> float:
    """Gives the seconds that it took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, f"not after {seconds} s: {why}"
        time.sleep(0.05)
    return time.monotonic() - began


class Reader(threading.Thread):
    """Looks at the wallets every few milliseconds through a connection of its own, and never sees them below zero."""

    def __init__(self, arena: Arena) -> None:
        super().__init__(name="reader")
        self.arena = arena
        self.reads = 0
        self.below_zero: list[str] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        query = "SELECT id, posted_nanos, held_nanos FROM billing_wallet WHERE posted_nanos < held_nanos OR held_nanos < 0"
        while not self.is_over.is_set():
            try:
                with self.arena.app() as connection:
                    while not self.is_over.wait(0.005):
                        self.below_zero += [str(row) for row in connection.execute(query).fetchall()]
                        self.reads += 1
            except psycopg.OperationalError:
                time.sleep(0.05)

    def stop(self) -> None:
        self.is_over.set()
        self.join()


class Payer(threading.Thread):
    """Tops up one tenant again and again while the load runs dry on it."""

    def __init__(self, arena: Arena, tenant: Tenant, *, seed: int) -> None:
        super().__init__(name="payer")
        self.arena, self.tenant, self.rng = arena, tenant, random.Random(seed)
        self.count = 0
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(0.4):
            reference = f"pix:torture-{self.tenant.wallet}-{self.count}"
            self.arena.top_up(self.tenant, self.rng.randint(1, 4_000) * MILLION + self.rng.randint(0, 999), reference=reference)
            self.count += 1

    def stop(self) -> None:
        self.is_over.set()
        self.join()


@dataclass
class Books:
    """The three stories of one cast, read when everything was over."""

    records: dict[str, Any] = field(default_factory=dict)
    expired: dict[str, int] = field(default_factory=dict)
    upstream: dict[str, dict[str, Any]] = field(default_factory=dict)
    wallets: dict[int, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    open_holds: int = 0

    @classmethod
    def close(cls, arena: Arena, cast: list[Tenant]) -> Books:
        """Wait until all is over (calls, spool, dead gateways), then read."""
        await_true(arena.is_ready, seconds=40, why="the gateway is ready")
        await_true(lambda: arena.upstream(limit=0)["in_flight"] == 0, seconds=20, why="upstream calls ended")
        await_true(lambda: not arena.spooled(), seconds=45, why="the spool was replayed")
        arena.reap()
        wallets = [tenant.wallet for tenant in cast]
        with arena.app() as db:
            held = "SELECT count(*) FROM billing_hold WHERE purpose = 'call' AND wallet_id = ANY(%s)"

            def open_holds() -> int:
                row = db.execute(held, (wallets,)).fetchone()
                return int(row[0]) if row else 0

            deadline = time.monotonic() + 8
            while open_holds() and time.monotonic() < deadline:
                time.sleep(0.1)
            records = db.execute("SELECT * FROM billing_usagerecord WHERE wallet_id = ANY(%s)", (wallets,)).fetchall()
            expired = db.execute("SELECT id::text, amount_nanos FROM billing_expiredhold WHERE wallet_id = ANY(%s)", (wallets,))
            return cls(
                records={str(record.id): record for record in records},
                expired=dict(expired.fetchall()),
                upstream={call["id"]: call for call in arena.upstream()["calls"]},
                wallets={row.id: row for row in db.execute("SELECT * FROM billing_wallet WHERE id = ANY(%s)", (wallets,))},
                violations=[str(row) for row in db.execute(read_sql("invariants")).fetchall()],
                open_holds=open_holds(),
            )

    def find_slips(self, cast: list[Tenant], calls: list[Seen]) -> list[str]:
        """Every way in which the stories differ, as sentences; empty when the torture was survived."""
        slips = [f"invariant {violation}" for violation in self.violations]
        if self.open_holds:
            slips.append(f"{self.open_holds} holds are open though nothing runs")
        for tenant in cast:
            wallet = self.wallets[tenant.wallet]
            net = sum(record.net_nanos for record in self.records.values() if record.wallet_id == tenant.wallet)
            if wallet.posted_nanos - wallet.overdraft_nanos != tenant.credited_nanos - net:
                slips.append(f"wallet {tenant}: {wallet.posted_nanos} − {wallet.overdraft_nanos}, used {net}")
            if wallet.held_nanos:
                slips.append(f"wallet {tenant} holds {wallet.held_nanos}")
        ids = Counter(seen.request_id for seen in calls if seen.request_id)
        slips += [f"the id {id_} was given {count} times" for id_, count in ids.items() if count > 1]
        for seen in calls:
            slips += [f"{slip}: {seen} {self.records.get(seen.request_id)}" for slip in self._slips_of(seen)]
        slips += self._slips_of_unseen(calls)
        return slips

    def _slips_of(self, seen: Seen) -> list[str]:
        record = self.records.get(seen.request_id)
        if seen.is_hung:
            return ["a call never ended"]
        if seen.is_whole and seen.status == 200:
            return self._slips_of_whole(seen)
        if seen.status not in (0, 200):
            return ["charged for a refusal"] if record is not None and (record.net_nanos or record.outcome == "completed") else []
        if seen.is_cut and record is not None and record.outcome == "completed":
            return ["charged as completed, told as cut"]
        if seen.status == 200 and record is None and seen.request_id not in self.expired:
            return ["a begun call left no trace"]
        return []

    def _slips_of_whole(self, seen: Seen) -> list[str]:
        record = self.records.get(seen.request_id)
        if record is None or record.outcome != "completed":
            return ["a whole answer without its completed record"]
        slips = []
        if seen.cost_nanos is not None and seen.cost_nanos not in (record.net_nanos, record.gross_nanos):
            slips.append("told another cost than was charged")
        if record.net_nanos <= 0 or record.usage_source != "upstream":
            slips.append("not billed by the provider's own count")
        return slips + self._slips_of_tokens(record)

    def _slips_of_tokens(self, record: Any) -> list[str]:
        call = self.upstream.get(record.upstream_id)
        if call is None:
            return [f"the provider never served {record.upstream_id}"]
        billed = (
            record.input_tokens + record.cached_input_tokens + record.cache_write_tokens,
            record.output_tokens + record.reasoning_tokens,
        )
        usage = call["usage"]
        if call["status"] != "finished" or billed != (usage["prompt_tokens"], usage["completion_tokens"]):
            return [f"{billed} tokens, the provider billed {call}"]
        return []

    def _slips_of_unseen(self, calls: list[Seen]) -> list[str]:
        """Records that nobody saw whole: settled for a caller whose connection broke between the commit and the last byte."""
        slips = []
        whole = {seen.request_id for seen in calls if seen.is_whole}
        completed = {id_: record for id_, record in self.records.items() if record.outcome == "completed"}
        unseen = [record for id_, record in completed.items() if id_ not in whole]
        broken = sum(seen.is_broken for seen in calls)
        if len(unseen) > broken:
            slips.append(f"{len(unseen)} completed records that nobody saw whole, {broken} broken calls")
        for record in unseen:
            slips += self._slips_of_tokens(record)
        twice = Counter(record.upstream_id for record in completed.values())
        return slips + [f"{id_} was billed {count} times" for id_, count in twice.items() if count > 1]

    def figures(self, calls: list[Seen]) -> dict[str, Any]:
        """For whoever reads the output."""
        outcomes = Counter(record.outcome for record in self.records.values())
        return {
            "calls": sum(seen.is_sent for seen in calls),
            "whole": sum(seen.is_whole for seen in calls),
            "refused": dict(Counter(f"{seen.status} {seen.error_code}" for seen in calls if seen.error_code)),
            "broken": sum(seen.is_broken for seen in calls),
            "records": dict(outcomes),
            "settled, unseen": outcomes["completed"] - sum(seen.is_whole for seen in calls),
            "expired holds": len(self.expired),
            "late": sum(record.is_late for record in self.records.values()),
            "overdraft": sum(wallet.overdraft_nanos for wallet in self.wallets.values()),
            "served, unbilled": len(self.expired.keys() - self.records.keys()),
            "slowest": round(max((seen.seconds for seen in calls), default=0.0), 2),
        }
