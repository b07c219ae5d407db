"""The national system's addresses, and the connection to them: mutual TLS with the issuer's own A1, HTTP/1.1 only.

Hosts: Sefin Nacional issues, the ADN (Ambiente de Dados Nacional) keeps the cities' parameters and hands out documents.
"""

from __future__ import annotations

from typing import Literal

import httpx
from cryptography.hazmat.primitives import hashes
from django.conf import settings

from invoices import certificates
from invoices.exchanges import client_of
from invoices.models import Issuer

Place = Literal["sefin", "adn", "param"]
# By tpAmb: "1" production, "2" restricted production (no fiscal value).
HOSTS: dict[str, dict[Place, str]] = {
    "1": {
        "sefin": "https://sefin.nfse.gov.br/SefinNacional",
        "adn": "https://adn.nfse.gov.br/contribuintes",
        "param": "https://adn.nfse.gov.br/parametrizacao",
    },
    "2": {
        "sefin": "https://sefin.producaorestrita.nfse.gov.br/SefinNacional",
        "adn": "https://adn.producaorestrita.nfse.gov.br/contribuintes",
        "param": "https://adn.producaorestrita.nfse.gov.br/parametrizacao",
    },
}


def address_of(place: Place, *, environment: str) -> str:
    """Where to ask, without a slash at the end: what the settings say (the sandbox), else the official host."""
    told = {"sefin": settings.SEFIN_URL, "adn": settings.ADN_URL, "param": settings.PARAM_URL}[place]
    return (told or HOSTS[environment][place]).rstrip("/")


def client_for(issuer: Issuer) -> httpx.Client:
    """One per process, issuer and certificate. Raises NoCertificate where none is valid now."""
    a1 = certificates.load(issuer)
    mark = a1.certificate.fingerprint(hashes.SHA256())
    return client_of(
        ("national", issuer.pk, mark, settings.SEFIN_CA_FILE),
        context_of=lambda: certificates.tls_context(a1, ca_file=settings.SEFIN_CA_FILE),
    )
