"""OpenAI's speech, and the hosts that speak it: sound as it is made, or events with sound in base64."""

from __future__ import annotations

import base64
import binascii

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.calls import ServedDeployment
from gateway.dialects.base import UpstreamRequest, malformed
from gateway.dialects.media import NULL, MediaTally, idle_seconds, read_event
from gateway.dialects.openai import read_error, request_headers
from gateway.media_fields import drop
from gateway.speech_call import SpeechCall, counted_of

__all__ = ["open_speech", "read_delta", "read_error", "shape_usage", "speech_request"]
EVENT_BYTES_MAX = 8 * 1_048_576
DONE = "speech.audio.done"
NO_INSTRUCTIONS = ("tts-1", "tts-1-hd")


class _Delta(msgspec.Struct):
    type: str = ""
    audio: str | None = None
    delta: str | None = None  # as some hosts name it


class _Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int


_decode_delta = msgspec.json.Decoder(_Delta).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode


def speech_request(call: SpeechCall, deployment: ServedDeployment, *, as_events: bool) -> UpstreamRequest:
    """Raises BadRequest for instructions to a model that takes none."""
    dropped: list[str] = []
    fields = {name: raw for name, raw in call.fields.items() if name not in ("stream_format", "drop_params")}
    if call.instructions and deployment.upstream_model in NO_INSTRUCTIONS:
        drop("instructions", dropped, drops_unsupported=call.drops_unsupported)
        del fields["instructions"]
    fields["model"] = msgspec.Raw(msgspec.json.encode(deployment.upstream_model))
    if as_events:
        fields["stream_format"] = msgspec.Raw(b'"sse"')
    url = deployment.base_url + "/audio/speech"
    return UpstreamRequest(url, request_headers(deployment), msgspec.json.encode(fields), tuple(dropped), idle_seconds())


def read_delta(event: sse.Event) -> bytes:
    """The sound in an event; empty where it holds none. Raises UpstreamError."""
    try:
        said = _decode_delta(event[1])
        return base64.b64decode(said.audio or said.delta or "", validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError):
        raise malformed() from None


class SpeechEvents:
    """Deltas pass; `speech.audio.done` is the end, and has the usage."""

    bytes_max = EVENT_BYTES_MAX

    def __init__(self, call: SpeechCall) -> None:
        self._call = call
        self._sound = 0  # bytes that have come

    def take(self, event: sse.Event, tally: MediaTally) -> bool:
        said = read_event(event)
        if said.type != DONE:
            self._sound += len(read_delta(event))
            return False
        read_usage(said.usage, tally)
        return True

    def counted(self) -> Usage:
        return counted_of(self._call, delivered=self._sound)


open_speech = SpeechEvents


def read_usage(raw: msgspec.Raw, tally: MediaTally) -> None:
    if bytes(raw) == bytes(NULL):
        return
    try:
        said = _decode_usage(raw)
    except msgspec.DecodeError:
        tally.is_suspect = True
        return
    tally.is_suspect = tally.is_suspect or min(said.input_tokens, said.output_tokens) < 0
    tally.usage_raw = bytes(raw)
    tally.usage = Usage(input_tokens=max(0, said.input_tokens), audio_output_tokens=max(0, said.output_tokens))


def shape_usage(usage: Usage) -> bytes:
    """Our buckets in OpenAI's shape."""
    total = usage.input_tokens + usage.audio_output_tokens
    return b'{"input_tokens":%d,"output_tokens":%d,"total_tokens":%d}' % (usage.input_tokens, usage.audio_output_tokens, total)
