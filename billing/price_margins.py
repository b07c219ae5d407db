"""What a price leaves over its landed cost, and which prices one administrator alone may not publish.

Landed cost = US$ × R$ per US$ × (1 + landed percent), up to the next nano: what it costs us here, with the taxes on sending the
dollars (`LANDED_COST_PERCENT`, a dated list). Margin = (price − landed cost) ÷ price.

A line is judged at the dearer of two rates (its version's, the newest quotation) and of two costs (the line's, the newest
imported): nobody passes the guard by typing a low dollar or a low cost. The hardest terms that any organization has (the least
`LimitProfile.margin_bps`, the largest discount of a plan in use) count too: the last real of the heaviest month is sold at them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

from django.conf import settings
from django.db.models import Max, Min, Q

from accounts.models import LimitProfile
from billing.costs import latest_costs
from billing.models import Contract, ExchangeRate, Price, PriceVersion, ProviderCost, Unit, VolumeTier, Wallet
from billing.money import BRL, to_brl
from billing.units import tell_per
from tokia import clock

EXACT = Context(prec=60)  # 18 + 12 + 6 + 10 digits at most: no product is rounded before the ceil
BPS = 10_000
FLAGS = {
    "below_cost": "vende abaixo do custo",
    "thin": "margem abaixo do mínimo",
    "below_at_discount": "no desconto máximo vende abaixo do custo",
    "batch_at_discount": "em lote, no desconto máximo, vende abaixo do custo",
    "unknown_cost": "custo desconhecido",
}
STOPPING = frozenset({"below_cost", "thin", "below_at_discount"})  # these need a second administrator; the others are told


@dataclass(frozen=True, slots=True)
class Terms:
    """The hardest for us that any organization has today, in hundredths of a percent."""

    margin_bps: int  # added to prices: negative or zero
    discount_bps: int  # of the highest tier in use

    def kept_of(self, amount_nanos: int) -> int:
        """What is left of an amount under both, × 10⁸: exact, to be compared with a cost × 10⁸."""
        return amount_nanos * (BPS + self.margin_bps) * (BPS - self.discount_bps)


@dataclass(frozen=True, slots=True)
class LineMargin:
    """One line of a version against its landed cost; both per `per_units`."""

    route_name: str
    unit: str
    per_units: int
    amount_nanos: int
    landed_nanos: int | None  # empty: the cost is unknown
    flags: tuple[str, ...]

    @property
    def margin_bps(self) -> int | None:
        if self.landed_nanos is None or not self.amount_nanos:
            return None
        return (self.amount_nanos - self.landed_nanos) * BPS // self.amount_nanos

    @property
    def unit_label(self) -> str:
        return str(Unit(self.unit).label)

    @property
    def per(self) -> str:
        return tell_per(self.unit, self.per_units)

    @property
    def flag_labels(self) -> list[str]:
        return [FLAGS[flag] for flag in self.flags]

    @property
    def is_stopping(self) -> bool:
        return not STOPPING.isdisjoint(self.flags)

    def as_json(self) -> dict[str, Any]:
        """For the rows that keep what was pointed out; money as strings in reais."""
        return {
            "route": self.route_name, "unit": self.unit_label, "per": self.per, "price": f"{to_brl(self.amount_nanos):f}",
            "landed": None if self.landed_nanos is None else f"{to_brl(self.landed_nanos):f}", "margin_bps": self.margin_bps,
            "flags": self.flag_labels,
        }  # fmt: skip


# ── Arithmetic ───────────────────────────────────────────────────────────────────────────────────────────────────────
def cost_in_nanos(cost_usd: Decimal, rate: Decimal) -> int:
    """US dollars → nano-reais, up to the next nano."""
    return amount_for(cost_usd, rate, Decimal(1))


def amount_for(cost_usd: Decimal, rate: Decimal, markup: Decimal) -> int:
    """The sale price: ceil(cost × rate × markup × 10⁹)."""
    exact = EXACT.multiply(EXACT.multiply(EXACT.multiply(cost_usd, rate), markup), BRL)
    return int(exact.to_integral_value(rounding=ROUND_CEILING))


def landed_percent(on: dt.date) -> Decimal:
    """What is added to a cost on a day: the newest entry of LANDED_COST_PERCENT that has begun."""
    begun = [percent for since, percent in settings.LANDED_COST_PERCENT if since is None or since <= on]
    return begun[-1] if begun else Decimal(0)


def landed_in_nanos(cost_usd: Decimal, rate: Decimal, percent: Decimal) -> int:
    """ceil(cost × rate × (1 + percent ÷ 100) × 10⁹)."""
    return amount_for(cost_usd, rate, Decimal(1) + percent / 100)


# ── Judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def hardest_terms() -> Terms:
    least = LimitProfile.objects.filter(organizations__isnull=False).aggregate(least=Min("margin_bps"))["least"]
    month = clock.today_in_brazil().replace(day=1)
    agreed = Contract.objects.filter(is_cancelled=False).filter(Q(last_month__isnull=True) | Q(last_month__gte=month))
    plans = Q(plan__is_default=True) | Q(plan__in=agreed.values("plan"))
    plans |= Q(plan__in=Wallet.everywhere.filter(volume_plan__isnull=False).values("volume_plan"))
    most = VolumeTier.objects.filter(plans, plan__published_at__isnull=False).aggregate(most=Max("discount_bps"))["most"]
    return Terms(margin_bps=min(0, least or 0), discount_bps=most or 0)


def judge_version(version: PriceVersion, *, at: dt.datetime | None = None, rate: Decimal | None = None) -> list[LineMargin]:
    """Every line of a version by route and unit, at an instant (now, if empty) and a rate (the guard's, if empty)."""
    order = [unit.value for unit in Unit]
    lines = Price.objects.filter(version=version)
    judged = judge_prices(lines, rate=rate or guard_rate(version.exchange_rate), at=at)
    return sorted(judged, key=lambda line: (line.route_name, order.index(line.unit)))


def sold_below_cost_at_discount() -> list[LineMargin]:
    """The lines in force that the hardest terms take below their landed cost: what a new plan, contract or profile has done."""
    now = clock.now()
    published = PriceVersion.objects.filter(status=PriceVersion.Status.PUBLISHED, book__is_default=True, effective_at__lte=now)
    version = published.select_related("exchange_rate").order_by("-effective_at", "-number").first()
    return [line for line in judge_version(version) if "below_at_discount" in line.flags] if version else []


def judge_prices(prices: Iterable[Price], *, rate: Decimal | None, at: dt.datetime | None = None) -> list[LineMargin]:
    """The same for lines at hand, in their sequence."""
    costs, terms = latest_costs(), hardest_terms()
    percent = landed_percent((at or clock.now()).astimezone(clock.SAO_PAULO).date())
    judged = []
    for price in prices:
        usd = _dearer_cost(price, costs.get((price.provider_name, price.upstream_model), {}).get(price.unit))
        landed = landed_in_nanos(usd, rate, percent) if usd is not None and rate is not None else None
        judged.append(
            LineMargin(
                price.route_name, price.unit, price.per_units, price.amount_nanos, landed,
                tuple(_flags(price.amount_nanos, landed, batch_percent=price.batch_percent, terms=terms)),
            )
        )  # fmt: skip
    return judged


def _flags(amount: int, landed: int | None, *, batch_percent: int, terms: Terms) -> Iterable[str]:
    if landed is None:
        yield "unknown_cost"
        return
    if amount < landed:
        yield "below_cost"
        return
    if (amount - landed) * 100 < settings.PRICE_MARGIN_MIN_PERCENT * amount:
        yield "thin"
    if terms.kept_of(amount) < landed * BPS * BPS:
        yield "below_at_discount"
    elif terms.kept_of(amount * batch_percent) < landed * BPS * BPS * 100:
        yield "batch_at_discount"


def guard_rate(rate: ExchangeRate | None) -> Decimal | None:
    """The dearer of a version's rate and the newest quotation."""
    newest = ExchangeRate.objects.order_by("-quoted_at", "-id").first()
    rates = [found.rate for found in (rate, newest) if found is not None]
    return max(rates, default=None)


def _dearer_cost(price: Price, newest: ProviderCost | None) -> Decimal | None:
    if newest is None or newest.per_units != price.per_units:
        return price.cost_usd
    return newest.usd if price.cost_usd is None else max(price.cost_usd, newest.usd)


def digest_of(prices: Iterable[Price]) -> str:
    """SHA-256 of all that a customer would be asked, and of what it costs us: what an approval is about."""
    lines = sorted(
        f"{price.route_name}|{price.unit}|{price.per_units}|{price.amount_nanos}|{price.batch_percent}|{price.own_key_percent}"
        f"|{price.cost_usd}|{price.provider_name}|{price.upstream_model}|{price.override_reason}"
        for price in prices
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
