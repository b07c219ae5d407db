"""Cohere's embeddings, v2. At most 96 texts go up at once, and what they are for must be said."""

from __future__ import annotations

import msgspec

from gateway.calls import EmbeddingsCall, ServedDeployment
from gateway.dialects.base import EmbeddingsAnswer, UpstreamRequest, malformed
from gateway.dialects.cohere import read_error, request_headers
from gateway.errors import BadRequest

__all__ = ["embeddings_requests", "read_embeddings", "read_error"]

TEXTS_MAX = 96
INPUT_TYPES = ("search_document", "search_query", "classification", "clustering")
TRUNCATIONS = ("NONE", "START", "END")
# Read by the gateway, or hints.
HANDLED = frozenset(
    {"model", "input", "encoding_format", "dimensions", "output_dimension", "input_type", "truncate", "max_tokens", "user"}
)


class _Vectors(msgspec.Struct):
    float_: list[list[float]] = msgspec.field(name="float")


class _Units(msgspec.Struct):
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Units | None = None


class _Answer(msgspec.Struct):
    embeddings: _Vectors
    meta: msgspec.Raw = msgspec.Raw(b"null")


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_meta = msgspec.json.Decoder(_Meta | None).decode


def embeddings_requests(call: EmbeddingsCall, deployment: ServedDeployment) -> list[UpstreamRequest]:
    """Raises BadRequest for arrays of tokens, which are another vocabulary's, and for what Cohere does not know."""
    if call.token_count or not call.texts:
        raise _unsupported("input", "textos: listas de tokens são de outro vocabulário", "strings, not arrays of tokens")
    asked = {name: msgspec.json.decode(raw) for name, raw in call.fields.items() if name != "input"}
    asked = {name: value for name, value in asked.items() if value is not None}
    for name in asked:
        if name not in HANDLED:
            raise BadRequest(
                f"Este modelo não aceita '{name}'.", f"This model does not support '{name}'.", param=name,
                code="unsupported_parameter",
            )  # fmt: skip
    input_type = asked.get("input_type", "search_document")
    if input_type not in INPUT_TYPES:
        raise _unsupported("input_type", ", ".join(INPUT_TYPES), ", ".join(INPUT_TYPES))
    fields = {"model": deployment.upstream_model, "input_type": input_type, "embedding_types": ["float"]}
    dimensions = asked.get("dimensions", asked.get("output_dimension"))
    if dimensions is not None:
        fields["output_dimension"] = dimensions
    if "truncate" in asked:
        if asked["truncate"] not in TRUNCATIONS:
            raise _unsupported("truncate", ", ".join(TRUNCATIONS), ", ".join(TRUNCATIONS))
        fields["truncate"] = asked["truncate"]
    if "max_tokens" in asked:
        if not isinstance(asked["max_tokens"], int) or asked["max_tokens"] < 1:
            raise _unsupported("max_tokens", "um inteiro maior que zero", "an integer above zero")
        fields["max_tokens"] = asked["max_tokens"]
    url, headers = deployment.base_url + "/v2/embed", request_headers(deployment)
    dropped = ("user",) if "user" in asked else ()
    return [
        UpstreamRequest(url, headers, msgspec.json.encode({**fields, "texts": call.texts[start : start + TEXTS_MAX]}), dropped)
        for start in range(0, len(call.texts), TEXTS_MAX)
    ]


def read_embeddings(body: bytes) -> EmbeddingsAnswer:
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise malformed() from None
    return EmbeddingsAnswer(list(answer.embeddings.float_), _billed_tokens(answer.meta))


def _billed_tokens(raw: msgspec.Raw) -> int | None:
    try:
        meta = _decode_meta(raw)
    except msgspec.DecodeError:
        return None
    said = meta.billed_units.input_tokens if meta and meta.billed_units else None
    return None if said is None else int(said)


def _unsupported(param: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Este modelo não aceita o que veio em '{param}': esperado {expected}.",
        f"This model does not accept '{param}': expected {english}.", param=param, code="unsupported_value",
    )  # fmt: skip
