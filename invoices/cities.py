"""What the national system says of the issuer's city: whether it issues there, and the ISS rate of our service. Kept for a day.

Where the system is away the answer of yesterday serves; where there is none, the tax office itself decides (E0037, E0038, E0039).
"""

from __future__ import annotations

import datetime as dt
import logging
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from django.core.cache import cache

from accounts.cities import city_by_code
from invoices.errors import Incomplete, Unreachable
from invoices.exchanges import Lost, Unsent, exchange
from invoices.models import CityTerms, Issuer, TaxTerms
from invoices.national import address_of, client_for
from tokia import clock

log = logging.getLogger("invoices")

KEPT = dt.timedelta(days=1)
AWAY_SECONDS = 300  # after a failure nobody asks again for so long: each of a month's invoices comes by here
READ_SECONDS = 15.0


def city_terms(issuer: Issuer, *, is_fresh: bool = False) -> CityTerms:
    """Of the issuer's city. Raises Unreachable where nothing is known and nobody answers, NoCertificate."""
    kept = CityTerms.objects.filter(pk=issuer.city_code).first()
    if kept is not None and not is_fresh and clock.now() - kept.checked_at < KEPT:
        return kept
    away = f"invoices.city_away.{issuer.environment}.{issuer.city_code}"
    if is_fresh or not cache.get(away):
        try:
            return _ask_city(issuer)
        except Unreachable as error:
            log.warning("the national system does not tell of a city", extra={"city": issuer.city_code, "cause": str(error)})
            cache.set(away, True, AWAY_SECONDS)
    if kept is None or is_fresh:
        raise Unreachable("O sistema nacional da NFS-e não respondeu sobre o município. Tente de novo em alguns minutos.")
    return kept


def check_channel(issuer: Issuer) -> None:
    """Raises Incomplete where the issuer's channel is Sefin and its city does not issue there, NoCertificate."""
    if issuer.channel != Issuer.Channel.SEFIN:
        return
    try:
        terms = city_terms(issuer)
    except Unreachable:
        return
    if not terms.uses_national_emitter:
        city = city_by_code(issuer.city_code)
        name = f"{city.name.title()}/{city.state}" if city else f"de código {issuer.city_code}"
        raise Incomplete(
            f"O município {name} não usa o emissor nacional da NFS-e. Mude o canal do emitente para Focus NFe,"
            " que emite na prefeitura, ou para Manual.",
            problem_code="CITY", param="issuer.channel",
        )  # fmt: skip


def _ask_city(issuer: Issuer) -> CityTerms:
    covenant = _ask(issuer, "convenio")
    terms = TaxTerms.objects.filter(issuer=issuer, starts_on__lte=clock.today_in_brazil()).order_by("-starts_on").first()
    rates: Any = None
    if terms is not None and covenant is not None:
        code = f"{terms.service_code[:2]}.{terms.service_code[2:4]}.{terms.service_code[4:6]}.{terms.city_service_code or '000'}"
        try:
            rates = _ask(issuer, f"{quote(code, safe='.')}/{clock.today_in_brazil():%Y-%m-%d}/aliquota")
        except Unreachable:
            # The covenant is what decides; a rate that is not told is not guessed.
            log.warning("the national system does not tell a city's rate", extra={"city": issuer.city_code})
    told = _lowered(_lowered(covenant).get("parametrosconvenio"))
    found, _ = CityTerms.objects.update_or_create(
        code=issuer.city_code,
        defaults={
            "is_adherent": _is_yes(told.get("aderenteambientenacional")),
            "uses_national_emitter": _is_yes(told.get("aderenteemissornacional")),
            "iss_bps": _rate_on(clock.today_in_brazil(), _lowered(rates).get("aliquotas")),
            "answer": {"convenio": covenant, "aliquota": rates},
            "checked_at": clock.now(),
        },
    )
    return found


def _ask(issuer: Issuer, path: str) -> Any:
    """The JSON, or None where the system knows nothing of it (404). Raises Unreachable."""
    url = f"{address_of('param', environment=issuer.environment)}/{issuer.city_code}/{path}"
    try:
        answer = exchange(client_for(issuer), "GET", url, seconds=READ_SECONDS)
    except (Unsent, Lost) as error:
        raise Unreachable(str(error)) from error
    if answer.status_code == 404 and (answer.found is not None or not answer.body.strip()):
        return None
    if answer.status_code != 200 or not isinstance(answer.found, dict):
        raise Unreachable(f"HTTP {answer.status_code}")
    return answer.found


def _is_yes(value: Any) -> bool:
    """TipoSimNao: 1 yes, 0 no, −1 not told."""
    return str(value) == "1"


def _rate_on(day: dt.date, rates: Any) -> int | None:
    """The rate in force, in hundredths of a percent. Lists of `{Aliq, DtIni, DtFim}` by service; the newest that began counts."""
    begun: list[tuple[dt.date, int]] = []
    for listed in rates.values() if isinstance(rates, dict) else []:
        for one in listed if isinstance(listed, list) else []:
            fields = _lowered(one)
            first_on, last_on = _day_of(fields.get("dtini")), _day_of(fields.get("dtfim"))
            bps = _bps_of(fields.get("aliq"))
            if bps is not None and first_on is not None and first_on <= day and (last_on is None or day <= last_on):
                begun.append((first_on, bps))
    return max(begun)[1] if begun else None


def _bps_of(told: Any) -> int | None:
    try:
        rate = Decimal(str(told))
    except InvalidOperation:
        return None
    return int((rate * 100).to_integral_value()) if rate.is_finite() and 0 <= rate <= 100 else None


def _day_of(told: Any) -> dt.date | None:
    try:
        return dt.date.fromisoformat(str(told)[:10])
    except ValueError:
        return None


def _lowered(found: Any) -> dict[str, Any]:
    return {str(name).lower(): value for name, value in found.items()} if isinstance(found, dict) else {}
