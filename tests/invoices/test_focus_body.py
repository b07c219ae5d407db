"""What Focus NFe is told: the same as Sefin, under its own names."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from accounts.cities import city_by_code
from invoices.dps.build import build_dps
from invoices.dps.document import Dps, Prestador
from invoices.dps.markup import parse_xml
from invoices.errors import Incomplete
from invoices.focus_body import INTEGERS, NAMES, PURCHASE_NUMBER, UNTOLD, _leaves, build_body, build_cancel_body
from tests.invoices.dps.cases import BASE, CASES, CITY, CNPJ, MEI, PERSON, SIMPLES
from tokia.sandbox import focus_dps

REGISTERED = Prestador(tax_id=CNPJ, city_code=CITY, municipal_registration="1234567")


def flat(dps: Dps) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build_body(dps, resource="nfsen"))
    return found


def nested(dps: Dps) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build_body(replace(dps, prestador=REGISTERED), resource="nfse"))
    return found


@pytest.mark.parametrize("name", list(CASES))
def test_it_says_all_that_the_dps_says(name: str) -> None:
    dps = CASES[name]
    body = flat(dps)
    said = dict(_leaves(parse_xml(build_dps(dps))[0], ""))
    for path, text in said.items():
        if path not in UNTOLD and path not in (PURCHASE_NUMBER, "serv/infoCompl/xInfComp"):
            told = body.pop(NAMES[path])
            assert (str(told), isinstance(told, int)) == (text, NAMES[path] in INTEGERS)
    assert set(body) <= {"informacoes_complementares"}
    assert build_body(dps, resource="nfsen") == build_body(dps, resource="nfsen")


def test_it_tells_the_number_of_the_purchase_among_the_remarks() -> None:
    assert flat(CASES["normal-purchase-number"])["informacoes_complementares"] == (
        "Pedido: PO 4500/2026. gpt-4o: 1.204 requisições; claude-sonnet: 87 requisições"
    )
    assert flat(replace(BASE, purchase_number="7"))["informacoes_complementares"] == "Pedido: 7."


@pytest.mark.parametrize("name", [name for name in CASES if "replaces" not in name])
def test_it_has_a_form_of_a_city_for_every_declaration(name: str) -> None:
    dps = CASES[name]
    body = nested(dps)
    reais = f"{dps.amount_centavos // 100}.{dps.amount_centavos % 100:02d}"
    assert body["prestador"] == {"cnpj": CNPJ, "inscricao_municipal": "1234567", "codigo_municipio": CITY}
    assert body["servico"]["valor_servicos"] == reais
    assert body["servico"]["item_lista_servico"] == "0103"
    assert body["servico"]["iss_retido"] is dps.iss_withheld
    assert body["tomador"]["cnpj" if len(dps.taker.tax_id) == 14 else "cpf"] == dps.taker.tax_id
    city = city_by_code(dps.taker.city_code)
    assert body["tomador"].get("endereco", {}).get("uf", "") == (city.state if city else "")
    assert ("ibs_cbs_situacao_tributaria" in body["servico"]) == dps.terms.has_ibscbs


def test_it_tells_a_city_what_is_withheld() -> None:
    terms = replace(BASE.terms, iss_bps=500)
    service = nested(
        replace(BASE, terms=terms, iss_withheld=True, irrf_centavos=1_852, csll_centavos=1_235, pis_cofins_withheld=True)
    )["servico"]
    assert {name: service[name] for name in service if name.startswith(("valor_", "aliquota", "base_"))} == {
        "valor_servicos": "1234.56", "aliquota": "5.00", "base_calculo": "1234.56", "valor_iss": "61.73",
        "valor_iss_retido": "61.73", "valor_pis": "8.02", "valor_cofins": "37.04", "valor_ir": "18.52", "valor_csll": "12.35",
    }  # fmt: skip


@pytest.mark.parametrize(("terms", "regime", "is_simples"), [(BASE.terms, None, False), (SIMPLES, "6", True), (MEI, "5", True)])
def test_it_tells_a_city_the_regime(terms: Any, regime: str | None, is_simples: bool) -> None:
    body = nested(replace(BASE, terms=terms))
    assert (body.get("regime_especial_tributacao"), body["optante_simples_nacional"]) == (regime, is_simples)


def test_it_leaves_out_an_address_that_is_not_there() -> None:
    assert nested(replace(BASE, taker=PERSON))["tomador"] == {
        "cpf": "52998224725", "razao_social": "Maria da Conceição", "email": "maria@exemplo.com.br",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dps", "param"),
    [
        (BASE, "issuer.municipal_registration"),
        (replace(CASES["normal-replaces"], prestador=REGISTERED), "invoice.replaces"),
        (replace(BASE, prestador=REGISTERED, taker=replace(BASE.taker, name="\U0001f680")), "taker.name"),
    ],
)
def test_it_says_what_a_city_can_not_do_without(dps: Dps, param: str) -> None:
    with pytest.raises(Incomplete) as raised:
        build_body(dps, resource="nfse")
    assert raised.value.param == param


def test_it_tells_why_a_note_is_cancelled() -> None:
    assert json.loads(build_cancel_body(reason=" Serviço não prestado \U0001f680 ")) == {"justificativa": "Serviço não prestado"}
    with pytest.raises(Incomplete):
        build_cancel_body(reason="curto")


@pytest.mark.parametrize("name", [name for name in CASES if name != "normal-purchase-number"])
def test_it_makes_the_declaration_that_we_would_have_sent(name: str) -> None:
    """Read by the other side's own reading of Focus's fields."""
    dps = CASES[name]
    theirs = focus_dps.build_dps(flat(dps), environment=int(dps.environment))
    ours = parse_xml(build_dps(dps))
    assert theirs[0].get("Id") == ours[0].get("Id")
    told, said = ({path: text for path, text in _leaves(root[0], "") if path != "verAplic"} for root in (theirs, ours))
    assert told == said
