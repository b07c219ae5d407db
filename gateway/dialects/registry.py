"""Which module speaks which dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from gateway.dialects import (
    anthropic,
    azure,
    azure_media,
    bedrock,
    cohere,
    cohere_embed,
    cohere_rerank,
    gemini,
    gemini_embeddings,
    openai,
    openai_embeddings,
    openai_images,
    openai_moderations,
    openai_speech,
    openai_transcriptions,
)
from gateway.dialects.base import Dialect, EmbeddingsDialect, RerankDialect
from gateway.dialects.media import ImagesDialect, ModerationDialect, SpeechDialect, TranscriptionDialect

DIALECTS: Mapping[str, Dialect] = {
    "openai": cast(Dialect, openai),
    "anthropic": cast(Dialect, anthropic),
    "cohere": cast(Dialect, cohere),
    "bedrock": cast(Dialect, bedrock),
    "azure": cast(Dialect, azure),
    "gemini": cast(Dialect, gemini),
}
EMBEDDERS: Mapping[str, EmbeddingsDialect] = {
    "openai": cast(EmbeddingsDialect, openai_embeddings),
    "cohere": cast(EmbeddingsDialect, cohere_embed),
    "gemini": cast(EmbeddingsDialect, gemini_embeddings),
    "azure": cast(EmbeddingsDialect, azure),
}
RERANKERS: Mapping[str, RerankDialect] = {"cohere": cast(RerankDialect, cohere_rerank)}
PAINTERS: Mapping[str, ImagesDialect] = {
    "openai": cast(ImagesDialect, openai_images),
    "azure": cast(ImagesDialect, azure_media),
}
SPEAKERS: Mapping[str, SpeechDialect] = {
    "openai": cast(SpeechDialect, openai_speech),
    "azure": cast(SpeechDialect, azure_media),
}
LISTENERS: Mapping[str, TranscriptionDialect] = {
    "openai": cast(TranscriptionDialect, openai_transcriptions),
    "azure": cast(TranscriptionDialect, azure_media),
}
MODERATORS: Mapping[str, ModerationDialect] = {"openai": cast(ModerationDialect, openai_moderations)}
