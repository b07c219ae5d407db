"""The public registry of companies, asked by CNPJ (BrasilAPI's shape, `GET {CNPJ_URL}/{cnpj}`). A convenience: it may be away."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import httpx
from django.conf import settings

SECONDS_MAX = 3.0
_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Registration:
    name: str
    trade_name: str
    status: str  # "ATIVA", "BAIXADA", …
    email: str
    address: dict[str, str]

    @property
    def is_active(self) -> bool:
        return self.status.upper() in ("", "ATIVA")


class RegistryAway(Exception):
    """No answer in time, or none that can be read: the person fills the form by hand."""


def look_up_company(cnpj: str) -> Registration | None:
    """What the registry knows about a valid, bare CNPJ; None if it has no such company. Raises RegistryAway.

    At most SECONDS_MAX, redirects not followed.
    """
    if not settings.CNPJ_URL:
        raise RegistryAway
    ends_at = time.monotonic() + SECONDS_MAX
    try:
        with (
            httpx.Client(timeout=httpx.Timeout(1.5, read=1.5), trust_env=False) as client,
            client.stream("GET", f"{settings.CNPJ_URL}/{cnpj}") as response,
        ):
            if response.status_code == 404:
                return None
            response.raise_for_status()
            body = b""
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _BYTES_MAX or time.monotonic() > ends_at:
                    raise RegistryAway
        return _read(json.loads(body))
    except (httpx.HTTPError, ValueError) as error:
        raise RegistryAway from error


def _read(answer: Any) -> Registration:
    if not isinstance(answer, dict):
        raise RegistryAway

    def text(name: str, limit: int = 150) -> str:
        value = answer.get(name)
        return str(value).strip()[:limit] if value is not None else ""

    return Registration(
        name=text("razao_social"),
        trade_name=text("nome_fantasia"),
        status=text("descricao_situacao_cadastral", 40),
        email=text("email").lower(),
        address={
            "street": " ".join(part for part in (text("descricao_tipo_de_logradouro"), text("logradouro")) if part),
            "number": text("numero", 20),
            "complement": text("complemento"),
            "district": text("bairro"),
            "city": text("municipio"),
            "state": text("uf", 2),
            "postal_code": "".join(filter(str.isdigit, text("cep", 10))),
        },
    )
