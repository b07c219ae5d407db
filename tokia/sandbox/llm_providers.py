"""The simulated providers: where each one's paths begin, how it names models, and the shape of its refusals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tokia.sandbox.asgi import Json, Response, json_response
from tokia.sandbox.llm_hosts import error_body


class ProviderError(Exception):
    """A refusal in provider-neutral words; `as_response` gives it its provider's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        details: list[dict[str, Json]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.details = details
        self.retry_after = retry_after


@dataclass(frozen=True)
class Provider:
    """`unknown_fields`: refuse (400), forbid (422) or ignore. `ignores`: fields it takes and does nothing with."""

    slug: str
    prefix: str
    dialect: str  # openai or anthropic
    chat_models: str
    embedding_models: str = r"(?!)"
    unknown_fields: str = "ignore"
    ignores: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    has_prompt_cache: bool = False
    context_tokens: int = 128_000
    contexts: tuple[tuple[str, int], ...] = ()  # model pattern → tokens, where it is not `context_tokens`

    def context_of(self, model: str) -> int:
        """The tokens that a prompt of this model may have."""
        return next((tokens for pattern, tokens in self.contexts if re.match(pattern, model)), self.context_tokens)

    @property
    def key(self) -> str:
        return f"sandbox-{self.slug}"


PROVIDERS: dict[str, Provider] = {
    provider.slug: provider
    for provider in (
        Provider(
            slug="openai",
            prefix="/v1",
            dialect="openai",
            chat_models=r"(gpt-|o\d|chatgpt-|codex-).*",
            embedding_models=r"text-embedding-.*",
            unknown_fields="refuse",
            has_prompt_cache=True,
            context_tokens=1_050_000,
            contexts=((r"gpt-4o|chatgpt-4o", 128_000), (r"o\d", 200_000), (r"gpt-5(?!\.[4-9])", 400_000)),
            listed=("gpt-5", "gpt-5-mini", "gpt-4.1", "gpt-4o", "gpt-4o-mini", "o4-mini", "text-embedding-3-small"),
        ),
        Provider(
            slug="google",
            prefix="/v1beta/openai",
            dialect="openai",
            chat_models=r"(models/)?(gemini-|gemma-)(?!embedding).*",
            embedding_models=r"(models/)?(gemini-embedding-|text-embedding-).*",
            unknown_fields="refuse",
            has_prompt_cache=True,
            context_tokens=1_048_576,
            listed=("models/gemini-2.5-pro", "models/gemini-2.5-flash", "models/gemini-embedding-001"),
        ),
        Provider(
            slug="deepseek",
            prefix="",
            dialect="openai",
            chat_models=r"deepseek-.*",
            ignores=("max_completion_tokens",),
            has_prompt_cache=True,
            listed=("deepseek-chat", "deepseek-reasoner"),
        ),
        Provider(
            slug="groq",
            prefix="/openai/v1",
            dialect="openai",
            chat_models=r"(llama|meta-llama/|openai/gpt-oss|qwen|moonshotai/|deepseek-r1|gemma|groq/|mistral).*",
            has_prompt_cache=True,
            listed=("llama-3.3-70b-versatile", "llama-3.1-8b-instant", "openai/gpt-oss-120b"),
        ),
        Provider(
            slug="mistral",
            prefix="/v1",
            dialect="openai",
            chat_models=r"(open-)?(mistral|ministral|mixtral|codestral|magistral|devstral|pixtral|voxtral)-(?!embed).*",
            embedding_models=r"(mistral|codestral)-embed.*",
            unknown_fields="forbid",
            listed=("mistral-large-latest", "mistral-small-latest", "codestral-latest", "mistral-embed"),
        ),
        Provider(
            slug="cohere",
            prefix="/compatibility/v1",
            dialect="openai",
            chat_models=r"(command|c4ai-).*",
            embedding_models=r"embed-.*",
            ignores=("max_completion_tokens", "n", "parallel_tool_calls"),
            contexts=((r"command-a", 256_000),),
            listed=("command-a-03-2025", "command-r-plus-08-2024", "embed-v4.0"),
        ),
        Provider(
            slug="anthropic",
            prefix="/v1",
            dialect="anthropic",
            chat_models=r"claude-.*",
            unknown_fields="refuse",
            has_prompt_cache=True,
            context_tokens=1_000_000,
            contexts=((r"claude-(haiku-4|opus-4-5|sonnet-4-5|3)", 200_000),),
            listed=("claude-opus-5-5", "claude-sonnet-5-5", "claude-sonnet-4-6", "claude-haiku-4-5"),
        ),
        Provider(
            slug="bedrock",
            prefix="",
            dialect="bedrock",
            chat_models=r"(arn:aws:bedrock:.*|((us|eu|apac|global|jp|au|sa)\.)?(anthropic|amazon|meta|mistral|openai|cohere|deepseek|qwen"
            r"|moonshotai|zai|writer|ai21)\..+)",
            unknown_fields="refuse",
            has_prompt_cache=True,
            context_tokens=200_000,
        ),
        Provider(
            slug="azure",
            prefix="/openai/v1",
            dialect="openai",
            chat_models=r"(gpt-|o\d|model-router|phi-).*",
            embedding_models=r"text-embedding-.*",
            unknown_fields="refuse",
            has_prompt_cache=True,
            listed=("gpt-4o", "gpt-4.1", "o4-mini", "text-embedding-3-small"),
        ),
        Provider(
            slug="together",
            prefix="/v1",
            dialect="openai",
            chat_models=r"[\w.-]+/[\w.-]+",
            embedding_models=r"(BAAI|togethercomputer|intfloat)/[\w.-]+",
            listed=("meta-llama/Meta-Llama-3.3-70B-Instruct-Turbo", "openai/gpt-oss-120b", "moonshotai/Kimi-K3"),
        ),
        Provider(
            slug="fireworks",
            prefix="/inference/v1",
            dialect="openai",
            chat_models=r"accounts/[\w-]+/(models|deployments)/[\w.-]+",
            has_prompt_cache=True,
            listed=("accounts/fireworks/models/glm-5p3", "accounts/fireworks/models/gpt-oss-120b"),
        ),
        Provider(
            slug="xai",
            prefix="/v1",
            dialect="openai",
            chat_models=r"grok-.*",
            has_prompt_cache=True,
            context_tokens=256_000,
            listed=("grok-4.7", "grok-4-1-fast-reasoning", "grok-code-fast-1"),
        ),
        Provider(slug="perplexity", prefix="", dialect="openai", chat_models=r"sonar.*", listed=("sonar", "sonar-pro")),
        Provider(
            slug="vllm",
            prefix="/v1",
            dialect="openai",
            chat_models=r"[\w./:-]+",
            embedding_models=r"[\w./:-]+",
            listed=("Qwen/Qwen3-8B",),
        ),
        Provider(
            slug="ollama",
            prefix="/v1",
            dialect="openai",
            chat_models=r"[\w./:-]+",
            embedding_models=r"[\w./:-]+",
            ignores=("n", "logit_bias", "user", "max_completion_tokens"),
            listed=("qwen3:8b", "gpt-oss:20b"),
        ),
        Provider(
            slug="local",
            prefix="/v1",
            dialect="openai",
            chat_models=r".*",
            context_tokens=2_048,
            listed=("smollm2-135m-instruct",),
        ),
    )
}

# What is left of an account's minute, as these two tell it with every answer.
OPENAI_LIMITS = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9998",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-tokens": "1998765",
    "x-ratelimit-reset-tokens": "37ms",
}
ANTHROPIC_LIMITS = {
    "anthropic-ratelimit-requests-limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-requests-reset": "2026-11-22T12:00:00Z",
    "anthropic-ratelimit-tokens-limit": "480000",
    "anthropic-ratelimit-tokens-remaining": "479000",
    "anthropic-ratelimit-tokens-reset": "2026-11-22T12:00:00Z",
}

REASONING = re.compile(
    r"(models/|accounts/fireworks/models/)?(o\d|gpt-5|gpt-6|(openai/)?gpt-oss|deepseek-reasoner|magistral|[qQ]wen|grok-.*reasoning|grok-4\.)"
)
CHATTY = re.compile(r"gpt-5.*-chat")  # the chat variants do not reason


def is_reasoning_model(model: str) -> bool:
    return bool(REASONING.match(model)) and not CHATTY.match(model)


def as_response(provider: Provider, error: ProviderError, *, request_id: str) -> Response:
    """The refusal as that provider writes it."""
    headers = id_headers(provider, request_id)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if provider.slug == "anthropic":
        body: Json = {
            "type": "error",
            "error": {"type": _anthropic_type(error.status), "message": error.message},
            "request_id": request_id,
        }
    elif provider.slug == "bedrock":
        headers["x-amzn-errortype"] = error.kind if error.kind.endswith("Exception") else _bedrock_type(error.status)
        body = {"message": error.message}
    elif provider.slug == "google":
        body = [{"error": {"code": error.status, "message": error.message, "status": _google_status(error.status)}}]
    elif provider.slug == "cohere":
        body = {"id": request_id, "message": error.message}
    elif provider.slug == "mistral":
        body = _mistral_body(error, request_id)
    else:
        plain = {"error": {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}}
        body = error_body(
            provider.slug, status=error.status, message=error.message, kind=error.kind, param=error.param, code=error.code
        ) or plain  # fmt: skip
    return json_response(body, status=error.status, headers=headers)


def error_event(provider: Provider, error: ProviderError) -> dict[str, Json]:
    """The refusal as an event within a stream that had begun."""
    if provider.slug == "anthropic":
        return {"type": "error", "error": {"type": _anthropic_type(error.status), "message": error.message}}
    if provider.dialect == "cohere":
        return {"type": "message-end", "delta": {"error": error.message, "finish_reason": "ERROR"}}
    if provider.dialect == "gemini":  # 529 is not one of Google's
        return {"error": google_error(ProviderError(503 if error.status == 529 else error.status, error.message))}
    return {"error": {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}}


def id_headers(provider: Provider, request_id: str) -> dict[str, str]:
    if provider.slug == "anthropic":
        return {"request-id": request_id, **ANTHROPIC_LIMITS}
    if provider.slug == "bedrock":
        return {"x-amzn-requestid": request_id}
    if provider.slug == "openai":
        return {
            "x-request-id": request_id,
            "openai-version": "2020-10-01",
            "openai-organization": "sandbox",
            "openai-processing-ms": "12",
            **OPENAI_LIMITS,
        }
    return {"x-request-id": request_id}


def unauthorized(provider: Provider, *, is_missing: bool) -> ProviderError:
    """A wrong or missing key. Google says 400 to a wrong key, the others 401."""
    match provider.slug:
        case "openai" | "local" if is_missing:
            return ProviderError(401, "You didn't provide an API key.")
        case "openai" | "local":
            return ProviderError(401, "Incorrect API key provided.", code="invalid_api_key")
        case "anthropic":
            message = "x-api-key header is required" if is_missing else "invalid x-api-key"
            return ProviderError(401, message)
        case "google" if not is_missing:
            return ProviderError(400, "API key not valid. Please pass a valid API key.")
        case "google":
            return ProviderError(401, "Request is missing required authentication credential.")
        case "deepseek":
            message = "Authentication Fails (no such user)"
            return ProviderError(401, message, kind="authentication_error", code="invalid_request_error")
        case "groq":
            return ProviderError(401, "Invalid API Key", code="invalid_api_key")
        case "azure":
            return ProviderError(401, "Access denied due to invalid subscription key or wrong API endpoint.", code="401")
        case "cohere":
            return ProviderError(401, "no api key supplied" if is_missing else "invalid api token")
        case _:
            return ProviderError(401, "Unauthorized")


def model_not_found(provider: Provider, model: str) -> ProviderError:
    match provider.slug:
        case "anthropic":
            return ProviderError(404, f"model: {model}")
        case "mistral":
            return ProviderError(400, f"Invalid model: {model}", kind="invalid_model", code="1500")
        case "deepseek":
            return ProviderError(400, "Model Not Exist", code="invalid_request_error")
        case "google":
            return ProviderError(404, f"{model} is not found for API version v1main, or is not supported.")
        case "azure":
            return ProviderError(404, "The API deployment for this resource does not exist.", code="DeploymentNotFound")
        case "cohere":
            return ProviderError(404, f"model '{model}' not found, make sure the correct model ID was used.")
        case _:
            message = f"The model `{model}` does not exist or you do not have access to it."
            return ProviderError(404, message, param=None, code="model_not_found")


def scripted_error(provider: Provider, status: int, *, retry_after: int | None) -> ProviderError:
    """The error of a `status` fault, worded as a provider would."""
    if retry_after is None and status in (429, 503):
        retry_after = 1
    texts: dict[int, tuple[str, str, str | None]] = {
        400: ("Bad request.", "invalid_request_error", None),
        401: ("Incorrect API key provided: sk-proj-********************abcd.", "invalid_request_error", "invalid_api_key"),
        402: ("Insufficient Balance", "insufficient_balance", "invalid_request_error"),
        403: ("Your account does not have access.", "permission_error", "account_deactivated"),
        404: ("Not found.", "invalid_request_error", "model_not_found"),
        429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
        500: ("The server had an error while processing your request.", "server_error", None),
        503: ("The engine is currently overloaded, please try again later.", "server_error", None),
        529: ("Overloaded", "overloaded_error", None),
    }
    message, kind, code = texts.get(status, (f"Error {status}", "server_error", None))
    return ProviderError(status, message, kind=kind, code=code, retry_after=retry_after)


def list_models(provider: Provider) -> dict[str, Any]:
    if provider.dialect == "anthropic":
        data: list[dict[str, Any]] = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2025-10-01T00:00:00Z"} for name in provider.listed
        ]
        return {"data": data, "has_more": False, "first_id": provider.listed[0], "last_id": provider.listed[-1]}
    data = [{"id": name, "object": "model", "created": 1_760_000_000, "owned_by": provider.slug} for name in provider.listed]
    return {"object": "list", "data": data}


def _mistral_body(error: ProviderError, request_id: str) -> Json:
    if error.status == 401:
        return {"detail": "Unauthorized", "request_id": request_id}
    message: Json = {"detail": error.details} if error.details else error.message
    return {"object": "error", "message": message, "type": error.kind, "param": error.param, "code": error.code}


def _anthropic_type(status: int) -> str:
    types = {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
    return types.get(status, "api_error" if status >= 500 else "invalid_request_error")


def _bedrock_type(status: int) -> str:
    names = {400: "ValidationException", 401: "UnrecognizedClientException", 402: "ServiceQuotaExceededException",
             403: "AccessDeniedException", 404: "ResourceNotFoundException", 408: "ModelTimeoutException",
             424: "ModelErrorException", 429: "ThrottlingException", 503: "ServiceUnavailableException"}  # fmt: skip
    return names.get(status, "InternalServerException")


def google_error(error: ProviderError) -> dict[str, Json]:
    """The inside of Gemini's own errors, with when to come back where that is known."""
    told: dict[str, Json] = {"code": error.status, "message": error.message, "status": _google_status(error.status)}
    details = list(error.details or [])
    if error.retry_after is not None and error.status == 429:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{error.retry_after}s"})
    return {**told, "details": details} if details else told


def _google_status(status: int) -> str:
    names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
             429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}  # fmt: skip
    return names.get(status, "INTERNAL")
