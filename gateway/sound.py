"""How long an uploaded sound is, from its headers, and how long it can be at most. Pure; reads some kilobytes of it.

What is billed is what the provider says; this bounds it, and stands in where the provider says nothing. Headers are the caller's
words, so the bound also looks at the bytes: at the lowest rate at which speech is recorded in that format. A WAV of plain samples
can't lie: its rate is what the provider plays it at.

| format | length from | lowest bytes per second |
|---|---|---|
| wav (PCM, float, A-law, µ-law) | all bytes after its headers, at the rate of its `fmt ` | – |
| flac | STREAMINFO | 8000 |
| mp3 | Xing or Info frames, else the first frame's rate | 4000 |
| mp4, m4a | `mvhd` | 3000 |
| ogg (Opus, Vorbis) | the last page's position | 1500 |
| webm | Duration | 1500 |
| anything else | 4000 bytes per second | 1500 |
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

HEAD_BYTES = 65_536
TAIL_BYTES = 65_307  # an Ogg page is no longer
BOXES_MAX = 500
TYPICAL_BYTES_PER_SECOND = 4_000
LOWEST_BYTES_PER_SECOND = 1_500
WAV_BYTES_PER_SECOND_MAX = 192_000 * 8 * 4
WAV_PLAIN = frozenset({1, 3, 6, 7, 0xFFFE})
MP3_RATES = {  # (MPEG-1?, layer) → kbit/s by index
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MP3_SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


class Length(NamedTuple):
    """Begun seconds."""

    seconds: int
    most: int


def measure_sound(data: memoryview) -> Length:
    """Never fails: what can't be read is bounded by its bytes."""
    head = bytes(data[:HEAD_BYTES])
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        seconds = _read_wav(head, len(data))
        if seconds:
            return Length(seconds, seconds)
    for begins, read, lowest in _FORMATS:
        if begins(head):
            try:
                seconds = read(data, head)
            except (struct.error, IndexError, OverflowError, ZeroDivisionError):
                seconds = 0
            return _bounded(len(data), seconds, lowest)
    return _bounded(len(data), 0, LOWEST_BYTES_PER_SECOND)


def _bounded(size: int, seconds: int, lowest: int) -> Length:
    most = max(1, _ceil(size, lowest))
    if not seconds:
        return Length(min(most, max(1, _ceil(size, TYPICAL_BYTES_PER_SECOND))), most)
    seconds = min(seconds, max(most, _ceil(size, LOWEST_BYTES_PER_SECOND)))
    return Length(seconds, max(seconds, most))


def _ceil(amount: int, per: int) -> int:
    return -(-amount // per)


def _read_wav(head: bytes, size: int) -> int:
    """All that comes after the headers, whatever length they name."""
    place, per_second = 12, 0
    while place + 8 <= len(head):
        name, length = head[place : place + 4], int.from_bytes(head[place + 4 : place + 8], "little")
        if name == b"fmt " and place + 24 <= len(head):
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", head, place + 8)
            per_second = min(rate * channels * bits // 8, WAV_BYTES_PER_SECOND_MAX) if kind in WAV_PLAIN else 0
        elif name == b"data":
            return max(1, _ceil(size - place - 8, per_second)) if per_second else 0
        place += 8 + length + length % 2
    return 0


def _read_flac(data: memoryview, head: bytes) -> int:
    packed = int.from_bytes(head[18:26])
    return _ceil(packed & (1 << 36) - 1, packed >> 44)


def _read_ogg(data: memoryview, head: bytes) -> int:
    vorbis = head.find(b"\x01vorbis", 0, 256)
    rate = int.from_bytes(head[vorbis + 12 : vorbis + 16], "little") if vorbis >= 0 else 48_000
    tail = bytes(data[-TAIL_BYTES:])
    page = tail.rfind(b"OggS")
    position = struct.unpack_from("<q", tail, page + 6)[0] if page >= 0 else 0
    return _ceil(max(0, position), rate)


def _read_mp4(data: memoryview, head: bytes) -> int:
    found = _find_box(data, b"moov", 0, len(data))
    inner = _find_box(data, b"mvhd", *found) if found else None
    if inner is None:
        return 0
    raw = bytes(data[inner[0] : inner[0] + 32])
    scale, duration = struct.unpack_from(">IQ", raw, 20) if raw[0] == 1 else struct.unpack_from(">II", raw, 12)
    return 0 if duration in (0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF) else _ceil(duration, scale)


def _find_box(data: memoryview, name: bytes, place: int, end: int) -> tuple[int, int] | None:
    """Where the contents of a box begin and end."""
    for _ in range(BOXES_MAX):
        if place + 8 > end:
            break
        size, head = int.from_bytes(data[place : place + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16]), 16
        last = end if size == 0 else min(end, place + size)
        if bytes(data[place + 4 : place + 8]) == name:
            return place + head, last
        if last < place + head:
            break
        place = last
    return None


def _read_mp3(data: memoryview, head: bytes) -> int:
    start = 0
    if head[:3] == b"ID3":
        start = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
        head = bytes(data[start : start + HEAD_BYTES])
    for place in range(min(len(head) - 4, 4_096)):
        if (
            head[place] == 0xFF
            and head[place + 1] & 0xE0 == 0xE0
            and (seconds := _read_frames(head, place, len(data) - start - place))
        ):
            return seconds
    return 0


def _read_frames(head: bytes, place: int, size: int) -> int:
    """The length by the first frame of layers I to III, and by the count in it where there is one; 0: it is no frame."""
    version, layer = head[place + 1] >> 3 & 3, 4 - (head[place + 1] >> 1 & 3)
    rate_index, sample_index = head[place + 2] >> 4, head[place + 2] >> 2 & 3
    if version == 1 or layer == 4 or rate_index in (0, 15) or sample_index == 3:
        return 0
    kbits = MP3_RATES[version == 3, layer][rate_index]
    samples_per_second = MP3_SAMPLE_RATES[version][sample_index]
    samples_per_frame = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1_152
    for mark in (b"Xing", b"Info"):
        at = head.find(mark, place, place + 64)
        if at >= 0 and head[at + 7] & 1:
            return _ceil(int.from_bytes(head[at + 8 : at + 12]) * samples_per_frame, samples_per_second)
    return _ceil(size * 8, kbits * 1_000)


def _read_webm(data: memoryview, head: bytes) -> int:
    info = head.find(b"\x15\x49\xa9\x66")
    at = head.find(b"\x44\x89", info, info + 512) if info >= 0 else -1
    if at < 0:
        return 0
    scaled = head.find(b"\x2a\xd7\xb1\x83", info, info + 512)
    nanos = int.from_bytes(head[scaled + 4 : scaled + 7]) if scaled >= 0 else 1_000_000
    form = {0x84: ">f", 0x88: ">d"}.get(head[at + 2])
    duration = struct.unpack_from(form, head, at + 3)[0] if form else 0.0
    return _ceil(int(duration) * nanos, 1_000_000_000) if 0 < duration < 1e12 else 0


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[memoryview, bytes], int], int], ...] = (
    (lambda head: head[:4] == b"fLaC", _read_flac, 8_000),
    (lambda head: head[:4] == b"OggS", _read_ogg, 1_500),
    (lambda head: head[4:8] == b"ftyp", _read_mp4, 3_000),
    (lambda head: head[:4] == b"\x1a\x45\xdf\xa3", _read_webm, 1_500),
    (lambda head: head[:3] == b"ID3" or (head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0), _read_mp3, 4_000),
)
