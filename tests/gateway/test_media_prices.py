"""What the first catalog sells of pictures, sound and moderation is priced by what it makes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command

from billing.models import ExchangeRate
from billing.pricebooks import price_lists
from billing.pricing import PriceList
from gateway import images, moderations, speech, transcriptions
from gateway.management.commands.seed_catalog import read_fixture
from gateway.media import price_of
from tokia import clock

UNITS = {module.SURFACE: module.UNITS for module in (images, moderations, speech, transcriptions)}


@pytest.fixture
def prices(db: None, settings: Any) -> dict[str, PriceList]:
    settings.SANDBOX_URL = "http://127.0.0.1:8090"
    ExchangeRate.objects.create(rate=Decimal("5.40"), source="teste", quoted_at=clock.now())
    call_command("seed_catalog")
    return price_lists()


def test_it_prices_what_every_route_of_media_makes(prices: dict[str, PriceList]) -> None:
    media = [line for line in read_fixture()["routes"] if line.get("surface") in UNITS]
    assert {line["surface"] for line in media} == set(UNITS)
    for line in media:
        assert any(all(price_of(prices[line["name"]], unit) for unit in one) for one in UNITS[line["surface"]]), line["name"]


def test_it_prices_them_as_their_providers_do(prices: dict[str, PriceList]) -> None:
    """US dollars × 5.40 × markup, per hour, thousand characters, million tokens and call."""

    def reais(route: str, unit: str) -> tuple[Decimal, int]:
        price = prices[f"openai/{route}"].units[unit]
        return Decimal(price.amount_nanos) / 10**9, price.per_units

    assert reais("whisper-1", "audio_second") == (Decimal("0.36") * Decimal("5.40") * Decimal("1.7"), 3_600)
    assert reais("tts-1", "character") == (Decimal("0.015") * Decimal("5.40") * Decimal("1.7"), 1_000)
    assert reais("gpt-image-1.5", "image_output") == (Decimal(32) * Decimal("5.40") * Decimal("1.6"), 1_000_000)
    assert reais("gpt-4o-transcribe", "audio_input") == (Decimal(6) * Decimal("5.40") * Decimal("1.7"), 1_000_000)
    assert reais("omni-moderation-latest", "request") == (Decimal("0.0001"), 1)
