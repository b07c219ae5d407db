"""The calculator against a second calculation, written from the words of its premises: fractions, and another order of steps."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billing.abroad import ComparisonRates, ImportTax
from billing.comparison_rates import current_rates, enter_parameter
from billing.costs import DECLARED
from billing.exchange import PTAX_SOURCE
from billing.models import ExchangeRate, Price, PriceVersion, ProviderCost
from billing.money import BRL
from billing.pricing import PriceList, Tier, UnitPrice
from gateway.models import Provider, Route, RoutingRule, RuleStep
from tests.make import make_price, make_provider, make_route, make_volume_plan
from tokia import clock
from tokia.comparison import Choice, Mix, Model, Use, compare, requests_for
from tokia.templatetags.tokia import brl

# US$ per million tokens: input, cached input (None: as input), output. And ours in reais.
PRICES: dict[str, tuple[tuple[str, str | None, str], tuple[str, str | None, str]]] = {
    "acme/large": (("2.13", "1.07", "9.41"), ("19.37", "9.83", "85.19")),
    "acme/large-mini": (("0.17", None, "0.71"), ("2.31", None, "9.67")),
    "bolt/sonnet": (("3.07", "0.31", "14.9"), ("27.93", "2.83", "135.7")),
    "cave/seek": (("0.29", "0.029", "1.13"), ("2.9", "0.31", "11.3")),
}
TIERS = ((500 * BRL, 500), (2_000 * BRL, 800))
RATE = Decimal("5.3127")
PARAMETERS = {
    "card_spread": "4.7", "iof": "3.38", "hosted": "5.1", "hosted_least": "0.9", "server": "21.5", "database": "13.25",
    "import_irrf": "15", "import_cide": "10", "import_pis_cofins": "9.25", "import_iss": "2.9",
}  # fmt: skip


def reais(nanos: str | int) -> Fraction:
    return Fraction(int(nanos), BRL)


def exactly(text: str) -> Fraction:
    return Fraction(Decimal(text))


class Second:
    """The same sums from the words: everything in fractions of reais and dollars, rates as parts of one."""

    def __init__(
        self, *, requests: int, entrada: int, saida: int, cache: int = 0, parte: int = 50, with_taxes: bool = False
    ) -> None:
        self.requests, self.cached, self.output = requests, entrada * cache // 100, saida
        self.fresh = entrada - self.cached
        self.to_first = requests * parte // 100
        parts = {name: exactly(value) / 100 for name, value in PARAMETERS.items()}
        taxes = sum((parts[name] for name in PARAMETERS if name.startswith("import_")), Fraction(0)) if with_taxes else Fraction(0)
        # A dollar of service, paid by card: converted by the bank at its own dollar, IOF on that; import taxes on the plain dollar.
        self.reais_per_dollar = Fraction(RATE) * ((1 + parts["card_spread"]) * (1 + parts["iof"]) + taxes)
        self.gateway_part, self.gateway_least = parts["hosted"], exactly(PARAMETERS["hosted_least"])
        self.infrastructure = exactly(PARAMETERS["server"]) + exactly(PARAMETERS["database"])

    def of_call(self, name: str, side: int) -> Fraction:
        fresh, cached, output = PRICES[name][side]
        each = self.fresh * exactly(fresh) + self.cached * exactly(cached or fresh) + self.output * exactly(output)
        return each / 1_000_000

    def listed(self, *shares: tuple[str, int]) -> Fraction:
        return sum((calls * self.of_call(name, 0) for name, calls in shares), Fraction(0))

    def sold(self, *shares: tuple[str, int]) -> Fraction:
        """Each call is charged up to one nano; then each bracket of the month is discounted by itself."""
        nanos = sum(calls * -((-self.of_call(name, 1) * BRL) // 1) for name, calls in shares)
        gross = Fraction(nanos, BRL)
        brackets = [(Fraction(0), Fraction(0)), *((Fraction(above, BRL), Fraction(bps, 10_000)) for above, bps in TIERS)]
        ends = [above for above, _ in brackets[1:]] + [None]
        total = Fraction(0)
        for (above, part), end in zip(brackets, ends, strict=True):
            inside = max(Fraction(0), (gross if end is None else min(gross, end)) - above)
            total += inside * (1 - part)
        return total

    def totals(self) -> dict[str, Fraction]:
        model, cheaper, mixed, other = PRICES
        mix = ((cheaper, self.to_first), (mixed, self.requests - self.to_first))
        dollars = self.listed(*mix)
        bought = dollars + max(dollars * self.gateway_part, self.gateway_least)
        return {
            "direct": self.listed((model, self.requests)) * self.reais_per_dollar,
            "direct_cheaper": self.listed((cheaper, self.requests)) * self.reais_per_dollar,
            "self_hosted": (dollars + self.infrastructure) * self.reais_per_dollar,
            "hosted": bought * self.reais_per_dollar,
            "tokia": self.sold((model, self.requests)),
            "tokia_mix": self.sold(*mix),
            "tokia_cheaper": self.sold((cheaper, self.requests)),
            "tokia_other": self.sold((other, self.requests)),
        }


# ── Pure, over many inputs ───────────────────────────────────────────────────────────────────────────────────────────
def model_of(name: str) -> Model:
    def prices(side: int) -> PriceList:
        units = zip(("input", "cached_input", "output"), PRICES[name][side], strict=True)
        return PriceList(1, "v1", {unit: UnitPrice(int(Decimal(value) * BRL)) for unit, value in units if value})

    return Model(name, name, name.split("/")[0], dollars=prices(0), reais=prices(1))


def rates() -> ComparisonRates:
    bps = {name: int(Decimal(value) * 100) for name, value in PARAMETERS.items()}
    usd = {name: int(Decimal(PARAMETERS[name]) * BRL) for name in ("hosted_least", "server", "database")}
    return ComparisonRates(
        reais_per_dollar=RATE, card_spread_bps=bps["card_spread"], iof_bps=bps["iof"], hosted_bps=bps["hosted"],
        import_taxes=tuple(ImportTax(name, bps[name]) for name in PARAMETERS if name.startswith("import_")),
        hosted_least_usd_nanos=usd["hosted_least"], infrastructure_usd_nanos=usd["server"] + usd["database"],
    )  # fmt: skip


@hypothesis_settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    requests=st.integers(1, 10**9), entrada=st.integers(1, 2 * 10**6), saida=st.integers(1, 10**6), cache=st.integers(0, 100),
    parte=st.integers(0, 100), with_taxes=st.booleans(),
)  # fmt: skip
def test_every_row_is_what_a_second_calculation_says(
    requests: int, entrada: int, saida: int, cache: int, parte: int, with_taxes: bool
) -> None:
    model, cheaper, mixed, other = (model_of(name) for name in PRICES)
    choice = Choice(model, cheaper=cheaper, mix=Mix(cheaper, mixed, first_percent=parte), other=other)
    use = Use(requests=requests, input_tokens=entrada, output_tokens=saida, cached_percent=cache)
    tiers = [Tier(above, bps) for above, bps in TIERS]
    found = compare(choice, use, rates=rates(), tiers=tiers, with_import_taxes=with_taxes)
    expected = Second(requests=requests, entrada=entrada, saida=saida, cache=cache, parte=parte, with_taxes=with_taxes).totals()
    assert [set_up.key for set_up in found.set_ups] == list(expected)
    for set_up in found.set_ups:
        # Each of its lines is rounded to a nano, and a nano of a dollar is some nanos of a real.
        assert abs(reais(set_up.total_nanos) - expected[set_up.key]) * BRL <= 20, set_up.key


@hypothesis_settings(max_examples=60, deadline=None)
@given(spend=st.integers(1, 10**6), entrada=st.integers(1, 10**5), saida=st.integers(1, 10**5), cache=st.integers(0, 100))
def test_a_spend_buys_as_many_whole_calls_as_fit(spend: int, entrada: int, saida: int, cache: int) -> None:
    model, use = model_of("acme/large"), Use(1, entrada, saida, cache)
    bought = requests_for(model, use, usd_nanos=spend * BRL)
    each = Second(requests=1, entrada=entrada, saida=saida, cache=cache).of_call("acme/large", 0)
    assert bought == max(1, spend // each)


def test_without_dollars_only_our_own_rows_are_left() -> None:
    model, cheaper, mixed, _ = (model_of(name) for name in PRICES)
    found = compare(Choice(model, cheaper, Mix(cheaper, mixed)), Use(10, 100, 10), rates=ComparisonRates())
    assert [set_up.key for set_up in found.set_ups] == ["tokia", "tokia_mix", "tokia_cheaper"]
    assert (found.saved_nanos, found.saved_bps, found.missing_nanos) == (None, 0, 0)


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def shop(db: None) -> None:
    """Four models with public list prices and ours, a dollar, parameters of their own, and a volume plan."""
    for name, (dollars, ours) in PRICES.items():
        maker, upstream = name.split("/")
        provider = Provider.objects.filter(slug=maker).first() or make_provider(slug=maker)
        route = make_route(
            name=name, provider=provider, upstream_model=upstream, display_name=upstream.title(), maker=maker.title()
        )
        units = [(unit, value) for unit, value in zip(("input", "cached_input", "output"), ours, strict=True) if value]
        make_price(route=route, units=dict(units))
        for unit, usd in zip(("input", "cached_input", "output"), dollars, strict=True):
            if usd:
                ProviderCost.objects.create(
                    provider_name=maker, upstream_model=upstream, unit=unit, usd=Decimal(usd), source=DECLARED, source_version="1"
                )
    book_costs()
    ExchangeRate.objects.create(rate=RATE, source=PTAX_SOURCE, quoted_at=clock.now())
    for name, value in PARAMETERS.items():
        enter_parameter(
            name=name, value=Decimal(value), valid_from=clock.today_in_brazil(), source="Fonte de teste", by="teste@tokia.test"
        )
    make_volume_plan(tiers=TIERS)
    for rule, steps in (("tokia/balanced", ("acme/large-mini", "cave/seek")), ("tokia/premium", ("bolt/sonnet",))):
        made = RoutingRule.objects.create(name=rule, display_name=rule)
        for position, step in enumerate(steps, 1):
            RuleStep.objects.create(rule=made, position=position, route=Route.objects.get(name=step))


def book_costs() -> None:
    """The published version, anew with its lines' costs (a published line never changes)."""
    current = PriceVersion.objects.latest("number")
    draft = PriceVersion.objects.create(book=current.book, number=current.number + 1)
    costs = {(row.provider_name, row.upstream_model, row.unit): row.usd for row in ProviderCost.objects.all()}
    lines = list(Price.objects.filter(version=current))
    for line in lines:
        line.pk, line.version = None, draft
        line.provider_name, line.upstream_model = line.route_name.split("/")
        line.cost_usd = costs.get((line.provider_name, line.upstream_model, line.unit))
    Price.objects.bulk_create(lines)
    now = clock.now()
    PriceVersion.objects.filter(pk=draft.pk).update(status="published", effective_at=now, published_at=now, published_by="test")


def ask(client: Client, **parameters: Any) -> str:
    answer = client.get("/parcial/comparacao/", parameters, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    return answer.content.decode()


def shown(page: str) -> dict[str, int]:
    """Each set-up's total, in nanos, and that its lines add up to it."""
    totals = {}
    for key, row in re.findall(r'<tr data-set-up="(\w+)"(.*?)</tr>', page, re.DOTALL):
        [total] = re.findall(r'value="(\d+)" data-total', row)
        lines = [int(value) for value in re.findall(r'value="(-?\d+)" data-line', row)]
        assert sum(lines) == int(total), key
        totals[key] = int(total)
    return totals


@pytest.mark.parametrize(
    ("asked", "second"),
    [
        ({}, {"requests": 100_000, "entrada": 500, "saida": 200}),
        ({"requisicoes": "1.000.000", "entrada": "500", "saida": "200"}, {"requests": 10**6, "entrada": 500, "saida": 200}),
        (
            {"requisicoes": 7, "entrada": "1.234", "saida": 89, "cache": 33, "parte": 71, "tributos": "1"},
            {"requests": 7, "entrada": 1234, "saida": 89, "cache": 33, "parte": 71, "with_taxes": True},
        ),
    ],
)
def test_the_page_shows_what_a_second_calculation_says(
    client: Client, shop: None, asked: dict[str, Any], second: dict[str, Any]
) -> None:
    found, expected = shown(ask(client, **asked)), Second(**second).totals()
    assert list(found) == list(expected)
    for key, nanos in found.items():
        assert abs(reais(nanos) - expected[key]) * BRL <= 20, key


def test_the_spend_tab_counts_the_same_month_in_calls(client: Client, shop: None) -> None:
    by_spend = ask(client, por="gasto", gasto_usd="2.500", requisicoes="abc")
    calls = 2500 // Second(requests=1, entrada=500, saida=200).of_call("acme/large", 0)
    assert shown(by_spend) == shown(ask(client, requisicoes=calls))
    [dollars] = re.findall(r'data-set-up="direct".*?value="(\d+)" data-usd', by_spend, re.DOTALL)
    assert 2499 * BRL < int(dollars) <= 2500 * BRL


def test_it_is_honest_in_both_directions(client: Client, shop: None) -> None:
    page = ask(client, requisicoes=100_000)
    totals = shown(page)
    difference = totals["tokia"] - totals["direct"]
    assert difference > 0
    assert f"Pelo cartão sairia {brl(difference)} mais barato neste caso" in page and "você economiza" not in page
    enter_parameter(name="card_spread", value=Decimal(90), valid_from=clock.today_in_brazil(), source="Um banco caro", by="teste")
    page = ask(client, requisicoes=100_000)
    totals = shown(page)
    saved = totals["direct"] - totals["tokia"]
    assert f"Com a Tokia você economiza {brl(saved)} por mês (" in page and "sairia" not in page


def test_it_says_that_the_model_is_what_saves_most(client: Client, shop: None) -> None:
    page = ask(client, requisicoes=100_000)
    totals = shown(page)
    words = f"a conta na Tokia cai {brl(totals['tokia'] - totals['tokia_cheaper'])} por mês"
    assert words in page
    assert "data-model-verdict" not in ask(client, modelo="acme/large-mini", barato="acme/large")


def test_it_names_every_number_with_source_and_day(client: Client, shop: None) -> None:
    page, rates_ = ask(client, tributos="1"), current_rates()
    for premise in rates_.premises:
        assert f'{premise.label}: <strong class="num">{premise.value}</strong>' in page
    today = f"{clock.today_in_brazil():%d/%m/%Y}"
    assert f"Cálculo com o dólar de {today} (PTAX venda, Banco Central)" in page and "5,3127" in page
    assert page.count("página da Acme") == 2 and "US$\u00a02,13" in page
    assert "IRRF sobre importação" not in ask(client)


def test_it_works_as_a_plain_page(client: Client, shop: None) -> None:
    page = client.get("/", {"requisicoes": "2.000", "modelo": "bolt/sonnet"}).content.decode()
    assert 'value="2.000"' in page and '<option value="bolt/sonnet" selected>' in page
    assert shown(page) == shown(ask(client, requisicoes=2000, modelo="bolt/sonnet"))
    moved = client.get("/parcial/comparacao/", {"requisicoes": "2.000"})
    assert (moved.status_code, moved["Location"]) == (302, "/?requisicoes=2.000#calculadora")


@pytest.mark.parametrize(
    ("name", "value"),
    [("requisicoes", "0"), ("requisicoes", "muitas"), ("entrada", "-5"), ("saida", "1,5"), ("cache", "101"), ("entrada", "9" * 50),
     ("modelo", "nobody/nothing"), ("barato", "")],
)  # fmt: skip
def test_it_says_what_to_mend(client: Client, shop: None, name: str, value: str) -> None:
    page = ask(client, **{name: value})
    assert f'href="#{name}"' in page and "data-set-up" not in page
    assert 'aria-invalid="true"' in client.get("/", {name: value}).content.decode()


def test_an_old_dollar_is_named(client: Client, shop: None) -> None:
    ExchangeRate.objects.update(quoted_at=clock.now() - dt.timedelta(days=60))
    assert "ainda sem cotação mais nova" in ask(client)


def test_without_a_dollar_only_our_rows_are_left(client: Client, shop: None) -> None:
    ExchangeRate.objects.all().delete()
    page = ask(client)
    assert list(shown(page)) == ["tokia", "tokia_mix", "tokia_cheaper", "tokia_other"]
    assert "Estamos sem a cotação do dólar agora" in page and "Com a Tokia, este uso custa" in page
