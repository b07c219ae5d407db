"""Cohere's rerank, v2."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.calls import ServedDeployment
from gateway.dialects.base import RankedDocument, RerankAnswer, UpstreamRequest, malformed
from gateway.dialects.cohere import read_error, request_headers
from gateway.rerank_call import RerankCall

__all__ = ["read_error", "read_rerank", "rerank_request"]


class _Units(msgspec.Struct):
    search_units: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Units | None = None


class _Answer(msgspec.Struct):
    results: list[RankedDocument]
    id: str | None = None
    meta: msgspec.Raw = msgspec.Raw(b"null")


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_meta = msgspec.json.Decoder(_Meta | None).decode


def rerank_request(call: RerankCall, deployment: ServedDeployment) -> UpstreamRequest:
    fields: dict[str, Any] = {"model": deployment.upstream_model, "query": call.query, "documents": call.documents}
    if call.top_n is not None:
        fields["top_n"] = min(call.top_n, len(call.documents))
    if call.tokens_per_document is not None:
        fields["max_tokens_per_doc"] = call.tokens_per_document
    return UpstreamRequest(deployment.base_url + "/v2/rerank", request_headers(deployment), msgspec.json.encode(fields))


def read_rerank(body: bytes) -> RerankAnswer:
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise malformed() from None
    return RerankAnswer(answer.results, _billed_searches(answer.meta), answer.id or "")


def _billed_searches(raw: msgspec.Raw) -> int | None:
    try:
        meta = _decode_meta(raw)
    except msgspec.DecodeError:
        return None
    said = meta.billed_units.search_units if meta and meta.billed_units else None
    return None if said is None else int(said)
