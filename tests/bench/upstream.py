"""A provider whose answers are built once: serving one is a few byte searches and a write.

`python -m tests.bench.upstream --port N` speaks OpenAI's chat completions (JSON and SSE) and Anthropic's Messages (SSE).
Its ledgers, one per dialect: /__stats for what was sold, /__direct for what the bench asked directly (`Bearer bench`).
Completion counts cycle through 16 values, so a constant, a lost or a doubled debit can't reconcile by luck.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import uvloop

from tests.bench import ROUTES

POOL = 16
PROMPT_TOKENS = 170
CHUNKS = 32
CHUNK_SECONDS = 0.005
NOT_SERVED = b"HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
WORDS = ["o", "saldo", "cai", "na", "hora", "e", "a", "nota", "fiscal", "chega", "por", "e-mail", "sem", "ninguém", "pedir"]


def _usage(index: int) -> dict[str, Any]:
    completion = 120 + index
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": completion,
        "total_tokens": PROMPT_TOKENS + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _json_answer(index: int) -> bytes:
    text = " ".join(WORDS[i % len(WORDS)] for i in range(120))
    message = {"role": "assistant", "content": text, "refusal": None}
    body = json.dumps(
        {
            "id": f"chatcmpl-bench{index:04d}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "bench-model",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _usage(index),
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        },
        separators=(",", ":"),
    ).encode()
    return HEAD % len(body) + body


def _event(index: int, choices: list[Any], usage: Any = None) -> bytes:
    data = json.dumps(
        {
            "id": f"chatcmpl-bench{index:04d}",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "bench-model",
            "system_fingerprint": "fp_bench",
            "choices": choices,
            "usage": usage,
        },
        separators=(",", ":"),
    ).encode()
    return _framed(b"data: " + data + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _stream_answer(index: int) -> list[bytes]:
    def choice(delta: dict[str, Any], finish: str | None = None) -> list[Any]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    parts = [STREAM_HEAD + _event(index, choice({"role": "assistant", "content": ""}))]
    parts += [_event(index, choice({"content": WORDS[k % len(WORDS)] + " "})) for k in range(CHUNKS - 2)]
    parts.append(_event(index, choice({}, "stop")))
    parts.append(_event(index, [], _usage(index)) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    return parts


def _messages_event(name: str, **said: Any) -> bytes:
    data = json.dumps({"type": name, **said}, separators=(",", ":")).encode()
    return _framed(b"event: %s\ndata: %s\n\n" % (name.encode(), data))


def _messages_answer(index: int) -> list[bytes]:
    """As many text deltas, writes and tokens as OpenAI's stream has."""
    usage = {"input_tokens": PROMPT_TOKENS, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1}
    message = {"id": f"msg_bench{index:04d}", "type": "message", "role": "assistant", "model": "bench-model", "content": []}
    started = _messages_event("message_start", message={**message, "stop_reason": None, "stop_sequence": None, "usage": usage})
    parts = [STREAM_HEAD + started + _messages_event("content_block_start", index=0, content_block={"type": "text", "text": ""})]
    for k in range(CHUNKS - 2):
        delta = {"type": "text_delta", "text": WORDS[k % len(WORDS)] + " "}
        parts.append(_messages_event("content_block_delta", index=0, delta=delta))
    parts.append(_messages_event("content_block_stop", index=0))
    stopped = {"stop_reason": "end_turn", "stop_sequence": None}
    billed = {**usage, "output_tokens": 120 + index}  # cumulative
    end = _messages_event("message_delta", delta=stopped, usage=billed) + _messages_event("message_stop")
    parts.append(end + b"0\r\n\r\n")
    return parts


ANSWERS = [_json_answer(i) for i in range(POOL)]
STREAMS = {"openai": [_stream_answer(i) for i in range(POOL)], "anthropic": [_messages_answer(i) for i in range(POOL)]}


class Ledger:
    def __init__(self) -> None:
        self.requests = self.prompt_tokens = self.completion_tokens = 0

    def bill(self) -> int:
        index = self.requests % POOL
        self.requests += 1
        self.prompt_tokens += PROMPT_TOKENS
        self.completion_tokens += 120 + index
        return index


Ledgers = dict[str, Ledger]


class Connection(asyncio.Protocol):
    def __init__(self, sold: Ledgers, direct: Ledgers) -> None:
        self.sold, self.direct = sold, direct
        self.buffer = b""
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        dialect = "anthropic" if head.startswith(b"post /v1/messages ") else "openai"
        ledger = (self.direct if b"bearer bench\r" in head + b"\r" else self.sold)[dialect]
        if head.startswith(b"get /__"):
            ledgers = self.direct if b"/__direct" in head else self.sold
            stats = json.dumps({name: vars(each) for name, each in ledgers.items()}).encode()
            self.transport.write(HEAD % len(stats) + stats)
        elif b'"stream":true' in body or b'"stream": true' in body:
            task = asyncio.ensure_future(self.stream(STREAMS[dialect][ledger.bill()]))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif dialect == "anthropic":
            self.transport.write(NOT_SERVED)
        else:
            self.transport.write(ANSWERS[ledger.bill()])

    async def stream(self, parts: list[bytes]) -> None:
        for part in parts:
            self.transport.write(part)
            await asyncio.sleep(CHUNK_SECONDS)


async def serve(port: int) -> None:
    sold, direct = {name: Ledger() for name in ROUTES}, {name: Ledger() for name in ROUTES}
    server = await asyncio.get_running_loop().create_server(lambda: Connection(sold, direct), "127.0.0.1", port)
    print(f"bench upstream on {port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
