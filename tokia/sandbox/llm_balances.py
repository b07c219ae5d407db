"""What providers tell of an account without being asked for work: DeepSeek's balance, and the lists of models of those hosts whose
native API has another address for it than OpenAI's.

From their references of late 2026: api-docs.deepseek.com/api/get-user-balance, docs.cohere.com/reference/list-models,
ai.google.dev/api/models, and Azure OpenAI's v1 API.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokia.sandbox.asgi import Json, Request, json_response
from tokia.sandbox.llm_gemini import google_refusal
from tokia.sandbox.llm_gemini import refuse_bad_key as refuse_bad_google_key
from tokia.sandbox.llm_keys import REFUSED, knows_key
from tokia.sandbox.llm_providers import Provider, id_headers, list_models
from tokia.sandbox.llm_refusals import ProviderError, unauthorized

if TYPE_CHECKING:
    from tokia.sandbox.llm import Llm

BALANCE_PATH = re.compile(r"/user/balance")
MODELS_PATHS = {
    "azure": re.compile(r"/openai/v1/models"),
    "cohere": re.compile(r"/v1/models"),
    "google": re.compile(r"/v1(?:beta)?/models"),
}
TOPPED_UP, GRANTED = "100.00", "10.00"


async def serve_balance(llm: Llm, request: Request, provider: Provider, path: str, request_id: str) -> None:
    """Raises ProviderError. An empty account answers too: that it is empty is what it tells."""
    given = _bearer(request)
    is_empty = REFUSED.get(given) == 402
    if not is_empty and not knows_key(provider, given):
        raise unauthorized(provider, is_missing=not given)
    _refuse_other_methods(request)
    info = {
        "currency": "USD",
        "total_balance": "0.00" if is_empty else "110.00",
        "granted_balance": "0.00" if is_empty else GRANTED,
        "topped_up_balance": "0.00" if is_empty else TOPPED_UP,
    }
    body: Json = {"is_available": not is_empty, "balance_infos": [info]}
    await request.answer(json_response(body, headers=id_headers(provider, request_id)))


async def serve_models(llm: Llm, request: Request, provider: Provider, path: str, request_id: str) -> None:
    """Raises ProviderError."""
    if provider.slug == "google":
        try:
            refuse_bad_google_key(request, provider)
        except ProviderError as error:
            await request.answer(google_refusal(error))
            return
    else:
        given = request.headers.get("api-key", "") if provider.slug == "azure" else _bearer(request)
        if not knows_key(provider, given):
            raise unauthorized(provider, is_missing=not given)
    _refuse_other_methods(request)
    body: Json
    if provider.slug == "google":
        body = {"models": [{"name": name, "version": "001", "displayName": name} for name in provider.listed]}
    elif provider.slug == "cohere":
        body = {"models": [{"name": name, "endpoints": ["chat"]} for name in provider.listed]}
    else:
        body = list_models(provider)
    await request.answer(json_response(body, headers=id_headers(provider, request_id)))


def _bearer(request: Request) -> str:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    return given if kind.lower() == "bearer" else ""


def _refuse_other_methods(request: Request) -> None:
    if request.method != "GET":
        raise ProviderError(405, "Method Not Allowed")
