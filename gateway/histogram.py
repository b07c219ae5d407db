"""Times counted by the buckets they fall into, so that many processes and hours add up, and percentiles can still be read.

Pure: `gateway.vitals` counts with it, `gateway.vitals_reports` reads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

# Upper ends of the buckets in ms, a quarter apart: what stands for a bucket is at most 12.5 % from any time in it. They reach to
# the longest call (GATEWAY_TOTAL_TIMEOUT_MS); one more bucket has no end.
BOUNDS_MS: tuple[int, ...] = tuple(sorted({round(10 * 1.25**step) for step in range(50)}))
BUCKETS = len(BOUNDS_MS) + 1
_LOWEST = (8, *(bound + 1 for bound in BOUNDS_MS))
# As far, in parts of the truth, from the least time of a bucket as from its greatest.
_MIDDLES = (*(round(2 * low * high / (low + high)) for low, high in zip(_LOWEST, BOUNDS_MS, strict=False)), BOUNDS_MS[-1])


def place_of(ms: int) -> int:
    """The bucket of a time."""
    return bisect_left(BOUNDS_MS, ms)


def add_counts(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Bucket by bucket; the shorter one's missing buckets are empty."""
    if len(one) < len(other):
        one, other = other, one
    return [count + (other[place] if place < len(other) else 0) for place, count in enumerate(one)]


def percentiles_of(counts: Sequence[int], percents: Iterable[int]) -> list[int]:
    """Milliseconds under which so many percent of the counted times are, within 12.5 % (from 10 ms on); 0 where none was counted.
    `percents` rise."""
    total, seen, place = sum(counts), 0, -1
    if not total:
        return [0 for _ in percents]
    found = []
    for percent in percents:
        rank = max(1, -(-total * percent // 100))
        while seen < rank:
            place += 1
            seen += counts[place]
        found.append(_MIDDLES[min(place, len(_MIDDLES) - 1)])
    return found
