"""A wallet's life in any sequence, against a model of it that shares no code with the ledger.

Hypothesis drives top-ups, calls (held, settled, cut by a crash, replayed), budgets, refunds, disputes, grants, corrections and
tier crossings on two organizations; after every step the invariants are empty and wallet, month and budgets are where the model
(plain integers, and fractions for the discount) has them. The seed is printed; MONEY_SEEDS="1,2,3" plays others.
"""

from __future__ import annotations

import datetime as dt
import os
import uuid
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from billing import holds, ledger
from billing.errors import InsufficientBalance, OtherOutcome, SessionFenced
from billing.ledger import call_table
from billing.models import Budget, BudgetSpend, LedgerEntry, Lot, MonthSpend, Wallet
from billing.money import BRL
from billing.reconcile import find_violations
from tests.examples import IS_LONG
from tests.make import make_call, make_organization, make_session, make_volume_plan, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
TIERS = ((3 * BRL, 500), (10 * BRL, 1_137), (25 * BRL, 2_000))
SEEDS = [int(number) for number in os.environ.get("MONEY_SEEDS", "20261122").split(",")]
EXAMPLES = 200 if IS_LONG else 20
AMOUNTS = st.one_of(st.integers(1, 8 * BRL), st.sampled_from([1, BRL, 3 * BRL, 3 * BRL + 1, 25 * BRL]))


def discounted(gross: int) -> int:
    """What a month of `gross` costs, by exact fractions: each part above a threshold at its own discount, the sum rounded down."""
    discount = Fraction(0)
    ends = [above for above, _ in TIERS[1:]] + [None]
    for (above, bps), end in zip(TIERS, ends, strict=True):
        part = max(0, (gross if end is None else min(gross, end)) - above)
        discount += Fraction(part * bps, 10_000)
    return int((gross - discount) // 1)


@dataclass
class Model:
    """What one organization's money should be."""

    wallet: Wallet
    posted: int = 0
    held: int = 0
    overdraft: int = 0
    gross: int = 0
    calls: int = 0
    limits: dict[int, int] = field(default_factory=dict)  # of hard budgets, by id
    spent: dict[int, int] = field(default_factory=dict)
    reserved: dict[int, int] = field(default_factory=dict)

    @property
    def available(self) -> int:
        return self.posted - self.held

    def bring_in(self, amount: int) -> None:
        owed = min(self.overdraft, amount)
        self.overdraft -= owed
        self.posted += amount - owed


@dataclass
class Held:
    id: uuid.UUID
    model: Model
    amount: int
    budgets: tuple[int, ...]
    session: int  # 0: its hold expired, or was used


class Money(RuleBasedStateMachine):
    """Every rule does the same to the database and to the model."""

    calls = Bundle("calls")
    settled = Bundle("settled")
    refunds = Bundle("refunds")
    top_ups = Bundle("top_ups")

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        make_volume_plan(tiers=TIERS)
        self.models = [Model(make_wallet(organization=make_organization(), brl="0")) for _ in range(2)]
        self.session = make_session()
        self.open: list[Held] = []  # calls that were not settled

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @initialize(target=top_ups)
    def first_money(self) -> Any:
        return self._top_up(self.models[0], 20 * BRL)

    # ── Money in and out ─────────────────────────────────────────────────────────────────────────────────────────────
    @rule(target=top_ups, which=st.integers(0, 1), amount=AMOUNTS)
    def top_up(self, which: int, amount: int) -> Any:
        return self._top_up(self.models[which], amount)

    def _top_up(self, model: Model, amount: int) -> tuple[Model, LedgerEntry, list[int]]:
        fact: dict[str, Any] = {"kind": LedgerEntry.Kind.TOP_UP, "reference": f"pix:{uuid.uuid4().hex}", "wallet": model.wallet,
                                "amount_nanos": amount, "book": "world:pix"}  # fmt: skip
        entry = ledger.post_entry(**fact)
        assert ledger.post_entry(**fact) == entry  # the webhook came twice
        model.bring_in(amount)
        return model, entry, [amount]

    @rule(which=st.integers(0, 1), amount=AMOUNTS, days=st.sampled_from([None, -1, 9]))
    def grant(self, which: int, amount: int, days: int | None) -> None:
        model = self.models[which]
        expires_at = clock.now() + dt.timedelta(days=days) if days else None
        ledger.grant(model.wallet, amount_nanos=amount, reference=f"grant:{uuid.uuid4()}", actor="machine", expires_at=expires_at)
        model.bring_in(amount)

    @rule()
    def expire_grants(self) -> None:
        before = {model.wallet.pk: self._read(model).posted_nanos for model in self.models}
        ledger.expire_promo()
        for model in self.models:
            model.posted -= before[model.wallet.pk] - self._read(model).posted_nanos  # how much: the lots' laws say (invariant 2)
            assert model.posted >= model.held

    @rule(which=st.integers(0, 1), amount=AMOUNTS, sign=st.sampled_from([1, -1]))
    def correct(self, which: int, amount: int, sign: int) -> None:
        model = self.models[which]
        with_room = sign > 0 or amount <= model.available - self._refunding(model)
        try:
            with transaction.atomic():
                ledger.correct(model.wallet, amount_nanos=sign * amount, reason="ajuste", actor="machine")
        except InsufficientBalance:
            assert not with_room
            return
        if sign > 0:
            model.bring_in(amount)
        else:
            model.posted -= amount

    def _refunding(self, model: Model) -> int:
        return sum(Lot.everywhere.filter(wallet=model.wallet).values_list("reserved_nanos", flat=True))

    @rule(of=top_ups, amount=AMOUNTS)
    def dispute(self, of: Any, amount: int) -> None:
        """Who paid takes back some of it, at most what is left of it; what is spent is owed."""
        model, entry, left = of
        amount = min(amount, left[0])
        if amount == 0:
            return
        fact: dict[str, Any] = {"kind": LedgerEntry.Kind.DISPUTE, "reference": f"med:{uuid.uuid4().hex}", "wallet": model.wallet,
                                "amount_nanos": -amount, "book": "world:pix", "reverses": entry}  # fmt: skip
        try:
            with transaction.atomic():
                told = ledger.post_entry(**fact)
                assert ledger.post_entry(**fact) == told
        except InsufficientBalance:  # money that a refund holds is not taken: it is going back already
            assert self._refunding(model)
            return
        left[0] -= amount
        pay = min(amount, model.available)
        model.posted -= pay
        model.overdraft += amount - pay

    @rule(target=refunds, of=top_ups, amount=AMOUNTS)
    def ask_refund(self, of: Any, amount: int) -> Any:
        model, entry, _ = of
        lot = Lot.everywhere.get(entry=entry)
        refund = uuid.uuid4()
        try:
            with transaction.atomic():
                ledger.reserve_refund(refund, lot=lot, amount_nanos=amount)
                ledger.reserve_refund(refund, lot=lot, amount_nanos=amount)
        except InsufficientBalance:
            assert amount > min(model.available, ledger.lot_remaining(lot))
            return None
        model.held += amount
        return [refund, model, amount, of]

    @rule(refund=refunds, is_done=st.booleans())
    def end_refund(self, refund: Any, is_done: bool) -> None:
        if refund is None or refund[0] is None:
            return
        id_, model, amount, (_, _, left) = refund
        refund[0] = None
        model.held -= amount
        if is_done:
            assert ledger.settle_refund(id_, actor="machine", reason="x") == ledger.settle_refund(id_, actor="machine", reason="x")
            model.posted -= amount
            left[0] = max(0, left[0] - amount)
        else:
            assert [ledger.release_refund(id_), ledger.release_refund(id_)] == [True, False]

    # ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────
    @rule(which=st.integers(0, 1), limit=AMOUNTS, window=st.sampled_from(["day", "week", "month"]))
    def set_budget(self, which: int, limit: int, window: str) -> None:
        model = self.models[which]
        if len(model.limits) < 3:
            budget = Budget.everywhere.create(
                organization=model.wallet.organization,
                scope="key",
                subject_id=100 + len(model.limits),
                window=window,
                limit_nanos=limit,
            )
            model.limits[budget.pk], model.spent[budget.pk], model.reserved[budget.pk] = limit, 0, 0

    @rule(target=calls, which=st.integers(0, 1), amount=AMOUNTS, is_covered=st.booleans(), is_batched=st.booleans())
    def hold(self, which: int, amount: int, is_covered: bool, is_batched: bool) -> Held | None:
        model = self.models[which]
        id_, budgets = clock.new_id(), tuple(model.limits) if is_covered else ()
        literal = "{" + ",".join(map(str, budgets)) + "}" if budgets else ""
        if is_batched or budgets:
            query = (
                "SELECT result, available_nanos FROM billing_hold_batch_v2(%s, %s::uuid[], %s::bigint[], %s::bigint[], %s::text[])"
            )
            arguments: list[Any] = [self.session, [id_], [model.wallet.pk], [amount], [literal]]
        else:
            query, arguments = "SELECT result, available_nanos FROM billing_hold_call(%s, %s, %s, %s)", [
                self.session, id_, model.wallet.pk, amount]  # fmt: skip
        [(result, available)] = call_table(query, *arguments)
        over = [budget for budget in budgets if model.spent[budget] + model.reserved[budget] + amount > model.limits[budget]]
        assert result == (6 if over else 0 if amount > model.available else 1)
        if result != 1:
            return None
        model.held += amount
        for budget in budgets:
            model.reserved[budget] += amount
        assert available == model.available
        assert call_table(query, *arguments)[0][0] == 2  # asked again
        self.open.append(Held(id_, model, amount, budgets, self.session))
        return self.open[-1]

    @rule(target=settled, call=calls, share=st.sampled_from([0, 1, 50, 100, 300]), is_late=st.booleans())
    def settle(self, call: Held | None, share: int, is_late: bool) -> Any:
        """It used a part of what was held, all of it, or (the upstream overshot) more. Late: its process had been declared dead."""
        if call not in self.open:
            return None
        model, gross = call.model, call.amount * share // 100
        if is_late and call.session == self.session:
            self.lose_process()
        if call.session:
            self._free(call)
        self.open.remove(call)
        ended = make_call(wallet=model.wallet, gross_nanos=gross, id_=call.id, outcome="completed" if gross else "failed")
        batch = uuid.uuid4()
        answer = holds.settle([ended], batch=batch, session=self.session)
        net = discounted(model.gross + gross) - discounted(model.gross)
        assert answer[0].net_nanos == net
        assert answer[0].gross_before_nanos == model.gross
        pay = min(net, model.available)
        assert answer[0].overdraft_nanos == net - pay
        model.gross, model.calls = model.gross + gross, model.calls + 1
        model.posted -= pay
        model.overdraft += net - pay
        for budget in call.budgets:
            model.spent[budget] += net
        return ended, batch, answer

    def _free(self, call: Held) -> None:
        call.model.held -= call.amount
        for budget in call.budgets:
            call.model.reserved[budget] -= call.amount
        call.session = 0

    @precondition(lambda self: self.session)
    @rule()
    def crash(self) -> None:
        self.lose_process()

    def lose_process(self) -> None:
        """A gateway dies: what it held expires, and it can hold nothing any more."""
        dead, self.session = self.session, make_session()
        holds.close_session(dead)
        for call in self.open:
            if call.session == dead:
                self._free(call)
        with pytest.raises(SessionFenced), transaction.atomic():
            holds.place_holds(dead, holds=[(clock.new_id(), self.models[0].wallet.pk, 1)])

    @rule(of=settled, is_same_batch=st.booleans())
    def replay(self, of: Any, is_same_batch: bool) -> None:
        if of is not None:
            ended, batch, answer = of
            assert holds.settle([ended], batch=batch if is_same_batch else uuid.uuid4()) == answer

    @rule(of=settled)
    def lie(self, of: Any) -> None:
        """The same call with another amount is refused, and nothing moves."""
        if of is not None:
            ended, _, _ = of
            other = make_call(wallet=Wallet(pk=ended.wallet_id), gross_nanos=ended.gross_nanos + 1, id_=ended.id)
            with pytest.raises((OtherOutcome, DatabaseError)), transaction.atomic():
                holds.settle([other])

    # ── After every step ─────────────────────────────────────────────────────────────────────────────────────────────
    def _read(self, model: Model) -> Wallet:
        return Wallet.everywhere.get(pk=model.wallet.pk)

    @invariant()
    def the_books_add_up(self) -> None:
        assert find_violations() == []

    @invariant()
    def the_model_agrees(self) -> None:
        for model in self.models:
            wallet = self._read(model)
            assert (wallet.posted_nanos, wallet.held_nanos, wallet.overdraft_nanos) == (model.posted, model.held, model.overdraft)
            month = MonthSpend.everywhere.filter(wallet=wallet).first()
            if month is not None:
                assert (month.gross_nanos, month.net_nanos, month.calls) == (model.gross, discounted(model.gross), model.calls)
            for spend in BudgetSpend.everywhere.filter(budget__in=list(model.limits)):
                assert (spend.spent_nanos, spend.held_nanos) == (model.spent[spend.budget_id], model.reserved[spend.budget_id])


@pytest.mark.parametrize("seed", SEEDS)
def test_money_is_where_the_model_has_it_whatever_happens(seed: int) -> None:
    print(f"seed {seed}, {EXAMPLES} sequences")
    machine = seeded(seed)(Money)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        ),
    )
