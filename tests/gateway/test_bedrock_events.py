"""The binary event stream: however it is cut, the same events; and nothing of a frame that is damaged."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.bedrock_events import FRAME_BYTES_MAX, EventStreamParser
from gateway.errors import UpstreamError
from gateway.sse import Event

Header = tuple[str, int, bytes]  # name, type, value as it stands in the frame
names = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


def encode(headers: list[Header], payload: bytes) -> bytes:
    block = b"".join(bytes([len(name)]) + name.encode() + bytes([kind]) + value for name, kind, value in headers)
    prelude = struct.pack("!II", 16 + len(block) + len(payload), len(block))
    frame = prelude + struct.pack("!I", zlib.crc32(prelude)) + block + payload
    return frame + struct.pack("!I", zlib.crc32(frame))


def string(name: str, value: str) -> Header:
    return name, 7, struct.pack("!H", len(value.encode())) + value.encode()


def event(name: str, payload: bytes, *others: Header) -> bytes:
    return encode([string(":message-type", "event"), *others, string(":event-type", name)], payload)


others = st.lists(
    st.one_of(
        st.tuples(names, st.sampled_from([0, 1]), st.just(b"")),
        st.tuples(names, st.just(2), st.binary(min_size=1, max_size=1)),
        st.tuples(names, st.just(3), st.binary(min_size=2, max_size=2)),
        st.tuples(names, st.just(4), st.binary(min_size=4, max_size=4)),
        st.tuples(names, st.sampled_from([5, 8]), st.just(b"\0\0\1\x93\0\0\0\0")),
        st.tuples(names, st.just(9), st.binary(min_size=16, max_size=16)),
        st.tuples(names, st.just(6), st.binary(max_size=30).map(lambda value: struct.pack("!H", len(value)) + value)),
    ),
    max_size=4,
    unique_by=lambda header: header[0],
)
streams = st.lists(st.tuples(names, st.binary(max_size=300), others), max_size=8)


@given(stream=streams, data=st.data())
def test_the_same_events_come_however_the_bytes_are_cut(stream: list[tuple[str, bytes, list[Header]]], data: st.DataObject) -> None:
    raw = b"".join(event(name, payload, *headers) for name, payload, headers in stream)
    expected: list[Event] = [(name.encode(), payload) for name, payload, _ in stream]
    parser = EventStreamParser()
    found: list[Event] = []
    place = 0
    while place < len(raw):
        size = data.draw(st.integers(1, max(1, len(raw) - place)))
        found += parser.feed(raw[place : place + size])
        place += size
    assert found + parser.close() == expected
    byte_by_byte = EventStreamParser()
    assert [one for index in range(len(raw)) for one in byte_by_byte.feed(raw[index : index + 1])] == expected
    theirs = EventStreamBuffer()
    theirs.add_data(raw)
    assert [message.payload for message in theirs] == [payload for _, payload in expected]


@given(payload=st.binary(max_size=60), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_wrong_bit_is_never_believed(payload: bytes, place: int, bit: int) -> None:
    raw = bytearray(event("contentBlockDelta", payload))
    raw[place % len(raw)] ^= 1 << bit
    parser = EventStreamParser()
    with pytest.raises(UpstreamError) as caught:
        parser.feed(bytes(raw) + b"\0" * 64)
    assert caught.value.code == "provider_malformed"


def test_a_frame_that_was_cut_gives_nothing() -> None:
    raw = event("a", b"{}") + event("b", b"{}")
    parser = EventStreamParser()
    assert parser.feed(raw[:-1]) == [(b"a", b"{}")]
    assert parser.close() == []


def test_exceptions_and_errors_are_marked() -> None:
    parser = EventStreamParser()
    thrown = encode([string(":message-type", "exception"), string(":exception-type", "throttlingException")], b'{"message":"x"}')
    failed = encode([string(":message-type", "error"), string(":error-code", "Internal"), string(":error-message", "é")], b"")
    [(name, payload), (code, told)] = parser.feed(thrown + failed)
    assert (name, payload) == (b"!throttlingException", b'{"message":"x"}')
    assert (code, json.loads(told)) == (b"!Internal", {"message": "é"})


def prelude(length: int, headers: int) -> bytes:
    raw = struct.pack("!II", length, headers)
    return raw + struct.pack("!I", zlib.crc32(raw))


@pytest.mark.parametrize(
    "raw", [prelude(15, 0), prelude(FRAME_BYTES_MAX + 1, 0), prelude(100, 90), prelude(2**32 - 1, 0), b"data: {}\n\nxx"]
)
def test_it_refuses_impossible_lengths_before_it_waits_for_them(raw: bytes) -> None:
    with pytest.raises(UpstreamError):
        EventStreamParser().feed(raw)


@pytest.mark.parametrize(
    "headers",
    [
        [("a", 10, b"")],  # an unknown type
        [("a", 7, b"\xff\xff")],  # a string beyond its block
        [("a", 5, b"\0")],  # a number beyond its block
        [("a" * 255, 0, b"")],
    ],
)  # fmt: skip
def test_it_survives_hostile_headers(headers: list[Header]) -> None:
    raw = encode(headers, b"{}")
    try:
        assert EventStreamParser().feed(raw) == [(b"", b"{}")]
    except UpstreamError as error:
        assert error.code == "provider_malformed"


def test_it_survives_a_name_beyond_its_block() -> None:
    block = b"\xff:a"
    head = struct.pack("!II", 16 + len(block), len(block))
    frame = head + struct.pack("!I", zlib.crc32(head)) + block
    with pytest.raises(UpstreamError):
        EventStreamParser().feed(frame + struct.pack("!I", zlib.crc32(frame)))
