"""Several keys at one provider, keys that it refuses, and what it tells of an account."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.sandbox.conftest import Sandbox

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "oi"}]}
# Where each host lists its models, and how it is told the key.
LISTS = {
    "openai": ("/v1/models", "authorization", "Bearer {}"),
    "anthropic": ("/v1/models", "x-api-key", "{}"),
    "google": ("/v1beta/models", "x-goog-api-key", "{}"),
    "cohere": ("/v1/models", "authorization", "Bearer {}"),
    "azure": ("/openai/v1/models", "api-key", "{}"),
    "deepseek": ("/models", "authorization", "Bearer {}"),
    "groq": ("/openai/v1/models", "authorization", "Bearer {}"),
}


@pytest.fixture(autouse=True)
def fresh(sandbox: Sandbox) -> Iterator[None]:
    sandbox.post("/llm/__reset")
    yield
    sandbox.post("/llm/__reset")


def chat(sandbox: Sandbox, key: str) -> httpx.Response:
    return sandbox.http.post("/llm/openai/v1/chat/completions", json=CHAT, headers={"authorization": f"Bearer {key}"})


def balance(sandbox: Sandbox, key: str) -> httpx.Response:
    return sandbox.http.get("/llm/deepseek/user/balance", headers={"authorization": f"Bearer {key}"})


def test_the_ledger_tells_which_key_was_used(sandbox: Sandbox) -> None:
    for key in ("sandbox-openai", "sandbox-openai-own", "sandbox-openai-acme-2"):
        assert chat(sandbox, key).status_code == 200
    assert [call["key"] for call in reversed(sandbox.ledger()["calls"])] == ["", "own", "acme-2"]
    for key in ("sandbox-groq", "sandbox-openai-", "sandbox-openaiown", "sandbox-openai-UP", "own"):
        assert chat(sandbox, key).status_code == 401


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_key_is_refused_until_it_is_restored(sandbox: Sandbox, status: int) -> None:
    sandbox.post("/llm/__keys", {"key": "sandbox-openai-2", "status": status})
    assert chat(sandbox, "sandbox-openai-2").status_code == status
    assert chat(sandbox, "sandbox-openai").status_code == 200
    sandbox.post("/llm/__keys", {"key": "sandbox-openai-2"})
    assert chat(sandbox, "sandbox-openai-2").status_code == 200
    assert sandbox.http.post("/llm/__keys", json={"key": "x", "status": 500}).status_code == 400


@pytest.mark.parametrize("slug", sorted(LISTS))
def test_every_host_lists_its_models_to_whoever_has_a_key(sandbox: Sandbox, slug: str) -> None:
    path, header, shape = LISTS[slug]
    url = f"/llm/{slug}{path}"
    answer = sandbox.http.get(url, headers={header: shape.format(f"sandbox-{slug}-own"), "anthropic-version": "2023-06-01"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body.get("data") or body["models"]
    for bad in ({header: shape.format("errada")}, {}):
        assert sandbox.http.get(url, headers=bad).status_code in (400, 401, 403)


def test_deepseek_tells_the_balance(sandbox: Sandbox) -> None:
    told = balance(sandbox, "sandbox-deepseek").json()
    [info] = told["balance_infos"]
    assert told["is_available"] is True
    assert info == {"currency": "USD", "total_balance": "110.00", "granted_balance": "10.00", "topped_up_balance": "100.00"}
    sandbox.post("/llm/__keys", {"key": "sandbox-deepseek-2", "status": 402})
    empty = balance(sandbox, "sandbox-deepseek-2").json()
    assert empty["is_available"] is False and empty["balance_infos"][0]["total_balance"] == "0.00"
    assert balance(sandbox, "errada").status_code == 401
    assert sandbox.http.post("/llm/deepseek/user/balance", headers={"authorization": "Bearer sandbox-deepseek"}).status_code == 405


def test_it_tells_what_is_left_of_the_minute(sandbox: Sandbox) -> None:
    assert chat(sandbox, "sandbox-openai").headers["x-ratelimit-remaining-requests"] == "9998"
    headers = {"x-api-key": "sandbox-anthropic", "anthropic-version": "2023-06-01"}
    body = {"model": "claude-sonnet-4-6", "max_tokens": 20, "messages": CHAT["messages"]}
    answer = sandbox.http.post("/llm/anthropic/v1/messages", json=body, headers=headers)
    assert answer.headers["anthropic-ratelimit-tokens-remaining"] == "479000"
