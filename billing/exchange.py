"""Reais per US dollar: PTAX's selling rate from the Banco Central's Olinda service, or one typed by a person.

A rate is never a float: the JSON is read with `parse_float=Decimal`. Source: Olinda, recurso CotacaoDolarPeriodo.
"""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING

from django.conf import settings

from billing.errors import BillingError, ExchangeRateStale
from billing.models import ExchangeRate
from tokia import clock

if TYPE_CHECKING:
    import httpx

PTAX_SOURCE = "PTAX venda"
DAYS_BACK = 10  # the longest stretch without a business day, with room


class PtaxUnavailable(BillingError):
    """Olinda did not answer, or not with quotations."""

    code = "ptax_unavailable"
    status = 503
    retryable = True


def is_stale(rate: ExchangeRate) -> bool:
    return clock.now() - rate.quoted_at > dt.timedelta(days=settings.EXCHANGE_RATE_MAX_AGE_DAYS)


def current_rate() -> ExchangeRate:
    """The latest quotation. Raises ExchangeRateStale when there is none, or it is older than EXCHANGE_RATE_MAX_AGE_DAYS."""
    rate = ExchangeRate.objects.order_by("-quoted_at", "-id").first()
    if rate is None:
        raise ExchangeRateStale("Não há câmbio: busque a PTAX ou informe uma cotação.")
    if is_stale(rate):
        raise ExchangeRateStale(f"O câmbio é de {rate.quoted_at:%d/%m/%Y} e já não vale: busque a PTAX ou informe uma cotação.")
    return rate


def fetch_rate(*, client: httpx.Client | None = None) -> ExchangeRate:
    """Ask Olinda for the last days' quotations and keep the newest. Raises PtaxUnavailable; safe to repeat."""
    import httpx  # here: gateways read prices by this module's neighbours and never fetch, and it would be 5 MiB of each of them

    today = clock.today_in_brazil()
    url = (
        f"{settings.PTAX_URL}/CotacaoDolarPeriodo(dataInicial=@dataInicial,dataFinalCotacao=@dataFinalCotacao)"
        f"?@dataInicial='{today - dt.timedelta(days=DAYS_BACK):%m-%d-%Y}'&@dataFinalCotacao='{today:%m-%d-%Y}'"
        "&$top=100&$orderby=dataHoraCotacao%20desc&$format=json"
    )
    try:
        answer = client.get(url) if client else httpx.get(url, timeout=15, follow_redirects=False)
        answer.raise_for_status()
        quotations = json.loads(answer.text, parse_float=Decimal)["value"]
        newest = max(quotations, key=lambda quotation: str(quotation["dataHoraCotacao"]))
        value = Decimal(newest["cotacaoVenda"])
        quoted_at = dt.datetime.fromisoformat(newest["dataHoraCotacao"]).replace(tzinfo=clock.SAO_PAULO)
    except (httpx.HTTPError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise PtaxUnavailable("A PTAX não respondeu com uma cotação. Tente de novo em alguns minutos.") from error
    if not value > 0:
        raise PtaxUnavailable("A PTAX respondeu uma cotação impossível.")
    rate, _ = ExchangeRate.objects.get_or_create(source=PTAX_SOURCE, quoted_at=quoted_at, defaults={"rate": value})
    return rate


def enter_rate(*, rate: Decimal, by: str) -> ExchangeRate:
    """A rate typed by a person, in force from now until a newer quotation."""
    return ExchangeRate.objects.create(rate=rate, source=by[:40], quoted_at=clock.now())
