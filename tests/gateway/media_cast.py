"""Routes, sounds and pictures for the tests of media."""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from dataclasses import dataclass

from billing.models import UsageRecord
from tests.gateway.world import Tenant, World

IMAGE_TOKENS = {"input": "10", "image_input": "14", "output": "20", "image_output": "60"}
LISTEN_TOKENS = {"input": "14", "audio_input": "33", "output": "55"}
EARS = ["timestamps", "translation"]


@dataclass(frozen=True)
class Sold:
    slug: str
    model: str
    surface: str
    units: dict[str, str]
    capabilities: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        by = "each" if "image" in self.units else ""
        return f"media/{self.slug}-{self.model}{by}".lower()


SOLD = {
    "image": Sold("openai", "gpt-image-1-mini", "images", IMAGE_TOKENS),
    "image-each": Sold("openai", "gpt-image-1.5", "images", {"image": "0.25"}),
    "tts-1": Sold("openai", "tts-1", "speech", {"character": "0.09"}),
    "mini-tts": Sold("openai", "gpt-4o-mini-tts", "speech", {"input": "3", "audio_output": "65"}),
    "whisper": Sold("openai", "whisper-1", "transcriptions", {"audio_second": "0.0006"}, ("timestamps", "translation")),
    "4o": Sold("openai", "gpt-4o-transcribe", "transcriptions", LISTEN_TOKENS, ("streaming",)),
    "groq": Sold("groq", "whisper-large-v3", "transcriptions", {"audio_second": "0.0002"}, ("timestamps", "translation")),
    "voxtral": Sold("mistral", "voxtral-mini-2602", "transcriptions", {"audio_second": "0.0003"}, ("timestamps",)),
    "moderation": Sold("openai", "omni-moderation-latest", "moderations", {"request": "0.0001"}),
}


def make_routes(world: World, *keys: str, fault: str = "") -> dict[str, str]:
    """Routes by the keys of SOLD (all of them); `fault`: their upstreams misbehave so. Gives the names."""
    names = {}
    for key in keys or SOLD:
        sold = SOLD[key]
        model = f"fault-{fault}-{sold.model}" if fault else sold.model
        name = f"{sold.name}-{fault}" if fault else sold.name
        world.route(
            sold.slug, model, name=name, units=sold.units, surface=sold.surface, capabilities=list(sold.capabilities),
            output_tokens_max=0, output_tokens_default=0,
        )  # fmt: skip
        names[key] = name
    return names


def make_wav(seconds: float, *, rate: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    """A tone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        frames = round(seconds * rate)
        if width == 2:
            period = b"".join(struct.pack("<h", round(9_000 * math.sin(index / 40 * math.tau))) * channels for index in range(40))
            sound.writeframes((period * (frames // 40 + 1))[: frames * 2 * channels])
        else:
            sound.writeframes(bytes([128]) * frames * channels * width)
    return file.getvalue()


def make_png(side: int = 64, *, noise: int = 0) -> bytes:
    """A real picture; `noise`: so many bytes that no compression shrinks."""
    rows = (b"\x00" + bytes([200, 30, 90, 255]) * side) * side
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed) + bytes(noise)


def reconcile(world: World, tenant: Tenant, *, calls: int) -> list[UsageRecord]:
    """The sandbox's ledger and the usage records agree bucket by bucket, and the wallet paid what the records say."""
    billed: dict[str, int] = {}
    for total in world.sandbox.ledger()["totals"]:
        for name, value in total.items():
            if isinstance(value, int):
                billed[name] = billed.get(name, 0) + value
    records = tenant.records()
    assert len(records) == calls == billed["calls"] == billed["finished"]

    def used(*names: str) -> int:
        return sum(getattr(record, name) for record in records for name in names)

    texts_in = ("input_tokens", "cached_input_tokens", "cache_write_tokens")
    assert used(*texts_in, "audio_input_tokens", "image_input_tokens") == billed["prompt_tokens"]
    assert used("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens") == billed["completion_tokens"]
    for name in ("audio_input_tokens", "image_input_tokens", "audio_output_tokens", "image_output_tokens"):
        assert used(name) == billed[name], name
    for name in ("audio_seconds", "characters", "images"):
        priced = [record for record in records if getattr(record, name)]
        if priced:
            assert used(name) == billed[name], name
    wallet = tenant.fresh()
    assert wallet.held_nanos == 0
    assert wallet.posted_nanos == 100 * 10**9 - sum(record.net_nanos for record in records)
    for record in records:
        assert record.hold_nanos is not None
        assert 0 < record.gross_nanos <= record.hold_nanos
    return records
