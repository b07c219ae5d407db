"""A stream whose error comes in the same bytes as text: what was counted is delivered, whichever dialect it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.dialects import openai
from gateway.dialects.base import Dialect
from gateway.errors import UpstreamError
from gateway.parsing import parse_chat
from gateway.relay import Relay
from gateway.surfaces import chat
from gateway.upstream import Exchange

TEXT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
ERROR = b'data: {"error":{"message":"overloaded","code":"overloaded_error"}}\n\n'


class Answer:
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def read_some(self) -> bytes | None:
        return self._chunks.pop(0) if self._chunks else None


class Wire:
    def __init__(self, *chunks: bytes) -> None:
        self.answer = Answer(list(chunks))


def relay_of(*chunks: bytes) -> Relay:
    call = parse_chat(b'{"model":"a/b","stream":true,"messages":[{"role":"user","content":"x"}]}')
    exchange: Any = Wire(*chunks)
    return Relay(cast(Exchange, exchange), cast(Dialect, openai), call, chat.open_shaper(call, cast(Any, None)))


def test_it_delivers_what_came_before_an_error_once_anything_was_delivered() -> None:
    relay = relay_of(TEXT % b"one", TEXT % b"two" + ERROR)
    assert b"one" in asyncio.run(relay.first())
    assert b"two" in asyncio.run(relay.next())
    assert relay.tally.text == "onetwo"
    assert not relay.has_ended
    with pytest.raises(UpstreamError):
        asyncio.run(relay.next())


def test_it_raises_at_once_before_anything_was_delivered() -> None:
    relay = relay_of(TEXT % b"one" + ERROR)
    with pytest.raises(UpstreamError):
        asyncio.run(relay.first())


def test_an_error_before_the_end_of_the_body_is_not_a_cut() -> None:
    relay = relay_of(TEXT % b"one", (TEXT % b"two" + ERROR)[:-2])
    asyncio.run(relay.first())
    frames = asyncio.run(relay.next())
    assert b"two" in frames
    with pytest.raises(UpstreamError, match="sobrecarregado"):
        asyncio.run(relay.next())


def test_an_opening_without_a_word_promises_nothing() -> None:
    relay = relay_of(ROLE, ROLE, TEXT % b"one")
    first = asyncio.run(relay.first())
    assert first.count(b"assistant") == 2
    assert b"one" in first
    for broken in (ERROR, b""):  # an error event, the end of the body
        with pytest.raises(UpstreamError):
            asyncio.run(relay_of(ROLE, broken).first())


def test_sound_and_pictures_are_something_too() -> None:
    sound = b'data: {"id":"c","choices":[{"index":0,"delta":{"audio":{"data":"%b"}}}]}\n\n' % (b"A" * 5_000)
    assert b"audio" in asyncio.run(relay_of(ROLE, sound, ERROR).first())


def test_an_answer_of_no_words_is_whole() -> None:
    stop = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    assert b"assistant" in asyncio.run(relay_of(ROLE, stop, b"data: [DONE]\n\n").first())


class Pushing(Answer):
    """Chunks that come while the relay waits, as a connection gives them."""

    has_news = False

    async def pump(self, take: Callable[[bytes], bool]) -> None:
        while self._chunks:
            if not take(self._chunks.pop(0)):
                return
        self.has_news = True  # the end of the body


def pushing_relay(*chunks: bytes) -> Relay:
    relay = relay_of()
    cast(Any, relay)._exchange.answer = Pushing(list(chunks))
    return relay


def taking_all() -> tuple[list[bytes], Callable[[bytes], bool]]:
    pushed: list[bytes] = []

    def sink(frames: bytes) -> bool:
        pushed.append(frames)
        return True

    return pushed, sink


def test_it_pushes_frames_as_they_come_and_gives_back_what_is_not_taken() -> None:
    relay = pushing_relay(TEXT % b"one", TEXT % b"two", TEXT % b"three")
    pushed: list[bytes] = []

    def sink(frames: bytes) -> bool:
        if len(pushed) == 2:
            return False
        pushed.append(frames)
        return True

    left = asyncio.run(relay.pump(sink))
    assert [b"one" in pushed[0], b"two" in pushed[1], b"three" in left] == [True, True, True]
    assert relay.tally.text == "onetwothree"
    assert not relay.has_ended


def test_what_is_pushed_ends_where_it_would_have_ended() -> None:
    relay = pushing_relay(TEXT % b"one", b"data: [DONE]\n\n")
    pushed, sink = taking_all()
    assert asyncio.run(relay.pump(sink)) == b""
    assert (len(pushed), relay.has_ended) == (1, True)


@pytest.mark.parametrize("broken", [ERROR, b"data: {\n\n", b"data: " + b"x" * 2_000_000])
def test_an_error_among_what_is_pushed_is_raised_by_the_next_reading(broken: bytes) -> None:
    relay = pushing_relay(TEXT % b"one", TEXT % b"two" + broken if broken == ERROR else broken, TEXT % b"never")
    pushed, sink = taking_all()
    assert asyncio.run(relay.pump(sink)) == b""
    assert not relay.has_ended
    with pytest.raises(UpstreamError):
        asyncio.run(relay.pump(lambda frames: True))
    assert b"never" not in b"".join(pushed)
    assert relay.tally.text == ("onetwo" if broken == ERROR else "one")
