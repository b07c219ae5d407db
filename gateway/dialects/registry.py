"""Which module speaks which dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from gateway.dialects import (
    anthropic,
    bedrock,
    cohere,
    cohere_embed,
    cohere_rerank,
    gemini,
    gemini_embeddings,
    openai,
    openai_embeddings,
)
from gateway.dialects.base import Dialect, EmbeddingsDialect, RerankDialect

DIALECTS: Mapping[str, Dialect] = {
    "openai": cast(Dialect, openai),
    "anthropic": cast(Dialect, anthropic),
    "cohere": cast(Dialect, cohere),
    "bedrock": cast(Dialect, bedrock),
    "gemini": cast(Dialect, gemini),
}
EMBEDDERS: Mapping[str, EmbeddingsDialect] = {
    "openai": cast(EmbeddingsDialect, openai_embeddings),
    "cohere": cast(EmbeddingsDialect, cohere_embed),
    "gemini": cast(EmbeddingsDialect, gemini_embeddings),
}
RERANKERS: Mapping[str, RerankDialect] = {"cohere": cast(RerankDialect, cohere_rerank)}
