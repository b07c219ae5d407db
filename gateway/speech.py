"""The parent of `/v1/audio/speech`: sound passes as it is made, in flat memory, and is settled before its last bytes leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from billing.pricing import Usage
from gateway.calls import CallContext, Caller, Reply, ServedDeployment
from gateway.chat import STREAM_HEADERS
from gateway.dialects.base import UpstreamRequest, malformed
from gateway.dialects.media import Events, MediaTally, SpeechDialect
from gateway.dialects.openai_speech import shape_usage
from gateway.dialects.registry import SPEAKERS
from gateway.errors import AnswerBroken, GatewayError, UpstreamError
from gateway.lanes import Settled
from gateway.media import (
    Basis,
    MediaReader,
    ask,
    begin_events,
    dialect_of,
    headers_of,
    open_call,
    plan_attempts,
    relay,
    settle_whole,
)
from gateway.media_events import EventsReader, parse
from gateway.pricetag import cost_header
from gateway.speech_call import FORMATS, SpeechCall, bound_of, check_events, counted_of, is_by_character, parse_speech
from gateway.sse import SseParser
from gateway.upstream import Exchange

if TYPE_CHECKING:
    from gateway.process import GatewayProcess

SURFACE = "speech"
UNITS = (("character",), ("input", "audio_output"))


async def speak(process: GatewayProcess, context: CallContext, caller: Caller, body: bytes) -> Reply:
    """Raises GatewayError, ClientGone; the call is then settled at nothing, or was never begun."""
    call = parse_speech(body)
    opened = await open_call(process, context, caller, call, served_by=SURFACE, name=SURFACE, units=UNITS)
    check_events(call, opened.prices)
    request = _Request(call, as_events=not is_by_character(opened.prices))
    plan = plan_attempts(opened, request)
    basis = Basis(opened.prices, bound_of(call, opened.route), counted_of(call))

    async def begin(exchange: Exchange) -> tuple[Exchange, MediaReader, bytes]:
        assert opened.deployment is not None
        reader = _reader_of(call, opened.deployment, as_events=request.as_events)
        first = await (begin_events if request.as_events else begin_sound)(exchange, reader)
        if not reader.tally.delivered:
            raise malformed("The provider's answer holds no sound.")
        return exchange, reader, first

    exchange, reader, first = await ask(process, opened, request, plan, basis, begin)
    if call.is_stream:
        return Reply(200, headers_of(opened, *STREAM_HEADERS), frames=relay(process, opened, exchange, reader, basis, first))
    sound_type = (b"content-type", FORMATS[call.format][0])
    if reader.tally.is_complete:  # it is short, and all there
        exchange.close()

        def write(settled: Settled, usage: Usage, source: str) -> Reply:
            body = first + reader.last(settled, usage, source)
            return Reply(200, headers_of(opened, sound_type, cost_header(settled)), body=body)

        return await settle_whole(process, opened, basis, reader.tally, write)
    return Reply(200, headers_of(opened, sound_type), frames=relay(process, opened, exchange, reader, basis, first))


class _Request:
    """One call's requests."""

    def __init__(self, call: SpeechCall, *, as_events: bool) -> None:
        self._call = call
        self.as_events = as_events

    def compose(self, deployment: ServedDeployment) -> UpstreamRequest:
        return dialect_of(SPEAKERS, deployment).speech_request(self._call, deployment, as_events=self.as_events)

    def read_error(self, status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError:
        return dialect_of(SPEAKERS, deployment).read_error(status, retry_after, body, deployment)


def _reader_of(call: SpeechCall, deployment: ServedDeployment, *, as_events: bool) -> MediaReader:
    dialect = dialect_of(SPEAKERS, deployment)
    if call.is_stream:
        return EventsReader(dialect.open_speech(call), shape_usage)
    return SoundOfEvents(call, dialect) if as_events else Sound(call)


async def begin_sound(exchange: Exchange, reader: MediaReader) -> bytes:
    """The first sound that may leave. Raises UpstreamError: the answer holds none."""
    kind = exchange.answer.content_type
    if not kind.startswith(("audio/", "application/octet-stream", "binary/")):
        raise malformed("The provider's answer is not sound.")
    while not reader.tally.is_complete:
        ready = reader.read(await exchange.answer.read_some())
        if ready:
            return ready
    return b""


class Sound:
    """Sound that comes as such. The last bytes wait for the settlement: what comes is let go when more has come."""

    def __init__(self, call: SpeechCall) -> None:
        self.tally = MediaTally()
        self._call = call
        self._kept = b""

    def read(self, chunk: bytes | None) -> bytes:
        if chunk is None:
            self.tally.is_complete = True
            return b""
        self.tally.delivered += len(chunk)
        ready, self._kept = self._kept, chunk
        return ready

    def counted(self) -> Usage:
        return counted_of(self._call, delivered=self.tally.delivered - len(self._kept))

    def last(self, settled: Settled, usage: Usage, source: str) -> bytes:
        return self._kept

    def fail(self, error: GatewayError, *, is_english: bool) -> bytes:
        raise AnswerBroken


class SoundOfEvents(Sound):
    """Sound for a caller who wants no events, out of an upstream's events, which alone tell the tokens."""

    def __init__(self, call: SpeechCall, dialect: SpeechDialect) -> None:
        super().__init__(call)
        self._dialect = dialect
        self._events: Events = dialect.open_speech(call)
        self._parser = SseParser(bytes_max=self._events.bytes_max)

    def read(self, chunk: bytes | None) -> bytes:
        pieces: list[bytes] = []
        try:
            for event in parse(self._parser, chunk):
                if self.tally.is_complete or event[1] == b"[DONE]":
                    break
                if self._events.take(event, self.tally):
                    self.tally.is_complete = True
                else:
                    pieces.append(self._dialect.read_delta(event))
        except UpstreamError as error:
            if not pieces:
                raise
            self.tally.failure = error
        sound = b"".join(pieces)
        if not sound:
            return b""
        self.tally.delivered += len(sound)
        ready, self._kept = self._kept, sound
        return ready
