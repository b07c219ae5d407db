"""Google's Gemini: generateContent and streamGenerateContent. Requests in `gemini_request`, answers in
`gemini_answer` and `gemini_stream`.

What is not spoken: explicit caches (`cachedContent`; implicit caching is, and its tokens are counted), Google's own tools, Live.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import msgspec

from gateway import sse
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.base import Tally, UpstreamRequest, error_of_status, text_of
from gateway.dialects.gemini_answer import ChatAnswer, read_chat
from gateway.dialects.gemini_request import translate_chat
from gateway.dialects.gemini_stream import ChatReader
from gateway.errors import BadRequest, UpstreamError

__all__ = ["ChatAnswer", "ChatReader", "chat_request", "open_parser", "open_stream", "read_chat", "read_error", "stream_type"]

stream_type = "text/event-stream"
open_parser = partial(sse.SseParser, bytes_max=16 * 1_048_576)  # a picture comes in one line

# Refusals of status 400 that are about our key, our project or where we stand, not about the request.
_OUR_REASONS = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "BILLING_DISABLED", "SERVICE_DISABLED", "CONSUMER_SUSPENDED"})


def chat_request(call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
    try:
        body, dropped = translate_chat(call, deployment.upstream_model, output_tokens)
        encoded = msgspec.json.encode(body)
    except RecursionError:
        raise BadRequest("O JSON é profundo demais.", "The JSON is nested too deeply.", code="invalid_json") from None
    verb = "streamGenerateContent?alt=sse" if call.is_stream else "generateContent"
    return UpstreamRequest(model_url(deployment) + verb, request_headers(deployment), encoded, dropped)


def model_url(deployment: ServedDeployment) -> str:
    return f"{deployment.base_url}/models/{deployment.upstream_model.removeprefix('models/')}:"


def request_headers(deployment: ServedDeployment) -> list[tuple[str, str]]:
    return [("x-goog-api-key", deployment.secret), ("content-type", "application/json")]


def open_stream(call: ChatCall) -> tuple[ChatReader, Tally]:
    tally = Tally()
    return ChatReader(call, tally, read_stream_error=read_stream_error), tally


def read_error(status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError:
    error = _explain(body)
    return _error_of(status, error, retry_after=retry_after, secret=deployment.secret)


def read_stream_error(data: bytes) -> UpstreamError:
    """An event `{"error": {...}}` in a stream of status 200."""
    error = _explain(data)
    status = error.get("code")
    is_status = isinstance(status, int) and 400 <= status <= 599
    failure = _error_of(status if is_status and isinstance(status, int) else 500, error)
    failure.retryable = True
    return failure


def _error_of(status: int, error: dict[str, Any], *, retry_after: str | None = None, secret: str = "") -> UpstreamError:
    message, details = text_of(error.get("message")), error.get("details")
    details = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    reasons = {text_of(detail.get("reason")) for detail in details}
    is_ours = bool(reasons & _OUR_REASONS) or "api key" in message.lower()
    if status == 400 and (is_ours or error.get("status") == "FAILED_PRECONDITION"):
        status = 401
    code = ""
    if status == 400 and "token count" in message and "exceeds" in message:
        code = "context_length_exceeded"
    return error_of_status(status, message=message, code=code, retry_after=retry_after or _retry_delay(details), secret=secret)


def _retry_delay(details: list[dict[str, Any]]) -> str | None:
    """RetryInfo's "7s" or "7.5s"; Google sends no retry-after header."""
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            return delay[:-1]
    return None


def _explain(body: bytes) -> dict[str, Any]:
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(said, list) and said:
        said = said[0]
    error = said.get("error") if isinstance(said, dict) else None
    return error if isinstance(error, dict) else {}
