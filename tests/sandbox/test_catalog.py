"""Every model that Tokia sells from its first start is served here, in the wire format that the gateway uses for it."""

from __future__ import annotations

import tomllib
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.sandbox.conftest import ROOT, Sandbox

CATALOG = tomllib.loads((ROOT / "gateway" / "catalog.toml").read_text())
PROVIDERS = {provider["slug"]: provider for provider in CATALOG["providers"]}


@pytest.mark.parametrize("route", CATALOG["routes"], ids=lambda route: str(route["name"]))
def test_it_serves_the_model(sandbox: Sandbox, route: dict[str, Any]) -> None:
    provider = PROVIDERS[route["provider"]]
    base = f"/llm/{provider['slug']}{urlsplit(provider['base_url']).path}"
    key = f"sandbox-{provider['slug']}"
    hello = [{"role": "user", "content": "Oi"}]
    if provider["dialect"] == "anthropic":
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        body: dict[str, Any] = {"model": route["upstream_model"], "max_tokens": 200, "messages": hello}
        answer = sandbox.http.post(f"{base}/v1/messages", json=body, headers=headers)
        assert answer.json()["usage"]["output_tokens"] > 0, answer.text
        return
    if provider["dialect"] == "gemini":
        said = {"parts": [{"text": "Oi"}]}
        verb, body, told_in = "generateContent", {"contents": [said]}, "usageMetadata"
        if route.get("surface") == "embeddings":
            model = f"models/{route['upstream_model']}"
            verb, body, told_in = "batchEmbedContents", {"requests": [{"model": model, "content": said}]}, "embeddings"
        answer = sandbox.http.post(f"{base}/models/{route['upstream_model']}:{verb}", json=body, headers={"x-goog-api-key": key})
        assert answer.json()[told_in], answer.text
        return
    if provider["dialect"] == "bedrock":
        body = {"messages": [{"role": "user", "content": [{"text": "Oi"}]}]}
        address = f"{base}/model/{quote(route['upstream_model'], safe='')}/converse"
        answer = sandbox.http.post(address, json=body, headers={"authorization": f"Bearer {key}"})
        assert answer.json()["usage"]["outputTokens"] > 0, answer.text
        return
    if provider["dialect"] == "cohere":
        surface = route.get("surface", "chat")
        bodies: dict[str, tuple[str, dict[str, Any], str]] = {
            "chat": ("chat", {"messages": hello}, "output_tokens"),
            "embeddings": ("embed", {"texts": ["Oi"], "input_type": "search_query", "embedding_types": ["float"]}, "input_tokens"),
            "rerank": ("rerank", {"query": "Oi", "documents": ["Oi", "Tchau"]}, "search_units"),
        }
        path, body, unit = bodies[surface]
        headers = {"authorization": f"Bearer {key}"}
        answer = sandbox.http.post(f"{base}/v2/{path}", json={"model": route["upstream_model"], **body}, headers=headers)
        told = answer.json()
        assert (told.get("usage") or told["meta"])["billed_units"][unit] > 0, answer.text
        return
    if route.get("surface") in ("images", "speech", "transcriptions", "moderations"):
        media: dict[str, tuple[str, dict[str, Any]]] = {
            "images": ("/images/generations", {"json": {"model": route["upstream_model"], "prompt": "Oi"}}),
            "speech": ("/audio/speech", {"json": {"model": route["upstream_model"], "input": "Oi", "voice": "alloy"}}),
            "transcriptions": (
                "/audio/transcriptions", {"data": {"model": route["upstream_model"]}, "files": {"file": ("a.mp3", b"ID3" * 9)}},
            ),
            "moderations": ("/moderations", {"json": {"model": route["upstream_model"], "input": "Oi"}}),
        }  # fmt: skip
        path, sent = media[route["surface"]]
        answer = sandbox.http.post(base + path, headers={"authorization": f"Bearer {key}"}, **sent)
        assert answer.status_code == 200, answer.text
        return
    if route.get("surface") == "embeddings":
        body, path = {"model": route["upstream_model"], "input": "Oi"}, "/embeddings"
    else:
        body, path = {"model": route["upstream_model"], "messages": hello}, "/chat/completions"
    headers = {"api-key": key} if provider["dialect"] == "azure" else {"authorization": f"Bearer {key}"}
    answer = sandbox.http.post(base + path, json=body, headers=headers)
    assert answer.json()["usage"]["prompt_tokens"] > 0, answer.text
