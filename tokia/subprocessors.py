"""Who else handles customers' data, by country: read from what is switched on, so that the page can't say less than is true."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

from gateway.models import Provider
from invoices.models import Issuer

COUNTRIES = {
    "BR": "Brasil", "US": "Estados Unidos", "CN": "China", "FR": "França", "CA": "Canadá", "DE": "Alemanha", "IE": "Irlanda",
    "GB": "Reino Unido", "NL": "Países Baixos", "JP": "Japão", "SG": "Singapura", "KR": "Coreia do Sul", "IN": "Índia",
    "AE": "Emirados Árabes Unidos", "IL": "Israel", "CH": "Suíça", "SE": "Suécia", "FI": "Finlândia", "ES": "Espanha",
    "PT": "Portugal", "CL": "Chile", "AR": "Argentina", "MX": "México", "AU": "Austrália",
}  # fmt: skip
UNKNOWN = "País não informado"
CONTENT = "O conteúdo das chamadas aos modelos dele"


@dataclass(frozen=True, slots=True)
class Subprocessor:
    name: str
    country: str
    purpose: str
    data: str
    notes: tuple[str, ...] = ()  # of a provider: what it does with what it gets


def by_country() -> list[tuple[str, list[Subprocessor]]]:
    """Brazil first, then by name of the country."""
    grouped: dict[str, list[Subprocessor]] = {}
    for one in (*_providers(), *_services(), *_declared()):
        grouped.setdefault(one.country, []).append(one)
    return [
        (country, sorted(found, key=lambda one: one.name.lower()))
        for country, found in sorted(grouped.items(), key=lambda item: (item[0] != "Brasil", item[0] == UNKNOWN, item[0]))
    ]


def country_name(code: str) -> str:
    return COUNTRIES.get(code, code or UNKNOWN)


def _providers() -> list[Subprocessor]:
    """The providers that may be asked: with a key of ours, or with one that a customer brings."""
    found = Provider.objects.filter(is_active=True, deployments__is_active=True).distinct()
    return [
        Subprocessor(
            provider.name, country_name(provider.country), "Executa modelos de IA", CONTENT,
            notes=(
                "Pode treinar modelos com os dados" if provider.trains_on_data else "Não treina modelos com os dados da API",
                *(("Retenção zero",) if provider.has_zero_retention else ()),
                *(("Simulado nesta demonstração",) if provider.is_simulated else ()),
            ),
        )
        for provider in found
    ]  # fmt: skip


def _services() -> list[Subprocessor]:
    bank = urlsplit(settings.PSP_BASE_URL).hostname or ""
    payer = "Nome e CNPJ ou CPF de quem recarrega, valor e identificador do pagamento"
    found = [
        Subprocessor(
            "Banco recebedor do PIX" + (f" ({bank})" if settings.IS_PRODUCTION else ""),
            "Brasil",
            "Cobrança e devolução por PIX",
            payer,
        )
    ]
    if settings.STRIPE_SECRET_KEY:
        found.append(
            Subprocessor(
                "Stripe", COUNTRIES["US"], "Pagamento com cartão", "Dados do cartão (só a Stripe os vê), e-mail, CNPJ ou CPF, valor"
            )
        )
    if Issuer.objects.filter(is_active=True, channel=Issuer.Channel.FOCUS).exists():
        found.append(Subprocessor("Focus NFe", "Brasil", "Emissão da nota fiscal", "Dados fiscais da empresa e o valor da nota"))
    return found


def _declared() -> list[Subprocessor]:
    """`name|country|what for`, separated by semicolons: hosts, e-mail, and whoever else the settings can't tell."""
    found = []
    for line in settings.SUBPROCESSORS.split(";"):
        name, _, rest = line.partition("|")
        country, _, purpose = rest.partition("|")
        if name.strip():
            found.append(Subprocessor(name.strip(), country.strip() or UNKNOWN, purpose.strip(), "O necessário para esse serviço"))
    return found
