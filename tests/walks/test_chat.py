"""The walk of one chat completion, through the processes of `make up`: the demo key, the model of this machine, the wallet."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import httpx
import openai
import psycopg
import pytest

from tests.conftest import Stack

ROUTE = "tokia/demo"


def credits_of(stack: Stack) -> dict[str, Any]:
    answer = httpx.get(f"{stack.demo['base_url']}/credits", headers={"authorization": f"Bearer {stack.demo['api_key']}"})
    told: dict[str, Any] = json.loads(answer.text, parse_float=Decimal)["data"]
    return told


@pytest.mark.parametrize("is_stream", [False, True])
def test_it_answers_and_takes_exactly_what_it_says(stack: Stack, is_stream: bool) -> None:
    before = credits_of(stack)
    messages: list[Any] = [{"role": "user", "content": "Say hello in one short sentence."}]
    with openai.OpenAI(base_url=stack.demo["base_url"], api_key=stack.demo["api_key"], max_retries=0) as client:
        if is_stream:
            with client.chat.completions.with_streaming_response.create(
                model=ROUTE, messages=messages, max_tokens=40, stream=True, stream_options={"include_usage": True}
            ) as streamed:
                lines = [line[6:] for line in streamed.iter_lines() if line.startswith("data: ")]
                request_id = streamed.headers["x-request-id"]
            assert lines[-1] == "[DONE]"
            chunks = [json.loads(line, parse_float=Decimal) for line in lines[:-1]]
            text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
            usage = chunks[-1]["usage"]
        else:
            raw = client.chat.completions.with_raw_response.create(model=ROUTE, messages=messages, max_tokens=40)
            answer = json.loads(raw.text, parse_float=Decimal)
            text, usage, request_id = answer["choices"][0]["message"]["content"], answer["usage"], raw.headers["x-request-id"]
    assert text
    assert usage["cost"] > 0
    after = credits_of(stack)
    assert after["held"] == 0
    assert before["available"] - after["available"] == usage["cost"]
    with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
        row = connection.execute(
            "SELECT input_tokens + cached_input_tokens + cache_write_tokens, output_tokens + reasoning_tokens, net_nanos, outcome,"
            " usage_source, price_version_id > 0 FROM billing_usagerecord WHERE id = %s",
            (request_id,),
        ).fetchone()
    nanos = int(usage["cost"] * 10**9)
    assert row == (usage["prompt_tokens"], usage["completion_tokens"], nanos, "completed", "upstream", True)


def test_it_sells_the_whole_catalog_with_prices(stack: Stack) -> None:
    headers = {"authorization": f"Bearer {stack.demo['api_key']}"}
    models = httpx.get(f"{stack.demo['base_url']}/models", headers=headers).json()["data"]
    assert len(models) >= 27
    for model in models:  # each by its own units: tokens, pictures, seconds, searches
        prices = [value for unit, value in model["pricing"].items() if unit not in ("currency", "batch_percent", "own_key_percent")]
        assert prices and any(Decimal(price) > 0 for price in prices), model["id"]
    chats = [model["id"] for model in models if "max_tokens" in model["supported_parameters"]]
    assert len(chats) >= 27
    for name in chats:
        body = {"model": name, "messages": [{"role": "user", "content": "oi"}], "max_tokens": 600}
        answer = httpx.post(f"{stack.demo['base_url']}/chat/completions", json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, f"{name}: {answer.text}"
        assert answer.json()["usage"]["cost"] > 0
