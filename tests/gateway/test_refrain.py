"""The short way through a stream tells what the long way tells, whatever the upstream sends and however its bytes are cut."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import anthropic, openai
from gateway.dialects.base import Dialect
from gateway.parsing import parse_chat
from gateway.refrain import LESSONS_MAX, TEXT_BYTES_MAX, Refrain
from gateway.relay import Relay
from gateway.surfaces import chat
from gateway.upstream import Exchange
from gateway.wire import Connection, WireError, whole_chunk
from tests.examples import examples

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ['"', "\\", "content", "text", "index", "\u2028", "não", "😀", " ", "\n", "\x7f", ":", "a" * (TEXT_BYTES_MAX + 1)]
    ),
)
EXTRA: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {}, {"obfuscation": "xyz"}, {"usage": None}, {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}]
)
DELTAS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {}, {"refusal": "no"}, {"reasoning_content": "hm"}, {"role": "assistant"}]
)


def dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


@st.composite
def openai_streams(draw: st.DrawFn) -> list[bytes]:
    events = []
    for text in draw(st.lists(TEXTS, min_size=3, max_size=12)):
        choice = {
            "index": 0,
            "delta": {"content": text, **draw(DELTAS)},
            "finish_reason": draw(st.sampled_from([None, None, "stop"])),
        }
        events.append(b"data: " + dumps({"id": "c", "created": 1, "model": "m", "choices": [choice], **draw(EXTRA)}) + b"\n\n")
    return [b"".join(events[at : at + 2]) if draw(st.booleans()) else events[at] for at in range(len(events))]


@st.composite
def anthropic_streams(draw: st.DrawFn) -> list[bytes]:
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 3}}}]
    for text in draw(st.lists(TEXTS, min_size=3, max_size=12)):
        kind = draw(st.sampled_from(["text_delta", "text_delta", "text_delta", "thinking_delta", "input_json_delta"]))
        name = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}[kind]
        events.append({"type": "content_block_delta", "index": 0, "delta": {"type": kind, name: text}})
    return [b"event: %b\ndata: %b\n\n" % (event["type"].encode(), dumps(event)) for event in events]


class Answer:
    """What `Connection.pump` does, without the connection."""

    has_news = False

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def pump(self, take: Any) -> None:
        while self._chunks and take(self._chunks.pop(0)):
            pass

    async def read_some(self) -> bytes | None:
        return self._chunks.pop(0) if self._chunks else None


def read_all(dialect: Any, chunks: list[bytes], *, is_short: bool) -> tuple[bytes, str, int, str]:
    """Frames, text, delivered bytes, and what it failed with."""
    call = parse_chat(b'{"model":"a/b","stream":true,"messages":[{"role":"user","content":"x"}]}')
    wire: Any = type("Wire", (), {"answer": Answer(list(chunks))})()
    relay = Relay(cast(Exchange, wire), cast(Dialect, dialect), call, chat.open_shaper(call, cast(Any, None)))
    relay._has_begun = True
    out: list[bytes] = []

    def sink(frames: bytes) -> bool:
        out.append(frames)
        return True

    async def run() -> str:
        try:
            while wire.answer._chunks or relay._failure is not None:
                out.append(await (relay.pump(sink) if is_short else relay.next()))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    failure = asyncio.run(run())
    frames = b"".join(out)
    created = frames.find(b'"created":')
    if dialect is anthropic and created >= 0:  # the only thing that moves by itself
        stamp = frames[created : created + 20]
        frames = frames.replace(stamp, b'"created":0000000000')
    return frames, relay.tally.text, relay.tally.delivered_bytes, failure


@pytest.mark.parametrize(
    ("dialect", "streams"), [(openai, openai_streams()), (anthropic, anthropic_streams())], ids=["openai", "anthropic"]
)
def test_the_short_way_tells_what_the_long_way_tells(dialect: Any, streams: st.SearchStrategy[list[bytes]]) -> None:
    @settings(max_examples=examples(150), deadline=None)
    @given(streams, st.data())
    def compare(chunks: list[bytes], data: st.DataObject) -> None:
        if data.draw(st.booleans()):  # cut anywhere
            whole = b"".join(chunks)
            cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
            chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True) if start < end]
        assert read_all(dialect, chunks, is_short=True) == read_all(dialect, chunks, is_short=False)

    compare()


def test_it_takes_the_short_way_from_the_second_event_on() -> None:
    event = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
    refrain = Refrain()
    refrain.learn(event % b"one", event % b"one", "one")
    assert refrain.read(event % "dois, três".encode()) == event % "dois, três".encode()
    assert refrain.text == "dois, três"
    for other in (b"", b'a"', b"\\n", b"\xff", b"\n", b"x" * (TEXT_BYTES_MAX + 1)):
        assert refrain.read(event % other) is None
    assert refrain.read(event % b"two" + event % b"three") is None


def test_it_learns_nothing_where_the_text_is_also_what_stands_before_it() -> None:
    event = b'data: {"text":":"}\n\n'
    refrain = Refrain()
    refrain.learn(event, event, ":")
    assert refrain.read(event) is None


def test_it_stops_learning_where_nothing_stays_the_same() -> None:
    refrain = Refrain()
    for number in range(LESSONS_MAX + 5):
        event = b'data: {"n":%d,"text":"t"}\n\n' % number
        refrain.learn(event, event, "t")
    assert refrain.read(b'data: {"n":%d,"text":"u"}\n\n' % (LESSONS_MAX - 1)) is not None
    assert refrain.read(b'data: {"n":%d,"text":"u"}\n\n' % LESSONS_MAX) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n", b"0\r\n\r\n", b"5\r\nhell\r\n", b"5\r\nhello", b"5\r\nhello\r\n5", b"+5\r\nhello\r\n", b"0x5\r\nhello\r\n",
     b"5;a=b\r\nhello\r\n", b" 5\r\nhello\r\n", b"5 \r\nhello\r\n", b"1_0\r\n0123456789abcdef\r\n", b"g\r\nhello\r\n",
     b"5\nhello\r\n", b"5\r\nhello\n\n", b"000000000005\r\nhello\r\n", b"6\r\nhello\r\n\r", b"\xb25\r\nhello\r\n"],
)  # fmt: skip
def test_what_is_no_whole_chunk_is_the_parsers(data: bytes) -> None:
    assert whole_chunk(data) == b""


@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_a_whole_chunk_is_its_data(data: bytes, upper: bool) -> None:
    assert whole_chunk((b"%X" if upper else b"%x") % len(data) + b"\r\n" + data + b"\r\n") == data


class Transport:
    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...


@settings(max_examples=examples(150), deadline=None)
@given(
    bodies=st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.just(b"\r\n"), st.just(b"0\r\n\r\n")), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_a_chunked_body_arrives_whole_however_it_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    """Pumped, so that whole chunks pass the parser by: it must still know where it is."""
    sent = b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies) + b"0\r\n\r\n"
    if len(cuts) == 8:  # one chunk at a time
        pieces = [*(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies), b"0\r\n\r\n"]
    else:
        places = sorted({min(cut, len(sent)) for cut in cuts} | {0, len(sent)})
        pieces = [sent[start:end] for start, end in itertools.pairwise(places)]

    async def run() -> bytes:
        connection = Connection(idle_seconds=10, total_seconds=10)
        connection.connection_made(cast(Any, Transport()))
        connection.send(b"head", b"")
        connection.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        got: list[bytes] = []

        def take(body: bytes) -> bool:
            got.append(body)
            return True

        pump = asyncio.ensure_future(connection.pump(take))
        await asyncio.sleep(0)
        for piece in pieces:
            connection.data_received(piece)
        await pump
        while (rest := await connection.read()) is not None:
            got.append(rest)
        assert connection.is_reusable
        return b"".join(got)

    assert asyncio.run(run()) == b"".join(bodies)


def test_rubbish_after_a_chunk_that_passed_the_parser_by_is_an_error() -> None:
    async def run() -> None:
        connection = Connection(idle_seconds=10, total_seconds=10)
        connection.connection_made(cast(Any, Transport()))
        connection.send(b"head", b"")
        connection.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        await connection.read()
        pump = asyncio.ensure_future(connection.pump(lambda _: True))
        await asyncio.sleep(0)
        connection.data_received(b"1\r\nb\r\n")
        connection.data_received(b"rubbish\r\n")
        await pump
        with pytest.raises(WireError):
            await connection.read()

    asyncio.run(run())
