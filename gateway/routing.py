"""Who of a route's deployments may be asked, and in which sequence. Pure: what is measured and what is sick is told to it.

A filter never bends: whoever the caller excludes, or asks more than the caller pays, is not asked even where nobody else is left.
Among the others: open circuits last; the customer's own keys where it wants them; the caller's `order`, `sort` and latency budget;
priority; and by weight, drawn anew for each call, or by its session: the same session meets the same deployment in every process,
and another one only while that one is sick.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from billing.pricing import PriceList, per_units_of
from gateway.calls import LatencyBudget, Preferences, ServedDeployment, ServedOwnKey, ServedRoute, Skipped

# Why somebody was not asked (`Skipped.reason`).
REASONS: Final = {
    "only": "not among the caller's provider.only",
    "ignore": "among the caller's provider.ignore",
    "data_collection": "its terms let it train on what it is sent",
    "zdr": "it keeps what it is sent",
    "max_price": "dearer than the caller's provider.max_price",
    "too_slow": "slower than the caller's strict latency budget",
    "unmeasured": "not measured lately, and the caller's latency budget is strict",
    "credential": "its credential is refused by the provider, or spent for this minute",
    "own_key_only": "the customer asks this provider only with its own key",
    "key": "the API key may not use this model",
    "unserved": "without price, deployment or credential now, or of another surface",
    "unsupported": "it can't do what the call asks for",
    "context_window": "the call does not fit into its context",
    "balance": "the balance does not cover what it may cost",
    "budget": "a budget does not cover what it may cost",
    "circuit": "its circuit is open, and others were there",
    "no_fallbacks": "the caller allows no fallbacks",
}
OPEN: Final = "open"  # as `gateway.circuit` says it
OWN_FIRST, OURS, OWN_LAST = 0, 1, 2
RESERVE = 1 << 20  # added to the priority of a customer's own key that is a reserve
FIT, UNKNOWN, SLOW = 0, 1, 2  # to a latency budget
NEVER = 1 << 60
_BITS = (1 << 64) - 1


class Times(Protocol):
    """What was measured of a deployment lately (`gateway.vitals.Measured`); 0: not measured."""

    @property
    def first_token_p50_ms(self) -> int: ...
    @property
    def first_token_p95_ms(self) -> int: ...
    @property
    def total_p50_ms(self) -> int: ...
    @property
    def total_p95_ms(self) -> int: ...
    @property
    def tokens_per_second(self) -> float: ...


class Signs(Protocol):
    """How deployments are doing now."""

    def state(self, deployment: ServedDeployment) -> str: ...
    def times(self, deployment: ServedDeployment) -> Times: ...
    def may_use(self, deployment: ServedDeployment) -> bool: ...


def arrange(
    route: ServedRoute,
    deployments: Sequence[ServedDeployment],
    preferences: Preferences,
    *,
    signs: Signs,
    rng: random.Random,
    session: str = "",
    skipped: list[Skipped] | None = None,
) -> list[ServedDeployment]:
    """Every deployment that may be asked, once, the best first. `skipped` gets the others. Priced ones only."""
    kept, priced = [], (_Priced(route, route.prices, preferences), _Priced(route, route.own_key_prices, preferences))
    for deployment in deployments:
        reason = refusal_of(deployment, preferences, signs, priced[deployment.is_own_key])
        if not reason:
            kept.append(deployment)
        elif skipped is not None:
            skipped.append(Skipped(reason, route.name, deployment.provider_slug))
    if len(kept) < 2:
        return kept
    seed = session_seed(session) if session else 0
    keyed = [
        (*_key_of(deployment, preferences, signs, priced[deployment.is_own_key], seed, rng), deployment) for deployment in kept
    ]
    keyed.sort()  # no two have the same circuit, so that deployments are never compared
    return [key[-1] for key in keyed]


class _Priced:
    """What a price list says of every deployment that asks it, worked out once per call."""

    __slots__ = ("blend", "reason")

    def __init__(self, route: ServedRoute, prices: PriceList | None, preferences: Preferences) -> None:
        self.reason = ""
        self.blend: tuple[float, ...] = ()
        if prices is None:
            self.reason = "unserved"
        else:
            if preferences.max_price and is_dearer(route, prices, preferences.max_price):
                self.reason = "max_price"
            if preferences.sort == "price":
                self.blend = blend(prices)


def refusal_of(deployment: ServedDeployment, preferences: Preferences, signs: Signs, priced: _Priced) -> str:
    """A word of REASONS; empty where it may be asked."""
    if priced.reason == "unserved":
        return "unserved"
    if not signs.may_use(deployment):
        return "credential"
    slug = deployment.provider_slug
    if preferences.only and slug not in preferences.only:
        return "only"
    if slug in preferences.ignore:
        return "ignore"
    if preferences.denies_training and deployment.trains_on_data:
        return "data_collection"
    if preferences.needs_zero_retention and not deployment.has_zero_retention:
        return "zdr"
    if priced.reason:
        return priced.reason
    budget = preferences.budget
    if budget is not None and budget.is_strict:
        fit = fit_of(signs.times(deployment), budget)
        if fit != FIT:
            return "too_slow" if fit == SLOW else "unmeasured"
    return ""


def prices_of(route: ServedRoute, deployment: ServedDeployment) -> PriceList | None:
    return route.own_key_prices if deployment.is_own_key else route.prices


def is_dearer(route: ServedRoute, prices: PriceList, most: Mapping[str, int]) -> bool:
    """Whether any unit asks more than `most` says for it. A picture that is priced by its tokens has no price to compare: a limit
    per picture excludes it where pictures are what is made."""
    for unit, limit in most.items():
        price = prices.units.get(unit)
        if price is None:
            if unit == "image" and route.surface == "images":
                return True
        elif price.amount_nanos * per_units_of(unit) > limit * price.per_units:
            return True
    return False


def fit_of(times: Times, budget: LatencyBudget) -> int:
    """FIT, SLOW, or UNKNOWN where what the budget is of was not measured."""
    is_median = budget.percentile == 50
    pairs = (
        (budget.total_ms, times.total_p50_ms if is_median else times.total_p95_ms),
        (budget.first_token_ms, times.first_token_p50_ms if is_median else times.first_token_p95_ms),
    )
    fit = FIT
    for limit, measured in pairs:
        if limit and measured > limit:
            return SLOW
        if limit and not measured:
            fit = UNKNOWN
    return fit


def _key_of(
    deployment: ServedDeployment, preferences: Preferences, signs: Signs, priced: _Priced, seed: int, rng: random.Random
) -> tuple[Any, ...]:
    own = OURS
    if deployment.is_own_key:
        own = OWN_LAST if deployment.priority >= RESERVE else OWN_FIRST
    place = 0
    if preferences.preferred:
        slug = deployment.provider_slug
        place = preferences.preferred.index(slug) if slug in preferences.preferred else len(preferences.preferred)
    metric = priced.blend
    slow = 0
    if preferences.budget is not None or preferences.tokens_per_second_min or preferences.sort not in ("", "price"):
        times = signs.times(deployment)
        metric = metric or metric_of(preferences.sort, times)
        is_slow = preferences.budget is not None and fit_of(times, preferences.budget) == SLOW
        slow = is_slow or 0 < times.tokens_per_second < preferences.tokens_per_second_min
    luck = race(seeded_draw(seed, deployment) if seed else rng.random(), deployment.weight)
    is_open = signs.state(deployment) == OPEN
    return (is_open, own, place, metric, slow, deployment.priority, luck, deployment.circuit)


def metric_of(sort: str, times: Times) -> tuple[float, ...]:
    """Of what was measured; a price's is `blend`."""
    if sort == "latency":
        return (times.first_token_p50_ms or times.total_p50_ms or NEVER,)
    if sort == "throughput":
        return (-times.tokens_per_second,)
    return ()


def blend(prices: PriceList) -> tuple[int, int]:
    """What three tokens in and one out come to, at what we ask and at what we pay; of other units, all of them together. Exact
    enough to compare by: nanos per million units."""
    asked = paid = 0
    for unit, price in prices.units.items():
        share = 3 if unit == "input" else 1
        if unit in ("input", "output") or "input" not in prices.units:
            asked += share * price.amount_nanos * 1_000_000 // price.per_units
            paid += share * price.cost_nanos * 1_000_000 // price.per_units
    return asked, paid


def race(draw: float, weight: int) -> float:
    """Exponential times of rate `weight`: the smallest one is a weighted choice, the sequence a weighted sample without
    replacement (Efraimidis and Spirakis 2006). With draws by a hash it is weighted rendezvous hashing. Who weighs nothing is
    asked last."""
    return -math.log(draw or 1e-300) / weight if weight > 0 else math.inf


def session_seed(session: str) -> int:
    """64 bits, the same in every process and for ever; never 0."""
    return int.from_bytes(hashlib.blake2b(session.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def seeded_draw(seed: int, deployment: ServedDeployment) -> float:
    """Between 0 and 1, for this session and this circuit: SplitMix64's finalizer (Steele, Lea, Flood 2014), a third of a hash."""
    bits = (seed ^ (deployment.id * 0x9E3779B97F4A7C15 + deployment.credential_id * 0xD1B54A32D192ED03)) & _BITS
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _BITS
    return ((bits ^ (bits >> 31)) + 0.5) / 18_446_744_073_709_551_616


def hash_draw(text: str) -> float:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 18_446_744_073_709_551_616


def choose_weighted(weights: Sequence[int], draw: float) -> int:
    """The place of one of `weights`, by a draw between 0 and 1."""
    left = draw * sum(weights)
    for place, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return place
    return len(weights) - 1


def with_own_keys(
    route: ServedRoute,
    deployments: Sequence[ServedDeployment],
    own_keys: Iterable[ServedOwnKey],
    *,
    skipped: list[Skipped],
) -> list[ServedDeployment]:
    """The deployments, and a copy of each with the customer's own key at its provider, where its use has a price."""
    if route.own_key_prices is None:
        return list(deployments)
    found = {key.provider_slug: key for key in reversed(tuple(own_keys))}  # of several at one provider, the first
    made: dict[int, ServedDeployment] = {}
    kept = []
    for deployment in deployments:
        key = found.get(deployment.provider_slug)
        if key is None:
            kept.append(deployment)
            continue
        if deployment.id not in made:
            made[deployment.id] = own_copy(deployment, key)
        if key.use == "only":
            skipped.append(Skipped("own_key_only", route.name, deployment.provider_slug))
        else:
            kept.append(deployment)
    return [*made.values(), *kept]


def own_copy(deployment: ServedDeployment, key: ServedOwnKey) -> ServedDeployment:
    """Its limits are the customer's own business."""
    priority = deployment.priority + RESERVE if key.use == "failover" else deployment.priority
    return replace(
        deployment, secret=key.secret, credential_id=-key.id, priority=priority, requests_per_minute=0, tokens_per_minute=0
    )
