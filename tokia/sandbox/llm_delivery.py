"""How a simulated answer leaves: whole or frame by frame, with the faults that break it on the way.

The ledger is told what left: on a stream, the tokens of the frames that were sent before the client hung up.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tokia.sandbox.asgi import Request, Response, dump
from tokia.sandbox.faults import FaultSet
from tokia.sandbox.llm_ledger import BROKEN, CUT, FINISHED, Call, Ledger
from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_refusals import error_event, scripted_error
from tokia.sandbox.llm_tokens import Usage

CHUNKS_DEFAULT = 2
SLOW_FIRST_MS = 2_000
HUGE_LINE_BYTES = 2 * 1_048_576
ENDLESS_BLOCK = b" " * 65_536
BOMB_BYTES = 256 * 1_048_576
# Until whoever reads has read what was sent, on a busy machine: a reset throws the rest away, and who finds the beginning and the
# end of a stream together may still ask somebody else.
DELIVERY_SECONDS = 0.3
JSON_STEPS_MAX = 20  # a whole answer takes as long as this many chunks at most
HTML = b"<!doctype html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass
class Frame:
    """One event of a stream. `tokens`: completion tokens that have left once it is sent."""

    data: bytes
    tokens: int
    event: str | None = None
    is_content: bool = False


@dataclass
class Reply:
    """An answer ready to leave: `body` when it is whole, `frames` when it streams."""

    usage: Usage
    body: dict[str, Any] | None = None
    frames: list[Frame] = field(default_factory=list)


class ClientGone(Exception):
    """The client hung up."""


class Broken(Exception):
    """A fault ended the answer."""


@dataclass
class Gate:
    """Where stalled calls wait."""

    stalled: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> int:
        released = self.stalled
        self._open.set()
        self._open = asyncio.Event()
        return released

    async def wait(self, request: Request, *, ms: int | None) -> None:
        """Until released, or for `ms`. Raises ClientGone."""
        if ms is not None:
            await pause(request, ms / 1000)
            return
        self.stalled += 1
        opened = asyncio.create_task(self._open.wait())
        try:
            await asyncio.wait({opened, request.watch_client()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
            self.stalled -= 1
        refuse_gone(request)


@dataclass
class Delivery:
    """One answer on its way out."""

    request: Request
    provider: Provider
    call: Call
    faults: FaultSet
    headers: dict[str, str]
    gate: Gate
    chunk_seconds: float
    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    bills_on: ClassVar[bool] = False  # the provider generates, and bills, to the end although the client hung up

    async def send(self, reply: Reply, *, ledger: Ledger) -> None:
        """Send the reply and close the call in the ledger, whatever happens on the way."""
        usage, self.call.usage = reply.usage, Usage(**{**vars(reply.usage), "completion_tokens": 0, "reasoning_tokens": 0})
        try:
            await self._hold_back()
            if reply.body is not None:
                await self._send_whole(dump(reply.body))
            else:
                await self._send_frames(reply.frames)
            self.call.usage = usage
            ledger.close(self.call, FINISHED)
        except ClientGone:
            self.call.client_disconnected = True
            if self.bills_on:
                self.call.usage = usage
            self._bill_partly(usage)
            ledger.close(self.call, CUT)
        except Broken:
            self._bill_partly(usage)
            ledger.close(self.call, BROKEN)
            await asyncio.wait({self.request.watch_client()})  # let the connection die before uvicorn looks at it
        finally:
            self.request.stop_watching()
            self._bill_partly(usage)
            ledger.close(self.call, CUT)  # a cancelled task: we are being stopped

    def _bill_partly(self, usage: Usage) -> None:
        self.call.usage.reasoning_tokens = min(usage.reasoning_tokens, self.call.usage.completion_tokens)

    async def _hold_back(self) -> None:
        self.request.watch_client()
        if self.faults.has("drop"):
            reset_connection(self.request.transport)
            raise Broken
        if self.faults.has("stall"):
            number = self.faults.number("stall", -1)
            await self.gate.wait(self.request, ms=None if number < 0 else number)
        if self.faults.has("html"):
            await self._answer_instead(Response(body=HTML, content_type="text/html; charset=utf-8"))
        if self.faults.has("redirect"):
            await self._answer_instead(Response(status=302, headers={"location": "http://127.0.0.2:9/elsewhere"}))
        if self.faults.has("gzipbomb"):
            headers = {"content-encoding": "gzip"}
            await self._answer_instead(Response(body=_bomb(), headers=headers))

    async def _answer_instead(self, response: Response) -> None:
        await self.request.answer(response)
        raise Broken

    # ── Whole answers ────────────────────────────────────────────────────────────────────────────────────────────
    async def _send_whole(self, body: bytes) -> None:
        default_ms = int(self.chunk_seconds * 1000) * JSON_STEPS_MAX
        if self.faults.has("slowfirst"):
            default_ms = self.faults.number("slowfirst", SLOW_FIRST_MS)
        await pause(self.request, default_ms / 1000)
        if self.faults.has("bom"):
            body = b"\xef\xbb\xbf" + body
        if self.faults.has("truncated"):
            body = body[: len(body) // 2]
        headers = {**self.headers, "content-length": str(len(body))}
        if self.faults.has("shortlength"):
            await self._send_raw(body, length=max(1, len(body) - 20))
        if self.faults.has("longlength"):
            await self._send_raw(body, length=len(body) + 20)
        if self.faults.has("endless"):
            await self.request.start(status=200, content_type="application/json", headers=self.headers)
            while True:
                await self._write(ENDLESS_BLOCK)
        if self.faults.has("reset"):
            await self.request.start(status=200, content_type="application/json", headers=headers)
            await self._write(body[: len(body) // 2])
            await self._reset()
        if self.faults.has("onebyte"):
            await self.request.start(status=200, content_type="application/json", headers=headers)
            for index in range(len(body)):
                await self._write(body[index : index + 1])
            await self.request.write(b"", more=False)
        else:
            response = Response(body=body, headers=self.headers)
            self.request.stop_watching()
            await self.request.answer(response)
        if self.faults.has("truncated"):
            raise Broken

    async def _send_raw(self, body: bytes, *, length: int) -> None:
        """An answer whose Content-Length lies, past uvicorn's own checks."""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        transport = self.request.transport
        transport.write(head.encode() + body)
        await asyncio.sleep(DELIVERY_SECONDS)
        transport.close()
        raise Broken

    # ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────
    async def _send_frames(self, frames: list[Frame]) -> None:
        headers = {**self.headers, "cache-control": "no-cache"}
        await self.request.start(status=200, content_type=self.stream_type, headers=headers)
        if self.faults.has("bom"):
            await self._write(b"\xef\xbb\xbf")
        if self.faults.has("slowfirst"):
            await pause(self.request, self.faults.number("slowfirst", SLOW_FIRST_MS) / 1000)
        if self.faults.has("errorfirst"):
            await self._send_error_event()
        contents = 0
        for number, frame in enumerate(frames):
            if frame.is_content:
                await self._misbehave(contents, frame)
                contents += 1
                await pause(self.request, self.chunk_seconds)
            await self._write(b"".join(self._encode(frame, number, contents)))
            self.call.usage.completion_tokens = frame.tokens
        await self.request.write(b"", more=False)

    async def _misbehave(self, contents: int, frame: Frame) -> None:
        """What must happen after `contents` content chunks, before the next one."""
        if not self.faults.faults:
            return
        if self.faults.has("stallmid") and contents == self.faults.number("stallmid", CHUNKS_DEFAULT):
            await self.gate.wait(self.request, ms=None)
        if self.faults.has("reset") and contents == self.faults.number("reset", CHUNKS_DEFAULT):
            await self._reset()
        if self.faults.has("errormid") and contents == self.faults.number("errormid", CHUNKS_DEFAULT):
            await self._let_leave(contents)
            await self._send_error_event()
        if self.faults.has("cleaneof") and contents == self.faults.number("cleaneof", CHUNKS_DEFAULT):
            await self._let_leave(contents)
            await self.request.write(b"", more=False)
            raise Broken
        if self.faults.has("truncated") and contents == CHUNKS_DEFAULT:
            await self._let_leave(contents)
            await self._write(b"data: " + frame.data[: len(frame.data) // 2])
            await self.request.write(b"", more=False)
            raise Broken
        if self.faults.has("malformed") and contents == 1:
            await self._let_leave(contents)
            await self._write(b'data: {"choices":[{"index":0,"delta":{"content":"x"\n\n')
        while self.faults.has("endless") and contents == 1:
            await self._write(ENDLESS_BLOCK)

    async def _let_leave(self, contents: int) -> None:
        if contents:
            await asyncio.sleep(DELIVERY_SECONDS)

    def _encode(self, frame: Frame, number: int, contents: int) -> Iterator[bytes]:
        """A frame's bytes, dressed as its faults ask."""
        end = b"\r\n" if self.provider.dialect == "gemini" else b"\n"
        if not self.faults.faults:
            yield (b"" if frame.event is None else b"event: " + frame.event.encode() + end) + b"data: " + frame.data + end + end
            return
        if self.faults.has("crlf"):
            end = (b"\r\n", b"\n", b"\r")[number % 3]
        if self.faults.has("comments"):
            yield b": keep-alive" + end + b"id: " + str(number).encode() + end + b"retry: 1000" + end
        if frame.event is not None:
            yield b"event: " + frame.event.encode() + end
        data = frame.data
        if self.faults.has("hugeline") and frame.is_content and contents == 1:
            # White space after the JSON is legal: the line is huge, its meaning is not.
            data += b" " * self.faults.number("hugeline", HUGE_LINE_BYTES)
        lines = [data]
        if self.faults.has("multiline") and data.startswith(b"{"):
            lines = [b"{", data[1:]]
        label = b"data:" if self.faults.has("nospace") else b"data: "
        for line in lines:
            yield label + line + end
        yield end

    async def _send_error_event(self) -> None:
        error = error_event(self.provider, scripted_error(self.provider, 529, retry_after=None))
        await self._write(b"".join(self._encode(Frame(data=dump(error), tokens=0, event=error.get("type")), 0, 0)))
        await self.request.write(b"", more=False)
        raise Broken

    async def _write(self, data: bytes) -> None:
        """Send bytes. Raises ClientGone: uvicorn itself drops writes to a closed connection in silence."""
        refuse_gone(self.request)
        if self.faults.has("onebyte"):
            for index in range(len(data)):
                await self.request.write(data[index : index + 1])
                await asyncio.sleep(0)
        else:
            await self.request.write(data)
        await asyncio.sleep(0)
        refuse_gone(self.request)

    async def _reset(self) -> None:
        await asyncio.sleep(DELIVERY_SECONDS)
        reset_connection(self.request.transport)
        raise Broken


def reset_connection(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN."""
    peer: socket.socket = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def refuse_gone(request: Request) -> None:
    if request.watch_client().done():
        raise ClientGone


async def pause(request: Request, seconds: float) -> None:
    """Sleep, but wake when the client hangs up. Raises ClientGone."""
    if seconds > 0:
        await asyncio.wait({request.watch_client()}, timeout=seconds)
    refuse_gone(request)


def _bomb() -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b" " * 1_048_576
    return b"".join(compressor.compress(block) for _ in range(BOMB_BYTES // len(block))) + compressor.flush()
