"""UX's table of formats, executed."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from tokia import clock
from tokia.templatetags import tokia as filters

BRL = 10**9
N = "\u00a0"


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (1_234_560_000_000, f"R${N}1.234,56"),
        (-10 * BRL, f"−R${N}10,00"),
        (0, f"R${N}0,00"),
        (-1, f"R${N}0,00"),
        (5_000_000, f"R${N}0,01"),
        (4_999_999, f"R${N}0,00"),
        (10**18, f"R${N}1.000.000.000,00"),
        (None, "—"),
        ("", "—"),
    ],
)
def test_it_writes_money(nanos: int | str | None, text: str) -> None:
    assert filters.brl(nanos) == text


@pytest.mark.parametrize(("nanos", "text"), [(BRL - 1, f"R${N}0,99"), (412_879_999_999, f"R${N}412,87"), (0, f"R${N}0,00")])
def test_it_rounds_a_balance_down(nanos: int, text: str) -> None:
    assert filters.saldo(nanos) == text


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (4_200_000, f"R${N}0,0042"),
        (99_999, f"<{N}R${N}0,0001"),
        (1, f"<{N}R${N}0,0001"),
        (0, f"R${N}0,0000"),
        (100_000, f"R${N}0,0001"),
    ],
)
def test_it_writes_the_cost_of_a_call(nanos: int, text: str) -> None:
    assert filters.brl_fino(nanos) == text


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(None, "—"), (0, "R$\u00a00,00"), (1, "<\u00a0R$\u00a00,0001"), (1_900_000, "R$\u00a00,0019"), (10_000_000, "R$\u00a00,01"),
     (1_234_560_000_000, "R$\u00a01.234,56"), (-5 * 10**9, "−R$\u00a05,00")],
)  # fmt: skip
def test_it_tells_little_spent_as_little(nanos: int | None, text: str) -> None:
    assert filters.gasto(nanos) == text
    assert filters.brl_exato(1_234_567_891) == f"R${N}1,234567891"


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(18_140_000_000, f"R${N}18,14"), (272_200_000, f"R${N}0,2722"), (BRL, f"R${N}1,00"), (0, f"R${N}0,00"), (None, "—")],
)
def test_it_writes_a_price_per_million(nanos: int | None, text: str) -> None:
    assert filters.brl_mtok(nanos) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (48_219, "48.219"),
        (61_400_000, f"61,4{N}mi"),
        (1_200_000_000, f"1,2{N}bi"),
        (999_999, "999.999"),
        (1_000_000, f"1{N}mi"),
        (1_999_999, f"1,9{N}mi"),
        (0, "0"),
    ],
)
def test_it_writes_integers_short(value: int, text: str) -> None:
    assert filters.compacto(value) == text


def test_it_writes_numbers_durations_and_percents() -> None:
    assert filters.num(48_219) == "48.219"
    assert filters.num(-1_000) == "−1.000"
    assert filters.dur(412) == f"412{N}ms"
    assert filters.dur(1_310) == f"1,31{N}s"
    assert filters.dur(59_999) == f"59,99{N}s"
    assert filters.dur(125_000) == f"2{N}min{N}05{N}s"
    assert filters.pct(9_994) == "99,94%"
    assert filters.pct(500) == "5%"
    assert filters.pct(1_250) == "12,5%"
    assert filters.pct(-800) == "−8%"
    assert filters.num(None) == filters.dur("") == filters.pct(None) == filters.compacto(None) == "—"


def test_it_writes_dates_in_brasilias_time() -> None:
    moment = dt.datetime(2026, 11, 22, 17, 32, 8, tzinfo=dt.UTC)
    assert filters.data(moment) == "22/11/2026"
    assert filters.hora(moment) == "22/11 14:32:08"
    assert filters.data(dt.datetime(2026, 11, 22, 1, tzinfo=dt.UTC)) == "21/11/2026"
    assert filters.data(dt.date(2026, 1, 2)) == "02/01/2026"
    assert filters.hora(moment.astimezone(ZoneInfo("Asia/Tokyo"))) == "22/11 14:32:08"


def test_it_writes_what_is_under_a_day_old_relatively() -> None:
    now = clock.now()
    assert ">agora<" in filters.ha(now)
    assert f">há 3{N}min<" in filters.ha(now - dt.timedelta(minutes=3, seconds=5))
    assert f">há 23{N}h<" in filters.ha(now - dt.timedelta(hours=23, minutes=30))
    old = now - dt.timedelta(days=2)
    assert f">{filters.data(old)}<" in filters.ha(old)
    assert filters.data(old) in filters.ha(now - dt.timedelta(days=2))
    assert filters.ha(None) == "—"


def test_it_writes_tax_ids_and_masks_a_persons() -> None:
    assert filters.tax_id("12ABC34501DE35") == "12.ABC.345/01DE-35"
    assert filters.tax_id("11144477735") == "111.444.777-35"
    assert filters.tax_id_mascarado("11144477735") == "***.444.777-**"
    assert filters.tax_id_mascarado("12ABC34501DE35") == "12.ABC.345/01DE-35"
    assert filters.tax_id("") == "—"
