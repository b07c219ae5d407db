"""The street of a CEP, from the public look-up (ViaCEP's shape, `GET {CEP_URL}/{cep}/json/`). A convenience: it may be away."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from accounts.lookups import LookupAway, fetch_json

_BYTES_MAX = 16_384
_NAMES = {"logradouro": "street", "bairro": "district", "localidade": "city", "uf": "state"}


def look_up_cep(cep: str) -> dict[str, str] | None:
    """The parts of an address that a CEP (eight digits) has: of a town with a single CEP only city and state. None if there is no
    such CEP. Raises LookupAway.
    """
    if len(cep) != 8 or not (cep.isascii() and cep.isdigit()) or not settings.CEP_URL:
        raise LookupAway
    answer = fetch_json(f"{settings.CEP_URL}/{cep}/json/", bytes_max=_BYTES_MAX, absent=(400, 404))
    return None if answer is None else _read(answer)


def _read(answer: Any) -> dict[str, str] | None:
    """ViaCEP says `{"erro": true}` (or "true") with status 200 for a CEP that nobody has."""
    if not isinstance(answer, dict):
        raise LookupAway
    if str(answer.get("erro", "")).lower() == "true":
        return None
    found = {ours: str(answer.get(theirs) or "").strip()[:150] for theirs, ours in _NAMES.items()}
    if not found["city"] or len(found["state"]) != 2:
        raise LookupAway
    return {name: value for name, value in found.items() if value}
