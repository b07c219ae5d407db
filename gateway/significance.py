"""Whether a difference is more than chance: the few formulas that an experiment's page needs, without a library. Pure.

Rates (errors, feedback): Wilson's interval, and the z-test of two proportions with the pooled variance. Means (cost, latency):
Welch's t-test, whose p-value comes from Student's distribution by the regularized incomplete beta function (Lentz's continued
fraction; Numerical Recipes §6.4). Floats on purpose: nothing here is an amount that anybody pays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054  # both tails of the normal distribution leave 5 % outside
ROUNDS_MAX = 300
PRECISION = 1e-12
TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Sample:
    """Measurements of one kind: how many, their mean and their variance (n − 1 below)."""

    n: int
    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of `n` there were that had it."""

    hits: int
    n: int

    @property
    def share(self) -> float:
        return self.hits / self.n if self.n else 0.0


def wilson(rate: Rate, *, z: float = Z_95) -> tuple[float, float]:
    """Where the true share lies with the confidence of `z`: (low, high). All of [0, 1] where nothing was counted."""
    if not rate.n:
        return 0.0, 1.0
    share, n, square = rate.share, rate.n, z * z
    middle = share + square / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    low, high = (middle - spread) / (1 + square / n), (middle + spread) / (1 + square / n)
    return (0.0 if rate.hits == 0 else max(0.0, low)), (1.0 if rate.hits == n else min(1.0, high))


def p_of_rates(one: Rate, other: Rate) -> float:
    """How likely chance alone makes two shares differ so much (both tails). 1 where they do not differ or nothing was counted."""
    if not one.n or not other.n:
        return 1.0
    pooled = (one.hits + other.hits) / (one.n + other.n)
    variance = pooled * (1 - pooled) * (1 / one.n + 1 / other.n)
    return p_of_z((one.share - other.share) / math.sqrt(variance)) if variance > 0 else 1.0


def is_countable(one: Rate, other: Rate, *, expected_min: int = 5) -> bool:
    """Whether the z-test holds: on both sides, with and without, at least `expected_min` would be expected (Cochran's rule)."""
    total = one.n + other.n
    if not total:
        return False
    hits = one.hits + other.hits
    return all(side.n * count >= expected_min * total for side in (one, other) for count in (hits, total - hits))


def p_of_means(one: Sample, other: Sample) -> float:
    """Welch's t-test, both tails. 1 where there are too few for a variance; 0 where both never vary and differ."""
    if one.n < 2 or other.n < 2:
        return 1.0
    first, second = one.variance / one.n, other.variance / other.n
    error = first + second
    if error <= 0:
        return 1.0 if one.mean == other.mean else 0.0
    weight = first / error
    freedom = 1 / (weight * weight / (one.n - 1) + (1 - weight) * (1 - weight) / (other.n - 1))
    return p_of_t((one.mean - other.mean) / math.sqrt(error), freedom=freedom)


def p_of_z(z: float) -> float:
    """Both tails of the normal distribution beyond |z|."""
    return math.erfc(abs(z) / math.sqrt(2))


def p_of_t(t: float, *, freedom: float) -> float:
    """Both tails of Student's distribution beyond |t|."""
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):  # else the fraction converges slowly: by symmetry
        return front * _beta_fraction(x, a, b) / a
    return 1.0 - front * _beta_fraction(1 - x, b, a) / b


def _beta_fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, ROUNDS_MAX + 1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _off_zero(1 + term * d)
            c = _off_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < PRECISION:
            break
    return value


def _off_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
