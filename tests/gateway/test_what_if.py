"""The simulator: what would happen to a call if weights, prices or a provider's health were others. Nothing is saved."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from accounts.models import LimitProfile, User
from billing.models import ExchangeRate, PriceVersion, ProviderCost
from billing.money import BRL
from gateway.errors import RouteNotFound
from gateway.models import Deployment, Fallback, Route
from gateway.simulation import DRAWS, Question, explain_route
from gateway.what_if import WhatIf
from tests.make import make_organization, make_price, make_provider, make_route
from tokia import clock

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("calm_circuits")]
PATH = "/admin/gateway/routingrule/explicar/"


@pytest.fixture
def calm_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.simulation.read_circuits", dict)


@pytest.fixture
def routes() -> dict[str, Any]:
    """a/first: uno and duo share by weight, 90 to 10; falls back on b/second, at tres."""
    first = make_route(name="a/first", provider=make_provider(slug="uno"), upstream_model="um")
    uno = Deployment.objects.get(route=first)
    Deployment.objects.filter(pk=uno.pk).update(weight=90)
    duo = Deployment.objects.create(route=first, provider=make_provider(slug="duo"), upstream_model="dois", weight=10)
    second = make_route(name="b/second", provider=make_provider(slug="tres"))
    Fallback.objects.create(route=first, target=second, position=1)
    make_price(route=first, units={"input": "10", "output": "30"})
    make_price(route=second, units={"input": "1", "output": "3"})
    ExchangeRate.objects.create(rate=Decimal("5"), quoted_at=clock.now() - dt.timedelta(hours=1), source="teste")
    for provider, usd in (("uno", "1"), ("duo", "1.8")):
        for unit in ("input", "output"):
            upstream = {"uno": "um", "duo": "dois"}[provider]
            ProviderCost.objects.create(
                provider_name=provider, upstream_model=upstream, unit=unit, usd=Decimal(usd), source="teste"
            )
    return {"first": first, "second": second, "uno": uno, "duo": duo}


def order(what_if: WhatIf | None = None, **question: Any) -> list[str]:
    found = explain_route(Question(model="a/first", **question), what_if or WhatIf())
    return [one.provider for one in found.candidates]


def test_it_tells_shares_prices_and_margins_by_the_gateways_own_arithmetic(routes: dict[str, Any]) -> None:
    found = explain_route(Question(model="a/first", characters=4_000, output_tokens=1_000))
    uno, duo, tres = found.candidates
    assert [uno.provider, duo.provider, tres.provider] == ["Uno", "Duo", "Tres"]
    assert 80 <= uno.first_percent <= 97 and DRAWS == 200
    assert uno.first_percent + duo.first_percent in (99, 100)
    # 1 000 tokens in at R$ 10 and 1 000 out at R$ 30 per million; the cost is US$ 1 at R$ 5 for both.
    assert (uno.amount_nanos, uno.cost_nanos, uno.margin_percent) == (40_000_000, 10_000_000, 75)
    assert (duo.amount_nanos, duo.cost_nanos, duo.margin_percent) == (40_000_000, 18_000_000, 55)
    assert (tres.cost_nanos, tres.margin_percent) == (None, None)
    assert "Fora do ar" in tres.condition and uno.condition == ""
    assert uno.why == "prioridade 1, peso 90"
    profile = LimitProfile.objects.create(name="p", requests_per_minute=9, tokens_per_minute=9, margin_bps=-1_000)
    organization = make_organization()
    organization.limit_profile = profile
    organization.save()
    question = Question(model="a/first", characters=4_000, output_tokens=1_000, organization=organization)
    assert explain_route(question).candidates[0].amount_nanos == 36_000_000


def test_it_imagines_sickness_weights_priorities_and_absence_without_saving(routes: dict[str, Any]) -> None:
    uno, duo = routes["uno"].pk, routes["duo"].pk
    assert order() == ["Uno", "Duo", "Tres"]
    sick = explain_route(Question(model="a/first"), WhatIf(sick=frozenset({uno})))
    assert [one.provider for one in sick.candidates] == ["Duo", "Uno", "Tres"]
    assert sick.candidates[1].why.startswith("circuito aberto") and sick.candidates[1].circuit != "fechado"
    assert order(WhatIf(weights={uno: 0})) == ["Duo", "Uno", "Tres"]
    assert order(WhatIf(priorities={uno: 5})) == ["Duo", "Uno", "Tres"]
    assert order(WhatIf(off=frozenset({uno}))) == ["Duo", "Tres"]
    assert order(WhatIf(off=frozenset({uno, duo}))) == ["Tres"]
    assert order() == ["Uno", "Duo", "Tres"]


def test_it_imagines_a_price_and_a_draft(routes: dict[str, Any]) -> None:
    dear = WhatIf(prices={("a/first", "input"): 2 * BRL, ("a/first", "output"): 2 * BRL})
    found = explain_route(Question(model="a/first", characters=4_000, output_tokens=1_000), dear).candidates[0]
    assert (found.amount_nanos, found.margin_percent) == (4_000_000, -150)
    assert order(dear, options='{"provider": {"max_price": {"prompt": 5}}}') == ["Uno", "Duo", "Tres"]
    with pytest.raises(RouteNotFound):  # nobody of what was asked for is that cheap
        order(options='{"provider": {"max_price": {"prompt": 5}}}')


def test_it_reads_options_as_the_api_does(routes: dict[str, Any]) -> None:
    assert order(options='{"provider": {"order": ["duo"], "allow_fallbacks": false}}')[0] == "Duo"
    assert order(options='{"provider": {"only": ["duo"]}, "models": ["b/second"]}') == ["Duo"]
    asked = explain_route(Question(model="b/second:floor", options='{"models": ["a/first"]}')).candidates
    assert asked[0].provider == "Tres" and asked[0].why.startswith("do menor preço")


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create(email="root@example.com.br", is_staff=True, is_superuser=True))
    return client


def ask(staff: Client, **fields: Any) -> str:
    given = {"model": "a/first", "characters": 4_000, "output_tokens": 1_000, "tools": 0, **fields}
    answer = staff.get(PATH, given)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().replace("\xa0", " ").split())


def test_it_shows_today_beside_what_was_imagined(staff: Client, routes: dict[str, Any]) -> None:
    uno, duo = routes["uno"].pk, routes["duo"].pk
    today = ask(staff)
    assert "Como está agora" in today and "75%" in today and "R$ 0,0100" in today and "Hoje</th>" not in today
    assert f'name="peso-{uno}" value="90"' in today
    as_it_stands = {f"peso-{uno}": 90, f"peso-{duo}": 10, f"prioridade-{uno}": 1, f"prioridade-{duo}": 1}
    assert "Como está agora" in ask(staff, **as_it_stands)
    changed = ask(staff, **as_it_stands | {f"peso-{uno}": 0, "entrada-a/first": "2,00", "saida-a/first": "2"})
    assert "Com as mudanças imaginadas" in changed and "hoje 90" in changed
    assert changed.index("Duo") < changed.index("Uno") and "2º" in changed
    assert "(prejuízo)" in changed and "hoje 75%" in changed
    gone = ask(staff, **{f"fora-{uno}": "on"})
    assert "Hoje são perguntados, e deixariam de ser" in gone
    assert Deployment.objects.get(pk=uno).weight == 90
    assert Route.objects.get(name="a/first").is_active


def test_it_simulates_the_prices_of_a_draft(staff: Client, routes: dict[str, Any]) -> None:
    published = PriceVersion.objects.order_by("-number").first()
    assert published is not None
    draft = PriceVersion.objects.create(book=published.book, number=published.number + 1)
    make_price(route="a/first", units={"input": "20", "output": "60"}, version=draft)
    text = ask(staff, version=draft.pk)
    assert f"rascunho v{draft.number}" in text and "R$ 0,0800" in text and "87%" in text
    assert "R$ 0,0400" in ask(staff)


def test_it_says_what_was_written_wrong(staff: Client, routes: dict[str, Any]) -> None:
    assert "Escreva um objeto JSON" in ask(staff, options="[1]")
    assert "400 invalid_value" in ask(staff, options='{"provider": {"order": "uno"}}')
    wrong = ask(staff, **{f"peso-{routes['uno'].pk}": "-1", "entrada-a/first": "caro", "saida-<b>": "1"})
    assert "use um número inteiro" in wrong and "reais por milhão" in wrong and "<b>" not in wrong
    assert escape("a/first") in wrong
    off = ask(
        staff, **{f"fora-{routes[name].pk}": "on" for name in ("uno", "duo")} | {"options": '{"provider": {"only": ["uno"]}}'}
    )
    assert "A chamada seria recusada" in off
