"""Annex I, before anything is sent: each rule is broken once, and says its code and the field that a person repairs."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from invoices.dps.document import Dps, Replaced, Taker, Terms
from invoices.dps.rules import check_rules
from tests.invoices.dps.cases import BASE, CASES, LETTERS, MEI, NORMAL, NUMERIC, PERSON, REPLACED_KEY, SIMPLES
from tests.invoices.dps.notes import key_of_note


def _issuer(**changes: str) -> Dps:
    return replace(BASE, prestador=replace(BASE.prestador, **changes))


def _taker(base: Taker = NUMERIC, **changes: str) -> Dps:
    return replace(BASE, taker=replace(base, **changes))


def _terms(base: Terms = NORMAL, **changes: object) -> Dps:
    return replace(BASE, terms=replace(base, **changes))  # type: ignore[arg-type]


def _replaces(key: str = REPLACED_KEY, code: str = "99", reason: str = "Correção do valor da fatura") -> Dps:
    return replace(BASE, replaces=Replaced(access_key=key, code=code, reason=reason))


NOWHERE = {"city_code": "", "postal_code": "", "street": "", "number": "", "district": ""}
BROKEN: list[tuple[str, str, Dps]] = [
    ("E0004", "issuer.tax_id", _issuer(tax_id="11222333000182")),
    ("E0004", "issuer.city_code", _issuer(city_code="31062")),
    ("E0006", "issuer.environment", replace(BASE, environment="3")),
    ("E0010", "issuer.series", replace(BASE, series=0)),
    ("E0010", "issuer.series", replace(BASE, series=50_000)),
    ("E0004", "invoice.number", replace(BASE, number=0)),
    ("E0015", "invoice.competence_on", replace(BASE, competence_on=dt.date(2026, 12, 2))),
    ("E0188", "taker.tax_id", _taker(tax_id="45997418000154")),
    ("E0188", "taker.tax_id", _taker(tax_id="00000000000000")),
    ("E0188", "taker.tax_id", _taker(LETTERS, tax_id="12abc34501de35")),
    ("E0188", "taker.tax_id", _taker(tax_id="")),
    ("E0206", "taker.tax_id", _taker(PERSON, tax_id="52998224726")),
    ("TAKER", "taker.name", _taker(name=" \U0001f600 ")),
    ("TAKER", "taker.street", _taker(street="")),
    ("TAKER", "taker.number", _taker(number="")),
    ("TAKER", "taker.district", _taker(district=" ")),
    ("E0238", "taker.city", _taker(city_code="33045")),
    ("E0240", "taker.postal_code", _taker(postal_code="20040-002")),
    ("E0202", "taker.tax_id", _taker(tax_id="11222333000262")),
    ("E0235", "taker.postal_code", replace(BASE, taker=replace(NUMERIC, **NOWHERE))),
    ("E0237", "taker.postal_code", replace(_taker(PERSON), iss_withheld=True)),
    ("E0160", "terms.regime", _terms(regime="4")),
    ("E0166", "terms.simples_assessment", _terms(SIMPLES, simples_assessment="")),
    ("SCHEMA", "terms.special_regime", _terms(special_regime="7")),
    ("E0174", "terms.special_regime", _terms(MEI, special_regime="5")),
    ("E0175", "terms.special_regime", _terms(SIMPLES, special_regime="1")),
    ("E0310", "terms.service_code", _terms(service_code="01.03.01")),
    ("E0314", "terms.city_service_code", _terms(city_service_code="1")),
    ("E0316", "terms.nbs_code", _terms(nbs_code="1.1506.21.00")),
    ("E0322", "terms.nbs_code", _terms(nbs_code="")),
    ("SCHEMA", "terms.operation_code", _terms(operation_code="1003")),
    ("SCHEMA", "terms.tax_situation", _terms(tax_situation="0", tax_class="000001")),
    ("E0959", "terms.tax_class", _terms(tax_class="200001")),
    ("SCHEMA", "invoice.amount_centavos", replace(BASE, amount_centavos=0)),
    ("SCHEMA", "terms.description", replace(BASE, description="\t")),
    ("E0583", "invoice.iss_withheld", replace(_terms(MEI), iss_withheld=True)),
    ("E0588", "invoice.iss_withheld", replace(_terms(special_regime="5"), iss_withheld=True)),
    ("E0595", "terms.iss_bps", _terms(iss_bps=501)),
    ("E0621", "terms.iss_bps", replace(_terms(SIMPLES, iss_bps=None), iss_withheld=True)),
    ("E0621", "terms.iss_bps", replace(_terms(SIMPLES, iss_bps=179), iss_withheld=True)),
    ("E0676", "terms.pis_cofins_situation", _terms(MEI, pis_cofins_situation="01")),
    ("E0676", "terms.pis_cofins_situation", replace(_terms(MEI), irrf_centavos=10)),
    ("SCHEMA", "terms.pis_cofins_situation", _terms(pis_cofins_situation="1")),
    ("E0698", "terms.pis_cofins_situation", replace(_terms(pis_cofins_situation=""), pis_cofins_withheld=True)),
    ("E0698", "terms.pis_cofins_situation", replace(_terms(pis_cofins_situation="08"), pis_cofins_withheld=True)),
    ("E0688", "terms.pis_bps", _terms(pis_cofins_situation="06")),
    ("E0686", "terms.pis_bps", _terms(pis_bps=10_000)),
    ("E0692", "terms.cofins_bps", _terms(cofins_bps=10_000)),
    ("E0700", "invoice.irrf_centavos", replace(BASE, irrf_centavos=-1)),
    ("E0700", "invoice.irrf_centavos", replace(BASE, irrf_centavos=123_456)),
    ("E0701", "invoice.csll_centavos", replace(BASE, csll_centavos=200_000)),
    ("E0428", "invoice.amount_centavos", replace(BASE, irrf_centavos=100_000, csll_centavos=23_457)),
    ("E0428", "invoice.amount_centavos", replace(BASE, irrf_centavos=120_000, pis_cofins_withheld=True)),
    ("E0712", "terms.simples_bps", _terms(SIMPLES, simples_bps=0)),
    ("E0706", "terms.federal_bps", _terms(federal_bps=10_001)),
    ("E0707", "terms.state_bps", _terms(state_bps=10_001)),
    ("E0708", "terms.city_bps", _terms(city_bps=10_001)),
    ("E0042", "invoice.replaces", _replaces(key=REPLACED_KEY[:49] + "0")),
    ("E0042", "invoice.replaces", _replaces(key=key_of_note(tax_id="45997418000153"))),
    ("E0042", "invoice.replaces", _replaces(key=key_of_note(city_code="3550308"))),
    ("SCHEMA", "invoice.cancel_code", _replaces(code="06")),
    ("E0078", "invoice.cancel_reason", _replaces(reason="")),
    ("E0078", "invoice.cancel_reason", _replaces(code="01", reason="curto")),
]  # fmt: skip


@pytest.mark.parametrize("code, field, dps", BROKEN, ids=[f"{index}-{case[0]}" for index, case in enumerate(BROKEN)])
def test_it_names_the_code_and_the_field_to_repair(code: str, field: str, dps: Dps) -> None:
    problems = check_rules(dps)
    assert (code, field) in {(problem.code, problem.field) for problem in problems}
    assert all(problem.text_pt.endswith(".") and problem.text_pt[0].isupper() for problem in problems)


@pytest.mark.parametrize(
    "dps",
    [
        _taker(PERSON), _taker(PERSON, name="X"), _taker(LETTERS), replace(_taker(tax_id="52998224725"), iss_withheld=True),
        _terms(SIMPLES, iss_bps=9_999),  # not told: inside the Simples, not withheld
        _terms(NORMAL, has_ibscbs=False, nbs_code="", operation_code="", tax_situation="", tax_class=""),
        replace(BASE, competence_on=dt.date(2026, 12, 1)), _replaces(code="05", reason=""),
        replace(BASE, irrf_centavos=123_455),
    ],
)  # fmt: skip
def test_it_has_nothing_against_what_may_be(dps: Dps) -> None:
    assert check_rules(dps) == []


def test_it_tells_everything_that_is_wrong_at_once_and_who_issues_first() -> None:
    dps = replace(BASE, series=0, taker=replace(NUMERIC, **NOWHERE), amount_centavos=0)
    assert [problem.code for problem in check_rules(dps)] == ["E0010", "E0235", "SCHEMA"]


def test_it_has_nothing_against_the_corpus() -> None:
    assert not any(check_rules(dps) for dps in CASES.values())
