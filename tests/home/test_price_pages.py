"""The prices for anybody: a page, JSON and CSV, exact, cached, and nothing that is not on sale."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.test import Client

from billing import pricebooks
from billing.models import ExchangeRate, Price, PriceVersion
from billing.money import BRL
from gateway.models import Route
from tests.cast import make_cast
from tests.make import make_price, make_route
from tokia import clock

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def shop() -> None:
    cache.clear()
    make_price(
        route=make_route(name="acme/one", display_name="Um"), units={"input": "12.0609", "output": "96.4872", "search": "0.05"}
    )
    make_price(route=make_route(name="acme/off", is_active=False))
    make_price(route="acme/nowhere")


def schedule(units: dict[str, str]) -> PriceVersion:
    """A version of PTAX's dollar, published for twenty days from now."""
    rate = ExchangeRate.objects.create(rate=Decimal("5.3604"), source="PTAX venda", quoted_at=clock.now())
    draft = pricebooks.draft_from_current()
    for unit, brl in units.items():
        amount = int(Decimal(brl) * BRL)
        Price.objects.filter(version=draft, route_name="acme/one", unit=unit).update(override_nanos=amount)
    assert draft.exchange_rate == rate
    return pricebooks.publish_version(draft, by="ana", effective_at=clock.now() + dt.timedelta(days=20))


@pytest.fixture
def rate() -> None:
    ExchangeRate.objects.create(rate=Decimal(5), source="ana@tokia.com.br", quoted_at=clock.now())


def test_the_json_has_what_is_on_sale_exactly(client: Client) -> None:
    response = client.get("/precos.json")
    told = json.loads(response.content)
    version = pricebooks.version_in_force()
    assert version is not None and version.effective_at is not None
    assert (told["currency"], told["version"], told["upcoming"]) == ("BRL", f"v{version.number}", [])
    assert dt.datetime.fromisoformat(told["effective_at"]) == version.effective_at.replace(microsecond=0)
    assert [model["model"] for model in told["models"]] == ["acme/one"]
    assert told["models"][0]["prices"][0] == {
        "unit": "input", "description": "Entrada", "per": "/1M", "per_units": 1_000_000, "price": "12.060900000",
        "batch_percent": 75, "own_key_percent": 5,
    }  # fmt: skip
    assert [price["per_units"] for price in told["models"][0]["prices"]] == [1_000_000, 1_000_000, 1]
    assert response["Content-Type"].startswith("application/json") and response["Access-Control-Allow-Origin"] == "*"


def test_it_is_cached_by_everybody_until_something_changes(client: Client) -> None:
    first = client.get("/precos.json")
    assert first["Cache-Control"] == "public, max-age=300" and "Cookie" not in first.get("Vary", "")
    again = client.get("/precos.json", headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    signed_in = Client()
    signed_in.force_login(make_cast().alice)
    assert signed_in.get("/precos.json").content == first.content
    make_price(route=make_route(name="acme/two"))
    changed = client.get("/precos.json", headers={"if-none-match": first["ETag"]})
    assert changed.status_code == 200 and b"acme/two" in changed.content
    Route.objects.filter(name="acme/one").update(is_active=False)  # the catalog's number moves with it
    assert b"acme/one" not in client.get("/precos.json").content
    assert client.post("/precos.json").status_code == 405


def test_scheduled_versions_are_told_with_what_changes(client: Client, rate: None) -> None:
    version = schedule({"input": "13", "search": "0.04"})
    told = json.loads(client.get("/precos.json").content)
    [upcoming] = told["upcoming"]
    assert (upcoming["version"], upcoming["exchange_rate"]["brl_per_usd"]) == (f"v{version.number}", "5.360400")
    assert upcoming["exchange_rate"]["source"] == "PTAX venda"
    assert [(change["unit"], change["kind"], change["old"], change["new"]) for change in upcoming["changes"]] == [
        ("input", "up", "12.060900000", "13.000000000"), ("search", "down", "0.050000000", "0.040000000"),
    ]  # fmt: skip
    page = client.get("/precos/").content.decode()
    assert version.effective_at is not None
    on = version.effective_at.astimezone(clock.SAO_PAULO)
    assert "R$\u00a013,0000/1M" in page and f"A partir de {on:%d/%m/%Y}" in page
    assert "acme/nowhere" not in page and "acme/off" not in page


def test_who_typed_a_dollar_is_nobodys_business(client: Client, rate: None) -> None:
    pricebooks.publish_version(pricebooks.draft_from_current(), by="ana")
    for path in ("/precos.json", "/precos/", "/modelos/"):
        page = client.get(path).content.decode()
        assert "ana@" not in page
    assert json.loads(client.get("/precos.json").content)["exchange_rate"]["source"] == "definida pela Tokia"
    assert "com o dólar a R$" in client.get("/precos/").content.decode() and "5,0000" in client.get("/precos/").content.decode()


def test_the_csv_is_for_machines_and_for_a_spreadsheet_in_brazil(client: Client, rate: None) -> None:
    schedule({"input": "13"})
    plain = client.get("/precos.csv")
    rows = list(csv.DictReader(io.StringIO(plain.content.decode())))
    assert [(row["modelo"], row["unidade"], row["preco_reais"], row["situacao"]) for row in rows] == [
        ("acme/one", "input", "12.060900000", "em vigor"), ("acme/one", "output", "96.487200000", "em vigor"),
        ("acme/one", "search", "0.050000000", "em vigor"), ("acme/one", "input", "13.000000000", "futuro"),
        ("acme/one", "output", "96.487200000", "futuro"), ("acme/one", "search", "0.050000000", "futuro"),
    ]  # fmt: skip
    assert "attachment" in plain["Content-Disposition"] and plain["Content-Type"] == "text/csv; charset=utf-8"
    excel = client.get("/precos.csv?formato=excel")
    text = excel.content.decode()
    assert text.startswith("\ufeffmodelo;unidade;") and ";12,060900000;" in text and "\r\n" in text
    assert excel["ETag"] != plain["ETag"]


def test_no_cell_is_a_formula(client: Client) -> None:
    make_price(route=make_route(name="=cmd|'/c calc'!A1"))
    for path in ("/precos.csv", "/precos.csv?formato=excel"):
        assert "'=cmd" in client.get(path).content.decode()


def test_without_prices_it_says_so(client: Client) -> None:
    Route.objects.update(is_active=False)
    assert json.loads(client.get("/precos.json").content)["models"] == []
    assert "Nenhum modelo à venda agora" in client.get("/precos/").content.decode()


def test_the_catalog_links_all_of_them(client: Client) -> None:
    page = client.get("/modelos/").content.decode()
    assert all(f'href="{path}"' in page for path in ("/precos/", "/precos.json", "/precos.csv?formato=excel"))
