"""The formulas against values that are known: textbook tables and worked examples, and laws that hold everywhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.significance import Rate, Sample, is_countable, p_of_means, p_of_rates, p_of_t, p_of_z, wilson


@pytest.mark.parametrize(
    ("z", "p"),
    [(0, 1.0), (1.0, 0.317310507862914), (1.959963984540054, 0.05), (2.575829303548901, 0.01), (-3.0, 0.002699796063260)],
)
def test_it_knows_the_normal_distribution(z: float, p: float) -> None:
    assert p_of_z(z) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [
        # Critical values of the printed tables of Student's distribution, both tails.
        (12.7062047362, 1, 0.05),
        (4.30265272975, 2, 0.05),
        (2.22813885199, 10, 0.05),
        (3.16927267261, 10, 0.01),
        (2.04227245630, 30, 0.05),
        (2.74999565357, 30, 0.01),
        (1.98397151853, 100, 0.05),
        (2.62589052117, 100, 0.01),
        (0.0, 7, 1.0),
        # One degree of freedom is Cauchy's distribution: p = 1 − 2·atan(t)/π. Two: 1 − t/√(2 + t²).
        (3.0, 1, 1 - 2 * math.atan(3.0) / math.pi),
        (3.0, 2, 1 - 3.0 / math.sqrt(11)),
    ],
)
def test_it_knows_students_distribution(t: float, freedom: float, p: float) -> None:
    assert p_of_t(t, freedom=freedom) == pytest.approx(p, rel=1e-6)
    assert p_of_t(-t, freedom=freedom) == pytest.approx(p, rel=1e-6)


@pytest.mark.parametrize("z", [0.5, 1.96, 3.3])
def test_students_distribution_becomes_the_normal_one(z: float) -> None:
    assert p_of_t(z, freedom=5_000_000) == pytest.approx(p_of_z(z), rel=1e-5)


def test_it_computes_welchs_test() -> None:
    """Welch's second example as it is printed in the encyclopedias: t = −1.57 at 9.9 degrees of freedom, p = 0.149; their third:
    t = −2.22 at 24.5, p = 0.036."""
    one = [17.2, 20.9, 22.6, 18.1, 21.7, 21.4, 23.5, 24.2, 14.7, 21.8]
    other = [21.5, 22.8, 21.0, 23.0, 21.6, 23.6, 22.5, 20.7, 23.4, 21.8, 20.7, 21.7, 21.5, 22.5, 23.6, 21.5, 22.5, 23.5, 21.5, 21.8]
    assert p_of_means(_sample(one), _sample(other)) == pytest.approx(0.149, abs=0.0015)
    one = [19.8, 20.4, 19.6, 17.8, 18.5, 18.9, 18.3, 18.9, 19.5, 22.0]
    other = [28.2, 26.6, 20.1, 23.3, 25.2, 22.1, 17.7, 27.6, 20.6, 13.7, 23.2, 17.5, 20.6, 18.0, 23.9, 21.6, 24.3, 20.4, 24.0, 13.2]
    assert p_of_means(_sample(one), _sample(other)) == pytest.approx(0.036, abs=0.0005)


def test_it_says_nothing_of_means_without_a_variance() -> None:
    assert p_of_means(Sample(1, 3.0, 0.0), Sample(50, 9.0, 1.0)) == 1.0
    assert p_of_means(Sample(0, 0.0, 0.0), Sample(0, 0.0, 0.0)) == 1.0
    assert p_of_means(Sample(40, 3.0, 0.0), Sample(40, 3.0, 0.0)) == 1.0
    assert p_of_means(Sample(40, 3.0, 0.0), Sample(40, 4.0, 0.0)) == 0.0


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # Newcombe (1998), table I, the score method without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_it_knows_wilsons_interval(hits: int, n: int, low: float, high: float) -> None:
    found = wilson(Rate(hits, n))
    assert found[0] == pytest.approx(low, abs=5e-5)
    assert found[1] == pytest.approx(high, abs=5e-5)


def test_it_compares_two_rates() -> None:
    """(0.10 − 0.15) / √(0.125 · 0.875 · 2/200) = −1.5119; the square is Pearson's χ² of the table, without correction."""
    assert p_of_rates(Rate(20, 200), Rate(30, 200)) == pytest.approx(p_of_z(1.511857892), rel=1e-6)
    chi_square = 400 * (20 * 170 - 30 * 180) ** 2 / (50 * 350 * 200 * 200)
    assert p_of_rates(Rate(20, 200), Rate(30, 200)) == pytest.approx(p_of_z(math.sqrt(chi_square)), rel=1e-9)
    assert p_of_rates(Rate(0, 200), Rate(0, 100)) == 1.0
    assert p_of_rates(Rate(0, 0), Rate(5, 100)) == 1.0


def test_it_knows_where_counts_are_too_small_for_the_test() -> None:
    assert is_countable(Rate(10, 100), Rate(0, 100))
    assert not is_countable(Rate(9, 100), Rate(0, 100))
    assert not is_countable(Rate(95, 100), Rate(97, 100))
    assert not is_countable(Rate(0, 0), Rate(0, 0))
    assert not is_countable(Rate(50, 100), Rate(0, 0))


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 400), st.integers(1, 400))
def test_its_laws_hold_for_any_rates(one: int, other: int, n: int, m: int) -> None:
    first, second = Rate(min(one, n), n), Rate(min(other, m), m)
    assert 0.0 <= p_of_rates(first, second) <= 1.0
    assert p_of_rates(first, second) == pytest.approx(p_of_rates(second, first))
    low, high = wilson(first)
    assert 0.0 <= low <= first.share <= high <= 1.0


@given(
    st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1e9), st.floats(0, 1e9), st.integers(2, 10_000), st.integers(2, 10_000)
)
def test_its_laws_hold_for_any_means(a: float, b: float, va: float, vb: float, n: int, m: int) -> None:
    one, other = Sample(n, a, va), Sample(m, b, vb)
    assert -1e-9 <= p_of_means(one, other) <= 1.0 + 1e-9
    assert p_of_means(one, other) == pytest.approx(p_of_means(other, one), abs=1e-9)


def _sample(values: list[float]) -> Sample:
    mean = sum(values) / len(values)
    return Sample(len(values), mean, sum((value - mean) ** 2 for value in values) / (len(values) - 1))
