"""What every surface of a chat model gives. The language between surface and dialect is OpenAI's chat completion.

A surface reads its body into a `ChatCall` (whose `fields` and `decoded` are a chat completion's), and shapes the chat completion
that a dialect gives into its own words. Where a deployment speaks the surface's own language, `native` names the dialect that
carries it through without translation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.calls import Caller, ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.base import ChatReader, Dialect
from gateway.errors import GatewayError
from tokia.errors import TokiaError

if TYPE_CHECKING:
    from gateway.process import GatewayProcess


class Shaper(Protocol):
    """Shapes one streamed answer."""

    passes: bool  # `read` gives what it is given

    def read(self, frames: bytes) -> bytes:
        """Frames of a chat completion (whole ones, each `data: {…}` and a blank line) → the surface's own; may give none."""

    def end(self, reader: ChatReader, usage_raw: bytes) -> bytes:
        """All that closes a whole answer, once it is settled. `usage_raw`: chat's usage object, with its cost."""

    def fail(self, error: GatewayError, *, is_english: bool) -> bytes:
        """What an answer that broke ends with."""


class Surface(Protocol):
    """One address."""

    name: str  # as usage records say it

    async def read_call(self, process: GatewayProcess, caller: Caller, body: bytes) -> ChatCall:
        """Raises BadRequest, with the path of the field at fault; what it refers to by id may be RouteNotFound or Unavailable."""

    def native(self, deployment: ServedDeployment) -> Dialect | None:
        """The dialect whose requests, answers and frames are in this surface's own words; None: shape the chat completion."""

    def shape_answer(self, call: ChatCall, route: ServedRoute, completion: bytes) -> bytes:
        """A chat completion, its usage with the cost, → the body in the surface's words."""

    def open_shaper(self, call: ChatCall, route: ServedRoute) -> Shaper: ...

    def keeps(self, call: ChatCall) -> bool:
        """Whether `keep` is due."""

    async def keep(self, process: GatewayProcess, caller: Caller, call: ChatCall, last: bytes) -> bytes:
        """After a whole answer was settled, before its last bytes leave: gives them, changed where they have to say that it was not
        kept. Never raises for that: the answer is paid for."""

    def error_body(self, error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
        """The body of a refusal."""

    def error_frame(self, error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
        """A refusal after the stream's 200 had to leave, before its first frame."""
