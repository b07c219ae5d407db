"""The whole walk of a top-up over real sockets: page, bank over mutual TLS, notice, worker, balance."""

from __future__ import annotations

import re
import time

import httpx

from tests.conftest import Stack
from tests.examples import IN_FORCE_SECONDS


def sign_in(stack: Stack, client: httpx.Client) -> None:
    page = client.get("/conta/entrar/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token is not None
    answer = client.post(
        "/conta/entrar/",
        data={"login": stack.demo["email"], "password": stack.demo["password"], "csrfmiddlewaretoken": token[1]},
        headers={"referer": str(client.base_url)},
    )
    assert answer.status_code == 302, answer.text[:500]


def post(client: httpx.Client, url: str, **data: str) -> httpx.Response:
    return client.post(
        url, data={**data, "csrfmiddlewaretoken": client.cookies["csrftoken"]}, headers={"referer": str(client.base_url)}
    )


def available(stack: Stack) -> int:
    from decimal import Decimal

    answer = httpx.get(f"{stack.demo['base_url']}/credits", headers={"authorization": f"Bearer {stack.demo['api_key']}"})
    return int(Decimal(str(answer.json()["data"]["available"])) * 10**9)


def test_it_walks_from_the_amount_to_the_balance(stack: Stack) -> None:
    with httpx.Client(base_url=stack.demo["web_url"], trust_env=False, timeout=20) as client:
        sign_in(stack, client)
        before = available(stack)
        client.get("/app/recarregar/")
        opened = post(client, "/app/recarregar/", valor="outro", outro="73,21")
        assert opened.status_code == 302
        charge_url = opened.headers["location"]
        assert post(client, "/app/recarregar/", valor="outro", outro="73,21").headers["location"] == charge_url
        page = client.get(charge_url).text
        pay_url = re.search(r'href="([^"]+/bank/pay/[^"]+)"', page)
        assert pay_url is not None and "Aguardando pagamento" in page
        status_url = f"{charge_url}situacao/?de=awaiting&cada=1"
        assert client.get(status_url).status_code == 204
        paid = httpx.post(pay_url[1], trust_env=False)
        assert paid.status_code in (302, 303)
        began = time.monotonic()
        while client.get(status_url).status_code != 286:
            assert time.monotonic() - began < 10, "the payment never arrived"
            time.sleep(0.1)
        seconds = time.monotonic() - began
        assert "Pagamento confirmado" in client.get(charge_url).text
        assert "73,21" in client.get("/app/extrato/").text
    assert available(stack) - before == 73_210_000_000
    assert seconds < IN_FORCE_SECONDS, f"{seconds:.2f} s"
