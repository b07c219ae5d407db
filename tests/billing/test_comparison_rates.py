"""The numbers of the price comparison: dated, sourced, never rewritten."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.utils import IntegrityError
from pytest_django import Settings

from billing import comparison_rates
from billing.comparison_rates import ComparisonRates, ParameterRefused, current_rates, enter_parameter
from billing.exchange import PTAX_SOURCE
from billing.models import ComparisonParameter, ExchangeRate
from tokia import clock

pytestmark = pytest.mark.django_db

TODAY = clock.today_in_brazil


def quote(rate: str = "5.25", *, age_days: int = 0) -> ExchangeRate:
    return ExchangeRate.objects.create(rate=Decimal(rate), source=PTAX_SOURCE, quoted_at=clock.now() - dt.timedelta(days=age_days))


def enter(name: str, value: str, *, days: int = 0, **fields: object) -> ComparisonParameter:
    given = {"source": "Fonte de teste", "by": "ana@tokia.test", **fields}
    return enter_parameter(name=name, value=Decimal(value), valid_from=TODAY() + dt.timedelta(days=days), **given)  # type: ignore[arg-type]


def test_it_starts_with_every_number_dated_and_sourced() -> None:
    rates = current_rates()
    assert comparison_rates.missing_parameters() == []
    assert {premise.name for premise in rates.premises} == set(ComparisonParameter.Name.values)
    assert all(premise.source and premise.valid_from <= TODAY() for premise in rates.premises)


def test_it_seeds_only_what_is_missing() -> None:
    assert comparison_rates.seed_parameters() == 0


def test_the_newest_number_whose_day_has_come_counts() -> None:
    enter("iof", "2.38", days=1)
    enter("iof", "3.38", days=-1)
    enter("iof", "3.5", days=-2)
    assert current_rates().iof_bps == 338
    assert comparison_rates.parameters_in_force(on=TODAY() + dt.timedelta(days=1))["iof"].value == Decimal("2.38")
    enter("iof", "3.40", days=-1)  # a slip, corrected the same day
    assert current_rates().iof_bps == 340


@pytest.mark.parametrize(
    "statement", ["UPDATE billing_comparisonparameter SET value = 0", "DELETE FROM billing_comparisonparameter"]
)
def test_nobody_rewrites_what_a_page_once_said(statement: str) -> None:
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("name", "value", "source", "words"),
    [
        ("nothing", "1", "Fonte de teste", "não existe"),
        ("iof", "-1", "Fonte de teste", "0 a 100"),
        ("iof", "100.01", "Fonte de teste", "0 a 100"),
        ("iof", "3.385", "Fonte de teste", "duas casas"),
        ("iof", "3.5", " lei ", "de onde vem"),
    ],
)
def test_it_refuses_a_number_without_sense_or_source(name: str, value: str, source: str, words: str) -> None:
    with pytest.raises(ParameterRefused, match=words):
        enter(name, value, source=source)


def test_it_refuses_a_source_looked_at_tomorrow() -> None:
    with pytest.raises(ParameterRefused, match="futuro"):
        enter("iof", "3.5", checked_on=TODAY() + dt.timedelta(days=1))


def test_it_says_which_source_nobody_looked_at_for_long(settings: Settings) -> None:
    settings.COMPARISON_SOURCE_MAX_AGE_DAYS = 30
    for name in ComparisonParameter.Name.values:
        enter(name, "1", checked_on=TODAY() - dt.timedelta(days=31 if name == "server" else 30))
    quote()
    assert [row.name for row in comparison_rates.old_parameters()] == ["server"]
    assert current_rates().has_old_premises


def test_abroad_is_ptax_then_spread_then_iof() -> None:
    enter("card_spread", "4")
    enter("iof", "3.5")
    quote("5.2")
    lines = current_rates().abroad(100 * 10**9)
    assert lines is not None
    assert (lines.commercial_nanos, lines.spread_nanos, lines.iof_nanos) == (520 * 10**9, 20_800_000_000, 18_928_000_000)
    assert current_rates().abroad_nanos(100 * 10**9) == lines.total_nanos == 559_728_000_000


def test_import_taxes_are_of_the_commercial_amount_and_only_where_asked_for() -> None:
    quote("5")
    rates = current_rates()
    lines = rates.abroad(10**9, with_import_taxes=True)
    assert lines is not None
    assert dict(lines.import_nanos) == {"IRRF": 750_000_000, "CIDE": 500_000_000, "PIS/COFINS": 462_500_000, "ISS": 100_000_000}
    plain = rates.abroad(10**9)
    assert plain is not None
    assert lines.total_nanos == plain.total_nanos + 1_812_500_000


def test_without_a_quotation_nothing_is_invented() -> None:
    ExchangeRate.objects.all().delete()
    rates = current_rates()
    assert (rates.abroad_nanos(10**9), rates.commercial_nanos(10**9), rates.is_complete) == (None, None, False)
    assert ComparisonRates().abroad(1) is None


def test_an_old_quotation_still_counts_and_says_so() -> None:
    ExchangeRate.objects.all().delete()
    quote("5", age_days=40)
    rates = current_rates()
    assert rates.is_quotation_old
    assert rates.quoted_by == "PTAX venda, Banco Central"
    assert rates.abroad_nanos(10**9) is not None
