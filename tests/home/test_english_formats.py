"""The formats of an English page; the Portuguese ones are in `test_filters.py`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from django import forms
from django.template import engines
from django.utils import translation

from billing.money import BRL
from billing.reais import read_reais
from invoices.forms import Percent
from tokia import clock
from tokia.templatetags import tokia as filters

N = "\u00a0"
MOMENT = dt.datetime(2026, 11, 22, 14, 32, 8, tzinfo=ZoneInfo("America/Sao_Paulo"))


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    with translation.override("en"):
        yield


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (lambda: filters.brl(1_234_560_000_000), f"R${N}1,234.56"),
        (lambda: filters.brl(-10 * BRL), f"−R${N}10.00"),
        (lambda: filters.saldo(412_879_999_999), f"R${N}412.87"),
        (lambda: filters.centavos(123_456), f"R${N}1,234.56"),
        (lambda: filters.brl_fino(1), f"<{N}R${N}0.0001"),
        (lambda: filters.brl_exato(BRL), f"R${N}1.000000000"),
        (lambda: filters.reais("1234.060900000"), f"R${N}1,234.0609"),
        (lambda: filters.usd(2_500_000_000), f"US${N}2.50"),
        (lambda: filters.num(48_219), "48,219"),
        (lambda: filters.compacto(61_400_000), f"61.4{N}M"),
        (lambda: filters.compacto(1_200_000_000), f"1.2{N}B"),
        (lambda: filters.compacto(48_219), "48,219"),
        (lambda: filters.dur(412), f"412{N}ms"),
        (lambda: filters.dur(1_310), f"1.31{N}s"),
        (lambda: filters.dur(125_000), f"2{N}min{N}05{N}s"),
        (lambda: filters.pct(9_994), "99.94%"),
        (lambda: filters.pct(500), "5%"),
        (lambda: filters.pct(-250), "−2.5%"),
        (lambda: filters.data(MOMENT), "22 Nov 2026"),
        (lambda: filters.data(MOMENT.date()), "22 Nov 2026"),
        (lambda: filters.hora(MOMENT), "22 Nov 14:32:08"),
        (lambda: filters.said("3,5%"), "3.5%"),
        (lambda: filters.said(f"US${N}1.234,00"), f"US${N}1,234.00"),
        (lambda: filters.said("Imagens pelo menor preço."), "Images at the lowest price."),
        (lambda: filters.said("De um administrador, 2,5."), "De um administrador, 2,5."),
        (lambda: filters.said(""), ""),
    ],
)
def test_it_writes_as_english_readers_expect(told: object, text: str) -> None:
    assert callable(told) and told() == text


@pytest.mark.parametrize(("ago", "text"), [(10, "now"), (180, f"3{N}min ago"), (7_200, f"2{N}h ago"), (200_000, "20 Nov 2026")])
def test_it_tells_how_long_ago(ago: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: MOMENT)
    shown = filters.ha(MOMENT - dt.timedelta(seconds=ago))
    assert shown.endswith(f">{text}</time>") and "Nov 2026 " in shown


def test_a_template_writes_its_plain_numbers_so_too() -> None:
    told = engines["django"].from_string("{{ n }} {{ half }} {{ day }} {{ at }}")
    assert told.render({"n": 48_219, "half": 1.5, "day": MOMENT.date(), "at": MOMENT}) == "48,219 1.5 22 Nov 2026 22 Nov 2026 14:32"


@pytest.mark.parametrize("language", ["pt-br", "en"])
@pytest.mark.parametrize(
    ("typed", "nanos"),
    [
        ("1.234,56", 1_234_560_000_000), ("1,234.56", 1_234_560_000_000), ("R$ 500", 500 * BRL), ("500.00", 500 * BRL),
        ("1.234", 1_234 * BRL), ("1,23", 1_230_000_000), ("1,234", None), ("1,23.45", None), ("12,34.56", None),
    ],
)  # fmt: skip
def test_an_amount_is_read_alike_in_both_languages(language: str, typed: str, nanos: int | None) -> None:
    with translation.override(language):
        if nanos is not None:
            assert read_reais(typed) == nanos
            return
        with pytest.raises(ValueError, match=r"\d"):
            read_reais(typed)


@pytest.mark.parametrize("language", ["pt-br", "en"])
def test_a_percentage_and_a_day_are_read_alike_in_both_languages(language: str) -> None:
    with translation.override(language):
        assert Percent().clean("1,5") == Percent().clean("1.5") == 150
        assert forms.DateField().clean("02/03/2026") == forms.DateField().clean("2026-03-02") == dt.date(2026, 3, 2)
