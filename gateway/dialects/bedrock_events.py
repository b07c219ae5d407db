"""`application/vnd.amazon.eventstream` as bytes: frames of a prelude, headers and a payload, each with its CRC32. Pure.

Source: AWS, "Event stream encoding" (Smithy). A frame may be split anywhere.

| bytes | what |
|---|---|
| 4 + 4 | length of the frame, length of its headers (big-endian) |
| 4 | CRC32 of these eight |
| … | headers: name length 1, name, type 1, value |
| … | payload |
| 4 | CRC32 of all before it |
"""

from __future__ import annotations

import zlib

import msgspec

from gateway import sse
from gateway.dialects.base import malformed

PRELUDE_BYTES = 12
FRAME_BYTES_MIN = PRELUDE_BYTES + 4
FRAME_BYTES_MAX = sse.LINE_BYTES_MAX
EXCEPTION_MARK = b"!"  # before the name of what is an exception, not an event
STRING_TYPE = 7
# Header type → bytes of its value; 6 (bytes) and 7 (string) tell their length in two bytes.
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class EventStreamParser:
    """Feed bytes, get whole events: `(event type, payload)`, and exceptions as `(b"!" + type, payload)`."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[sse.Event]:
        """Raises UpstreamError `provider_malformed`: a wrong checksum, an impossible length, a frame that is too long."""
        buffer = self._buffer
        buffer += chunk
        events: list[sse.Event] = []
        place = 0
        while len(buffer) - place >= PRELUDE_BYTES:
            length = _read_length(buffer, place)
            if len(buffer) - place < length:
                break
            events.append(_read_frame(bytes(buffer[place : place + length])))
            place += length
        del buffer[:place]
        return events

    @property
    def is_between(self) -> bool:
        """Nothing of an event has come yet."""
        return not self._buffer

    def close(self) -> list[sse.Event]:
        """The rest is a frame that was cut: nothing of it can be trusted."""
        self._buffer.clear()
        return []


def _read_length(buffer: bytearray, place: int) -> int:
    """The frame's length, checked before we wait for so many bytes."""
    prelude = buffer[place : place + PRELUDE_BYTES]
    if zlib.crc32(prelude[:8]) != int.from_bytes(prelude[8:]):
        raise malformed("A frame of the provider's stream has a wrong checksum.")
    length, headers = int.from_bytes(prelude[:4]), int.from_bytes(prelude[4:8])
    if not FRAME_BYTES_MIN + headers <= length <= FRAME_BYTES_MAX:
        raise malformed("A frame of the provider's stream has an impossible length.")
    return length


def _read_frame(frame: bytes) -> sse.Event:
    if zlib.crc32(frame[:-4]) != int.from_bytes(frame[-4:]):
        raise malformed("A frame of the provider's stream has a wrong checksum.")
    end = PRELUDE_BYTES + int.from_bytes(frame[4:8])
    headers = _read_headers(frame[PRELUDE_BYTES:end])
    kind = headers.get(b":message-type", b"event")
    if kind == b"exception":
        return EXCEPTION_MARK + headers.get(b":exception-type", b""), frame[end:-4]
    if kind == b"error":
        told = {"message": headers.get(b":error-message", b"").decode(errors="replace")}
        return EXCEPTION_MARK + headers.get(b":error-code", b""), msgspec.json.encode(told)
    return headers.get(b":event-type", b""), frame[end:-4]


def _read_headers(block: bytes) -> dict[bytes, bytes]:
    """The headers that are strings. Raises UpstreamError."""
    headers: dict[bytes, bytes] = {}
    place = 0
    while place < len(block):
        name_end = place + 1 + block[place]
        if name_end >= len(block):
            raise malformed("A frame's headers could not be read.")
        name, kind = block[place + 1 : name_end], block[name_end]
        place = name_end + 1
        if kind in (6, STRING_TYPE):
            start = place + 2
            place = start + int.from_bytes(block[place:start])
            if kind == STRING_TYPE:
                headers[name] = block[start:place]
        elif kind in _SIZES:
            place += _SIZES[kind]
        else:
            raise malformed("A frame's headers could not be read.")
        if place > len(block):
            raise malformed("A frame's headers could not be read.")
    return headers
