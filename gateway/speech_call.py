"""A call for speech, and what it can cost.

By the character where the route has a price for that; else by tokens: the text's, and the sound's. A provider that bills tokens
tells them only in its stream of events, so it is asked for that whatever the caller wants, and the sound is taken out of the
events. Where nothing was told (an answer that was cut), the sound's tokens are its length × TOKENS_PER_SECOND; of compressed sound
the length is its bytes at the rate at which OpenAI writes the format.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from billing.pricing import PriceList, Usage
from gateway.calls import ServedRoute
from gateway.errors import BadRequest
from gateway.media_fields import check_choice, check_model, check_range
from gateway.parsing import invalid, parse_body
from gateway.tokens import count_text, scale

CHARACTERS_MAX = 4_096
INSTRUCTIONS_CHARACTERS_MAX = 4_096
# Media type, and bytes per second as OpenAI writes it (24 kHz, one channel).
FORMATS = {
    "mp3": (b"audio/mpeg", 16_000),
    "opus": (b"audio/ogg", 6_000),
    "aac": (b"audio/aac", 12_000),
    "flac": (b"audio/flac", 30_000),
    "wav": (b"audio/wav", 48_000),
    "pcm": (b"audio/pcm", 48_000),
}
TOKENS_PER_SECOND = 21  # US$ 0.015 a minute at US$ 12 per million, as OpenAI publishes both
CHARACTERS_PER_SECOND = 15
TOKENS_PER_CHARACTER_MAX = 5  # three times as slow as people speak
TOKENS_MIN = 400  # a short text may be spoken with long pauses
HIDDEN_TOKENS = 200


class Voice(msgspec.Struct):
    id: str


class SpeechBody(msgspec.Struct):
    """The fields that we read, with OpenAI's types. The rest passes through."""

    model: str
    input: str
    voice: str | Voice
    instructions: str | None = None
    response_format: str | None = None
    speed: float | None = None
    stream_format: str | None = None
    drop_params: bool | None = None  # ours


class SpeechCall(msgspec.Struct, frozen=True):
    model: str
    text: str
    instructions: str
    format: str
    slowness_percent: int  # 100: as spoken; 400: at a quarter of the speed
    is_stream: bool  # the caller wants events
    fields: Mapping[str, msgspec.Raw]
    drops_unsupported: bool


_decode = msgspec.json.Decoder(SpeechBody).decode


def parse_speech(body: bytes) -> SpeechCall:
    """Raises BadRequest, with the path of the field at fault."""
    typed, fields, _ = parse_body(body, _decode)
    check_model(typed.model)
    if not typed.input or len(typed.input) > CHARACTERS_MAX:
        raise invalid("input", f"um texto de até {CHARACTERS_MAX} caracteres", f"a text of up to {CHARACTERS_MAX} characters")
    voice = typed.voice if isinstance(typed.voice, str) else typed.voice.id
    if not voice or len(voice) > 100:
        raise invalid("voice", "o nome de uma voz", "a voice's name")
    if len(typed.instructions or "") > INSTRUCTIONS_CHARACTERS_MAX:
        most = INSTRUCTIONS_CHARACTERS_MAX
        raise invalid("instructions", f"um texto de até {most} caracteres", f"a text of up to {most} characters")
    check_choice("response_format", typed.response_format, tuple(FORMATS))
    check_choice("stream_format", typed.stream_format, ("audio", "sse"))
    check_range("speed", typed.speed, 0.25, 4.0)
    return SpeechCall(
        model=typed.model,
        text=typed.input,
        instructions=typed.instructions or "",
        format=typed.response_format or "mp3",
        slowness_percent=max(100, round(100 / (typed.speed or 1.0))),
        is_stream=typed.stream_format == "sse",
        fields=fields,
        drops_unsupported=bool(typed.drop_params),
    )


def is_by_character(prices: PriceList) -> bool:
    return "character" in prices.units


def check_events(call: SpeechCall, prices: PriceList) -> None:
    """Models that are billed by the character speak in no events. Raises BadRequest."""
    if call.is_stream and is_by_character(prices):
        raise BadRequest(
            'Este modelo não aceita \'stream_format\': "sse". Use "audio".',
            'This model does not support \'stream_format\': "sse". Use "audio".',
            param="stream_format",
            code="unsupported_parameter",
        )


def bound_of(call: SpeechCall, route: ServedRoute) -> Usage:
    """The most that it can use."""
    tokens = max(TOKENS_MIN, len(call.text) * TOKENS_PER_CHARACTER_MAX) * call.slowness_percent // 100
    return Usage(
        input_tokens=scale(count_text(call.text + call.instructions), route.token_factor_percent) + HIDDEN_TOKENS,
        audio_output_tokens=tokens,
        characters=len(call.text),
    )


def counted_of(call: SpeechCall, *, delivered: int | None = None) -> Usage:
    """What `delivered` bytes of sound are (None: all of it)."""
    whole = len(call.text) * TOKENS_PER_SECOND // CHARACTERS_PER_SECOND * call.slowness_percent // 100 + 1
    characters = len(call.text)
    if delivered is not None:
        per_second = FORMATS[call.format][1]
        whole = -(-delivered * TOKENS_PER_SECOND // per_second)
        characters = min(characters, -(-delivered * CHARACTERS_PER_SECOND * 100 // (per_second * call.slowness_percent)))
    return Usage(input_tokens=count_text(call.text + call.instructions), audio_output_tokens=whole, characters=characters)
