"""OpenAI's transcriptions and translations, and the hosts that speak them.

Where seconds are billed, a host that does not tell them in plain JSON is asked for `verbose_json`, and subtitles and plain text are
written here from its segments, so every answer's length is the provider's own word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from billing.pricing import Usage
from gateway import sse
from gateway.calls import ServedDeployment
from gateway.dialects.base import UpstreamRequest, malformed
from gateway.dialects.media import MediaTally, decode_members, idle_seconds, read_event
from gateway.dialects.openai import read_error, request_headers
from gateway.media_fields import drop
from gateway.multipart import write_form
from gateway.tokens import count_text
from gateway.transcription_call import TIMED, TranscriptionCall, counted_of

__all__ = ["open_transcription", "read_error", "read_transcription", "shape_usage", "transcription_request"]
EVENT_BYTES_MAX = 4 * 1_048_576
DONE = "transcript.text.done"
JSON_MEMBERS = ("text", "logprobs", "languages")


@dataclass(frozen=True, slots=True)
class HostHabits:
    """Where a host differs."""

    tells_seconds: bool = False  # in plain JSON
    knows_formats: bool = True
    takes_prompt: bool = True
    seconds_min: int = 0  # what it bills at least


HABITS = {
    "openai": HostHabits(tells_seconds=True),
    "groq": HostHabits(seconds_min=10),
    "mistral": HostHabits(tells_seconds=True, knows_formats=False, takes_prompt=False),
}
_COMMON = HostHabits()


class _TokenDetails(msgspec.Struct):
    audio_tokens: int | None = None
    text_tokens: int | None = None


class _Usage(msgspec.Struct):
    type: str = ""
    seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: _TokenDetails | None = None
    prompt_audio_seconds: float | None = None  # Mistral


class _Segment(msgspec.Struct):
    start: float
    end: float
    text: str


class _Answer(msgspec.Struct):
    text: str
    duration: float | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    segments: list[_Segment] | None = None


class _Delta(msgspec.Struct):
    delta: str = ""


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_delta = msgspec.json.Decoder(_Delta).decode


# ── There ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def transcription_request(call: TranscriptionCall, deployment: ServedDeployment, *, by_second: bool) -> UpstreamRequest:
    """Raises BadRequest for a prompt that the host can't take."""
    habits = HABITS.get(deployment.provider_slug, _COMMON)
    dropped: list[str] = []
    left_out = {"model", "response_format", "drop_params"}
    if not call.is_stream:
        left_out.add("stream")
    if call.prompt and not habits.takes_prompt:
        drop("prompt", dropped, drops_unsupported=call.drops_unsupported)
        left_out.add("prompt")
    texts = [("model", deployment.upstream_model), *(pair for pair in call.form.texts if pair[0] not in left_out)]
    if habits.knows_formats:
        texts.append(("response_format", _format_for(call, habits, by_second=by_second)))
    elif call.format in TIMED and not call.has_granularities:
        texts.append(("timestamp_granularities[]", "segment"))
    content_type, body = write_form(texts, [call.file])
    headers = [*(pair for pair in request_headers(deployment) if pair[0] != "content-type"), ("content-type", content_type)]
    url = deployment.base_url + ("/audio/translations" if call.is_translation else "/audio/transcriptions")
    return UpstreamRequest(url, headers, body, tuple(dropped), idle_seconds())


def _format_for(call: TranscriptionCall, habits: HostHabits, *, by_second: bool) -> str:
    if call.format == "diarized_json":
        return call.format
    is_verbose = call.format in TIMED or (by_second and not habits.tells_seconds and not call.is_stream)
    return "verbose_json" if is_verbose else "json"


# ── And back ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class Transcription:
    """A whole answer."""

    def __init__(self, call: TranscriptionCall, members: dict[str, msgspec.Raw], said: _Answer, tally: MediaTally) -> None:
        self.tally = tally
        self.text = said.text
        self._format = call.format
        self._members = members
        self._said = said

    def with_usage(self, usage_raw: bytes) -> bytes:
        """As the caller asked for it; texts have no place for the usage."""
        if self._format == "text":
            return self.text.encode() + b"\n"
        if self._format in ("srt", "vtt"):
            return write_subtitles(self._said.segments or [], is_vtt=self._format == "vtt").encode()
        members = self._members
        if self._format == "json":
            members = {name: members[name] for name in JSON_MEMBERS if name in members}
        elif "duration" not in members and self.tally.usage is not None:
            members["duration"] = msgspec.Raw(b"%d" % self.tally.usage.audio_seconds)
        members["usage"] = msgspec.Raw(usage_raw)
        return msgspec.json.encode(members)


def read_transcription(call: TranscriptionCall, body: bytes, deployment: ServedDeployment) -> Transcription:
    """Raises UpstreamError where the body is not an answer."""
    members = decode_members(body)
    try:
        said = _decode_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed() from None
    if call.format in TIMED and said.segments is None and said.text:
        raise malformed("The provider gave no segments.")
    tally = MediaTally(is_complete=True, delivered=len(body))
    habits = HABITS.get(deployment.provider_slug, _COMMON)
    read_usage(said.usage, tally, seconds=said.duration, seconds_min=habits.seconds_min)
    return Transcription(call, members, said, tally)


def read_usage(raw: msgspec.Raw, tally: MediaTally, *, seconds: float | None = None, seconds_min: int = 0) -> None:
    """Tokens, with the sound's apart, or begun seconds. `seconds`: the answer's own `duration`."""
    said = _Usage()
    if bytes(raw) != b"null":
        try:
            said = _decode_usage(raw)
        except msgspec.DecodeError:
            tally.is_suspect = True
            return
    if said.input_tokens is not None:
        total = max(0, said.input_tokens)
        details = said.input_token_details
        sound = total if details is None else min(max(0, details.audio_tokens or 0), total)
        parts = total if details is None else (details.audio_tokens or 0) + (details.text_tokens or 0)
        tally.is_suspect = tally.is_suspect or min(said.input_tokens, said.output_tokens or 0) < 0 or parts != said.input_tokens
        tally.usage = Usage(input_tokens=total - sound, audio_input_tokens=sound, output_tokens=max(0, said.output_tokens or 0))
        tally.usage_raw = bytes(raw)
        return
    told = next((value for value in (said.seconds, said.prompt_audio_seconds, seconds) if value is not None), None)
    if told is None:
        return
    if not 0 <= told < 1e9:
        tally.is_suspect = True
        return
    begun = max(1, math.ceil(told - 1e-6))
    tally.usage = Usage(audio_seconds=max(begun, seconds_min))
    tally.usage_raw = bytes(raw) if said.type == "duration" and begun >= seconds_min else None


def shape_usage(usage: Usage) -> bytes:
    """Our buckets in OpenAI's shape."""
    if usage.audio_seconds:
        return b'{"type":"duration","seconds":%d}' % usage.audio_seconds
    total = usage.input_tokens + usage.audio_input_tokens
    return msgspec.json.encode(
        {
            "type": "tokens",
            "input_tokens": total,
            "input_token_details": {"audio_tokens": usage.audio_input_tokens, "text_tokens": usage.input_tokens},
            "output_tokens": usage.output_tokens,
            "total_tokens": total + usage.output_tokens,
        }
    )


def write_subtitles(segments: list[_Segment], *, is_vtt: bool) -> str:
    """SubRip or WebVTT, as OpenAI writes them."""
    mark = "." if is_vtt else ","
    cues = []
    for number, segment in enumerate(segments, start=1):
        head = "" if is_vtt else f"{number}\n"
        text = segment.text.strip().replace("-->", "->")
        cues.append(f"{head}{_clock(segment.start, mark)} --> {_clock(segment.end, mark)}\n{text}\n\n")
    return ("WEBVTT\n\n" if is_vtt else "") + "".join(cues)


def _clock(seconds: float, mark: str) -> str:
    whole, millis = divmod(max(0, round(seconds * 1_000)), 1_000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{mark}{millis:03d}"


class TranscriptionEvents:
    """Deltas and segments pass; `transcript.text.done` is the end, and has the usage."""

    bytes_max = EVENT_BYTES_MAX

    def __init__(self, call: TranscriptionCall) -> None:
        self._prompt_tokens = count_text(call.prompt)
        self._seconds = call.length.seconds
        self._texts: list[str] = []

    def take(self, event: sse.Event, tally: MediaTally) -> bool:
        said = read_event(event)
        if said.type != DONE:
            self._texts.append(_decode_delta(event[1]).delta)
            return False
        read_usage(said.usage, tally)
        return True

    def counted(self) -> Usage:
        return counted_of(prompt_tokens=self._prompt_tokens, seconds=self._seconds, text="".join(self._texts))


open_transcription = TranscriptionEvents
