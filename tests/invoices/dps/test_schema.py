"""The official XSD with the patterns of July 2026."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from invoices.dps import schema
from invoices.dps.build import build_dps
from invoices.dps.schema import BUNDLE, LAYOUT, check_schema
from tests.invoices.dps.cases import CASES

XML = build_dps(CASES["normal-cnpj-monthly"])


def test_it_is_of_the_layout_and_bundle_in_force() -> None:
    assert (LAYOUT, BUNDLE) == ("1.01", "20260727") and b'versao="1.01"' in XML


def test_it_takes_letters_in_a_cnpj_and_names_what_is_wrong_with_one() -> None:
    assert check_schema(build_dps(CASES["normal-issuer-with-letters"]), "DPS") == []
    (problem,) = check_schema(XML.replace(b"<CNPJ>45997418000153", b"<CNPJ>45997418-000153"), "DPS")[:1]
    assert problem.startswith("infDPS/toma/CNPJ: ") and "http" not in problem


@pytest.mark.parametrize(
    "old, new, where",
    [
        (b"<nDPS>7<", b"<nDPS>07<", "infDPS/nDPS"),
        (b"<serie>1<", b"<serie>90000<", "infDPS/serie"),
        (b"09:33:56-03:00", b"09:33:56.789-03:00", "infDPS/dhEmi"),
        (b"<vServ>1234.56<", b"<vServ>1234.5<", "infDPS/valores/vServPrest/vServ"),
        (b"<tpEmit>1</tpEmit>", b"", "infDPS/cLocEmi"),
        (b"<verAplic>", b"<mais/><verAplic>", "infDPS/mais"),
        (b"</xNome>", b" </xNome>", ""),  # the official type of a name has no pattern
        (b"</xLgr>", b" </xLgr>", "infDPS/toma/end/xLgr"),
    ],
)
def test_it_says_where_a_document_does_not_hold(old: bytes, new: bytes, where: str) -> None:
    problems = check_schema(XML.replace(old, new), "DPS")
    assert not problems if not where else problems[0].startswith(f"{where}: ")


@pytest.mark.parametrize("xml", [b"", b"<a", b"texto", b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', b"<a/>" + b" " * 3_000_000])
def test_it_refuses_what_is_no_xml_of_ours(xml: bytes) -> None:
    assert len(check_schema(xml, "DPS")) == 1


def test_it_knows_a_document_of_another_kind() -> None:
    assert "DPS" in check_schema(XML, "NFSe")[0]


def test_it_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the schema went to the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(schema, "_schemas", {})
    for kind in ("DPS", "NFSe", "pedRegEvento", "evento"):
        check_schema(XML, kind)


def test_it_tells_threads_apart() -> None:
    """Each gets the problems of its own document, not of its neighbour's."""
    documents = [XML.replace(b"<nDPS>7<", b"<nDPS>0%d<" % number) for number in range(40)] + [XML] * 40
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda xml: check_schema(xml, "DPS"), documents))
    assert all(f"'0{number}'" in answer[0] for number, answer in enumerate(answers[:40])) and not any(answers[40:])


def test_it_refuses_schema_files_it_was_not_written_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer nfelib that has the patterns itself is noticed at once, not half patched."""
    monkeypatch.setattr(schema, "PATTERNS", {"TSCNPJ": ("[0-9A-Z]{14}", "[0-9A-Z]{14}")})
    monkeypatch.setattr(schema, "_schemas", {})
    with pytest.raises(ValueError, match="TSCNPJ"):
        check_schema(XML, "DPS")
