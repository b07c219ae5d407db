"""The walk of a batch, through the processes of `make up`: beat's clock, the worker, the model of this machine, the wallet."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import openai
import psycopg

from tests.conftest import Stack

ROUTE = "tokia/demo"
LINES = 3
SECONDS = 90


def test_it_runs_by_itself_and_takes_exactly_what_it_says(stack: Stack) -> None:
    lines = [
        {
            "custom_id": f"linha-{number}", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": ROUTE, "messages": [{"role": "user", "content": f"Say {number}."}], "max_tokens": 8},
        }
        for number in range(LINES)
    ]  # fmt: skip
    content = "\n".join(json.dumps(line) for line in lines).encode()
    with openai.OpenAI(base_url=stack.demo["base_url"], api_key=stack.demo["api_key"], max_retries=0) as client:
        file = client.files.create(file=("perguntas.jsonl", content), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        deadline = time.monotonic() + SECONDS
        while batch.status in ("validating", "in_progress", "finalizing"):
            assert time.monotonic() < deadline, batch
            time.sleep(0.5)
            batch = client.batches.retrieve(batch.id)
        assert batch.status == "completed" and batch.output_file_id and batch.error_file_id is None, batch
        answers = [json.loads(line, parse_float=Decimal) for line in client.files.content(batch.output_file_id).text.splitlines()]
        for id_ in (file.id, batch.output_file_id):
            assert client.files.delete(id_).deleted
    assert [answer["custom_id"] for answer in answers] == [f"linha-{number}" for number in range(LINES)]
    with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
        for answer in answers:
            rows = connection.execute(
                "SELECT net_nanos, surface, outcome FROM billing_usagerecord WHERE id = %s", (answer["response"]["request_id"],)
            ).fetchall()
            assert rows == [(int(answer["response"]["body"]["usage"]["cost"] * 10**9), "batch:chat", "completed")]
