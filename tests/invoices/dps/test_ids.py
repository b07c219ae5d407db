"""Identifiers of the national standard, with letters in the CNPJ."""

from __future__ import annotations

import pytest

from invoices.dps.ids import cancel_id, check_access_key, check_digit, dps_id, kind_and_tax_id, taxpayer_of

KEY = "35503082212ABC34501DE35000000000000126111234567891"


@pytest.mark.parametrize(
    "tax_id, told",
    [
        ("12ABC34501DE35", "DPS3550308212ABC34501DE3500001000000000000001"),
        ("52998224725", "DPS355030810005299822472500001000000000000001"),
        ("11222333000181", "DPS355030821122233300018100001000000000000001"),
    ],
)
def test_it_forms_the_id_of_a_dps(tax_id: str, told: str) -> None:
    assert dps_id(city_code="3550308", tax_id=tax_id, series=1, number=1) == told and len(told) == 45


@pytest.mark.parametrize(
    "changes",
    [
        {"city_code": "355030"}, {"city_code": "355030٨"}, {"tax_id": "1122233300018"}, {"tax_id": "12abc34501de35"},
        {"tax_id": ""}, {"series": -1}, {"series": 100_000}, {"number": 0}, {"number": 10**15},
    ],
)  # fmt: skip
def test_it_forms_no_id_of_what_has_none(changes: dict[str, object]) -> None:
    fields: dict[str, object] = {"city_code": "3550308", "tax_id": "11222333000181", "series": 1, "number": 1}
    with pytest.raises(ValueError):
        dps_id(**{**fields, **changes})  # type: ignore[arg-type]


def test_it_takes_a_key_whose_check_digit_holds() -> None:
    assert check_access_key(KEY) == KEY and check_digit(KEY[:49]) == KEY[49]


@pytest.mark.parametrize("position", range(50))
def test_it_sees_any_one_digit_that_is_wrong(position: int) -> None:
    other = "0" if KEY[position] != "0" else "1"
    wrong = KEY[:position] + other + KEY[position + 1 :]
    with pytest.raises(ValueError):
        check_access_key(wrong)


@pytest.mark.parametrize("key", ["", KEY[:49], KEY + "1", KEY.lower(), "A" + KEY[1:], KEY[:49] + "X", " " + KEY[1:], KEY + "\n"])
def test_it_takes_no_key_of_another_shape(key: str) -> None:
    with pytest.raises(ValueError):
        check_access_key(key)


def test_it_takes_letters_inside_the_cnpj_only() -> None:
    body = KEY[:23] + "A" + KEY[24:49]
    with pytest.raises(ValueError, match="letters"):
        check_access_key(body + check_digit(body))


def test_it_forms_the_id_of_a_request_without_a_sequence() -> None:
    assert cancel_id(KEY) == f"PRE{KEY}101101" and len(cancel_id(KEY)) == 59
    with pytest.raises(ValueError):
        cancel_id(KEY[:49] + "2")


def test_it_tells_whose_note_a_key_is() -> None:
    assert taxpayer_of(KEY) == ("3550308", "12ABC34501DE35")
    body = "3550308" + "2" + kind_and_tax_id("52998224725") + "0" * 12 + "1" + "2611" + "123456789"
    assert taxpayer_of(body + check_digit(body)) == ("3550308", "52998224725")
