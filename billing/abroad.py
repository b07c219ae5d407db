"""What US dollars cost in Brazil by an international card, and what else a comparison with it stands on. Pure.

| line | reckoned from |
|---|---|
| commercial | dollars × PTAX |
| spread | commercial × the card's spread |
| IOF | (commercial + spread) × the rate: the tax is on what the bank converts at its own dollar |
| import taxes | commercial × each rate, where the buyer pays them; plainly added, without the gross-up of the withheld tax |

Every line is rounded to the nearest nano, half up, so that the lines add up to the total that is shown.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

BPS = 10_000  # hundredths of a percent in a whole


@dataclass(frozen=True, slots=True)
class Premise:
    """One number that a comparison stands on, as a reader may check it."""

    name: str
    label: str
    value: str  # `3,5%`, `US$ 24,00`
    valid_from: dt.date
    checked_on: dt.date
    source: str
    source_url: str = ""
    is_old: bool = False  # nobody has looked at the source for too long


@dataclass(frozen=True, slots=True)
class ImportTax:
    label: str
    rate_bps: int


@dataclass(frozen=True, slots=True)
class Abroad:
    """What one amount in dollars comes to, in nano-reais, line by line."""

    usd_nanos: int
    commercial_nanos: int
    spread_nanos: int
    iof_nanos: int
    import_nanos: tuple[tuple[str, int], ...] = ()

    @property
    def import_total_nanos(self) -> int:
        return sum(nanos for _, nanos in self.import_nanos)

    @property
    def total_nanos(self) -> int:
        return self.commercial_nanos + self.spread_nanos + self.iof_nanos + self.import_total_nanos


@dataclass(frozen=True, slots=True)
class ComparisonRates:
    """Today's numbers of the comparison, each with its source. What nobody entered is None, and so is what needs it."""

    reais_per_dollar: Decimal | None = None
    quoted_at: dt.datetime | None = None
    quoted_by: str = ""
    is_quotation_old: bool = False
    card_spread_bps: int | None = None
    iof_bps: int | None = None
    import_taxes: tuple[ImportTax, ...] = ()
    hosted_bps: int | None = None  # another hosted gateway, on what is bought
    hosted_least_usd_nanos: int = 0  # its least per purchase
    infrastructure_usd_nanos: int | None = None  # a gateway of one's own, a month
    premises: tuple[Premise, ...] = field(default=())

    @property
    def is_complete(self) -> bool:
        """Every row of the comparison can be reckoned."""
        return self.has_card and self.hosted_bps is not None and self.infrastructure_usd_nanos is not None

    @property
    def has_card(self) -> bool:
        return None not in (self.reais_per_dollar, self.card_spread_bps, self.iof_bps)

    @property
    def has_old_premises(self) -> bool:
        return self.is_quotation_old or any(premise.is_old for premise in self.premises)

    def commercial_nanos(self, usd_nanos: int) -> int | None:
        """Nano-reais of nano-dollars at PTAX, with nothing added; None without a quotation."""
        return None if self.reais_per_dollar is None else at_rate(usd_nanos, self.reais_per_dollar)

    def abroad(self, usd_nanos: int, *, with_import_taxes: bool = False) -> Abroad | None:
        """Line by line; None where PTAX, the spread or IOF is not known."""
        if self.reais_per_dollar is None or self.card_spread_bps is None or self.iof_bps is None:
            return None
        commercial = at_rate(usd_nanos, self.reais_per_dollar)
        spread = part_of(commercial, self.card_spread_bps)
        taxes = tuple((tax.label, part_of(commercial, tax.rate_bps)) for tax in self.import_taxes) if with_import_taxes else ()
        return Abroad(
            usd_nanos=usd_nanos, commercial_nanos=commercial, spread_nanos=spread,
            iof_nanos=part_of(commercial + spread, self.iof_bps), import_nanos=taxes,
        )  # fmt: skip

    def abroad_nanos(self, usd_nanos: int) -> int | None:
        """What a price in nano-dollars costs in nano-reais by an international card: PTAX, spread and IOF."""
        lines = self.abroad(usd_nanos)
        return None if lines is None else lines.total_nanos


def at_rate(usd_nanos: int, reais_per_dollar: Decimal) -> int:
    return int((usd_nanos * reais_per_dollar).to_integral_value(rounding=ROUND_HALF_UP))


def part_of(nanos: int, rate_bps: int) -> int:
    """`rate_bps` of an amount that is not negative, to the nearest nano, half up."""
    return (nanos * rate_bps + BPS // 2) // BPS
