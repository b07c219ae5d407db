"""Many calls at once on one budget, over connections of their own, as gateways do."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from psycopg.types.json import Jsonb

from billing.budgets import count_all_spends
from billing.holds import HoldResult
from billing.models import Budget, BudgetSpend
from billing.money import BRL
from tests.billing.test_holds_race import at_once
from tests.make import make_call, make_session, make_wallet
from tokia import clock

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.mark.parametrize("is_batch", [False, True])
def test_fifty_callers_on_a_budget_for_twenty_get_twenty(is_batch: bool) -> None:
    wallet, session = make_wallet(brl="1000"), make_session()
    other = make_wallet(brl="1000")
    # Made by hand, so that its window is opened by whoever comes first.
    budget = Budget.everywhere.create(organization=wallet.organization, scope="organization", window="month", limit_nanos=20 * BRL)

    def call(connection_: psycopg.Connection, index: int) -> int:
        call_id, beside = clock.new_id(), clock.new_id()
        if is_batch:
            query = "SELECT ord, result FROM billing_hold_batch_v2(%s, %s, %s, %s, %s) ORDER BY ord"
            arguments = [session, [beside, call_id], [other.pk, wallet.pk], [BRL, BRL], ["", f"{{{budget.pk}}}"]]
            rows = connection_.execute(query, arguments).fetchall()
            assert rows[0] == (1, 1)
            result = int(rows[1][1])
        else:
            query = "SELECT result FROM billing_hold_budgeted(%s, %s, %s, %s, %s)"
            [(result,)] = connection_.execute(query, [session, call_id, wallet.pk, BRL, [budget.pk]]).fetchall()
        if result == HoldResult.PLACED and index % 2:  # some end while others still ask, at their full price
            ended = Jsonb(make_call(wallet=wallet, gross_nanos=BRL, id_=call_id).as_json())
            connection_.execute("SELECT billing_settle_call(%s, %s, %s)", [uuid.uuid4(), session, ended])
        return int(result)

    results = at_once(50, call)
    assert (results.count(HoldResult.PLACED), results.count(HoldResult.OVER_BUDGET)) == (20, 30)
    [window] = BudgetSpend.everywhere.filter(budget=budget)
    assert window.spent_nanos + window.held_nanos == 20 * BRL and window.spent_nanos > 0


def test_counting_again_while_calls_run_loses_none() -> None:
    """Calls with and without the budget are held, settled, released and expired while its windows are counted again and again."""
    wallet, sessions = make_wallet(brl="1000"), [make_session() for _ in range(6)]
    budget = Budget.everywhere.create(organization=wallet.organization, scope="organization", window="day", limit_nanos=900 * BRL)

    def work(connection_: psycopg.Connection, index: int) -> int:
        if index >= 6:
            for _ in range(25):
                connection_.execute("SELECT billing_count_spends(%s)", [wallet.organization_id])
                if index == 7:
                    connection_.execute("SELECT billing_expire_holds(0)")
            return 0
        net = 0
        for turn in range(20):
            call = make_call(wallet=wallet, gross_nanos=10**6 * (turn % 3), outcome="completed" if turn % 3 else "failed")
            ids = [budget.pk] if turn % 4 else []
            connection_.execute(
                "SELECT billing_hold_budgeted(%s, %s, %s, %s, %s::bigint[])", [sessions[index], call.id, wallet.pk, BRL, ids]
            )
            connection_.execute("SELECT billing_settle_call(%s, %s, %s)", [uuid.uuid4(), sessions[index], Jsonb(call.as_json())])
            net += call.gross_nanos
        return net

    spent = sum(at_once(8, work))
    count_all_spends()
    [window] = BudgetSpend.everywhere.filter(budget=budget)
    assert (window.spent_nanos, window.held_nanos) == (spent, 0)
