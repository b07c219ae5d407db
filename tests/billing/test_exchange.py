"""PTAX as Olinda answers it; a rate is exact, and an old one is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest

from billing import exchange
from billing.errors import ExchangeRateStale
from billing.models import ExchangeRate
from tokia import clock

pytestmark = pytest.mark.django_db


def olinda(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def quotations(*days: int) -> str:
    today = clock.today_in_brazil()
    rows = ",".join(
        f'{{"cotacaoCompra":5.34120,"cotacaoVenda":5.3{day:02d}8,'
        f'"dataHoraCotacao":"{today - dt.timedelta(days=day)} 13:09:31.207"}}'
        for day in days
    )
    return f'{{"@odata.context":"x","value":[{rows}]}}'


def test_it_keeps_the_newest_selling_rate_without_a_float() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, text=quotations(3, 1, 2))

    rate = exchange.fetch_rate(client=olinda(answer))
    assert rate.rate == Decimal("5.3018")
    assert rate.quoted_at.astimezone(clock.SAO_PAULO).hour == 13
    assert "CotacaoDolarPeriodo(dataInicial=@dataInicial,dataFinalCotacao=@dataFinalCotacao)" in asked[0]
    assert f"@dataFinalCotacao='{clock.today_in_brazil():%m-%d-%Y}'" in asked[0]
    assert exchange.fetch_rate(client=olinda(answer)) == rate
    assert exchange.current_rate() == rate


@pytest.mark.parametrize(
    "body", ['{"value":[]}', "<html>", '{"value":[{"cotacaoVenda":0,"dataHoraCotacao":"2026-11-20 13:00:00"}]}']
)
def test_it_refuses_an_answer_without_a_quotation(body: str) -> None:
    with pytest.raises(exchange.PtaxUnavailable):
        exchange.fetch_rate(client=olinda(lambda request: httpx.Response(200, text=body)))
    assert not ExchangeRate.objects.exists()


def test_it_refuses_a_stale_rate_and_no_rate() -> None:
    with pytest.raises(ExchangeRateStale):
        exchange.current_rate()
    ExchangeRate.objects.create(rate=Decimal("5.30"), source="PTAX venda", quoted_at=clock.now() - dt.timedelta(days=8))
    with pytest.raises(ExchangeRateStale):
        exchange.current_rate()
    typed = exchange.enter_rate(rate=Decimal("5.41"), by="ana@tokia.test", reason="cotação de teste")
    assert exchange.current_rate() == typed
