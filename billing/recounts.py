"""What an organization's own text calls of the last days would have come to at another model's prices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import F, Sum

from accounts.models import Organization
from billing.errors import PriceMissing
from billing.models import UsageDay
from billing.pricing import PriceList, Usage, price_usage
from tokia import clock

DAYS = 30


@dataclass(frozen=True, slots=True)
class TextUse:
    """The text tokens that were used, and what they came to, before the discount by volume."""

    usage: Usage
    gross_nanos: int
    margin_bps: int  # of the organization's LimitProfile: its prices are adjusted by it

    @property
    def tokens(self) -> int:
        return self.usage.prompt_tokens + self.usage.completion_tokens


def text_use(organization: Organization, *, route_names: Collection[str], days: int = DAYS) -> TextUse | None:
    """Of calls to these models that our keys served; one query. None where there were none."""
    since = clock.today_in_brazil() - dt.timedelta(days=days - 1)
    rows = UsageDay.everywhere.filter(organization=organization, day__gte=since, route_name__in=route_names, is_own_key=False)
    sums = rows.aggregate(
        input_tokens=Sum("input_tokens"), cached_input_tokens=Sum("cached_input_tokens"),
        cache_write_tokens=Sum("cache_write_tokens"), output_tokens=Sum("output_tokens"),
        reasoning_tokens=Sum("reasoning_tokens"), requests=Sum(F("calls") - F("failed")), gross_nanos=Sum("gross_nanos"),
    )  # fmt: skip
    gross = int(sums.pop("gross_nanos") or 0)
    usage = Usage(**{name: int(quantity or 0) for name, quantity in sums.items()})
    if not usage.prompt_tokens + usage.completion_tokens:
        return None
    profile = organization.limit_profile
    return TextUse(usage=usage, gross_nanos=gross, margin_bps=profile.margin_bps if profile else 0)


def recount(use: TextUse, prices: PriceList) -> int | None:
    """Nanos at these list prices, as the organization would be asked; None where the model lacks a price for what was used."""
    try:
        return price_usage(prices.adjusted(use.margin_bps), use.usage)
    except PriceMissing:
        return None
