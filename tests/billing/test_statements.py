"""What a customer reads adds up, and is the customer's own."""

from __future__ import annotations

import datetime as dt

import pytest

from accounts.models import ApiKey
from accounts.tenancy import NoTenant, tenant
from billing import ledger, statements
from billing.models import Wallet
from billing.money import BRL
from tests.make import make_key, make_top_up, make_usage, make_volume_plan, make_wallet
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def key(db: None) -> ApiKey:
    return make_key()[0]


@pytest.fixture
def wallet(key: ApiKey) -> Wallet:
    wallet = make_wallet(organization=key.organization, brl="50", promo_brl="5")
    make_usage(wallet=wallet, gross_nanos=3 * BRL, route_name="acme/one", api_key_id=key.pk)
    make_usage(wallet=wallet, gross_nanos=60 * BRL, route_name="acme/two", api_key_id=key.pk)  # 8 owed
    make_top_up(wallet=wallet, brl="20")
    ledger.correct(wallet, amount_nanos=-BRL, reason="acerto", actor="ana")
    wallet.refresh_from_db()
    return wallet


def days(number: int) -> tuple[dt.date, dt.date]:
    today = clock.today_in_brazil()
    return today - dt.timedelta(days=number), today


def test_the_statement_adds_up(wallet: Wallet) -> None:
    first_on, last_on = days(1)
    with tenant(wallet.organization):
        shown = statements.statement(first_on=first_on, last_on=last_on)
    assert shown.opening_nanos + shown.in_nanos - shown.out_nanos == shown.closing_nanos == wallet.posted_nanos == 11 * BRL
    assert [(row.kind, row.in_nanos // BRL, row.out_nanos // BRL, row.balance_nanos // BRL) for row in shown.rows] == [
        ("top_up", 50, 0, 50), ("grant", 5, 0, 55), ("top_up", 20, 0, 75), ("top_up", 0, 8, 67), ("correction", 0, 1, 66),
        ("usage", 0, 55, 11),
    ]  # fmt: skip
    assert shown.rows[3].description == "Acerto de saldo devedor"
    assert shown.rows[-1].description.endswith("— 2 requisições")
    assert shown.rows[-1].overdraft_nanos == 8 * BRL
    assert shown.rows[-2].reason == "acerto"


def test_a_filter_hides_rows_and_keeps_the_totals(wallet: Wallet) -> None:
    first_on, last_on = days(1)
    with tenant(wallet.organization):
        shown = statements.statement(first_on=first_on, last_on=last_on, kinds=["usage"])
    assert [row.kind for row in shown.rows] == ["usage"]
    assert shown.in_nanos == 75 * BRL


def test_a_period_without_movements_opens_and_closes_alike(wallet: Wallet) -> None:
    day = clock.today_in_brazil() - dt.timedelta(days=3)
    with tenant(wallet.organization):
        shown = statements.statement(first_on=day, last_on=day)
        later = statements.statement(first_on=day, last_on=clock.today_in_brazil())
    assert (shown.rows, shown.opening_nanos, shown.closing_nanos) == ([], 0, 0)
    assert later.opening_nanos == 0


def test_usage_by_day_route_and_key(wallet: Wallet, key: ApiKey) -> None:
    make_usage(wallet=wallet, gross_nanos=0, route_name="acme/one", api_key_id=key.pk, outcome="failed")
    first_on, last_on = days(6)
    with tenant(wallet.organization):
        by_day = statements.usage_by("day", first_on=first_on, last_on=last_on)
        by_route = statements.usage_by("route", first_on=first_on, last_on=last_on)
        only = statements.UsageFilter(route_name="acme/one")
        by_key = statements.usage_by("key", first_on=first_on, last_on=last_on, only=only)
        spent = statements.spend_by_day(days=7)
    assert [(line.calls, line.failed, line.net_nanos // BRL) for line in by_day] == [(3, 1, 63)]
    assert [(line.label, line.net_nanos // BRL, line.input_tokens) for line in by_route] == [
        ("acme/two", 60, 10),
        ("acme/one", 3, 20),
    ]
    assert [(line.label, line.calls) for line in by_key] == [(key.name, 2)]
    assert [nanos // BRL for _, nanos in spent] == [0] * 6 + [63]


def test_the_month_so_far_says_how_far_the_next_tier_is(wallet: Wallet) -> None:
    plan_later = make_volume_plan()  # the month began without a plan
    with tenant(wallet.organization):
        so_far = statements.month_to_date()
    assert (so_far.gross_nanos, so_far.calls, so_far.next_tier) == (63 * BRL, 2, None)
    newcomer = make_wallet(brl="1")
    make_usage(wallet=newcomer, gross_nanos=BRL)
    with tenant(newcomer.organization):
        so_far = statements.month_to_date()
    assert plan_later.is_default
    assert so_far.next_tier is not None
    assert (so_far.next_tier.discount_bps, so_far.to_next_nanos) == (500, 499 * BRL)


def test_lots_show_what_is_left(wallet: Wallet) -> None:
    with tenant(wallet.organization):
        assert [(line.lot.kind, line.remaining_nanos // BRL) for line in statements.lots()] == [
            ("paid", 11),
            ("promo", 0),
            ("paid", 0),
        ]
        shown = statements.balance()
    assert (shown.available_nanos, shown.overdraft_nanos) == (11 * BRL, 0)


def test_a_stranger_sees_nothing_of_it_and_nobody_reads_without_a_tenant(wallet: Wallet) -> None:
    first_on, last_on = days(6)
    stranger = make_wallet(brl="0")
    with tenant(stranger.organization):
        assert statements.statement(first_on=first_on, last_on=last_on).rows == []
        assert statements.usage_by("day", first_on=first_on, last_on=last_on) == []
        assert statements.lots() == []
        assert list(statements.calls()) == []
    with pytest.raises(NoTenant):
        statements.balance()
    with pytest.raises(NoTenant):
        statements.statement(first_on=first_on, last_on=last_on)
