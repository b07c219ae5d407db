from __future__ import annotations

import pytest

from accounts.errors import InvalidTaxId
from accounts.tax_ids import parse_cnpj, parse_cpf


@pytest.mark.parametrize(
    ("typed", "bare"),
    [
        ("11.222.333/0001-81", "11222333000181"),
        ("11222333000181", "11222333000181"),
        ("12.ABC.345/01DE-35", "12ABC34501DE35"),
        ("12abc34501de35", "12ABC34501DE35"),
    ],
)
def test_it_reads_a_cnpj_in_either_form(typed: str, bare: str) -> None:
    assert parse_cnpj(typed) == bare


@pytest.mark.parametrize(
    "typed",
    [
        "00000000000000",
        "11111111111111",
        "11222333000182",
        "12ABC34501DE36",
        "123",
        "",
        "12ABC34501DEAB",
        "１１２２２３３３０００１８１",
    ],
)
def test_it_refuses_a_cnpj_that_is_none(typed: str) -> None:
    with pytest.raises(InvalidTaxId):
        parse_cnpj(typed)


def test_it_reads_a_cpf() -> None:
    assert parse_cpf("111.444.777-35") == "11144477735"


@pytest.mark.parametrize("typed", ["00000000000", "99999999999", "11144477736", "1114447773", "", "abc"])
def test_it_refuses_a_cpf_that_is_none(typed: str) -> None:
    with pytest.raises(InvalidTaxId):
        parse_cpf(typed)
