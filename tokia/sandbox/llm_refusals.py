"""How each simulated provider says no: the words, the status and the shape."""

from __future__ import annotations

from tokia.sandbox.asgi import Json, Response, json_response
from tokia.sandbox.llm_hosts import error_body
from tokia.sandbox.llm_providers import Provider, id_headers


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
