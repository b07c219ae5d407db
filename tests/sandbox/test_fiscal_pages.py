"""`/fiscal/`: the tax office as a person sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fiscal import FiscalSandbox
from tests.sandbox.dps import PERSON, sign, write_dps
from tests.sandbox.test_sefin import send


@pytest.fixture
def keys(fiscal: FiscalSandbox) -> Iterator[list[str]]:
    """Three notes: of a company, of a person, and one that took the first one's place."""
    a1: tuple[Any, Any] = fiscal.a1()
    with fiscal.client() as client:
        told = [send(client, sign(write_dps(1), a1)).json(), send(client, sign(write_dps(2, taker=PERSON), a1)).json()]
        subst = f"<subst><chSubstda>{told[0]['chaveAcesso']}</chSubstda><cMotivo>01</cMotivo></subst>"
        told.append(send(client, sign(write_dps(3, subst=subst, amount="1234.56"), a1)).json())
    yield [answer["chaveAcesso"] for answer in told]


def test_it_lists_notes_with_their_state(fiscal: FiscalSandbox, keys: list[str]) -> None:
    page = fiscal.http.get("/fiscal/").text
    assert page.index("R$ 1.234,56") < page.index("R$ 150,00")
    assert "Padaria Ação &amp; Cia" in page
    assert page.count("Autorizada") == 2
    assert "Substituída" in page
    note = fiscal.http.get(f"/fiscal/nota/{keys[2]}").text
    assert f"/fiscal/nota/{keys[0]}" in note
    assert "Produção restrita" in note
    old = fiscal.http.get(f"/fiscal/nota/{keys[0]}").text
    assert "Cancelamento por substituição" in old
    assert "Cancelar esta nota" not in old
    assert fiscal.http.get(f"/fiscal/nota/{keys[0]}/evento/105102").content.startswith(b"<?xml")
    assert fiscal.http.get(f"/fiscal/nota/{keys[0]}/evento/101101").status_code == 404
    assert fiscal.http.get(f"/fiscal/nota/{keys[0]}/xml").content == fiscal.note_xml(keys[0])
    assert fiscal.http.get("/fiscal/nota/x").status_code == 404
    assert 'href="/fiscal/"' in fiscal.http.get("/").text


def test_it_lets_a_person_cancel_elsewhere(fiscal: FiscalSandbox, keys: list[str]) -> None:
    path = f"/fiscal/nota/{keys[1]}/cancelar"
    assert fiscal.http.post(path, data={"codigo": "2", "motivo": "curto"}).status_code == 400
    answer = fiscal.http.post(path, data={"codigo": "2", "motivo": "Serviço não prestado ao cliente"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/fiscal/nota/{keys[1]}")
    page = fiscal.http.get(answer.headers["location"]).text
    assert "feito no portal nacional" in page
    assert "Serviço não prestado ao cliente" in page
    with httpx.Client(base_url=fiscal.sefin_url, verify=fiscal.context(), trust_env=False) as client:
        assert client.get(f"/nfse/{keys[1]}/eventos/101101/1").status_code == 200
    assert fiscal.http.post(path, data={"codigo": "2", "motivo": "Serviço não prestado ao cliente"}).status_code == 400
