"""Bodies that nobody sends by mistake, at every address that takes JSON: a 4xx in the address's own shape, at once, and no money.

How long the gateway worked is its own time on the processor, as the kernel counts it: a busy machine does not make it longer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.world import Tenant, World, await_true

GATEWAY_MS_MAX = 50
TRIES = 8
CHATS = {
    "openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash", "cohere": "command-a-03-2025",
    "bedrock": "us.anthropic.claude-haiku-4-5-20251001-v1:0", "mistral": "mistral-large-2512",
}  # fmt: skip
ASK = [{"role": "user", "content": "oi"}]
# What each address is asked, and every field that it knows.
BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "/v1/chat/completions": (
        {"messages": ASK},
        "messages audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens metadata"
        " modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key reasoning_effort response_format"
        " safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p"
        " top_k user verbosity web_search_options thinking extra_body documents drop_params",
    ),
    "/v1/completions": (
        {"prompt": "oi"},
        "prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop stream stream_options"
        " suffix temperature top_p user",
    ),
    "/v1/responses": (
        {"input": "oi"},
        "input instructions tools tool_choice parallel_tool_calls text reasoning max_output_tokens previous_response_id store"
        " include truncation metadata stream temperature top_p top_logprobs service_tier user conversation background prompt",
    ),
    "/v1/messages": (
        {"messages": ASK, "max_tokens": 50},
        "messages max_tokens system tools tool_choice temperature top_p top_k stop_sequences stream metadata thinking"
        " output_config service_tier container mcp_servers context_management",
    ),
    "/v1/embeddings": ({"input": "oi"}, "input encoding_format dimensions user"),
    "/v1/rerank": ({"query": "a", "documents": ["b"]}, "query documents top_n max_tokens_per_doc return_documents"),
    "/v1/moderations": ({"input": "oi"}, "input"),
    "/v1/images/generations": ({"prompt": "um gato"}, "prompt n size quality output_format background stream partial_images user"),
}
CHATTY = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
THEIR_TOOL = {"name": "f", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, str]:
    """A model for every address; of chats, by provider."""
    names = {slug: world.route(slug, model, name=f"hostile/{slug}").name for slug, model in CHATS.items()}
    names["/v1/embeddings"] = world.route("openai", "text-embedding-3-small", surface="embeddings", units={"input": "1"}).name
    names["/v1/rerank"] = world.route("cohere", "rerank-v3.5", surface="rerank", units={"search": "0.02"}).name
    names["/v1/moderations"] = world.route(
        "openai", "omni-moderation-latest", surface="moderations", units={"request": "0.001"}
    ).name
    units = {"input": "30", "image_input": "50", "image_output": "200", "output": "200"}
    names["/v1/images/generations"] = world.route("openai", "gpt-image-1-mini", surface="images", units=units).name
    return names


@pytest.fixture
def ready(world: World, routes: dict[str, str]) -> Tenant:
    tenant = world.tenant(requests_per_minute=1_000_000)
    world.await_served(tenant, *routes.values())
    return tenant


def models_of(routes: dict[str, str], path: str) -> list[str]:
    return [routes[slug] for slug in CHATS] if path in CHATTY else [routes[path]]


def check_refusal(path: str, answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["error"]["message"] and "Traceback" not in answer.text
    if path == "/v1/messages":
        assert told["type"] == "error" and told["error"]["type"] == "invalid_request_error" and told["request_id"]
    else:
        assert set(told["error"]) == {"message", "type", "param", "code", "doc_url"}
        assert told["error"]["type"] == "invalid_request_error"


def check_no_money(world: World, tenant: Tenant, *, paid: int = 0) -> None:
    """No hold is left, and no more calls than `paid` cost anything."""
    await_true(lambda: tenant.fresh().held_nanos == 0, why="a hold was left")
    assert sum(record.gross_nanos > 0 for record in tenant.records()) <= paid


def deep(levels: int, opening: str, closing: str) -> str:
    return opening * levels + "1" + closing * levels


def monsters(body: dict[str, Any]) -> dict[str, bytes]:
    """Whole bodies that are wrong however they are read."""
    text = json.dumps(body)
    within = text[:-1]
    return {
        "nothing": b"", "blank": b"  \n", "null": b"null", "text": b'"oi"', "number": b"7", "list": b"[]", "empty": b"{}",
        "lists": b"[" * 100_000, "objects": b'{"a":' * 100_000, "cut": text[: len(text) // 2].encode(), "two": text.encode() * 2,
        "bom": b"\xef\xbb\xbf" + text.encode(), "utf-16": text.encode("utf-16"), "latin-1": '{"model":"ação"}'.encode("latin-1"),
        "not utf-8": within.encode() + b',"user":"\xff\xfe"}', "overlong": within.encode() + b',"user":"\xc0\xaf"}',
        "lone surrogate": (within + ',"user":"\\ud83d"}').encode(), "nan": (within + ',"temperature":NaN}').encode(),
        "infinity": (within + ',"temperature":1e999}').encode(), "minus infinity": (within + ',"seed":-1e999}').encode(),
        "many digits": (within + f',"seed":{"9" * 5_000}}}').encode(), "duplicate": (within + "," + within[1:] + "}").encode(),
        "deep list": (within + f',"metadata":{deep(5_000, "[", "]")}}}').encode(),
        "deep object": (within + ',"metadata":' + deep(5_000, '{"a":', "}") + "}").encode(),
        "comments": text[:-1].encode() + b"/* oi */}", "comma": within.encode() + b",}", "nul": text.encode() + b"\x00",
        "many members": (within + "," + ",".join(f'"x{number}":1' for number in range(210_000)) + "}").encode(),
        "many lists": (within + ',"metadata":[' + "[]," * 210_000 + "1]}").encode(),
    }  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
def test_it_refuses_monsters_at_once(world: World, ready: Tenant, routes: dict[str, str], path: str) -> None:
    wrong = []
    with httpx.Client(base_url=world.gateway.url, headers=ready.headers | {"content-type": "application/json"}) as http:
        http.get("/v1/models")
        for name, raw in monsters({"model": models_of(routes, path)[0], **BODIES[path][0]}).items():
            spent = []
            for _ in range(TRIES):
                before = world.gateway.cpu_ns()
                answer = http.post(path, content=raw)
                spent.append((world.gateway.cpu_ns() - before) / 1e6)
                if not 400 <= answer.status_code < 500:
                    wrong.append(f"{name}: {answer.status_code} {answer.text[:200]}")
                    break
                check_refusal(path, answer)
                if spent[-1] <= GATEWAY_MS_MAX:
                    break
            if min(spent) > GATEWAY_MS_MAX:
                wrong.append(f"{name}: {min(spent):.0f} ms")
    assert not wrong, "\n".join(wrong)
    assert ready.records() == []
    check_no_money(world, ready)


CROWDS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "tools": ("/v1/chat/completions", lambda: {"messages": ASK, "tools": [TOOL] * 10_000}),
    "functions": ("/v1/chat/completions", lambda: {"messages": ASK, "functions": [TOOL["function"]] * 10_000}),
    "empty tools": ("/v1/chat/completions", lambda: {"messages": ASK, "tools": [{}] * 10_000}),
    "messages": ("/v1/chat/completions", lambda: {"messages": ASK * 10_001}),
    "empty messages": ("/v1/chat/completions", lambda: {"messages": [{}] * 10_000}),
    "pictures": (
        "/v1/chat/completions",
        lambda: {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}] * 10_000}]},
    ),
    "stops": ("/v1/chat/completions", lambda: {"messages": ASK, "stop": ["x"] * 10_000, "tools": [TOOL] * 10_000}),
    "flat tools": (
        "/v1/responses",
        lambda: {"input": "oi", "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}] * 10_000},
    ),
    "items": ("/v1/responses", lambda: {"input": ASK * 10_001}),
    "their tools": (
        "/v1/messages", lambda: {"messages": ASK, "max_tokens": 5, "tools": [THEIR_TOOL] * 10_000}
    ),
    "their messages": ("/v1/messages", lambda: {"messages": ASK * 10_001, "max_tokens": 5}),
    "prompts": ("/v1/completions", lambda: {"prompt": ["oi"] * 10_000}),
    "inputs": ("/v1/embeddings", lambda: {"input": ["oi"] * 10_000}),
    "documents": ("/v1/rerank", lambda: {"query": "a", "documents": ["b"] * 10_001}),
    "moderated": ("/v1/moderations", lambda: {"input": [{"type": "text", "text": "x"}] * 10_000}),
    "options": ("/v1/images/generations", lambda: {"prompt": "x", "n": 10_000}),
}  # fmt: skip


@pytest.mark.parametrize("crowd", CROWDS)
def test_it_refuses_crowds_at_once(world: World, ready: Tenant, routes: dict[str, str], crowd: str) -> None:
    path, make = CROWDS[crowd]
    wrong = []
    with httpx.Client(base_url=world.gateway.url, headers=ready.headers, timeout=30) as http:
        http.get("/v1/models")
        for model in models_of(routes, path):
            raw, spent = json.dumps({"model": model, **make()}).encode(), []
            for _ in range(TRIES):
                before = world.gateway.cpu_ns()
                answer = http.post(path, content=raw, headers={"content-type": "application/json"})
                spent.append((world.gateway.cpu_ns() - before) / 1e6)
                if not 400 <= answer.status_code < 500:
                    wrong.append(f"{model}: {answer.status_code} {answer.text[:200]}")
                    break
                check_refusal(path, answer)
                if spent[-1] <= GATEWAY_MS_MAX:
                    break
            if min(spent) > GATEWAY_MS_MAX:
                wrong.append(f"{model}: {min(spent):.0f} ms for {len(raw)} bytes")
    assert not wrong, "\n".join(wrong)
    assert ready.records() == []
    check_no_money(world, ready)


WRONG: list[Any] = [
    None,
    True,
    -1,
    10**18,
    10**400,
    1.5e300,
    "",
    "x",
    "\x00\u2028",
    [],
    [None],
    [[]],
    {},
    {"a": {"b": []}},
    [{}],
    [7],
]


def sample_of(field: str) -> list[Any]:
    """All in the long form; else a third, another one for each field."""
    return WRONG if os.environ.get("TORTURE") == "long" else WRONG[len(field) % 3 :: 3]


@pytest.mark.parametrize("path", BODIES)
def test_it_survives_every_type_in_every_field(world: World, ready: Tenant, routes: dict[str, str], path: str) -> None:
    """Many of them are harmless, and some a provider refuses: it is never our fault, nor paid for where it is refused."""
    base, fields = BODIES[path]
    wrong, answered = [], 0
    with httpx.Client(base_url=world.gateway.url, headers=ready.headers, timeout=30) as http:
        for model in models_of(routes, path):
            for field in fields.split():
                for value in sample_of(field):
                    answer = http.post(path, json={"model": model, **base, field: value})
                    answered += answer.status_code == 200
                    if answer.status_code >= 500 or (answer.status_code != 200 and answer.status_code not in (400, 404, 413, 422)):
                        wrong.append(f"{model} {field}={value!r:.60}: {answer.status_code} {answer.text[:200]}")
                    elif answer.status_code == 400:
                        check_refusal(path, answer)
        for value in WRONG[1:]:
            answer = http.post(path, json={**base, "model": value})
            assert answer.status_code in (400, 404), (value, answer.text)
    assert not wrong, "\n".join(wrong[:40])
    check_no_money(world, ready, paid=answered)


_KEYS = st.sampled_from(
    sorted({field for _, fields in BODIES.values() for field in fields.split()} | {"role", "content", "type", "text"})
)
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_it_survives_what_nobody_thought_of(world: World, ready: Tenant, routes: dict[str, str], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(BODIES)))
    model = data.draw(st.sampled_from(models_of(routes, path)))
    fields = data.draw(st.dictionaries(st.sampled_from(BODIES[path][1].split()), _VALUES, max_size=5))
    answer = httpx.post(
        world.gateway.url + path, json={"model": model, **BODIES[path][0], **fields}, headers=ready.headers, timeout=30
    )
    assert answer.status_code in (200, 400, 402, 404, 413, 422), (path, fields, answer.text[:300])
    if answer.status_code == 400:
        check_refusal(path, answer)
    await_true(lambda: ready.fresh().held_nanos == 0)
