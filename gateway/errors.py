"""Every refusal of the hot path: Portuguese unless the caller asks for English. `error_bodies` shapes them.

No message holds a host, a stack, a key or an organization's id: what an upstream says is cleaned by `scrub` first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokia.errors import TokiaError

_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|gsk|xai|org|proj|req|AIza)[-_][A-Za-z0-9_\-*.…]{4,}|\bAIza[A-Za-z0-9_-]{10,}")
_URL_LIKE = re.compile(r"\bhttps?://[^\s\"'<>)]+|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b")


class GatewayError(TokiaError):
    """A refusal with both languages. `type` is OpenAI's `error.type`."""

    type = "invalid_request_error"
    usage_raw = b""  # of a stream that broke: what was delivered and its cost, in chat's words
    previous_errors: Sequence[Mapping[str, Any]] = ()  # of those who were asked before

    def __init__(
        self,
        message: str,
        english: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after_seconds=retry_after_seconds)
        self.english = english
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status


class BadRequest(GatewayError):
    code = "invalid_value"
    status = 400


class Unauthorized(GatewayError):
    type = "authentication_error"
    code = "invalid_api_key"
    status = 401


class Forbidden(GatewayError):
    type = "permission_error"
    code = "permission_denied"
    status = 403


class RouteNotFound(GatewayError):
    code = "model_not_found"
    status = 404


class Conflict(GatewayError):
    code = "conflict"
    status = 409


class BodyTooLarge(GatewayError):
    code = "request_too_large"
    status = 413


class InsufficientBalance(GatewayError):
    type = "billing_error"
    code = "insufficient_balance"
    status = 402


class BudgetExceeded(GatewayError):
    type = "billing_error"
    code = "budget_exceeded"
    status = 403
    budget_raw = b""  # a JSON object: which budget, and its numbers


class RateLimited(GatewayError):
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    status = 429


class Unavailable(GatewayError):
    """We can't serve now; the same call may succeed later."""

    type = "api_error"
    code = "overloaded"
    status = 503
    retryable = True


# What a failed attempt's code says of who may be asked next (`models.routing.FailureKind`, and two of our own): our key was
# refused (another key, another provider), or the request itself was (nobody else would take it).
_KINDS = {
    "provider_unavailable": "credential",
    "own_key_refused": "credential",
    "rate_limit_exceeded": "rate_limit",
    "context_length_exceeded": "context_window",
    "content_policy_violation": "content_policy",
    "content_filter": "content_policy",
}


class UpstreamError(GatewayError):
    """An attempt failed. `is_retryable`: another deployment may succeed where this one did not."""

    type = "upstream_error"
    code = "upstream_error"
    status = 502

    def __init__(
        self,
        message: str,
        english: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_seconds: float | None = None,
        is_retryable: bool = True,
        upstream_status: int = 0,
        type_: str | None = None,
    ) -> None:
        super().__init__(message, english, param=param, code=code, status=status, retry_after_seconds=retry_after_seconds)
        self.retryable = is_retryable
        self.upstream_status = upstream_status
        if type_ is not None:
            self.type = type_

    @property
    def kind(self) -> str:
        """ "outage", "rate_limit", "context_window", "content_policy", "credential", "refused"."""
        return _KINDS.get(self.code) or ("outage" if self.retryable else "refused")


class ClientGone(Exception):
    """The caller hung up. Never shown to anybody."""


class AnswerBroken(Exception):
    """An answer without a place for an error (sound) ended before its end: its connection is closed, so that it looks cut."""


class SessionLost(Exception):
    """This process was declared dead while the call ran: its hold has expired, and the call ends free of charge."""


def ledger_unavailable() -> Unavailable:
    return Unavailable(
        "A carteira não respondeu agora. Nada foi cobrado; tente de novo em instantes.",
        "The ledger did not answer. Nothing was charged; try again in a moment.",
        code="ledger_unavailable",
        retry_after_seconds=2,
    )


def unknown_address(path: str) -> GatewayError:
    shown = path[:100]
    return GatewayError(
        f"Endereço desconhecido: {shown}. Veja os endpoints na documentação.",
        f"Unknown address: {shown}.",
        code="unknown_url",
        status=404,
    )


def unserved() -> BadRequest:
    return BadRequest(
        "O provedor deste modelo não atende neste endereço.", "This model's provider is not served at this address.", param="model"
    )


def wrong_method(method: str) -> GatewayError:
    return GatewayError(
        f"O método {method[:10]} não vale para este endereço.",
        f"Method {method[:10]} is not allowed here.",
        code="method_not_allowed",
        status=405,
    )


def internal_error() -> GatewayError:
    error = GatewayError("Erro interno. Já fomos avisados.", "Internal error.", code="internal_error", status=500)
    error.type = "api_error"
    return error


def scrub(text: str, *, secrets: tuple[str, ...] = ()) -> str:
    """What an upstream says, without key fragments, account ids or addresses; at most 500 characters."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    text = _KEY_LIKE.sub("…", text)
    return _URL_LIKE.sub("…", text)[:500]
