"""A model's prices as its page and the price table show them: ours, beside what the same costs abroad by an international card."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from billing.abroad import ComparisonRates
from billing.models import Unit
from billing.units import tell_per
from tokia.showcase import Offer
from tokia.templatetags.tokia import pct

BPS = 10_000
_SEQUENCE = [unit.value for unit in Unit]


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One unit. Our price in nano-reais and the provider's in nano-dollars are for the same `per`."""

    unit: str
    label: str
    per: str  # "/1M", "/imagem"
    nanos: int
    batch_percent: int
    own_key_percent: int
    usd_nanos: int | None = None  # None: no public source tells it
    abroad_nanos: int | None = None  # the same dollars by card: PTAX, spread, IOF; None: one of them is not known
    source: str = ""
    read_on: dt.date | None = None

    @property
    def difference_bps(self) -> int | None:
        """Ours against the card's, in hundredths of a percent; negative: ours is cheaper."""
        if not self.abroad_nanos:
            return None
        more = self.nanos - self.abroad_nanos
        return (abs(more) * BPS // self.abroad_nanos) * (1 if more >= 0 else -1)

    @property
    def difference_told(self) -> str:
        """`12% mais barato`: whole percents, cut towards zero, so that no difference is told larger than it is."""
        if self.difference_bps is None:
            return "—"
        size = abs(self.difference_bps)
        told = pct(size // 100 * 100 if size >= 100 else size)
        if not size:
            return _("igual")
        return (_("{percent} mais caro") if self.difference_bps > 0 else _("{percent} mais barato")).format(percent=told)


def price_rows(offer: Offer, rates: ComparisonRates) -> Iterator[PriceRow]:
    """In the units' own sequence. A chat model's web searches are in its list, as they are on its bill."""
    for unit in sorted(offer.prices.units, key=_SEQUENCE.index):
        price = offer.prices.units[unit]
        listed = offer.listed.get(unit)
        if listed is not None and listed.per_units != price.per_units:
            listed = None  # of another amount: not to be set beside ours
        yield PriceRow(
            unit=unit, label=str(Unit(unit).label), per=tell_per(unit, price.per_units), nanos=price.amount_nanos,
            batch_percent=price.batch_percent, own_key_percent=price.own_key_percent,
            usd_nanos=listed.usd_nanos if listed else None,
            abroad_nanos=rates.abroad_nanos(listed.usd_nanos) if listed else None,
            source=_told(listed.is_from_page, listed.source) if listed else "", read_on=listed.read_on if listed else None,
        )  # fmt: skip


def _told(is_from_page: bool, source: str) -> str:
    return _("página de preços do provedor") if is_from_page else _("conjunto público de preços {name}").format(name=source)
