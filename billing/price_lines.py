"""The arithmetic of a call's price, line by line: what each bucket came to at the prices of its version."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.utils.translation import gettext, gettext_noop

from billing.figures import in_marks
from billing.models import Price, UsageRecord
from billing.money import to_brl
from billing.pricing import BUCKETS, adjust_amount
from billing.units import tell_per

# How each bucket is called on a call's bill.
LABELS = {
    "input_tokens": gettext_noop("entrada"),
    "cached_input_tokens": gettext_noop("entrada em cache"),
    "cache_write_tokens": gettext_noop("escrita em cache"),
    "output_tokens": gettext_noop("saída"),
    "reasoning_tokens": gettext_noop("raciocínio"),
    "requests": gettext_noop("requisição"),
    "audio_input_tokens": gettext_noop("áudio na entrada"),
    "image_input_tokens": gettext_noop("imagem na entrada"),
    "audio_output_tokens": gettext_noop("áudio na saída"),
    "image_output_tokens": gettext_noop("imagem na saída"),
    "images": gettext_noop("imagens"),
    "audio_seconds": gettext_noop("segundos de áudio"),
    "characters": gettext_noop("caracteres"),
    "searches": gettext_noop("buscas"),
}


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One line of a call's arithmetic."""

    label: str
    quantity: int
    price_nanos: int
    per_units: int
    amount: Decimal  # reais, to 28 digits: only the sum is rounded
    per: str  # "/1M", "/imagem"
    percent: int = 100  # of the price: less in a batch, and by the customer's own key

    @property
    def text(self) -> str:
        """At least nine decimals, all of them where there are more; fifteen where there is no end (a second of an hour's price)."""
        whole, _, decimals = f"{round(self.amount, 15):f}".partition(".")
        return in_marks(f"R$\u00a0{int(whole):,}".replace(",", ".") + f",{decimals.rstrip('0'):0<9}")


def price_lines(record: UsageRecord) -> list[PriceLine]:
    """What each bucket of a call came to, at the prices of its version as they are for its organization. Their sum, up to the next
    nano, is its gross."""
    if record.usage_source == UsageRecord.UsageSource.CACHE:
        return []
    prices = {price.unit: price for price in Price.objects.filter(version_id=record.price_version_id, route_name=record.route_name)}
    lines = []
    for name, units in BUCKETS:
        quantity = getattr(record, name)
        price = next((prices[unit] for unit in units if unit in prices), None)
        if quantity and price is not None:
            percent = _percent_of(record, price)
            asked = adjust_amount(price.amount_nanos, record.margin_bps)
            amount = to_brl(quantity * asked * percent) / (100 * price.per_units)
            per = tell_per(price.unit, price.per_units)
            lines.append(PriceLine(gettext(LABELS[name]), quantity, asked, price.per_units, amount, per, percent))
    return lines


def _percent_of(record: UsageRecord, price: Price) -> int:
    if record.is_own_key:
        return price.own_key_percent
    return price.batch_percent if record.is_batch else 100
