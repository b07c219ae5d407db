"""Reais per US dollar: PTAX's selling rate from the Banco Central's Olinda service, or one typed by a person.

Every quotation is kept, once per source and instant; the newest is current. A rate is never a float: the JSON is read with
`parse_float=Decimal`. Source: Olinda, recurso CotacaoDolarPeriodo; it has no rows for weekends and holidays.
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
GAP_DAYS = 45  # how far back the nightly task looks for quotations that it missed
BACKFILL_DAYS_MAX = 3_660
ROWS_MAX = 100  # asked for at once: calendar days, of which fewer have a quotation
REASON_LENGTH_MIN = 5


class RateRefused(BillingError):
    """A rate that can't be typed; the message says why."""

    code = "exchange_rate_refused"
    status = 400


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
    """Ask Olinda for the last days' quotations, keep them all and give the newest. Raises PtaxUnavailable; safe to repeat."""
    today = clock.today_in_brazil()
    found = _ask(today - dt.timedelta(days=DAYS_BACK), today, client=client)
    if not found:
        raise PtaxUnavailable("A PTAX não respondeu com uma cotação. Tente de novo em alguns minutos.")
    _keep(found)
    return ExchangeRate.objects.get(source=PTAX_SOURCE, quoted_at=max(found))


def backfill_rates(*, days: int = GAP_DAYS, client: httpx.Client | None = None) -> list[ExchangeRate]:
    """The quotations of the last `days` days that are missing, oldest first. Raises PtaxUnavailable; safe to repeat.

    Each stretch is kept as it comes: what an interruption leaves out, the next run finds.
    """
    if not 1 <= days <= BACKFILL_DAYS_MAX:
        raise RateRefused(f"Busque de 1 a {BACKFILL_DAYS_MAX} dias.")
    today = clock.today_in_brazil()
    first_on, kept = today - dt.timedelta(days=days), []
    while first_on <= today:
        last_on = min(first_on + dt.timedelta(days=ROWS_MAX - 1), today)
        kept += _keep(_ask(first_on, last_on, client=client))
        first_on = last_on + dt.timedelta(days=1)
    return kept


def history(*, days: int = 90) -> list[ExchangeRate]:
    """PTAX of the last `days` days, oldest first."""
    since = clock.now() - dt.timedelta(days=days)
    return list(ExchangeRate.objects.filter(source=PTAX_SOURCE, quoted_at__gte=since).order_by("quoted_at"))


def enter_rate(*, rate: Decimal, by: str, reason: str) -> ExchangeRate:
    """A rate typed by a person, current until a newer quotation. Raises RateRefused without a reason."""
    if len(reason.strip()) < REASON_LENGTH_MIN:
        raise RateRefused("Escreva por que a cotação é digitada.")
    return ExchangeRate.objects.create(rate=rate, source=by[:40], reason=reason.strip()[:200], quoted_at=clock.now())


def _ask(first_on: dt.date, last_on: dt.date, *, client: httpx.Client | None) -> dict[dt.datetime, Decimal]:
    """The selling rates of a stretch of at most ROWS_MAX days, by instant. Raises PtaxUnavailable."""
    import httpx  # here: gateways read prices by this module's neighbours and never fetch, and it would be 5 MiB of each of them

    url = (
        f"{settings.PTAX_URL}/CotacaoDolarPeriodo(dataInicial=@dataInicial,dataFinalCotacao=@dataFinalCotacao)"
        f"?@dataInicial='{first_on:%m-%d-%Y}'&@dataFinalCotacao='{last_on:%m-%d-%Y}'"
        f"&$top={ROWS_MAX}&$orderby=dataHoraCotacao%20desc&$format=json"
    )
    try:
        answer = client.get(url) if client else httpx.get(url, timeout=15, follow_redirects=False)
        answer.raise_for_status()
        quotations = json.loads(answer.text, parse_float=Decimal)["value"]
        rates = {
            dt.datetime.fromisoformat(line["dataHoraCotacao"]).replace(tzinfo=clock.SAO_PAULO): Decimal(line["cotacaoVenda"])
            for line in quotations
        }
    except (httpx.HTTPError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise PtaxUnavailable("A PTAX não respondeu com uma cotação. Tente de novo em alguns minutos.") from error
    if not all(rate.is_finite() and rate > 0 for rate in rates.values()):
        raise PtaxUnavailable("A PTAX respondeu uma cotação impossível.")
    return rates


def _keep(found: dict[dt.datetime, Decimal]) -> list[ExchangeRate]:
    """Store what is new, oldest first. A quotation never changes: the same instant again is the same row."""
    known = set(ExchangeRate.objects.filter(source=PTAX_SOURCE, quoted_at__in=found).values_list("quoted_at", flat=True))
    new = [ExchangeRate(source=PTAX_SOURCE, quoted_at=at, rate=found[at]) for at in sorted(found) if at not in known]
    ExchangeRate.objects.bulk_create(new, ignore_conflicts=True)
    return new
