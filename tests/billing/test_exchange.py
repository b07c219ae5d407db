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
    with pytest.raises(exchange.RateRefused, match="por que"):
        exchange.enter_rate(rate=Decimal("5.41"), by="ana@tokia.test", reason="  ok ")
    typed = exchange.enter_rate(rate=Decimal("5.41"), by="ana@tokia.test", reason="Olinda fora do ar")
    assert (exchange.current_rate(), typed.reason) == (typed, "Olinda fora do ar")


def test_it_keeps_every_quotation_once_and_fills_what_it_missed() -> None:
    """A service that answers what is asked for, business days only: 250 days are three questions."""
    asked: list[tuple[dt.date, dt.date]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        days = [request.url.params[name].strip("'").split("-") for name in ("@dataInicial", "@dataFinalCotacao")]
        first_on, last_on = (dt.date(int(year), int(month), int(day)) for month, day, year in days)
        asked.append((first_on, last_on))
        today = clock.today_in_brazil()
        back = [(today - first_on).days - number for number in range((last_on - first_on).days + 1)]
        return httpx.Response(200, text=quotations(*(day for day in back if (today - dt.timedelta(days=day)).weekday() < 5)))

    today = clock.today_in_brazil()
    working = [day for day in range(251) if (today - dt.timedelta(days=day)).weekday() < 5]
    exchange.fetch_rate(client=olinda(answer))
    kept = exchange.backfill_rates(days=250, client=olinda(answer))
    assert ExchangeRate.objects.count() == len(working) == len(kept) + len([day for day in working if day <= exchange.DAYS_BACK])
    assert [rate.quoted_at for rate in kept] == sorted(rate.quoted_at for rate in kept)
    assert len(asked) == 4 and all((last - first).days < exchange.ROWS_MAX for first, last in asked)
    ExchangeRate.objects.filter(quoted_at=kept[7].quoted_at).delete()
    [found] = exchange.backfill_rates(days=250, client=olinda(answer))
    assert (found.quoted_at, found.rate) == (kept[7].quoted_at, kept[7].rate)
    assert exchange.backfill_rates(days=250, client=olinda(answer)) == []
    assert [rate.quoted_at for rate in exchange.history(days=30)] == sorted(rate.quoted_at for rate in exchange.history(days=30))
    for days in (0, exchange.BACKFILL_DAYS_MAX + 1):
        with pytest.raises(exchange.RateRefused):
            exchange.backfill_rates(days=days, client=olinda(answer))


def test_what_olinda_told_before_it_fell_is_kept() -> None:
    answers = [httpx.Response(200, text=quotations(150, 149)), httpx.Response(500)]
    with pytest.raises(exchange.PtaxUnavailable):
        exchange.backfill_rates(days=160, client=olinda(lambda request: answers.pop(0)))
    assert ExchangeRate.objects.count() == 2
