"""A streamed answer of events on its way: all pass as they come, but for the last one, which waits for the settlement."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.dialects.base import malformed
from gateway.dialects.media import Events, MediaTally, decode_members
from gateway.error_bodies import as_openai
from gateway.errors import GatewayError, UpstreamError
from gateway.lanes import Settled
from gateway.pricetag import with_cost
from gateway.sse import LineTooLong, SseParser


class EventsReader:
    """Events for a caller who asked for events. `shape_usage`: our buckets in the words of this surface."""

    def __init__(self, events: Events, shape_usage: Callable[[Usage], bytes]) -> None:
        self.tally = MediaTally()
        self._events = events
        self._shape_usage = shape_usage
        self._parser = SseParser(bytes_max=events.bytes_max)
        self._last: sse.Event | None = None

    def read(self, chunk: bytes | None) -> bytes:
        """Raises UpstreamError."""
        ready: list[bytes] = []
        try:
            for event in parse(self._parser, chunk):
                if not self._is_last(event):
                    ready.append(write_event(event))
        except UpstreamError as error:
            if not ready:
                raise
            self.tally.failure = error
        frames = b"".join(ready)
        self.tally.delivered += len(frames)
        return frames

    def _is_last(self, event: sse.Event) -> bool:
        if self._last is not None or event[1] == b"[DONE]":
            return True  # nothing follows the end
        if self._events.take(event, self.tally):
            self._last = event
            self.tally.is_complete = True
        return self._last is not None

    def counted(self) -> Usage:
        return self._events.counted()

    def last(self, settled: Settled, usage: Usage, source: str) -> bytes:
        assert self._last is not None
        raw = self.tally.usage_raw if source == "upstream" and self.tally.usage_raw is not None else self._shape_usage(usage)
        members = decode_members(self._last[1])
        members["usage"] = msgspec.Raw(with_cost(raw, settled))
        return write_event((self._last[0], msgspec.json.encode(members)))

    def fail(self, error: GatewayError, *, is_english: bool) -> bytes:
        return sse.frame(as_openai(error, is_english=is_english))


def parse(parser: SseParser, chunk: bytes | None) -> list[sse.Event]:
    """Raises UpstreamError."""
    try:
        return parser.close() if chunk is None else parser.feed(chunk)
    except LineTooLong:
        raise malformed("An event of the provider's stream is too long.") from None


def write_event(event: sse.Event) -> bytes:
    """On one line: a line end within JSON is nothing but space."""
    name, data = event
    lines = b"data: " + data.replace(b"\n", b" ") + b"\n\n"
    return b"event: " + name + b"\n" + lines if name else lines
