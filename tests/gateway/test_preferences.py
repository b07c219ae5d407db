"""What a call says of its routing: read exactly, taken out of the body, refused by path; and nothing where it says nothing."""

from __future__ import annotations

import json
import timeit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import NO_PREFERENCES, CallContext, LatencyBudget, Preferences
from gateway.errors import BadRequest
from gateway.preferences import note_preferences, take_preferences

PLAIN = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "oi"}]}


def take(is_chat: bool = True, headers: dict[bytes, bytes] | None = None, **members: Any) -> tuple[dict[str, Any], Preferences]:
    body, preferences = take_preferences(json.dumps({**PLAIN, **members}).encode(), headers or {}, is_chat=is_chat)
    return json.loads(body), preferences


def test_a_plain_call_keeps_its_bytes_and_costs_next_to_nothing() -> None:
    body = json.dumps({**PLAIN, "stream": True, "max_tokens": 200}).encode()
    headers = {b"authorization": b"Bearer sk", b"content-type": b"application/json"}
    taken, preferences = take_preferences(body, headers, is_chat=True)
    assert taken is body
    assert preferences is NO_PREFERENCES
    best = min(timeit.repeat(lambda: take_preferences(body, headers, is_chat=True), number=2_000, repeat=5)) / 2_000
    assert best < 10e-6  # about 1 µs on a free core


def test_words_in_a_text_or_deep_inside_are_not_its_members() -> None:
    members = {
        "messages": [{"role": "user", "content": 'o campo "provider" e "models"'}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"quality": {}, "provider": {}}}}}],
    }
    body = json.dumps({**PLAIN, **members}).encode()
    assert take_preferences(body, {}, is_chat=True) == (body, NO_PREFERENCES)


def test_it_takes_openrouters_words() -> None:
    body, said = take(
        models=["a/b", "c/d", "a/b"],
        provider={
            "order": ["OpenAI", "azure/eastus"], "only": ["openai", "azure"], "ignore": ["groq"], "sort": "price",
            "max_price": {"prompt": 1, "completion": "2.5", "request": 0.000000001, "image": 1e-3}, "allow_fallbacks": False,
            "require_parameters": True, "data_collection": "deny", "zdr": True, "quantizations": ["fp8"],
            "enforce_distillable_text": True,
        },
        session_id="conversa-7", quality="fast", route="fallback",
    )  # fmt: skip
    assert body == PLAIN
    assert said == Preferences(
        models=("a/b", "c/d"), preferred=("openai", "azure"), only=frozenset({"openai", "azure"}), ignore=frozenset({"groq"}),
        sort="price", max_price={"input": 10**9, "output": 2_500_000_000, "request": 1, "image": 10**6}, allows_fallbacks=False,
        requires_parameters=True, denies_training=True, needs_zero_retention=True, session="conversa-7", quality="fast",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given_", "budget"),
    [
        (1500, LatencyBudget(total_ms=1500)),
        ({"total": 2000, "percentile": 95}, LatencyBudget(total_ms=2000, percentile=95)),
        ({"ttft": 300, "strict": True}, LatencyBudget(first_token_ms=300, is_strict=True)),
        ({"first_token": 300, "total": 900, "percentile": "p50"}, LatencyBudget(first_token_ms=300, total_ms=900)),
    ],
)
def test_it_reads_latency_budgets(given_: Any, budget: LatencyBudget) -> None:
    assert take(latency_budget_ms=given_)[1].budget == budget


@pytest.mark.parametrize(
    ("given_", "budget"),
    [
        (0.8, LatencyBudget(first_token_ms=800)),
        ({"p50": 1, "p99": 3}, LatencyBudget(first_token_ms=1_000)),
        ({"p90": 2}, LatencyBudget(first_token_ms=2_000, percentile=95)),
    ],
)
def test_openrouters_latency_is_in_seconds_to_the_first_token(given_: Any, budget: LatencyBudget) -> None:
    assert take(provider={"preferred_max_latency": given_})[1].budget == budget


def test_headers_say_what_the_body_does_not() -> None:
    headers = {b"x-session-id": b"s-1", b"x-tokia-latency-budget-ms": b"1200", b"x-tokia-strict-latency": b"true"}
    body, said = take(headers=headers)
    assert (body, said) == (PLAIN, Preferences(session="s-1", budget=LatencyBudget(total_ms=1200, is_strict=True)))
    _, said = take(headers=headers, session_id="s-2", latency_budget_ms={"ttft": 90})
    assert (said.session, said.budget) == ("s-2", LatencyBudget(first_token_ms=90, is_strict=True))


def test_the_first_of_the_models_stands_where_none_is_named() -> None:
    body, said = take_preferences(b'{"models": ["a/b", "c/d"], "messages": []}', {}, is_chat=True)
    assert json.loads(body) == {"model": "a/b", "messages": []}
    assert said.models == ("a/b", "c/d")


def test_pictures_have_a_quality_of_their_own() -> None:
    body, said = take(is_chat=False, quality="high", provider={"only": ["openai"]})
    assert body == {**PLAIN, "quality": "high"}
    assert said == Preferences(only=frozenset({"openai"}))
    with pytest.raises(BadRequest) as refused:
        take(is_chat=False, models=["a/b"])
    assert refused.value.param == "models"


def test_nulls_say_nothing() -> None:
    body, said = take(models=None, provider={"order": None, "sort": None}, latency_budget_ms=None, quality=None, session_id=None)
    assert (body, said) == (PLAIN, NO_PREFERENCES)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"models": "a/b"}, "models"),
        ({"models": ["a/b", 7]}, "models[1]"),
        ({"models": [""]}, "models[0]"),
        ({"models": ["m"] * 9}, "models"),
        ({"provider": ["openai"]}, "provider"),
        ({"provider": {"order": "openai"}}, "provider.order"),
        ({"provider": {"only": [1]}}, "provider.only[0]"),
        ({"provider": {"sort": "cheapest"}}, "provider.sort"),
        ({"provider": {"sort": {"by": "speed"}}}, "provider.sort.by"),
        ({"provider": {"max_price": 3}}, "provider.max_price"),
        ({"provider": {"max_price": {"prompt": -1}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"prompt": "1e999999"}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"prompt": "1e999"}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"audio": 1}}}, "provider.max_price.audio"),
        ({"provider": {"allow_fallbacks": "no"}}, "provider.allow_fallbacks"),
        ({"provider": {"data_collection": "maybe"}}, "provider.data_collection"),
        ({"provider": {"zdr": 1}}, "provider.zdr"),
        ({"provider": {"colour": "blue"}}, "provider.colour"),
        ({"provider": {"preferred_max_latency": "fast"}}, "provider.preferred_max_latency"),
        ({"provider": {"preferred_max_latency": {"p10": 1}}}, "provider.preferred_max_latency"),
        ({"latency_budget_ms": 0}, "latency_budget_ms"),
        ({"latency_budget_ms": True}, "latency_budget_ms"),
        ({"latency_budget_ms": [1]}, "latency_budget_ms"),
        ({"latency_budget_ms": {}}, "latency_budget_ms"),
        ({"latency_budget_ms": {"total": 5, "percentile": 99}}, "latency_budget_ms.percentile"),
        ({"latency_budget_ms": {"total": 5, "p": 1}}, "latency_budget_ms.p"),
        ({"latency_budget_ms": {"total": 5, "strict": "yes"}}, "latency_budget_ms.strict"),
        ({"quality": "best"}, "quality"),
        ({"quality": ["fast"]}, "quality"),
        ({"route": "other"}, "route"),
        ({"session_id": "x" * 257}, "session_id"),
        ({"session_id": 7}, "session_id"),
    ],
)
def test_it_refuses_by_path(members: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        take(**members)
    assert (refused.value.param, refused.value.status) == (param, 400)


@pytest.mark.parametrize("body", [b"", b"[]", b'"models"', b'{"models": [1', b'{"provider":' + b"[" * 9_000])
def test_what_is_no_object_is_left_to_the_surface(body: bytes) -> None:
    assert take_preferences(body, {}, is_chat=True) == (body, NO_PREFERENCES)


def test_it_refuses_text_that_is_not_utf8() -> None:
    with pytest.raises(BadRequest) as refused:
        take_preferences(b'{"model": "m", "models": ["\xff"]}', {}, is_chat=True)
    assert refused.value.param == "models"


@given(st.decimals(min_value=0, max_value=10_000, places=9, allow_nan=False, allow_infinity=False))
def test_prices_are_exact_to_the_nano(amount: Any) -> None:
    body = b'{"model":"m","provider":{"max_price":{"prompt":%s}}}' % f"{amount:f}".encode()
    _, said = take_preferences(body, {}, is_chat=True)
    assert said.max_price == {"input": int(amount * 10**9)}


@given(
    st.dictionaries(
        st.sampled_from(["models", "provider", "session_id", "latency_budget_ms", "quality", "route", "model", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["order", "only", "sort", "by", "p50"]), inner)
            ),
            max_leaves=6,
        ),
    )
)
def test_whatever_comes_it_is_read_or_refused(members: dict[str, Any]) -> None:
    for is_chat in (False, True):
        try:
            body, _ = take_preferences(json.dumps(members).encode(), {}, is_chat=is_chat)
        except BadRequest as error:
            assert error.param
        else:
            left = {"models", "provider", "session_id", "latency_budget_ms", "route"} & set(json.loads(body))
            assert not left or b"NaN" in body or b"Infinity" in body


@pytest.mark.parametrize(
    ("members", "header", "tags"),
    [
        ({"tags": ["a", "b", "a"]}, b"", ("a", "b")),
        ({}, b" a , b:1/2.x_y-z ,", ("a", "b:1/2.x_y-z")),
        ({"tags": ["b"], "metadata": {"tags": ["c"], "user_id": "u"}}, b"a,b", ("a", "b", "c")),
        ({"tags": None, "metadata": {"tags": "not a list"}}, b"", ()),
        ({"metadata": {"k": 'the word "tags"'}}, b"", ()),
        ({"metadata": {"tags": ["x"] * 5}}, b"", ("x",)),
    ],
)
def test_it_takes_tags_from_header_body_and_metadata(members: dict[str, Any], header: bytes, tags: tuple[str, ...]) -> None:
    headers = {b"x-tokia-tags": header} if header else {}
    body, said = take(headers=headers, **members)
    assert said.tags == tags
    assert body == {**PLAIN, **({"metadata": members["metadata"]} if "metadata" in members else {})}  # which stays as it was
    context = CallContext(id="", started_ns=0)
    note_preferences(context, said)
    assert context.tags == tags and context.preferences is NO_PREFERENCES  # planned for like any plain call


@pytest.mark.parametrize(
    ("members", "header", "param"),
    [
        ({"tags": "a"}, b"", "tags"), ({"tags": [1]}, b"", "tags"), ({"tags": ["á"]}, b"", "tags"), ({"tags": [""]}, b"", "tags"),
        ({"tags": ["a" * 65]}, b"", "tags"), ({"tags": list("abcdef")}, b"", "tags"), ({"tags": list("abc")}, b"d,e,f", "tags"),
        ({}, b"a b", "x-tokia-tags"), ({}, b"a,b,c,d,e,f", "x-tokia-tags"), ({"metadata": {"tags": [None]}}, b"", "metadata.tags"),
        ({"tags": ["a\n"]}, b"", "tags"),
    ],
)  # fmt: skip
def test_tags_that_are_none_are_refused(members: dict[str, Any], header: bytes, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        take(headers={b"x-tokia-tags": header} if header else {}, **members)
    assert refused.value.param == param
