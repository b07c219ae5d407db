"""Sefin Nacional in the sandbox: a DPS becomes a note once, by every signature; what is wrong is refused with its code."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import xmlsec
from lxml import etree

from tests.fiscal import FiscalSandbox
from tests.sandbox.dps import CITY, IBSCBS, METHODS, NS, PERSON, SAO_PAULO, TAKER, TOTAL, pack, sign, unpack, write_dps
from tokia.sandbox.fiscal_books import key_check_digit
from tokia.sandbox.fiscal_xml import find_schema_errors, parse


@pytest.fixture(scope="session")
def open_sefin(fiscal_process: FiscalSandbox) -> Iterator[httpx.Client]:
    with fiscal_process.client() as client:
        yield client


@pytest.fixture
def sefin(fiscal: FiscalSandbox, open_sefin: httpx.Client) -> httpx.Client:
    return open_sefin


@pytest.fixture(scope="session")
def a1(fiscal_process: FiscalSandbox) -> tuple[Any, Any]:
    return fiscal_process.a1()


def send(client: httpx.Client, xml: bytes, *, base: str = "") -> httpx.Response:
    return client.post(f"{base}/nfse", json={"dpsXmlGZipB64": pack(xml)})


def issue(client: httpx.Client, a1: tuple[Any, Any], number: int, **changes: Any) -> dict[str, Any]:
    answer = send(client, sign(write_dps(number, **changes), a1))
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def codes(answer: httpx.Response) -> list[str]:
    return [error["codigo"] for error in answer.json()["erros"]]


def verify_with_xmlsec(xml: bytes, *, ca_file: str, signed: str) -> None:
    """libxmlsec's own opinion of the signature that stands beside the element `signed`. Raises."""
    root = etree.fromstring(xml)
    for element in root.iter(f"{{{NS}}}infNFSe", f"{{{NS}}}infDPS", f"{{{NS}}}infEvento", f"{{{NS}}}infPedReg"):
        xmlsec.tree.add_ids(element, ["Id"])
    parent = next(root.iter(f"{{{NS}}}{signed}")).getparent()
    node = parent.find("{http://www.w3.org/2000/09/xmldsig#}Signature")
    manager = xmlsec.KeysManager()
    manager.load_cert(ca_file, xmlsec.constants.KeyDataFormatPem, xmlsec.constants.KeyDataTypeTrusted)
    xmlsec.SignatureContext(manager).verify(node)  # type: ignore[call-arg]  # its stub forgot the manager


@pytest.mark.parametrize("method", METHODS)
def test_it_makes_a_note_of_a_dps_with_every_signature(
    fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any], method: str
) -> None:
    answer = send(sefin, sign(write_dps(1), a1, method=method))
    assert answer.status_code == 201, answer.text
    told = answer.json()
    xml = unpack(told["nfseXmlGZipB64"])
    key = told["chaveAcesso"]
    assert find_schema_errors(parse(xml), "NFSe") == []
    root = etree.fromstring(xml)
    assert root[0].get("Id") == f"NFS{key}"
    assert key[:23] == f"{CITY}2" + "2" + "12ABC34501DE35"
    assert key_check_digit(key[:49]) == key[49]
    # Two signatures: the DPS' own, untouched, and Sefin's.
    verify_with_xmlsec(xml, ca_file=str(fiscal.ca_file), signed="infNFSe")
    verify_with_xmlsec(xml, ca_file=str(fiscal.ca_file), signed="infDPS")
    values = root.find(f".//{{{NS}}}infNFSe/{{{NS}}}valores")
    shown = {etree.QName(value).localname: value.text for value in values}
    assert shown == {"vBC": "150.00", "pAliqAplic": "3.00", "vISSQN": "4.50", "vLiq": "150.00"}
    assert told["idDps"] == "DPS3106200212ABC34501DE3500001000000000000001"
    assert told["tipoAmbiente"] == 2


def test_it_finds_what_it_issued(sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    told = issue(sefin, a1, 7)
    assert sefin.get(f"/dps/{told['idDps']}").json()["chaveAcesso"] == told["chaveAcesso"]
    assert sefin.head(f"/dps/{told['idDps']}").status_code == 200
    assert sefin.get(f"/nfse/{told['chaveAcesso']}").json()["nfseXmlGZipB64"] == told["nfseXmlGZipB64"]
    missing = told["idDps"][:-1] + "8"
    assert sefin.get(f"/dps/{missing}").status_code == 404
    assert sefin.head(f"/dps/{missing}").status_code == 404


def test_it_tells_a_stranger_nothing(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    told = issue(sefin, a1, 1)
    with fiscal.client("a1-other") as stranger:
        assert stranger.get(f"/dps/{told['idDps']}").status_code == 404
        assert stranger.get(f"/nfse/{told['chaveAcesso']}").status_code == 403


def test_it_takes_a_number_once(sefin: httpx.Client, a1: tuple[Any, Any], fiscal: FiscalSandbox) -> None:
    issue(sefin, a1, 3)
    again = send(sefin, sign(write_dps(3, amount="99.00"), a1))
    assert again.status_code == 400
    assert codes(again) == ["E0014"]
    assert [note["number"] for note in fiscal.notes()] == [1]


def test_it_keeps_its_environments_apart(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    production = fiscal.sefin_url.replace("/SefinNacional", "/producao/SefinNacional")
    xml = sign(write_dps(1, environment=1), a1)
    assert codes(send(sefin, xml)) == ["E0006"]
    answer = send(sefin, xml, base=production)
    assert (answer.status_code, answer.json()["tipoAmbiente"]) == (201, 1)
    assert sefin.get(f"/dps/{answer.json()['idDps']}").status_code == 404
    issue(sefin, a1, 1)


ME = {"regime": "3", "assessment": "<regApTribSN>1</regApTribSN>", "total": "<totTrib><pTotTribSN>6.00</pTotTribSN></totTrib>"}
ADDRESS = TAKER[TAKER.index("<end>") : TAKER.index("</toma>")]
MEI = {"regime": "2", "total": "<totTrib><indTotTrib>0</indTotTrib></totTrib>"}
BAD = [
    ("E0004", {"id": "DPS3106200212ABC34501DE3500001000000000000002"}),
    ("E0008", {"at": dt.datetime(2098, 1, 1, tzinfo=SAO_PAULO)}),
    ("E0010", {"series": 50_000}),
    ("E0015", {"competence": "2098-01-01"}),
    ("E0037", {"city": "1302603"}),
    ("E0037", {"city": "3148103"}),
    ("E0038", {"city": "2304400"}),
    ("E0039", {"city": "3550308"}),
    ("E0116", {"im": ""}),
    ("E0120", {"city": "4314902"}),
    ("E0121", {"issuer_extra": "<xNome>Tokia</xNome>"}),
    ("E0128", {"issuer_extra": ADDRESS}),
    ("E0162", {"assessment": "<regApTribSN>1</regApTribSN>"}),
    ("E0166", ME | {"assessment": ""}),
    ("E0188", {"taker": TAKER.replace("11222333000181", "11222333000182")}),
    ("E0202", {"taker": TAKER.replace("11222333000181", "12ABC34500ZZ20")}),
    ("E0206", {"taker": PERSON.replace("52998224725", "52998224726")}),
    ("E0235", {"taker": "<toma><CNPJ>11222333000181</CNPJ><xNome>X</xNome></toma>"}),
    ("E0237", {"taker": PERSON, "withheld": "2"}),
    ("E0310", {"service": "019901"}),
    ("E0314", {"city_service": "<cTribMun>999</cTribMun>"}),
    ("E0316", {"nbs": "<cNBS>999999999</cNBS>"}),
    ("E0322", {"nbs": ""}),
    ("E0583", MEI | {"withheld": "2"}),
    ("E0595", {"rate": "<pAliq>5.01</pAliq>"}),
    ("E0600", MEI | {"rate": "<pAliq>2.00</pAliq>"}),
    ("E0617", {"rate": "<pAliq>2.00</pAliq>"}),
    ("E0619", {"city": "2304400"}),
    ("E0621", ME | {"withheld": "2"}),
    ("E0621", ME | {"withheld": "2", "rate": "<pAliq>1.79</pAliq>"}),
    ("E0625", ME | {"rate": "<pAliq>2.00</pAliq>"}),
    ("E0635", ME | {"assessment": "<regApTribSN>2</regApTribSN>", "rate": "<pAliq>2.00</pAliq>"}),
    ("E0640", ME | {"assessment": "<regApTribSN>2</regApTribSN>", "city": "2304400"}),
    ("E0710", MEI | {"total": ME["total"]}),
    ("E0712", ME | {"total": MEI["total"]}),
    ("E0713", {"total": MEI["total"]}),
    ("E0713", {"total": ME["total"]}),
    ("E0959", {"ibscbs": IBSCBS.replace("<CST>000", "<CST>200")}),
    ("E0042", {"subst": f"<subst><chSubstda>{'9' * 50}</chSubstda><cMotivo>01</cMotivo></subst>"}),
    ("E1235", {"amount": "1,50"}),
    ("E1235", {"total": ""}),
    ("E0718", {"issuer": "45997418000153"}),
]


@pytest.mark.parametrize(("code", "changes"), BAD, ids=[f"{code}-{number}" for number, (code, _) in enumerate(BAD)])
def test_it_refuses_a_dps_with_the_code_of_the_annex(
    sefin: httpx.Client, a1: tuple[Any, Any], fiscal: FiscalSandbox, code: str, changes: dict[str, Any]
) -> None:
    answer = send(sefin, sign(write_dps(1, **changes), a1))
    assert answer.status_code == 400, answer.text
    assert code in codes(answer)
    assert fiscal.notes() == []


@pytest.mark.parametrize("changes", [ME, MEI, {"taker": PERSON}, {"taker": ""}, {"ibscbs": "", "nbs": ""},
                                     ME | {"withheld": "2", "rate": "<pAliq>2.00</pAliq>"}])  # fmt: skip
def test_it_accepts_every_regime_and_taker(sefin: httpx.Client, a1: tuple[Any, Any], changes: dict[str, Any]) -> None:
    told = issue(sefin, a1, 1, **changes)
    assert find_schema_errors(parse(unpack(told["nfseXmlGZipB64"])), "NFSe") == []


def test_it_accepts_what_the_city_says_now(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    fiscal.set_city("3550308", uses_emitter=True)
    issue(sefin, a1, 1, city="3550308", im="")
    fiscal.set_city("3550308", is_established=False)
    assert codes(send(sefin, sign(write_dps(2, city="3550308"), a1))) == ["E0084"]
    fiscal.set(unknown_tax_ids=["52998224725", "11222333000181"])
    assert codes(send(sefin, sign(write_dps(2, taker=PERSON), a1))) == ["E0207"]
    assert codes(send(sefin, sign(write_dps(2), a1))) == ["E0190"]


def test_it_checks_the_signature(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    signed = sign(write_dps(1), a1)
    assert codes(send(sefin, signed.replace(b"150.00", b"1.00"))) == ["E0714"]
    assert codes(send(sefin, write_dps(1))) == ["E0717"]
    assert codes(send(sefin, sign(write_dps(1), fiscal.a1("a1-expired")))) == ["E0715"]
    assert codes(send(sefin, sign(write_dps(1), fiscal.a1("a1-plain")))) == ["E0716"]
    assert codes(send(sefin, sign(write_dps(1), fiscal.a1("a1-other")))) == ["E0718"]
    # The signature of another element that stands in the message does not count.
    other = etree.fromstring(sign(write_dps(2), a1))
    mixed = etree.fromstring(signed)
    mixed.replace(mixed[1], other[1])
    assert codes(send(sefin, etree.tostring(mixed))) == ["E0714"]


def test_it_admits_only_certificates_of_companies(fiscal: FiscalSandbox) -> None:
    path = "/dps/DPS3106200212ABC34501DE3500001000000000000001"
    for name, code in (("a1-expired", "E1201"), ("a1-plain", "E1208")):
        with fiscal.client(name) as client:
            answer = client.get(path)
            assert (answer.status_code, answer.json()["erro"]["codigo"]) == (403, code)
    with fiscal.client("") as client, pytest.raises(httpx.TransportError):
        client.get(path)


def test_it_reads_only_what_is_packed_as_it_wants(sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    signed = sign(write_dps(1), a1)
    raw = sefin.post("/nfse", content=signed, headers={"content-type": "application/xml"})
    assert raw.status_code == 415
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb") as file:
        for _ in range(64):
            file.write(b" " * 1_048_576)
    unzipped, folded = base64.b64encode(signed).decode(), base64.b64encode(bomb.getvalue()).decode()
    for text in ("não é base64", unzipped, folded, pack(signed)[:-40], 7):
        answer = sefin.post("/nfse", json={"dpsXmlGZipB64": text})
        assert codes(answer) == ["E1225"]
    assert codes(send(sefin, b"<DPS")) == ["E1226"]
    entity = b'<!DOCTYPE d [<!ENTITY a "b">]><DPS xmlns="' + NS.encode() + b'">&a;</DPS>'
    assert codes(send(sefin, entity)) == ["E1226"]
    prefixed = signed.replace(b"<DPS xmlns=", b'<p:DPS xmlns:p="' + NS.encode() + b'" xmlns=').replace(b"</DPS>", b"</p:DPS>")
    assert codes(send(sefin, prefixed)) == ["E1228"]
    assert codes(send(sefin, signed.replace(b"UTF-8", b"ISO-8859-1"))) == ["E1229"]


@pytest.mark.parametrize(
    ("dialect", "name"),
    [("swagger", "codigo"), ("capitalised", "Codigo"), ("object", "Codigo"), ("array", "Codigo"), ("list", "Codigo")],
)
def test_it_speaks_every_dialect_of_errors(
    fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any], dialect: str, name: str
) -> None:
    fiscal.set(dialect=dialect)
    told = send(sefin, sign(write_dps(1, im="", service="019901"), a1)).json()
    if dialect == "list":
        errors = told
    elif dialect in ("swagger", "capitalised"):
        errors = told["erros"]
        assert told["idDPS"] == "DPS3106200212ABC34501DE3500001000000000000001"
    else:
        errors = told["erro"] if dialect == "array" else [told["erro"]]
    assert errors[0][name] == "E0116"
    assert len(errors) == (1 if dialect == "object" else 2)


def test_it_warns_where_the_new_taxes_are_missing(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    fiscal.set(ibscbs_required_on="2020-01-01")
    assert [alert["codigo"] for alert in issue(sefin, a1, 1, ibscbs="")["alertas"]] == ["A0001"]
    assert "alertas" not in issue(sefin, a1, 2)
    assert TOTAL in write_dps(2).decode()
