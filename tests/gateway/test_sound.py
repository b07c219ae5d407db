"""How long sounds are: every format by hand, lies bounded by the bytes, and rubbish in no time."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sound import Length, measure_sound
from tests.gateway.media_cast import make_wav
from tokia.sandbox.llm_media_answers import make_sound


def measure(data: bytes) -> Length:
    return measure_sound(memoryview(data))


def box(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + name + data


def mp4(scale: int, duration: int, *, wide: bool = False, size: int = 40_000) -> bytes:
    head = struct.pack(">BxxxQQIQ", 1, 0, 0, scale, duration) if wide else struct.pack(">BxxxIIII", 0, 0, 0, scale, duration)
    return box(b"ftyp", b"M4A " + bytes(8)) + box(b"mdat", bytes(size)) + box(b"moov", box(b"mvhd", head + bytes(80)))


def webm(milliseconds: float, size: int = 40_000) -> bytes:
    info = b"\x2a\xd7\xb1\x83\x0f\x42\x40" + b"\x44\x89\x88" + struct.pack(">d", milliseconds)
    return b"\x1a\x45\xdf\xa3" + bytes(20) + b"\x15\x49\xa9\x66" + bytes([0x80 | len(info)]) + info + bytes(size)


def vorbis(samples: int, rate: int, size: int = 40_000) -> bytes:
    first = b"OggS\x00\x02" + bytes(20) + b"\x01\x1e" + b"\x01vorbis" + bytes(4) + b"\x01" + struct.pack("<I", rate) + bytes(14)
    return first + bytes(size) + b"OggS\x00\x04" + struct.pack("<q", samples) + bytes(13)


def xing(frames: int, *, id3: int = 0, size: int = 40_000) -> bytes:
    tag = b"ID3\x04\x00\x00" + bytes([id3 >> 21 & 127, id3 >> 14 & 127, id3 >> 7 & 127, id3 & 127]) + bytes(id3) if id3 else b""
    return tag + b"\xff\xfb\x90\x00" + bytes(32) + b"Xing\x00\x00\x00\x01" + struct.pack(">I", frames) + bytes(size)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (make_wav(3), 3),
        (make_wav(3.01), 4),
        (make_wav(7, rate=44_100, channels=2), 7),
        (make_wav(5, rate=8_000, width=1), 5),
        (make_sound("mp3", 9.9), 10),
        (make_sound("flac", 9.9), 10),
        (make_sound("opus", 9.9), 10),
        (mp4(1_000, 9_900), 10),
        (mp4(44_100, 441_000, wide=True), 10),
        (webm(9_900.0), 10),
        (vorbis(441_000, 44_100), 10),
        (xing(383), 11),  # 1152 samples at 44.1 kHz
        (xing(383, id3=2_000), 11),
    ],
)
def test_it_reads_the_length_of_every_format(data: bytes, seconds: int) -> None:
    length = measure(data)
    assert length.seconds == seconds
    assert length.most >= seconds


def test_it_holds_a_wav_exactly_whatever_its_sizes_say() -> None:
    data = make_wav(60)
    lying = data[:4] + struct.pack("<I", 36) + data[8:40] + struct.pack("<I", 16) + data[44:]
    assert measure(lying) == Length(60, 60)


@pytest.mark.parametrize("data", [xing(1), mp4(1_000_000, 1), vorbis(1, 48_000), webm(0.001), b"fLaC" + bytes(40_000)])
def test_it_bounds_what_headers_hide_by_the_bytes(data: bytes) -> None:
    assert measure(data).most >= len(data) // 8_000


@pytest.mark.parametrize(
    "data", [xing(2**31), mp4(1, 2**31), mp4(0, 5), vorbis(2**62, 1), vorbis(5, 0), webm(1e300), webm(float("nan"))]
)
def test_it_bounds_what_headers_exaggerate(data: bytes) -> None:
    assert 1 <= measure(data).seconds <= measure(data).most <= len(data) // 1_500 + 1


def test_it_takes_other_codecs_in_a_wav_by_their_bytes() -> None:
    data = bytearray(make_wav(2))
    data[20:22] = struct.pack("<H", 0x31)  # GSM 6.10
    assert measure(bytes(data)).most == -(-len(data) // 1_500)
    assert measure(b"RIFF\x00\x00\x00\x00WAVE").most == 1
    zero = bytearray(make_wav(2))
    zero[24:28] = bytes(4)
    assert measure(bytes(zero)).most > 1


MAGICS = [b"", b"RIFF\x00\x00\x00\x00WAVEfmt ", b"fLaC", b"OggS", b"\x00\x00\x00\x18ftyp", b"\x1a\x45\xdf\xa3", b"ID3", b"\xff\xfb"]


@given(st.sampled_from(MAGICS), st.binary(max_size=3_000))
def test_it_never_fails(magic: bytes, rest: bytes) -> None:
    length = measure(magic + rest)
    assert 1 <= length.seconds <= length.most


@pytest.mark.parametrize(
    "data", [b"\xff\xfb" * 10_000_000, box(b"ftyp", b"") + box(b"free", b"") * 2_000_000, b"\xff" * 20_000_000]
)
def test_it_is_quick(data: bytes) -> None:
    began = time.process_time()
    measure(data)
    assert time.process_time() - began < 0.5  # 20 MB
