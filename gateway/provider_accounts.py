"""What a provider says of a key without being asked for work: whether it takes it, and what its account has left.

Asked by workers and by pages, never on a call's way. The address is the provider's row's, which only administrators write; no
redirect is followed, no proxy of the environment used, and neither the key nor an answer's text is ever logged.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx

from gateway.credential_health import tell_reason
from gateway.dialects.anthropic import VERSION as ANTHROPIC_VERSION
from gateway.models import Provider

SECONDS_MAX = 8.0
BYTES_MAX = 1_048_576
TAKEN, REFUSED, UNKNOWN = "taken", "refused", "unknown"
logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell every address at INFO


class ProviderAway(Exception):
    """No answer in time, or none that can be read."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`verdict`: TAKEN, REFUSED, or UNKNOWN where the provider can't be asked, or did not answer. `status`: HTTP; 0: none."""

    verdict: str
    status: int = 0

    @property
    def reason(self) -> str:
        """Of a refusal, in words."""
        return tell_reason(str(self.status))


@dataclass(frozen=True, slots=True)
class BalanceSeen:
    """What is left at a provider's account, in its own currency."""

    amount: Decimal
    currency: str


def can_be_tried(provider: Provider) -> bool:
    """Bedrock lists its models elsewhere than it serves them, and needs a permission of its own for that."""
    return provider.dialect != Provider.Dialect.BEDROCK


def try_key(provider: Provider, secret: str) -> Probe:
    """Ask for the list of models, which costs nothing. Never raises."""
    if not can_be_tried(provider):
        return Probe(UNKNOWN)
    base = provider.base_url.rstrip("/")
    match provider.dialect:
        case Provider.Dialect.ANTHROPIC:
            url, headers = f"{base}/v1/models", {"x-api-key": secret, "anthropic-version": ANTHROPIC_VERSION}
        case Provider.Dialect.GEMINI:
            url, headers = f"{base}/models", {"x-goog-api-key": secret}
        case Provider.Dialect.COHERE:
            url, headers = f"{base}/v1/models", _bearer(secret)
        case Provider.Dialect.AZURE:
            url, headers = f"{base}/models", {"api-key": secret}
        case _:
            url, headers = f"{base}/models", _bearer(secret)
    try:
        status, body = _get(url, headers)
    except ProviderAway:
        return Probe(UNKNOWN)
    if status == 400 and b"API_KEY_INVALID" in body:  # Google's word for 401
        status = 401
    if status == 200:
        return Probe(TAKEN, status)
    return Probe(REFUSED if status in (401, 402, 403) else UNKNOWN, status)


def tells_balance(provider: Provider) -> bool:
    return provider.slug in _BALANCES


def read_balance(provider: Provider, secret: str) -> BalanceSeen:
    """Raises ProviderAway: no answer, none that can be read, or a provider that does not tell."""
    if not tells_balance(provider):
        raise ProviderAway
    path, read = _BALANCES[provider.slug]
    status, body = _get(provider.base_url.rstrip("/").removesuffix("/v1") + path, _bearer(secret))
    if status != 200:
        raise ProviderAway
    try:
        seen = read(json.loads(body))
    except (ValueError, TypeError, KeyError, IndexError, InvalidOperation) as error:
        raise ProviderAway from error
    if not seen.amount.is_finite() or abs(seen.amount) >= 10**10:  # what CredentialHealth.balance can keep
        raise ProviderAway
    return seen


def _read_deepseek(told: Any) -> BalanceSeen:
    """api-docs.deepseek.com/api/get-user-balance. An account may have balances in both currencies: the larger is shown."""
    infos = [BalanceSeen(Decimal(info["total_balance"]), str(info["currency"])[:3]) for info in told["balance_infos"]]
    return max(infos, key=lambda info: info.amount)


def _read_openrouter(told: Any) -> BalanceSeen:
    """openrouter.ai/docs, GET /api/v1/credits: bought less used, in US dollars."""
    data = told["data"]
    return BalanceSeen(Decimal(str(data["total_credits"])) - Decimal(str(data["total_usage"])), "USD")


# Providers by slug: where the balance is told, after the base address without /v1, and how.
_BALANCES: dict[str, tuple[str, Callable[[Any], BalanceSeen]]] = {
    "deepseek": ("/user/balance", _read_deepseek),
    "openrouter": ("/v1/credits", _read_openrouter),
}


def _bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def _get(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Raises ProviderAway."""
    ends_at = time.monotonic() + SECONDS_MAX
    try:
        with (
            httpx.Client(timeout=httpx.Timeout(4.0), trust_env=False, follow_redirects=False) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            body = b""
            for piece in response.iter_bytes():
                body += piece
                if len(body) > BYTES_MAX or time.monotonic() > ends_at:
                    raise ProviderAway
            return response.status_code, body
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ProviderAway from error
