"""The public registry of companies, asked by CNPJ (BrasilAPI's shape, `GET {CNPJ_URL}/{cnpj}`). A convenience: it may be away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from accounts.lookups import LookupAway, fetch_json

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


def look_up_company(cnpj: str) -> Registration | None:
    """What the registry knows about a valid, bare CNPJ; None if it has no such company. Raises LookupAway."""
    if not settings.CNPJ_URL:
        raise LookupAway
    answer = fetch_json(f"{settings.CNPJ_URL}/{cnpj}", bytes_max=_BYTES_MAX)
    return None if answer is None else _read(answer)


def _read(answer: Any) -> Registration:
    if not isinstance(answer, dict):
        raise LookupAway

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
