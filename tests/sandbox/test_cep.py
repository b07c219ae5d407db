"""Postal codes in ViaCEP's shape."""

from __future__ import annotations

import httpx

from tests.fiscal import FiscalSandbox
from tokia.sandbox.cep import describe


def test_it_tells_a_street_with_its_citys_code(fiscal: FiscalSandbox) -> None:
    told = fiscal.http.get("/cep/30130010/json/").json()
    assert {name: told[name] for name in ("cep", "logradouro", "bairro", "localidade", "uf", "ibge")} == {
        "cep": "30130-010", "logradouro": "Praça Sete de Setembro", "bairro": "Centro", "localidade": "Belo Horizonte",
        "uf": "MG", "ibge": "3106200",
    }  # fmt: skip
    assert httpx.get(f"{fiscal.cep_url}/30130-010/json/").json() == told
    assert describe("80420123") == describe("80420123")
    assert describe("88000000")["logradouro"] == ""


def test_it_does_not_know_every_code(fiscal: FiscalSandbox) -> None:
    for digits in ("99999999", "00000000", "30130999"):
        answer = fiscal.http.get(f"/cep/{digits}/json/")
        assert (answer.status_code, answer.json()) == (200, {"erro": True})
    assert fiscal.http.get("/cep/123/json/").status_code == 400
    fiscal.script("cep", "503")
    assert fiscal.http.get("/cep/30130010/json/").status_code == 503
