"""Cohere's v2 API: `/llm/cohere/v2/chat`, `/v2/embed` and `/v2/rerank`."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokia.sandbox import llm_cohere_types
from tokia.sandbox.asgi import BadJson, Request
from tokia.sandbox.faults import FaultSet, plain_model
from tokia.sandbox.llm_cohere_answers import answer_chat, answer_embed, answer_rerank
from tokia.sandbox.llm_cohere_rules import RULES
from tokia.sandbox.llm_delivery import Delivery, Reply
from tokia.sandbox.llm_keys import knows_key
from tokia.sandbox.llm_ledger import ERROR, Call
from tokia.sandbox.llm_providers import Provider, id_headers
from tokia.sandbox.llm_refusals import ProviderError, model_not_found, scripted_error, unauthorized

if TYPE_CHECKING:
    from tokia.sandbox.llm import Llm

PATH = re.compile(r"/v2/(chat|embed|rerank)")
LEDGER_KINDS = {"chat": "chat", "embed": "embeddings", "rerank": "rerank"}
RERANK_MODELS = r"rerank-(v\d|english|multilingual).*"


async def serve_cohere(llm: Llm, request: Request, provider: Provider, path: str, request_id: str) -> None:
    """Raises ProviderError."""
    provider = replace(provider, dialect="cohere")
    _refuse_bad_key(request, provider)
    if request.method != "POST":
        raise ProviderError(405, "method not allowed")
    kind = path.rsplit("/", 1)[-1]
    try:
        body = request.json_object()
    except BadJson as error:
        raise ProviderError(400, "invalid json syntax") from error
    asked = str(body.get("model") or "")
    faults = llm.scripts.take(provider=provider.slug, model=asked)
    call = llm.ledger.open(
        Call(
            id=str(uuid.uuid4()), provider=provider.slug, model=asked, kind=LEDGER_KINDS[kind],
            is_stream=body.get("stream") is True, faults=faults.names(),
        )
    )  # fmt: skip
    try:
        if faults.has("status"):
            after = faults.number("retryafter", -1)
            raise scripted_error(provider, faults.number("status", 500), retry_after=after if after >= 0 else None)
        reply = _reply(llm, provider, body, kind=kind, call=call, faults=faults)
    except ProviderError as error:
        call.http_status = error.status
        llm.ledger.close(call, ERROR)
        raise
    delivery = Delivery(
        request=request, provider=provider, call=call, faults=faults, headers=id_headers(provider, request_id), gate=llm.gate,
        chunk_seconds=llm.chunk_seconds,
    )  # fmt: skip
    await delivery.send(reply, ledger=llm.ledger)


def _reply(llm: Llm, provider: Provider, body: dict[str, Any], *, kind: str, call: Call, faults: FaultSet) -> Reply:
    """Check the request as Cohere does, then answer it. Raises ProviderError."""
    model = plain_model(call.model)
    RULES[kind](body, model=model)
    if (slip := llm_cohere_types.find_body_slip(body, kind=kind)) is not None:
        path, what = slip
        said = f"unknown field: parameter '{path}'" if what == llm_cohere_types.UNKNOWN else f"invalid type: parameter '{path}'"
        raise ProviderError(400, f"{said} {what}")
    patterns = {"chat": provider.chat_models, "embed": provider.embedding_models, "rerank": RERANK_MODELS}
    if not re.fullmatch(patterns[kind], model):
        raise model_not_found(provider, model)
    match kind:
        case "chat":
            return answer_chat(body, provider=provider, model=model, call_id=call.id, faults=faults, cache=llm.cache)
        case "embed":
            return answer_embed(body, call_id=call.id, faults=faults)
        case _:
            return answer_rerank(body, call_id=call.id, faults=faults)


def _refuse_bad_key(request: Request, provider: Provider) -> None:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    given = given if kind.lower() == "bearer" else ""
    if not knows_key(provider, given):
        raise unauthorized(provider, is_missing=not given)
