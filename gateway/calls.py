"""What walks through a call: frozen snapshots of who calls and what serves, the parsed call, and its answer.

What is made once per call is a msgspec.Struct, which costs a tenth of a frozen dataclass to make.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from billing.pricing import PriceList
from tokia.errors import TokiaError

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Caller:
    """An API key, its organization and its wallet, as they were at the last snapshot."""

    api_key_id: int
    organization_id: int
    wallet_id: int
    label: str
    allowed_routes: frozenset[str]  # empty: all
    requests_per_minute: int
    expires_at: float | None  # Unix seconds
    is_revoked: bool
    is_suspended: bool
    stores_responses: bool = False  # what `store` means in /v1/responses where it is not said

    def may_use(self, route_name: str) -> bool:
        return not self.allowed_routes or route_name in self.allowed_routes


@dataclass(frozen=True, slots=True)
class ServedDeployment:
    """One copy of a route at a provider, with a credential to use."""

    id: int
    provider_slug: str
    provider_name: str
    dialect: str
    base_url: str
    upstream_model: str
    priority: int
    weight: int
    secret: str
    is_strict: bool
    is_simulated: bool


@dataclass(frozen=True, slots=True)
class ServedRoute:
    """A route that is active, priced and has at least one deployment. `prices` None: it is known, but has no live price."""

    name: str
    display_name: str
    maker: str
    surface: str
    description: str
    context_tokens: int
    output_tokens_max: int
    output_tokens_default: int
    token_factor_percent: int
    capabilities: tuple[str, ...]
    is_reasoning: bool
    created: int  # Unix seconds
    prices: PriceList | None
    deployments: tuple[ServedDeployment, ...]


class ImageUrl(msgspec.Struct):
    url: str
    detail: str | None = None


class Part(msgspec.Struct):
    """One part of a message's content; fields that we do not price stay in the raw body."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: dict[str, msgspec.Raw] | None = None
    file: dict[str, msgspec.Raw] | None = None
    refusal: str | None = None


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, msgspec.Raw]] | None = None
    reasoning_content: str | None = None


class ChatCall(msgspec.Struct, frozen=True):
    """A chat completion as it was asked for. `fields` are the body's top-level members, byte for byte."""

    model: str
    fields: Mapping[str, msgspec.Raw]
    decoded: Mapping[str, Any]  # the same, as Python objects
    messages: list[Message]
    body_bytes: int
    is_stream: bool
    wants_usage: bool  # asked for the usage chunk
    output_tokens_asked: int | None
    choices: int  # n
    drops_unsupported: bool = False  # leave out what a model can't take, rather than refuse the call
    dropped: tuple[str, ...] = ()  # what the surface left out for that
    native: Mapping[str, msgspec.Raw] | None = None  # the body in the words of the surface it came by, where that is not chat
    refusal: TokiaError | None = None  # why it can't be said as a chat completion; only a native dialect can carry it
    told: Any = None  # what the surface has to remember until the answer


class EmbeddingsCall(msgspec.Struct, frozen=True):
    model: str
    fields: Mapping[str, msgspec.Raw]
    texts: list[str]
    token_count: int  # of inputs that came as token arrays
    inputs: int
    body_bytes: int
    wants_base64: bool


class Attempt(msgspec.Struct):
    """One try at one deployment, kept on the usage record."""

    provider: str
    model: str
    status: int = 0
    error: str = ""
    ms: int = 0


class Reply(msgspec.Struct):
    """A whole answer, or the frames of a stream. Whoever sends `frames` closes them, sent or not."""

    status: int
    headers: Headers
    body: bytes = b""
    frames: AsyncIterator[bytes] | None = None


class CallContext(msgspec.Struct, eq=False):
    """What the edge knows of one request: identity, clock, and whether the caller is still there."""

    id: str  # a UUIDv7: of the request, the hold and the usage record
    started_ns: int  # monotonic
    is_english: bool = False
    task: asyncio.Task[Any] | None = None  # that serves it
    is_interruptible: bool = False  # it waits for the upstream, so `interrupt` may wake it
    is_gone: bool = False  # the caller hung up
    is_draining: bool = False  # the process ends: the rest of the answer can't be waited for
    waits_since: float = 0.0  # monotonic: it reads the body or writes to the caller; 0: neither
    is_reading: bool = False  # it reads the body
    is_late: bool = False  # the body, or the caller's reading, took too long
    on_stream: Callable[[], None] | None = None  # told when the answer will be a stream
    watch: Callable[[], None] | None = None  # begins to watch the caller
    is_watched: bool = False
    asked: Mapping[bytes, bytes] = {}  # the request's own headers
    headers: Headers = []  # rate limit headers, for answers and refusals alike

    def let_go(self) -> None:
        """The request is over: nothing here points back at who served it, so that no cycle waits for the collector."""
        self.task = self.on_stream = self.watch = None

    def interrupt(self) -> None:
        """Wake the call where it waits for the upstream; elsewhere it sees the flags by itself."""
        if self.is_interruptible and self.task is not None:
            self.task.cancel()
