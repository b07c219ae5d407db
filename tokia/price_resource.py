"""`/api/v1/prices`: what is on sale and at which prices, today and from announced days on. For everybody."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.operations import PUBLIC, ApiCall, Resource, operation
from billing import pricelists
from billing.api_money import Brl, Nanos, both
from billing.models import Unit
from billing.money import from_brl
from tokia import showcase
from tokia.manners import Shape


class PriceShape(Shape):
    unit = serializers.ChoiceField(choices=Unit.choices, help_text="O que é medido.")
    description = serializers.CharField()
    per_units = serializers.IntegerField(help_text="O preço é por tantas unidades: 1000000 tokens, 1 imagem, 3600 segundos…")
    price_brl, price_nanos = Brl(source="price_nanos"), Nanos()
    batch_percent = serializers.IntegerField(help_text="% do preço em /v1/batches.")
    own_key_percent = serializers.IntegerField(help_text="% do preço com chave própria no provedor.")


class PricedModelShape(Shape):
    model = serializers.CharField()
    prices = PriceShape(many=True)


class RateShape(Shape):
    brl_per_usd = serializers.CharField()
    source = serializers.CharField()
    quoted_at = serializers.CharField()
    policy = serializers.CharField()


class PriceVersionShape(Shape):
    version = serializers.CharField(allow_null=True, help_text="null: nada à venda ainda.")
    effective_at = serializers.CharField(allow_null=True, help_text="Desde quando vale, em America/Sao_Paulo.")
    exchange_rate = RateShape(allow_null=True, help_text="O dólar dos preços; null: não há.")
    models = PricedModelShape(many=True)


class PricesAnswer(PriceVersionShape):
    currency = serializers.ChoiceField(choices=["BRL"])
    upcoming = PriceVersionShape(many=True, help_text="Os preços já anunciados, em sequência.")
    example = {
        "version": "v3", "effective_at": "2026-11-01T00:00:00-03:00", "currency": "BRL", "upcoming": [],
        "exchange_rate": {
            "brl_per_usd": "5.3500", "source": "PTAX", "quoted_at": "2026-10-30T13:00:00-03:00", "policy": "locked",
        },
        "models": [
            {
                "model": "openai/gpt-4o-mini",
                "prices": [
                    {"unit": "input", "description": "Entrada", "per_units": 1_000_000, **both("price", 1_605_000_000),
                     "batch_percent": 75, "own_key_percent": 5},
                ],
            }
        ],
    }  # fmt: skip


class PricesQuery(Shape):
    model = serializers.CharField(required=False, max_length=100, help_text="Só este modelo.")


class PricesResource(Resource):
    @operation(
        "get_prices", scope=PUBLIC, tag="Preços", summary="Tabela de preços",
        text="Os modelos à venda e seus preços em reais, os de agora e os já anunciados; os mesmos de /precos/.",
        query=PricesQuery, answer=PricesAnswer,
    )  # fmt: skip
    def get(self, call: ApiCall) -> Any:
        on_sale = {offer.name for offer in showcase.offers()}
        names = on_sale & {call.query["model"]} if "model" in call.query else on_sale
        told = pricelists.public_prices(route_names=names)
        return _version(told) | {"currency": told["currency"], "upcoming": [_version(version) for version in told["upcoming"]]}


def _version(told: dict[str, Any]) -> dict[str, Any]:
    models = [
        {"model": model["model"], "prices": [line | {"price_nanos": from_brl(line["price"])} for line in model["prices"]]}
        for model in told["models"]
    ]
    return {
        "version": told["version"], "effective_at": told["effective_at"], "exchange_rate": told.get("exchange_rate"),
        "models": models,
    }  # fmt: skip
