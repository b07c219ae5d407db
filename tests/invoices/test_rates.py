"""Where a DPS tells the ISS rate that the accountant wrote down, and where it may not."""

from __future__ import annotations

import datetime as dt

import pytest

from invoices.building import terms_for
from invoices.models import TaxTerms

DAY = dt.date(2026, 12, 1)


@pytest.mark.parametrize(
    "regime, assessment, channel, told",
    [
        ("1", "", "sefin", None),  # E0617
        ("3", "2", "sefin", None),  # E0635
        ("3", "1", "sefin", 250),  # E0621, where it is withheld
        ("1", "", "focus", 250),  # E0619: the city keeps no rates in the national system
        ("3", "2", "focus", 250),  # E0640
    ],
)
def test_it_tells_the_rate_only_where_the_city_does_not(regime: str, assessment: str, channel: str, told: int | None) -> None:
    terms = TaxTerms(starts_on=DAY, regime=regime, simples_assessment=assessment, iss_bps=250)
    assert terms_for(terms, day=DAY, channel=channel).iss_bps == told
