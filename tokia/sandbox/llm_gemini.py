"""Gemini's own protocol: `/llm/google/v1beta/models/<model>:generateContent` and its kin. Google's errors are written here."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokia.sandbox import llm_gemini_types
from tokia.sandbox.asgi import BadJson, Json, Request, Response, json_response
from tokia.sandbox.faults import FaultSet, plain_model
from tokia.sandbox.llm_delivery import Delivery, Reply
from tokia.sandbox.llm_gemini_answers import answer_generate
from tokia.sandbox.llm_gemini_names import BATCH_EMBED, EMBED, GENERATE, bad, in_camel_case, refuse_unknown
from tokia.sandbox.llm_gemini_rules import refuse_bad_request
from tokia.sandbox.llm_keys import knows_key
from tokia.sandbox.llm_ledger import ERROR, Call
from tokia.sandbox.llm_openai import DIMENSIONS, embed
from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_refusals import ProviderError, google_error, scripted_error
from tokia.sandbox.llm_tokens import Usage, count_tokens

if TYPE_CHECKING:
    from tokia.sandbox.llm import Llm

PATH = re.compile(r"/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent|embedContent|batchEmbedContents)")
BATCH_MAX = 100
DIMENSIONS_DEFAULT = 3072


async def serve_gemini(llm: Llm, request: Request, provider: Provider, path: str, request_id: str) -> None:
    """Answers its own refusals: they have another shape than those of Google's OpenAI-compatible paths."""
    provider = replace(provider, dialect="gemini")
    try:
        await _serve(llm, request, provider, path)
    except ProviderError as error:
        await request.answer(google_refusal(error))


async def _serve(llm: Llm, request: Request, provider: Provider, path: str) -> None:
    found = PATH.fullmatch(path)
    assert found is not None  # or it would not have come here
    asked, verb = found[1], found[2]
    refuse_bad_key(request, provider)
    if request.method != "POST":
        raise ProviderError(404, "Requested entity was not found.")
    try:
        body = request.json_object()
    except BadJson as error:
        raise bad(f"Invalid JSON payload received. {str(error)[:120]}") from error
    is_stream = verb == "streamGenerateContent"
    faults = llm.scripts.take(provider=provider.slug, model=asked)
    kind = "chat" if verb.endswith("GenerateContent") or verb == "generateContent" else "embeddings"
    call = llm.ledger.open(
        Call(
            id=secrets.token_urlsafe(16), provider=provider.slug, model=asked, kind=kind, is_stream=is_stream,
            faults=faults.names(),
        )
    )  # fmt: skip
    try:
        if faults.has("status"):
            after = faults.number("retryafter", -1)
            raise scripted_error(provider, faults.number("status", 500), retry_after=after if after >= 0 else None)
        if is_stream and request.query.get("alt") != "sse":
            raise bad("Only alt=sse is simulated.")
        reply = _reply(llm, provider, body, verb=verb, call=call, faults=faults)
    except ProviderError as error:
        call.http_status = error.status
        llm.ledger.close(call, ERROR)
        raise
    delivery = Delivery(
        request=request, provider=provider, call=call, faults=faults, headers={"x-gemini-service-tier": "standard"}, gate=llm.gate,
        chunk_seconds=llm.chunk_seconds,
    )  # fmt: skip
    await delivery.send(reply, ledger=llm.ledger)


def _reply(llm: Llm, provider: Provider, body: dict[str, Any], *, verb: str, call: Call, faults: FaultSet) -> Reply:
    """Check the request as Google does, then answer it. Raises ProviderError."""
    model = plain_model(call.model)
    is_chat = call.kind == "chat"
    if not re.fullmatch(provider.chat_models if is_chat else provider.embedding_models, model):
        raise ProviderError(404, f"models/{model} is not found for API version v1beta, or is not supported for {verb}.")
    if not is_chat:
        return _embed(body, model=model, asked=call.model, is_batch=verb == "batchEmbedContents", faults=faults)
    body = in_camel_case(body, GENERATE)
    refuse_bad_request(body, model=model)
    if (slip := llm_gemini_types.find_slip(body)) is not None:
        raise bad(f"Invalid value at '{slip[0]}': {slip[1]}")
    return answer_generate(
        body, provider=provider, model=model, call_id=call.id, faults=faults, cache=llm.cache, is_stream=call.is_stream
    )


def _embed(body: dict[str, Any], *, model: str, asked: str, is_batch: bool, faults: FaultSet) -> Reply:
    """Vectors as long as they were cut: only whole ones have length one. The older model tells no usage."""
    body = in_camel_case(body, BATCH_EMBED if is_batch else EMBED)
    refuse_unknown(body, BATCH_EMBED if is_batch else EMBED)
    items = body.get("requests") or [] if is_batch else [body]
    if not 0 < len(items) <= BATCH_MAX:
        raise bad(f"* BatchEmbedContentsRequest.requests: at most {BATCH_MAX} requests can be in one batch")
    whole = DIMENSIONS.get(model, DIMENSIONS_DEFAULT)
    vectors, tokens = [], 0
    for item in items:
        if item.get("model", f"models/{asked}" if not is_batch else "") != f"models/{asked}":
            raise bad("* BatchEmbedContentsRequest.requests.model: must match the model of the path.")
        text = "".join(part.get("text", "") for part in (item.get("content") or {}).get("parts") or ())
        size = item.get("outputDimensionality") or whole
        if not text or not 1 <= size <= whole:
            raise bad("content is empty" if not text else f"output_dimensionality must be between 1 and {whole}")
        tokens += count_tokens(text)
        vectors.append({"values": embed(text, whole)[:size]})
    told: dict[str, Json] = {"embeddings": vectors} if is_batch else {"embedding": vectors[0]}
    if model != "gemini-embedding-001":
        usage = faults.bend_usage({"promptTokenCount": tokens, "totalTokenCount": tokens})
        if usage is not None:
            told["usageMetadata"] = usage
    return Reply(usage=Usage(prompt_tokens=tokens), body=told)


def refuse_bad_key(request: Request, provider: Provider) -> None:
    given = request.headers.get("x-goog-api-key") or request.query.get("key", "")
    if not given and request.headers.get("authorization"):
        raise ProviderError(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")
    if not given:
        text = "Method doesn't allow unregistered callers (callers without established identity). Please use API Key."
        raise ProviderError(403, text)
    if not knows_key(provider, given):
        reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        raise ProviderError(400, "API key not valid. Please pass a valid API key.", details=[reason])


def google_refusal(error: ProviderError) -> Response:
    """Google tells when to come back within the body, not in a header."""
    return json_response({"error": google_error(error)}, status=error.status)
