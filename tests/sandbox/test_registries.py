"""PTAX, CNPJ and the BR Code: what the outside world knows by itself."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.sandbox.conftest import Sandbox
from tokia.sandbox.brcode import dynamic_code
from tokia.sandbox.cnpj import check_digits, is_valid
from tokia.sandbox.olinda import is_business_day

ODATA = "/olinda/servico/PTAX/versao/v1/odata/"
PERIOD = ODATA + "CotacaoDolarPeriodo(dataInicial=@dataInicial,dataFinalCotacao=@dataFinalCotacao)"
DAY = ODATA + "CotacaoDolarDia(dataCotacao=@dataCotacao)"


@pytest.fixture
def olinda(sandbox: Sandbox) -> Iterator[Sandbox]:
    yield sandbox
    sandbox.http.delete("/olinda/__rate")


def quotes(sandbox: Sandbox, query: str, *, path: str = PERIOD) -> list[dict[str, Any]]:
    answer = sandbox.http.get(f"{path}?{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = json.loads(answer.text, parse_float=Decimal)["value"]
    return found


def test_it_quotes_business_days_in_a_period(olinda: Sandbox) -> None:
    query = "@dataInicial='11-02-2026'&@dataFinalCotacao='11-17-2026'&$top=100&$orderby=dataHoraCotacao%20desc&$format=json"
    found = quotes(olinda, query)
    days = [dt.datetime.fromisoformat(quote["dataHoraCotacao"]).date() for quote in found]
    assert days == sorted(days, reverse=True)
    assert (len(days), days[-1]) == (11, dt.date(2026, 11, 3))  # the 2nd is a holiday
    assert all(quote["cotacaoCompra"] < quote["cotacaoVenda"] for quote in found)
    assert all(Decimal("5.20") < quote["cotacaoVenda"] < Decimal("5.48") for quote in found)
    assert quotes(olinda, query) == found
    assert quotes(olinda, query.replace("$top=100", "$top=2&$skip=1")) == found[1:3]


def test_it_quotes_one_day_or_none(olinda: Sandbox) -> None:
    (quote,) = quotes(olinda, "@dataCotacao='11-19-2026'&$format=json", path=DAY)
    assert quote["dataHoraCotacao"].startswith("2026-11-19 13:0")
    assert quotes(olinda, "%40dataCotacao=%2711-22-2026%27&%24format=json", path=DAY) == []  # a Sunday
    (brief,) = quotes(olinda, "@dataCotacao='11-19-2026'&$format=json&$select=cotacaoVenda", path=DAY)
    assert brief == {"cotacaoVenda": quote["cotacaoVenda"]}
    assert quotes(olinda, "@dataCotacao='01-02-2099'&$format=json", path=DAY) == []


def test_it_refuses_bad_queries_in_olindas_way(olinda: Sandbox) -> None:
    for query in ("@dataCotacao='2026-11-19'&$format=json", "$format=json", "@dataCotacao='11-19-2026'&$format=xml"):
        answer = olinda.http.get(f"{DAY}?{query}")
        assert (answer.status_code, answer.text[:2]) == (400, "/*")


def test_a_rate_can_be_set_or_be_missing_and_the_service_can_fail(olinda: Sandbox) -> None:
    query = "@dataCotacao='11-19-2026'&$format=json"
    olinda.post("/olinda/__rate", {"date": "2026-11-19", "venda": "6.1"})
    assert quotes(olinda, query, path=DAY)[0]["cotacaoVenda"] == Decimal("6.1")
    olinda.post("/olinda/__rate", {"date": "2026-11-19", "missing": True})
    assert quotes(olinda, query, path=DAY) == []
    olinda.post("/olinda/__rate", {"venda": "5.5", "status": 503})
    assert olinda.http.get(f"{DAY}?{query}").status_code == 503
    assert quotes(olinda, query.replace("11-19", "11-18"), path=DAY)[0]["cotacaoVenda"] == Decimal("5.5")


def test_it_knows_the_banks_holidays() -> None:
    closed = ["2026-02-16", "2026-02-17", "2026-04-03", "2026-06-04", "2026-11-20", "2026-12-25", "2026-11-22"]
    assert not any(is_business_day(dt.date.fromisoformat(day)) for day in closed)
    assert is_business_day(dt.date(2026, 11, 19))


def test_it_knows_every_valid_cnpj(sandbox: Sandbox) -> None:
    for cnpj in ("12ABC34501DE35", "11222333000181", "11.222.333/0001-81", "12abc34501de35"):
        company = sandbox.get(f"/cnpj/{cnpj.replace('/', '%2F')}")
        assert company["descricao_situacao_cadastral"] == "ATIVA"
        assert company["razao_social"].endswith("LTDA")
        assert len(company["cep"]) == 8
        assert {"logradouro", "numero", "bairro", "municipio", "uf", "email", "nome_fantasia"} <= set(company)
    assert sandbox.get("/cnpj/11222333000181") == sandbox.get("/cnpj/11222333000181")


def test_it_does_not_know_the_others(sandbox: Sandbox) -> None:
    for cnpj in ("11222333000182", "00000000000000", "123", "12ABC34501DE3X", ""):
        answer = sandbox.http.get(f"/cnpj/{cnpj}")
        assert (answer.status_code, answer.json()["type"]) == (404, "not_found"), cnpj


def test_a_closed_company_says_so(sandbox: Sandbox) -> None:
    stem = "112223339999"
    company = sandbox.get(f"/cnpj/{stem}{check_digits(stem)}")
    assert company["descricao_situacao_cadastral"] == "BAIXADA"


def test_check_digits_follow_the_receitas_rule() -> None:
    assert check_digits("12ABC34501DE") == "35"
    assert check_digits("112223330001") == "81"
    assert is_valid("12ABC34501DE35")
    assert not is_valid("12ABC34501DE53")


def test_the_code_is_the_central_banks() -> None:
    # Banco Central, Manual de Padrões para Iniciação do Pix, dynamic example; it has no amount.
    code = dynamic_code(
        location="pix.example.com/8b3da2f39a4140d1a91abd93113bd441", name="Fulano de Tal", city="BRASILIA", amount="150.00"
    )
    assert code == (
        "00020101021226700014br.gov.bcb.pix2548pix.example.com/8b3da2f39a4140d1a91abd93113bd4415204000053039865406150.00"
        "5802BR5913Fulano de Tal6008BRASILIA62070503***6304" + code[-4:]
    )
    assert "5908Ze Acaoo" not in code
    accents = dynamic_code(location="a.b/c", name="Zé Ação Serviços Digitais Muito Longos", city="São Paulo", amount="1.00")
    assert "5925Ze Acao Servicos Digitais" in accents
    with pytest.raises(ValueError, match="location"):
        dynamic_code(location="https://a.b/c", name="x", city="y", amount="1.00")
