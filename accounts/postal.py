"""The street of a CEP, from the public look-up (ViaCEP's shape, `GET {CEP_URL}/{cep}/json/`). A convenience: it may be away."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
from django.conf import settings

SECONDS_MAX = 3.0
_BYTES_MAX = 16_384
_NAMES = {"logradouro": "street", "bairro": "district", "localidade": "city", "uf": "state"}


class PostalAway(Exception):
    """No answer in time, or none that can be read: the person fills the form by hand."""


def look_up_cep(cep: str) -> dict[str, str] | None:
    """The parts of an address that a CEP (eight digits) has: of a town with a single CEP only city and state. None if there is no
    such CEP. Raises PostalAway.

    At most SECONDS_MAX, redirects not followed.
    """
    if len(cep) != 8 or not (cep.isascii() and cep.isdigit()) or not settings.CEP_URL:
        raise PostalAway
    ends_at = time.monotonic() + SECONDS_MAX
    try:
        with (
            httpx.Client(timeout=httpx.Timeout(1.5, read=1.5), trust_env=False) as client,
            client.stream("GET", f"{settings.CEP_URL}/{cep}/json/") as response,
        ):
            if response.status_code in (400, 404):
                return None
            response.raise_for_status()
            body = b""
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _BYTES_MAX or time.monotonic() > ends_at:
                    raise PostalAway
        return _read(json.loads(body))
    except (httpx.HTTPError, ValueError, RecursionError) as error:
        raise PostalAway from error


def _read(answer: Any) -> dict[str, str] | None:
    """ViaCEP says `{"erro": true}` (or "true") with status 200 for a CEP that nobody has."""
    if not isinstance(answer, dict):
        raise PostalAway
    if str(answer.get("erro", "")).lower() == "true":
        return None
    found = {ours: str(answer.get(theirs) or "").strip()[:150] for theirs, ours in _NAMES.items()}
    if not found["city"] or len(found["state"]) != 2:
        raise PostalAway
    return {name: value for name, value in found.items() if value}
