"""OpenAI's embeddings to Gemini's and back: batches, lengths, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.calls import ServedDeployment
from gateway.dialects import gemini_embeddings
from gateway.errors import BadRequest, UpstreamError
from gateway.parsing import parse_embeddings

DEPLOYMENT = ServedDeployment(
    id=1, provider_slug="google", provider_name="Google", dialect="gemini", base_url="https://g.test/v1beta",
    upstream_model="gemini-embedding-001", priority=1, weight=1, secret="AIzaSecret", is_strict=True, is_simulated=False,
)  # fmt: skip


def test_embeddings_go_in_batches_of_a_hundred() -> None:
    call = parse_embeddings(json.dumps({"model": "x", "input": ["a"] * 201, "dimensions": 8, "user": "u"}).encode())
    requests = gemini_embeddings.embeddings_requests(call, DEPLOYMENT)
    sizes = [len(json.loads(request.body)["requests"]) for request in requests]
    assert sizes == [100, 100, 1]
    assert requests[0].url.endswith("/models/gemini-embedding-001:batchEmbedContents")
    assert json.loads(requests[2].body)["requests"] == [
        {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8}
    ]
    assert requests[0].dropped == ("user",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"input": [1, 2]}, "input"), ({"input": [[1]]}, "input"), ({"input": "a", "task_type": "X"}, "task_type")],
)
def test_embeddings_refuse_what_they_can_not_say(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        gemini_embeddings.embeddings_requests(parse_embeddings(json.dumps({"model": "x", **fields}).encode()), DEPLOYMENT)
    assert refused.value.param == param


def test_vectors_have_length_one_and_usage_where_it_is_told() -> None:
    answer = gemini_embeddings.read_embeddings(b'{"embeddings":[{"values":[3,4]},{"values":[0,0]},{"values":[1,0]}]}')
    assert answer.vectors == [[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]]
    assert answer.input_tokens is None
    told = gemini_embeddings.read_embeddings(b'{"embeddings":[{"values":[1]}],"usageMetadata":{"promptTokenCount":9}}')
    assert told.input_tokens == 9


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"embeddings":5}', b'{"embeddings":[{"values":["x"]}]}', b"[" * 99_999])
def test_what_is_no_vector_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamError) as failed:
        gemini_embeddings.read_embeddings(body)
    assert failed.value.code == "provider_malformed"
