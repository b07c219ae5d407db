"""Anthropic's Messages API, version 2023-06-01: requests in `anthropic_request`, answers in `anthropic_answer`."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gateway import sse
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.anthropic_answer import ChatAnswer, ChatReader, read_chat
from gateway.dialects.anthropic_fields import name_unsaid
from gateway.dialects.anthropic_request import translate_chat
from gateway.dialects.base import Tally, UpstreamRequest, error_of_status, text_of
from gateway.errors import UpstreamError

__all__ = ["ChatAnswer", "ChatReader", "chat_request", "open_parser", "open_stream", "read_chat", "read_error", "stream_type"]

stream_type = "text/event-stream"
open_parser = sse.SseParser

VERSION = "2023-06-01"
# error.type → HTTP status, for error events that come inside a stream of status 200
STATUSES = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip


def chat_request(call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
    body = translate_chat(call, deployment.upstream_model, output_tokens)
    headers = [
        ("x-api-key", deployment.secret),
        ("anthropic-version", VERSION),
        ("content-type", "application/json"),
    ]
    return UpstreamRequest(deployment.base_url + "/v1/messages", headers, msgspec.json.encode(body), name_unsaid(call, body))


def open_stream(call: ChatCall) -> tuple[ChatReader, Tally]:
    tally = Tally()
    return ChatReader(call, tally, read_stream_error=read_stream_error), tally


def read_error(status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError:
    message, kind = _explain(body)
    return error_of_status(status, message=message, code=_code(kind), retry_after=retry_after, secret=deployment.secret)


def read_stream_error(data: bytes) -> UpstreamError:
    """An `error` event."""
    message, kind = _explain(data)
    return error_of_status(STATUSES.get(kind, 500), message=message, code=_code(kind))


def _code(kind: str) -> str:
    return "" if kind == "invalid_request_error" else kind


def _explain(body: bytes) -> tuple[str, str]:
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = said.get("error") if isinstance(said, dict) else None
    if not isinstance(error, dict):
        return "", ""
    return text_of(error.get("message")), text_of(error.get("type"))
