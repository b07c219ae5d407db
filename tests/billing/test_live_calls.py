"""The list of calls: live, by what they cost, by how they failed; and where the time of one went. The explorer's measures."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing import call_story
from billing.models import UsageRecord, Wallet
from billing.money import BRL
from tests.cast import Cast, make_cast
from tests.make import make_key, make_usage, make_wallet

LIVE = {"HX-Request": "true"}


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def wallet(cast: Cast) -> Wallet:
    return make_wallet(organization=cast.acme, brl="100")


def test_it_follows_calls_live_and_stays_still_while_nothing_comes(client: Client, cast: Cast, wallet: Wallet) -> None:
    client.force_login(cast.bob)
    url = reverse("requests")
    empty = client.get(url, {"vivo": "1"}).content.decode()
    assert 'hx-trigger="every 5s"' in empty and client.get(url, {"vivo": "1"}, headers=LIVE).status_code == 204
    make_usage(wallet=wallet, route_name="a/a")
    part = client.get(url, {"vivo": "1", "modelo": "a/a"}, headers=LIVE).content.decode()
    [newest] = re.findall(r"ultima=([0-9a-f-]+)", part)
    assert "<html" not in part and "modelo=a%2Fa" in part
    assert client.get(url, {"vivo": "1", "modelo": "a/a", "ultima": newest}, headers=LIVE).status_code == 204
    assert "every 5s" not in client.get(url).content.decode()
    assert "every 5s" not in client.get(url, {"vivo": "1", "antes": newest}).content.decode(), "older pages stand still"


@pytest.mark.parametrize(
    ("query", "routes"),
    [
        ({"custo": "0,5"}, ["dear/one"]),
        ({"custo": "2.00"}, []),
        ({"custo": "muito"}, ["dear/one", "limited/one", "refused/one", "sick/one"]),
        ({"situacao": "erro-do-cliente"}, ["limited/one", "refused/one"]),
        ({"situacao": "limite"}, ["limited/one"]),
        ({"situacao": "erro-do-provedor"}, ["sick/one"]),
        ({"situacao": "falhou", "modelo": "sick/one"}, ["sick/one"]),
        ({"situacao": "limite", "modelo": "sick/one"}, []),
    ],
)
def test_it_finds_calls_by_cost_and_by_how_they_failed(
    client: Client, cast: Cast, wallet: Wallet, query: dict[str, str], routes: list[str]
) -> None:
    make_usage(wallet=wallet, gross_nanos=BRL, route_name="dear/one")
    for route, status in (("sick/one", 502), ("refused/one", 400), ("limited/one", 429)):
        make_usage(wallet=wallet, gross_nanos=0, route_name=route, outcome="failed", status_code=status)
    client.force_login(cast.bob)
    page = client.get(reverse("requests"), query)
    assert sorted(record.route_name for record in page.context["records"]) == routes


def test_it_draws_where_the_time_of_a_call_went() -> None:
    def attempt(**fields: Any) -> dict[str, Any]:
        return {"provider": "openai", "model": "m", "status": 200, "ms": 0, **fields}

    record = UsageRecord(route_name="a/b", latency_ms=2_000, attempts=[
        attempt(provider="deepseek", status=529, error="provider_overloaded", ms=500), attempt(ms=1_500, first_token_ms=500),
    ])  # fmt: skip
    spans = [(span.label, span.kind, span.ms, span.x, span.width) for span in call_story.spans_of(record)]
    assert spans == [
        ("1. deepseek: falhou", "failed", 500, 0, 250),
        ("2. openai: até o 1º token", "waiting", 500, 250, 250),
        ("2. openai: do 1º token ao fim", "answering", 1_000, 500, 500),
    ]
    plain = UsageRecord(route_name="a/b", latency_ms=0, attempts=[attempt()])
    assert [(span.kind, span.x) for span in call_story.spans_of(plain)] == [("answering", 0)]
    assert call_story.spans_of(UsageRecord(route_name="a/b", attempts=[])) == []


def test_it_leads_from_a_failed_call_to_its_cure_and_to_the_playground(client: Client, cast: Cast, wallet: Wallet) -> None:
    settled = make_usage(wallet=wallet, gross_nanos=0, outcome="failed", status_code=502, error_code="upstream_error")
    client.force_login(cast.alice)
    record = UsageRecord.everywhere.get()
    page = client.get(reverse("request_detail", args=[record.pk])).content.decode()
    assert settled and "Você não foi cobrado." in page and 'href="/docs/erros/#upstream_error"' in page
    assert f"/app/playground/?requisicao={record.pk}" in page
    client.force_login(cast.carol)
    assert "/app/playground/?requisicao" not in client.get(reverse("request_detail", args=[record.pk])).content.decode()


@pytest.mark.parametrize(
    ("query", "shares"),
    [
        ("medida=gasto", [7_500, 2_500]),
        ("medida=tokens", [5_000, 5_000]),
        ("medida=requisicoes", [5_000, 5_000]),
        ("medida=x", [7_500, 2_500]),
    ],
)
def test_it_measures_usage_by_member_in_what_one_asks(
    client: Client, cast: Cast, wallet: Wallet, query: str, shares: list[int]
) -> None:
    for person, reais in ((cast.alice, 3), (cast.bob, 1)):
        key, _ = make_key(organization=cast.acme, user=person)
        make_usage(wallet=wallet, gross_nanos=reais * BRL, api_key_id=key.pk, latency_ms=reais * 1_000)
    client.force_login(cast.carol)
    page = client.get(f"/app/uso/?por=member&{query}")
    rows = page.context["rows"]
    assert [(row.line.label, row.share_bps) for row in rows] == list(zip(("Alice", "Bob"), shares, strict=True))
    assert [row.latency.p50_ms for row in rows] == [3_000, 1_000]
    text = page.content.decode()
    assert "por dia</h2>" in text and 'class="bar bar-1"' in text and "depois de 3 dias de uso" in text
    assert "Nada encontrado com esses filtros." in client.get("/app/uso/?modelo=x/y").content.decode()
    lines = b"".join(client.get("/app/uso/uso.csv?por=member")).decode()
    assert "Membro" in lines and "Alice" in lines
