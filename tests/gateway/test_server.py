"""The server below the edge, over real sockets: what it may not do to HTTP for the sake of speed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from gateway.server import HttpProtocol

Application = Callable[[Any, Any, Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Peer:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(5):
            return await self.reader.read()


def ask(path: str = "/", *lines: str, body: bytes = b"", method: str = "POST", version: str = "1.1") -> bytes:
    head = [f"{method} {path} HTTP/{version}", "Host: tokia", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def replying(body: bytes = b"ok", *headers: tuple[bytes, bytes], length: int | None = None) -> Application:
    """Reads the body, answers with it after its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        whole = body + message["body"]
        size = (b"content-length", b"%d" % (len(whole) if length is None else length))
        await send({"type": "http.response.start", "status": 200, "headers": [size, *headers]})
        await send({"type": "http.response.body", "body": whole, "more_body": False})

    return app


def serve(app: Application, scenario: Callable[[Peer], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        config = uvicorn.Config(app, port=0, http=HttpProtocol, lifespan="off", log_config=None, server_header=False, **options)
        config.date_header = False
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await scenario(Peer(reader, writer))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            server.should_exit = True
            await asyncio.wait_for(serving, 10)

    asyncio.run(run())


def test_it_serves_many_requests_on_one_connection() -> None:
    async def scenario(peer: Peer) -> None:
        for number in range(3):
            peer.send(ask(body=b"%d" % number))
            assert await peer.until(b"ok%d" % number) == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok%d" % number

    serve(replying(), scenario)


def test_it_answers_pipelined_requests_in_their_order() -> None:
    async def scenario(peer: Peer) -> None:
        peer.send(ask(body=b"1") + ask("/?x=1", body=b"2") + ask("/", "Connection: close", body=b"3"))
        answers = await peer.rest()
        assert [part[-3:] for part in answers.split(b"HTTP/1.1 200 OK")[1:]] == [b"ok1", b"ok2", b"ok3"]

    serve(replying(), scenario)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (ask("/", "Connection: close"), b"connection: close\r\n"),
        (ask(version="1.0"), b"connection: close\r\n"),
        (ask("/a?b=c", "Connection: close"), b"\r\n\r\nok"),
        (ask("/%41", "Connection: close"), b"\r\n\r\nok"),
        (ask("/", "Expect: 100-continue", "Connection: close"), b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"),
    ],
)
def test_it_closes_where_it_is_asked_to(request_: bytes, said: bytes) -> None:
    async def scenario(peer: Peer) -> None:
        peer.send(request_)
        answer = await peer.rest()
        assert said in answer
        assert answer.endswith(b"ok")

    serve(replying(), scenario)


def test_it_sends_no_body_to_a_head_request() -> None:
    async def scenario(peer: Peer) -> None:
        peer.send(ask("/", "Connection: close", method="HEAD"))
        assert (await peer.rest()).endswith(b"content-length: 2\r\nconnection: close\r\n\r\n")

    serve(replying(), scenario)


@pytest.mark.parametrize(
    "header",
    [
        (b"x-model", b"a\r\nset-cookie: b"),
        (b"x-model", b"a\nb"),
        (b"x-model", b"a\x00"),
        (b"x-model\r\nx: y", b"a"),
        (b"x-model", b"\r\n\r\n<script>"),
    ],
)
def test_it_lets_no_header_break_out_of_its_line(header: tuple[bytes, bytes]) -> None:
    async def scenario(peer: Peer) -> None:
        peer.send(ask())
        assert await peer.rest() == b""

    serve(replying(b"ok", header), scenario)


@pytest.mark.parametrize("length", [1, 3])
def test_it_never_sends_an_answer_of_another_length(length: int) -> None:
    async def scenario(peer: Peer) -> None:
        peer.send(ask())
        assert await peer.rest() == b""

    serve(replying(length=length), scenario)


def test_it_answers_500_where_the_application_fails_before_its_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a bug")

    async def scenario(peer: Peer) -> None:
        peer.send(ask())
        assert (await peer.rest()).startswith(b"HTTP/1.1 500 ")

    serve(app, scenario)


def test_it_streams_in_chunks_as_they_come() -> None:
    going_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await going_on.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"two", "more_body": False})

    async def scenario(peer: Peer) -> None:
        peer.send(ask())
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        assert await peer.until(b"one\r\n") == head + b"3\r\none\r\n"
        going_on.set()
        assert await peer.until(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"

    serve(app, scenario)


def test_it_tells_the_application_that_the_caller_hung_up() -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"nobody reads this", "more_body": False})

    async def scenario(peer: Peer) -> None:
        peer.send(ask())
        while not heard:
            await asyncio.sleep(0.01)
        peer.writer.close()
        async with asyncio.timeout(5):
            while len(heard) < 2:
                await asyncio.sleep(0.01)

    serve(app, scenario)
    assert heard == ["http.request", "http.disconnect"]


def test_it_closes_a_connection_that_idles_and_none_that_works() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1.6)
        await replying()(scope, receive, send)

    async def scenario(peer: Peer) -> None:
        peer.send(ask())
        await peer.until(b"ok")
        peer.send(ask())  # under way when the timer of the first fires
        await peer.until(b"ok")
        began = asyncio.get_running_loop().time()
        assert await peer.rest() == b""
        assert 0.9 < asyncio.get_running_loop().time() - began < 20

    serve(app, scenario, timeout_keep_alive=1)
