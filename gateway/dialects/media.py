"""What dialects of pictures and sound give, one protocol per surface, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from django.conf import settings

from billing.pricing import Usage
from gateway import sse
from gateway.calls import ServedDeployment
from gateway.dialects.base import UpstreamRequest, malformed
from gateway.dialects.openai import stream_error
from gateway.errors import UpstreamError

if TYPE_CHECKING:
    from gateway.images_call import ImagesCall
    from gateway.moderation_call import ModerationCall
    from gateway.speech_call import SpeechCall
    from gateway.transcription_call import TranscriptionCall

NULL = msgspec.Raw(b"null")


class MediaTally(msgspec.Struct):
    """What an answer has brought so far."""

    usage: Usage | None = None  # as the upstream says, in our buckets
    usage_raw: bytes | None = None  # the same as it said it, in OpenAI's shape
    is_suspect: bool = False
    delivered: int = 0  # bytes for the caller
    is_complete: bool = False
    failure: UpstreamError | None = None  # what ended it, where something came with it that may still leave


class MediaAnswer(Protocol):
    """A whole answer in JSON."""

    tally: MediaTally

    def with_usage(self, usage_raw: bytes) -> bytes:
        """Its body in OpenAI's shape, with this usage object."""


class TranscriptionAnswer(MediaAnswer, Protocol):
    text: str


class Events(Protocol):
    """One streamed answer's events."""

    bytes_max: int  # of one event

    def take(self, event: sse.Event, tally: MediaTally) -> bool:
        """Whether the answer ends with this event; it then waits for the settlement. Raises UpstreamError for an error event."""

    def counted(self) -> Usage:
        """Our own count of what has come, for an answer that was cut."""


class MediaDialect(Protocol):
    def read_error(self, status: int, retry_after: str | None, body: bytes, deployment: ServedDeployment) -> UpstreamError: ...


class ImagesDialect(MediaDialect, Protocol):
    def images_request(self, call: ImagesCall, deployment: ServedDeployment) -> UpstreamRequest:
        """Raises BadRequest, naming the parameter, for what the format can't say."""

    def read_images(self, body: bytes) -> MediaAnswer:
        """Raises UpstreamError where the body is not an answer."""

    def open_images(self, call: ImagesCall) -> Events: ...


class SpeechDialect(MediaDialect, Protocol):
    def speech_request(self, call: SpeechCall, deployment: ServedDeployment, *, as_events: bool) -> UpstreamRequest:
        """Raises BadRequest, naming the parameter, for what the format can't say."""

    def open_speech(self, call: SpeechCall) -> Events: ...

    def read_delta(self, event: sse.Event) -> bytes:
        """The sound in an event; empty where it holds none."""


class TranscriptionDialect(MediaDialect, Protocol):
    def transcription_request(self, call: TranscriptionCall, deployment: ServedDeployment, *, by_second: bool) -> UpstreamRequest:
        """Raises BadRequest, naming the parameter, for what the format can't say."""

    def read_transcription(self, call: TranscriptionCall, body: bytes, deployment: ServedDeployment) -> TranscriptionAnswer:
        """Raises UpstreamError where the body is not an answer."""

    def open_transcription(self, call: TranscriptionCall) -> Events: ...


class ModerationDialect(MediaDialect, Protocol):
    def moderation_request(self, call: ModerationCall, deployment: ServedDeployment) -> UpstreamRequest:
        """Raises BadRequest, naming the parameter, for what the format can't say."""

    def read_moderation(self, call: ModerationCall, body: bytes) -> MediaAnswer:
        """Raises UpstreamError where the body is not an answer."""


class Said(msgspec.Struct):
    """What every event of OpenAI's media says."""

    type: str = ""
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


_decode_event: Callable[[bytes], Said] = msgspec.json.Decoder(Said).decode
_decode_members: Callable[[bytes | msgspec.Raw], dict[str, Any]] = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_event(event: sse.Event) -> Said:
    """Raises UpstreamError for an error event, or one that can't be read."""
    try:
        said = _decode_event(event[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed() from None
    if event[0] == b"error" or said.type == "error" or bytes(said.error) != b"null":
        raise stream_error(bytes(said.error))
    return said


def decode_members(body: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Raises UpstreamError where it is no JSON object."""
    try:
        return _decode_members(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed() from None


def idle_seconds() -> float:
    """How long an answer may be silent: pictures and sound take their time."""
    seconds: float = settings.GATEWAY_MEDIA_IDLE_TIMEOUT_MS / 1000
    return seconds


def add(one: Usage, other: Usage) -> Usage:
    """Of the same call."""
    values = msgspec.structs.asdict(one)
    return Usage(**{name: value + getattr(other, name) for name, value in values.items()} | {"requests": one.requests})
