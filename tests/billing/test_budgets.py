"""Budgets are held with the calls: what they refuse, what they count, and where their windows end."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Membership, Organization, Project, Role
from billing import budgets, holds
from billing.errors import BudgetExceeded, BudgetRefused, SessionFenced
from billing.holds import HoldAnswer, HoldResult
from billing.models import Budget, BudgetSpend, ExpiredHold, Hold, UsageRecord, Wallet
from billing.money import BRL
from billing.reconcile import find_violations
from billing.windows import Cover, covering, renews_on, tell_refusal, window_start
from tests.make import make_call, make_key, make_organization, make_session, make_usage, make_user, make_wallet
from tokia import clock
from tokia.clock import SAO_PAULO

pytestmark = pytest.mark.django_db
FAILED = UsageRecord.Outcome.FAILED


@pytest.fixture(autouse=True)
def adds_up(db: None) -> Iterator[None]:
    yield
    assert find_violations() == []


def make_budget(
    organization: Organization, *, brl: int = 10, is_hard: bool = True, window: str = "month", scope: str = "organization",
    subject_id: int = 0, tag: str = "",
) -> Budget:  # fmt: skip
    return budgets.set_budget(
        organization, by=None, scope=scope, subject_id=subject_id, tag=tag, window=window, limit_nanos=brl * BRL, is_hard=is_hard
    )


def hold(
    wallet: Wallet, *ids: int, brl: int = 1, session: int | None = None, call: uuid.UUID | None = None, others: int = 0
) -> HoldAnswer:
    """One hold against budgets; alone, or with others beside it that no budget covers (the batch's path)."""
    first = [(call or clock.new_id(), wallet.pk, brl * BRL)]
    rest = [(clock.new_id(), make_wallet(brl="1").pk, BRL) for _ in range(others)]
    answers = holds.place_holds(session or make_session(), holds=first + rest, budgets=[list(ids)] + [[]] * others)
    assert all(answer == HoldAnswer(HoldResult.PLACED, 0) for answer in answers[1:])
    return answers[0]


def window_of(budget: Budget) -> tuple[int, int]:
    """Spent and held of today's window, in reais."""
    [state] = budgets.states_of([budget])
    return state.spent_nanos // BRL, state.held_nanos // BRL


# ── Holding ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("others", [0, 2])  # alone and within a batch: two code paths
def test_a_hard_budget_refuses_with_its_numbers_and_holds_nothing(others: int) -> None:
    wallet = make_wallet(brl="100")
    budget = make_budget(wallet.organization, brl=10)
    assert hold(wallet, budget.pk, brl=7, others=others) == HoldAnswer(HoldResult.PLACED, 93 * BRL)
    refused = hold(wallet, budget.pk, brl=4, others=others)
    assert refused == HoldAnswer(HoldResult.OVER_BUDGET, 93 * BRL, budget_id=budget.pk, left_nanos=3 * BRL)
    assert (window_of(budget), Wallet.everywhere.get(pk=wallet.pk).held_nanos) == ((0, 7), 7 * BRL)
    assert hold(wallet, budget.pk, brl=3, others=others).result == HoldResult.PLACED  # to the last nano
    assert hold(wallet, budget.pk, brl=1, others=others).left_nanos == 0


def test_the_verb_says_what_is_left() -> None:
    wallet = make_wallet(brl="100")
    budget = make_budget(wallet.organization, brl=2)
    with pytest.raises(BudgetExceeded, match=r"até R\$\s5,00 e o orçamento tem R\$\s2,00 livres") as refused:
        holds.place_hold(make_session(), call_id=clock.new_id(), wallet=wallet, amount_nanos=5 * BRL, budgets=[budget.pk])
    assert (refused.value.status, refused.value.code) == (403, "budget_exceeded")


@pytest.mark.parametrize("others", [0, 2])
def test_a_soft_budget_counts_and_never_refuses(others: int) -> None:
    wallet = make_wallet(brl="100")
    budget = make_budget(wallet.organization, brl=1, is_hard=False)
    assert {hold(wallet, budget.pk, brl=20, others=others).result for _ in range(5)} == {HoldResult.PLACED}
    assert window_of(budget) == (0, 100)


def test_of_several_budgets_the_one_with_the_least_left_refuses() -> None:
    wallet = make_wallet(brl="100")
    ours = [
        make_budget(wallet.organization, brl=brl, scope="tag", tag=tag, is_hard=hard)
        for brl, tag, hard in ((5, "a", True), (3, "b", True), (4, "c", True), (1, "d", False))
    ]
    answer = hold(wallet, *(budget.pk for budget in ours), brl=6)
    assert (answer.result, answer.budget_id, answer.left_nanos) == (HoldResult.OVER_BUDGET, ours[1].pk, 3 * BRL)
    assert {window_of(budget) for budget in ours} == {(0, 0)}
    hold(wallet, *(budget.pk for budget in ours), brl=2)
    assert {window_of(budget) for budget in ours} == {(0, 2)}


def test_budgets_of_others_and_those_out_of_force_are_not_looked_at() -> None:
    wallet, other = make_wallet(brl="100"), make_wallet(brl="100")
    theirs, stopped = make_budget(other.organization, brl=1), make_budget(wallet.organization, brl=1)
    assert budgets.stop_budget(stopped) and not budgets.stop_budget(stopped)
    for others in (0, 2):
        assert hold(wallet, theirs.pk, stopped.pk, 987_654, brl=9, others=others).result == HoldResult.PLACED
    assert (window_of(theirs), window_of(stopped)) == ((0, 0), (0, 0))
    assert set(Hold.everywhere.filter(wallet=wallet).values_list("spends", flat=True)) == {None}


def test_a_budget_stopped_under_way_still_counts_what_was_held() -> None:
    wallet = make_wallet(brl="100")
    budget, call = make_budget(wallet.organization, brl=10), clock.new_id()
    hold(wallet, budget.pk, brl=6, call=call)
    budgets.stop_budget(budget)
    holds.settle([make_call(wallet=wallet, gross_nanos=2 * BRL, id_=call)])
    assert window_of(budget) == (2, 0)


def test_a_wallet_without_the_money_refuses_before_anything_is_taken() -> None:
    wallet = make_wallet(brl="3")
    budget = make_budget(wallet.organization, brl=100)
    assert hold(wallet, budget.pk, brl=4) == HoldAnswer(HoldResult.INSUFFICIENT, 3 * BRL)
    assert window_of(budget) == (0, 0)
    assert holds.place_holds(make_session(), holds=[(clock.new_id(), 987_654, BRL)], budgets=[[budget.pk]]) == [
        HoldAnswer(HoldResult.UNKNOWN_WALLET, 0)
    ]


@pytest.mark.parametrize("off_seconds", [-61, 61])
def test_a_clock_that_is_off_opens_no_window(off_seconds: int) -> None:
    wallet = make_wallet(brl="100")
    budget = make_budget(wallet.organization, brl=1)
    BudgetSpend.everywhere.all()
    clock.shift(off_seconds)
    try:
        call = clock.new_id()
    finally:
        clock.shift(0)
    assert hold(wallet, budget.pk, brl=5, call=call).result == HoldResult.CLOCK_OFF
    assert BudgetSpend.everywhere.filter(budget=budget).count() == 1


@pytest.mark.parametrize("others", [0, 2])
def test_the_same_hold_again_takes_nothing_more(others: int) -> None:
    wallet, session, call = make_wallet(brl="100"), make_session(), clock.new_id()
    budget = make_budget(wallet.organization, brl=10)
    assert hold(wallet, budget.pk, brl=6, call=call, session=session, others=others).result == HoldResult.PLACED
    # 6 more would be refused: it is a replay, so it isn't.
    assert hold(wallet, budget.pk, brl=6, call=call, session=session, others=others).result == HoldResult.ALREADY_PLACED
    assert window_of(budget) == (0, 6)
    holds.settle([make_call(wallet=wallet, gross_nanos=BRL, id_=call)])
    assert hold(wallet, budget.pk, brl=6, call=call, session=session, others=others).result == HoldResult.ALREADY_SETTLED
    assert window_of(budget) == (1, 0)


@pytest.mark.parametrize("others", [0, 2])
def test_a_fenced_process_holds_nothing(others: int) -> None:
    wallet, session = make_wallet(brl="100"), make_session()
    budget = make_budget(wallet.organization, brl=10)
    holds.close_session(session)
    orders = [(clock.new_id(), wallet.pk, BRL) for _ in range(1 + others)]
    with pytest.raises(SessionFenced), transaction.atomic():
        holds.place_holds(session, holds=orders, budgets=[[budget.pk]] * len(orders))


def test_a_batch_mixes_calls_with_and_without_budgets() -> None:
    wallet, other = make_wallet(brl="10"), make_wallet(brl="10")
    tight, roomy = make_budget(wallet.organization, brl=3), make_budget(wallet.organization, brl=50, window="day")
    orders: list[tuple[Wallet, int, Sequence[int]]] = [
        (wallet, 2, [tight.pk, roomy.pk]), (other, 9, []), (wallet, 2, [tight.pk]), (wallet, 1, []),
        (wallet, 1, [roomy.pk, tight.pk]), (other, 2, []), (wallet, 7, []), (wallet, 6, []),
    ]  # fmt: skip
    answers = holds.place_holds(
        make_session(),
        holds=[(clock.new_id(), wallet_.pk, brl * BRL) for wallet_, brl, _ in orders],
        budgets=[ids for _, _, ids in orders],
    )
    assert [answer.result.value for answer in answers] == [1, 1, 6, 1, 1, 0, 0, 1]
    assert (answers[2].budget_id, answers[2].left_nanos) == (tight.pk, BRL)
    assert (window_of(tight), window_of(roomy)) == ((0, 3), (0, 3))
    assert Wallet.everywhere.get(pk=wallet.pk).available_nanos == 0


# ── Settling, expiring ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("others", [0, 2])
def test_settling_counts_what_the_call_came_to_once(others: int) -> None:
    wallet, call = make_wallet(brl="100"), clock.new_id()
    month, day = make_budget(wallet.organization, brl=10), make_budget(wallet.organization, brl=10, window="day")
    hold(wallet, month.pk, day.pk, brl=6, call=call)
    ended = [make_call(wallet=wallet, gross_nanos=2 * BRL, id_=call)]
    ended += [make_call(wallet=make_wallet(), gross_nanos=BRL) for _ in range(others)]
    batch = uuid.uuid4()
    for again in (batch, batch, uuid.uuid4()):
        holds.settle(ended, batch=again)
        assert (window_of(month), window_of(day)) == ((2, 0), (2, 0))


def test_a_released_call_leaves_its_windows_as_they_were() -> None:
    wallet, call = make_wallet(brl="100"), clock.new_id()
    budget = make_budget(wallet.organization, brl=10)
    hold(wallet, budget.pk, brl=6, call=call)
    holds.settle([make_call(wallet=wallet, gross_nanos=0, id_=call, outcome=FAILED)])
    assert window_of(budget) == (0, 0)


def test_a_call_may_overshoot_its_hold_and_the_budget_tells() -> None:
    wallet, call = make_wallet(brl="100"), clock.new_id()
    budget = make_budget(wallet.organization, brl=10)
    hold(wallet, budget.pk, brl=6, call=call)
    holds.settle([make_call(wallet=wallet, gross_nanos=13 * BRL, id_=call)])
    [state] = budgets.states_of([budget])
    assert (state.spent_nanos, state.left_nanos, state.spent_percent, state.is_spent) == (13 * BRL, 0, 130, True)
    assert hold(wallet, budget.pk).left_nanos == 0


@pytest.mark.parametrize("others", [0, 2])
def test_an_expired_hold_leaves_its_windows_and_a_late_settlement_counts(others: int) -> None:
    wallet, session, call = make_wallet(brl="100"), make_session(), clock.new_id()
    budget = make_budget(wallet.organization, brl=10)
    hold(wallet, budget.pk, brl=6, call=call, session=session)
    assert holds.close_session(session) == 1
    assert window_of(budget) == (0, 0)
    ended = [make_call(wallet=wallet, gross_nanos=2 * BRL, id_=call)]
    ended += [make_call(wallet=make_wallet(), gross_nanos=BRL) for _ in range(others)]
    for _ in range(2):
        holds.settle(ended)
        assert window_of(budget) == (2, 0)
    assert ExpiredHold.objects.filter(pk=call, spends__len=1).exists()


# ── What a budget starts with ────────────────────────────────────────────────────────────────────────────────────────
def test_a_budget_made_in_the_middle_starts_with_what_its_days_know() -> None:
    wallet, bob = make_wallet(brl="100"), make_user()
    Membership.everywhere.create(organization=wallet.organization, user=bob, role=Role.DEVELOPER)
    site = Project.everywhere.create(organization=wallet.organization, name="Site")
    his, _ = make_key(organization=wallet.organization, user=bob)
    hers, _ = make_key(organization=wallet.organization)
    make_usage(wallet=wallet, gross_nanos=BRL, api_key_id=his.pk, project_id=site.pk, tags=("a", "b"))
    make_usage(wallet=wallet, gross_nanos=2 * BRL, api_key_id=his.pk, tags=("b",))
    make_usage(wallet=wallet, gross_nanos=4 * BRL, api_key_id=hers.pk, project_id=site.pk)
    make_usage(wallet=make_wallet(), gross_nanos=7 * BRL, api_key_id=his.pk, project_id=site.pk, tags=("a", "b"))  # somebody else's
    expected = {
        ("organization", 0, ""): 7, ("project", site.pk, ""): 5, ("key", his.pk, ""): 3, ("key", hers.pk, ""): 4,
        ("member", bob.pk, ""): 3, ("tag", 0, "a"): 1, ("tag", 0, "b"): 3, ("tag", 0, "c"): 0,
    }  # fmt: skip
    for window in ("day", "week", "month"):
        for (scope, subject_id, tag), spent in expected.items():
            budget = make_budget(wallet.organization, scope=scope, subject_id=subject_id, tag=tag, window=window)
            assert window_of(budget) == (spent, 0), (scope, tag, window)


def test_a_window_that_no_call_opened_is_opened_by_the_first() -> None:
    wallet = make_wallet(brl="100")
    make_usage(wallet=wallet, gross_nanos=7 * BRL)
    budget = Budget.everywhere.create(organization=wallet.organization, scope="organization", window="day", limit_nanos=10 * BRL)
    assert window_of(budget) == (7, 0)  # told without a row
    assert hold(wallet, budget.pk, brl=4) == HoldAnswer(HoldResult.OVER_BUDGET, 93 * BRL, budget.pk, 3 * BRL)
    assert hold(wallet, budget.pk, brl=3).result == HoldResult.PLACED
    assert BudgetSpend.everywhere.get().held_nanos == 3 * BRL


def test_calls_under_way_when_a_budget_was_made_are_counted_again() -> None:
    wallet, call = make_wallet(brl="100"), clock.new_id()
    hold(wallet, call=call, brl=5)
    budget = make_budget(wallet.organization, brl=10)
    holds.settle([make_call(wallet=wallet, gross_nanos=5 * BRL, id_=call)])
    assert window_of(budget) == (0, 0)
    assert budgets.count_all_spends() == 1 and budgets.count_all_spends() == 0
    assert window_of(budget) == (5, 0)
    assert hold(wallet, budget.pk, brl=6).left_nanos == 5 * BRL


def test_a_window_of_before_stays_as_it_was() -> None:
    wallet = make_wallet(brl="100")
    budget = make_budget(wallet.organization, brl=10, window="day")
    with connection.cursor() as cursor:  # yesterday's, as its calls left it
        cursor.execute("SELECT billing_window_start('day', now() - interval '1 day')")
        [yesterday] = cursor.fetchone() or (None,)
    assert yesterday == clock.today_in_brazil() - dt.timedelta(days=1)
    before = clock.now() - dt.timedelta(days=1)
    [state] = budgets.states_of([budget], at=before)
    assert (state.starts_on, state.renews_on, state.spent_nanos) == (yesterday, clock.today_in_brazil(), 0)


# ── Windows ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def edges() -> list[dt.datetime]:
    """Around every midnight that begins a month, and the Mondays near it, of 2024 to 2035."""
    instants = []
    for year in range(2024, 2036):
        for month in range(1, 13):
            first = dt.datetime(year, month, 1, tzinfo=SAO_PAULO)
            monday = first + dt.timedelta(days=-first.weekday())
            for midnight in (first, monday, monday + dt.timedelta(days=7), first + dt.timedelta(days=12)):
                instants += [
                    midnight - dt.timedelta(milliseconds=1),
                    midnight,
                    midnight + dt.timedelta(hours=23, minutes=59, seconds=59),
                ]
    return instants


def test_windows_begin_at_midnight_in_sao_paulo_the_same_in_sql_and_python() -> None:
    instants = edges()
    with connection.cursor() as cursor:
        for window in ("day", "week", "month"):
            cursor.execute(
                "SELECT billing_window_start(%s, i.at) FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS i (at, n) ORDER BY n",
                [window, instants],
            )
            found = [row[0] for row in cursor.fetchall()]
            assert found == [window_start(window, at) for at in instants]
            for at, starts in zip(instants, found, strict=True):
                until = renews_on(window, starts)
                assert starts <= at.astimezone(SAO_PAULO).date() < until and window_start(window, at) == starts
                assert until.day == 1 if window == "month" else until.weekday() == 0 or window == "day"


@pytest.mark.parametrize(
    ("window", "at", "starts", "renews"),
    [
        ("day", "2026-11-22T23:59:59-03:00", "2026-11-22", "2026-11-23"),
        ("day", "2026-11-23T02:59:59.999+00:00", "2026-11-22", "2026-11-23"),  # UTC is a day ahead
        ("week", "2026-11-22T23:59:59-03:00", "2026-11-16", "2026-11-23"),  # a Sunday
        ("week", "2026-11-23T00:00:00-03:00", "2026-11-23", "2026-11-30"),  # a Monday
        ("week", "2026-12-31T12:00:00-03:00", "2026-12-28", "2027-01-04"),  # over the year
        ("month", "2026-12-01T02:59:59+00:00", "2026-11-01", "2026-12-01"),
        ("month", "2026-12-01T03:00:00+00:00", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T23:59:59-03:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_it_knows_the_edges(window: str, at: str, starts: str, renews: str) -> None:
    began = window_start(window, dt.datetime.fromisoformat(at))
    assert (str(began), str(renews_on(window, began))) == (starts, renews)


def test_a_call_belongs_to_the_window_of_its_id() -> None:
    """At 23:59:59 held, after midnight settled: it counts for the day it was made."""
    wallet, call = make_wallet(brl="100"), clock.new_id()
    budget = make_budget(wallet.organization, brl=10, window="day")
    hold(wallet, budget.pk, brl=3, call=call)
    [spends] = Hold.everywhere.filter(pk=call).values_list("spends", flat=True)
    made_on = clock.instant_of(call).astimezone(SAO_PAULO).date()
    assert spends and BudgetSpend.everywhere.get(pk__in=spends).starts_on == made_on


# ── Which budgets cover a call ───────────────────────────────────────────────────────────────────────────────────────
def test_it_covers_calls_by_organization_project_person_key_and_tag() -> None:
    def cover(id_: int, scope: str, subject_id: int = 0, tag: str = "") -> Cover:
        return Cover(id_, scope, subject_id, tag, "month", BRL, True, scope)

    all_ = [cover(1, "organization"), cover(2, "project", 5), cover(3, "member", 5), cover(4, "key", 5), cover(5, "tag", tag="x")]

    def covered(**call: object) -> list[int]:
        given_ = {"api_key_id": 1, "project_id": None, "member_id": None, **call}
        return [cover_.id for cover_ in covering(all_, **given_)]  # type: ignore[arg-type]

    assert covered() == [1]
    assert covered(project_id=5) == [1, 2]
    assert covered(member_id=5) == [1, 3]
    assert covered(api_key_id=5) == [1, 4]
    assert covered(tags=["y", "x", "x"]) == [1, 5]
    assert covered(api_key_id=5, project_id=5, member_id=5, tags={"x"}) == [1, 2, 3, 4, 5]


def test_gateways_learn_the_budgets_in_force_with_their_names() -> None:
    wallet = make_wallet()
    site = Project.everywhere.create(organization=wallet.organization, name="Site")
    project = make_budget(wallet.organization, scope="project", subject_id=site.pk, brl=20)
    whole = make_budget(wallet.organization, window="week", is_hard=False)
    budgets.stop_budget(make_budget(wallet.organization, scope="tag", tag="x"))
    [covers] = budgets.covers_of([wallet.organization_id]).values()
    assert [(cover.id, cover.label, cover.is_hard) for cover in covers] == [
        (project.pk, "projeto “Site”", True), (whole.pk, "empresa inteira", False),
    ]  # fmt: skip
    told, in_english = tell_refusal(
        covers[0], needed_nanos=5 * BRL, left_nanos=3 * BRL, at=dt.datetime(2026, 11, 22, 12, tzinfo=SAO_PAULO)
    )
    for part in ("projeto “Site”, por mês", "R$ 5,00", "R$ 3,00", "R$ 20,00", "01/12/2026"):
        assert part in told.replace("\xa0", " ")
    assert "2026-12-01" in in_english


# ── Making, changing ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_setting_a_budget_again_changes_the_one_in_force() -> None:
    wallet = make_wallet(brl="100")
    first = make_budget(wallet.organization, brl=10)
    hold(wallet, first.pk, brl=6)
    again = budgets.set_budget(
        wallet.organization,
        by=None,
        scope="organization",
        window="month",
        limit_nanos=20 * BRL,
        is_hard=False,
        alert_percents=(90, 50, 50),
    )
    assert (again.pk, again.limit_nanos, again.is_hard, again.alert_percents) == (first.pk, 20 * BRL, False, [50, 90])
    assert window_of(again) == (0, 6)
    assert budgets.change_budget(again, limit_nanos=7 * BRL, is_hard=True, alert_percents=[]) and again.alert_percents == []
    assert hold(wallet, again.pk, brl=2).left_nanos == BRL
    budgets.stop_budget(again)
    assert not budgets.change_budget(again, limit_nanos=BRL, is_hard=True, alert_percents=[])
    assert make_budget(wallet.organization, brl=9).pk != first.pk


def test_it_refuses_budgets_that_cannot_be() -> None:
    organization, other = make_organization(), make_organization()
    foreign_key, _ = make_key(organization=other)
    foreign_project = Project.everywhere.create(organization=other, name="Deles")
    archived = Project.everywhere.create(organization=organization, name="Velho", archived_at=clock.now())
    stranger = make_user()
    fine = {"scope": "organization", "window": "month", "limit_nanos": BRL}
    for wrong in (
        {"limit_nanos": 0}, {"limit_nanos": -BRL}, {"limit_nanos": 10_000_001 * BRL}, {"window": "year"}, {"scope": "planet"},
        {"subject_id": 3}, {"tag": "x"}, {"scope": "tag"}, {"scope": "tag", "tag": "x" * 65},
        {"scope": "tag", "tag": "x", "subject_id": 1}, {"scope": "tag", "tag": "com espaço"}, {"scope": "tag", "tag": "relatórios"},
        {"scope": "key", "subject_id": foreign_key.pk}, {"scope": "project", "subject_id": foreign_project.pk},
        {"scope": "project", "subject_id": archived.pk}, {"scope": "member", "subject_id": stranger.pk}, {"scope": "key"},
        {"alert_percents": [0]}, {"alert_percents": [101]}, {"alert_percents": [10, 20, 30, 40, 50, 60]},
    ):  # fmt: skip
        with pytest.raises(BudgetRefused):
            budgets.set_budget(organization, by=None, **{**fine, **wrong})  # type: ignore[arg-type]
    assert Budget.everywhere.count() == 0


# ── A law ───────────────────────────────────────────────────────────────────────────────────────────────────────────
ACTS = ("hold", "settle", "release", "expire", "replay", "unbudgeted")
STEPS = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(1, 6), st.integers(0, 9)), min_size=1, max_size=14)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limits=st.tuples(st.integers(3, 12), st.integers(3, 12)))
def test_a_hard_budget_is_never_exceeded_at_admission(steps: list[tuple[str, int, int]], limits: tuple[int, int]) -> None:
    """Calls settle at most at their hold; then spent + held never passes a limit, and both are what a plain model says.

    Two budgets: calls are covered by the one, the other or both, by turns.
    """
    wallet, session = make_wallet(brl="1000"), make_session()
    both = [make_budget(wallet.organization, brl=brl, scope="tag", tag=f"t{brl}-{n}") for n, brl in enumerate(limits)]
    open_: dict[uuid.UUID, tuple[int, tuple[int, ...]]] = {}  # call → reais held, by which budgets
    spent = [0, 0]

    def held(n: int) -> int:
        return sum(brl for brl, covering_ in open_.values() if n in covering_)

    def ids(covering_: tuple[int, ...]) -> list[int]:
        return [both[n].pk for n in covering_]

    def tags(covering_: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(both[n].tag for n in covering_)

    for act, brl, pick in steps:
        chosen = sorted(open_)[pick % len(open_)] if open_ else None
        if act == "hold":
            call, covered = clock.new_id(), ((0,), (1,), (0, 1))[pick % 3]
            answer = hold(wallet, *ids(covered), brl=brl, call=call, session=session)
            left = {n: limits[n] - spent[n] - held(n) for n in covered}
            assert (answer.result == HoldResult.PLACED) is (min(left.values()) >= brl)
            if answer.result == HoldResult.PLACED:
                open_[call] = (brl, covered)
            else:
                assert answer.left_nanos == min(left.values()) * BRL
        elif act == "unbudgeted":
            hold(wallet, brl=brl, session=session)
        elif chosen is not None and act == "replay":
            hold(wallet, *ids(open_[chosen][1]), brl=open_[chosen][0], call=chosen, session=session)
        elif chosen is not None and act == "expire":
            with connection.cursor() as cursor:
                cursor.execute("SELECT billing_expire_holds(0)")
            open_.clear()
        elif chosen is not None:
            amount, took = open_.pop(chosen)
            net = min(brl, amount) if act == "settle" else 0
            outcome = UsageRecord.Outcome.COMPLETED if net else FAILED
            holds.settle([make_call(wallet=wallet, gross_nanos=net * BRL, id_=chosen, outcome=outcome, tags=tags(took))])
            for n in took:
                spent[n] += net
        for n in (0, 1):
            assert window_of(both[n]) == (spent[n], held(n)) and spent[n] + held(n) <= limits[n]
    assert find_violations() == []
