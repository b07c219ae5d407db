"""Holds and settlements of calls: thin synchronous verbs over `billing/sql/holds.sql`, `budgets.sql`, `settle.sql`, `single.sql`
and `sessions.sql`.

The gateway calls the same functions over its own connection; these are for tests, tasks, the admin and the shell. Statements
and rules are in the SQL. Every verb is safe to repeat with the same ids: that is also the cure for an unknown outcome.
Lock order: gateway session, wallets in id order, the rest.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any

import msgspec
from django.conf import settings
from psycopg.types.json import Jsonb

from billing.errors import BudgetExceeded, InsufficientBalance, UnknownWallet
from billing.ledger import call_function, call_table
from billing.models import UsageRecord, Wallet
from billing.money import format_brl
from billing.pricing import Usage

REAP_GRACE_SECONDS = 30


class HoldResult(IntEnum):
    INSUFFICIENT = 0
    PLACED = 1
    ALREADY_PLACED = 2
    ALREADY_SETTLED = 3  # or expired: the call is over
    CLOCK_OFF = 4  # the id's instant is more than 60 s off the database's clock
    UNKNOWN_WALLET = 5
    OVER_BUDGET = 6  # a hard budget has less left than the call may cost


@dataclass(frozen=True, slots=True)
class HoldAnswer:
    result: HoldResult
    available_nanos: int  # what the wallet has left; where the balance is insufficient, what there is
    budget_id: int | None = None  # the hard budget that refuses: of several, the one with the least left
    left_nanos: int | None = None  # what that one has left, never below zero


@dataclass(frozen=True, slots=True)
class EndedCall:
    """A call as it ended: what becomes its UsageRecord. gross_nanos 0 with outcome FAILED releases its hold."""

    id: uuid.UUID
    wallet_id: int
    api_key_id: int
    price_version_id: int
    route_name: str
    gross_nanos: int
    outcome: str = UsageRecord.Outcome.COMPLETED
    usage: Usage = field(default_factory=Usage)
    usage_source: str = UsageRecord.UsageSource.UPSTREAM
    surface: str = "chat"
    is_stream: bool = False
    provider_name: str = ""
    upstream_model: str = ""
    upstream_id: str = ""
    cost_nanos: int = 0
    status_code: int = 200
    error_code: str = ""
    finish_reason: str = ""
    attempts: tuple[dict[str, Any], ...] = ()
    routing: dict[str, Any] | None = None
    first_token_ms: int | None = None
    latency_ms: int = 0
    overhead_us: int = 0
    is_own_key: bool = False
    experiment_arm_id: int | None = None
    project_id: int | None = None
    tags: tuple[str, ...] | None = None
    margin_bps: int = 0

    def as_json(self) -> dict[str, Any]:
        """The object that `billing_settle_batch` reads: keys are UsageRecord's columns, and what is 0 may be missing."""
        fields = asdict(self)
        usage: Usage = fields.pop("usage")
        return {**fields, **msgspec.to_builtins(usage), "id": str(self.id)}


@dataclass(frozen=True, slots=True)
class Settled:
    """What a call came to: net = paid + promo + overdraft, at `gross_before_nanos` of the month's gross."""

    id: uuid.UUID
    net_nanos: int
    paid_nanos: int
    promo_nanos: int
    overdraft_nanos: int
    gross_before_nanos: int


def open_session(host: str, *, seconds: int = settings.GATEWAY_SESSION_SECONDS) -> int:
    """Register a gateway process; it places holds until it is closed, or reaped for silence."""
    return int(call_function("billing_open_session", host, seconds))


def renew_session(session: int, *, seconds: int = settings.GATEWAY_SESSION_SECONDS) -> None:
    """Raises SessionFenced when the session was reaped."""
    call_function("billing_renew_session", session, seconds)


def close_session(session: int) -> int:
    """End a drained process; what it still holds expires. Returns how many holds did."""
    return int(call_function("billing_close_session", session))


def reap_sessions(*, grace_seconds: int = REAP_GRACE_SECONDS) -> int:
    """Fence the processes that are silent and expire their holds. Returns how many holds expired. For a task."""
    return int(call_function("billing_reap_sessions", grace_seconds))


def expire_holds(*, older_seconds: int = settings.HOLD_SECONDS_MAX) -> int:
    """Expire holds of calls older than any call runs; the customer pays nothing. Returns how many. For a task."""
    return int(call_function("billing_expire_holds", older_seconds))


def place_holds(
    session: int, *, holds: Sequence[tuple[uuid.UUID, int, int]], budgets: Sequence[Sequence[int]] | None = None
) -> list[HoldAnswer]:
    """Place holds of (call id, wallet id, nanos), first come first served per wallet. Raises SessionFenced.

    `budgets`: for each hold, the ids of the budgets that cover the call (`billing.budgets.covering`); per wallet, calls with
    budgets come before those without. A hold is taken from all of them or, where a hard one has too little left, not placed.
    """
    if budgets is not None and any(budgets):
        return _place_budgeted(session, holds, budgets)
    if len(holds) == 1:
        rows = call_table("SELECT result, available_nanos FROM billing_hold_call(%s, %s, %s, %s)", session, *holds[0])
        return [HoldAnswer(HoldResult(result), available) for result, available in rows]
    ids, wallets, amounts = (list(column) for column in zip(*holds, strict=True))
    rows = call_table(
        "SELECT result, available_nanos FROM billing_hold_batch(%s, %s::uuid[], %s::bigint[], %s::bigint[]) ORDER BY ord",
        session, ids, wallets, amounts,
    )  # fmt: skip
    return [HoldAnswer(HoldResult(result), available) for result, available in rows]


def _place_budgeted(
    session: int, holds: Sequence[tuple[uuid.UUID, int, int]], budgets: Sequence[Sequence[int]]
) -> list[HoldAnswer]:
    figures = "SELECT result, available_nanos, budget_id, left_nanos"
    if len(holds) == 1:
        query = f"{figures} FROM billing_hold_budgeted(%s, %s, %s, %s, %s::bigint[])"
        rows = call_table(query, session, *holds[0], list(budgets[0]))
    else:
        ids, wallets, amounts = (list(column) for column in zip(*holds, strict=True))
        literals = [f"{{{','.join(map(str, ids_))}}}" if ids_ else "" for ids_ in budgets]
        query = f"{figures} FROM billing_hold_batch_v2(%s, %s::uuid[], %s::bigint[], %s::bigint[], %s::text[]) ORDER BY ord"
        rows = call_table(query, session, ids, wallets, amounts, literals)
    return [HoldAnswer(HoldResult(row[0]), *row[1:]) for row in rows]


def place_hold(session: int, *, call_id: uuid.UUID, wallet: Wallet, amount_nanos: int, budgets: Sequence[int] = ()) -> HoldAnswer:
    """Place one hold. Raises InsufficientBalance, BudgetExceeded, UnknownWallet, SessionFenced."""
    [answer] = place_holds(session, holds=[(call_id, wallet.pk, amount_nanos)], budgets=[budgets])
    if answer.result == HoldResult.INSUFFICIENT:
        needed, there = format_brl(amount_nanos), format_brl(answer.available_nanos)
        raise InsufficientBalance(f"Saldo insuficiente: esta chamada pode custar até {needed} e há {there} disponíveis.")
    if answer.result == HoldResult.OVER_BUDGET:
        needed, there = format_brl(amount_nanos), format_brl(answer.left_nanos or 0)
        raise BudgetExceeded(f"Orçamento atingido: esta chamada pode custar até {needed} e o orçamento tem {there} livres.")
    if answer.result == HoldResult.UNKNOWN_WALLET:
        raise UnknownWallet("Carteira não encontrada.")
    return answer


def settle(calls: Sequence[EndedCall], *, batch: uuid.UUID | None = None, session: int | None = None) -> list[Settled]:
    """Settle calls that ended, all or none; calls settled before give their stored figures. In the order given.

    Raises OtherOutcome (settled before with another amount or outcome), UnknownWallet, LedgerUnavailable (send it again).
    """
    figures = "SELECT id, net_nanos, paid_nanos, promo_nanos, overdraft_nanos, gross_before_nanos"
    told = [call.as_json() for call in calls]
    if len(calls) == 1:
        rows = call_table(f"{figures} FROM billing_settle_call(%s, %s, %s)", batch or uuid.uuid4(), session, Jsonb(told[0]))
    else:
        rows = call_table(f"{figures} FROM billing_settle_batch(%s, %s, %s)", batch or uuid.uuid4(), session, Jsonb(told))
    settled = {row[0]: Settled(*row) for row in rows}
    return [settled[call.id] for call in calls]
