"""What is told without asking: balances, budgets, unusual spend, suspensions; each once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Organization, Project
from accounts.suspension import reactivate, suspend
from billing import alerts, events, tasks
from billing.alert_choices import change_choice, choice_of, set_low_balance
from billing.alerts import percent_due, reais, usual_of, watch
from billing.budgets import change_budget, set_budget
from billing.event_texts import LABELS, tell_event
from billing.events import KINDS, LEVELS, dismiss, kind_of, list_events, open_alerts, tell
from billing.models import BudgetSpend, Event, Wallet
from billing.money import BRL, CENTAVO
from tests.make import make_key, make_organization, make_top_up, make_usage, make_user, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db
DAY = 86_400


@pytest.fixture(autouse=True)
def clock_as_it_is() -> Iterator[None]:
    yield
    clock.shift(0)


def told(organization: Organization) -> list[tuple[str, dict[str, Any]]]:
    watch()
    return [(event.type, event.payload) for event in reversed(list_events(organization))]


def types(organization: Organization) -> list[str]:
    return [type for type, _ in told(organization)]


# ── Balances ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_low_balance_is_told_once_per_crossing(settings: Settings) -> None:
    settings.LOW_BALANCE_BRL = 20
    wallet = make_wallet(brl="50")
    assert types(wallet.organization) == []
    make_usage(wallet=wallet, gross_nanos=30 * BRL)
    assert types(wallet.organization) == [], "R$ 20,00 is not under R$ 20,00"
    make_usage(wallet=wallet, gross_nanos=CENTAVO)
    assert told(wallet.organization) == [("wallet.low_balance", {"available": "19.99", "threshold": "20.00"})]
    make_usage(wallet=wallet, gross_nanos=5 * BRL)
    assert types(wallet.organization) == ["wallet.low_balance"], "it is still low"
    make_top_up(wallet=wallet, brl="50")
    assert types(wallet.organization) == ["wallet.low_balance"]
    make_usage(wallet=wallet, gross_nanos=60 * BRL)
    assert types(wallet.organization) == ["wallet.low_balance"] * 2, "it was over it meanwhile"


def test_an_empty_wallet_is_told_once_and_not_as_low_too() -> None:
    wallet = make_wallet(brl="50")
    make_usage(wallet=wallet, gross_nanos=50 * BRL)
    assert told(wallet.organization) == [("wallet.empty", {"available": "0.00"})]
    make_usage(wallet=wallet, gross_nanos=BRL)
    assert types(wallet.organization) == ["wallet.empty"]
    make_top_up(wallet=wallet, brl="11")  # R$ 1,00 of it pays what was owed
    assert types(wallet.organization) == ["wallet.empty"], "low all the while: told of by the empty one"
    make_usage(wallet=wallet, gross_nanos=10 * BRL)
    assert types(wallet.organization) == ["wallet.empty"] * 2


def test_a_balance_that_falls_in_two_steps_is_told_twice() -> None:
    wallet = make_wallet(brl="50")
    make_usage(wallet=wallet, gross_nanos=40 * BRL)
    assert types(wallet.organization) == ["wallet.low_balance"]
    make_usage(wallet=wallet, gross_nanos=10 * BRL - CENTAVO + 1)
    assert types(wallet.organization) == ["wallet.low_balance", "wallet.empty"], "under a centavo pages show nothing"


def test_a_wallet_that_never_had_money_is_not_told_empty() -> None:
    wallet = make_wallet(brl="0")
    assert types(wallet.organization) == []


def test_each_wallet_has_its_own_threshold() -> None:
    high, never = make_wallet(brl="500"), make_wallet(brl="50")
    set_low_balance(high, 1_000 * BRL)
    set_low_balance(never, 0)
    make_usage(wallet=never, gross_nanos=49 * BRL)
    assert told(high.organization) == [("wallet.low_balance", {"available": "500.00", "threshold": "1000.00"})]
    assert types(never.organization) == []
    assert alerts.threshold_of(Wallet.everywhere.get(pk=never.pk)) == 0


def test_a_hold_crosses_no_threshold() -> None:
    from tests.make import make_hold

    wallet = make_wallet(brl="50")
    make_hold(wallet=wallet, brl="50")
    assert types(wallet.organization) == []


# ── Budgets ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("spent", "percents", "is_hard", "expected"),
    [
        (0, [80, 100], True, 0), (79, [80, 100], True, 0), (80, [80, 100], True, 80), (99, [50, 80], True, 80),
        (100, [80], True, 100), (100, [80], False, 80), (150, [80, 100], False, 100), (130, [120, 50], False, 120),
        (100, [], True, 100), (100, [], False, 0),
    ],
)  # fmt: skip
def test_the_highest_percent_that_was_reached_is_due(spent: int, percents: list[int], is_hard: bool, expected: int) -> None:
    assert percent_due(spent, 100, percents, is_hard) == expected
    assert percent_due(spent * BRL * 10_000, 1_000_000 * BRL, percents, is_hard) == expected


def test_a_soft_budget_is_told_at_each_percent_once() -> None:
    wallet = make_wallet(brl="500")
    organization = wallet.organization
    make_usage(wallet=wallet, gross_nanos=10 * BRL)
    budget = set_budget(organization, by=None, scope="organization", window="month", limit_nanos=100 * BRL, is_hard=False)

    def spend(brl: int) -> list[tuple[str, Any]]:
        make_usage(wallet=wallet, gross_nanos=brl * BRL)
        set_budget(organization, by=None, scope="organization", window="month", limit_nanos=100 * BRL, is_hard=False)
        return [(type, payload["percent"]) for type, payload in told(organization)]

    assert spend(60) == []
    assert spend(11) == [("budget.threshold", 80)]
    assert spend(1) == [("budget.threshold", 80)]
    assert spend(30) == [("budget.threshold", 80), ("budget.threshold", 100)]
    assert spend(300) == [("budget.threshold", 80), ("budget.threshold", 100)]
    payload = list_events(organization)[0].payload
    assert payload == {
        "budget_id": budget.pk, "scope": "organization", "subject": "", "window": "month",
        "starts_on": clock.today_in_brazil().replace(day=1).isoformat(), "percent": 100, "spent": "112.00", "limit": "100.00",
        "is_hard": False,
    }  # fmt: skip


def test_a_hard_budget_that_is_spent_is_told_as_exceeded_even_from_nothing() -> None:
    wallet = make_wallet(brl="500")
    organization = wallet.organization
    project = Project.everywhere.create(organization=organization, name="Suporte")
    make_usage(wallet=wallet, gross_nanos=50 * BRL, project_id=project.pk)
    set_budget(
        organization, by=None, scope="project", subject_id=project.pk, window="day", limit_nanos=50 * BRL, alert_percents=[80]
    )
    [(type, payload)] = told(organization)
    assert (type, payload["percent"], payload["subject"], payload["scope"]) == ("budget.exceeded", 100, "Suporte", "project")
    assert "projeto “Suporte”" in tell_event(list_events(organization)[0]).text


def test_a_raised_limit_begins_the_way_again() -> None:
    wallet = make_wallet(brl="500")
    organization = wallet.organization
    make_usage(wallet=wallet, gross_nanos=90 * BRL)
    budget = set_budget(organization, by=None, scope="organization", window="month", limit_nanos=100 * BRL)
    assert types(organization) == ["budget.threshold"]
    change_budget(budget, limit_nanos=1_000 * BRL, is_hard=True, alert_percents=[80])
    assert types(organization) == ["budget.threshold"]
    assert BudgetSpend.everywhere.get(budget=budget).alerted_percent == 0
    change_budget(budget, limit_nanos=110 * BRL, is_hard=True, alert_percents=[80])
    assert types(organization) == ["budget.threshold"] * 2


def test_a_budget_out_of_force_is_not_told() -> None:
    from billing.budgets import stop_budget

    wallet = make_wallet(brl="500")
    make_usage(wallet=wallet, gross_nanos=90 * BRL)
    stop_budget(set_budget(wallet.organization, by=None, scope="organization", window="month", limit_nanos=100 * BRL))
    assert types(wallet.organization) == []


def test_a_key_a_person_and_a_tag_are_told_by_name() -> None:
    wallet = make_wallet(brl="500")
    organization, user = wallet.organization, make_user(email="ana@acme.com.br")
    from accounts.models import Membership

    Membership.everywhere.create(organization=organization, user=user, role="developer")
    key, _ = make_key(organization=organization, user=user, name="produção")
    make_usage(wallet=wallet, gross_nanos=90 * BRL, api_key_id=key.pk, tags=("lote",))
    for scope, subject_id, tag in (("key", key.pk, ""), ("member", user.pk, ""), ("tag", 0, "lote")):
        set_budget(organization, by=None, window="month", limit_nanos=100 * BRL, scope=scope, subject_id=subject_id, tag=tag)
    assert sorted(payload["subject"] for _, payload in told(organization)) == sorted(["produção", user.get_full_name(), "lote"])


# ── Unusual spend ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_usual_day_is_the_median_of_days_with_spend() -> None:
    assert usual_of([5] * 6) is None
    assert usual_of([0] * 21 + [5] * 6) is None, "days without spend tell nothing"
    assert usual_of([1, 2, 3, 4, 5, 6, 7]) == 4
    assert usual_of([0, 1, 2, 3, 4, 5, 6, 7, 800, 0]) == 4, "one wild day doesn't move it"
    assert usual_of([1, 2, 3, 4, 6, 6, 7, 8]) == 5


def spend_on(wallet: Wallet, *, days_ago: int, brl: int) -> None:
    clock.shift(-days_ago * DAY)
    id_ = clock.new_id()
    clock.shift(0)
    make_usage(wallet=wallet, gross_nanos=brl * BRL, id_=id_)


def test_a_day_far_beyond_the_usual_is_told_once() -> None:
    wallet = make_wallet(brl="5000")
    organization = wallet.organization
    for day in range(1, 8):
        spend_on(wallet, days_ago=day, brl=30)
    spend_on(wallet, days_ago=0, brl=90)
    assert types(organization) == [], "three times the usual is not beyond it"
    spend_on(wallet, days_ago=0, brl=1)
    today = clock.today_in_brazil().isoformat()
    assert told(organization) == [("usage.unusual", {"day": today, "spent": "91.00", "usual": "30.00"})]
    spend_on(wallet, days_ago=0, brl=300)
    assert types(organization) == ["usage.unusual"]


@pytest.mark.parametrize(("usual", "days", "today"), [(10, 7, 50), (10, 6, 500), (40, 7, 120)], ids=["small", "too young", "usual"])
def test_a_day_that_is_small_or_of_the_young_is_not_told(usual: int, days: int, today: int) -> None:
    wallet = make_wallet(brl="5000")
    for day in range(1, days + 1):
        spend_on(wallet, days_ago=day, brl=usual)
    spend_on(wallet, days_ago=0, brl=today)
    assert types(wallet.organization) == []


def test_days_before_the_last_28_are_forgotten() -> None:
    wallet = make_wallet(brl="5000")
    for day in range(29, 36):
        spend_on(wallet, days_ago=day, brl=10)
    spend_on(wallet, days_ago=0, brl=400)
    assert types(wallet.organization) == []


def test_an_organization_may_turn_it_off() -> None:
    wallet = make_wallet(brl="5000")
    for day in range(1, 9):
        spend_on(wallet, days_ago=day, brl=20)
    spend_on(wallet, days_ago=0, brl=400)
    choice = choice_of(wallet.organization)
    change_choice(wallet.organization, roles=choice.roles, extra_emails=[], muted_kinds=[], watches_unusual=False)
    assert types(wallet.organization) == []
    change_choice(wallet.organization, roles=choice.roles, extra_emails=[], muted_kinds=[], watches_unusual=True)
    assert types(wallet.organization) == ["usage.unusual"]


# ── Suspension ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_suspension_is_told_once_each_time() -> None:
    organization = make_organization()
    suspend(organization, reason="Documento vencido")
    assert told(organization) == [("organization.suspended", {"reason": "Documento vencido"})]
    assert types(organization) == ["organization.suspended"]
    reactivate(organization)
    assert types(organization) == ["organization.suspended"]
    suspend(organization, reason="De novo")
    assert types(organization) == ["organization.suspended"] * 2


def test_whoever_suspends_and_tells_it_is_not_repeated() -> None:
    organization = make_organization()
    suspend(organization, reason="Contestação")
    tell(organization, "organization.suspended", reference="med:1:suspended", payload={"reason": "Contestação"})
    assert types(organization) == ["organization.suspended"]


def test_a_look_that_fails_keeps_no_other_from_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    def watch_balances() -> int:
        raise ValueError("broken")

    monkeypatch.setattr(alerts, "LOOKS", (watch_balances, *alerts.LOOKS[1:]))
    organization = make_organization()
    suspend(organization, reason="teste")
    tasks.watch()
    assert [event.type for event in list_events(organization)] == ["organization.suspended"]


# ── Events ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_alert_is_open_until_it_is_dismissed_or_old() -> None:
    organization, other = make_organization(), make_organization()
    for number, type in enumerate(("wallet.top_up", "wallet.low_balance", "wallet.empty")):
        tell(organization, type, reference=f"r{number}", payload={})
    tell(other, "wallet.empty", reference="other", payload={})
    assert [event.type for event in open_alerts(organization)] == ["wallet.empty", "wallet.low_balance"]
    dismiss(open_alerts(organization)[0])
    assert [event.type for event in open_alerts(organization)] == ["wallet.low_balance"]
    Event.everywhere.update(created_at=clock.now() - dt.timedelta(days=events.SHOWN_DAYS, seconds=1))
    assert open_alerts(organization) == []


def test_a_page_of_events_begins_where_the_last_one_ended() -> None:
    organization = make_organization()
    for number in range(5):
        tell(organization, "wallet.empty", reference=f"r{number}", payload={})
    first = list_events(organization, limit=2)
    second = list_events(organization, before_id=first[-1].pk, limit=2)
    assert [event.reference for event in first + second] == ["r4", "r3", "r2", "r1"]


def test_every_type_has_words_a_label_and_a_kind() -> None:
    organization = make_organization()
    for type in LEVELS:
        assert kind_of(type) in KINDS
        assert type in LABELS
        for payload in ({}, {"amount": "no money", "available": None, "percent": 80, "scope": "?", "routes": None}):
            event = Event(organization=organization, type=type, payload=payload)
            words = tell_event(event)
            assert words.title and words.text and words.action, type
            assert "None" not in words.text + words.title and "  " not in words.text, words
    assert {type for type in LEVELS if kind_of(type) == "organization"} == {"organization.suspended"}
    assert tell_event(Event(type="made.up", payload=["odd"])).title == "made.up"


def test_amounts_are_told_to_the_centavo_towards_zero() -> None:
    assert [reais(nanos) for nanos in (0, 1, CENTAVO, 19_999_999_999, -CENTAVO, 1_234 * BRL)] == [
        "0.00", "0.00", "0.01", "19.99", "-0.01", "1234.00",
    ]  # fmt: skip
