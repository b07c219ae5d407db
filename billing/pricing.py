"""What a call costs. Pure: no Django, no database, no clock; used by the gateway's hot path and by billing's verbs.

A call's gross amount = ceil(Σ quantity_k · amount_k / per_units_k), one ceil per call, over the exact sum. The token units are
disjoint: one token falls in exactly one of them. A unit without a price of its own takes its family's: cached input and cache
write take input's, reasoning takes output's. A unit that is used and has no price at all raises PriceMissing: never free.

| prices, R$ per million tokens | usage | gross in nanos |
|---|---|---|
| input 1, output 2 | 1000 input, 500 output | 2000000 |
| input 1, output 2 | 1 input | 1000 |
| input 0.000000001 | 1 input | 1 |
| input 0.3333, output 0.7777 | 7 input, 3 output | 4667 |
| input 0.000000001, output 0.000000001 | 1 input, 1 output | 1 |
| input 1, cached_input 0.1 | 100 input, 900 cached_input | 190000 |
| input 1 | 100 input, 900 cached_input | 1000000 |
| input 1, output 8 | 10 input, 10 output, 90 reasoning | 810000 |
| input 1, output 8, reasoning 4 | 10 input, 10 output, 90 reasoning | 450000 |
| input 1, request 0.01 | 1000 input, 1 requests | 11000000 |
| input 1 | nothing | 0 |

(`request` is priced per request, the others per million.)

The volume discount is marginal on the month's cumulative gross S: net = F(S + gross) − F(S), where F(s) is s less, for each
tier, its share of what lies above its threshold, rounded down to one nano once. So a month's total is F(S at the end) − F(0) in
whatever order, batch or process its calls were settled. The ledger's SQL (`billing/sql/tiers.sql`) computes the same F.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm

from billing.errors import PriceMissing

# Each bucket of a Usage with the units that may price it, its own first.
_BUCKETS = (
    ("input_tokens", ("input",)),
    ("cached_input_tokens", ("cached_input", "input")),
    ("cache_write_tokens", ("cache_write", "input")),
    ("output_tokens", ("output",)),
    ("reasoning_tokens", ("reasoning", "output")),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used; the buckets are disjoint."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 1


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """`amount_nanos` is asked and `cost_nanos` paid upstream for `per_units` units. A cost of 0 means unknown."""

    amount_nanos: int
    cost_nanos: int = 0
    per_units: int = 1_000_000


@dataclass(frozen=True, slots=True)
class PriceList:
    """The prices of one route in one frozen edition of the book. `units` is keyed by the unit's name (`input`, `request`…)."""

    version_id: int
    version_label: str
    units: Mapping[str, UnitPrice]
    _scale: int = field(init=False, repr=False, compare=False)  # common denominator of all per_units
    _amounts: tuple[int | None, ...] = field(init=False, repr=False, compare=False)  # per bucket and per request, × _scale
    _costs: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scale = lcm(*(price.per_units for price in self.units.values()))
        found = [next((self.units[unit] for unit in units if unit in self.units), None) for _, units in _BUCKETS]
        per_request = self.units.get("request", UnitPrice(0, 0, 1))
        amounts = [None if price is None else price.amount_nanos * (scale // price.per_units) for price in found]
        costs = [0 if price is None else price.cost_nanos * (scale // price.per_units) for price in found]
        object.__setattr__(self, "_scale", scale)
        object.__setattr__(self, "_amounts", (*amounts, per_request.amount_nanos * scale // per_request.per_units))
        object.__setattr__(self, "_costs", (*costs, per_request.cost_nanos * scale // per_request.per_units))


@dataclass(frozen=True, slots=True)
class Tier:
    """`discount_bps` hundredths of a percent off the part of the month's gross above `above_nanos`."""

    above_nanos: int
    discount_bps: int


def price_usage(prices: PriceList, usage: Usage) -> int:
    """The call's gross amount in nanos. Raises PriceMissing for a unit that was used and has no price."""
    total = 0
    for quantity, amount in zip(_quantities(usage), prices._amounts, strict=True):
        if quantity:
            if amount is None:
                raise PriceMissing("Este modelo está sem preço para o que foi usado.")
            total += quantity * amount
    return -(-total // prices._scale)


def cost_of(prices: PriceList, usage: Usage) -> int:
    """What the upstream asks us for the call, in nanos, rounded up; 0 where its cost is unknown."""
    total = sum(quantity * cost for quantity, cost in zip(_quantities(usage), prices._costs, strict=True))
    return -(-total // prices._scale)


def price_ceiling(prices: PriceList, *, input_tokens: int, output_tokens: int, requests: int = 1) -> int:
    """The most that a call with so many tokens can cost, undiscounted, however its tokens fall in the buckets.

    Raises PriceMissing where input or output is asked for and has no price at all.
    """
    *buckets, per_request = prices._amounts
    total = requests * (per_request or 0)
    for tokens, amounts in ((input_tokens, buckets[:3]), (output_tokens, buckets[3:])):
        if tokens:
            known = [amount for amount in amounts if amount is not None]
            if not known:
                raise PriceMissing("Este modelo está sem preço.")
            total += tokens * max(known)
    return -(-total // prices._scale)


def net_of(gross_nanos: int, tiers: Sequence[Tier]) -> int:
    """F: what a month of `gross_nanos` comes to after the volume discount. `tiers` may be in any order, empty for none."""
    discount = 0
    upper: int | None = None
    for tier in sorted(tiers, key=lambda tier: tier.above_nanos, reverse=True):
        reached = gross_nanos if upper is None else min(gross_nanos, upper)
        discount += max(0, reached - tier.above_nanos) * tier.discount_bps
        upper = tier.above_nanos
    return gross_nanos - -(-discount // 10_000)


def net_between(before_nanos: int, gross_nanos: int, tiers: Sequence[Tier]) -> int:
    """The net amount of a call of `gross_nanos` in a month that stood at `before_nanos`: F(S + gross) − F(S)."""
    return net_of(before_nanos + gross_nanos, tiers) - net_of(before_nanos, tiers)


def next_tier(gross_nanos: int, tiers: Sequence[Tier]) -> Tier | None:
    """The next threshold that a month of `gross_nanos` has not passed; None in the last tier."""
    ahead = [tier for tier in tiers if tier.above_nanos > gross_nanos]
    return min(ahead, key=lambda tier: tier.above_nanos, default=None)


def tier_at(gross_nanos: int, tiers: Sequence[Tier]) -> Tier | None:
    """The tier that the next nano falls in; None where it has no discount."""
    passed = [tier for tier in tiers if tier.above_nanos <= gross_nanos]
    return max(passed, key=lambda tier: tier.above_nanos, default=None)


def _quantities(usage: Usage) -> tuple[int, int, int, int, int, int]:
    return (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.requests,
    )
