"""What providers ask us, in US dollars: from the offline snapshot inside the package `genai-prices`, or as declared by hand.

Every cost is written per `pricing.per_units_of` its unit: tokens per million, characters per thousand, sound per hour, the others
one by one. An import only proposes: rows of ProviderCost, never a sale price. Only this module imports the package (it loads 2 000
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
from billing.pricing import per_units_of
from tokia import clock

SOURCE = "genai-prices"
DECLARED = "catálogo"
# Their field → our unit, and how many of our `per_units` theirs is. A tiered price counts with its base; a long context costs more
# upstream, so mind the markup. Sound and pictures read from a cache fall in the bucket of all that was cached, at its price.
FIELDS = {
    "input_mtok": (Unit.INPUT, 1),
    "cache_read_mtok": (Unit.CACHED_INPUT, 1),
    "cache_write_mtok": (Unit.CACHE_WRITE, 1),
    "output_mtok": (Unit.OUTPUT, 1),
    "output_reasoning_mtok": (Unit.REASONING, 1),
    "input_audio_mtok": (Unit.AUDIO_INPUT, 1),
    "output_audio_mtok": (Unit.AUDIO_OUTPUT, 1),
    "input_image_mtok": (Unit.IMAGE_INPUT, 1),
    "output_image_mtok": (Unit.IMAGE_OUTPUT, 1),
    "input_audio_hours": (Unit.AUDIO_SECOND, 1),
    "input_mchars": (Unit.CHARACTER, 1_000),
    "web_searches_kcount": (Unit.SEARCH, 1_000),
    "requests_kcount": (Unit.REQUEST, 1_000),
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
        if known is not None and (known.source == DECLARED or (known.usd == usd and known.source == SOURCE)):
            continue
        raw = {"provider": source.source_provider, "model": source.source_model, "usd": str(usd)}
        stored.append(_store(source.provider_name, source.upstream_model, unit, usd, source=SOURCE, of=version(SOURCE), raw=raw))
    return stored


def declare_costs(models: Iterable[tuple[str, str, Mapping[str, Decimal]]]) -> list[ProviderCost]:
    """Store what a provider's own price page says of units that the snapshot does not know, and return the rows that changed.

    Each model is (our provider's slug, upstream model, US dollars per `per_units_of` each unit). What was declared stands against
    every import, until it is declared anew. Raises ValueError for a unit that there is not, or a cost below zero.
    """
    stored = []
    for provider_name, upstream_model, costs in models:
        for unit, usd in costs.items():
            if usd < 0:
                raise ValueError(f"{provider_name}/{upstream_model}: {unit} custa {usd}")
            declared = ProviderCost.objects.filter(
                provider_name=provider_name, upstream_model=upstream_model, unit=Unit(unit), source=DECLARED
            )
            known = declared.order_by("-id").first()
            if known is None or known.usd != usd:
                today = f"{clock.today_in_brazil():%Y-%m-%d}"
                stored.append(_store(provider_name, upstream_model, unit, usd, source=DECLARED, of=today, raw={"usd": str(usd)}))
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
    """US dollars per `per_units_of` each unit, as the snapshot prices them today. Raises CostUnknown."""
    from genai_prices.data import providers  # half a second of loading, for this verb only

    provider = next((candidate for candidate in providers if candidate.id == source.source_provider), None)
    model = provider.find_model(source.source_model, all_providers=providers) if provider else None
    if model is None:
        raise CostUnknown(f"genai-prices não conhece {source.source_provider}/{source.source_model}.")
    prices = _dearest_of_today(model)
    costs = {
        unit.value: usd / parts
        for field, (unit, parts) in FIELDS.items()
        if (usd := _base_price(getattr(prices, field, None))) is not None
    }
    if not costs:
        raise CostUnknown(f"genai-prices não tem preço que se aplique a {source.source_provider}/{source.source_model}.")
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


def _store(
    provider_name: str, upstream_model: str, unit: str, usd: Decimal, *, source: str, of: str, raw: Mapping[str, str]
) -> ProviderCost:
    row = ProviderCost(
        provider_name=provider_name, upstream_model=upstream_model, unit=unit, per_units=per_units_of(unit), usd=usd,
        source=source, source_version=of, raw=raw,
    )  # fmt: skip
    taken = ProviderCost.objects.filter(
        provider_name=provider_name, upstream_model=upstream_model, unit=unit, source=source
    ).values_list("source_version", flat=True)
    if row.source_version in taken and source == SOURCE:  # the same package, another price: one that began on a date
        row.source_version = f"{row.source_version} {clock.today_in_brazil():%Y-%m-%d}"
    if row.source_version in taken:
        row.source_version = f"{row.source_version[:22]} {len(taken)}"
    row.save(force_insert=True)
    return row
