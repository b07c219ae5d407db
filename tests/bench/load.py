"""A load generator on raw sockets: closed loop (`--connections`) or open loop (`--rate`), one JSON object as its result.

In the open loop latency counts from the scheduled instant, so that a stalled server can't hide.
`--last` is what the end of a whole stream says. A stream's first byte is that of its first word: an opening (a role, an id) says
nothing, and a gateway that may still ask another provider holds it back.
`python -m tests.bench.load --url … --key … --body FILE [--last TEXT] [--rate N] [--seconds S]`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

clock = time.perf_counter
WORD = re.compile(rb'"(?:content|text)":"[^"]')


class Client(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def send(self, due: float) -> None:
        self.is_busy, self.due, self.first = True, due, 0.0
        self.head, self.tail, self.left, self.is_chunked = b"", b"", -1, False
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        if self.left < 0 and not self.is_chunked:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self.head[:end].lower(), self.head[end + 4 :]
            self.status = int(head[9:12])
            at = head.find(b"\r\ncontent-length:")
            self.is_chunked = at < 0
            self.left = -1 if at < 0 else int(head[at + 17 :].split(b"\r\n", 1)[0])
        if data and not self.first and (not self.is_chunked or WORD.search(data)):
            self.first = clock()
        self.tail = (self.tail + data)[-64:]
        self.left -= 0 if self.is_chunked else len(data)
        if (self.is_chunked and self.tail.endswith(b"0\r\n\r\n")) or (not self.is_chunked and self.left <= 0):
            self.finish(self.status == 200 and self.load.last in self.tail)

    def finish(self, is_good: bool) -> None:
        self.is_busy = False
        self.load.done(self, is_good, self.first - self.due, clock() - self.due)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_busy:
            self.finish(False)


class Load:
    def __init__(self, *, url: str, key: str, body: bytes, last: bytes) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Authorization: Bearer {key}"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
        self.request = "\r\n".join(lines).encode() + body
        self.last = last
        self.ok = self.bad = self.pending = 0
        self.first_ms: list[float] = []
        self.total_ms: list[float] = []
        self.idle: list[Client] = []
        self.until = 0.0

    async def connect(self) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(lambda: Client(self), self.host, self.port)
        return client

    def rested(self) -> Client | None:
        """An idle connection that the server has not closed meanwhile."""
        while self.idle:
            if not (client := self.idle.pop()).transport.is_closing():
                return client
        return None

    def start(self, client: Client, due: float) -> None:
        self.pending += 1
        client.send(due)

    def done(self, client: Client, is_good: bool, first: float, total: float) -> None:
        self.pending -= 1
        if is_good:
            self.ok += 1
            self.first_ms.append(first * 1000)
            self.total_ms.append(total * 1000)
        else:
            self.bad += 1
        if client.transport.is_closing():
            return
        if clock() < self.until:
            self.start(client, clock())
        else:
            self.idle.append(client)

    async def run(self, *, connections: int, rate: float, seconds: float) -> float:
        clients = [await self.connect() for _ in range(connections)]
        began = clock()
        if rate:
            self.idle = clients
            for i in range(int(rate * seconds)):
                due = began + i / rate
                if (wait := due - clock()) > 0:
                    await asyncio.sleep(wait)
                self.start(self.rested() or await self.connect(), due)
        else:
            self.until = began + seconds
            for client in clients:
                self.start(client, clock())
            await asyncio.sleep(seconds)
        limit = clock() + 30
        while self.pending and clock() < limit:
            await asyncio.sleep(0.01)
        self.bad += self.pending
        return clock() - began


def _quantile(values: list[float], q: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(q * len(values)))], 3) if values else 0.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--body", required=True, type=Path)
    parser.add_argument("--last", default="")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    load = Load(url=args.url, key=args.key, body=args.body.read_bytes(), last=args.last.encode())
    took = uvloop.run(load.run(connections=args.connections, rate=args.rate, seconds=args.seconds))
    figures = {"ok": load.ok, "bad": load.bad, "seconds": round(took, 3), "per_second": round(load.ok / took, 1)}
    for name, values in (("first_ms", load.first_ms), ("total_ms", load.total_ms)):
        figures[name] = {"p50": _quantile(values, 0.5), "p99": _quantile(values, 0.99)}  # type: ignore[assignment]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
