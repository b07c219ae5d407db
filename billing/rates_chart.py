"""A line of quotations as the points of an SVG, with the locked rate across it. Pure geometry, in integers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.models import ExchangeRate

WIDTH, HEIGHT, EDGE = 720, 160, 8


@dataclass(frozen=True, slots=True)
class RatesChart:
    points: str  # of a polyline
    locked_y: int | None
    lowest: ExchangeRate
    highest: ExchangeRate
    first_at: dt.datetime
    last_at: dt.datetime
    width: int = WIDTH
    height: int = HEIGHT


def draw_rates(rates: Sequence[ExchangeRate], *, locked: ExchangeRate | None) -> RatesChart | None:
    """The rates, oldest first; None where there is no line to draw."""
    if len(rates) < 2:
        return None
    shown = [rate.rate for rate in rates] + ([locked.rate] if locked else [])
    low, high = min(shown), max(shown)
    first_at, last_at = rates[0].quoted_at, rates[-1].quoted_at
    span = max(1, int((last_at - first_at).total_seconds()))

    def y_of(rate: Decimal) -> int:
        share = (rate - low) / (high - low) if high > low else Decimal("0.5")
        return HEIGHT - EDGE - int(share * (HEIGHT - 2 * EDGE))

    xs = (EDGE + int((rate.quoted_at - first_at).total_seconds()) * (WIDTH - 2 * EDGE) // span for rate in rates)
    return RatesChart(
        points=" ".join(f"{x},{y_of(rate.rate)}" for x, rate in zip(xs, rates, strict=True)),
        locked_y=y_of(locked.rate) if locked else None,
        lowest=min(rates, key=lambda rate: rate.rate),
        highest=max(rates, key=lambda rate: rate.rate),
        first_at=first_at,
        last_at=last_at,
    )
