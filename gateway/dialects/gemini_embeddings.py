"""Gemini's embeddings, by batchEmbedContents: up to BATCH_MAX texts at once. It gives numbers only, and mostly no usage."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from gateway.calls import EmbeddingsCall, ServedDeployment
from gateway.dialects.base import EmbeddingsAnswer, UpstreamRequest, malformed
from gateway.dialects.gemini import model_url, read_error, request_headers
from gateway.errors import BadRequest

__all__ = ["embeddings_requests", "read_embeddings", "read_error"]

BATCH_MAX = 100
LENGTH_SLACK = 1e-3
_HINTS = ("user",)
_READ = frozenset({"model", "input", "encoding_format", "dimensions", *_HINTS})


class _Vector(msgspec.Struct):
    values: list[float]


class _Usage(msgspec.Struct):
    prompt_token_count: int | None = msgspec.field(default=None, name="promptTokenCount")


class _Answer(msgspec.Struct):
    embeddings: list[_Vector]
    usage: _Usage | None = msgspec.field(default=None, name="usageMetadata")


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_number = msgspec.json.Decoder(int | None).decode


def embeddings_requests(call: EmbeddingsCall, deployment: ServedDeployment) -> list[UpstreamRequest]:
    if len(call.texts) != call.inputs:
        raise BadRequest(
            "Este modelo recebe textos em 'input', não listas de tokens (em LangChain: check_embedding_ctx_length=False).",
            "This model takes texts in 'input', not arrays of tokens (in LangChain: check_embedding_ctx_length=False).",
            param="input", code="unsupported_value",
        )  # fmt: skip
    for name in call.fields:
        if name not in _READ and bytes(call.fields[name]) != b"null":
            raise BadRequest(
                f"Este modelo não aceita '{name}'.",
                f"This model does not support '{name}'.",
                param=name,
                code="unsupported_parameter",
            )
    model = f"models/{deployment.upstream_model.removeprefix('models/')}"
    size = _decode_number(call.fields["dimensions"]) if "dimensions" in call.fields else None
    asked: list[dict[str, Any]] = []
    for text in call.texts:
        item: dict[str, Any] = {"model": model, "content": {"parts": [{"text": text}]}}
        if size is not None:
            item["outputDimensionality"] = size
        asked.append(item)
    url, headers = model_url(deployment) + "batchEmbedContents", request_headers(deployment)
    dropped = tuple(name for name in _HINTS if name in call.fields)
    return [
        UpstreamRequest(url, headers, msgspec.json.encode({"requests": asked[start : start + BATCH_MAX]}), dropped)
        for start in range(0, len(asked), BATCH_MAX)
    ]


def read_embeddings(body: bytes) -> EmbeddingsAnswer:
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError):
        raise malformed() from None
    vectors: list[list[float] | str] = [_unit(vector.values) for vector in answer.embeddings]
    return EmbeddingsAnswer(vectors, answer.usage.prompt_token_count if answer.usage else None)


def _unit(values: list[float]) -> list[float]:
    """A shortened vector comes as it was cut; clients of OpenAI's embeddings count on length one."""
    length = math.sqrt(math.fsum(value * value for value in values))
    if length == 0 or abs(length - 1) <= LENGTH_SLACK:
        return values
    return [value / length for value in values]
