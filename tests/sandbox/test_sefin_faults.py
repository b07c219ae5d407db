"""How the sandbox's tax office breaks when asked to, and that it never issues twice."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fiscal import FiscalSandbox, running_fiscal
from tests.sandbox.dps import pack, sign, unpack, write_dps
from tests.sandbox.test_sefin import issue, open_sefin, send

assert open_sefin  # a fixture
DPS_ID = "DPS3106200212ABC34501DE3500001000000000000001"


@pytest.fixture
def sefin(fiscal: FiscalSandbox, open_sefin: httpx.Client) -> httpx.Client:
    return open_sefin


@pytest.fixture(scope="session")
def a1(fiscal_process: FiscalSandbox) -> tuple[Any, Any]:
    return fiscal_process.a1()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("lost", httpx.RemoteProtocolError),
        ({"kind": "timeout", "ms": 30_000}, httpx.ReadTimeout),
        ("half", httpx.RemoteProtocolError),
    ],
)
def test_it_issues_and_loses_the_answer(fiscal: FiscalSandbox, a1: tuple[Any, Any], fault: Any, error: type[Exception]) -> None:
    fiscal.script("emit", fault)
    with fiscal.client(timeout=0.5) as client:
        with pytest.raises(error):
            send(client, sign(write_dps(1), a1))
        key = client.get(f"/dps/{DPS_ID}").json()["chaveAcesso"]
    assert [note["access_key"] for note in fiscal.notes()] == [key]


@pytest.mark.parametrize("fault", ["404", "429", "500", "503", {"kind": "reject", "code": "E0310", "text": "Não existe"}])
def test_it_refuses_and_issues_nothing(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any], fault: Any) -> None:
    fiscal.script("emit", fault if isinstance(fault, dict) else {"kind": fault, "retry_after": 7})
    answer = send(sefin, sign(write_dps(1), a1))
    if isinstance(fault, dict):
        assert (answer.status_code, answer.json()["erros"][0]["codigo"]) == (400, "E0310")
    else:
        assert (answer.status_code, answer.headers["retry-after"]) == (int(fault), "7")
        assert answer.headers["content-type"].startswith("text/html")
    assert fiscal.notes() == []
    issue(sefin, a1, 1)


def test_it_hangs_before_its_work(fiscal: FiscalSandbox, a1: tuple[Any, Any]) -> None:
    fiscal.script("emit", {"kind": "timeout_before", "ms": 30_000})
    with fiscal.client(timeout=0.3) as client, pytest.raises(httpx.ReadTimeout):
        send(client, sign(write_dps(1), a1))
    assert fiscal.notes() == []


def test_it_proves_nothing_with_garbage(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    fiscal.script("emit", "garbage")
    told = issue(sefin, a1, 1)
    assert told["chaveAcesso"].encode() not in unpack(told["nfseXmlGZipB64"])
    fiscal.script("read", "500", times=2)
    key = sefin.get(f"/dps/{DPS_ID}").json()["chaveAcesso"]
    assert key.encode() in unpack(told["nfseXmlGZipB64"])
    assert [sefin.get(f"/nfse/{key}").status_code for _ in range(3)] == [500, 500, 200]
    fiscal.script("cancel", "garbage")
    answer = sefin.post(f"/nfse/{key}/eventos", json={})
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_it_hangs_up_before_a_word_of_tls(fiscal: FiscalSandbox, a1: tuple[Any, Any]) -> None:
    fiscal.script("connect", "refuse", times=2)
    for _ in range(2):
        with fiscal.client() as client, pytest.raises(httpx.ConnectError):
            send(client, sign(write_dps(1), a1))
    with fiscal.client() as client:
        issue(client, a1, 1)
    assert fiscal.ledger()["pending"] == {}


def test_it_issues_once_for_twenty_at_once(fiscal: FiscalSandbox, sefin: httpx.Client, a1: tuple[Any, Any]) -> None:
    body = {"dpsXmlGZipB64": pack(sign(write_dps(1), a1))}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: sefin.post("/nfse", json=body).status_code, range(20)))
    assert sorted(answers) == [201] + [400] * 19
    assert len(fiscal.notes()) == 1


def test_it_refuses_faults_that_it_does_not_know(fiscal: FiscalSandbox) -> None:
    for body in (
        {"operation": "emit", "faults": ["bang"]},
        {"operation": "dance", "faults": []},
        {"operation": "emit", "times": -1},
    ):
        assert fiscal.http.post("/fiscal/__script", json=body).status_code == 400
    fiscal.script("emit", "lost", times=3)
    assert fiscal.http.delete("/fiscal/__script").json() == {"pending": {}}
    assert fiscal.http.get("/fiscal/__nothing").status_code == 404


def test_it_remembers_over_a_restart(tmp_path: Path) -> None:
    with running_fiscal(tmp_path) as first:
        a1 = first.a1()
        with first.client() as client:
            told = issue(client, a1, 1)
        first.script("emit", "503")
        first.set(dialect="array")
        first.set_city("3550308", uses_emitter=True)
        first.cancel_elsewhere(told["chaveAcesso"])
    with running_fiscal(tmp_path) as second, second.client() as client:
        assert second.a1()[1] == a1[1]
        assert client.get(f"/dps/{DPS_ID}").json()["chaveAcesso"] == told["chaveAcesso"]
        assert client.get(f"/nfse/{told['chaveAcesso']}/eventos/101101/1").status_code == 200
        assert send(client, sign(write_dps(2), a1)).status_code == 503
        assert "erro" in send(client, sign(write_dps(1), a1)).json()
        assert second.notes()[0]["status"] == "cancelled"
        assert issue(client, a1, 2, city="3550308")["chaveAcesso"][30:36] == "000002"
