"""An answer that is passed on: its bytes as they came, but for the usage, which bears the cost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.openai import read_chat

USAGE = '{"prompt_tokens": 3, "completion_tokens": 2,\n "total_tokens": 5}'
PRICED = b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"cost":0.25}'


def body(text: str, *, usage: str = USAGE, more: str = "") -> bytes:
    message = json.dumps({"role": "assistant", "content": text}, ensure_ascii=False)
    choice = f'{{"index":0,"message":{message},"finish_reason":"stop"}}'
    last = f',\n"usage": {usage} ' if usage else ""
    return f'{{"id": "c1", {more}"choices":[ {choice} ]{last}}}'.encode()


def test_all_but_the_usage_is_as_it_came() -> None:
    answer = body("olá")
    assert read_chat(answer).with_usage(PRICED) == answer.replace(USAGE.encode(), PRICED)


@pytest.mark.parametrize(
    "more",
    [
        f'"echo": {USAGE}, ',  # the same words elsewhere
        f'"usage": {USAGE}, ',  # twice: the last one counts
        '"usage": {}, ',
    ],
)
def test_it_takes_nothing_else_for_the_usage(more: str) -> None:
    told = json.loads(read_chat(body("olá", more=more)).with_usage(PRICED))
    assert told["usage"] == json.loads(PRICED)
    if "echo" in more:
        assert told["echo"] == json.loads(USAGE)


@pytest.mark.parametrize("usage", ["null", "{}", "[]", "0"])
def test_a_usage_that_says_nothing_is_replaced_too(usage: str) -> None:
    answer = body("{} [] 0 null", usage=usage)
    told = json.loads(read_chat(answer).with_usage(PRICED))
    assert told == {**json.loads(answer), "usage": json.loads(PRICED)}


@given(
    st.text(st.sampled_from('a{}"\\:, é\n'), max_size=40) | st.sampled_from([USAGE, "null", "{}"]),
    st.sampled_from([USAGE, "", "null", "{}", '{"prompt_tokens":"?"}']),
)
def test_no_text_is_ever_changed(text: str, usage: str) -> None:
    """Nor where the upstream says no usage at all, and the one `null` of its answer is the model's word."""
    told = json.loads(read_chat(body(text, usage=usage)).with_usage(PRICED))
    assert told["choices"][0]["message"]["content"] == text
    assert told["usage"] == json.loads(PRICED)
