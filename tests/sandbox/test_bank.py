"""The payer's side: the pay-now pages, the control API, and the notices that the bank sends."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.sandbox.conftest import PIX_KEY, Sandbox
from tests.sandbox.pix_contract import conform
from tests.sandbox.test_psp import new_txid, open_cob, pay, request_for


class Door:
    """A customer's webhook: keeps what arrives, answers with `status`."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.notices: list[Any] = []
        self.paths: list[str] = []
        self.peers: list[Any] = []
        self.statuses: list[int] = []  # answers to give first
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                door.paths.append(self.path)
                if isinstance(self.connection, ssl.SSLSocket):
                    door.peers.append(self.connection.getpeercert())
                door.notices.append(json.loads(body))
                self.send_response(door.statuses.pop(0) if door.statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.server.server_address[1]}/webhooks/pix/segredo"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def wait_for(self, count: int) -> list[Any]:
        deadline = time.monotonic() + 5
        while len(self.notices) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return [pix for notice in list(self.notices) for pix in conform(notice, "notice")["pix"]]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def door(bank: httpx.Client) -> Iterator[Door]:
    opened = Door()
    bank.put(f"/webhook/{PIX_KEY}", json={"webhookUrl": opened.url}).raise_for_status()
    yield opened
    opened.close()


def test_a_person_pays_on_the_page(fresh: Sandbox, bank: httpx.Client, door: Door) -> None:
    txid = open_cob(bank, "1234.50", devedor={"cnpj": "12ABC34501DE35", "nome": "<Acme> & Filhos"})["txid"]
    with httpx.Client(base_url=fresh.url, verify=False, trust_env=False) as browser:
        listed = browser.get("/bank/").text
        assert "R$ 1.234,50" in listed
        assert "&lt;Acme&gt; &amp; Filhos" in listed
        assert "Pagar agora" in browser.get(f"/bank/pay/{txid}").text
        paid = browser.post(f"/bank/pay/{txid}", follow_redirects=True)
        assert "Pago: R$ 1.234,50" in paid.text
        assert "não pode ser paga" in browser.post(f"/bank/pay/{txid}").text
        assert browser.get(f"/bank/pay/{new_txid()}").status_code == 404
    assert [pix["txid"] for pix in door.wait_for(1)] == [txid]
    assert door.paths == ["/webhooks/pix/segredo/pix"]


def test_a_person_may_pay_another_amount(fresh: Sandbox, bank: httpx.Client) -> None:
    txid = open_cob(bank)["txid"]
    url = f"/bank/pay/{txid}"
    assert fresh.http.post(url, data={"valor": "dez"}).status_code == 400
    fresh.http.post(url, data={"valor": "1.020,5"})
    assert bank.get(f"/cob/{txid}").json()["pix"][0]["valor"] == "1020.50"


def test_the_page_refuses_an_expired_charge_but_late_money_still_arrives(fresh: Sandbox, bank: httpx.Client) -> None:
    txid = open_cob(bank, calendario={"expiracao": 60})["txid"]
    fresh.post("/bank/api/clock", {"offset_seconds": 61})
    url = f"/bank/pay/{txid}"
    assert "Expirada" in fresh.http.get(url).text
    assert fresh.http.post(url).status_code == 400
    assert bank.get(f"/cob/{txid}").json()["status"] == "ATIVA"
    assert len(pay(fresh, txid)) == 1


def test_a_removed_charge_is_paid_only_by_force(fresh: Sandbox, bank: httpx.Client) -> None:
    txid = open_cob(bank)["txid"]
    bank.patch(f"/cob/{txid}", json={"status": "REMOVIDA_PELO_USUARIO_RECEBEDOR"})
    assert fresh.http.post(f"/bank/api/pay/{txid}", json={}).status_code == 400
    pay(fresh, txid, force=True)
    assert bank.get(f"/cob/{txid}").json()["status"] == "REMOVIDA_PELO_USUARIO_RECEBEDOR"


def test_it_tells_the_same_pix_many_times(fresh: Sandbox, bank: httpx.Client, door: Door) -> None:
    pay(fresh, open_cob(bank)["txid"], duplicate=8)
    assert len({pix["endToEndId"] for pix in door.wait_for(8)}) == 1
    assert len(door.notices) == 8


def test_it_groups_pix_that_arrive_together(fresh: Sandbox, bank: httpx.Client, door: Door) -> None:
    paid = pay(fresh, open_cob(bank)["txid"], times=3)
    told = door.wait_for(1)
    assert [pix["endToEndId"] for pix in told] == [pix["endToEndId"] for pix in paid]
    assert len(door.notices) == 1


def test_it_may_lose_or_delay_a_notice(fresh: Sandbox, bank: httpx.Client, door: Door) -> None:
    pay(fresh, open_cob(bank)["txid"], drop=True)
    fresh.post("/bank/api/faults", {"webhook": "drop"})
    pay(fresh, open_cob(bank)["txid"])
    (late,) = pay(fresh, open_cob(bank)["txid"], delay_ms=150)
    assert door.notices == []
    assert [pix["endToEndId"] for pix in door.wait_for(1)] == [late["endToEndId"]]


def test_it_tries_again_until_the_door_says_yes(fresh: Sandbox, bank: httpx.Client, door: Door) -> None:
    door.statuses = [503]
    pay(fresh, open_cob(bank)["txid"])
    assert len(door.wait_for(2)) == 2
    attempts = [(delivery["attempt"], delivery["status"]) for delivery in fresh.get("/bank/api/state")["deliveries"]]
    assert attempts == [(0, 503), (1, 200)]


def test_it_tells_of_strangers_with_a_txid_only(fresh: Sandbox, bank: httpx.Client, door: Door) -> None:
    (stranger,) = fresh.post("/bank/api/pay-unknown", {"valor": "33.00"})["pix"]
    fresh.post("/bank/api/pay-unknown", {"txid": None})
    assert [pix["endToEndId"] for pix in door.wait_for(1)] == [stranger["endToEndId"]]
    time.sleep(0.1)
    assert len(door.notices) == 1


def test_the_notice_may_come_before_the_answer(fresh: Sandbox, bank: httpx.Client, door: Door) -> None:
    fresh.post("/bank/api/faults", {"create_cob": "webhook_before_answer"})
    txid = new_txid()
    created = bank.put(f"/cob/{txid}", json=request_for())
    assert created.status_code == 201
    assert [pix["txid"] for pix in door.wait_for(1)] == [txid]
    assert bank.get(f"/cob/{txid}").json()["status"] == "CONCLUIDA"


def test_it_tells_of_finished_refunds(fresh: Sandbox, bank: httpx.Client, door: Door) -> None:
    (pix,) = pay(fresh, open_cob(bank)["txid"])
    door.wait_for(1)
    bank.put(f"/pix/{pix['endToEndId']}/devolucao/r1", json={"valor": "10.00"})
    assert door.wait_for(2)[1]["devolucoes"][0]["status"] == "DEVOLVIDO"


def test_it_shows_its_certificate_at_an_https_door(fresh: Sandbox, bank: httpx.Client) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(fresh.folder / "ca.pem"))
    context.load_cert_chain(fresh.folder / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    door = Door(context)
    try:
        bank.put(f"/webhook/{PIX_KEY}", json={"webhookUrl": door.url}).raise_for_status()
        pay(fresh, open_cob(bank)["txid"])
        assert len(door.wait_for(1)) == 1
        assert "psp-webhook-sender" in str(door.peers[0]["subject"])
    finally:
        door.close()


def test_bad_control_requests_are_refused(fresh: Sandbox) -> None:
    for path, body in (
        ("/bank/api/faults", {"create_cob": "raio"}),
        ("/bank/api/faults", {"cob": "500"}),
        ("/bank/api/pay-unknown", {"valor": 10}),
        (f"/bank/api/pay/{new_txid()}", {}),
        ("/bank/api/nada", {}),
    ):
        assert fresh.http.post(path, json=body).status_code in (400, 404), path
