"""An invoice as the DPS that declares it: who, what, by which taxes, on the day it is issued."""

from __future__ import annotations

import datetime as dt

from invoices.dps.document import Dps, Prestador, Replaced, Terms
from invoices.models import Invoice, InvoiceLine, InvoicePolicy, Issuer, TaxTerms
from invoices.takers import missing_fields, taker_of
from invoices.terms import terms_on
from tokia import clock

__all__ = ["dps_of", "missing_fields", "month_name", "taker_of", "terms_for"]

DESCRIPTION_MAX, REMARKS_MAX = 1_000, 2_000
MONTHS = (
    "janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro", "novembro", "dezembro",
)  # fmt: skip


def dps_of(invoice: Invoice) -> Dps:
    """As it would be issued now. Without a number yet, it has 1. Raises Incomplete where something must be given first."""
    issuer = invoice.issuer
    terms = terms_on(issuer, clock.today_in_brazil())
    profile = getattr(invoice.organization, "fiscal_profile", None)
    return Dps(
        environment=invoice.environment or issuer.environment,
        series=invoice.series or issuer.series,
        number=invoice.number or 1,
        issued_at=clock.now(),  # `build_dps` tells it a minute earlier (E0008)
        competence_on=invoice.competence_on,
        prestador=_prestador(issuer),
        taker=taker_of(invoice.organization),
        terms=terms_for(terms, day=clock.today_in_brazil(), channel=invoice.channel or issuer.channel),
        amount_centavos=invoice.amount_centavos,
        description=_description(invoice, terms),
        purchase_number=profile.purchase_number if profile else "",
        remarks=_remarks(invoice),
        iss_withheld=invoice.iss_withheld,
        irrf_centavos=invoice.irrf_centavos,
        csll_centavos=invoice.csll_centavos,
        pis_cofins_withheld=invoice.pis_cofins_withheld,
        replaces=_replaced(invoice),
    )


def terms_for(terms: TaxTerms, *, day: dt.date, channel: str) -> Terms:
    """Dated terms as a document of that day says them.

    A city that issues through Sefin Nacional keeps its ISS rates there, and a DPS may not tell them (E0617, E0635), but for ME/EPP
    with the ISS inside the Simples, where the taker withholds it (E0621; `dps.build.rate_of`).
    """
    is_inside_simples = terms.regime == TaxTerms.Regime.SIMPLES and terms.simples_assessment == "1"
    tells_rate = channel != Issuer.Channel.SEFIN or is_inside_simples
    return Terms(
        regime=terms.regime,
        simples_assessment=terms.simples_assessment,
        special_regime=terms.special_regime,
        service_code=terms.service_code,
        city_service_code=terms.city_service_code,
        nbs_code=terms.nbs_code,
        operation_code=terms.operation_code,
        tax_situation=terms.tax_situation,
        tax_class=terms.tax_class,
        has_ibscbs=terms.ibscbs_from_on is not None and terms.ibscbs_from_on <= day,
        iss_bps=terms.iss_bps if tells_rate else None,
        pis_cofins_situation=terms.pis_cofins_situation,
        pis_bps=terms.pis_bps,
        cofins_bps=terms.cofins_bps,
        federal_bps=terms.federal_bps,
        state_bps=terms.state_bps,
        city_bps=terms.city_bps,
        simples_bps=terms.simples_bps,
    )


def month_name(month: dt.date) -> str:
    return f"{MONTHS[month.month - 1]} de {month.year}"


def _prestador(issuer: Issuer) -> Prestador:
    registration = issuer.municipal_registration if issuer.sends_municipal_registration else ""
    return Prestador(tax_id=issuer.tax_id, city_code=issuer.city_code, municipal_registration=registration)


def _description(invoice: Invoice, terms: TaxTerms) -> str:
    """Only the three known names are filled in: whatever else stands in braces is the accountant's text."""
    if invoice.policy == InvoicePolicy.Kind.TOP_UP:
        period = f"Recarga de {invoice.competence_on:%d/%m/%Y}"
    else:
        period = f"Competência: {month_name(invoice.month)}"
    filled = {"{period}": period, "{organization}": invoice.organization.name, "{number}": str(invoice.number or "")}
    text = terms.description
    for name, value in filled.items():
        text = text.replace(name, value)
    return text[:DESCRIPTION_MAX].strip()


def _remarks(invoice: Invoice) -> str:
    """How much of what, by model; amounts by model have fractions of a centavo and stay in the statement."""
    calls: dict[str, int] = {}
    for line in InvoiceLine.everywhere.filter(invoice=invoice, close__isnull=False).order_by("route_name", "pk"):
        calls[line.route_name] = calls.get(line.route_name, 0) + line.calls
    told = [f"{name}: {_counted(count)}" for name, count in calls.items() if name and count]
    text = "; ".join(told)
    while len(text) > REMARKS_MAX - 20:
        told.pop()
        text = "; ".join([*told, "e outros"])
    return text


def _counted(calls: int) -> str:
    return "1 requisição" if calls == 1 else f"{calls:,} requisições".replace(",", ".")


def _replaced(invoice: Invoice) -> Replaced | None:
    """The reason stands on the draft until it is issued (`invoices.replacing`)."""
    if invoice.replaces is None:
        return None
    return Replaced(access_key=invoice.replaces.access_key, code=invoice.cancel_code, reason=invoice.cancel_reason)
