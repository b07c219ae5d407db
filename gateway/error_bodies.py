"""A refusal's body in OpenAI's shape, with where the documentation explains its code."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from django.conf import settings

from gateway.errors import BudgetExceeded, GatewayError
from tokia.errors import TokiaError

PAGE = f"{settings.WEB_URL}/docs/erros/"
_CODE = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)


def as_openai(error: TokiaError, *, is_english: bool = False) -> bytes:
    """The body `{"error": {...}}` of a refusal. Inside, since OpenAI's SDKs keep nothing else, also the usage of what came."""
    message = error.english if is_english and isinstance(error, GatewayError) else error.message
    shown: dict[str, Any] = {
        "message": message,
        "type": error.type if isinstance(error, GatewayError) else "api_error",
        "param": error.param,
        "code": error.code,
        "doc_url": doc_url(error.code),
    }
    if isinstance(error, GatewayError) and error.usage_raw:
        shown["usage"] = msgspec.Raw(error.usage_raw)
    if isinstance(error, GatewayError) and error.previous_errors:
        shown["previous_errors"] = error.previous_errors
    if isinstance(error, BudgetExceeded) and error.budget_raw:
        shown["budget"] = msgspec.Raw(error.budget_raw)
    return msgspec.json.encode({"error": shown})


def doc_url(code: str) -> str:
    """Where the code's cause and cure stand. One that an upstream made up has no place of its own there."""
    return f"{PAGE}#{code}" if _CODE.fullmatch(code) else PAGE
