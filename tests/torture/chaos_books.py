"""What must agree after chaos, to the one and to the nano: callers, usage records, wallets and the providers' own ledger."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from billing.sql import read_sql
from tests.torture.chaos_load import ChaosCall
from tests.torture.stack_books import Arena, await_true
from tests.torture.stack_setup import Tenant

PREFIX = "chaos-"


@dataclass
class ChaosBooks:
    """Read when everything was over."""

    records: dict[str, Any] = field(default_factory=dict)
    upstream: list[dict[str, Any]] = field(default_factory=list)  # oldest first
    wallets: dict[int, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    open_holds: int = 0

    @classmethod
    def close(cls, arena: Arena, tenants: list[Tenant]) -> ChaosBooks:
        await_true(lambda: arena.upstream(limit=0)["in_flight"] == 0, seconds=20, why="upstream calls ended")
        wallets = [tenant.wallet for tenant in tenants]
        with arena.app() as db:
            held = "SELECT count(*) FROM billing_hold WHERE purpose = 'call' AND wallet_id = ANY(%s)"

            def open_holds() -> int:
                row = db.execute(held, (wallets,)).fetchone()
                return int(row[0]) if row else 0

            deadline = time.monotonic() + 8
            while open_holds() and time.monotonic() < deadline:
                time.sleep(0.1)
            records = db.execute("SELECT * FROM billing_usagerecord WHERE wallet_id = ANY(%s)", (wallets,)).fetchall()
            return cls(
                records={str(record.id): record for record in records},
                upstream=arena.upstream()["calls"][::-1],
                wallets={row.id: row for row in db.execute("SELECT * FROM billing_wallet WHERE id = ANY(%s)", (wallets,))},
                violations=[str(row) for row in db.execute(read_sql("invariants")).fetchall()],
                open_holds=open_holds(),
            )

    # ── Slips ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def find_slips(self, tenants: list[Tenant], calls: list[ChaosCall]) -> list[str]:
        """Every way in which the stories differ, as sentences."""
        slips = [f"invariant {violation}" for violation in self.violations]
        if self.open_holds:
            slips.append(f"{self.open_holds} holds are open though nothing runs")
        slips += self._slips_of_wallets(tenants)
        ids = Counter(call.request_id for call in calls)
        slips += [f"the id {id_!r} was given {count} times" for id_, count in ids.items() if count > 1]
        slips += [f"record {id_} is of no call" for id_ in self.records.keys() - ids.keys()]
        served = {call["id"]: call for call in self.upstream}
        for call in calls:
            slips += [f"{slip}: {call} {self.records.get(call.request_id)}" for slip in self._slips_of(call, served)]
        billed = Counter(record.upstream_id for record in self.records.values() if record.net_nanos)
        slips += [f"{id_} was billed {count} times" for id_, count in billed.items() if count > 1]
        return slips + self._slips_of_attempts()

    def _slips_of_wallets(self, tenants: list[Tenant]) -> list[str]:
        slips = []
        for tenant in tenants:
            wallet = self.wallets[tenant.wallet]
            net = sum(record.net_nanos for record in self.records.values() if record.wallet_id == tenant.wallet)
            if wallet.posted_nanos != tenant.credited_nanos - net or wallet.held_nanos or wallet.overdraft_nanos:
                slips.append(f"wallet {tenant}: {wallet}, used {net}")
        return slips

    def _slips_of(self, call: ChaosCall, served: dict[str, dict[str, Any]]) -> list[str]:
        record = self.records.get(call.request_id)
        if record is None:
            return ["a call without a record"]
        if call.has_left:  # hung up in the middle, just too late, or as the upstream broke
            return [] if record.outcome in ("cancelled", "completed", "cut") else ["left, and recorded otherwise"]
        if not call.is_served:
            if call.status != 200 and (record.net_nanos or record.outcome != "failed"):
                return ["charged for a refusal"]
            return ["told as cut, recorded otherwise"] if call.is_cut and record.outcome != "cut" else []
        if record.outcome != "completed":
            return ["a whole answer without its completed record"]
        slips = []
        if call.cost_nanos not in (record.net_nanos, record.gross_nanos) or record.net_nanos <= 0:
            slips.append("told another cost than was charged")
        answer = served.get(record.upstream_id)
        if answer is None or answer["status"] != "finished":
            return [*slips, f"billed by an answer that never left: {answer}"]
        tokens = (
            record.input_tokens + record.cached_input_tokens + record.cache_write_tokens,
            record.output_tokens + record.reasoning_tokens,
        )
        usage = answer["usage"]
        if tokens != (usage["prompt_tokens"], usage["completion_tokens"]):
            slips.append(f"{tokens} tokens, the provider billed {answer}")
        last = record.attempts[-1]
        if (last["status"], last["provider"], last["model"]) != (200, PREFIX + answer["provider"], answer["model"]):
            slips.append(f"the attempt that answered is not the last one recorded: {answer}")
        if any(attempt.get("status") == 200 and not attempt.get("error") for attempt in record.attempts[:-1]):
            slips.append("two attempts answered")
        return slips

    def _slips_of_attempts(self) -> list[str]:
        """Each request that a provider saw is an attempt of a record, and the other way round. One that was sent again, as its kept
        connection had just ended, may have been seen twice, and says so."""
        recorded: Counter[tuple[str, str]] = Counter()
        resent: Counter[tuple[str, str]] = Counter()
        for record in self.records.values():
            for attempt in record.attempts:
                asked = (attempt["provider"].removeprefix(PREFIX), attempt["model"])
                recorded[asked] += 1
                resent[asked] += attempt.get("is_resent", False)
        seen = Counter((call["provider"], call["model"]) for call in self.upstream)
        return [
            f"{asked}: {recorded[asked]} attempts recorded, {resent[asked]} of them sent twice, {seen[asked]} requests seen"
            for asked in sorted(recorded.keys() | seen.keys())
            if not recorded[asked] <= seen[asked] <= recorded[asked] + resent[asked]
        ]

    # ── Figures ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def figures(self) -> dict[str, Any]:
        attempts = [attempt for record in self.records.values() for attempt in record.attempts]
        return {
            "records": dict(Counter(record.outcome for record in self.records.values())),
            "attempts": len(attempts),
            "sent again": sum(attempt.get("is_resent", False) for attempt in attempts),
            "per call": dict(sorted(Counter(len(record.attempts) for record in self.records.values()).items())),
            "circuits": dict(Counter(attempt.get("circuit", "closed") for attempt in attempts)),
            "errors": dict(Counter(attempt["error"] for attempt in attempts if attempt.get("error"))),
            "routes": dict(Counter(record.route_name for record in self.records.values())),
        }

    def requests_at(self, slug: str, *, since: float, until: float) -> list[dict[str, Any]]:
        """What a provider saw between two instants of Unix time."""
        return [call for call in self.upstream if call["provider"] == slug and since <= call["started_at"] < until]

    def attempts_at(self, slug: str, *, since: float, until: float) -> list[dict[str, Any]]:
        """What the records say of attempts at a provider, of calls that began between two instants."""
        return [
            attempt
            for record in self.records.values()
            if since <= (record.id.int >> 80) / 1000 < until
            for attempt in record.attempts
            if attempt["provider"] == PREFIX + slug
        ]


def count_sockets(pids: list[int], port: int) -> Counter[str]:
    """Connections of these processes to a port on this machine, by their state as the kernel names it."""
    states = {"01": "established", "08": "close wait"}
    found: Counter[str] = Counter()
    for pid in pids:
        inodes = set()
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(link.readlink().name)
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in inodes and int(fields[2].rpartition(":")[2], 16) == port:
                found[states.get(fields[3], fields[3])] += 1
    return found


def find_hidden_attempts(books: ChaosBooks, tenants: list[Tenant], url: str, *, sample: int) -> list[str]:
    """Records whose attempts `GET /v1/generation` does not all show."""
    hidden = []
    chosen = sorted(books.records.values(), key=lambda record: (-len(record.attempts), str(record.id)))[:sample]
    keys = {tenant.wallet: tenant.keys[0] for tenant in tenants}
    with httpx.Client(base_url=url, timeout=10) as client:
        for record in chosen:
            answer = client.get(
                "/v1/generation", params={"id": str(record.id)}, headers={"authorization": f"Bearer {keys[record.wallet_id]}"}
            )
            if answer.status_code != 200:
                hidden.append(f"{record.id}: {answer.status_code} {answer.text[:300]}")
                continue
            told = [
                (
                    shown["provider_name"],
                    shown["upstream_model"],
                    shown["status"],
                    shown["error"],
                    shown["latency"],
                    shown["circuit"],
                )
                for shown in answer.json()["data"]["provider_responses"]
            ]
            made = [
                (
                    attempt["provider"], attempt["model"], attempt.get("status") or None, attempt.get("error") or None,
                    attempt.get("ms", 0), attempt.get("circuit") or "closed",
                )
                for attempt in record.attempts
            ]  # fmt: skip
            if told != made:
                hidden.append(f"{record.id}: told {told}, made {made}")
    return hidden
