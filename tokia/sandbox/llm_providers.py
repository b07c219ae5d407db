"""The simulated providers: where each one's paths begin, and how it names models. Their refusals: `llm_refusals`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


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


def list_models(provider: Provider) -> dict[str, Any]:
    if provider.dialect == "anthropic":
        data: list[dict[str, Any]] = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2025-10-01T00:00:00Z"} for name in provider.listed
        ]
        return {"data": data, "has_more": False, "first_id": provider.listed[0], "last_id": provider.listed[-1]}
    data = [{"id": name, "object": "model", "created": 1_760_000_000, "owned_by": provider.slug} for name in provider.listed]
    return {"object": "list", "data": data}
