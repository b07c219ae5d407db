"""Business days in Brazil, for documents that are made on the first one of a month.

No business day: Saturdays, Sundays, the national holidays (law 662/1949 and later ones; 20 November since 2024), and days on
which banks are closed by CMN resolution 4.880/2020 although they are no holiday by law: Carnival's Monday and Tuesday and Corpus
Christi. Ash Wednesday and 31 December are business days for us, as they are for payments. Holidays of states and cities are not
looked at: taxpayers are everywhere, and nothing is due on that day; it is only when work begins.
"""

from __future__ import annotations

import datetime as dt
from functools import cache

import holidays

BANKS_CLOSED = ("Carnival", "Corpus Christi")  # of the package's optional days


@cache
def _days_off(year: int) -> frozenset[dt.date]:
    national = holidays.country_holidays("BR", years=year, language="en_US")
    optional = holidays.country_holidays("BR", years=year, categories=("optional",), language="en_US")
    closed = {day for day, name in optional.items() if any(known in name for known in BANKS_CLOSED)}
    return frozenset(national) | closed


def is_business_day(day: dt.date) -> bool:
    return day.weekday() < 5 and day not in _days_off(day.year)


def first_business_day(month: dt.date) -> dt.date:
    """Of the month in which the day lies."""
    day = month.replace(day=1)
    while not is_business_day(day):
        day += dt.timedelta(days=1)
    return day
