"""Pictures, sound, transcriptions and moderations that are always the same for the same call, in real files, with their usage."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import struct
import time
import wave
import zlib
from collections.abc import Iterator
from typing import Any

from tokia.sandbox.asgi import dump
from tokia.sandbox.faults import FaultSet
from tokia.sandbox.llm_delivery import Frame, Reply
from tokia.sandbox.llm_media_forms import Upload
from tokia.sandbox.llm_providers import Provider
from tokia.sandbox.llm_tokens import Usage, count_tokens, split_tokens

Body = dict[str, Any]
SQUARE_TOKENS = {"low": 272, "medium": 1_056, "high": 4_160, "xhigh": 8_000, "max": 16_000}
PARTIAL_TOKENS = 100
INPUT_IMAGE_TOKENS = 323
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////"
    "wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA="
)
WEBP = base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
SAMPLE_RATE = 24_000
SPEECH_TOKENS_PER_SECOND = 20
SPEECH_CHARACTERS_PER_SECOND = 15
LISTEN_TOKENS_PER_SECOND = 10
SOUND_PIECE_BYTES = 4_096
GROQ_SECONDS_MIN = 10
BYTES_PER_SECOND = 16_000  # of a sound that is no WAV
CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
PICTURED = frozenset({"self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "violence", "violence/graphic"})
FLAGGED_WORDS = {"matar": "violence", "kill": "violence", "ódio": "hate"}


# ── Pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def answer_images(body: Body, *, pictures: int, is_edit: bool, faults: FaultSet) -> Reply:
    """The reply to a call for pictures that passed the rules."""
    n = int(body.get("n") or 1)
    size = body.get("size") or "auto"
    size = "1024x1024" if size == "auto" else size
    quality = body.get("quality") or "auto"
    quality = "medium" if quality == "auto" else quality
    width, height = (int(side) for side in size.split("x"))
    partials = int(body.get("partial_images") or 0)
    one = math.ceil(SQUARE_TOKENS[quality] * width * height / 1_048_576) + partials * PARTIAL_TOKENS
    words = count_tokens(body["prompt"])
    usage = Usage(
        prompt_tokens=words + pictures * INPUT_IMAGE_TOKENS,
        image_input_tokens=pictures * INPUT_IMAGE_TOKENS,
        completion_tokens=one * n,
        image_output_tokens=one * n,
        images=n,
    )
    kind = body.get("output_format") or "png"
    shown = {"background": "opaque", "output_format": kind, "quality": quality, "size": size}
    drawn = [draw(body["prompt"] + str(number), width, height, kind) for number in range(n)]
    if body.get("stream") in (True, "true"):
        return Reply(usage=usage, frames=list(_image_frames(drawn, shown, usage, partials, is_edit=is_edit, faults=faults)))
    whole: Body = {"created": int(time.time()), **shown, "data": [{"b64_json": picture} for picture in drawn]}
    if (told := faults.bend_usage(_image_usage(usage))) is not None:
        whole["usage"] = told
    return Reply(usage=usage, body=whole)


def _image_usage(usage: Usage) -> Body:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "image_tokens": usage.image_input_tokens,
            "text_tokens": usage.prompt_tokens - usage.image_input_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"image_tokens": usage.completion_tokens, "text_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _image_frames(
    drawn: list[str], shown: Body, usage: Usage, partials: int, *, is_edit: bool, faults: FaultSet
) -> Iterator[Frame]:
    family = "image_edit" if is_edit else "image_generation"
    sent = 0
    for number, picture in enumerate(drawn):
        for index in range(partials):
            sent += PARTIAL_TOKENS
            name = f"{family}.partial_image"
            event = {"type": name, "b64_json": picture, "partial_image_index": index, "created_at": int(time.time()), **shown}
            yield Frame(data=dump(event), tokens=sent, event=name, is_content=True)
        name = f"{family}.completed"
        event = {"type": name, "b64_json": picture, "created_at": int(time.time()), **shown}
        count = len(drawn)
        part = Usage(
            prompt_tokens=usage.prompt_tokens if number == 0 else 0,
            image_input_tokens=usage.image_input_tokens if number == 0 else 0,
            completion_tokens=usage.completion_tokens // count,
        )
        if (told := faults.bend_usage(_image_usage(part))) is not None:
            event["usage"] = told
        sent = usage.completion_tokens * (number + 1) // count
        yield Frame(data=dump(event), tokens=sent, event=name, is_content=True)


def draw(seed: str, width: int, height: int, kind: str) -> str:
    """A picture of one colour, in base64; JPEG and WebP are of one pixel."""
    if kind != "png":
        return base64.b64encode(JPEG if kind == "jpeg" else WEBP).decode()
    colour = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()[:3]
    rows = (b"\x00" + colour * width) * height
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""),
    ]  # fmt: skip
    packed = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(packed)).decode()


# ── Speech ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def speak(body: Body, *, model: str) -> tuple[bytes, Usage]:
    """A tone as long as the text, and what it is billed by: characters, or tokens."""
    text = body["input"]
    seconds = max(0.2, len(text) / SPEECH_CHARACTERS_PER_SECOND / float(body.get("speed") or 1))
    if model.startswith("tts-1"):
        usage = Usage(characters=len(text))
    else:
        tokens = math.ceil(seconds * SPEECH_TOKENS_PER_SECOND)
        words = count_tokens(text) + count_tokens(body.get("instructions") or "")
        usage = Usage(prompt_tokens=words, completion_tokens=tokens, audio_output_tokens=tokens)
    return make_sound(body.get("response_format") or "mp3", seconds), usage


def make_sound(kind: str, seconds: float) -> bytes:
    """A file of this format: WAV and PCM hold a tone, MP3 and AAC silent frames, the others their headers and zeros."""
    frames = round(seconds * SAMPLE_RATE)
    if kind in ("wav", "pcm"):
        tone = b"".join(struct.pack("<h", round(8_000 * math.sin(index * 0.11))) for index in range(240))
        samples = (tone * (frames // 240 + 1))[: frames * 2]
        if kind == "pcm":
            return samples
        file = io.BytesIO()
        with wave.open(file, "wb") as written:
            written.setnchannels(1)
            written.setsampwidth(2)
            written.setframerate(SAMPLE_RATE)
            written.writeframes(samples)
        return file.getvalue()
    if kind == "mp3":  # MPEG-2 layer III, 64 kbit/s, 24 kHz: 576 samples in 192 bytes
        return (b"\xff\xf3\x84\xc4" + bytes(188)) * math.ceil(frames / 576)
    if kind == "aac":
        return (b"\xff\xf1\x58\x40\x08\x1f\xfc" + bytes(57)) * math.ceil(frames / 1_024)
    if kind == "flac":
        info = struct.pack(">HH", 4_096, 4_096) + bytes(6) + (SAMPLE_RATE << 44 | 15 << 36 | frames).to_bytes(8, "big") + bytes(16)
        return b"fLaC\x80\x00\x00\x22" + info + bytes(frames // 2)
    page = b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead\x01\x01" + bytes(9)
    last = b"OggS\x00\x04" + struct.pack("<q", round(seconds * 48_000)) + bytes(13)
    return page + bytes(round(seconds * 4_000)) + last


def speech_frames(sound: bytes, usage: Usage, *, faults: FaultSet) -> list[Frame]:
    """The same as events, the last of which has the usage."""
    frames = []
    pieces = [sound[at : at + SOUND_PIECE_BYTES] for at in range(0, len(sound), SOUND_PIECE_BYTES)]
    for number, piece in enumerate(pieces, start=1):
        event = {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}
        frames.append(Frame(data=dump(event), tokens=usage.completion_tokens * number // len(pieces), is_content=True))
    done: Body = {"type": "speech.audio.done"}
    told = faults.bend_usage(
        {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
    )
    if told is not None:
        done["usage"] = told
    if not faults.has("nodone"):
        frames.append(Frame(data=dump(done), tokens=usage.completion_tokens))
    return frames


# ── Transcription ────────────────────────────────────────────────────────────────────────────────────────────────────
def length_of(file: Upload) -> float:
    """Seconds, from a WAV's own header; by the bytes of anything else."""
    try:
        with wave.open(io.BytesIO(file.data)) as sound:
            return float(sound.getnframes() / sound.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError):
        return len(file.data) / BYTES_PER_SECOND


def transcribe(file: Upload, body: Body, *, model: str, provider: Provider, is_translation: bool, faults: FaultSet) -> Reply:
    """The reply to a sound that passed the rules. `Reply.body` may hold `text`: a text answer."""
    seconds = length_of(file)
    said = (
        f"Simulated translation of {seconds:.1f} seconds." if is_translation else f"Transcrição simulada de {seconds:.1f} segundos."
    )
    text = said + f" sha256 {file.digest[:16]}."
    by_second = provider.slug != "openai" or model in ("whisper-1", "gpt-transcribe")
    billed = max(math.ceil(seconds - 1e-6), GROQ_SECONDS_MIN if provider.slug == "groq" else 1)
    heard = math.ceil(seconds * LISTEN_TOKENS_PER_SECOND)
    prompt, answered = count_tokens(body.get("prompt") or ""), count_tokens(text)
    usage = (
        Usage(audio_seconds=billed)
        if by_second
        else Usage(prompt_tokens=prompt + heard, audio_input_tokens=heard, completion_tokens=answered)
    )
    told = faults.bend_usage(_listen_usage(usage, provider, seconds))
    if body.get("stream") in (True, "true") and model != "whisper-1":
        return Reply(usage=usage, frames=_text_frames(text, usage, told))
    wanted = body.get("response_format") or "json"
    segments = _segments(text, seconds)
    if provider.slug == "mistral":
        whole: Body = {"model": body["model"], "text": text, "language": None, "segments": []}
        if body.get("timestamp_granularities"):
            whole["segments"] = [{"text": one["text"], "start": one["start"], "end": one["end"]} for one in segments]
    elif wanted == "verbose_json":
        whole = {
            "task": "translate" if is_translation else "transcribe", "language": "portuguese", "duration": round(seconds, 3),
            "text": text, "segments": segments,
        }  # fmt: skip
    else:
        whole = {"text": text if wanted == "json" else _subtitles(segments, wanted)}
    if told is not None and provider.slug != "groq":
        whole["usage"] = told
    if provider.slug == "groq":
        whole["x_groq"] = {"id": "req_sandbox"}
    return Reply(usage=usage, body=whole)


def _listen_usage(usage: Usage, provider: Provider, seconds: float) -> Body:
    if provider.slug == "mistral":
        return {"prompt_audio_seconds": math.ceil(seconds), "prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}
    if usage.audio_seconds:
        return {"type": "duration", "seconds": math.ceil(seconds - 1e-6)}
    return {
        "type": "tokens",
        "input_tokens": usage.prompt_tokens,
        "input_token_details": {
            "audio_tokens": usage.audio_input_tokens,
            "text_tokens": usage.prompt_tokens - usage.audio_input_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _segments(text: str, seconds: float) -> list[Body]:
    return [
        {
            "id": 0, "seek": 0, "start": 0.0, "end": round(seconds, 3), "text": f" {text}", "tokens": [50364], "temperature": 0.0,
            "avg_logprob": -0.2, "compression_ratio": 1.1, "no_speech_prob": 0.01,
        }
    ]  # fmt: skip


def _subtitles(segments: list[Body], wanted: str) -> str:
    text = str(segments[0]["text"]).strip()
    return f"{text}\n" if wanted == "text" else f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n"


def _text_frames(text: str, usage: Usage, told: Body | None) -> list[Frame]:
    pieces = split_tokens(text)
    frames = [
        Frame(data=dump({"type": "transcript.text.delta", "delta": piece}), tokens=number, is_content=True)
        for number, piece in enumerate(pieces, start=1)
    ]
    done: Body = {"type": "transcript.text.done", "text": text}
    if told is not None:
        done["usage"] = told
    return [*frames, Frame(data=dump(done), tokens=usage.completion_tokens)]


# ── Moderation ───────────────────────────────────────────────────────────────────────────────────────────────────────
def moderate(body: Body, *, model: str, call_id: str) -> Reply:
    """A result per text, or one for parts."""
    given: Any = body["input"]
    has_parts = isinstance(given, list) and isinstance(given[0], dict)
    items: list[str] = [given] if isinstance(given, str) else given
    if has_parts:
        items = [" ".join(part.get("text", "") for part in given)]
    results = []
    for item in items:
        found = {category for word, category in FLAGGED_WORDS.items() if word in item.lower()}
        results.append(
            {
                "flagged": bool(found),
                "categories": {name: name in found for name in CATEGORIES},
                "category_scores": {name: 0.97 if name in found else 0.0001 for name in CATEGORIES},
                "category_applied_input_types": {
                    name: ["text", "image"] if has_parts and name in PICTURED else ["text"] for name in CATEGORIES
                },
            }
        )
    return Reply(usage=Usage(), body={"id": call_id, "model": model, "results": results})
