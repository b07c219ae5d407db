"""Focus NFe in the sandbox: JSON in, a note some time later, in the shape that its documentation shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from tests.fiscal import FiscalSandbox
from tests.sandbox.dps import CITY, ISSUER, SAO_PAULO
from tokia.sandbox.fiscal_xml import find_schema_errors, parse

TOKEN = "focus-sandbox"


@pytest.fixture
def focus(fiscal: FiscalSandbox) -> Iterator[httpx.Client]:
    fiscal.set(focus_ms=30)
    with httpx.Client(base_url=fiscal.focus_url, auth=(TOKEN, ""), trust_env=False) as client:
        yield client


def national(number: int, **changes: Any) -> dict[str, Any]:
    now = datetime.now(SAO_PAULO) - timedelta(seconds=60)
    return {
        "data_emissao": now.isoformat(timespec="seconds"), "data_competencia": f"{now:%Y-%m-%d}", "serie_dps": 1,
        "numero_dps": number, "emitente_dps": 1, "codigo_municipio_emissora": CITY, "cnpj_prestador": ISSUER,
        "inscricao_municipal_prestador": "1234567", "codigo_opcao_simples_nacional": 1, "regime_especial_tributacao": 0,
        "cnpj_tomador": "11222333000181", "razao_social_tomador": "Padaria", "codigo_municipio_tomador": "3304557",
        "cep_tomador": "20040002", "logradouro_tomador": "Av. Rio Branco", "numero_tomador": "1", "bairro_tomador": "Centro",
        "codigo_municipio_prestacao": CITY, "codigo_tributacao_nacional_iss": "010301", "codigo_nbs": "115062100",
        "descricao_servico": "Uso da API em novembro", "valor_servico": 150.5, "tributacao_iss": 1, "tipo_retencao_iss": 1,
        "percentual_total_tributos_federais": "13.45", "percentual_total_tributos_estaduais": "0.00",
        "percentual_total_tributos_municipais": "3.00", "situacao_tributaria_pis_cofins": "01", "base_calculo_pis_cofins": "150.50",
        "aliquota_pis": "0.65", "aliquota_cofins": "3.00", "valor_pis": "0.98", "valor_cofins": "4.52",
        "codigo_indicador_operacao": "100301", "ibs_cbs_situacao_tributaria": "000", "ibs_cbs_classificacao_tributaria": "000001",
    } | changes  # fmt: skip


CITY_BODY = {
    "data_emissao": "2026-11-22T10:00:00-03:00",
    "prestador": {"cnpj": ISSUER, "inscricao_municipal": "1234567", "codigo_municipio": "3550308"},
    "tomador": {"cnpj": "11222333000181", "razao_social": "Padaria", "email": "a@b.example"},
    "servico": {"discriminacao": "Uso da API", "valor_servicos": "99.90", "item_lista_servico": "0103", "iss_retido": False},
}


def wait(client: httpx.Client, path: str, *, until: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        told: dict[str, Any] = client.get(path).json()
        if until(told) if until else told["status"] != "processando_autorizacao":
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def test_it_issues_a_national_note_after_a_while(fiscal: FiscalSandbox, focus: httpx.Client) -> None:
    answer = focus.post("/v2/nfsen", params={"ref": "nota1"}, json=national(1))
    assert (answer.status_code, answer.json()["status"]) == (202, "processando_autorizacao")
    assert focus.post("/v2/nfsen", params={"ref": "nota1"}, json=national(1)).json()["codigo"] == "em_processamento"
    told = wait(focus, "/v2/nfsen/nota1")
    assert (told["status"], told["numero"], told["cnpj_prestador"]) == ("autorizado", "1", ISSUER)
    xml = focus.get(told["caminho_xml_nota_fiscal"]).content
    assert find_schema_errors(parse(xml), "NFSe") == []
    assert b"<vServ>150.50</vServ>" in xml
    pdf = httpx.get(told["url_danfse"])
    assert (pdf.headers["content-type"], pdf.content[:5]) == ("application/pdf", b"%PDF-")
    assert fiscal.notes()[0]["access_key"].encode() in xml
    again = focus.post("/v2/nfsen", params={"ref": "nota1"}, json=national(1))
    assert (again.status_code, again.json()["codigo"]) == (422, "already_processed")
    assert len(fiscal.notes()) == 1


def test_it_tells_why_a_note_was_refused_and_takes_the_ref_again(fiscal: FiscalSandbox, focus: httpx.Client) -> None:
    focus.post(
        "/v2/nfsen",
        params={"ref": "n2"},
        json=national(1, codigo_tributacao_nacional_iss="019901", inscricao_municipal_prestador=""),
    )
    told = wait(focus, "/v2/nfsen/n2")
    assert told["status"] == "erro_autorizacao"
    assert [error["codigo"] for error in told["erros"]] == ["E0116", "E0310"]
    assert focus.post("/v2/nfsen", params={"ref": "n2"}, json=national(1)).status_code == 202
    assert wait(focus, "/v2/nfsen/n2")["status"] == "autorizado"
    focus.post("/v2/nfsen", params={"ref": "n3"}, json=national(1))
    assert wait(focus, "/v2/nfsen/n3")["erros"][0]["codigo"] == "E0014"
    focus.post("/v2/nfsen", params={"ref": "n4"}, json=national(4, codigo_municipio_emissora="3550308"))
    assert "E0039" in [error["codigo"] for error in wait(focus, "/v2/nfsen/n4")["erros"]]
    focus.post("/v2/nfsen", params={"ref": "n5"}, json=national(5, valor_servico="caro"))
    assert wait(focus, "/v2/nfsen/n5")["erros"][0]["codigo"] == "E1235"
    fiscal.script("focus_submit", {"kind": "erro_autorizacao", "code": "E9", "text": "Não"})
    focus.post("/v2/nfsen", params={"ref": "n6"}, json=national(6))
    assert wait(focus, "/v2/nfsen/n6")["erros"][0] == {"codigo": "E9", "mensagem": "Não", "correcao": None}


def test_it_issues_a_note_of_a_citys_own(focus: httpx.Client) -> None:
    assert focus.post("/v2/nfse", params={"ref": "c1"}, json=CITY_BODY).status_code == 202
    told = wait(focus, "/v2/nfse/c1")
    assert (told["status"], told["numero"], len(told["codigo_verificacao"])) == ("autorizado", "1", 8)
    assert b"<ValorServicos>99.90</ValorServicos>" in focus.get(told["caminho_xml_nota_fiscal"]).content
    assert focus.get("/v2/nfsen/c1").status_code == 404
    missing = {**CITY_BODY, "servico": {}}
    assert focus.post("/v2/nfse", params={"ref": "c2"}, json=missing).status_code == 422


def test_it_cancels(fiscal: FiscalSandbox, focus: httpx.Client) -> None:
    for ref, number in (("a1", 1), ("a2", 2)):
        focus.post("/v2/nfsen", params={"ref": ref}, json=national(number))
        wait(focus, f"/v2/nfsen/{ref}")
    assert focus.request("DELETE", "/v2/nfsen/a1", json={"justificativa": "curta"}).status_code == 422
    reason = {"justificativa": "Valor informado com erro"}
    assert focus.request("DELETE", "/v2/nfsen/a1", json=reason).json()["status"] == "cancelado"
    assert focus.request("DELETE", "/v2/nfsen/a1", json=reason).json()["codigo"] == "nfe_cancelada"
    told = focus.get("/v2/nfsen/a1").json()
    assert told["status"] == "cancelado"
    assert find_schema_errors(parse(focus.get(told["caminho_xml_cancelamento"]).content), "evento") == []
    assert focus.request("DELETE", "/v2/nfsen/a9", json=reason).status_code == 404
    fiscal.set_city(CITY, cancel_days=1)
    fiscal.set(offset_seconds=2 * 86_400)
    assert focus.request("DELETE", "/v2/nfsen/a2", json=reason).json()["status"] == "erro_cancelamento"
    assert [(event["type"], event["is_elsewhere"]) for event in fiscal.ledger()["events"]] == [("101101", False)]


def test_it_asks_who_calls_and_how_often(fiscal: FiscalSandbox, focus: httpx.Client) -> None:
    for auth in (None, ("wrong", "")):
        assert httpx.get(f"{fiscal.focus_url}/v2/nfsen/x", auth=auth).status_code == 401
    assert focus.get("/v2/nfsen/x").json()["codigo"] == "nao_encontrado"
    assert focus.post("/v2/nfsen", params={"ref": "com-traço"}, json={}).status_code == 400
    assert focus.post("/v2/nfsen", params={"ref": "x"}, json={}).json()["mensagem"].endswith("data_emissao")
    fiscal.set(focus_rate=5)
    answers = [focus.get("/v2/nfsen/x") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [404, 404, 429, 429]
    assert answers[-1].headers["retry-after"] == "60"


def test_it_breaks_as_scripted(fiscal: FiscalSandbox, focus: httpx.Client) -> None:
    fiscal.script("focus_submit", "lost", "503")
    with pytest.raises(httpx.RemoteProtocolError):
        focus.post("/v2/nfsen", params={"ref": "b1"}, json=national(1))
    assert wait(focus, "/v2/nfsen/b1")["status"] == "autorizado"
    assert focus.post("/v2/nfsen", params={"ref": "b2"}, json=national(2)).status_code == 503
    assert focus.get("/v2/nfsen/b2").status_code == 404


def test_it_wakes_its_customer_up(fiscal: FiscalSandbox, focus: httpx.Client) -> None:
    heard: list[tuple[str, bytes]] = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append((self.headers["authorization"], body))
            self.send_response(500 if len(heard) == 1 else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/webhooks/focus/"
        focus.post("/v2/hooks", json={"event": "nfsen", "url": url, "authorization": "segredo"})
        assert focus.get("/v2/hooks").json()[0]["url"] == url
        focus.post("/v2/nfsen", params={"ref": "w1"}, json=national(1))
        deadline = time.monotonic() + 5
        while len(heard) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        server.shutdown()
        server.server_close()
    assert [secret for secret, _ in heard] == ["segredo", "segredo"]
    assert b'"status":"autorizado"' in heard[1][1]
    assert [delivery["status"] for delivery in fiscal.ledger()["focus"]["deliveries"]] == [500, 200]
