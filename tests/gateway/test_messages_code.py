"""What Claude Code sends, to Claude and to others; and every other dialect asked in Anthropic's words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.test_messages_walks import MESSAGES, UNITS, ask, events_of
from tests.gateway.world import Tenant, World

MODELS = {"anthropic": "claude-sonnet-4-6", "openai": "gpt-4o-mini", "groq": "openai/gpt-oss-120b"}


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    can = ["tools", "vision", "json"]
    named = {
        slug: world.route(slug, model, name=f"code/{slug}", units=UNITS, capabilities=can).name for slug, model in MODELS.items()
    }
    named["new"] = world.route("anthropic", "claude-opus-5-5", name="code/new", units=UNITS, capabilities=can).name
    return named


@pytest.fixture
def ready(world: World, routes: dict[str, str], tenant: Tenant) -> Tenant:
    world.await_served(tenant, *routes.values())
    return tenant


BETAS = (
    "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,prompt-caching-scope-2026-01-05,"
    "effort-2025-11-24"
)


def code_body(model: str, *, edits: str = "clear_tool_uses_20250919") -> dict[str, Any]:
    """What Claude Code sends: a long marked system, many tools, a history with marks, adaptive thinking, context management."""
    mark = {"type": "ephemeral"}
    tools = [
        {"name": f"Tool{number}", "description": "Faz algo. " * 40,
         "input_schema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                          "properties": {"path": {"type": "string"}}, "required": ["path"], "additionalProperties": False}}
        for number in range(20)
    ]  # fmt: skip
    tools[-1]["cache_control"] = mark
    return {
        "model": model, "max_tokens": 2_000, "stream": True, "tools": tools,
        "system": [{"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1"},
                   {"type": "text", "text": "Você é um agente de código. " * 800, "cache_control": mark}],
        "metadata": {"user_id": "user_" + "0" * 64 + "_account__session_0199d0a8-0000-7000-8000-000000000000"},
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": edits}]},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "<system-reminder>…</system-reminder>"},
                                         {"type": "text", "text": "Rode a Tool3"}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "Vou rodar."},
                {"type": "tool_use", "id": "toolu_01AbC", "name": "Tool3", "input": {"path": "/a"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01AbC", "content": "feito", "cache_control": mark}]},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["anthropic", "new"])
def test_claude_code_works_natively(world: World, routes: dict[str, str], ready: Tenant, name: str) -> None:
    for _ in range(2):
        answer = ask(world, ready, code_body(routes[name]), f"{MESSAGES}?beta=true", **{"anthropic-beta": BETAS})
        assert answer.status_code == 200, answer.text
        events = events_of(answer)
        assert events[0]["message"]["usage"]["input_tokens"] + events[0]["message"]["usage"]["cache_read_input_tokens"] > 0
        assert events[-1]["type"] == "message_stop"
    first, second = ready.records()
    assert first.cache_write_tokens > 3_000
    assert second.cached_input_tokens > 3_000


def test_claude_code_is_told_what_others_can_not_do(world: World, routes: dict[str, str], ready: Tenant) -> None:
    refused = ask(world, ready, code_body(routes["openai"]))
    assert refused.status_code == 400
    assert refused.json()["error"]["details"] == {"error_code": "unsupported_parameter", "param": "context_management.edits[0]"}
    assert "x-tokia-drop-params" in refused.json()["error"]["message"]
    assert ready.records() == []
    for slug in ("openai", "groq"):
        answer = ask(world, ready, code_body(routes[slug]), **{"x-tokia-drop-params": "true", "anthropic-beta": BETAS})
        assert answer.status_code == 200, answer.text
        assert "context_management.edits[0]" in answer.headers["x-tokia-dropped-params"]
        events = events_of(answer)
        assert 3_000 < events[0]["message"]["usage"]["input_tokens"] < 30_000
        assert events[-1]["type"] == "message_stop"
    hint = ask(world, ready, code_body(routes["groq"], edits="clear_thinking_20251015"))
    assert hint.status_code == 200
    assert len(ready.records()) == 3


# ── Beginnings of an answer, pictures, documents: what each dialect makes of them ────────────────────────────────────
OTHERS = {
    "openai": "gpt-4o-mini", "mistral": "mistral-large-latest", "deepseek": "deepseek-chat", "google": "gemini-2.5-flash",
    "cohere": "command-a-03-2025", "bedrock": "anthropic.claude-sonnet-4-6", "anthropic": "claude-haiku-4-5",
}  # fmt: skip
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}
PNG = {
    "type": "base64", "media_type": "image/png",
    "data": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
}  # fmt: skip
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TALKS: dict[str, dict[str, Any]] = {
    "prefill": {"messages": [{"role": "user", "content": "Conte até três."}, {"role": "assistant", "content": "Um, dois"}]},
    "picture": {"messages": [
        {"role": "user", "content": [{"type": "image", "source": PNG}, {"type": "text", "text": "O que é?"}]}]},
    "document": {"messages": [
        {"role": "user", "content": [{"type": "document", "source": PDF}, {"type": "text", "text": "Resuma."}]}]},
    "schema": {"messages": [{"role": "user", "content": "Onde?"}],
               "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "sampling": {"messages": [{"role": "user", "content": "Oi"}], "temperature": 0.5, "top_k": 40},
    "stops": {"messages": [{"role": "user", "content": "Oi"}], "stop_sequences": ["a1", "b2", "c3", "d4", "e5", "f6"]},
    "forced": {"messages": [{"role": "user", "content": "Oi"}], "tools": [{"name": "f", "input_schema": SCHEMA}],
               "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}},
}  # fmt: skip


@pytest.fixture(scope="module")
def named(world: World) -> dict[str, str]:
    named = {}
    for slug, model in OTHERS.items():
        can = ["tools", "json"] if slug == "cohere" else ["tools", "vision", "json", "files"]
        named[slug] = world.route(slug, model, name=f"talk/{slug}", units=UNITS, capabilities=can).name
    return named


@pytest.mark.parametrize("slug", OTHERS)
def test_what_it_asks_is_answered_or_refused_by_its_own_name(
    world: World, named: dict[str, str], tenant: Tenant, slug: str
) -> None:
    """A refusal comes before money is held, and names a field of the caller's; nothing else is ever left out unnamed."""
    world.await_served(tenant, *named.values())
    answered = 0
    for kind, talk in TALKS.items():
        if kind == "stops" and slug in ("mistral", "deepseek"):  # they say no number; the sandbox takes four from anybody
            continue
        answer = ask(world, tenant, {"model": named[slug], "max_tokens": 300, **talk})
        if answer.status_code == 200:
            answered += 1
            message = answer.json()
            if kind == "schema":
                assert "city" in message["content"][-1]["text"]
            if kind == "forced":
                assert message["content"][-1]["name"] == "f"
            continue
        assert answer.status_code == 400, (kind, answer.text)
        param = answer.json()["error"]["details"].get("param")
        assert param, (kind, answer.text)
        assert param.split("[")[0].split(".")[0] in talk, (kind, answer.text)
        assert len(tenant.records()) == answered, (kind, answer.text)  # refused before anything was held
    assert answered >= (2 if slug == "cohere" else 5)
    assert tenant.fresh().held_nanos == 0
