"""`/v1/chat/completions`: the language between surfaces and dialects, so nothing is translated here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway import sse
from gateway.calls import Caller, ChatCall, ServedDeployment, ServedRoute
from gateway.dialects.base import ChatReader, Dialect
from gateway.error_bodies import as_openai
from gateway.errors import GatewayError
from gateway.parsing import parse_chat
from tokia.errors import TokiaError

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

name = "chat"
_NO_MODEL = b'"model":""'


async def read_call(process: GatewayProcess, caller: Caller, body: bytes) -> ChatCall:
    return parse_chat(body)


def native(deployment: ServedDeployment) -> Dialect | None:
    return None


def shape_answer(call: ChatCall, route: ServedRoute, completion: bytes) -> bytes:
    """As it is, but for the model's name, which some formats' answers do not tell (inside a string its quotes would be escaped)."""
    if _NO_MODEL in completion:
        return completion.replace(_NO_MODEL, b'"model":' + msgspec.json.encode(call.model), 1)
    return completion


class Shaper:
    """Frames pass as they are."""

    __slots__ = ("_wants_usage",)
    passes = True

    def __init__(self, call: ChatCall) -> None:
        self._wants_usage = call.wants_usage

    def read(self, frames: bytes) -> bytes:
        return frames

    def end(self, reader: ChatReader, usage_raw: bytes) -> bytes:
        return reader.usage_frame(usage_raw) + sse.DONE if self._wants_usage else sse.DONE

    def fail(self, error: GatewayError, *, is_english: bool) -> bytes:
        return sse.frame(as_openai(error, is_english=is_english))


def open_shaper(call: ChatCall, route: ServedRoute) -> Shaper:
    return Shaper(call)


def keeps(call: ChatCall) -> bool:
    return False


async def keep(process: GatewayProcess, caller: Caller, call: ChatCall, last: bytes) -> bytes:
    return last


def error_body(error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
    return as_openai(error, is_english=is_english)


def error_frame(error: TokiaError, *, is_english: bool, request_id: str) -> bytes:
    return sse.frame(as_openai(error, is_english=is_english))
