"""The catalog as it would be if something were changed: weights, priorities, prices, somebody switched off or sick.

Pure: nothing is saved, and no gateway sees it. What is made of it is the same frozen `Catalog` that calls are planned over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from billing.pricing import PriceList, UnitPrice
from gateway.calls import ServedDeployment, ServedRoute
from gateway.catalog import Catalog

PER_UNITS = 1_000_000  # imagined prices are of so many tokens


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Deployments by id, models by name. `sick` ones have their circuit open, as after an outage; `off` ones are not there."""

    sick: frozenset[int] = frozenset()
    off: frozenset[int] = frozenset()
    weights: Mapping[int, int] = field(default_factory=dict)
    priorities: Mapping[int, int] = field(default_factory=dict)
    prices: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (model, unit) → nanos per PER_UNITS
    edition: Mapping[str, PriceList] | None = None  # of a draft, in the place of what is in force

    @property
    def is_nothing(self) -> bool:
        return self == WhatIf()


def imagine(served: Catalog, what_if: WhatIf) -> Catalog:
    """Every route that is served today, changed. Routes that are not served today are not made up."""
    if what_if.is_nothing:
        return served
    routes = {name: _change_route(route, what_if) for name, route in served.routes.items()}
    by_alias = {alias: routes[route.name] for alias, route in served.by_alias.items()}
    return replace(served, routes=routes, by_alias=by_alias)


def _change_route(route: ServedRoute, what_if: WhatIf) -> ServedRoute:
    kept = [_change_deployment(found, what_if) for found in route.deployments if found.id not in what_if.off]
    kept.sort(key=lambda found: (found.priority, found.id))  # as `catalog.load` reads them
    prices = _prices_of(route, what_if)
    own_key = prices.for_own_key() if prices is not None and route.own_key_prices is not None else None
    return replace(route, deployments=tuple(kept), prices=prices, own_key_prices=own_key)


def _change_deployment(found: ServedDeployment, what_if: WhatIf) -> ServedDeployment:
    return replace(
        found, weight=what_if.weights.get(found.id, found.weight), priority=what_if.priorities.get(found.id, found.priority)
    )


def _prices_of(route: ServedRoute, what_if: WhatIf) -> PriceList | None:
    prices = route.prices if what_if.edition is None else what_if.edition.get(route.name)
    asked = {unit: nanos for (name, unit), nanos in what_if.prices.items() if name == route.name}
    if prices is None or not asked:
        return prices
    units = dict(prices.units)
    for unit, nanos in asked.items():
        if (old := units.get(unit)) is not None:
            units[unit] = replace(old, amount_nanos=-(-nanos * old.per_units // PER_UNITS))
        else:
            units[unit] = UnitPrice(nanos, 0, PER_UNITS)
    return PriceList(version_id=prices.version_id, version_label=prices.version_label, units=units)
