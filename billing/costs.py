"""What providers ask us, in US dollars per million tokens, from the offline snapshot inside the package `genai-prices`.

An import only proposes: rows of ProviderCost, never a sale price. Only this module imports the package (it loads 2 000
models), and never its updater, which would fetch prices over the network. A newer snapshot = a newer package.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from billing.errors import BillingError
from billing.models import ProviderCost, Unit
from tokia import clock

SOURCE = "genai-prices"
# Their field → our unit. A tiered price counts with its base; a long context costs more upstream, so mind the markup.
FIELDS = {
    "input_mtok": Unit.INPUT,
    "cache_read_mtok": Unit.CACHED_INPUT,
    "cache_write_mtok": Unit.CACHE_WRITE,
    "output_mtok": Unit.OUTPUT,
}


class CostUnknown(BillingError):
    """The snapshot does not know this provider or model."""

    code = "cost_unknown"
    status = 400


@dataclass(frozen=True, slots=True)
class CostSource:
    """Which model of the snapshot prices which model of a provider of ours."""

    provider_name: str  # our provider's slug
    upstream_model: str
    source_provider: str  # the snapshot's provider id
    source_model: str  # any reference that the snapshot recognizes


def import_costs(models: Iterable[tuple[str, str, str, str]]) -> list[ProviderCost]:
    """Store what changed since the last import, and return those rows.

    Each model is (our provider's slug, the snapshot's provider id, upstream model, the snapshot's model reference).
    Raises CostUnknown, naming the model, before anything is stored.
    """
    found = [
        (source, unit, usd)
        for source in (CostSource(provider, upstream, theirs, reference) for provider, theirs, upstream, reference in models)
        for unit, usd in published_costs(source).items()
    ]
    latest = latest_costs()
    stored = []
    for source, unit, usd in found:
        known = latest.get((source.provider_name, source.upstream_model), {}).get(unit)
        if known is not None and known.usd == usd and known.source == SOURCE:
            continue
        stored.append(_store(source, unit, usd))
    return stored


def reimport_costs() -> list[ProviderCost]:
    """Import again every model that was imported before: what a newer package, or a new date, changes."""
    sources = {
        (row.provider_name, row.raw["provider"], row.upstream_model, row.raw["model"])
        for row in ProviderCost.objects.filter(source=SOURCE)
    }
    return import_costs(sorted(sources))


def latest_costs() -> dict[tuple[str, str], dict[str, ProviderCost]]:
    """The newest cost of every unit, by (provider's slug, upstream model)."""
    latest: dict[tuple[str, str], dict[str, ProviderCost]] = {}
    for row in ProviderCost.objects.order_by("id"):
        latest.setdefault((row.provider_name, row.upstream_model), {})[row.unit] = row
    return latest


def published_costs(source: CostSource) -> dict[str, Decimal]:
    """US dollars per million tokens, by unit, as the snapshot prices them today. Raises CostUnknown."""
    from genai_prices.data import providers  # half a second of loading, for this verb only

    provider = next((candidate for candidate in providers if candidate.id == source.source_provider), None)
    model = provider.find_model(source.source_model, all_providers=providers) if provider else None
    if model is None:
        raise CostUnknown(f"genai-prices não conhece {source.source_provider}/{source.source_model}.")
    prices = _dearest_of_today(model)
    costs = {unit.value: usd for field, unit in FIELDS.items() if (usd := _base_price(getattr(prices, field, None))) is not None}
    if not costs:
        raise CostUnknown(f"genai-prices não tem preço por token para {source.source_provider}/{source.source_model}.")
    return costs


def _dearest_of_today(model: Any) -> Any:
    """Prices that start on a date count from that date. Where the hour of the day matters (DeepSeek), the dearest hour counts:
    a sale price has no hours, and an import at night must not propose what loses money by day."""
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    instants = (
        [midnight + dt.timedelta(minutes=15 * quarter) for quarter in range(96)] if isinstance(model.prices, list) else [midnight]
    )
    return max((model.get_prices(instant) for instant in instants), key=_weight)


def _weight(prices: Any) -> Decimal:
    return sum((_base_price(getattr(prices, field, None)) or Decimal(0) for field in FIELDS), Decimal(0))


def _base_price(price: Any) -> Decimal | None:
    base = getattr(price, "base", price)
    return base if isinstance(base, Decimal) else None


def _store(source: CostSource, unit: str, usd: Decimal) -> ProviderCost:
    raw: Mapping[str, str] = {"provider": source.source_provider, "model": source.source_model, "usd": str(usd)}
    row = ProviderCost(
        provider_name=source.provider_name, upstream_model=source.upstream_model, unit=unit, usd=usd,
        source=SOURCE, source_version=version(SOURCE), raw=raw,
    )  # fmt: skip
    taken = ProviderCost.objects.filter(
        provider_name=row.provider_name, upstream_model=row.upstream_model, unit=unit, source=SOURCE
    ).values_list("source_version", flat=True)
    if row.source_version in taken:  # the same package, another price: one that began on a date
        row.source_version = f"{row.source_version} {clock.today_in_brazil():%Y-%m-%d}"
    if row.source_version in taken:
        row.source_version = f"{row.source_version[:22]} {len(taken)}"
    row.save(force_insert=True)
    return row
