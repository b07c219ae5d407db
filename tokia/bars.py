"""Stacked bars per day, as geometry for a template: drawn on the server, so that a chart needs no script and no library. Pure.

Heights and places are integers of a viewBox `WIDTH` × `HEIGHT` that the page stretches; words stand beside it as HTML, unstretched.
Values are integers of whatever unit (nano-reais, tokens, calls); `tell` writes one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1_000, 200
TICKS_MAX = 4
TONES = 6  # classes bar-0 … bar-5; what is the rest of many is bar-rest
REST = "rest"
DATES_MAX = 7


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of the bars. `urls` leads from a day's piece to what it is made of; empty: nowhere."""

    name: str
    values: Sequence[int]  # by day, none negative
    urls: Sequence[str] = ()
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    name: str
    tone: str
    text: str  # the value, written
    url: str
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Column:
    on: dt.date
    text: str  # the day's total, written
    x: int
    width: int
    pieces: list[Piece]  # from the bottom up

    @property
    def middle(self) -> int:
        return self.x + self.width // 2


@dataclass(frozen=True, slots=True)
class Tick:
    text: str
    y: int


@dataclass(frozen=True, slots=True)
class Legend:
    name: str
    tone: str
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    columns: list[Column]
    ticks: list[Tick]  # from the top down, 0 last
    legend: list[Legend]
    dates: list[dt.date]  # some of the days, evenly, for the line below
    width: int = WIDTH
    height: int = HEIGHT


def draw(days: Sequence[dt.date], series: Sequence[Series], *, tell: Callable[[int], str]) -> Chart | None:
    """None where there is nothing to draw: no day, or zeros alone."""
    totals = [sum(one.values[at] for one in series) for at in range(len(days))]
    if not days or not any(totals):
        return None
    top = _top_of(max(totals))
    step = WIDTH / len(days)
    tones = _tones(series)
    columns = []
    for at, day in enumerate(days):
        pieces, below = [], 0
        for one, tone in zip(series, tones, strict=True):
            if value := one.values[at]:
                low, below = below, below + value
                upper, lower = HEIGHT - below * HEIGHT // top, HEIGHT - low * HEIGHT // top
                url = one.urls[at] if one.urls else ""
                pieces.append(Piece(one.name, tone, tell(value), url, min(upper, lower - 1), max(1, lower - upper)))
        x = round(at * step + step * 0.14)
        columns.append(Column(day, tell(totals[at]), x, max(1, round(step * 0.72)), pieces))
    ticks = [Tick(tell(value), HEIGHT - value * HEIGHT // top) for value in _ticks(top)]
    legend = [Legend(one.name, tone, tell(sum(one.values))) for one, tone in zip(series, tones, strict=True)]
    return Chart(columns, ticks, legend, dates=_some_of(days))


def _some_of(days: Sequence[dt.date]) -> list[dt.date]:
    """Evenly spread, the first and the last among them, so that the line below stands where the bars do."""
    shown = min(len(days), DATES_MAX)
    return [days[round(at * (len(days) - 1) / (shown - 1))] for at in range(shown)] if shown > 1 else list(days)


def _tones(series: Sequence[Series]) -> list[str]:
    return [REST if one.is_rest else str(at % TONES) for at, one in enumerate(series)]


def _top_of(most: int) -> int:
    """The next round number: ticks at halves or quarters of it are round too."""
    size = 1
    while size * 10 <= most:
        size *= 10
    return next(size * times for times in (1, 2, 4, 6, 8, 10, 20) if size * times >= most)


def _ticks(top: int) -> list[int]:
    parts = TICKS_MAX if top % TICKS_MAX == 0 else 2 if top % 2 == 0 else 1
    return [top * part // parts for part in range(parts, -1, -1)]
