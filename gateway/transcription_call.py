"""A call for what is said in a sound, in its own language or in English, and what it can cost.

By the begun second where the route has a price for that; else by tokens: the sound's, the prompt's and the text's. Both are
bounded by the sound's length (`sound.py`).
"""

from __future__ import annotations

import msgspec

from billing.pricing import PriceList, Usage
from gateway.calls import ServedRoute
from gateway.errors import BadRequest
from gateway.media_fields import check_choice, check_file, check_model, check_range, read_fields
from gateway.multipart import File, Form
from gateway.parsing import invalid
from gateway.sound import Length, measure_sound
from gateway.tokens import count_text, scale

FILE_BYTES_MAX = 25 * 1_048_576
FIELDS_BYTES_MAX = 2 * 1_048_576  # of the form, beside the file
FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
TIMED = frozenset({"srt", "verbose_json", "vtt"})
EXTENSIONS = frozenset({"flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "oga", "opus", "wav", "webm"})
MAGIC = (
    (b"RIFF", "wav"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"\x1a\x45\xdf\xa3", "webm"),
    (b"ID3", "mp3"),
    (b"\xff\xfb", "mp3"),
)
AUDIO_TOKENS_PER_SECOND = 10  # US$ 0.006 a minute at US$ 10 and 6 per million, as OpenAI publishes them
AUDIO_TOKENS_PER_SECOND_MAX = 13
TEXT_TOKENS_PER_SECOND_MAX = 12  # nobody speaks faster
HIDDEN_TOKENS = 200
SECONDS_MIN = 10  # what some hosts bill at least
# What a route has to be able to, by the names of its capabilities.
TIMESTAMPS, STREAMING, TRANSLATION, SPEAKERS = "timestamps", "streaming", "translation", "diarization"


class TranscriptionBody(msgspec.Struct):
    """The fields of the form that we read. The rest passes through."""

    model: str
    language: str | None = None
    prompt: str | None = None
    response_format: str | None = None
    temperature: float | None = None
    stream: bool | None = None
    drop_params: bool | None = None  # ours


class TranscriptionCall(msgspec.Struct, frozen=True):
    model: str
    is_translation: bool
    is_stream: bool
    format: str
    has_granularities: bool
    form: Form
    file: File
    length: Length
    prompt: str
    drops_unsupported: bool


def parse_transcription(form: Form, *, is_translation: bool) -> TranscriptionCall:
    """Raises BadRequest naming the field at fault, BodyTooLarge."""
    typed = read_fields(form, TranscriptionBody)
    check_model(typed.model)
    check_choice("response_format", typed.response_format, FORMATS[:5] if is_translation else FORMATS)
    check_range("temperature", typed.temperature, 0, 1)
    if is_translation and typed.stream:
        raise _can_not("stream")
    if len(form.files) != 1 or form.files[0].field != "file":
        raise invalid("file", "um arquivo de som", "a sound file")
    [file] = form.files
    check_file(file, most=FILE_BYTES_MAX)
    return TranscriptionCall(
        model=typed.model,
        is_translation=is_translation,
        is_stream=bool(typed.stream),
        format=typed.response_format or "json",
        has_granularities=any(name.startswith("timestamp_granularities") for name, _ in form.texts),
        form=form,
        file=_named(file),
        length=measure_sound(file.data),
        prompt=typed.prompt or "",
        drops_unsupported=bool(typed.drop_params),
    )


def _named(file: File) -> File:
    """With an extension that providers know the format by. Raises BadRequest for what is no sound."""
    if file.extension in EXTENSIONS:
        return file
    head = bytes(file.data[:12])
    found = "mp4" if head[4:8] == b"ftyp" else next((extension for magic, extension in MAGIC if head.startswith(magic)), "")
    if not found:
        expected = ", ".join(sorted(EXTENSIONS))
        raise invalid("file", f"um som em um destes formatos: {expected}", f"a sound in one of these formats: {expected}")
    return File(file.field, file.data, found, file.content_type)


def check_route(call: TranscriptionCall, route: ServedRoute) -> None:
    """What this model can't do is refused before money is held. Raises BadRequest."""
    if call.is_translation and TRANSLATION not in route.capabilities:
        raise BadRequest(
            f"O modelo '{route.name}' não traduz áudio.", f"The model '{route.name}' does not translate audio.",
            param="model", code="unsupported_model",
        )  # fmt: skip
    if (call.format in TIMED or call.has_granularities) and TIMESTAMPS not in route.capabilities:
        raise _can_not("response_format" if call.format in TIMED else "timestamp_granularities")
    if call.format == "diarized_json" and SPEAKERS not in route.capabilities:
        raise _can_not("response_format")
    if call.is_stream and (STREAMING not in route.capabilities or call.format in TIMED):
        raise _can_not("stream")
    if call.has_granularities and call.format != "verbose_json":
        raise BadRequest(
            "'timestamp_granularities' só vale com 'response_format': \"verbose_json\".",
            "'timestamp_granularities' is only allowed with 'response_format': \"verbose_json\".",
            param="timestamp_granularities",
        )


def _can_not(param: str) -> BadRequest:
    return BadRequest(
        f"Este modelo não aceita este valor de '{param}'.", f"This model does not support this value of '{param}'.",
        param=param, code="unsupported_parameter",
    )  # fmt: skip


def is_by_second(prices: PriceList) -> bool:
    return "audio_second" in prices.units


def bound_of(call: TranscriptionCall, route: ServedRoute) -> Usage:
    """The most that it can use."""
    most = call.length.most
    return Usage(
        input_tokens=scale(count_text(call.prompt), route.token_factor_percent) + HIDDEN_TOKENS,
        audio_input_tokens=most * AUDIO_TOKENS_PER_SECOND_MAX + HIDDEN_TOKENS,
        output_tokens=most * TEXT_TOKENS_PER_SECOND_MAX + HIDDEN_TOKENS,
        audio_seconds=max(most, SECONDS_MIN),
    )


def counted_of(*, prompt_tokens: int, seconds: int, text: str) -> Usage:
    """What it uses where nobody says: all of the sound, and the text that has come."""
    return Usage(
        input_tokens=prompt_tokens,
        audio_input_tokens=seconds * AUDIO_TOKENS_PER_SECOND,
        output_tokens=count_text(text),
        audio_seconds=seconds,
    )
