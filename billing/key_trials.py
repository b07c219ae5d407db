"""One small call with a key that was just made, as its owner's program would make it: through the gateway, paid like any other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx
from django.conf import settings
from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _

from billing.call_lists import id_of
from billing.money import from_brl

PROMPT = gettext_noop("Responda só com uma saudação curta.")
TOKENS_MAX = 64
SECONDS = 30
log = logging.getLogger("billing.key_trials")


@dataclass(frozen=True, slots=True)
class Trial:
    """How it went. `answer` is the model's words, `failure` the gateway's where there are none; the secret is in neither."""

    model: str
    status: int  # HTTP; 0: the gateway did not answer
    answer: str = ""
    failure: str = ""
    code: str = ""
    tokens: int = 0
    cost_nanos: int = 0
    call_id: str = ""  # empty where none was recorded

    @property
    def is_good(self) -> bool:
        return self.status == 200

    @property
    def needs_money(self) -> bool:
        return self.status == 402


def try_key(secret: str, *, model: str) -> Trial:
    """Never raises for what the gateway or the network does: that is what a person wants to know."""
    body = {"model": model, "messages": [{"role": "user", "content": _(PROMPT)}], "max_tokens": TOKENS_MAX}
    try:
        with httpx.Client(timeout=SECONDS, trust_env=False) as client:
            headers = {"Authorization": f"Bearer {secret}", "Accept-Language": get_language() or ""}  # its refusals are read here
            response = client.post(f"{settings.GATEWAY_URL}/v1/chat/completions", json=body, headers=headers)
        told = response.json()
    except (httpx.HTTPError, ValueError) as error:
        log.warning("a trial of a key was not answered: %s", type(error).__name__)
        return Trial(model, 0, failure=_("A API não respondeu agora. Você não foi cobrado."))
    if response.status_code != 200:
        error_told = told.get("error") if isinstance(told, dict) else None
        failure = error_told if isinstance(error_told, dict) else {}
        return Trial(
            model, response.status_code, failure=str(failure.get("message") or _("A chamada foi recusada.")),
            code=str(failure.get("code") or ""),
        )  # fmt: skip
    return _read(model, told)


def _read(model: str, told: dict[str, Any]) -> Trial:
    usage: dict[str, Any] = told.get("usage") or {}
    choices = told.get("choices") or [{}]
    try:
        cost = from_brl(Decimal(str(usage.get("cost") or 0)))
    except InvalidOperation:
        cost = 0
    found = id_of(str(told.get("id") or ""))
    return Trial(
        model, 200, answer=str((choices[0].get("message") or {}).get("content") or "")[:500],
        tokens=int(usage.get("total_tokens") or 0), cost_nanos=cost, call_id=str(found) if found else "",
    )  # fmt: skip
