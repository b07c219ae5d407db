"""Azure OpenAI: OpenAI's words at Azure's addresses, with its key in `api-key`.

A provider's row: `base_url` https://<resource>.openai.azure.com/openai/v1 (the v1 API: the deployment goes as the model), or
https://<resource>.openai.azure.com[?api-version=<version>] for the dated API, where the deployment's name is in the path. The model
of our deployment is the name of Azure's.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from gateway.calls import ChatCall, EmbeddingsCall, ServedDeployment, ServedRoute
from gateway.dialects.base import UpstreamRequest
from gateway.dialects.openai import ChatAnswer, ChatReader, open_parser, open_stream, read_chat, read_error, stream_type
from gateway.dialects.openai_embeddings import read_embeddings
from gateway.dialects.openai_hosts import HABITS
from gateway.dialects.openai_request import fit_fields

__all__ = [
    "ChatAnswer", "ChatReader", "chat_request", "embeddings_requests", "open_parser", "open_stream", "read_chat", "read_embeddings",
    "read_error", "stream_type",
]  # fmt: skip

API_VERSION = "2024-10-21"  # the newest dated one that is no preview


def chat_request(call: ChatCall, route: ServedRoute, deployment: ServedDeployment, output_tokens: int) -> UpstreamRequest:
    fields, dropped = fit_fields(call, route, HABITS["azure"], is_strict=True, output_tokens=output_tokens)
    return _request(fields, deployment, "chat/completions", dropped)


def embeddings_requests(call: EmbeddingsCall, deployment: ServedDeployment) -> list[UpstreamRequest]:
    fields = dict(call.fields)
    fields.pop("encoding_format", None)
    return [_request(fields, deployment, "embeddings", ())]


def _request(fields: dict[str, msgspec.Raw], deployment: ServedDeployment, verb: str, dropped: tuple[str, ...]) -> UpstreamRequest:
    fields["model"] = msgspec.Raw(msgspec.json.encode(deployment.upstream_model))
    headers = [("api-key", deployment.secret), ("content-type", "application/json")]
    url = address_of(deployment.base_url, deployment.upstream_model, verb)
    return UpstreamRequest(url, headers, msgspec.json.encode(fields), dropped)


@lru_cache(maxsize=1_024)
def address_of(base_url: str, model: str, verb: str) -> str:
    parts = urlsplit(base_url)
    base = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    version = parse_qs(parts.query).get("api-version", [""])[0]
    if base.endswith("/v1"):
        return f"{base}/{verb}" + (f"?api-version={quote(version)}" if version else "")
    base = base.removesuffix("/openai")
    return f"{base}/openai/deployments/{quote(model, safe='')}/{verb}?api-version={quote(version or API_VERSION)}"
