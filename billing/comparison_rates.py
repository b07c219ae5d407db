"""The dated, sourced numbers of the comparison: what an administrator keeps under "Câmbio e encargos", and PTAX."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from decimal import Decimal

from django.conf import settings

from billing import exchange
from billing.abroad import Abroad, ComparisonRates, ImportTax, Premise
from billing.comparison_sources import FIRST_PARAMETERS
from billing.errors import BillingError
from billing.models import ComparisonParameter, ExchangeRate
from billing.models.comparison import UNITS
from tokia import clock

__all__ = ["Abroad", "ComparisonRates", "ParameterRefused", "current_rates", "enter_parameter", "is_old", "old_parameters"]

Name = ComparisonParameter.Name
PERCENT_MAX = 100
USD_NANOS = 10**9
IMPORT_LABELS = {
    Name.IMPORT_IRRF: "IRRF",
    Name.IMPORT_CIDE: "CIDE",
    Name.IMPORT_PIS_COFINS: "PIS/COFINS",
    Name.IMPORT_ISS: "ISS",
}


class ParameterRefused(BillingError):
    """A number that can't be entered; the message says why."""

    code = "comparison_parameter_refused"
    status = 400


def current_rates() -> ComparisonRates:
    """What holds today. The newest quotation counts however old it is: the page names its day and says when it is too old."""
    rows = parameters_in_force()
    quotation = ExchangeRate.objects.order_by("-quoted_at", "-id").first()
    infrastructure = [rows[name] for name in (Name.SERVER, Name.DATABASE) if name in rows]
    return ComparisonRates(
        reais_per_dollar=quotation.rate if quotation else None,
        quoted_at=quotation.quoted_at if quotation else None,
        quoted_by=_who_quoted(quotation),
        is_quotation_old=quotation is not None and exchange.is_stale(quotation),
        card_spread_bps=_bps(rows, Name.CARD_SPREAD),
        iof_bps=_bps(rows, Name.IOF),
        import_taxes=tuple(
            ImportTax(label, _to_bps(rows[name].value)) for name, label in IMPORT_LABELS.items() if name in rows
        ),
        hosted_bps=_bps(rows, Name.HOSTED),
        hosted_least_usd_nanos=_usd_nanos(rows[Name.HOSTED_LEAST].value) if Name.HOSTED_LEAST in rows else 0,
        infrastructure_usd_nanos=sum(_usd_nanos(row.value) for row in infrastructure) if len(infrastructure) == 2 else None,
        premises=tuple(_premise(row) for row in rows.values()),
    )  # fmt: skip


def parameters_in_force(*, on: dt.date | None = None) -> dict[str, ComparisonParameter]:
    """The newest row of each name whose day has come, in the order in which they are shown."""
    rows = ComparisonParameter.objects.filter(valid_from__lte=on or clock.today_in_brazil()).order_by("valid_from", "id")
    newest = {row.name: row for row in rows}
    return {name: newest[name] for name in Name.values if name in newest}


def enter_parameter(
    *, name: str, value: Decimal, valid_from: dt.date, source: str, source_url: str = "", by: str, checked_on: dt.date | None = None
) -> ComparisonParameter:
    """A number from a day on; what held before stays in the history. Raises ParameterRefused."""
    checked_on = checked_on or clock.today_in_brazil()
    check_parameter(name=name, value=value, source=source, checked_on=checked_on)
    return ComparisonParameter.objects.create(
        name=name, value=value, unit=UNITS[name], valid_from=valid_from, checked_on=checked_on,
        source=source.strip()[:200], source_url=source_url[:300], entered_by=by[:150],
    )  # fmt: skip


def check_parameter(*, name: str, value: Decimal, source: str, checked_on: dt.date) -> None:
    """Raises ParameterRefused for what can't be entered."""
    if name not in UNITS:
        raise ParameterRefused("Este parâmetro não existe.")
    if value < 0 or (UNITS[name] == ComparisonParameter.Unit.PERCENT and value > PERCENT_MAX):
        raise ParameterRefused("Informe um valor de 0 a 100%.")
    if value != value.quantize(Decimal("0.01")):
        raise ParameterRefused("Informe no máximo duas casas decimais.")
    if len(source.strip()) < exchange.REASON_LENGTH_MIN:
        raise ParameterRefused("Escreva de onde vem o número: a lei, a página ou a tabela.")
    if checked_on > clock.today_in_brazil():
        raise ParameterRefused("A fonte não pode ter sido conferida no futuro.")


def look_again(ids: Collection[int], *, by: str) -> list[ComparisonParameter]:
    """Those of them that are in force, entered again as they are: somebody looked at their sources today."""
    chosen = [row for row in parameters_in_force().values() if row.pk in ids]
    return [
        enter_parameter(
            name=row.name, value=row.value, valid_from=row.valid_from, source=row.source, source_url=row.source_url, by=by
        )
        for row in chosen
    ]


def seed_parameters() -> int:
    """The first numbers where a name has none; how many were new."""
    known = set(ComparisonParameter.objects.values_list("name", flat=True))
    new = [row for row in FIRST_PARAMETERS if row[0] not in known]
    for name, value, valid_from, checked_on, source, source_url in new:
        enter_parameter(
            name=name, value=Decimal(value), valid_from=dt.date.fromisoformat(valid_from), source=source, source_url=source_url,
            by="seed", checked_on=dt.date.fromisoformat(checked_on),
        )  # fmt: skip
    return len(new)


def is_old(parameter: ComparisonParameter) -> bool:
    """Nobody has looked at its source for COMPARISON_SOURCE_MAX_AGE_DAYS."""
    return clock.today_in_brazil() - parameter.checked_on > dt.timedelta(days=settings.COMPARISON_SOURCE_MAX_AGE_DAYS)


def old_parameters() -> list[ComparisonParameter]:
    return [row for row in parameters_in_force().values() if is_old(row)]


def missing_parameters() -> list[str]:
    """The labels of what nobody entered: without them rows of the comparison are left out."""
    known = parameters_in_force()
    return [str(Name(name).label) for name in Name.values if name not in known]


def _who_quoted(quotation: ExchangeRate | None) -> str:
    """The public name of a quotation's source: who typed one is nobody's business outside."""
    if quotation is None:
        return ""
    return f"{exchange.PTAX_SOURCE}, Banco Central" if quotation.source == exchange.PTAX_SOURCE else "cotação informada pela Tokia"


def _premise(row: ComparisonParameter) -> Premise:
    return Premise(
        name=row.name, label=str(row.get_name_display()), value=row.told, valid_from=row.valid_from, checked_on=row.checked_on,
        source=row.source, source_url=row.source_url, is_old=is_old(row),
    )  # fmt: skip


def _bps(rows: Mapping[str, ComparisonParameter], name: str) -> int | None:
    return _to_bps(rows[name].value) if name in rows else None


def _to_bps(percent: Decimal) -> int:
    return int(percent * 100)


def _usd_nanos(usd: Decimal) -> int:
    return int(usd * USD_NANOS)
