"""The sandbox's own small HTTP layer over ASGI: a request that was read whole, answers, and the client's hang-up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Json = Any  # whatever json.loads gives: the outside world is not typed

BODY_BYTES_MAX = 32 * 1_048_576
# Where `servers.TransportProtocol` leaves the connection's transport, for faults that must break HTTP itself.
TRANSPORT_EXTENSION = "sandbox.transport"


class BodyTooLarge(Exception):
    """The request body passed BODY_BYTES_MAX."""


class BadJson(Exception):
    """The request body is not the JSON it should be."""


@dataclass
class Response:
    """One whole answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """One request whose body was already read."""

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    scope: Scope
    receive: Receive
    send: Send
    is_answered: bool = False
    _hangup: asyncio.Task[None] | None = None

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def transport(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self.scope["extensions"][TRANSPORT_EXTENSION]["transport"])

    def json(self) -> Json:
        """The body as JSON; an empty body is `{}`. Raises BadJson."""
        try:
            return json.loads(self.body) if self.body.strip() else {}
        except (ValueError, RecursionError) as error:
            raise BadJson(str(error)) from error

    def json_object(self) -> dict[str, Json]:
        """The body as a JSON object. Raises BadJson."""
        value = self.json()
        if not isinstance(value, dict):
            raise BadJson("an object was expected")
        return value

    def watch_client(self) -> asyncio.Task[None]:
        """A task that ends when the client hangs up. Call it at most once per request; `answer` cancels it."""
        if self._hangup is None:
            self._hangup = asyncio.create_task(self._wait_for_hangup())
        return self._hangup

    async def _wait_for_hangup(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def stop_watching(self) -> None:
        if self._hangup is not None:
            self._hangup.cancel()

    async def start(self, *, status: int, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        """Send the head of a streamed answer."""
        self.is_answered = True
        pairs = [("content-type", content_type), *(headers or {}).items()]
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, response: Response) -> None:
        """Send one whole answer."""
        self.stop_watching()
        headers = {"content-length": str(len(response.body)), **response.headers}
        if response.status == 204:
            headers.pop("content-length")
        await self.start(status=response.status, content_type=response.content_type, headers=headers)
        await self.write(b"" if self.method == "HEAD" else response.body, more=False)

    async def stream(self, chunks: AsyncIterator[bytes], *, content_type: str) -> None:
        await self.start(status=200, content_type=content_type)
        async for chunk in chunks:
            await self.write(chunk)
        await self.write(b"", more=False)


async def read_request(scope: Scope, receive: Receive, send: Send) -> Request:
    """The request with its whole body. Raises BodyTooLarge."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise BodyTooLarge
        chunks.append(chunk)
        if not message.get("more_body", False):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(
        method=scope["method"],
        path=scope["path"],
        query_string=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=b"".join(chunks),
        scope=scope,
        receive=receive,
        send=send,
    )


def dump(value: Json) -> bytes:
    """Compact JSON with raw UTF-8, as the providers send it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def json_response(value: Json, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(status=status, body=dump(value), headers=headers or {})


def html_response(page: str, *, status: int = 200) -> Response:
    headers = {
        "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    return Response(status=status, body=page.encode(), content_type="text/html; charset=utf-8", headers=headers)


def redirect(location: str) -> Response:
    return Response(status=303, content_type="text/plain", headers={"location": location})
