"""The catalog, the page of a model and the comparison: what is on sale, told wholly, and nothing that is not."""

from __future__ import annotations

import ast
import datetime as dt
import json
import re
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from billing import pricebooks
from billing.abroad import ComparisonRates
from billing.costs import SOURCE
from billing.models import ExchangeRate, Price, PriceBook, PriceVersion, ProviderCost
from billing.money import BRL
from billing.price_history import price_history
from billing.pricing import Usage
from gateway.models import Provider, Route, RoutingRule, RuleStep
from tests.cast import make_cast
from tests.make import make_price, make_provider, make_route, make_usage, make_wallet
from tokia import clock, showcase, status_report
from tokia.catalog_filter import read_filter
from tokia.paces import Pace, Paces
from tokia.price_rows import PriceRow, price_rows
from tokia.snippets import snippets_for

RATES = ComparisonRates(reais_per_dollar=Decimal("5"), card_spread_bps=400, iof_bps=350)


def page_of(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return response.content.decode().replace("\xa0", " ")


def report(**models: dict[str, Any]) -> None:
    """A report of the status page, just taken."""
    items = [
        {"id": name, "name": name, "state": "ok", "hours": [], "days": [], "is_measured": True,
         "month": {"uptime_bps": None, "first_token_p50_ms": None, "first_token_p95_ms": None, "tokens_per_second": None}, **given}
        for name, given in models.items()
    ]  # fmt: skip
    told = {"measured_at": clock.now().isoformat(), "components": [], "providers": [], "models": items}
    cache.set(status_report.KEY, json.dumps(told), timeout=None)
    status_report.forget()


def day(**given: Any) -> dict[str, Any]:
    return {"uptime_bps": 10_000, "first_token_p50_ms": 400, "first_token_p95_ms": 900, "tokens_per_second": 80.0, **given}


def publish_ago(days: int, models: dict[str, dict[str, str]], *, costs: dict[str, Decimal] | None = None) -> None:
    book, _ = PriceBook.objects.get_or_create(is_default=True, defaults={"name": "Padrão"})
    draft = PriceVersion.objects.create(book=book, number=book.versions.count() + 1)
    for name, units in models.items():
        make_price(route=name, units=units, version=draft)
    for unit, usd in (costs or {}).items():
        Price.objects.filter(version=draft, unit=unit).update(cost_usd=usd, provider_name="acme", upstream_model="small")
    at = clock.now() - dt.timedelta(days=days)
    PriceVersion.objects.filter(pk=draft.pk).update(status=PriceVersion.Status.PUBLISHED, effective_at=at, published_at=at)


@pytest.fixture
def shop(settings: Settings, tmp_path: Any) -> None:
    settings.TOKIA_HOME = tmp_path
    cache.clear()
    status_report.forget()
    make_price(
        route=make_route(name="acme/small", display_name="Pequeno", maker="Acme", context_tokens=32_000, aliases=["acme/old"]),
        units={"input": "0.5", "cached_input": "0.05", "output": "2"},
    )
    make_price(
        route=make_route(name="zeta/big", display_name="Grande", maker="Zeta", context_tokens=1_000_000, capabilities=["tools"]),
        units={"input": "20", "output": "80"},
    )
    make_price(route=make_route(name="zeta/vectors", maker="Zeta", surface=Route.Surface.EMBEDDINGS), units={"input": "0.1"})


# ── The catalog ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["acme/small", "zeta/big", "zeta/vectors"]),
        ("busca=GRANDE", ["zeta/big"]),
        ("busca=acme/old", ["acme/small"]),
        ("provedor=Zeta&superficie=chat", ["zeta/big"]),
        ("capacidade=tools&capacidade=vision", ["acme/small"]),
        ("contexto=200000", ["zeta/big"]),
        ("preco=20-mais", ["zeta/big"]),
        ("preco=ate-1", ["acme/small", "zeta/vectors"]),
        ("ordem=velocidade", ["zeta/big", "acme/small", "zeta/vectors"]),
        ("ordem=saida", ["acme/small", "zeta/big", "zeta/vectors"]),
        ("contexto=1&preco=x&ordem=x&superficie=x&capacidade=x", ["acme/small", "zeta/big", "zeta/vectors"]),
    ],
)
def test_it_finds_what_the_address_asks_for(shop: None, query: str, names: list[str]) -> None:
    paces = Paces({"zeta/big": Pace("ok", 80.0)}, {}, None)
    found = read_filter(QueryDict(query)).apply(showcase.offers(), paces=paces)
    assert [offer.name for offer in found] == names


@pytest.mark.django_db
def test_it_tells_speed_and_state_in_words(shop: None, client: Client, settings: Settings) -> None:
    report(**{"acme/small": {"day": day(), "state": "slow"}})
    page = page_of(client, "/modelos/")
    row = page[page.index("acme/small</code>") : page.index("zeta/big</code>")]
    assert "80 tok/s" in row and "Lento" in row
    assert "Sem medição" in page and "/app/playground/?modelo=acme%2Fsmall" in page
    late = {"measured_at": (clock.now() - dt.timedelta(hours=1)).isoformat(), "models": []}
    (settings.TOKIA_HOME / status_report.FILE_NAME).unlink()
    cache.set(status_report.KEY, json.dumps(late), timeout=None)
    status_report.forget()
    assert "Lento" not in page_of(client, "/modelos/")


@pytest.mark.django_db
def test_it_keeps_what_is_ticked_while_filters_change(shop: None, client: Client) -> None:
    page = page_of(client, "/modelos/?busca=grande&m=acme/small&m=zeta/big&m=made/up")
    assert 'value="acme/small" form="comparar" checked' in page, "ticked before, and not shown now"
    assert re.search(r'value="zeta/big" form="comparar"[^>]* checked', page) and 'value="made/up"' not in page


@pytest.mark.django_db
def test_a_visitor_costs_a_handful_of_queries(shop: None, client: Client, django_assert_max_num_queries: Any) -> None:
    for path, most in (
        ("/modelos/", 5),
        ("/modelos/acme/small/", 9),
        ("/precos/", 6),
        ("/modelos/comparar/?m=acme/small&m=zeta/big", 7),
    ):
        client.get(path)
        with django_assert_max_num_queries(most):  # the shop's two, the fee of own keys, the rates, the history, the flags
            client.get(path)


@pytest.mark.django_db
def test_a_change_costs_as_many_queries_for_ten_models_as_for_three(shop: None, client: Client) -> None:
    from django.db import connection

    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get("/precos/")
    for number in range(7):
        make_price(route=make_route(name=f"more/{number}"))
    with CaptureQueriesContext(connection) as many:
        client.get("/precos/")
    assert len(many) == len(few) <= 16


# ── The page of a model ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db
def test_it_tells_all_of_a_model(shop: None, client: Client) -> None:
    report(**{"acme/small": {"day": day(uptime_bps=9_950)}})
    provider = Provider.objects.get(deployments__route__name="acme/small")
    Provider.objects.filter(pk=provider.pk).update(name="Nuvem", country="BR", base_url="https://secret.example/v1")
    page = page_of(client, "/modelos/acme/small/")
    for told in ("Pequeno", "32.000", "R$ 0,5000", "R$ 0,0500", "99,5%", "Nuvem", "Brasil", "acme/old", "temperature",
                 "Histórico de preços", 'model=&quot;acme/small&quot;', "texto, imagem"):  # fmt: skip
        assert told in page, told
    assert "secret.example" not in page and "test-model" not in page, "where and as what we ask is ours"
    blocks = [json.loads(text) for text in re.findall(r'<script type="application/ld\+json">(.*?)</script>', page)]
    assert blocks[0][1]["identifier"] == "acme/small"
    assert '<link rel="canonical" href="http://' in page and page.count("<h1") == 1


@pytest.mark.django_db
def test_it_hides_what_is_not_on_sale(shop: None, client: Client) -> None:
    make_route(name="acme/priceless")
    Route.objects.filter(name="zeta/big").update(is_active=False)
    for name in ("acme/priceless", "zeta/big", "made/up"):
        assert client.get(f"/modelos/{name}/").status_code == 404
    moved = client.get("/modelos/acme/old/")
    assert (moved.status_code, moved["Location"]) == (301, "/modelos/acme/small/")


@pytest.mark.django_db
def test_it_tells_a_virtual_model_and_who_may_answer(shop: None, client: Client) -> None:
    rule = RoutingRule.objects.create(name="tokia/quick", display_name="Rápido", description="O que responder antes.")
    for position, name in enumerate(("acme/small", "zeta/big"), 1):
        below = 800 if position == 1 else None
        RuleStep.objects.create(rule=rule, position=position, route=Route.objects.get(name=name), budget_below_ms=below)
    page = page_of(client, "/modelos/tokia/quick/")
    assert "R$ 0,5000 a R$ 20,00" in page and "abaixo de 800 ms" in page and 'href="/modelos/zeta/big/"' in page
    assert 'href="/modelos/tokia/quick/"' in page_of(client, "/modelos/")
    RoutingRule.objects.update(is_active=False)
    assert client.get("/modelos/tokia/quick/").status_code == 404


@pytest.mark.django_db
def test_it_announces_new_prices_and_the_end(shop: None, client: Client) -> None:
    ExchangeRate.objects.create(rate=Decimal("5"), source="PTAX venda", quoted_at=clock.now())
    draft = pricebooks.draft_from_current()
    Price.objects.filter(version=draft, route_name="acme/small", unit="input").update(override_nanos=BRL)
    Price.objects.filter(version=draft, route_name="zeta/big").delete()
    version = pricebooks.publish_version(draft, by="ana", effective_at=clock.now() + dt.timedelta(days=20))
    assert version.effective_at is not None
    on = version.effective_at.astimezone(clock.SAO_PAULO)
    dearer = page_of(client, "/modelos/acme/small/")
    assert f"Novo preço a partir de {on:%d/%m/%Y}" in dearer and "de R$ 0,5000/1M para R$ 1,0000/1M" in dearer
    assert f"Sai de venda em {on:%d/%m/%Y}" in page_of(client, "/modelos/zeta/big/")
    page = page_of(client, "/modelos/")
    assert f"Sai em {on:%d/%m/%Y}" in page and f"Novo preço em {on:%d/%m/%Y}" in page


@pytest.mark.django_db
def test_it_draws_how_the_price_went(client: Client) -> None:
    make_route(name="acme/small")
    make_route(name="zeta/big")
    for ago, brl in ((50, "0.5"), (40, "0.5"), (10, "0.25")):
        publish_ago(ago, {"acme/small": {"input": brl, "output": "2"}, "zeta/big": {"input": str(ago), "output": "70"}})
    assert [point.amounts["input"] for point in price_history("acme/small")] == [BRL // 2, BRL // 4], "only where it changed"
    page = page_of(client, "/modelos/acme/small/")
    lines = re.findall(r'<polyline[^>]*points="([^"]+)"', page)
    assert (
        lines[1] == "0,116 512,116 512,134 640,134"
    )  # input: for four fifths of the time a quarter of the highest, then an eighth
    assert "2 preços; os números estão na tabela" in page


# ── Beside what it costs abroad ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db
def test_it_sets_the_providers_list_price_beside_ours(shop: None) -> None:
    """US$ 0.10 × 5 = R$ 0,50; 4 % of spread: 0,52; 3,5 % of IOF on that: R$ 0,5382 by hand."""
    costs = {"input": Decimal("0.1"), "output": Decimal("0.3")}
    publish_ago(0, {"acme/small": {"input": "0.5", "output": "2"}}, costs=costs)
    ProviderCost.objects.create(
        provider_name="acme", upstream_model="small", unit="input", usd=Decimal("0.1"), source=SOURCE, source_version="1"
    )
    rows = {row.unit: row for row in price_rows(showcase.shop().by_name["acme/small"], RATES)}
    assert (rows["input"].usd_nanos, rows["input"].abroad_nanos) == (100_000_000, 538_200_000)
    assert rows["input"].difference_told == "7% mais barato"
    assert rows["output"].usd_nanos is None, "a cost that no public source tells is nobody's business"
    [row] = [row for row in price_rows(showcase.shop().by_name["acme/small"], ComparisonRates()) if row.unit == "input"]
    assert (row.usd_nanos, row.abroad_nanos, row.difference_told) == (100_000_000, None, "—")


@pytest.mark.parametrize(
    ("ours", "abroad", "told"),
    [
        (150, 100, "50% mais caro"),
        (999, 1000, "0,1% mais barato"),
        (100, 100, "igual"),
        (1999, 1000, "99% mais caro"),
        (1, None, "—"),
    ],
)
def test_it_tells_a_difference_either_way(ours: int, abroad: int | None, told: str) -> None:
    assert PriceRow("input", "Entrada", "/1M", ours, 75, 5, 1, abroad).difference_told == told


# ── The comparison ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db
def test_it_compares_two_to_four(shop: None, client: Client) -> None:
    page = page_of(client, "/modelos/comparar/?m=acme/small&m=zeta/big")
    # 1000 × (1000 in + 500 out): R$ 0,50 + 1,00 and R$ 20 + 40.
    assert "R$ 1,50" in page and "R$ 60,00" in page and page.count(">menor<") == 3 and page.count(">maior<") == 1
    assert "Escolha pelo menos dois modelos" in page_of(client, "/modelos/comparar/")
    assert "Escolha pelo menos dois modelos" in page_of(client, "/modelos/comparar/?m=acme/small")
    assert "não está à venda" in page_of(client, "/modelos/comparar/?m=acme/small&m=made/up")
    many = "&".join(f"m={name}" for name in ("acme/old", "zeta/big", "zeta/vectors", "more/1", "more/2"))
    for number in (1, 2):
        make_price(route=make_route(name=f"more/{number}", display_name=f"Mais {number}"))
    assert "Cabem 4 modelos" in page_of(client, f"/modelos/comparar/?{many}")


@pytest.mark.django_db
def test_it_tells_a_member_what_the_last_days_would_have_cost(shop: None, client: Client) -> None:
    cast = make_cast()
    wallet = make_wallet(organization=cast.acme)
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    make_usage(wallet=wallet, gross_nanos=3 * BRL, route_name="acme/small", usage=usage)
    make_usage(wallet=make_wallet(organization=cast.globex), gross_nanos=9 * BRL, route_name="acme/small", usage=usage)
    client.force_login(cast.alice)
    page = page_of(client, "/modelos/comparar/?m=acme/small&m=zeta/big")
    assert "2 mi tokens de texto" in page and "R$ 2,50" in page and "R$ 100,00" in page
    assert "Sua conta:" not in page_of(Client(), "/modelos/comparar/?m=acme/small&m=zeta/big")


# ── Snippets ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("surface", Route.Surface.values)
def test_its_snippets_are_programs(surface: str) -> None:
    texts = {key: text for key, _, text in snippets_for(surface, model="acme/one", base_url="https://api.example/v1")}
    assert list(texts) == ["python", "node", "curl"]
    ast.parse(texts["python"])
    assert all("acme/one" in text and "TOKIA_API_KEY" in text and "{{" not in text for text in texts.values())
    body = re.search(r"-d '(.*)'", texts["curl"])
    assert surface == "transcriptions" or (body and json.loads(body.group(1))["model"] == "acme/one")


@pytest.mark.django_db
def test_a_provider_that_trains_says_so(shop: None, client: Client) -> None:
    Provider.objects.filter(pk=make_provider().pk).update(trains_on_data=True)
    Provider.objects.filter(deployments__route__name="acme/small").update(trains_on_data=True, has_zero_retention=False)
    assert "pode usar o conteúdo para treino" in page_of(client, "/modelos/acme/small/")


@pytest.mark.django_db
def test_nobody_is_sent_to_a_playground_that_is_not_there(shop: None, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokia.catalog_pages.is_on", lambda name, organization=None: False)
    assert "/app/playground/" not in page_of(client, "/modelos/") + page_of(client, "/modelos/acme/small/")
