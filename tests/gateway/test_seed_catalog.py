"""The first catalog: complete, priced, at markups between 1.5 and 3, and the same when seeded twice."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from billing.models import ExchangeRate, ProviderCost
from billing.pricebooks import price_lists
from billing.pricing import UnitPrice
from gateway import catalog
from gateway.management.commands.seed_catalog import read_fixture, seed_catalog
from gateway.models import Credential, Deployment, Provider, Route
from gateway.secrets import decrypt
from tokia import clock

SANDBOX = "http://127.0.0.1:8090"


@pytest.fixture
def rate(db: None) -> None:
    ExchangeRate.objects.create(rate=Decimal("5.40"), source="teste", quoted_at=clock.now())


def test_it_lists_27_chat_models_of_seven_makers_at_fair_markups() -> None:
    fixture = read_fixture()
    chat = [line for line in fixture["routes"] if line.get("surface", "chat") == "chat" and line["provider"] != "local"]
    assert len(chat) >= 27
    assert {line["maker"] for line in chat} >= {"OpenAI", "Anthropic", "Google", "DeepSeek", "Meta", "Mistral AI", "Cohere"}
    assert sum(line.get("surface") == "embeddings" for line in fixture["routes"]) >= 2
    assert all(Decimal("1.5") <= Decimal(line["markup"]) <= 3 for line in fixture["routes"])
    assert all(len(line.get("description", "")) <= 300 for line in fixture["routes"])


@override_settings(SANDBOX_URL=SANDBOX)
def test_it_seeds_all_of_it_priced_and_simulated(rate: None) -> None:
    call_command("seed_catalog")
    names = {line["name"] for line in read_fixture()["routes"]}
    assert set(price_lists()) == names
    served = catalog.load()
    assert set(served.routes) == names
    assert all(route.prices is not None for route in served.routes.values())
    urls = {provider.slug: provider.base_url for provider in Provider.objects.all()}
    assert urls["openai"] == f"{SANDBOX}/llm/openai/v1"
    assert urls["google"] == f"{SANDBOX}/llm/google/v1beta"
    assert urls["anthropic"] == f"{SANDBOX}/llm/anthropic"
    assert urls["deepseek"] == f"{SANDBOX}/llm/deepseek"
    assert {decrypt(bytes(credential.secret)) for credential in Credential.objects.all()} == {f"sandbox-{slug}" for slug in urls}
    assert served.routes["tokia/demo"].prices is not None
    assert served.routes["tokia/demo"].prices.units["input"].amount_nanos == 500_000_000


@override_settings(SANDBOX_URL=SANDBOX)
def test_it_changes_nothing_the_second_time_but_follows_a_sandbox_that_moved(rate: None) -> None:
    call_command("seed_catalog")
    Route.objects.filter(name="openai/gpt-4o").update(display_name="Meu nome", is_featured=True)
    counts = [model.objects.count() for model in (Provider, Route, Deployment, Credential)]
    with override_settings(SANDBOX_URL="http://127.0.0.1:9999"):
        call_command("seed_catalog")
    assert [model.objects.count() for model in (Provider, Route, Deployment, Credential)] == counts
    assert Route.objects.get(name="openai/gpt-4o").display_name == "Meu nome"
    assert Provider.objects.get(slug="openai").base_url == "http://127.0.0.1:9999/llm/openai/v1"


@override_settings(SANDBOX_URL=SANDBOX)
def test_it_becomes_real_with_a_key_and_stays_off_without_one(rate: None, monkeypatch: pytest.MonkeyPatch) -> None:
    call_command("seed_catalog")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-really-ours-1234")
    call_command("seed_catalog")
    openai = Provider.objects.get(slug="openai")
    assert (openai.base_url, openai.is_simulated, openai.is_active) == ("https://api.openai.com/v1", False, True)
    assert decrypt(bytes(openai.credentials.get().secret)) == "sk-really-ours-1234"


@override_settings(SANDBOX_URL="")
def test_it_is_inactive_in_production_without_keys(rate: None) -> None:
    call_command("seed_catalog")
    assert not Provider.objects.filter(is_active=True).exists()
    assert catalog.load().routes == {}


def test_it_prices_by_declared_costs_what_the_snapshot_does_not_know(rate: None, settings: Any) -> None:
    settings.SANDBOX_URL = SANDBOX
    fixture = read_fixture()
    line = {
        "name": "openai/dall-e", "display_name": "Imagens", "maker": "OpenAI", "provider": "openai", "upstream_model": "dall-e-3",
        "surface": "images", "context_tokens": 4_000, "markup": "2", "costs_usd": {"image": "0.04", "audio_second": "0.36"},
    }  # fmt: skip
    seed_catalog({"providers": fixture["providers"], "routes": [line]})
    units = price_lists()["openai/dall-e"].units
    assert units == {
        "image": UnitPrice(432_000_000, 216_000_000, 1, 75, 5),
        "audio_second": UnitPrice(3_888_000_000, 1_944_000_000, 3_600, 75, 5),
    }  # fmt: skip
    seed_catalog({"providers": fixture["providers"], "routes": [line]})
    assert ProviderCost.objects.filter(upstream_model="dall-e-3").count() == 2


def test_it_says_what_the_fixture_says_about_every_route(rate: None, settings: Any) -> None:
    settings.SANDBOX_URL = SANDBOX
    call_command("seed_catalog")
    for line in read_fixture()["routes"]:
        route = Route.objects.get(name=line["name"])
        route.full_clean()
        assert route.output_tokens_default <= max(route.output_tokens_max, 0)
