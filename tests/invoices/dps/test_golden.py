"""The corpus: for each case the bytes that are signed and sent. A change of one byte is a change of what we declare.

`GOLDEN_WRITE=1 pytest tests/invoices/dps/test_golden.py` writes the files anew; the difference is then read by a person.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from invoices.dps.build import build_cancel, build_dps
from invoices.dps.ids import cancel_id, dps_id
from invoices.dps.markup import NS
from invoices.dps.rules import check_rules
from invoices.dps.schema import check_schema
from tests.invoices.dps.cases import CASES, CNPJ, ISSUED_AT, REPLACED_KEY

GOLDEN = Path(__file__).parent / "golden"
CANCELS = {
    "1": "Valor informado incorretamente",
    "2": "Serviço não prestado ao tomador",
    "9": "Recarga devolvida \U0001f4b8 ao tomador",
}


def _same(name: str, xml: bytes) -> bool:
    path = GOLDEN / f"{name}.xml"
    if os.environ.get("GOLDEN_WRITE"):
        path.write_bytes(xml)
    return path.read_bytes() == xml


@pytest.mark.parametrize("name", CASES)
def test_it_builds_these_bytes_which_hold_against_schema_and_rules(name: str) -> None:
    dps = CASES[name]
    xml = build_dps(dps)
    assert _same(name, xml)
    assert check_schema(xml, "DPS") == [] and check_rules(dps) == []
    told = etree.fromstring(xml)[0].get("Id")
    assert told == dps_id(city_code=dps.prestador.city_code, tax_id=dps.prestador.tax_id, series=dps.series, number=dps.number)


@pytest.mark.parametrize("code", CANCELS)
def test_it_asks_to_cancel_in_these_bytes(code: str) -> None:
    xml = build_cancel(access_key=REPLACED_KEY, tax_id=CNPJ, environment="2", code=code, reason=CANCELS[code], at=ISSUED_AT)
    assert _same(f"cancel-{code}", xml) and check_schema(xml, "pedRegEvento") == []
    assert etree.fromstring(xml)[0].get("Id") == cancel_id(REPLACED_KEY)


def test_it_has_each_regime_with_each_taker_and_policy_and_no_file_without_a_case() -> None:
    assert len([name for name in CASES if name.endswith(("-monthly", "-top-up"))]) == 3 * 3 * 2
    assert {path.stem for path in GOLDEN.glob("*.xml")} == set(CASES) | {f"cancel-{code}" for code in CANCELS}


def _leaf(name: str, path: str) -> str | None:
    root = etree.parse(GOLDEN / f"{name}.xml").getroot()
    return root.findtext(".//" + "/".join(f"{{{NS}}}{part}" for part in path.split("/")))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "name, path, text",
    [
        ("normal-cnpj-monthly", "dhEmi", "2026-12-01T09:33:56-03:00"),
        ("normal-cnpj-monthly", "vServ", "1234.56"),
        ("normal-cnpj-monthly", "vPis", "8.02"),  # 0.65 % of 1234.56 is 8.02464
        ("normal-cnpj-monthly", "vCofins", "37.04"),  # 3 % is 37.0368
        ("normal-cnpj-monthly", "tpRetPisCofins", "0"),
        ("normal-cnpj-monthly", "pTotTribFed", "13.45"),
        ("normal-cnpj-monthly", "pAliq", None),
        ("normal-cnpj-monthly", "cClassTrib", "000001"),
        ("normal-before-ibscbs", "IBSCBS/finNFSe", None),
        ("normal-withheld", "tpRetPisCofins", "3"),
        ("normal-withheld", "tpRetISSQN", "2"),
        ("normal-withheld", "vRetIRRF", "18.52"),
        ("normal-csll-withheld", "tpRetPisCofins", "8"),
        ("normal-without-contributions", "vBCPisCofins", None),
        ("normal-purchase-number", "xPed", "PO 4500/2026"),
        ("normal-replaces", "subst/xMotivo", "Correção do valor da fatura de novembro"),
        ("normal-replaces-by-law", "subst/xMotivo", None),
        ("normal-untidy-texts", "xDescServ", 'Consumo - API "Tokia" 1º mês... lódz'),
        ("normal-untidy-texts", "toma/xNome", "Café do Zé"),
        ("normal-letters-top-up", "toma/CNPJ", "12ABC34501DE35"),
        ("normal-cpf-monthly", "toma/CPF", "52998224725"),
        ("normal-cpf-monthly", "toma/end/xLgr", None),
        ("simples-cnpj-monthly", "regApTribSN", "1"),
        ("simples-cnpj-monthly", "pAliq", None),
        ("simples-cnpj-monthly", "pTotTribSN", "6.00"),
        ("simples-withheld", "pAliq", "2.00"),
        ("simples-iss-outside", "pAliq", "2.00"),
        ("simples-2027", "IBSCBS/finNFSe", "0"),
        ("mei-cnpj-monthly", "indTotTrib", "0"),
        ("mei-cnpj-monthly", "tribFed/vRetIRRF", None),
        ("production", "vServ", "0.01"),
    ],
)
def test_it_says_what_the_law_asks_for(name: str, path: str, text: str | None) -> None:
    assert _leaf(name, path) == text


def test_it_is_one_line_without_blanks_between_elements() -> None:
    for path in GOLDEN.glob("*.xml"):
        assert b"\n" not in path.read_bytes() and b"> <" not in path.read_bytes()


def test_it_changes_nothing_but_the_instant_when_built_again() -> None:
    dps = CASES["normal-cnpj-monthly"]
    later = build_dps(replace(dps, issued_at=dps.issued_at + dt.timedelta(days=31)))
    assert later.replace(b"2027-01-01", b"2026-12-01") == build_dps(dps)
