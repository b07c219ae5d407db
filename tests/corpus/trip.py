"""One case there and back: put to the sandbox's provider, its answer read by our dialect, as a caller would get it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import msgspec
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway import sse
from gateway.calls import ChatCall
from gateway.dialects.base import Tally, UpstreamRequest
from gateway.dialects.registry import DIALECTS
from gateway.surfaces.chat import shape_answer
from tests.corpus.cases import Case
from tests.corpus.targets import Target

USAGE = b'{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}'
PIECE = 7  # bytes of a stream that are read at a time, to cut events and characters anywhere


class Refused(Exception):
    """By the provider."""


def ask(client: httpx.Client, target: Target, case: Case, request: UpstreamRequest) -> httpx.Response:
    """Raises Refused where a bad case is refused, as we should tell the caller then."""
    answer = client.post(request.url, headers=request.headers, content=request.body)
    if case.is_bad and answer.status_code != 200:
        error = DIALECTS[target.dialect].read_error(answer.status_code, None, answer.content, target.deployment(case, ""))
        assert (error.status, error.retryable, error.type) == (400, False, "invalid_request_error"), answer.text
        raise Refused
    assert answer.status_code == 200, f"{answer.status_code} {answer.text[:600]}\n{request.body[:3000].decode()}"
    return answer


def read_whole(client: httpx.Client, target: Target, case: Case, base: str) -> tuple[dict[str, Any], Tally]:
    """The completion's message with its finish reason, checked against OpenAI's published type."""
    call, request = target.request(case, case.body, base=base)
    answer = DIALECTS[target.dialect].read_chat(ask(client, target, case, request).content)
    if (name_model := getattr(answer, "name_model", None)) is not None:
        name_model(call.model)
    body = shape_answer(call, target.route(case), answer.with_usage(USAGE))
    completion = ChatCompletion.model_validate(json.loads(body), strict=True)
    assert completion.object == "chat.completion" and completion.id and completion.model and completion.created
    assert len(completion.choices) == call.choices
    choice = json.loads(body)["choices"][0]
    assert choice["finish_reason"] in ("stop", "length", "tool_calls", "content_filter")
    return {**_told(choice["message"]), "finish_reason": choice["finish_reason"]}, answer.tally


def read_stream(client: httpx.Client, target: Target, case: Case, base: str) -> tuple[dict[str, Any], Tally]:
    """The same of a stream, gathered as the SDK gathers it; every chunk checked against OpenAI's published type."""
    call, request = target.request(case, case.streamed, base=base)
    dialect = DIALECTS[target.dialect]
    content = ask(client, target, case, request).content
    parser = dialect.open_parser()
    reader, tally = dialect.open_stream(call)
    frames = bytearray()
    for place in range(0, len(content), PIECE):
        frames += reader.read(parser.feed(content[place : place + PIECE]))
    frames += reader.read(parser.close())
    assert tally.is_complete or (reader.may_end_by_eof and tally.finish_reason), "the stream has no end"
    frames += reader.usage_frame(USAGE)
    return _gather(call, bytes(frames)), tally


def _gather(call: ChatCall, frames: bytes) -> dict[str, Any]:
    message: dict[str, Any] = {}
    finish, ids, has_usage = None, set(), False
    for event in sse.SseParser().feed(frames):
        chunk = msgspec.json.decode(event[1])
        checked = ChatCompletionChunk.model_validate(chunk, strict=True)
        assert checked.object == "chat.completion.chunk"
        ids.add(checked.id)
        has_usage = has_usage or bool(chunk.get("usage"))
        assert chunk["choices"] or chunk.get("usage"), "a chunk without choices breaks clients"
        for choice in chunk["choices"]:
            if choice.get("index", 0) != 0:
                continue
            _add(message, choice["delta"])
            finish = choice.get("finish_reason") or finish
    assert len(ids) == 1 and has_usage, (ids, has_usage)
    return {**_told(message), "finish_reason": finish}


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("content", "reasoning_content", "refusal"):
        if delta.get(name):
            message[name] = (message.get(name) or "") + delta[name]
    for block in delta.get("thinking_blocks") or ():
        assert "index" in block, "the SDK gathers no list whose items have no index"
        message.setdefault("thinking_blocks", []).append({name: value for name, value in block.items() if name != "index"})
    for call in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", {})
        told = calls.setdefault(call["index"], {"id": "", "function": {"name": "", "arguments": ""}})
        told["id"] += call.get("id") or ""
        for name in ("name", "arguments"):
            told["function"][name] += (call.get("function") or {}).get(name) or ""


def _told(message: dict[str, Any]) -> dict[str, Any]:
    """What must be the same, whole or streamed. Ids are drawn anew for every answer."""
    calls = message.get("tool_calls") or []
    listed = [calls[index] for index in sorted(calls)] if isinstance(calls, dict) else calls
    for call in listed:
        assert call["id"], "a call without an id can't be answered"
    assert len({call["id"] for call in listed}) == len(listed)
    said = {name: message.get(name) or None for name in ("content", "reasoning_content", "refusal")}
    said["thinking"] = [
        (block.get("type"), block.get("thinking"), bool(block.get("signature"))) for block in message.get("thinking_blocks") or ()
    ]
    said["tool_calls"] = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in listed]
    return said
