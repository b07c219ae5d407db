"""The bank's API against the published contract, over mutual TLS."""

from __future__ import annotations

import datetime as dt
import ssl
import time
import uuid
from typing import Any

import httpx
import pytest

from tests.sandbox.conftest import PIX_KEY, Sandbox, bank_client, bank_context
from tests.sandbox.pix_contract import conform, problem_of


def new_txid() -> str:
    return f"tk{uuid.uuid4().hex}"


def request_for(amount: str = "150.00", **members: Any) -> dict[str, Any]:
    return {"calendario": {"expiracao": 3600}, "valor": {"original": amount}, "chave": PIX_KEY, **members}


def open_cob(bank: httpx.Client, amount: str = "150.00", **members: Any) -> Any:
    answer = bank.put(f"/cob/{new_txid()}", json=request_for(amount, **members))
    assert answer.status_code == 201, answer.text
    return conform(answer.json(), "cob")


def pay(sandbox: Sandbox, txid: str, **options: Any) -> Any:
    return sandbox.post(f"/bank/api/pay/{txid}", options)["pix"]


def period(**more: str) -> dict[str, str]:
    now = dt.datetime.now(dt.UTC)
    hour = dt.timedelta(hours=1)
    return {"inicio": (now - hour).isoformat(), "fim": (now + hour).isoformat(), **more}


def test_it_wants_the_clients_own_certificate(fresh: Sandbox) -> None:
    bare = ssl.create_default_context(cafile=str(fresh.folder / "ca.pem"))
    with httpx.Client(verify=bare, trust_env=False) as client, pytest.raises(httpx.TransportError):
        client.post(f"{fresh.psp_url}/oauth/token")
    other = ssl.create_default_context(cafile=str(fresh.folder / "ca.pem"))
    other.load_cert_chain(fresh.folder / "hook.pem")
    with httpx.Client(verify=other, trust_env=False) as client:
        assert problem_of(client.post(f"{fresh.psp_url}/oauth/token"), status=403)[0] == "AcessoNegado"


def test_it_grants_tokens_to_its_client_alone(fresh: Sandbox) -> None:
    with httpx.Client(base_url=fresh.psp_url, verify=bank_context(fresh.folder), trust_env=False) as client:
        form = {"grant_type": "client_credentials"}
        good = client.post("/oauth/token", data=form, auth=("tokia-sandbox", "tokia-sandbox-secret"))
        assert good.json()["token_type"] == "Bearer"
        assert good.json()["expires_in"] == 3600
        assert client.post("/oauth/token", data=form, auth=("tokia-sandbox", "errado")).status_code == 401
        wrong = client.post("/oauth/token", data={"grant_type": "password"}, auth=("tokia-sandbox", "tokia-sandbox-secret"))
        assert wrong.json()["error"] == "unsupported_grant_type"
        assert client.get(f"/cob/{new_txid()}").status_code == 401
    with bank_client(fresh, scope="cob.read") as reader:
        assert problem_of(reader.put(f"/cob/{new_txid()}", json=request_for()), status=403)[0] == "AcessoNegado"


def test_it_creates_a_charge_with_its_code(bank: httpx.Client) -> None:
    cob = open_cob(
        bank,
        devedor={"cnpj": "12ABC34501DE35", "nome": "Acme"},
        solicitacaoPagador="Recarga",
        infoAdicionais=[{"nome": "a", "valor": "b"}],
    )
    assert (cob["status"], cob["revisao"]) == ("ATIVA", 0)
    assert cob["location"] in cob["pixCopiaECola"]
    assert "5406150.00" in cob["pixCopiaECola"]
    assert conform(bank.get(f"/cob/{cob['txid']}").json(), "cob") == cob
    assert bank.get(f"/v2/cob/{cob['txid']}").status_code == 200


@pytest.mark.parametrize(
    ("body", "propriedade"),
    [
        (request_for("150.0"), "cob.valor.original"),
        (request_for("0.00"), "cob.valor.original"),
        (request_for("12345678901.00"), "cob.valor.original"),
        (request_for(valor={"original": 150}), "cob.valor.original"),
        (request_for(calendario={"expiracao": 0}), "cob.calendario.expiracao"),
        (request_for(calendario={"expiracao": "3600"}), "cob.calendario.expiracao"),
        (request_for(chave="outra@example.com"), "cob.chave"),
        ({"valor": {"original": "1.00"}, "chave": PIX_KEY}, "cob.calendario"),
        (request_for(devedor={"cpf": "12345678901", "cnpj": "12ABC34501DE35", "nome": "x"}), "cob.devedor"),
        (request_for(devedor={"cnpj": "12abc34501de35", "nome": "x"}), "cob.devedor.cnpj"),
        (request_for(devedor={"cpf": "12345678901"}), "cob.devedor.nome"),
        (request_for(solicitacaoPagador="x" * 141), "cob.solicitacaoPagador"),
        (request_for(infoAdicionais=[{"nome": "x" * 51, "valor": "y"}]), "cob.infoAdicionais[0].nome"),
    ],
)
def test_it_refuses_bad_charges(bank: httpx.Client, body: dict[str, Any], propriedade: str) -> None:
    kind, named = problem_of(bank.put(f"/cob/{new_txid()}", json=body), status=400)
    assert kind == "CobOperacaoInvalida"
    assert named == [propriedade]


def test_it_refuses_bad_ids_and_bodies(bank: httpx.Client) -> None:
    assert problem_of(bank.put("/cob/curto", json=request_for()), status=400) == ("CobOperacaoInvalida", ["cob.txid"])
    assert problem_of(bank.put(f"/cob/{new_txid()}", content=b"{"), status=400)[0] == "RequisicaoInvalida"
    assert problem_of(bank.get(f"/cob/{new_txid()}"), status=404)[0] == "CobNaoEncontrado"
    assert problem_of(bank.get("/cobv/x"), status=404)[0] == "NaoEncontrado"


def test_a_repeated_put_is_the_same_charge_and_another_revises_it(bank: httpx.Client) -> None:
    txid = new_txid()
    first = bank.put(f"/cob/{txid}", json=request_for()).json()
    assert bank.put(f"/cob/{txid}", json=request_for()).json() == first
    revised = conform(bank.put(f"/cob/{txid}", json=request_for("99.90")).json(), "cob")
    assert (revised["revisao"], revised["valor"]["original"]) == (1, "99.90")
    assert revised["calendario"]["criacao"] == first["calendario"]["criacao"]
    assert bank.get(f"/cob/{txid}?revisao=0").json()["valor"]["original"] == "150.00"
    assert problem_of(bank.get(f"/cob/{txid}?revisao=9"), status=400)[0] == "CobConsultaInvalida"


def test_a_patch_removes_a_charge_for_good(bank: httpx.Client) -> None:
    txid = open_cob(bank)["txid"]
    removal = {"status": "REMOVIDA_PELO_USUARIO_RECEBEDOR"}
    assert problem_of(bank.patch(f"/cob/{txid}", json={**removal, "solicitacaoPagador": "x"}), status=400)
    assert bank.patch(f"/cob/{txid}", json={"solicitacaoPagador": "nova"}).json()["revisao"] == 1
    assert conform(bank.patch(f"/cob/{txid}", json=removal).json(), "cob")["status"] == removal["status"]
    assert problem_of(bank.patch(f"/cob/{txid}", json=removal), status=400)[1] == ["cob.status"]
    assert problem_of(bank.put(f"/cob/{txid}", json=request_for()), status=400)[1] == ["cob.status"]


def test_a_paid_charge_shows_its_pix(fresh: Sandbox, bank: httpx.Client) -> None:
    txid = open_cob(bank)["txid"]
    (pix,) = pay(fresh, txid, valor="140.00")
    cob = conform(bank.get(f"/cob/{txid}").json(), "cob")
    assert (cob["status"], cob["pix"]) == ("CONCLUIDA", [pix])
    assert conform(bank.get(f"/pix/{pix['endToEndId']}").json(), "pix")["valor"] == "140.00"
    assert problem_of(bank.get("/pix/E00000000000000000000000000000000"), status=404)[0] == "PixNaoEncontrado"


def test_it_lists_pix_in_pages_and_filters(fresh: Sandbox, bank: httpx.Client) -> None:
    txid = open_cob(bank)["txid"]
    pay(fresh, txid, times=5)
    fresh.post("/bank/api/pay-unknown", {"txid": None})
    pages = [
        conform(
            bank.get("/pix", params=period(**{"paginacao.paginaAtual": str(n), "paginacao.itensPorPagina": "4"})).json(), "pix_list"
        )
        for n in range(2)
    ]
    assert [len(page["pix"]) for page in pages] == [4, 2]
    assert pages[0]["parametros"]["paginacao"]["quantidadeTotalDeItens"] == 6
    assert len({pix["endToEndId"] for page in pages for pix in page["pix"]}) == 6
    assert len(bank.get("/pix", params=period(txid=txid)).json()["pix"]) == 5
    assert len(bank.get("/pix", params=period(txIdPresente="false")).json()["pix"]) == 1
    assert bank.get("/pix", params=period(devolucaoPresente="true")).json()["pix"] == []


def test_it_refuses_bad_queries(bank: httpx.Client) -> None:
    backwards = {"inicio": period()["fim"], "fim": period()["inicio"]}
    for query in ({}, {"inicio": "2026-01-01", "fim": "2026-01-02"}, backwards, period(**{"paginacao.itensPorPagina": "1001"}),
                  period(**{"paginacao.paginaAtual": "-1"}), period(cpf="1", cnpj="2")):  # fmt: skip
        assert problem_of(bank.get("/pix", params=query), status=400)[0] == "PixConsultaInvalida"


def test_a_refund_settles_a_moment_later(fresh: Sandbox, bank: httpx.Client) -> None:
    (pix,) = pay(fresh, open_cob(bank)["txid"])
    url = f"/pix/{pix['endToEndId']}/devolucao"
    opened = bank.put(f"{url}/r1", json={"valor": "50.00", "descricao": "Saldo não usado"})
    assert opened.status_code == 201
    assert conform(opened.json(), "refund")["status"] == "EM_PROCESSAMENTO"
    assert await_refund(bank, f"{url}/r1")["status"] == "DEVOLVIDO"
    assert problem_of(bank.put(f"{url}/r1", json={"valor": "1.00"}), status=400)[0] == "PixDevolucaoInvalida"
    assert problem_of(bank.put(f"{url}/r2", json={"valor": "100.01"}), status=400)[1] == ["devolucao.valor"]
    assert problem_of(bank.put(f"{url}/r-3", json={"valor": "1.00"}), status=400)[1] == ["devolucao.id"]
    assert problem_of(bank.put(f"{url}/r3", json={"valor": 1}), status=400)[1] == ["devolucao.valor"]
    assert problem_of(bank.get(f"{url}/r9"), status=404)[0] == "PixDevolucaoNaoEncontrada"
    assert len(bank.get("/pix", params=period(devolucaoPresente="true")).json()["pix"]) == 1


def test_a_refund_may_fail_and_free_its_amount(fresh: Sandbox, bank: httpx.Client) -> None:
    (pix,) = pay(fresh, open_cob(bank)["txid"])
    url = f"/pix/{pix['endToEndId']}/devolucao"
    fresh.post("/bank/api/faults", {"refund": "NAO_REALIZADO"})
    bank.put(f"{url}/r1", json={"valor": "150.00"})
    failed = await_refund(bank, f"{url}/r1")
    assert (failed["status"], bool(failed["motivo"])) == ("NAO_REALIZADO", True)
    assert bank.put(f"{url}/r2", json={"valor": "150.00"}).status_code == 201
    assert await_refund(bank, f"{url}/r2")["status"] == "DEVOLVIDO"


def test_a_refund_has_ninety_days(fresh: Sandbox, bank: httpx.Client) -> None:
    (pix,) = pay(fresh, open_cob(bank)["txid"])
    fresh.post("/bank/api/clock", {"offset_seconds": 91 * 86_400})
    late = bank.put(f"/pix/{pix['endToEndId']}/devolucao/r1", json={"valor": "1.00"})
    assert problem_of(late, status=400)[1] == ["devolucao.horario"]


def test_the_payers_bank_takes_money_back(fresh: Sandbox, bank: httpx.Client) -> None:
    (pix,) = pay(fresh, open_cob(bank)["txid"])
    taken = fresh.post(f"/bank/api/med-refund/{pix['endToEndId']}", {"valor": "30.00"})
    assert (taken["natureza"], taken["status"]) == ("MED_FRAUDE", "DEVOLVIDO")
    assert conform(bank.get(f"/pix/{pix['endToEndId']}").json(), "pix")["devolucoes"] == [taken]


def test_it_keeps_one_webhook(bank: httpx.Client) -> None:
    url = f"/webhook/{PIX_KEY}"
    assert problem_of(bank.get(url), status=404)[0] == "WebhookNaoEncontrado"
    assert bank.put(url, json={"webhookUrl": "http://127.0.0.1:9/webhooks/pix/s"}).status_code == 200
    assert conform(bank.get(url).json(), "webhook")["webhookUrl"].endswith("/s")
    for target, body in (
        ("/webhook/outra", {"webhookUrl": "http://127.0.0.1:9/"}),
        (url, {"webhookUrl": "http://example.com/x"}),
        (url, {}),
    ):
        assert problem_of(bank.put(target, json=body), status=400)[0] == "WebhookOperacaoInvalida"
    assert bank.delete(url).status_code == 204
    assert problem_of(bank.delete(url), status=404)


def test_scripted_faults_come_once(fresh: Sandbox, bank: httpx.Client) -> None:
    fresh.post("/bank/api/faults", {"create_cob": ["500", {"kind": "timeout", "ms": 100}, "txid_taken"]})
    txid = new_txid()
    assert problem_of(bank.put(f"/cob/{txid}", json=request_for()), status=500)[0] == "ErroInternoDoServidor"
    assert bank.get(f"/cob/{txid}").status_code == 404
    assert problem_of(bank.put(f"/cob/{txid}", json=request_for()), status=504)
    assert bank.get(f"/cob/{txid}").status_code == 200  # the answer was lost, the charge was not
    assert bank.put(f"/cob/{txid}", json=request_for()).status_code == 409
    assert bank.put(f"/cob/{txid}", json=request_for()).status_code == 201
    assert fresh.get("/bank/api/faults")["pending"] == {}


def await_refund(bank: httpx.Client, url: str) -> Any:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        refund = conform(bank.get(url).json(), "refund")
        if refund["status"] != "EM_PROCESSAMENTO":
            return refund
        time.sleep(0.03)
    raise AssertionError("the refund never settled")
