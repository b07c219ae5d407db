"""The first business day of a month in Brazil."""

from __future__ import annotations

import datetime as dt

import pytest

from invoices.holidays import first_business_day, is_business_day


@pytest.mark.parametrize(
    ("month", "day"),
    [
        ("2026-01-15", "2026-01-02"),  # the 1st is a holiday
        ("2026-02-01", "2026-02-02"),  # a Sunday
        ("2026-05-31", "2026-05-04"),  # Labour Day is a Friday
        ("2026-08-01", "2026-08-03"),
        ("2026-11-20", "2026-11-03"),  # Sunday, then All Souls' Day
        ("2026-12-01", "2026-12-01"),
        ("2025-03-01", "2025-03-05"),  # a weekend, then Carnival's Monday and Tuesday; Ash Wednesday is a business day
        ("2027-01-01", "2027-01-04"),
    ],
)
def test_it_is_the_first_day_on_which_banks_work(month: str, day: str) -> None:
    assert first_business_day(dt.date.fromisoformat(month)) == dt.date.fromisoformat(day)


@pytest.mark.parametrize("day", ["2026-02-16", "2026-02-17", "2026-04-03", "2026-06-04", "2026-11-20", "2026-12-25", "2026-11-21"])
def test_banks_are_closed(day: str) -> None:
    assert not is_business_day(dt.date.fromisoformat(day))


@pytest.mark.parametrize("day", ["2026-02-18", "2026-12-24", "2026-12-31", "2026-10-28"])
def test_optional_days_of_the_public_service_are_business_days(day: str) -> None:
    assert is_business_day(dt.date.fromisoformat(day))
