"""The days that a read of `/api/v1` covers: from `first_on` to `last_on`, both included, in America/Sao_Paulo."""

from __future__ import annotations

import datetime as dt
from typing import Any

from rest_framework import serializers

from billing.periods import DAYS_MAX
from tokia import clock
from tokia.manners import ApiError, Shape

DAYS = 30
FIRST_YEAR = 2020


class DaysQuery(Shape):
    first_on = serializers.DateField(
        required=False, help_text="O primeiro dia, de America/Sao_Paulo; sem ele, 30 dias até o último."
    )
    last_on = serializers.DateField(required=False, help_text="O último dia, incluído; sem ele, hoje.")


def read_days(query: dict[str, Any]) -> tuple[dt.date, dt.date]:
    """Raises ApiError for a period that ends before it starts, or longer than DAYS_MAX."""
    last_on: dt.date = query.get("last_on") or clock.today_in_brazil()
    first_on: dt.date = query.get("first_on") or max(last_on, dt.date(FIRST_YEAR, 2, 1)) - dt.timedelta(days=DAYS - 1)
    if first_on > last_on or (last_on - first_on).days > DAYS_MAX or first_on.year < FIRST_YEAR or last_on.year > 9_000:
        raise ApiError(400, f"Escolha um período de até {DAYS_MAX} dias, desde {FIRST_YEAR}.", param="first_on")
    return first_on, last_on


def starts_at(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), clock.SAO_PAULO)
