"""Azure OpenAI's addresses and key before OpenAI's own words: deployments by a dated version, and the v1 API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tokia.sandbox.asgi import BadJson, Request
from tokia.sandbox.llm_keys import knows_key
from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_refusals import ProviderError, unauthorized

if TYPE_CHECKING:
    from tokia.sandbox.llm import Llm

PATH = re.compile(r"/openai/.*")
CALL_PATH = re.compile(r"/openai/(?:deployments/(?P<deployment>[^/]+)|v1)(?P<verb>/chat/completions|/embeddings)")
DATED_VERSIONS = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")
V1_VERSIONS = ("", "v1", "preview", "latest")


async def serve_azure(llm: Llm, request: Request, provider: Provider, path: str, request_id: str) -> None:
    """Answer one call. Raises ProviderError."""
    given = request.headers.get("api-key", "")
    if not knows_key(provider, given):
        raise unauthorized(provider, is_missing=not given)
    found = CALL_PATH.fullmatch(path)
    version = request.query.get("api-version", "")
    if found is None or request.method != "POST":
        raise ProviderError(404, "Resource not found", code="404")
    is_dated = found["deployment"] is not None
    if not (DATED_VERSIONS.fullmatch(version) if is_dated else version in V1_VERSIONS):
        raise ProviderError(404, "Resource not found", code="404")
    try:
        body = request.json_object()
    except BadJson as error:
        raise ProviderError(400, "We could not parse the JSON body of your request.") from error
    if is_dated:
        body["model"] = unquote(found["deployment"])  # the path says it, whatever the body does
    await llm.serve_call(request, provider=provider, path=found["verb"], body=body, request_id=request_id)
