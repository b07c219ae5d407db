"""Nano-reais in and out, without a float."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import BRL, format_brl, from_brl, from_centavos, to_brl, to_centavos

NANOS = st.integers(-(2**63), 2**63 - 1)


@given(NANOS)
def test_it_reads_back_what_it_wrote(nanos: int) -> None:
    assert from_brl(to_brl(nanos)) == nanos
    assert from_brl(str(to_brl(nanos))) == nanos


def test_it_reads_reais_to_the_nano() -> None:
    assert from_brl("10.00") == 10 * BRL
    assert from_brl("0.000000001") == 1
    assert from_brl(Decimal("-1.5")) == -1_500_000_000
    assert from_brl("1E2") == 100 * BRL


@pytest.mark.parametrize("text", ["", "R$ 1", "1,50", "NaN", "Infinity", "0.0000000001"])
def test_it_refuses_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="no amount of reais"):
        from_brl(text)


def test_it_refuses_a_float() -> None:
    with pytest.raises(TypeError):
        from_brl(0.1)  # type: ignore[arg-type]


def test_it_pays_whole_centavos_only() -> None:
    assert to_centavos(from_centavos(1_050)) == 1_050
    with pytest.raises(ValueError, match="whole number of centavos"):
        to_centavos(1)


def test_it_shows_no_more_than_there_is() -> None:
    assert format_brl(1_234_569_999_999) == "R$\u00a01.234,56"
    assert format_brl(1_999_999_999) == "R$\u00a01,99"
    assert format_brl(-10 * BRL) == "−R$\u00a010,00"
    assert format_brl(-1) == "R$\u00a00,00"
