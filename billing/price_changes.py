"""What differs between two versions of the prices: every line for administrators, and what callers will feel for customers.

A caller feels more than lines: a unit without a price of its own is priced by its family (`billing.pricing`), so a new line may
raise what was cheaper before; and a batch, or a call by the customer's own key, has its part of the price.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.utils.translation import gettext, gettext_noop

from billing.models import Price, PriceVersion, Unit
from billing.money import to_brl
from billing.price_margins import cost_in_nanos
from billing.pricing import BUCKETS
from billing.units import tell_per

KIND_LABELS = {"gone": "sumiu", "up": "subiu", "down": "caiu", "new": "novo", "same": "igual"}
DEARER = frozenset({"up", "gone"})  # a model that is no longer sold is the dearest of all
FAMILIES = {units[0]: units for _, units in BUCKETS}
WAYS = {"call": "", "batch": gettext_noop(" em lote"), "own_key": gettext_noop(" com chave própria")}


@dataclass(frozen=True, slots=True)
class PriceChange:
    """One unit of one route between two versions."""

    route_name: str
    unit: str
    kind: str  # "new", "up", "down", "gone", "same"
    old_nanos: int | None
    new_nanos: int | None
    percent: Decimal | None  # one decimal; empty for new, gone, and from zero
    markup: Decimal | None = None  # the new sale price over cost, three decimals
    old_per: str = ""  # what each price is for: "/1M", "/imagem"
    new_per: str = ""

    @property
    def kind_label(self) -> str:
        return KIND_LABELS[self.kind]

    @property
    def unit_label(self) -> str:
        return str(Unit(self.unit).label)

    @property
    def is_below_cost(self) -> bool:
        return self.markup is not None and self.markup < 1


@dataclass(frozen=True, slots=True)
class FeltChange:
    """What a caller of one route is asked for one unit, before and after. Prices are exact, per `per_units`."""

    route_name: str
    unit: str
    way: str  # of WAYS
    kind: str  # "new", "up", "down", "gone"
    old: Fraction | None  # nanos
    new: Fraction | None
    old_per_units: int
    new_per_units: int

    @property
    def label(self) -> str:
        return f"{Unit(self.unit).label}{gettext(WAYS[self.way]) if WAYS[self.way] else ''}"

    @property
    def is_dearer(self) -> bool:
        return self.kind in DEARER

    def as_json(self) -> dict[str, Any]:
        """For notices and events; money as strings in reais, up to the next nano."""
        return {
            "route": self.route_name, "unit": self.unit, "label": self.label, "kind": self.kind,
            "old": _told(self.old), "old_per": tell_per(self.unit, self.old_per_units),
            "new": _told(self.new), "new_per": tell_per(self.unit, self.new_per_units),
        }  # fmt: skip


def cost_of_line(price: Price, rate: Decimal | None) -> int:
    """The line's cost in nano-reais per `per_units`; 0 where it is unknown."""
    return cost_in_nanos(price.cost_usd, rate) if price.cost_usd is not None and rate is not None else 0


def diff_versions(old: PriceVersion | None, new: PriceVersion) -> list[PriceChange]:
    """Every unit that either version prices, by route and unit; what changed comes with its percentage."""
    before = {(price.route_name, price.unit): price for price in Price.objects.filter(version=old)} if old else {}
    after = {(price.route_name, price.unit): price for price in Price.objects.filter(version=new)}
    order = [unit.value for unit in Unit]
    rate = new.exchange_rate.rate if new.exchange_rate else None
    names = sorted(before.keys() | after.keys(), key=lambda name: (name[0], order.index(name[1])))
    return [compare_lines(name, before.get(name), after.get(name), rate) for name in names]


def felt_changes(old: PriceVersion | None, new: PriceVersion) -> list[FeltChange]:
    """What callers will feel, by route and unit; nothing that stays the same. Without an old version all is new."""
    before, after = _by_route(old), _by_route(new)
    order = [unit.value for unit in Unit]
    changes = [
        change
        for route in before.keys() | after.keys()
        for unit in before.get(route, {}).keys() | after.get(route, {}).keys()
        for change in _felt(route, unit, before.get(route), after.get(route))
    ]
    return sorted(changes, key=lambda change: (change.route_name, order.index(change.unit), list(WAYS).index(change.way)))


def dearer(changes: Iterable[FeltChange]) -> list[FeltChange]:
    return [change for change in changes if change.is_dearer]


def _by_route(version: PriceVersion | None) -> dict[str, dict[str, Price]]:
    found: dict[str, dict[str, Price]] = {}
    for price in Price.objects.filter(version=version) if version else ():
        found.setdefault(price.route_name, {})[price.unit] = price
    return found


def _felt(route: str, unit: str, before: dict[str, Price] | None, after: dict[str, Price] | None) -> Iterator[FeltChange]:
    old, new = _priced(unit, before), _priced(unit, after)
    told: set[str] = set()
    for way in WAYS:
        was, will = _asked(old, way), _asked(new, way)
        if unit == Unit.REQUEST and before is not None and after is not None:  # no price per request: nothing was asked for it
            was, will = was or Fraction(0), will or Fraction(0)
        kind = _kind(was, will)
        if kind == "same" or kind in told:
            continue  # a batch that rises with its price needs no line of its own
        told.add(kind)
        old_per, new_per = (price.per_units if price else 1 for price in (old or new, new or old))
        yield FeltChange(
            route,
            unit,
            way,
            kind,
            None if was is None else was * old_per,
            None if will is None else will * new_per,
            old_per,
            new_per,
        )


def _priced(unit: str, units: dict[str, Price] | None) -> Price | None:
    if units is None:
        return None
    return next((units[name] for name in FAMILIES.get(unit, (unit,)) if name in units), None)


def _asked(price: Price | None, way: str) -> Fraction | None:
    """Nanos for one unit."""
    if price is None:
        return None
    percent = {"call": 100, "batch": price.batch_percent, "own_key": price.own_key_percent}[way]
    return Fraction(price.amount_nanos * percent, price.per_units * 100)


def _kind(old: Fraction | None, new: Fraction | None) -> str:
    if old is None or new is None:
        return "new" if old is None else "gone"
    return "up" if new > old else "down" if new < old else "same"


def _told(nanos: Fraction | None) -> str | None:
    return None if nanos is None else f"{to_brl(-(-nanos.numerator // nanos.denominator)):f}"


def compare_lines(name: tuple[str, str], old: Price | None, new: Price | None, rate: Decimal | None) -> PriceChange:
    """One unit of one route before and after; the markup is over the cost at `rate`."""
    percent = None
    if old is None or new is None:
        kind = "new" if old is None else "gone"
    else:
        before, after = old.amount_nanos * new.per_units, new.amount_nanos * old.per_units  # per as many units as each other
        kind = "up" if after > before else "down" if after < before else "same"
        percent = (Decimal(100 * (after - before)) / before).quantize(Decimal("0.1")) if before else None
    cost_nanos = cost_of_line(new, rate) if new else 0
    return PriceChange(
        *name, kind=kind, old_nanos=old.amount_nanos if old else None, new_nanos=new.amount_nanos if new else None,
        percent=percent, markup=(Decimal(new.amount_nanos) / cost_nanos).quantize(Decimal("0.001")) if new and cost_nanos else None,
        old_per=tell_per(old.unit, old.per_units) if old else "", new_per=tell_per(new.unit, new.per_units) if new else "",
    )  # fmt: skip
