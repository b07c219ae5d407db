"""Cohere's chat, v2: requests in `cohere_request` and `cohere_messages`, answers in `cohere_answer`."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gateway import sse
from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects import cohere_answer
from gateway.dialects.base import Tally, UpstreamRequest, error_of_status, text_of, timed_out
from gateway.dialects.cohere_answer import ChatAnswer, ChatReader
from gateway.dialects.cohere_request import translate_chat
from gateway.errors import UpstreamError

__all__ = ["ChatAnswer", "ChatReader", "chat_request", "open_parser", "open_stream", "read_chat", "read_error", "stream_type"]

stream_type = "text/event-stream"
open_parser = sse.SseParser

TOKEN_INVALID = 498  # Cohere's own status for a key that is blocked or out of date


def chat_request(call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
    body, dropped = translate_chat(call, route, deployment.upstream_model, output_tokens)
    return UpstreamRequest(deployment.base_url + "/v2/chat", request_headers(deployment), msgspec.json.encode(body), dropped)


def request_headers(deployment: ServedDeployment) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {deployment.secret}"), ("content-type", "application/json")]


def read_chat(body: bytes) -> ChatAnswer:
    return cohere_answer.read_chat(body, read_failure=read_failure)


def open_stream(call: ChatCall) -> tuple[ChatReader, Tally]:
    tally = Tally()
    return ChatReader(call, tally, read_failure=read_failure, read_stream_error=read_stream_error), tally


def read_error(status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError:
    message = _explain(body)
    code = "context_length_exceeded" if "too many tokens" in message else ""
    status = 401 if status == TOKEN_INVALID else status
    return error_of_status(status, message=message, code=code, retry_after=retry_after, secret=deployment.secret)


def read_stream_error(data: bytes) -> UpstreamError:
    """An event that is an error's body."""
    return error_of_status(500, message=_explain(data))


def read_failure(reason: str, message: str) -> UpstreamError:
    """An answer that ended with ERROR or TIMEOUT."""
    return timed_out(upstream_status=504) if reason == "TIMEOUT" else error_of_status(500, message=message)


def _explain(body: bytes) -> str:
    """`{"id", "message"}`."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return text_of(said.get("message")) if isinstance(said, dict) else ""
