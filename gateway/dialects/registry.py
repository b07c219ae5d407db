"""Which module speaks which dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from gateway.dialects import anthropic, openai, openai_embeddings
from gateway.dialects.base import Dialect, EmbeddingsDialect

DIALECTS: Mapping[str, Dialect] = {"openai": cast(Dialect, openai), "anthropic": cast(Dialect, anthropic)}
EMBEDDERS: Mapping[str, EmbeddingsDialect] = {"openai": cast(EmbeddingsDialect, openai_embeddings)}
