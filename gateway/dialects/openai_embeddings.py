"""OpenAI's embeddings, and the hosts that speak them. The upstream is asked for plain numbers."""

from __future__ import annotations

import msgspec

from gateway.calls import EmbeddingsCall, ServedDeployment
from gateway.dialects.base import EmbeddingsAnswer, UpstreamRequest, malformed
from gateway.dialects.openai import read_error, request_headers

__all__ = ["embeddings_requests", "read_embeddings", "read_error"]


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Vector]
    model: str | None = None
    usage: _Usage | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def embeddings_requests(call: EmbeddingsCall, deployment: ServedDeployment) -> list[UpstreamRequest]:
    fields = dict(call.fields)
    fields.pop("encoding_format", None)
    fields["model"] = msgspec.Raw(msgspec.json.encode(deployment.upstream_model))
    return [UpstreamRequest(deployment.base_url + "/embeddings", request_headers(deployment), msgspec.json.encode(fields))]


def read_embeddings(body: bytes) -> EmbeddingsAnswer:
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError):
        raise malformed() from None
    vectors = [vector.embedding for vector in sorted(answer.data, key=lambda vector: vector.index)]
    return EmbeddingsAnswer(vectors, answer.usage.prompt_tokens if answer.usage else None, answer.model or "")
