"""The overview's figures against sums made by hand, its live parts, its chart and what it says of savings, in both directions."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from accounts.tenancy import tenant
from billing import savings, usage_series
from billing.budgets import set_budget
from billing.models import ExchangeRate, PriceNotice, PriceVersion, Wallet
from billing.money import BRL
from billing.pricing import Usage
from billing.projection import project
from tests.cast import Cast, make_cast
from tests.make import make_key, make_price, make_usage, make_wallet
from tokia import bars, clock, overview

TODAY = dt.date(2026, 11, 22)


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return make_wallet(organization=cast.acme, brl="1000.00")


def id_days_ago(days: float) -> uuid.UUID:
    moment = clock.now() - dt.timedelta(days=days)
    return uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (clock.new_id().int & ((1 << 80) - 1)))


def series(cast: Cast, group: str = "route", metric: str = "gasto", days: int = 7) -> list[usage_series.UsageSeries]:
    today = clock.today_in_brazil()
    with tenant(cast.acme):
        return usage_series.series_by(group, metric=metric, first_on=today - dt.timedelta(days=days - 1), last_on=today)


# ── Series and bars ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_adds_up_days_by_brasilias_calendar(cast: Cast, wallet: Wallet) -> None:
    for ago, route in ((0, "a/a"), (1, "a/a"), (1, "b/b"), (40, "c/c")):
        make_usage(wallet=wallet, gross_nanos=BRL, id_=id_days_ago(ago), route_name=route)
    today = clock.today_in_brazil()
    yesterday = today - dt.timedelta(days=1)
    assert {one.label: one.by_day for one in series(cast, days=30)} == {
        "a/a": {today: BRL, yesterday: BRL},
        "b/b": {yesterday: BRL},
    }
    assert overview.recent(cast.acme).calls == 3


def test_it_groups_the_smallest_as_others_and_leaves_them_out_by_tag(cast: Cast, wallet: Wallet) -> None:
    for number in range(1, 8):
        make_usage(wallet=wallet, gross_nanos=number * BRL, route_name=f"m/{number}", tags=[f"t{number}", "todas"])
    found = series(cast)
    assert [one.label for one in found] == ["m/7", "m/6", "m/5", "m/4", "m/3", usage_series.OTHERS]
    assert found[-1].total == 3 * BRL and found[-1].group is None
    assert [one.label for one in series(cast, "tag")] == ["todas", "t7", "t6", "t5", "t4"]


def test_it_groups_by_member_project_and_day_in_money_tokens_and_calls(cast: Cast, wallet: Wallet) -> None:
    project_ = Project.everywhere.create(organization=cast.acme, name="Site")
    mine, _ = make_key(organization=cast.acme, user=cast.alice)
    make_usage(wallet=wallet, gross_nanos=3 * BRL, api_key_id=mine.pk, project_id=project_.pk)
    make_usage(wallet=wallet, gross_nanos=BRL, api_key_id=999_999)
    assert [(one.label, one.total) for one in series(cast, "member")] == [("Alice", 3 * BRL), ("Sem autor", BRL)]
    assert [(one.label, one.total) for one in series(cast, "project", "tokens")] == [("Sem projeto", 15), ("Site", 15)]
    assert [(one.label, one.total) for one in series(cast, "day", "requisicoes")] == [("Total", 2)]


def test_it_draws_bars_that_fill_their_height_and_nothing_of_zeros() -> None:
    days = [TODAY + dt.timedelta(days=at) for at in range(30)]
    one = bars.Series("a", [10] * 30, [f"?{at}" for at in range(30)])
    chart = bars.draw(days, [one, bars.Series("b", [0, 30, *[1] * 28], is_rest=True)], tell=str)
    assert chart is not None
    assert [tick.text for tick in chart.ticks] == ["40", "30", "20", "10", "0"] and chart.ticks[-1].y == bars.HEIGHT
    assert [(piece.tone, piece.text, piece.y, piece.height, piece.url) for piece in chart.columns[1].pieces] == [
        ("0", "10", 150, 50, "?1"), ("rest", "30", 0, 150, ""),
    ]  # fmt: skip
    assert chart.columns[-1].x + chart.columns[-1].width <= bars.WIDTH
    assert (chart.dates[0], chart.dates[-1], len(chart.dates)) == (days[0], days[-1], bars.DATES_MAX)
    assert bars.draw(days, [bars.Series("a", [0] * 30)], tell=str) is None
    small = bars.draw(days[:1], [bars.Series("a", [1]), bars.Series("b", [100_000])], tell=str)
    assert small and small.columns[0].pieces[0].height == 1, "what there is can be seen"


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "R$\u00a00,00"),
        (12 * BRL, "R$\u00a012,00"),
        (20_000_000, "R$\u00a00,02"),
        (15_000_000, "R$\u00a00,015"),
        (1_900_000, "R$\u00a00,001"),
        (250, "R$\u00a00,0000002"),
        (1, "R$\u00a00,000000001"),
    ],
)
def test_it_writes_an_axis_of_money_that_is_never_told_as_nothing(nanos: int, text: str) -> None:
    assert usage_series.tell_money(nanos) == text


# ── Money ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_projects_between_the_paces_of_a_week_and_of_four() -> None:
    def ago(days: int) -> dt.date:
        return TODAY - dt.timedelta(days=days)

    assert project({ago(1): BRL, ago(2): BRL}, today=TODAY) is None
    steady = project({ago(days): BRL for days in range(29)}, today=TODAY)
    assert steady and steady.low_nanos == steady.high_nanos == (22 + 8) * BRL
    rising = project({**{ago(days): BRL for days in range(1, 29)}, **{ago(days): 3 * BRL for days in range(1, 8)}}, today=TODAY)
    assert rising is not None
    spent = (14 + 7 * 3) * BRL
    assert (rising.low_nanos, rising.high_nanos) == (spent + 8 * ((21 + 21) * BRL // 28), spent + 8 * 3 * BRL)
    young = project({ago(days): 2 * BRL for days in (1, 2, 3)}, today=TODAY)
    assert young and young.low_nanos == young.high_nanos == (6 + 8 * 2) * BRL, "who began last week has no month behind"


def test_it_compares_with_the_same_day_of_last_month(cast: Cast, wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    today = clock.today_in_brazil()
    last = today.replace(day=1) - dt.timedelta(days=1)
    on = last.replace(day=1)
    make_usage(wallet=wallet, gross_nanos=4 * BRL, id_=id_days_ago((today - on).days))
    with tenant(cast.acme):
        before = overview.month_before(net_nanos=3 * BRL)
        assert before and (before.net_nanos, before.change_bps, before.fall_bps) == (4 * BRL, -2_500, 2_500)
        assert before.last_on == last.replace(day=min(today.day, last.day))
    with tenant(cast.globex):
        assert overview.month_before(net_nanos=BRL) is None


def priced(rate: str = "5") -> PriceVersion:
    """A version in force whose dollar is known; the test's own books are frozen, so its rate is set before."""
    quoted = ExchangeRate.objects.create(rate=Decimal(rate), source="PTAX venda", quoted_at=clock.now())
    draft = make_price(route="test/model", units={"input": "10", "cached_input": "1", "output": "30"})
    version = PriceVersion.objects.create(book=draft.book, number=draft.number + 1, exchange_rate=quoted)
    for price in draft.prices.all():
        price.pk, price.version = None, version
        price.save()
    now = clock.now()
    PriceVersion.objects.filter(pk=version.pk).update(status="published", effective_at=now, published_at=now, published_by="test")
    return version


def test_it_reckons_what_the_cache_and_the_card_come_to(cast: Cast, wallet: Wallet) -> None:
    priced()
    make_usage(wallet=wallet, gross_nanos=2 * BRL, cost_nanos=BRL, usage=Usage(cached_input_tokens=1_000_000))
    make_usage(wallet=wallet, gross_nanos=BRL, cost_nanos=0, route_name="a/a")  # nobody knows what it costs there
    make_usage(wallet=wallet, gross_nanos=0, cost_nanos=BRL, is_own_key=True, usage=Usage(cached_input_tokens=500))
    today = clock.today_in_brazil()
    with tenant(cast.acme):
        assert savings.cache_savings(first_on=today, last_on=today) == 9 * BRL
        assert savings.list_cost(first_on=today, last_on=today) == savings.ListCost(usd_nanos=BRL // 5, net_nanos=2 * BRL)
        assert savings.versions_by_day([dt.date(2020, 1, 1)]) == {}


@pytest.mark.parametrize(("cost", "words"), [(3 * BRL, "você economizou"), (BRL // 10, "a menos. Aqui a diferença traz")])
def test_it_is_honest_in_both_directions(client: Client, cast: Cast, wallet: Wallet, cost: int, words: str) -> None:
    from billing.comparison_rates import seed_parameters

    priced()
    seed_parameters()
    make_usage(wallet=wallet, gross_nanos=2 * BRL, cost_nanos=cost)
    client.force_login(cast.alice)
    page = " ".join(client.get("/app/").content.decode().split())
    assert words in page and "no cartão internacional, o mesmo uso teria custado" in page and "spread do cartão" in page


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_leads_from_a_bar_to_its_calls(client: Client, cast: Cast, wallet: Wallet) -> None:
    key, _ = make_key(organization=cast.acme, user=cast.alice, name="produção")
    set_budget(cast.acme, by=cast.alice, scope="key", subject_id=key.pk, window="month", limit_nanos=10 * BRL)
    make_usage(wallet=wallet, gross_nanos=BRL, api_key_id=key.pk, route_name="a/a")
    make_usage(wallet=wallet, gross_nanos=0, api_key_id=key.pk, route_name="b/b", outcome="failed", status_code=502)
    client.force_login(cast.alice)
    today = clock.today_in_brazil().isoformat()
    for group, filtered in (("route", "modelo=a%2Fa"), ("key", f"chave={key.pk}"), ("project", "projeto=0")):
        page = client.get("/app/", {"por": group, "dias": "7"}).content.decode()
        [link] = re.findall(rf'href="(/app/requisicoes/\?{re.escape(filtered)}[^"]+)"', page)
        assert link.endswith(f"de={today}&amp;ate={today}")
        calls = client.get(link.replace("&amp;", "&")).context["records"]
        assert len(calls) == (1 if group == "route" else 2), group
    assert "de R$\u00a010,00" in page and "50% com sucesso" in page


def test_it_puts_new_calls_on_the_page_and_rests_when_told(client: Client, cast: Cast, wallet: Wallet) -> None:
    url = reverse("last_calls")
    make_usage(wallet=wallet, gross_nanos=BRL, route_name="a/a")
    client.force_login(cast.bob)
    live = client.get(url).content.decode()
    [newest] = re.findall(r"\?ultima=([0-9a-f-]+)", live)
    assert 'hx-trigger="every 10s"' in live and client.get(url, {"ultima": newest}).status_code == 204
    make_usage(wallet=wallet, gross_nanos=BRL, route_name="b/b")
    again = client.get(url, {"ultima": newest})
    assert again.status_code == 200 and again.content.decode().index("b/b") < again.content.decode().index("a/a")
    paused = client.get(url, {"pausa": "1"}).content.decode()
    assert "every 10s" not in paused and "Retomar" in paused


def test_it_tells_prices_that_are_to_come(client: Client, cast: Cast) -> None:
    version = make_price(route="a/a")
    later = PriceVersion.objects.create(book=version.book, number=9)
    PriceVersion.objects.filter(pk=later.pk).update(
        status="published", effective_at=clock.now() + dt.timedelta(days=9), published_at=clock.now(), published_by="test"
    )
    change: dict[str, Any] = {"route": "a/a", "unit": "input", "label": "Entrada", "kind": "up", "old": "10.000000000",
                              "old_per": "/1M", "new": "12.500000000", "new_per": "/1M"}  # fmt: skip
    PriceNotice.everywhere.create(version=later, organization=cast.acme, changes=[change] * 5)
    client.force_login(cast.bob)
    page = client.get("/app/").content.decode()
    assert "Preços novos nos modelos que você usa" in page and "R$\u00a012,5000/1M" in page and "e mais 1" in page
    client.force_login(cast.charlie)
    assert "Preços novos" not in client.get("/app/").content.decode()


def test_it_shows_an_account_without_calls_the_way(client: Client, cast: Cast) -> None:
    client.force_login(cast.alice)
    page = client.get("/app/").content.decode()
    assert "Leva uns dois minutos" in page and "Assim chega uma resposta" in page and "Gasto no mês" not in page
    assert re.search(r'href="/app/recarregar/">Adicionar saldo', page)
