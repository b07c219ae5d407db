"""The LLM providers' front door: `/llm/<slug>/<the provider's own path>`, keys, faults, and the control endpoints."""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tokia.sandbox.asgi import BadJson, Request, Response, json_response
from tokia.sandbox.faults import KINDS, FaultSet, Scripts, UnknownFault, plain_model
from tokia.sandbox.llm_anthropic import answer_messages
from tokia.sandbox.llm_anthropic_rules import fields_of_betas, refuse_bad_headers, refuse_bad_messages_request
from tokia.sandbox.llm_azure import PATH as AZURE_PATH
from tokia.sandbox.llm_azure import serve_azure
from tokia.sandbox.llm_balances import BALANCE_PATH, MODELS_PATHS, serve_balance, serve_models
from tokia.sandbox.llm_bedrock import serve_converse
from tokia.sandbox.llm_cohere import PATH as COHERE_PATH
from tokia.sandbox.llm_cohere import serve_cohere
from tokia.sandbox.llm_delivery import Delivery, Gate, Reply
from tokia.sandbox.llm_gemini import PATH as GEMINI_PATH
from tokia.sandbox.llm_gemini import serve_gemini
from tokia.sandbox.llm_keys import REFUSED, knows_key, set_refused
from tokia.sandbox.llm_ledger import ERROR, Call, Ledger
from tokia.sandbox.llm_local import LocalModel
from tokia.sandbox.llm_media import PATH as MEDIA_PATH
from tokia.sandbox.llm_media import serve_media
from tokia.sandbox.llm_openai import answer_chat, answer_embeddings
from tokia.sandbox.llm_openai_rules import refuse_bad_chat, refuse_bad_embedding
from tokia.sandbox.llm_providers import PROVIDERS, Provider, id_headers, list_models
from tokia.sandbox.llm_refusals import ProviderError, as_response, model_not_found, scripted_error, unauthorized
from tokia.sandbox.llm_schedule import read_schedule
from tokia.sandbox.llm_tokens import PromptCache
from tokia.sandbox.llm_types import PublishedTypes

CALLS_LISTED = 200
SIMULATED_NOTE = "Esta é uma resposta simulada: o modelo local não está ativo nesta máquina."
CALL_ID_PREFIX = {"anthropic": "msg_", "openai": "chatcmpl-", "groq": "chatcmpl-", "local": "chatcmpl-"}


@dataclass(frozen=True)
class Native:
    """Paths of a provider that have a module of their own, which checks the key, the request, and answers. Raises ProviderError."""

    slug: str
    path: re.Pattern[str]  # as it comes after `/llm/<slug>`
    serve: Callable[[Llm, Request, Provider, str, str], Awaitable[None]]


NATIVES: tuple[Native, ...] = (
    Native("deepseek", BALANCE_PATH, serve_balance),
    *(Native(slug, path, serve_models) for slug, path in MODELS_PATHS.items()),
    Native("azure", AZURE_PATH, serve_azure),
    Native("bedrock", re.compile(r"/.*"), serve_converse),
    Native("cohere", COHERE_PATH, serve_cohere),
    Native("google", GEMINI_PATH, serve_gemini),
    *(Native(slug, MEDIA_PATH, serve_media) for slug in ("openai", "groq", "mistral")),
)


@dataclass
class Llm:
    """Every provider, their one ledger and their faults."""

    local: LocalModel
    chunk_seconds: float
    ledger: Ledger = field(default_factory=Ledger)
    scripts: Scripts = field(default_factory=Scripts)
    cache: PromptCache = field(default_factory=PromptCache)
    gate: Gate = field(default_factory=Gate)
    types: PublishedTypes = field(default_factory=PublishedTypes)

    @classmethod
    def from_environment(cls, *, model_url: str, model_key: str) -> Llm:
        delay_ms = float(os.environ.get("SANDBOX_LLM_DELAY_MS", "15"))
        return cls(local=LocalModel(base_url=model_url.rstrip("/"), key=model_key), chunk_seconds=delay_ms / 1000)

    async def open(self) -> None:
        self.local.open()
        # A daemon thread: the packages take a second or two to import, and a stop must not wait for that.
        threading.Thread(target=self.types.load, daemon=True).start()

    def hurry(self) -> None:
        """Let every stalled or slow call go on."""
        self.chunk_seconds = 0.0
        self.gate.release()

    async def close(self) -> None:
        await self.local.close()

    async def serve(self, request: Request) -> None:
        """Answer one request under `/llm/`, whatever happens."""
        path = request.path.removeprefix("/llm/")
        if path.startswith("__"):
            await request.answer(self._control(request, path))
            return
        slug, _, rest = path.partition("/")
        provider = PROVIDERS.get(slug)
        if provider is None:
            await request.answer(json_response({"error": f"providers: {', '.join(PROVIDERS)}"}, status=404))
            return
        request_id = f"req_{secrets.token_hex(12)}"
        try:
            await self._serve_provider(request, provider, f"/{rest}", request_id)
        except ProviderError as error:
            await request.answer(as_response(provider, error, request_id=request_id))

    async def _serve_provider(self, request: Request, provider: Provider, path: str, request_id: str) -> None:
        for native in NATIVES:
            if native.slug == provider.slug and native.path.fullmatch(path):
                await native.serve(self, request, provider, path, request_id)
                return
        _refuse_bad_key(request, provider)
        prefix = "/v1" if provider.slug == "deepseek" and path.startswith("/v1/") else provider.prefix  # DeepSeek takes both
        if path.startswith(f"{prefix}/"):
            path = path.removeprefix(prefix)
        if request.method == "GET" and path == "/models":
            await request.answer(await self._list_models(provider, request_id))
            return
        work = f"{provider.dialect} {request.method} {path}"
        if work not in ("openai POST /chat/completions", "openai POST /embeddings", "anthropic POST /messages"):
            raise ProviderError(404, f"Invalid URL ({request.method} {request.path})")
        body = _read_body(request)
        await self.serve_call(request, provider=provider, path=path, body=body, request_id=request_id)

    async def serve_call(self, request: Request, *, provider: Provider, path: str, body: dict[str, Any], request_id: str) -> None:
        asked = str(body.get("model") or "")
        faults = self.scripts.take(provider=provider.slug, model=asked)
        kind = "embeddings" if path == "/embeddings" else "chat"
        call = self.ledger.open(
            Call(
                id=f"{CALL_ID_PREFIX.get(provider.slug, '')}{secrets.token_hex(16)}",
                provider=provider.slug,
                model=asked,
                kind=kind,
                is_stream=body.get("stream") is True,
                faults=faults.names(),
            )
        )
        try:
            if faults.has("status"):
                after = faults.number("retryafter", -1)
                raise scripted_error(provider, faults.number("status", 500), retry_after=after if after >= 0 else None)
            if provider.slug == "local" and not faults.faults and await self.local.is_alive():
                await self.local.relay(request, path=f"/v1{path}", body=body, call=call, ledger=self.ledger)
                return
            reply = self._reply(request, provider=provider, path=path, body=body, call=call, faults=faults)
        except ProviderError as error:
            call.http_status = error.status
            self.ledger.close(call, ERROR)
            raise
        delivery = Delivery(
            request=request,
            provider=provider,
            call=call,
            faults=faults,
            headers=id_headers(provider, request_id),
            gate=self.gate,
            chunk_seconds=self.chunk_seconds,
        )
        await delivery.send(reply, ledger=self.ledger)

    def _reply(
        self,
        request: Request,
        *,
        provider: Provider,
        path: str,
        body: dict[str, Any],
        call: Call,
        faults: FaultSet,
    ) -> Reply:
        """Check the request as the provider does, then answer it. Raises ProviderError."""
        model = plain_model(call.model)
        if provider.dialect == "anthropic":
            version = refuse_bad_headers(request.headers)
            opened = fields_of_betas(request.headers.get("anthropic-beta", ""))
            refuse_bad_messages_request(body, version=version, opened=opened)
            self._refuse_by_types(body, provider=provider)
            _refuse_unknown_model(provider, model, pattern=provider.chat_models)
            return answer_messages(body, provider=provider, model=model, call_id=call.id, faults=faults, cache=self.cache)
        if path == "/embeddings":
            refuse_bad_embedding(body, provider=provider)
            _refuse_unknown_model(provider, model, pattern=provider.embedding_models)
            return answer_embeddings(body, provider=provider, model=model, faults=faults)
        refuse_bad_chat({**body, "model": model} if model else body, provider=provider)
        if provider.slug in ("openai", "azure"):
            self._refuse_by_types(body, provider=provider)
        _refuse_unknown_model(provider, model, pattern=provider.chat_models)
        note = SIMULATED_NOTE if provider.slug == "local" else ""
        return answer_chat(body, provider=provider, model=model, call_id=call.id, faults=faults, cache=self.cache, note=note)

    def _refuse_by_types(self, body: dict[str, Any], *, provider: Provider) -> None:
        slip = self.types.find_slip(body, dialect=provider.dialect)
        if slip is None:
            return
        path, message = slip
        if provider.dialect == "anthropic":
            raise ProviderError(400, f"{path.replace('[', '.').replace(']', '')}: {message}")
        raise ProviderError(400, f"Invalid type for '{path}': {message}.", param=path, code="invalid_type")

    async def _list_models(self, provider: Provider, request_id: str) -> Response:
        headers = id_headers(provider, request_id)
        if provider.slug == "local" and await self.local.is_alive():
            return json_response(await self.local.read_models(), headers=headers)
        return json_response(list_models(provider), headers=headers)

    # ── Control ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _control(self, request: Request, path: str) -> Response:
        try:
            match request.method, path:
                case "GET", "__ledger":
                    query = request.query
                    report = self.ledger.report(limit=int(query.get("limit", CALLS_LISTED)), provider=query.get("provider"))
                    return json_response({**report, "stalled": self.gate.stalled})
                case "POST", "__reset":
                    released = self._reset()
                    return json_response({"reset": True, "released": released})
                case "POST", "__script":
                    script = self.scripts.add(request.json_object())
                    return json_response({"id": script.id, "pending": self.scripts.describe()})
                case "GET", "__script":
                    return json_response({"pending": self.scripts.describe(), "kinds": KINDS})
                case "DELETE", "__script":
                    self.scripts.pending.clear()
                    return json_response({"pending": []})
                case "POST", "__schedule":
                    schedule = read_schedule(request.json_object())
                    self.scripts.scheduled = schedule.faults_of
                    return json_response(schedule.describe())
                case "DELETE", "__schedule":
                    self.scripts.scheduled = None
                    return json_response({"phases": []})
                case "POST", "__release":
                    return json_response({"released": self.gate.release()})
                case "POST", "__keys":
                    asked = request.json_object()
                    return json_response({"refused": set_refused(str(asked["key"]), int(asked.get("status", 0)))})
                case "POST", "__delay":
                    self.chunk_seconds = float(request.json_object().get("ms", 0)) / 1000
                    return json_response({"ms": self.chunk_seconds * 1000})
        except (BadJson, UnknownFault, KeyError, ValueError, TypeError) as error:
            return json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        return json_response({"error": "unknown control endpoint"}, status=404)

    def _reset(self) -> int:
        self.scripts.pending.clear()
        self.scripts.scheduled = None
        REFUSED.clear()
        released = self.gate.release()
        self.ledger.clear()
        self.cache.clear()
        return released


def _refuse_bad_key(request: Request, provider: Provider) -> None:
    kind, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = bearer if kind.lower() == "bearer" else ""
    if provider.dialect == "anthropic":
        given = request.headers.get("x-api-key") or given
    if not knows_key(provider, given):
        raise unauthorized(provider, is_missing=not given)


def _refuse_unknown_model(provider: Provider, model: str, *, pattern: str) -> None:
    if not re.fullmatch(pattern, model):
        raise model_not_found(provider, model)


def _read_body(request: Request) -> dict[str, Any]:
    try:
        return request.json_object()
    except BadJson as error:
        text = "We could not parse the JSON body of your request."
        raise ProviderError(400, text) from error
