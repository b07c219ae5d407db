"""AWS Bedrock's Converse and ConverseStream: requests in `bedrock_request`, answers in `bedrock_answer`.

A provider's row: `base_url` https://bedrock-runtime.<region>.amazonaws.com (another host says its region as `?region=<region>`), a
credential `ACCESS_KEY_ID:SECRET[:SESSION_TOKEN]`, or one of Bedrock's own API keys, which has no colon and goes as a bearer token.

AWS generates and bills an answer to its end even where the connection is closed; see `read_error` for what it refuses.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from gateway.calls import ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.base import Tally, UpstreamRequest, error_of_status, text_of
from gateway.dialects.bedrock_answer import ChatAnswer, ChatReader, read_chat
from gateway.dialects.bedrock_events import EventStreamParser
from gateway.dialects.bedrock_request import translate_chat
from gateway.dialects.sigv4 import read_access_key, sign_post
from gateway.errors import UpstreamError

__all__ = ["ChatAnswer", "ChatReader", "chat_request", "open_parser", "open_stream", "read_chat", "read_error", "stream_type"]

stream_type = "application/vnd.amazon.eventstream"
open_parser = EventStreamParser

SERVICE = "bedrock"
REGION_DEFAULT = "us-east-1"
# Exception → HTTP status, for those that come inside a stream of status 200 (AWS writes them there in lower case)
STATUSES = {
    "accessdeniedexception": 403, "validationexception": 400, "resourcenotfoundexception": 404, "modeltimeoutexception": 408,
    "modelerrorexception": 424, "modelstreamerrorexception": 424, "throttlingexception": 429, "modelnotreadyexception": 429,
    "servicequotaexceededexception": 400, "internalserverexception": 500, "serviceunavailableexception": 503,
}  # fmt: skip
# A refusal that our catalog or account caused, not the caller's request: another deployment may serve it.
_OURS = re.compile(
    r"model identifier is invalid|on-demand throughput isn|inference profile|end of its life|not authorized|don't have access"
    r"|not supported in this region|marketplace",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(r"input is too long|too many input tokens|context (window|length)|prompt is too long", re.IGNORECASE)
_HOST = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


def chat_request(call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
    body, dropped = translate_chat(call, deployment.upstream_model, output_tokens)
    base, region = address_of(deployment.base_url)
    verb = "converse-stream" if call.is_stream else "converse"
    url = f"{base}/model/{quote(deployment.upstream_model, safe='')}/{verb}"
    raw = msgspec.json.encode(body)
    headers = [("content-type", "application/json")]
    key = read_access_key(deployment.secret)
    if key is None:
        headers.append(("authorization", f"Bearer {deployment.secret}"))
    else:
        now = dt.datetime.now(dt.UTC)
        headers = sign_post(url=url, headers=headers, body=raw, key=key, region=region, service=SERVICE, at=now)
    return UpstreamRequest(url, headers, raw, dropped)


@lru_cache(maxsize=256)
def address_of(base_url: str) -> tuple[str, str]:
    """Where requests go, and the region to sign for."""
    parts = urlsplit(base_url)
    base = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    named = parse_qs(parts.query).get("region")
    found = _HOST.search(parts.hostname or "")
    return base, named[0] if named else found[1] if found else REGION_DEFAULT


def open_stream(call: ChatCall) -> tuple[ChatReader, Tally]:
    tally = Tally()
    return ChatReader(call, tally, read_stream_error=read_stream_error), tally


def read_error(status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError:
    """The kind comes in the header `x-amzn-errortype`, which `upstream.Answer` writes into the body as AWS's own `__type`."""
    message, kind = _explain(body)
    return _error_of(kind, status, message, retry_after=retry_after, secret=deployment.secret)


def read_stream_error(name: bytes, payload: bytes) -> UpstreamError:
    """An exception inside a stream."""
    message, _ = _explain(payload)
    kind = name.decode(errors="replace")
    return _error_of(kind, STATUSES.get(kind.lower(), 500), message)


def _error_of(kind: str, status: int, message: str, *, retry_after: str | None = None, secret: str = "") -> UpstreamError:
    code = ""
    if kind.lower() == "servicequotaexceededexception":
        code = "insufficient_quota"
    elif status == 400 and _OURS.search(message):
        status = 404
    elif status == 400 and _TOO_LONG.search(message):
        code = "context_length_exceeded"
    return error_of_status(status, message=message, code=code, retry_after=retry_after, secret=secret)


def _explain(body: bytes) -> tuple[str, str]:
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(said, dict):
        return "", ""
    message = text_of(said.get("message")) or text_of(said.get("Message")) or text_of(said.get("originalMessage"))
    return message, text_of(said.get("__type")).split("#")[-1].split(":")[0]
