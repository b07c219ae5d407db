"""A rerank in Cohere's shape: read and bounded, and what it may be billed for.

A search unit is one query with up to 100 documents; a document that is longer than 500 tokens together with the query is split, and
each part counts as one of the hundred (Cohere's pricing page, and its best practices for Rerank).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.errors import BadRequest
from gateway.parsing import MODEL_NAME_MAX, parse_body
from gateway.tokens import count_text, scale

DOCUMENTS_MAX = 1_000
DOCUMENTS_PER_SEARCH = 100
PART_TOKENS = 500  # of a document and the query together
QUERY_TOKENS_COUNTED = 256  # a longer query takes no more room of a part
TOKENS_PER_DOCUMENT = 4_096  # where the caller names no other; the rest of a document is not read
CHARACTERS_COUNTED = 262_144  # of all documents; beyond, their bytes are the bound
DOCUMENT_TOKENS_MAX = 100_000
# Known, read, or of no meaning for the ranking.
FIELDS = frozenset({"model", "query", "documents", "top_n", "max_tokens_per_doc", "return_documents", "drop_params"})
HINTS = frozenset({"priority", "user"})


class Document(msgspec.Struct):
    text: str


class RerankBody(msgspec.Struct):
    model: str
    query: str
    documents: list[str | Document]
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    return_documents: bool | None = None
    drop_params: bool | None = None  # ours: leave out what the model can't take


class RerankCall(msgspec.Struct, frozen=True):
    model: str
    query: str
    documents: list[str]
    top_n: int | None
    tokens_per_document: int | None
    wants_documents: bool  # in the answer
    dropped: tuple[str, ...]


_decode_rerank = msgspec.json.Decoder(RerankBody).decode


def parse_rerank(body: bytes) -> RerankCall:
    """Raises BadRequest, with the path of the field at fault."""
    typed, fields, _ = parse_body(body, _decode_rerank)
    if not typed.model or len(typed.model) > MODEL_NAME_MAX:
        raise _invalid("model", "o nome de um modelo", "a model's name")
    if not typed.query.strip():
        raise _invalid("query", "um texto", "a text")
    if not 1 <= len(typed.documents) <= DOCUMENTS_MAX:
        raise _invalid("documents", f"de 1 a {DOCUMENTS_MAX} documentos", f"from 1 to {DOCUMENTS_MAX} documents")
    documents = [document if isinstance(document, str) else document.text for document in typed.documents]
    for index, document in enumerate(documents):
        if not document or document.isspace():
            raise _invalid(f"documents[{index}]", "um texto", "a text")
    if typed.top_n is not None and typed.top_n < 1:
        raise _invalid("top_n", "um inteiro maior que zero", "an integer above zero")
    most = typed.max_tokens_per_doc
    if most is not None and not 1 <= most <= DOCUMENT_TOKENS_MAX:
        raise _invalid(
            "max_tokens_per_doc", f"um inteiro de 1 a {DOCUMENT_TOKENS_MAX}", f"an integer from 1 to {DOCUMENT_TOKENS_MAX}"
        )
    return RerankCall(
        model=typed.model,
        query=typed.query,
        documents=documents,
        top_n=typed.top_n,
        tokens_per_document=most,
        wants_documents=bool(typed.return_documents),
        dropped=_drop_unknown(fields, drops_unsupported=bool(typed.drop_params)),
    )


def _drop_unknown(fields: Mapping[str, msgspec.Raw], *, drops_unsupported: bool) -> tuple[str, ...]:
    dropped = []
    for name, raw in fields.items():
        if name in FIELDS or bytes(raw) == b"null":
            continue
        if name not in HINTS and not drops_unsupported:
            raise BadRequest(
                f"Este modelo não aceita '{name[:100]}'. Tire-o, ou envie \"drop_params\": true para que ele seja ignorado.",
                f"This model does not support '{name[:100]}'. Remove it, or send \"drop_params\": true to have it ignored.",
                param=name[:100], code="unsupported_parameter",
            )  # fmt: skip
        dropped.append(name[:100])
    return tuple(dropped)


def count_searches(call: RerankCall, *, factor_percent: int) -> tuple[int, int]:
    """Search units as we count them, and the most that a provider may count whose tokens are `factor_percent` of ours."""
    left = CHARACTERS_COUNTED
    lengths = []
    for document in call.documents:
        left -= len(document)
        lengths.append(count_text(document) if left >= 0 else len(document.encode()))
    query = count_text(call.query)
    most = call.tokens_per_document or TOKENS_PER_DOCUMENT
    counted = sum(_parts(min(length, most), query) for length in lengths)
    bound = sum(_parts(min(scale(length, factor_percent), most), scale(query, factor_percent)) for length in lengths)
    return -(-counted // DOCUMENTS_PER_SEARCH), -(-bound // DOCUMENTS_PER_SEARCH)


def _parts(document_tokens: int, query_tokens: int) -> int:
    return max(1, -(-document_tokens // (PART_TOKENS - min(query_tokens, QUERY_TOKENS_COUNTED))))


def _invalid(param: str, expected: str, english: str) -> BadRequest:
    return BadRequest(
        f"Valor inválido em '{param}': esperado {expected}.", f"Invalid value for '{param}': expected {english}.", param=param
    )
