"""Server-sent events as bytes, by the WHATWG rules. Pure.

Lines end with LF, CR or CRLF and nothing else: U+2028 and friends are text inside JSON strings, so no `splitlines()`.
An event, a line or a UTF-8 sequence may be split anywhere.
"""

from __future__ import annotations

import re

LINE_BYTES_MAX = 1_048_576
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"

Event = tuple[bytes, bytes]  # name (empty: none), data


class LineTooLong(ValueError):
    """A line or an event of more than LINE_BYTES_MAX."""


class SseParser:
    """Feed bytes, get whole events. `close` gives an event that the end of the body left without its blank line."""

    __slots__ = ("_data", "_ended_by_cr", "_is_first_line", "_line", "_most", "_name", "_size")

    def __init__(self, *, bytes_max: int = LINE_BYTES_MAX) -> None:
        self._most = bytes_max  # of a line, and of an event
        self._line = bytearray()
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0
        self._ended_by_cr = False
        self._is_first_line = True

    def feed(self, chunk: bytes) -> list[Event]:
        """Raises LineTooLong."""
        if (
            chunk[-2:] == b"\n\n"
            and chunk[:6] == b"data: "
            and not self._line
            and not self._data
            and not self._name
            and not self._ended_by_cr
            and b"\r" not in chunk
        ):
            inside = chunk[6:-2]
            if b"\n" not in inside and len(chunk) <= self._most:  # one event, as most often
                self._is_first_line = False
                return [(b"", inside)]
            blocks = inside.split(b"\n\ndata: ")
            if not any(b"\n" in block for block in blocks) and len(chunk) <= self._most:
                self._is_first_line = False
                return [(b"", block) for block in blocks]
        elif (
            chunk[:7] == b"event: "
            and chunk[-2:] == b"\n\n"
            and not (self._line or self._data or self._name or self._ended_by_cr or len(chunk) > self._most or b"\r" in chunk)
        ):
            name, _, rest = chunk[7:-2].partition(b"\n")
            if rest[:6] == b"data: " and b"\n" not in rest:  # one named event
                self._is_first_line = False
                return [(name, rest[6:])]
        return self._feed_slowly(chunk)

    @property
    def is_between(self) -> bool:
        """Nothing of an event has come yet."""
        return not (self._line or self._data or self._name or self._ended_by_cr)

    def _feed_slowly(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        if self._ended_by_cr and chunk:
            self._ended_by_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        pieces = _LINE_END.split(chunk)
        if len(pieces) > 1 and chunk[-1:] == b"\r":
            self._ended_by_cr = True
        last = pieces.pop()
        for piece in pieces:
            if self._line:
                self._grow(piece)
                line = bytes(self._line)
                self._line.clear()
            else:
                line = piece
            self._take_line(line, events)
        if last:
            self._grow(last)
        return events

    def _grow(self, piece: bytes) -> None:
        self._line += piece
        if len(self._line) > self._most:
            raise LineTooLong(f"A line of the stream is longer than {self._most} bytes.")

    def _take_line(self, line: bytes, events: list[Event]) -> None:
        if self._is_first_line:
            self._is_first_line = False
            if line.startswith(_BOM):
                line = line[3:]
        if not line:
            if self._data:
                events.append((self._name, b"\n".join(self._data)))
            self._data, self._name, self._size = [], b"", 0
            return
        self._size += len(line)
        if self._size > self._most:
            raise LineTooLong(f"An event of the stream is longer than {self._most} bytes.")
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value
        # A comment has an empty name; `id`, `retry` and unknown fields mean nothing here.

    def close(self) -> list[Event]:
        """The rest at the end of the body. By the rules it is dropped; hosts that forget the blank line are forgiven."""
        events: list[Event] = []
        if self._line:
            line = bytes(self._line)
            self._line.clear()
            self._take_line(line, events)
        self._take_line(b"", events)
        return events


def frame(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": tokia\n\n"
