"""Amounts, counts and days within the sentences of a page, as its reader's language writes them.

| | Portuguese | English |
|---|---|---|
| `tell_brl(1_234_560_000_000)` | R$ 1.234,56 | R$ 1,234.56 |
| `tell_typed(1_234_560_000_000)`, in a field | 1234,56 | 1234.56 |
| `tell_count(48_219)` | 48.219 | 48,219 |
| `tell_day` | 22/11/2026 | 22 Nov 2026 |
| `tell_day_of_year` | 22/11 | 22 Nov |
| `tell_month_number` | 11/2026 | Nov 2026 |

Outside of a page written in English it is always Portuguese: mails, files and the API are.
"""

from __future__ import annotations

import datetime as dt

from django.utils.translation import get_language

from billing.money import format_brl, to_brl

_SWAPPED = str.maketrans(",.", ".,")


def in_marks(text: str) -> str:
    """A figure written with Brazil's marks, with those of the page's language."""
    return text.translate(_SWAPPED) if _is_english() else text


def tell_brl(nanos: int) -> str:
    return in_marks(format_brl(nanos))


def tell_typed(nanos: int) -> str:
    return in_marks(f"{to_brl(nanos):.2f}".replace(".", ","))


def tell_count(number: int) -> str:
    return in_marks(f"{number:,}".replace(",", "."))


def tell_day(day: dt.date) -> str:
    return _day(day, "%d/%m/%Y", "%-d %b %Y")


def tell_day_of_year(day: dt.date) -> str:
    return _day(day, "%d/%m", "%-d %b")


def tell_month_number(first_on: dt.date) -> str:
    return _day(first_on, "%m/%Y", "%b %Y")


def _day(day: dt.date, portuguese: str, english: str) -> str:
    return day.strftime(english if _is_english() else portuguese)


def _is_english() -> bool:
    return get_language() == "en"
