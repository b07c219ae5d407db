"""The prices in force and the ones to come, as anybody may read them: `/precos.json`, `/precos.csv`, the management API.

Money is a string of reais with nine decimals ("12.060900000"): exact, and nobody's JSON parser makes a float of it. What a price
is for is `per_units` of its unit: 1 000 000 tokens, 1 image, 3 600 seconds of sound, 1 000 characters. In /v1/batches the price is
`batch_percent` of it, served by the customer's own key at the provider `own_key_percent`. Instants are ISO 8601 with their zone.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.utils.translation import override

from billing.models import ExchangeRate, Price, PriceVersion, Unit
from billing.money import to_brl
from billing.price_changes import felt_changes
from billing.pricebooks import version_in_force
from billing.sheets import plain
from billing.units import tell_per
from tokia import clock

COLUMNS = (
    "modelo", "unidade", "descricao", "por", "por_unidades", "preco_reais", "lote_percentual", "chave_propria_percentual", "versao",
    "vigente_desde", "situacao",
)  # fmt: skip


@override(settings.LANGUAGE_CODE)  # programs read it
def public_prices(*, route_names: Collection[str] | None = None) -> dict[str, Any]:
    """The version in force and every scheduled one, ready for JSON; only the named routes, where names are given.

    Without a published version `version` is None and `models` is empty.
    """
    current = version_in_force()
    told = _version_told(current, route_names) if current else {"version": None, "effective_at": None, "models": []}
    before, upcoming = current, []
    for version in scheduled_versions():
        changes = [
            change.as_json() for change in felt_changes(before, version) if route_names is None or change.route_name in route_names
        ]
        upcoming.append({**_version_told(version, route_names), "changes": changes})
        before = version
    return {"currency": "BRL", **told, "upcoming": upcoming}


def scheduled_versions() -> list[PriceVersion]:
    """Published, and not in force yet, in the sequence in which they will be."""
    published = PriceVersion.objects.filter(
        book__is_default=True, status=PriceVersion.Status.PUBLISHED, effective_at__gt=clock.now()
    )
    return list(published.select_related("exchange_rate", "book").order_by("effective_at", "number"))


def price_rows(told: dict[str, Any], *, is_excel: bool) -> Iterator[Sequence[str]]:
    """The same as lines of a sheet, under COLUMNS; `is_excel`: decimal commas, as a spreadsheet in Brazil reads them."""
    for version, state in [(told, "em vigor"), *((line, "futuro") for line in told["upcoming"])]:
        for model in version["models"]:
            for line in model["prices"]:
                price = line["price"].replace(".", ",") if is_excel else line["price"]
                yield (
                    plain(model["model"]),
                    line["unit"],
                    line["description"],
                    line["per"].removeprefix("/"),
                    str(line["per_units"]),
                    price,
                    str(line["batch_percent"]),
                    str(line["own_key_percent"]),
                    version["version"],
                    version["effective_at"],
                    state,
                )


def _version_told(version: PriceVersion, route_names: Collection[str] | None) -> dict[str, Any]:
    order = [unit.value for unit in Unit]
    prices: dict[str, list[Price]] = defaultdict(list)
    for price in Price.objects.filter(version=version).order_by("route_name"):
        if route_names is None or price.route_name in route_names:
            prices[price.route_name].append(price)
    return {
        "version": f"v{version.number}",
        "effective_at": _instant(version.effective_at),
        "exchange_rate": _rate_told(version.exchange_rate, version),
        "models": [
            {"model": name, "prices": [_price_told(price) for price in sorted(lines, key=lambda line: order.index(line.unit))]}
            for name, lines in prices.items()
        ],
    }


def _price_told(price: Price) -> dict[str, Any]:
    return {
        "unit": price.unit,
        "description": str(Unit(price.unit).label),
        "per": tell_per(price.unit, price.per_units),
        "per_units": price.per_units,
        "price": f"{to_brl(price.amount_nanos):f}",
        "batch_percent": price.batch_percent,
        "own_key_percent": price.own_key_percent,
    }


def _rate_told(rate: ExchangeRate | None, version: PriceVersion) -> dict[str, str] | None:
    """The dollar that the prices stand at. Who typed one is nobody's business."""
    if rate is None:
        return None
    source = rate.source if rate.source.startswith("PTAX") else "definida pela Tokia"
    return {"brl_per_usd": f"{rate.rate:f}", "source": source, "quoted_at": _instant(rate.quoted_at), "policy": version.rate_policy}


def _instant(at: dt.datetime | None) -> str:
    return at.astimezone(clock.SAO_PAULO).isoformat(timespec="seconds") if at else ""
