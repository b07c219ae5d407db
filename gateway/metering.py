"""The bridge to billing: every call is held before the upstream hears of it, and settled once, before its last byte leaves.

Ids are made once and never renumbered; what is sent twice is the same bytes. See MONEY in ARCHITECTURE.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
from django.conf import settings

from billing.pricing import PriceList, Usage, cost_of, price_ceiling, price_ceiling_of, price_usage
from gateway.batcher import QueueFull
from gateway.calls import Attempt, CallContext, Caller, Candidate, Routing, ServedDeployment, ServedRoute
from gateway.ending import end_tasks
from gateway.errors import BudgetExceeded, InsufficientBalance, SessionLost, Unavailable, ledger_unavailable
from gateway.lanes import HoldItem, HoldLane, HoldResult, Settled, SettleItem, SettleLane
from gateway.refusals import insufficient, over_budget
from gateway.session import Session
from gateway.spool import Spool, find_orphans
from gateway.usage_row import write_row
from tokia.crashpoints import crashpoint

log = logging.getLogger(__name__)
OUTPUT_TOKENS_FLOOR = 64  # an answer that the balance must at least afford where the caller named no maximum
CLAMP_TRIES = 3
RICH_FACTOR = 200
WALLETS_MAX = 50_000
DRAIN_SECONDS = 8.0
SPOOL_SCAN_SECONDS = 30.0
PLACED, ALREADY_PLACED, SETTLED_BEFORE, INSUFFICIENT, CLOCK_OFF, OVER_BUDGET = 1, 2, 3, 0, 4, 6


class OpenCall(msgspec.Struct):
    """A call that has a hold: what is known of it until it is settled."""

    context: CallContext
    caller: Caller
    route: ServedRoute
    prices: PriceList
    is_stream: bool
    output_tokens: int  # held for, and sent upstream
    surface: str = ""  # by which it was asked; empty: the route's own
    dropped: tuple[str, ...] = ()  # parameters that the model could not take
    hold_nanos: int = 0
    session_id: int = 0
    deployment: ServedDeployment | None = None
    attempts: list[Attempt] = []
    candidates: list[Candidate] = []
    routing: Routing = msgspec.field(default_factory=Routing)
    arm_id: int = 0  # of an experiment
    outputs: dict[str, int] = {}  # `output_tokens` of the other routes that may be asked
    has_others: Callable[[str], bool] | None = None  # whether somebody else may be asked after a failure of this kind
    is_batch: bool = False
    shortage: str = "balance"  # or "budget": what did not cover the models that were left out
    upstream_ns: int = 0  # spent waiting for upstreams
    first_token_ns: int = 0  # since the start; 0: none came
    settling: asyncio.Future[Settled] | None = None  # from then on the lane has it

    def serve_by(self, candidate: Candidate) -> None:
        """From now on it is this one that is asked, billed and named."""
        if candidate.route is not self.route:
            self.route = candidate.route
            self.output_tokens = self.outputs.get(candidate.route.name, 0)
        self.prices = candidate.prices.scaled() if self.is_batch else candidate.prices
        self.deployment = candidate.deployment

    @property
    def overhead_us(self) -> int:
        return self.overhead_us_at(time.monotonic_ns())

    def overhead_us_at(self, now_ns: int) -> int:
        """Our own time; of a stream until its first token."""
        spent_ns = self.first_token_ns or now_ns - self.context.started_ns
        return max(0, (spent_ns - self.upstream_ns) // 1000)


def open_at(
    context: CallContext, caller: Caller, candidates: list[Candidate], routing: Routing, *, surface: str = "",
    is_stream: bool = False, is_batch: bool = False,
) -> OpenCall:  # fmt: skip
    """A call as its first candidate would serve it, at the dearest price that any of them asks (they are all of one model)."""
    first = candidates[0]
    dearest = next((candidate for candidate in candidates if not candidate.deployment.is_own_key), first)
    prices = dearest.prices.scaled() if is_batch else dearest.prices
    return OpenCall(
        context=context, caller=caller, route=first.route, prices=prices, is_stream=is_stream, output_tokens=0, surface=surface,
        candidates=candidates, routing=routing, is_batch=is_batch, attempts=[],
    )  # fmt: skip


class Bound(msgspec.Struct):
    """What a call may come to if one model answers it."""

    route: ServedRoute
    prices: PriceList
    input_tokens: Callable[[], int]  # at most; counting is dear
    output_tokens: int = 0
    has_media_input: bool = False  # tokens of sound or of pictures may be among them
    has_media_output: bool = False
    is_fallback: bool = False  # for failures only: a balance that covers nothing else covers nothing

    def ceiling(self, input_tokens: int, output_tokens: int, choices: int) -> int:
        """Nanos. Raises PriceMissing."""
        return price_ceiling(
            self.prices, input_tokens=input_tokens, output_tokens=output_tokens * choices, has_media_input=self.has_media_input,
            has_media_output=self.has_media_output,
        )  # fmt: skip

    def clamp(self, input_tokens: int, available_nanos: int, choices: int) -> bool:
        """Cut the output to what the balance affords; False where that is less than OUTPUT_TOKENS_FLOOR."""
        most = affordable_output(
            lambda tokens: self.ceiling(input_tokens, tokens, choices), available_nanos, self.output_tokens - 1
        )
        if most < OUTPUT_TOKENS_FLOOR:
            return False
        self.output_tokens = most
        return True


class Meter:
    """The ledger as this process sees it."""

    def __init__(self) -> None:
        self.session = Session()
        self._spool = Spool(settings.GATEWAY_SPOOL_DIR)
        self._holds = HoldLane(self.session)
        self._settlements = SettleLane(self.session, self._spool)
        self._scan: asyncio.Task[None] | None = None
        self.note_tokens: Callable[[ServedDeployment, int], None] = lambda deployment, tokens: None  # of calls that ended
        self._available: dict[int, int] = {}  # what each wallet had left at its last hold; a hint, never a decision

    async def start(self) -> None:
        self.session.start()
        self._holds.start()
        self._settlements.start()
        self._scan = asyncio.create_task(self._replay_orphans(), name="spool-replay")

    async def stop(self) -> None:
        """After the last call ended: settle what waits, spool what can't be, close the session."""
        if self._scan is not None:
            await end_tasks([self._scan])
        await self._holds.drain(DRAIN_SECONDS / 4)
        if not await self._settlements.drain(DRAIN_SECONDS):
            self._settlements.spool_overdue(older_seconds=0)
        await self._holds.stop()
        await self._settlements.stop()
        self._spool.close()
        await asyncio.to_thread(self.session.stop)

    @property
    def is_ready(self) -> bool:
        return bool(self.session.id) and self._holds.down_since is None and not self._settlements.is_spool_broken

    # ── Hold ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    async def hold_for(
        self, call: OpenCall, bounds: list[Bound], *, input_bytes: int, choices: int = 1, is_ceiling_ours: bool = False
    ) -> None:
        """Reserve the most that the call can cost, whichever model answers.

        Raises InsufficientBalance (402), BudgetExceeded (403), Unavailable (503).

        Counting tokens is the dearest step of a call, so a wallet that had RICH_FACTOR times as much at its last hold is held by
        the bytes of the input (a token is at least one), and only the others by their count. Models that the balance does not
        cover leave `bounds`. Where it covers none, and the caller named no maximum (`is_ceiling_ours`), the outputs are cut to what
        it affords, down to OUTPUT_TOKENS_FLOOR; `output_tokens` of the bounds tell what they came to. A hard budget is no reason to
        cut an answer, and none is held by the bytes: it may be as small as the call.
        """
        caller = call.caller
        is_budgeted = (caller.covers or caller.tag_covers) and any(cover.is_hard for cover in caller.budgets_of(call.context.tags))
        if not is_budgeted:
            by_bytes = max([bound.ceiling(input_bytes, bound.output_tokens, choices) for bound in bounds])
            if by_bytes * RICH_FACTOR < self._available.get(caller.wallet_id, 0):
                placed = await self._place(call, by_bytes)
                if placed.result in (PLACED, ALREADY_PLACED):
                    return
        counted = [bound.input_tokens() for bound in bounds]
        for _ in range(CLAMP_TRIES):
            amounts = [
                max(1, bound.ceiling(tokens, bound.output_tokens, choices)) for bound, tokens in zip(bounds, counted, strict=True)
            ]
            placed = await self._place(call, max(amounts))
            if placed.result in (PLACED, ALREADY_PLACED):
                return
            least = min(amount for bound, amount in zip(bounds, amounts, strict=True) if not bound.is_fallback)
            left = {INSUFFICIENT: placed.available_nanos, OVER_BUDGET: placed.left_nanos}.get(placed.result, 0)
            call.shortage = "budget" if placed.result == OVER_BUDGET else "balance"
            covered = _with_named(bounds, [place for place, amount in enumerate(amounts) if amount <= left])
            if not covered and is_ceiling_ours and placed.result != OVER_BUDGET:
                covered = _with_named(
                    bounds, [place for place, bound in enumerate(bounds) if bound.clamp(counted[place], left, choices)]
                )
            if not covered:
                break
            bounds[:], counted = [bounds[place] for place in covered], [counted[place] for place in covered]
        raise _refusal(call, placed, least)

    async def hold_units(self, call: OpenCall, bound: Usage) -> None:
        """Reserve the most that a call can cost that uses no more than `bound`, whatever it is priced by: tokens, images, seconds,
        characters, searches. Raises PriceMissing, InsufficientBalance (402), BudgetExceeded (403), Unavailable (503)."""
        amount = max(1, price_ceiling_of(call.prices, bound))
        placed = await self._place(call, amount)
        if placed.result not in (PLACED, ALREADY_PLACED):
            raise _refusal(call, placed, amount, is_chat=False)

    async def _place(self, call: OpenCall, amount: int) -> HoldResult:
        """Raises Unavailable where it could be neither placed nor refused for want of balance."""
        if self._holds.down_since is not None or not self.session.id or self._settlements.is_spool_broken:
            raise ledger_unavailable()
        item = HoldItem(call.context.id, call.caller.wallet_id, amount, lambda: self._let_go(call), _budgets_of(call))
        try:
            placed = await self._holds.submit(item)
        except QueueFull:
            raise overloaded() from None
        except ConnectionError:
            raise ledger_unavailable() from None
        if len(self._available) >= WALLETS_MAX:
            self._available.clear()
        self._available[item.wallet_id] = placed.available_nanos
        if placed.result in (PLACED, ALREADY_PLACED):
            call.hold_nanos, call.session_id = amount, placed.session_id
        elif placed.result == CLOCK_OFF:
            log.critical("this machine's clock is more than 60 s off the database's: no calls are admitted")
        if placed.result in (CLOCK_OFF, SETTLED_BEFORE):
            raise ledger_unavailable()
        return placed

    def _let_go(self, call: OpenCall) -> None:
        row = write_row(call, Usage(requests=0), 0, 0, outcome="failed", status=503, error_code="ledger_unavailable")
        answer = self._settlements.submit(SettleItem(call.context.id, row, 0))
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())

    # ── Settle ───────────────────────────────────────────────────────────────────────────────────────────────────────
    async def settle_for(
        self,
        call: OpenCall,
        usage: Usage,
        *,
        outcome: str,
        source: str,
        status: int = 200,
        error_code: str = "",
        finish_reason: str = "",
        upstream_id: str = "",
    ) -> Settled:
        """Price the call and write it, once: a second settlement of the same call gives the first one's figures.

        Returns when it is committed, or kept in the spool. Raises SessionLost where the hold is gone with its session.
        """
        if call.settling is None:
            crashpoint("before_settle")
            if call.session_id != self.session.id:
                raise SessionLost
            if (ticket := call.context.ticket) is not None:
                ticket.tokens_used = usage.prompt_tokens + usage.completion_tokens
            if call.deployment is not None and call.deployment.tokens_per_minute:
                self.note_tokens(call.deployment, usage.prompt_tokens + usage.completion_tokens)
            gross = price_usage(call.prices, usage)
            row = write_row(
                call, usage, gross, cost_of(call.prices, usage), outcome=outcome, status=status, error_code=error_code,
                source=source, finish_reason=finish_reason, upstream_id=upstream_id,
            )  # fmt: skip
            call.settling = self._settlements.submit(SettleItem(call.context.id, row, gross))
        settled = await call.settling  # a caller that is cancelled meanwhile does not stop it: the lane goes on
        if call.deployment is not None and call.deployment.is_own_key:
            settled = msgspec.structs.replace(settled, is_own_key=True)
        crashpoint("after_settle")
        return settled

    async def release_for(self, call: OpenCall, *, status: int, error_code: str, outcome: str = "failed") -> None:
        """Nothing was delivered: a usage record at zero, and the hold goes back."""
        await self.settle_for(call, Usage(requests=0), outcome=outcome, source="none", status=status, error_code=error_code)

    # ── Spool of those who died ──────────────────────────────────────────────────────────────────────────────────────
    async def _replay_orphans(self) -> None:
        while True:
            try:
                for orphan in await asyncio.to_thread(find_orphans, settings.GATEWAY_SPOOL_DIR):
                    try:
                        await self._replay(list(orphan.records()))
                    except BaseException:
                        orphan.leave()
                        raise
                    orphan.delete()
            except OSError as error:
                log.warning("spool not replayed: %s", type(error).__name__)
            await asyncio.sleep(SPOOL_SCAN_SECONDS)

    async def _replay(self, records: list[bytes]) -> None:
        """Raises OSError where one of them was not taken: the file stays."""
        log.warning("replaying %s settlements of a process that ended", len(records))
        answers = []
        for record in records:
            row = msgspec.json.decode(record)
            answers.append(self._settlements.submit(SettleItem(row["id"], record, row["gross_nanos"])))
        await asyncio.gather(*answers)


def _with_named(bounds: list[Bound], covered: list[int]) -> list[int]:
    """Those places, where one of them is a model that the caller may be served by without a failure."""
    return covered if any(not bounds[place].is_fallback for place in covered) else []


def _budgets_of(call: OpenCall) -> str:
    caller = call.caller
    if not caller.covers and not caller.tag_covers:  # as most
        return ""
    found = caller.budgets_of(call.context.tags)
    return f"{{{','.join([str(cover.id) for cover in found])}}}" if found else ""


def _refusal(call: OpenCall, placed: HoldResult, needed: int, *, is_chat: bool = True) -> InsufficientBalance | BudgetExceeded:
    if placed.result == OVER_BUDGET:
        for cover in call.caller.budgets_of(call.context.tags):
            if cover.id == placed.budget_id:
                return over_budget(cover, needed=needed, left=placed.left_nanos)
    return insufficient(needed, placed.available_nanos, is_chat=is_chat)


def affordable_output(ceiling: Callable[[int], int], available_nanos: int, most: int) -> int:
    """The largest output, up to `most`, whose ceiling the balance covers; 0 where not even the input is."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if ceiling(middle) <= available_nanos:
            low = middle
        else:
            high = middle - 1
    return low


def overloaded() -> Unavailable:
    return Unavailable(
        "Muitas chamadas ao mesmo tempo. Tente de novo em instantes.", "Too many calls at once. Try again in a moment.",
        retry_after_seconds=1,
    )  # fmt: skip
