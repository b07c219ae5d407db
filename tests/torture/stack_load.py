"""Callers of a stack under torture: many connections, every kind of call, and what each caller saw of its own.

Nothing is retried: a call that broke is a call that broke, and the next one is another.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.torture.stack_setup import Tenant

CALL_SECONDS = 45.0  # longer than anything may take: a call without an end is a bug
PAUSES = {402: 0.1, 429: 0.3, 503: 0.1}  # after such an answer a caller waits a little
WORDS = (
    "Conte",
    "uma",
    "história",
    "curta",
    "de",
    "um",
    "rio",
    "que",
    "corre",
    "para",
    "o",
    "mar",
    "sem",
    "pressa,",
    "outra",
    "vez.",
)


@dataclass
class Seen:
    """One call as its caller saw it."""

    tenant: str
    kind: str
    is_stream: bool
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    is_sent: bool = False  # the gateway took the connection
    status: int = 0  # 0: the connection broke before an answer
    request_id: str = ""
    error_code: str = ""
    is_whole: bool = False  # the JSON to its last byte, or [DONE]
    is_cut: bool = False  # an error event in a stream
    has_left: bool = False  # the caller itself hung up
    contents: int = 0  # chunks of a stream that said something
    is_hung: bool = False
    cost_nanos: int | None = None

    @property
    def is_broken(self) -> bool:
        """The caller does not know how it ended."""
        return self.is_sent and self.status in (0, 200) and not self.is_whole and not self.is_cut


@dataclass
class Kind:
    """A kind of call: what is asked, and how often (`weight`)."""

    name: str
    route: str
    is_stream: bool
    weight: int
    leaves_after: int = 0  # hangs up after so many frames


def usual_kinds(routes: dict[str, str]) -> list[Kind]:
    return [
        Kind("openai", routes["openai"], False, 34),
        Kind("openai", routes["openai"], True, 28),
        Kind("anthropic", routes["anthropic"], False, 12),
        Kind("anthropic", routes["anthropic"], True, 14),
        Kind("fails", routes["fails"], False, 4),
        Kind("fails", routes["fails"], True, 2),
        Kind("cuts", routes["cuts"], True, 3),
        Kind("leaves", routes["openai"], True, 3, leaves_after=4),
    ]


def chat_body(kind: Kind, rng: random.Random) -> bytes:
    text = " ".join(rng.choices(WORDS, k=rng.randint(3, 40))) + f" [tokens={rng.randint(3, 40)}]"
    body: dict[str, Any] = {"model": kind.route, "messages": [{"role": "user", "content": text}], "stream": kind.is_stream}
    if rng.random() < 0.8:
        body["max_tokens"] = rng.randint(20, 60)
    if kind.is_stream and rng.random() < 0.5:
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body).encode()


class Line:
    """One keep-alive connection to the gateway, opened anew where it broke."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(self, seen: Seen, key: str, body: bytes, *, leaves_after: int = 0) -> Seen:
        """What came is in `seen`, whatever happens."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._call(seen, key, body, leaves_after)
        except TimeoutError:
            seen.is_hung = True
            await self.close()
        except (OSError, EOFError):
            await self.close()
        seen.seconds = time.monotonic() - seen.began
        return seen

    async def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                return

    async def _call(self, seen: Seen, key: str, body: bytes, leaves_after: int) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self._reader is not None
        seen.is_sent = True
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        status, headers = await self._read_head()
        seen.status, seen.request_id = status, headers.get("x-request-id", "")
        if "content-length" in headers:
            self._read_json(seen, await self._reader.readexactly(int(headers["content-length"])))
        else:
            await self._read_frames(seen, leaves_after)
        if headers.get("connection") == "close":
            await self.close()

    async def _read_head(self) -> tuple[int, dict[str, str]]:
        assert self._reader is not None
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value for name, value in headers.items()}

    def _read_json(self, seen: Seen, body: bytes) -> None:
        told = json.loads(body, parse_float=Decimal)
        if seen.status == 200:
            seen.cost_nanos = nanos_of(told["usage"]["cost"])
            seen.is_whole = True
        else:
            seen.error_code = told["error"]["code"]

    async def _read_frames(self, seen: Seen, leaves_after: int) -> None:
        assert self._reader is not None
        text, frames = b"", 0
        while size := int((await self._reader.readuntil(b"\r\n")).strip(), 16):
            text += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
            *events, text = text.split(b"\n\n")
            for event in events:
                frames += 1
                self._read_event(seen, event)
            if leaves_after and frames >= leaves_after and not seen.is_whole:
                seen.has_left = True
                await self.close()
                return
        await self._reader.readexactly(2)

    def _read_event(self, seen: Seen, event: bytes) -> None:
        data = event.removeprefix(b"data: ")
        if data == b"[DONE]":
            seen.is_whole = True
        elif data.startswith(b"{"):
            told = json.loads(data, parse_float=Decimal)
            seen.contents += any(choice["delta"].get("content") for choice in told.get("choices", ()))
            if "error" in told:
                seen.is_cut, seen.error_code = True, told["error"]["code"]
            elif told.get("usage"):
                seen.cost_nanos = nanos_of(told["usage"]["cost"])


def nanos_of(cost: Decimal | int) -> int:
    nanos = Decimal(cost) * 10**9
    assert nanos == int(nanos), f"{cost} is no whole number of nanos"
    return int(nanos)


class Load:
    """So many callers at once until it is told to stop; then each finishes the call that it has begun."""

    def __init__(self, port: int, tenants: list[Tenant], kinds: list[Kind], *, seed: int, callers: int = 24) -> None:
        self.port, self.tenants, self.kinds, self.callers = port, tenants, kinds, callers
        self.calls: list[Seen] = []
        self._rng = random.Random(seed)
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(random.Random(self._rng.random()))) for _ in range(self.callers)]

    async def stop(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _run(self, rng: random.Random) -> None:
        line = Line(self.port)
        while not self._is_over:
            tenant = rng.choice(self.tenants)
            [kind] = rng.choices(self.kinds, [kind.weight for kind in self.kinds])
            seen = Seen(tenant.name, kind.name, kind.is_stream)
            await line.call(seen, rng.choice(tenant.keys), chat_body(kind, rng), leaves_after=kind.leaves_after)
            self.calls.append(seen)
            await asyncio.sleep(0.15 if seen.status == 0 else PAUSES.get(seen.status, 0))
        await line.close()

    def count(self, which: Callable[[Seen], bool]) -> int:
        return sum(which(seen) for seen in self.calls)

    def refusals(self) -> Counter[tuple[int, str]]:
        return Counter((seen.status, seen.error_code) for seen in self.calls if seen.error_code)

    async def await_whole(self, number: int, *, seconds: float = 30) -> float:
        """Until so many more calls that begin from now on came back whole; gives the seconds that took."""
        began = time.monotonic()
        while self.count(lambda seen: seen.is_whole and seen.began > began) < number:
            assert time.monotonic() - began < seconds, f"no {number} whole answers in {seconds} s: {self.refusals()}"
            await asyncio.sleep(0.05)
        return time.monotonic() - began
