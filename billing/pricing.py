"""What a call costs. Pure: no Django, no database, no clock; used by the gateway's hot path and by billing's verbs.

A call's gross amount = ceil(Σ quantity_k · amount_k / per_units_k), one ceil per call, over the exact sum. The token units are
disjoint: one token falls in exactly one of them. A token unit without a price of its own takes its family's: cached input, cache
write, audio input and image input take input's; reasoning, audio output and image output take output's. Images, seconds of audio,
characters and searches have no family. A unit that is used and has no price at all raises PriceMissing: never free.

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
| input 1, audio_input 16 | 100 input, 50 audio_input | 900000 |
| input 1, output 4 | 100 audio_input, 10 image_input, 20 audio_output, 30 image_output | 310000 |
| input 5, image_input 8, output 20, image_output 32 | 12 input, 300 image_input, 1056 image_output | 36252000 |
| output 10, reasoning 12, audio_output 80 | 7 output, 5 reasoning, 90 audio_output | 7330000 |
| image 0.25 | 3 images | 750000000 |
| audio_second 1.94 | 61 audio_seconds | 32872223 |
| character 0.09 | 1234 characters | 111060000 |
| search 0.012, request 0.01 | 2 searches, 1 requests | 34000000 |
| input 0.000000001, character 0.000000001, image 0.5 | 1 input, 1 characters, 1 images | 500000001 |

(Tokens are priced per million, characters per thousand, sound per hour, the others one by one: `per_units_of`.)

The volume discount is marginal on the month's cumulative gross S: net = F(S + gross) − F(S), where F(s) is s less, for each
tier, its share of what lies above its threshold, rounded down to one nano once. So a month's total is F(S at the end) − F(0) in
whatever order, batch or process its calls were settled. The ledger's SQL (`billing/sql/tiers.sql`) computes the same F.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import lcm

import msgspec

from billing.errors import PriceMissing

# Each bucket of a Usage with the units that may price it, its own first. A call of text uses none of MEDIA: those are looked at
# only where one is not zero.
TEXT = (
    ("input_tokens", ("input",)),
    ("cached_input_tokens", ("cached_input", "input")),
    ("cache_write_tokens", ("cache_write", "input")),
    ("output_tokens", ("output",)),
    ("reasoning_tokens", ("reasoning", "output")),
    ("requests", ("request",)),
)
MEDIA = (
    ("audio_input_tokens", ("audio_input", "input")),
    ("image_input_tokens", ("image_input", "input")),
    ("audio_output_tokens", ("audio_output", "output")),
    ("image_output_tokens", ("image_output", "output")),
    ("images", ("image",)),
    ("audio_seconds", ("audio_second",)),
    ("characters", ("character",)),
    ("searches", ("search",)),
)
BUCKETS = TEXT + MEDIA
_PER_UNITS = {"image": 1, "audio_second": 3_600, "character": 1_000, "search": 1, "request": 1}


def per_units_of(unit: str) -> int:
    """For how many of a unit its price is written, where nothing else is said: tokens per million, sound per hour."""
    return _PER_UNITS.get(unit, 1_000_000)


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one call used; the buckets are disjoint: a token of sound or of a picture is in its own bucket and in no other."""

    input_tokens: int = 0  # text that was neither read from a cache nor written into one
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0  # text, without reasoning
    reasoning_tokens: int = 0
    requests: int = 1
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    images: int = 0  # made, where the picture and not its tokens is priced
    audio_seconds: int = 0  # begun seconds of sound
    characters: int = 0  # spoken
    searches: int = 0

    @property
    def is_text(self) -> bool:
        """Nothing but text and requests was used."""
        return not (
            self.audio_input_tokens
            or self.audio_output_tokens
            or self.image_input_tokens
            or self.image_output_tokens
            or self.images
            or self.audio_seconds
            or self.characters
            or self.searches
        )

    @property
    def prompt_tokens(self) -> int:
        """All that went in, in whatever bucket."""
        text = self.input_tokens + self.cached_input_tokens + self.cache_write_tokens
        return text + self.audio_input_tokens + self.image_input_tokens

    @property
    def completion_tokens(self) -> int:
        """All that came out, in whatever bucket."""
        return self.output_tokens + self.reasoning_tokens + self.audio_output_tokens + self.image_output_tokens


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """`amount_nanos` is asked and `cost_nanos` paid upstream for `per_units` units. A cost of 0 means unknown."""

    amount_nanos: int
    cost_nanos: int = 0
    per_units: int = 1_000_000
    batch_percent: int = 100  # of the amount, in a batch
    own_key_percent: int = 100  # of the amount, where the customer's own key at the provider serves: the platform fee


@dataclass(frozen=True, slots=True)
class PriceList:
    """The prices of one route in one frozen edition of the book. `units` is keyed by the unit's name (`input`, `request`…)."""

    version_id: int
    version_label: str
    units: Mapping[str, UnitPrice]
    # × _scale, the common denominator of all per_units: per bucket of TEXT and of MEDIA, and the dearest of what a token of a
    # family can cost: text in, text out, in, out.
    _scale: int = field(init=False, repr=False, compare=False)
    _text: tuple[int | None, ...] = field(init=False, repr=False, compare=False)
    _media: tuple[int | None, ...] = field(init=False, repr=False, compare=False)
    _costs: tuple[int, ...] = field(init=False, repr=False, compare=False)  # per bucket of BUCKETS
    _dearest: tuple[int | None, int | None, int | None, int | None] = field(init=False, repr=False, compare=False)
    # A token of sound or of a picture can cost more than one of text: a ceiling must know whether the call may use them.
    has_dearer_media: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scale = lcm(*(price.per_units for price in self.units.values()))
        found = [next((self.units[unit] for unit in units if unit in self.units), None) for _, units in BUCKETS]
        amounts = [None if price is None else price.amount_nanos * (scale // price.per_units) for price in found]
        if amounts[5] is None:
            amounts[5] = 0  # no price per request is no gap
        costs = [0 if price is None else price.cost_nanos * (scale // price.per_units) for price in found]
        text, media = amounts[: len(TEXT)], amounts[len(TEXT) :]
        dearest = (_dearest(text[:3]), _dearest(text[3:5]), _dearest(text[:3] + media[:2]), _dearest(text[3:5] + media[2:4]))
        for name, value in (("_scale", scale), ("_text", tuple(text)), ("_media", tuple(media)), ("_costs", tuple(costs))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_dearest", dearest)
        object.__setattr__(self, "has_dearer_media", dearest[:2] != dearest[2:])

    def scaled(self) -> PriceList:
        """The same edition's prices of a batch. Exact: nothing is rounded before the one ceil of a call."""
        units = {
            unit: UnitPrice(price.amount_nanos * price.batch_percent, price.cost_nanos * 100, price.per_units * 100)
            for unit, price in self.units.items()
        }
        return PriceList(version_id=self.version_id, version_label=self.version_label, units=units)

    def adjusted(self, margin_bps: int) -> PriceList:
        """The same edition's prices for an organization whose LimitProfile adjusts them; costs stay."""
        units = {
            unit: replace(price, amount_nanos=adjust_amount(price.amount_nanos, margin_bps)) for unit, price in self.units.items()
        }
        return PriceList(version_id=self.version_id, version_label=self.version_label, units=units)

    def for_own_key(self) -> PriceList:
        """The same edition's platform fee, where the customer pays the provider: a part of each price, and no cost. Exact."""
        units = {
            unit: UnitPrice(price.amount_nanos * price.own_key_percent, 0, price.per_units * 100)
            for unit, price in self.units.items()
        }
        return PriceList(version_id=self.version_id, version_label=self.version_label, units=units)


@dataclass(frozen=True, slots=True)
class Tier:
    """`discount_bps` hundredths of a percent off the part of the month's gross above `above_nanos`."""

    above_nanos: int
    discount_bps: int


def adjust_amount(amount_nanos: int, margin_bps: int) -> int:
    """A price with an organization's adjustment, in hundredths of a percent (negative: a discount), up to one nano."""
    return -(-amount_nanos * (10_000 + margin_bps) // 10_000)


def price_usage(prices: PriceList, usage: Usage) -> int:
    """The call's gross amount in nanos. Raises PriceMissing for a unit that was used and has no price."""
    total = 0
    for quantity, amount in zip(_text_of(usage), prices._text):  # noqa: B905 — as long as each other, and asked for on every call
        if quantity:
            if amount is None:
                raise _unpriced()
            total += quantity * amount
    if not usage.is_text:
        total += _sum(zip(_media_of(usage), prices._media, strict=True))
    return -(-total // prices._scale)


def cost_of(prices: PriceList, usage: Usage) -> int:
    """What the upstream asks us for the call, in nanos, rounded up; 0 where its cost is unknown."""
    total = 0
    for quantity, cost in zip(_text_of(usage), prices._costs):  # noqa: B905 — the costs of MEDIA come after
        if quantity:
            total += quantity * cost
    if not usage.is_text:
        total += _sum(zip(_media_of(usage), prices._costs[len(TEXT) :], strict=True))
    return -(-total // prices._scale)


def price_ceiling(
    prices: PriceList,
    *,
    input_tokens: int,
    output_tokens: int,
    requests: int = 1,
    has_media_input: bool = False,
    has_media_output: bool = False,
) -> int:
    """The most that a call with so many tokens can cost, undiscounted, however its tokens fall in the buckets.

    Sound and pictures are tokens of the input or the output like any other where the call may use them, and then any of its
    tokens may be one. Raises PriceMissing where input or output is asked for and has no price at all.
    """
    dearest = prices._dearest
    total = requests * (prices._text[5] or 0)
    if input_tokens:
        dear = dearest[2 if has_media_input else 0]
        if dear is None:
            raise _unpriced()
        total += input_tokens * dear
    if output_tokens:
        dear = dearest[3 if has_media_output else 1]
        if dear is None:
            raise _unpriced()
        total += output_tokens * dear
    return -(-total // prices._scale)


def price_ceiling_of(prices: PriceList, bound: Usage) -> int:
    """The most that a call can cost that uses no more than `bound`, family by family, undiscounted.

    Its text may turn out cached, written or reasoned, and its sound and pictures cached or counted as text; what it uses one by
    one (images, seconds, characters, searches) is of its own unit. Raises PriceMissing where any of it has no price.
    """
    text_in, text_out, _, _ = prices._dearest
    audio_in, image_in, audio_out, image_out, *rest = prices._media
    pairs = [
        (bound.requests, prices._text[5]),
        (bound.input_tokens + bound.cached_input_tokens + bound.cache_write_tokens, text_in),
        (bound.output_tokens + bound.reasoning_tokens, text_out),
        (bound.audio_input_tokens, _dearest([audio_in, text_in])),
        (bound.image_input_tokens, _dearest([image_in, text_in])),
        (bound.audio_output_tokens, _dearest([audio_out, text_out])),
        (bound.image_output_tokens, _dearest([image_out, text_out])),
        *zip((bound.images, bound.audio_seconds, bound.characters, bound.searches), rest, strict=True),
    ]
    return -(-_sum(pairs) // prices._scale)


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


def _text_of(usage: Usage) -> tuple[int, int, int, int, int, int]:
    return (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.requests,
    )


def _media_of(usage: Usage) -> tuple[int, ...]:
    return (
        usage.audio_input_tokens,
        usage.image_input_tokens,
        usage.audio_output_tokens,
        usage.image_output_tokens,
        usage.images,
        usage.audio_seconds,
        usage.characters,
        usage.searches,
    )


def _sum(pairs: Iterable[tuple[int, int | None]]) -> int:
    total = 0
    for quantity, amount in pairs:
        if quantity:
            if amount is None:
                raise _unpriced()
            total += quantity * amount
    return total


def _dearest(amounts: Iterable[int | None]) -> int | None:
    return max((amount for amount in amounts if amount is not None), default=None)


def _unpriced() -> PriceMissing:
    return PriceMissing("Este modelo está sem preço para o que foi usado.")
