"""Who else handles customers' data, by country: read from what is switched on, so that the page can't say less than is true."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from gateway.models import Provider
from invoices.models import Issuer

COUNTRIES: dict[str, str | Promise] = {
    "BR": _("Brasil"), "US": _("Estados Unidos"), "CN": _("China"), "FR": _("França"), "CA": _("Canadá"),
    "DE": _("Alemanha"), "IE": _("Irlanda"), "GB": _("Reino Unido"), "NL": _("Países Baixos"), "JP": _("Japão"),
    "SG": _("Singapura"), "KR": _("Coreia do Sul"), "IN": _("Índia"), "AE": _("Emirados Árabes Unidos"),
    "IL": _("Israel"), "CH": _("Suíça"), "SE": _("Suécia"), "FI": _("Finlândia"), "ES": _("Espanha"),
    "PT": _("Portugal"), "CL": _("Chile"), "AR": _("Argentina"), "MX": _("México"), "AU": _("Austrália"),
}  # fmt: skip
UNKNOWN = _("País não informado")


@dataclass(frozen=True, slots=True)
class Subprocessor:
    name: str
    country: str
    purpose: str
    data: str
    notes: tuple[str, ...] = ()  # of a provider: what it does with what it gets


def by_country() -> list[tuple[str, list[Subprocessor]]]:
    """Brazil first, then by name of the country, in the reader's language."""
    grouped: dict[str, list[Subprocessor]] = {}
    for one in (*_providers(), *_services(), *_declared()):
        grouped.setdefault(one.country, []).append(one)
    brazil, unknown = country_name("BR"), str(UNKNOWN)
    return [
        (country, sorted(found, key=lambda one: one.name.lower()))
        for country, found in sorted(grouped.items(), key=lambda item: (item[0] != brazil, item[0] == unknown, item[0]))
    ]


def country_name(code: str) -> str:
    return str(COUNTRIES.get(code, code or UNKNOWN))


def _providers() -> list[Subprocessor]:
    """The providers that may be asked: with a key of ours, or with one that a customer brings."""
    found = Provider.objects.filter(is_active=True, deployments__is_active=True).distinct()
    return [
        Subprocessor(
            provider.name,
            country_name(provider.country),
            gettext("Executa modelos de IA"),
            gettext("O conteúdo das chamadas aos modelos dele"),
            notes=(
                gettext("Pode treinar modelos com os dados")
                if provider.trains_on_data
                else gettext("Não treina modelos com os dados da API"),
                *((gettext("Retenção zero"),) if provider.has_zero_retention else ()),
                *((gettext("Simulado nesta demonstração"),) if provider.is_simulated else ()),
            ),
        )
        for provider in found
    ]


def _services() -> list[Subprocessor]:
    bank = urlsplit(settings.PSP_BASE_URL).hostname or ""
    payer = gettext("Nome e CNPJ ou CPF de quem recarrega, valor e identificador do pagamento")
    found = [
        Subprocessor(
            gettext("Banco recebedor do PIX") + (f" ({bank})" if settings.IS_PRODUCTION else ""),
            country_name("BR"),
            gettext("Cobrança e devolução por PIX"),
            payer,
        )
    ]
    if settings.STRIPE_SECRET_KEY:
        card = gettext("Dados do cartão (só a Stripe os vê), e-mail, CNPJ ou CPF, valor")
        found.append(Subprocessor("Stripe", country_name("US"), gettext("Pagamento com cartão"), card))
    if Issuer.objects.filter(is_active=True, channel=Issuer.Channel.FOCUS).exists():
        note = gettext("Dados fiscais da empresa e o valor da nota")
        found.append(Subprocessor("Focus NFe", country_name("BR"), gettext("Emissão da nota fiscal"), note))
    return found


def _declared() -> list[Subprocessor]:
    """`name|country|what for`, separated by semicolons: hosts, e-mail, and whoever else the settings can't tell. A country of
    ours, written in Portuguese, is told in the reader's language; what for is told as it is written."""
    found = []
    for line in settings.SUBPROCESSORS.split(";"):
        name, country, purpose = (*(part.strip() for part in line.split("|", 2)), "", "")[:3]
        if name:
            named = gettext(country) if country else str(UNKNOWN)
            found.append(Subprocessor(name, named, purpose, gettext("O necessário para esse serviço")))
    return found
