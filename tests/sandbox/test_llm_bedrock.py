"""Bedrock as AWS's own client meets it: signatures, refusals, binary streams, exceptions, and the ledger."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from typing import Any

import botocore.session
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from gateway.dialects.sigv4 import AccessKey, sign_post
from tests.sandbox.conftest import Sandbox

KEY_ID, SECRET = "AKIASANDBOXBEDROCK00", "sandbox-bedrock"
CLAUDE, NOVA, LLAMA = "us.anthropic.claude-sonnet-4-6-v1:0", "us.amazon.nova-pro-v1:0", "us.meta.llama3-3-70b-instruct-v1:0"
PDF: dict[str, Any] = {"format": "pdf", "name": "a", "source": {"bytes": "AAAA"}}
HELLO: list[Any] = [{"role": "user", "content": [{"text": "Oi, tudo bem? ✓"}]}]
TOOL: dict[str, Any] = {
    "toolSpec": {"name": "clima", "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}}}
}
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}


def connect(
    sandbox: Sandbox, *, secret: str = SECRET, key_id: str = KEY_ID, token: str | None = None, region: str = "sa-east-1"
) -> Any:
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    return botocore.session.get_session().create_client(
        "bedrock-runtime", region_name=region, endpoint_url=f"{sandbox.url}/llm/bedrock", aws_access_key_id=key_id,
        aws_secret_access_key=secret, aws_session_token=token, config=config,
    )  # fmt: skip


def read(answer: dict[str, Any]) -> list[Any]:
    """Every event of a stream; its connection is closed, however it ends."""
    try:
        return list(answer["stream"])
    finally:
        answer["stream"].close()


@pytest.fixture
def aws(fresh: Sandbox) -> Iterator[Any]:
    client = connect(fresh)
    yield client
    client.close()


def test_awss_client_is_answered_whole_and_streamed(fresh: Sandbox, aws: Any) -> None:
    whole = aws.converse(modelId=CLAUDE, messages=HELLO, inferenceConfig={"maxTokens": 60})
    assert "Você disse" in whole["output"]["message"]["content"][0]["text"]
    assert whole["stopReason"] == "end_turn"
    usage = fresh.last_call()["usage"]
    assert whole["usage"] == {
        "inputTokens": usage["prompt_tokens"], "outputTokens": usage["completion_tokens"],
        "totalTokens": usage["prompt_tokens"] + usage["completion_tokens"],
    }  # fmt: skip
    events = read(aws.converse_stream(modelId=CLAUDE, messages=HELLO, inferenceConfig={"maxTokens": 60}))
    names = [next(iter(event)) for event in events]
    assert (names[0], names[-3], names[-2:]) == ("messageStart", "contentBlockStop", ["messageStop", "metadata"])
    text = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)
    assert text == whole["output"]["message"]["content"][0]["text"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]


@pytest.mark.parametrize(
    "how",
    [{"secret": "wrong"}, {"key_id": "AKIANOBODY"}, {"token": "wrong"}, {"token": "sandbox-session"}, {"region": "us-west-2"}],
)
def test_signatures_are_verified(fresh: Sandbox, how: dict[str, str]) -> None:
    client = connect(fresh, **how)
    if how.get("token") == "sandbox-session" or "region" in how:
        assert client.converse(modelId=CLAUDE, messages=HELLO)["stopReason"] == "end_turn"
    else:
        with pytest.raises(ClientError) as refused:
            client.converse(modelId=CLAUDE, messages=HELLO)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    client.close()


def test_a_changed_body_or_an_old_date_is_no_longer_signed(fresh: Sandbox) -> None:
    url = f"{fresh.url}/llm/bedrock/model/{LLAMA.replace(':', '%3A')}/converse"
    body = b'{"messages":[{"role":"user","content":[{"text":"oi"}]}]}'
    now = dt.datetime.now(dt.UTC)
    for at, sent, path, status in (
        (now, body, url, 200), (now, body.replace(b"oi", b"ai"), url, 403), (now - dt.timedelta(minutes=6), body, url, 403),
        (now + dt.timedelta(minutes=6), body, url, 403), (now, body, url.replace("converse", "converse-stream"), 403),
    ):  # fmt: skip
        headers = sign_post(
            url=url, headers=[("content-type", "application/json")], body=body, key=AccessKey(KEY_ID, SECRET), region="us-east-1",
            service="bedrock", at=at,
        )  # fmt: skip
        assert httpx.post(path, content=sent, headers=headers).status_code == status
    plain = {"content-type": "application/json"}
    assert httpx.post(url, content=body, headers=plain).status_code == 403
    assert httpx.post(url, content=body, headers={**plain, "authorization": "Bearer sandbox-bedrock"}).status_code == 200
    assert httpx.post(url, content=body, headers={**plain, "authorization": "Bearer nope"}).status_code == 403


def turn(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


USE, RESULT = (
    {"toolUse": {"toolUseId": "a", "name": "clima", "input": {}}},
    {"toolResult": {"toolUseId": "a", "content": [{"text": "25"}]}},
)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (CLAUDE, {"messages": []}),
        (CLAUDE, {"messages": [turn("assistant", {"text": "oi"})]}),
        (CLAUDE, {"messages": [*HELLO, *HELLO]}),
        (CLAUDE, {"messages": [turn("user", {"text": " "})]}),
        (CLAUDE, {"messages": [turn("user")]}),
        (CLAUDE, {"messages": [*HELLO, turn("assistant", {"text": "Era "})]}),
        (CLAUDE, {"messages": HELLO, "top_k": 5}),
        (CLAUDE, {"messages": HELLO, "modelId": CLAUDE}),
        (CLAUDE, {"messages": HELLO, "inferenceConfig": {"temperature": 1.5}}),
        (CLAUDE, {"messages": HELLO, "inferenceConfig": {"temperature": 0.5, "topP": 0.5}}),
        (CLAUDE, {"messages": HELLO, "inferenceConfig": {"stopSequences": [" "]}}),
        ("us.anthropic.claude-opus-4-8-v1:0", {"messages": HELLO, "inferenceConfig": {"temperature": 0.5}}),
        (CLAUDE, {"messages": HELLO, "additionalModelRequestFields": {"min_p": 1}}),
        (LLAMA, {"messages": HELLO, "additionalModelRequestFields": {"top_k": 1}}),
        (LLAMA, {"messages": HELLO, "system": [{"text": "s"}, POINT]}),
        (NOVA, {"messages": HELLO, "toolConfig": {"tools": [TOOL, POINT]}}),
        (CLAUDE, {"messages": HELLO, "system": [{"text": "s"}, POINT] * 5}),
        (CLAUDE, {"messages": [turn("user", POINT, {"text": "oi"})]}),
        (CLAUDE, {"messages": [*HELLO, turn("assistant", USE), turn("user", RESULT)]}),
        (CLAUDE, {"messages": [*HELLO, turn("assistant", USE), turn("user", {"text": "x"})], "toolConfig": {"tools": [TOOL]}}),
        (CLAUDE, {"messages": [turn("user", RESULT)], "toolConfig": {"tools": [TOOL]}}),
        (CLAUDE, {"messages": [*HELLO, turn("assistant", USE)], "toolConfig": {"tools": [TOOL]}}),
        (CLAUDE, {"messages": HELLO, "toolConfig": {"tools": [TOOL, TOOL]}}),
        (CLAUDE, {"messages": HELLO, "toolConfig": {"tools": [TOOL], "toolChoice": {"none": {}}}}),
        (CLAUDE, {"messages": HELLO, "toolConfig": {"tools": [TOOL], "toolChoice": {"tool": {"name": "outra"}}}}),
        (CLAUDE, {"messages": HELLO, "toolConfig": {"tools": [{**TOOL, **POINT}]}}),
        (CLAUDE, {"messages": [turn("user", {"image": {"format": "bmp", "source": {"bytes": "AAAA"}}})]}),
        (CLAUDE, {"messages": [turn("user", {"image": {"format": "png", "source": {"bytes": "not base64!"}}})]}),
        (CLAUDE, {"messages": [turn("user", {"document": {"format": "pdf", "name": "a", "source": {"bytes": "AAAA"}}})]}),
        (CLAUDE, {"messages": [turn("user", {"text": "x"}, {"document": PDF | {"name": "a_b"}})]}),
        (CLAUDE, {"messages": HELLO, "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 10}}}),
        (CLAUDE, {"messages": HELLO, "outputConfig": {"effort": "high"}}),
        (NOVA, {"messages": HELLO, "additionalModelRequestFields": {"reasoningConfig": {}}}),
        ("us.amazon.nova-2-lite-v1:0", {"messages": HELLO, "inferenceConfig": {"maxTokens": 5},
                                        "additionalModelRequestFields": {"reasoningConfig": {"maxReasoningEffort": "high"}}}),
        ("nobody", {"messages": HELLO}),
    ],
)  # fmt: skip
def test_what_aws_would_refuse_is_refused(fresh: Sandbox, model: str, body: dict[str, Any]) -> None:
    headers = {"authorization": "Bearer sandbox-bedrock"}
    answer = httpx.post(f"{fresh.url}/llm/bedrock/model/{model.replace(':', '%3A')}/converse", json=body, headers=headers)
    assert answer.status_code in (400, 403), answer.text
    assert answer.headers["x-amzn-errortype"] in ("ValidationException", "AccessDeniedException")
    assert answer.json()["message"]


@pytest.mark.parametrize("status", [400, 402, 403, 404, 408, 424, 429, 500, 503])
def test_awss_client_knows_every_refusal(fresh: Sandbox, aws: Any, status: int) -> None:
    fresh.script("bedrock", str(status))
    with pytest.raises(ClientError) as refused:
        aws.converse(modelId=LLAMA, messages=HELLO)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert refused.value.response["Error"]["Code"].endswith("Exception")


@pytest.mark.parametrize(
    ("status", "name"), [(400, "validation"), (424, "modelStreamError"), (429, "throttling"), (500, "internalServer")]
)
def test_awss_client_knows_every_exception_within_a_stream(fresh: Sandbox, aws: Any, status: int, name: str) -> None:
    fresh.script("bedrock", f"exception:{status}")
    with pytest.raises(EventStreamError) as broken:
        read(aws.converse_stream(modelId=LLAMA, messages=HELLO))
    assert broken.value.response["Error"]["Code"] == f"{name}Exception"
    assert fresh.last_call()["status"] == "broken"


def test_a_wrong_checksum_is_seen_by_awss_client(fresh: Sandbox, aws: Any) -> None:
    fresh.script("bedrock", "badcrc")
    with pytest.raises(Exception, match="Checksum mismatch"):
        read(aws.converse_stream(modelId=LLAMA, messages=HELLO))


def test_caches_are_written_then_read(aws: Any) -> None:
    system = [{"text": "Prefixo. " * 900 + hashlib.sha256(b"x").hexdigest()}, POINT]
    usages = [aws.converse(modelId=NOVA, messages=HELLO, system=system)["usage"] for _ in range(2)]
    assert usages[0]["cacheWriteInputTokens"] == usages[1]["cacheReadInputTokens"] > 1_024
    assert usages[0]["cacheReadInputTokens"] == usages[1]["cacheWriteInputTokens"] == 0
    assert usages[0]["totalTokens"] == sum(usages[0][name] for name in ("inputTokens", "outputTokens", "cacheWriteInputTokens"))
