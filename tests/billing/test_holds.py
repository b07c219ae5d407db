"""One call: held, settled, released, late, replayed; and what a gateway process may do when."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace

import pytest
from django.db import connection, transaction

from billing import holds
from billing.errors import InsufficientBalance, OtherOutcome, SessionFenced, UnknownWallet
from billing.holds import HoldResult
from billing.models import ExpiredHold, GatewaySession, Hold, LedgerEntry, MonthSpend, UsageRecord, Wallet
from billing.money import BRL
from billing.reconcile import find_violations
from tests.make import make_call, make_hold, make_session, make_top_up, make_volume_plan, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
OUTCOME = UsageRecord.Outcome


@pytest.fixture(autouse=True)
def adds_up(db: None) -> object:
    yield
    assert find_violations() == []


def id_at(instant: dt.datetime) -> uuid.UUID:
    """A UUIDv7 of that instant."""
    tail = clock.new_id().int & ((1 << 80) - 1)
    return uuid.UUID(int=(round(instant.timestamp() * 1000) << 80) | tail)


def fresh(wallet: Wallet) -> Wallet:
    wallet.refresh_from_db()
    return wallet


def test_it_holds_then_settles_to_the_nano() -> None:
    wallet, session = make_wallet(brl="10"), make_session()
    call = make_hold(wallet=wallet, brl="4", session=session)
    assert (fresh(wallet).held_nanos, wallet.available_nanos) == (4 * BRL, 6 * BRL)
    ended = make_call(
        wallet=wallet, gross_nanos=1_234_567_891, id_=call, cost_nanos=7, upstream_id="x" * 500, attempts=({"ms": 3},)
    )
    [settled] = holds.settle([ended], session=session)
    assert (settled.net_nanos, settled.paid_nanos, settled.gross_before_nanos) == (1_234_567_891, 1_234_567_891, 0)
    assert (fresh(wallet).held_nanos, wallet.posted_nanos) == (0, 10 * BRL - 1_234_567_891)
    record = UsageRecord.everywhere.get(pk=call)
    assert (record.hold_nanos, record.organization_id, record.attempts) == (4 * BRL, wallet.organization_id, [{"ms": 3}])
    assert len(record.upstream_id) == 120  # cut, not lost
    assert abs(record.created_at - clock.now()) < dt.timedelta(seconds=5)


def test_a_batch_is_decided_in_order_per_wallet() -> None:
    rich, poor = make_wallet(brl="10"), make_wallet(brl="3")
    orders = [
        (clock.new_id(), wallet.pk, amount * BRL) for wallet, amount in ((poor, 2), (rich, 9), (poor, 2), (poor, 1), (rich, 1))
    ]
    answers = holds.place_holds(make_session(), holds=orders)
    assert [answer.result.value for answer in answers] == [1, 1, 0, 1, 1]
    assert [answer.available_nanos // BRL for answer in answers] == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("others", [0, 2])  # alone and within a batch: two code paths
def test_the_same_hold_again_changes_nothing(others: int) -> None:
    wallet, session = make_wallet(brl="10"), make_session()
    orders = [(clock.new_id(), wallet.pk, BRL) for _ in range(1 + others)]
    assert {answer.result for answer in holds.place_holds(session, holds=orders)} == {HoldResult.PLACED}
    assert {answer.result for answer in holds.place_holds(session, holds=orders)} == {HoldResult.ALREADY_PLACED}
    holds.settle([make_call(wallet=wallet, gross_nanos=0, id_=order[0], outcome=OUTCOME.FAILED) for order in orders])
    assert {answer.result for answer in holds.place_holds(session, holds=orders)} == {HoldResult.ALREADY_SETTLED}
    assert fresh(wallet).held_nanos == 0


@pytest.mark.parametrize("others", [0, 2])
def test_a_hold_that_expired_is_never_placed_again(others: int) -> None:
    """Its answer was lost, its process declared dead; the process lives and sends the same ids under another session."""
    wallet, session = make_wallet(brl="10"), make_session()
    orders = [(clock.new_id(), wallet.pk, BRL) for _ in range(1 + others)]
    holds.place_holds(session, holds=orders)
    holds.close_session(session)
    assert {answer.result for answer in holds.place_holds(make_session(), holds=orders)} == {HoldResult.ALREADY_SETTLED}
    assert fresh(wallet).held_nanos == 0


@pytest.mark.parametrize("others", [0, 1])
def test_it_refuses_an_id_off_the_clock_and_an_unknown_wallet(others: int) -> None:
    wallet, session = make_wallet(brl="10"), make_session()
    filler = [(clock.new_id(), wallet.pk, 1)] * others
    for seconds in (-70, 70):
        order = (id_at(clock.now() + dt.timedelta(seconds=seconds)), wallet.pk, BRL)
        assert holds.place_holds(session, holds=[order, *filler])[0].result == HoldResult.CLOCK_OFF
    filler = [(clock.new_id(), wallet.pk, 1)] * others
    assert holds.place_holds(session, holds=[(clock.new_id(), 10**9, BRL), *filler])[0].result == HoldResult.UNKNOWN_WALLET


def test_the_verb_for_one_hold_says_what_is_there() -> None:
    wallet = make_wallet(brl="1")
    with pytest.raises(InsufficientBalance, match=r"R\$\xa02,00 e há R\$\xa01,00"):
        holds.place_hold(make_session(), call_id=clock.new_id(), wallet=wallet, amount_nanos=2 * BRL)


def test_a_failed_call_costs_nothing_and_leaves_its_record() -> None:
    wallet, session = make_wallet(brl="10"), make_session()
    call = make_hold(wallet=wallet, session=session)
    [settled] = holds.settle([make_call(wallet=wallet, gross_nanos=0, id_=call, outcome=OUTCOME.FAILED, status_code=502)])
    assert settled.net_nanos == 0
    assert (fresh(wallet).posted_nanos, wallet.held_nanos) == (10 * BRL, 0)
    assert UsageRecord.everywhere.get(pk=call).entry_id is None
    assert not LedgerEntry.objects.filter(kind=LedgerEntry.Kind.USAGE).exists()


def test_a_replay_returns_what_was_settled() -> None:
    wallet = make_wallet(brl="10", promo_brl="1")
    calls = [make_call(wallet=wallet, gross_nanos=amount) for amount in (BRL // 2, BRL, 0)]
    batch = uuid.uuid4()
    first = holds.settle(calls, batch=batch)
    assert holds.settle(calls, batch=batch) == first  # the same batch
    assert holds.settle(calls) == first  # the same calls in another one
    assert holds.settle([calls[1], make_call(wallet=wallet, gross_nanos=7)])[0] == first[1]
    assert UsageRecord.everywhere.count() == 4
    assert fresh(wallet).posted_nanos == 11 * BRL - BRL * 3 // 2 - 7


def test_another_outcome_is_an_error_that_changes_nothing() -> None:
    wallet, other = make_wallet(brl="10"), make_wallet(brl="10")
    call = make_call(wallet=wallet, gross_nanos=BRL)
    batch = uuid.uuid4()
    holds.settle([call], batch=batch)
    changed = (replace(call, gross_nanos=2), replace(call, outcome=OUTCOME.CUT), replace(call, wallet_id=other.pk))
    for again in changed:
        with pytest.raises(OtherOutcome), transaction.atomic():
            holds.settle([make_call(wallet=wallet, gross_nanos=5), again])
    with pytest.raises(OtherOutcome), transaction.atomic():
        holds.settle([make_call(wallet=wallet, gross_nanos=5)], batch=batch)  # the batch with another call
    assert fresh(wallet).posted_nanos == 9 * BRL


def test_one_poison_row_fails_its_batch_whole() -> None:
    wallet = make_wallet(brl="10")
    poison = make_call(wallet=Wallet(pk=10**9), gross_nanos=1)
    with pytest.raises(UnknownWallet) as caught, transaction.atomic():
        holds.settle([make_call(wallet=wallet, gross_nanos=5), poison])
    assert str(poison.id) in str(caught.value.__cause__)
    assert UsageRecord.everywhere.count() == 0


def test_a_hold_of_another_wallet_is_not_settled() -> None:
    wallet, other = make_wallet(brl="10"), make_wallet(brl="10")
    call = make_hold(wallet=wallet)
    with pytest.raises(OtherOutcome), transaction.atomic():
        holds.settle([make_call(wallet=other, gross_nanos=5, id_=call)])


def test_a_reaped_process_loses_its_holds_and_places_none() -> None:
    wallet, session = make_wallet(brl="10"), holds.open_session("silent", seconds=-10)
    alive = make_session()
    call, kept = make_hold(wallet=wallet, session=session), make_hold(wallet=wallet, session=alive)
    assert holds.reap_sessions(grace_seconds=60) == 0
    assert holds.reap_sessions(grace_seconds=5) == 1
    assert [hold.pk for hold in Hold.everywhere.all()] == [kept]
    assert ExpiredHold.objects.get().pk == call
    assert GatewaySession.objects.get(pk=session).state == GatewaySession.State.REAPED
    for forbidden in (lambda: make_hold(wallet=wallet, session=session), lambda: holds.renew_session(session)):
        with pytest.raises(SessionFenced), transaction.atomic():
            forbidden()
    holds.renew_session(alive)


def test_a_drained_process_closes_once() -> None:
    wallet, session = make_wallet(brl="10"), make_session()
    make_hold(wallet=wallet, session=session)
    assert (holds.close_session(session), holds.close_session(session)) == (1, 0)
    assert fresh(wallet).held_nanos == 0


def test_a_hold_older_than_any_call_expires() -> None:
    wallet = make_wallet(brl="10")
    make_hold(wallet=wallet, brl="4")
    assert holds.expire_holds(older_seconds=60) == 0
    assert holds.expire_holds(older_seconds=-1) == 1
    assert fresh(wallet).available_nanos == 10 * BRL


def test_a_spooled_answer_is_settled_after_its_hold_expired() -> None:
    wallet, session = make_wallet(brl="10"), make_session()
    call = make_hold(wallet=wallet, brl="4", session=session)
    holds.close_session(session)
    [settled] = holds.settle([make_call(wallet=wallet, gross_nanos=3 * BRL, id_=call)], session=session)
    assert settled.paid_nanos == 3 * BRL
    record = UsageRecord.everywhere.get(pk=call)
    assert (record.is_late, record.hold_nanos) == (True, None)


def test_what_goes_beyond_the_hold_and_the_wallet_is_overdraft() -> None:
    wallet, session = make_wallet(brl="5"), make_session()
    call, other = (make_hold(wallet=wallet, brl="2", session=session) for _ in range(2))
    [settled] = holds.settle([make_call(wallet=wallet, gross_nanos=9 * BRL, id_=call)])
    assert (settled.paid_nanos, settled.overdraft_nanos) == (3 * BRL, 6 * BRL)  # the other call's hold is not touched
    assert (fresh(wallet).available_nanos, wallet.held_nanos, wallet.overdraft_nanos) == (0, 2 * BRL, 6 * BRL)
    holds.settle([make_call(wallet=wallet, gross_nanos=2 * BRL, id_=other)])
    make_top_up(wallet=wallet, brl="10")
    assert (fresh(wallet).posted_nanos, wallet.overdraft_nanos) == (4 * BRL, 0)


def test_it_discounts_across_a_threshold_within_a_batch() -> None:
    make_volume_plan(tiers=((10 * BRL, 5_000),))
    wallet = make_wallet(brl="100")
    settled = holds.settle([make_call(wallet=wallet, gross_nanos=amount * BRL) for amount in (8, 4, 6)])
    assert [line.net_nanos // BRL for line in settled] == [8, 3, 3]
    assert [line.gross_before_nanos // BRL for line in settled] == [0, 8, 12]


def test_a_month_keeps_the_plan_of_its_first_call() -> None:
    wallet = make_wallet(brl="100")
    holds.settle([make_call(wallet=wallet, gross_nanos=BRL)])
    make_volume_plan(tiers=((0, 5_000),))
    [second] = holds.settle([make_call(wallet=wallet, gross_nanos=BRL)])
    assert second.net_nanos == BRL
    [other] = holds.settle([make_call(wallet=make_wallet(brl="9"), gross_nanos=BRL)])
    assert other.net_nanos == BRL // 2


def test_a_wallets_own_plan_goes_before_the_one_in_force() -> None:
    from billing.wallets import set_volume_plan

    make_volume_plan(tiers=((0, 1_000),))
    wallet = make_wallet(brl="100")
    set_volume_plan(wallet, make_volume_plan(tiers=((0, 9_000),), is_default=False))
    [settled] = holds.settle([make_call(wallet=wallet, gross_nanos=BRL)])
    assert settled.net_nanos == BRL // 10


def test_the_month_turns_at_midnight_in_sao_paulo() -> None:
    make_volume_plan(tiers=((0, 5_000),))
    wallet = make_wallet(brl="100")
    turn = clock.Month.current().starts_at()
    before, after = id_at(turn - dt.timedelta(milliseconds=1)), id_at(turn)
    settled = holds.settle([make_call(wallet=wallet, gross_nanos=3, id_=id_) for id_ in (after, before, clock.new_id())])
    assert [line.gross_before_nanos for line in settled] == [0, 0, 3]
    months = {spend.month: (spend.gross_nanos, spend.net_nanos, spend.calls) for spend in MonthSpend.everywhere.all()}
    this = clock.Month.current().first_on
    assert months == {this: (6, 3, 2), (this - dt.timedelta(days=1)).replace(day=1): (3, 1, 1)}


def test_every_record_lies_in_the_partition_of_its_month() -> None:
    wallet = make_wallet(brl="100")
    far = clock.now() + dt.timedelta(days=400)
    this, other = holds.settle([make_call(wallet=wallet, gross_nanos=3, id_=id_) for id_ in (clock.new_id(), id_at(far))])
    assert partition_of(this.id) == f"billing_usagerecord_{clock.Month.current().first_on:%Y_%m}"
    assert partition_of(other.id) == "billing_usagerecord_default"
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_ensure_partitions(14)")
        assert partition_of(other.id) == f"billing_usagerecord_{clock.Month.of(far).first_on:%Y_%m}"
        cursor.execute("SELECT billing_ensure_partitions(14)")
        assert cursor.fetchall() == [(0,)]


def partition_of(id_: uuid.UUID) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM billing_usagerecord WHERE id = %s", [id_])
        [(name,)] = cursor.fetchall()
        return str(name)
