"""Cancelling, replacing and distribution at the sandbox's tax office."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fiscal import FiscalSandbox
from tests.sandbox.dps import CITY, pack, sign, unpack, write_cancel, write_dps
from tests.sandbox.test_sefin import codes, issue, open_sefin, send, verify_with_xmlsec
from tokia.sandbox.fiscal_xml import find_schema_errors, parse

assert open_sefin  # a fixture


@pytest.fixture
def sefin(fiscal: FiscalSandbox, open_sefin: httpx.Client) -> httpx.Client:
    return open_sefin


@pytest.fixture(scope="session")
def a1(fiscal_process: FiscalSandbox) -> tuple[Any, Any]:
    return fiscal_process.a1()


@pytest.fixture
def adn(fiscal: FiscalSandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fiscal.fiscal_url, verify=fiscal.context(), trust_env=False) as client:
        yield client


def cancel(client: httpx.Client, a1: tuple[Any, Any], key: str, **facts: Any) -> httpx.Response:
    return client.post(f"/nfse/{key}/eventos", json={"pedidoRegistroEventoXmlGZipB64": pack(sign(write_cancel(key, **facts), a1))})


def subst(key: str) -> str:
    return f"<subst><chSubstda>{key}</chSubstda><cMotivo>99</cMotivo><xMotivo>Valor corrigido a pedido</xMotivo></subst>"


def test_it_cancels_a_note_once(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    key = issue(sefin, a1, 1)["chaveAcesso"]
    assert sefin.get(f"/nfse/{key}/eventos/101101/1").status_code == 404
    answer = cancel(sefin, a1, key)
    assert answer.status_code == 201, answer.text
    xml = unpack(answer.json()["eventoXmlGZipB64"])
    assert find_schema_errors(parse(xml), "evento") == []
    verify_with_xmlsec(xml, ca_file=str(fiscal.ca_file), signed="infEvento")
    verify_with_xmlsec(xml, ca_file=str(fiscal.ca_file), signed="infPedReg")
    assert parse(xml)[0].get("Id") == f"EVT{key}101101001"
    assert sefin.get(f"/nfse/{key}/eventos/101101/1").json()["eventoXmlGZipB64"] == answer.json()["eventoXmlGZipB64"]
    again = cancel(sefin, a1, key)
    assert (again.status_code, again.json()["erro"]["codigo"]) == (400, "E0840")
    assert [event["type"] for event in fiscal.ledger()["events"]] == ["101101"]


def test_it_refuses_to_cancel_after_the_citys_term(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    key = issue(sefin, a1, 1)["chaveAcesso"]
    fiscal.set_city(CITY, cancel_days=1)
    fiscal.set(offset_seconds=2 * 86_400)
    assert cancel(sefin, a1, key).json()["erro"]["codigo"] == "E0822"
    # A replacement is still taken, until its own term.
    told = issue(sefin, a1, 2, subst=subst(key))
    fiscal.set_city(CITY, replace_days=1)
    fiscal.set(offset_seconds=4 * 86_400)
    assert codes(send(sefin, sign(write_dps(3, subst=subst(told["chaveAcesso"])), a1))) == ["E0050"]


def test_it_refuses_events_that_are_not_the_issuers(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    key = issue(sefin, a1, 1)["chaveAcesso"]
    post = {"pedidoRegistroEventoXmlGZipB64": pack(write_cancel(key))}
    assert sefin.post(f"/nfse/{key}/eventos", json=post).json()["erro"]["codigo"] == "E0717"
    post = {"pedidoRegistroEventoXmlGZipB64": pack(sign(write_cancel(key), fiscal.a1("a1-other")))}
    assert sefin.post(f"/nfse/{key}/eventos", json=post).json()["erro"]["codigo"] == "E0718"
    assert cancel(sefin, a1, key, reason="curto").json()["erro"]["codigo"] == "E1235"
    assert cancel(sefin, a1, key, environment=1).json()["erro"]["codigo"] == "E0006"
    unknown = key[:-1] + str((int(key[-1]) + 1) % 10)
    assert cancel(sefin, a1, unknown).status_code == 404
    assert fiscal.ledger()["events"] == []


def test_it_replaces_a_note_and_writes_the_event_itself(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    old = issue(sefin, a1, 1)["chaveAcesso"]
    new = issue(sefin, a1, 2, amount="140.00", subst=subst(old))["chaveAcesso"]
    told = sefin.get(f"/nfse/{old}/eventos/105102/1").json()
    xml = unpack(told["eventoXmlGZipB64"])
    assert find_schema_errors(parse(xml), "evento") == []
    assert new.encode() in xml
    assert {note["access_key"]: note["status"] for note in fiscal.notes()} == {old: "replaced", new: "issued"}
    assert codes(send(sefin, sign(write_dps(3, subst=subst(old)), a1))) == ["E0046"]
    assert cancel(sefin, a1, old).json()["erro"]["codigo"] == "E0840"
    missing = old[:36] + ("2001" + "1" * 9)
    assert codes(send(sefin, sign(write_dps(3, subst=subst(missing + check_digit(missing))), a1))) == ["E0044"]
    changed = sign(write_dps(3, subst=subst(new), competence="2026-01-31"), a1)
    assert codes(send(sefin, changed)) == ["E0060"]


def check_digit(stem: str) -> str:
    total = sum((ord(char) - 48) * weight for char, weight in zip(reversed(stem), [2, 3, 4, 5, 6, 7, 8, 9] * 7, strict=False))
    return "0" if total % 11 < 2 else str(11 - total % 11)


def test_it_distributes_documents_by_number(
    fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any], adn: httpx.Client
) -> None:
    fiscal.set(page_size=2)
    keys = [issue(sefin, a1, number)["chaveAcesso"] for number in (1, 2, 3)]
    event = fiscal.cancel_elsewhere(keys[1])
    assert event["is_elsewhere"]
    found, nsu = [], 0
    while (answer := adn.get(f"/contribuintes/DFe/{nsu}", params={"lote": "true"})).status_code == 200:
        lot = answer.json()["LoteDFe"]
        assert len(lot) <= 2
        found += [(entry["TipoDocumento"], entry["TipoEvento"], entry["ChaveAcesso"]) for entry in lot]
        nsu = lot[-1]["NSU"]
    assert answer.json()["StatusProcessamento"] == "NENHUM_DOCUMENTO_LOCALIZADO"
    assert found == [*(("NFSE", None, key) for key in keys), ("EVENTO", "CANCELAMENTO", keys[1])]
    events = adn.get(f"/contribuintes/NFSe/{keys[1]}/Eventos").json()["LoteDFe"]
    assert b"<cMotivo>9</cMotivo>" in unpack(events[0]["ArquivoXml"])
    assert adn.get(f"/contribuintes/NFSe/{keys[0]}/Eventos").status_code == 404
    one = adn.get("/contribuintes/DFe/2", params={"lote": "false"}).json()["LoteDFe"]
    assert [entry["ChaveAcesso"] for entry in one] == [keys[1]]
    with httpx.Client(base_url=fiscal.fiscal_url, verify=fiscal.context("a1-other"), trust_env=False) as stranger:
        assert stranger.get("/contribuintes/DFe/0").status_code == 404
    assert cancel(sefin, a1, keys[1]).json()["erro"]["codigo"] == "E0840"


def test_it_tells_a_citys_agreement_and_rate(fiscal: FiscalSandbox, adn: httpx.Client) -> None:
    def agreement(code: str) -> list[int]:
        terms = adn.get(f"/parametrizacao/{code}/convenio").json()["parametrosConvenio"]
        return [terms["aderenteAmbienteNacional"], terms["aderenteEmissorNacional"]]

    assert [agreement(code) for code in ("3106200", "3550308", "2304400", "1302603")] == [[1, 1], [1, 0], [0, 0], [0, 0]]
    assert adn.get("/parametrizacao/9999999/convenio").status_code == 404
    fiscal.set_city("3550308", uses_emitter=True, iss_percent="2.50")
    assert agreement("3550308") == [1, 1]
    told = adn.get("/parametrizacao/3550308/01.03.01.000/2026-11-30/aliquota").json()["aliquotas"]
    assert told["01.03.01.000"][0]["Aliq"] == 2.5
    assert adn.get("/parametrizacao/1302603/01.03.01.000/2026-11-30/aliquota").status_code == 404
    assert adn.get("/parametrizacao/3550308/010301/2026-11-30/aliquota").status_code == 400
    assert fiscal.http.post("/fiscal/__city/3550308", json={"colour": "blue"}).status_code == 400
    fiscal.set_city("3148103", name="Patrocínio", state="MG", iss_percent="2.00")
    assert agreement("3148103") == [1, 1]
