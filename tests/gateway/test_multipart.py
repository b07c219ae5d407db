"""Forms: what clients write is read whole, what is hostile is refused in time, and what we write others can read."""

from __future__ import annotations

import contextlib
import time
from email.message import Message
from email.parser import BytesParser
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.multipart import LOOKALIKES_MAX, PARTS_MAX, File, Form, parse_form, write_form

NAMES = st.from_regex(r"[a-z_]{1,20}(\[\])?", fullmatch=True)
TEXTS = st.text(max_size=200)
BLOBS = st.one_of(st.binary(max_size=400), st.sampled_from([b"", b"\r\n", b"--", b"\r\n--", b"\r\n--x", b"\r\n\r\n", b"--x--\r\n"]))
TYPE = b"multipart/form-data; boundary=x"


def part(name: str, data: bytes, *, filename: str | None = None, extra: str = "") -> bytes:
    shown = f'; filename="{filename}"' if filename is not None else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n{extra}\r\n'.encode() + data + b"\r\n"


def code_of(body: bytes, content_type: bytes = TYPE) -> str | None:
    began = time.process_time()
    with pytest.raises(BadRequest) as refused:
        parse_form(body, content_type)
    assert time.process_time() - began < 0.5
    return refused.value.code


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=8, unique_by=lambda pair: pair[0]), st.lists(BLOBS, max_size=3))
def test_it_reads_what_httpx_writes(texts: list[tuple[str, str]], blobs: list[bytes]) -> None:
    files: list[Any] = [("image[]", (f"foto {number}.PNG", blob, "image/png")) for number, blob in enumerate(blobs)]
    files += [(name, (None, text.encode("utf-8", "surrogatepass"))) for name, text in texts]
    if not files:
        return
    request = httpx.Request("POST", "http://x", files=files)
    form = parse_form(request.read(), request.headers["content-type"].encode())
    assert [bytes(file.data) for file in form.files] == blobs
    assert all((file.field, file.extension, file.content_type) == ("image[]", "png", "image/png") for file in form.files)
    assert form.texts == [(name, text) for name, text in texts]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), TEXTS), max_size=6), st.lists(BLOBS, max_size=3))
def test_it_writes_what_it_and_others_can_read(texts: list[tuple[str, str]], blobs: list[bytes]) -> None:
    files = [File("file", memoryview(blob), "wav", "audio/wav") for blob in blobs]
    content_type, body = write_form(texts, files)
    whole: Message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    parts = whole.get_payload() if texts or files else []
    assert len(parts) == len(texts) + len(files)
    names = {name for name, _ in texts}
    if len(names) == len(texts) and not any(set(name) & set('"\\%') or not name.isprintable() or name == "file" for name in names):
        form = parse_form(body, content_type.encode()) if len(files) < 2 else Form([], [])
        if len(files) < 2:
            assert form.texts == texts
            assert [bytes(file.data) for file in form.files] == blobs


def test_it_never_writes_a_boundary_that_its_data_hold() -> None:
    content_type, _ = write_form([("a", "b")], [])
    boundary = content_type.partition("boundary=")[2]
    other, body = write_form([("a", f"\r\n--{boundary}--\r\n")], [])
    assert boundary not in other
    assert parse_form(body, other.encode()).texts == [("a", f"\r\n--{boundary}--\r\n")]


@given(st.binary(max_size=2_000), st.binary(max_size=60))
def test_it_never_fails_otherwise(body: bytes, content_type: bytes) -> None:
    for given_type in (content_type, TYPE, b"multipart/form-data;" + content_type):
        for given_body in (body, b"--x\r\n" + body, part("a", body) + b"--x--", part("a", b"b") + body):
            with contextlib.suppress(BadRequest):
                parse_form(given_body, given_type)


@given(st.data())
def test_it_reads_or_refuses_every_cut_and_every_changed_byte(data: st.DataObject) -> None:
    body = (
        part("model", b"m") + part("file", bytes(range(256)), filename="a.wav", extra="Content-Type: audio/wav\r\n") + b"--x--\r\n"
    )
    place = data.draw(st.integers(0, len(body) - 1))
    if place < len(body) - 2:
        with pytest.raises(BadRequest):
            parse_form(body[:place], TYPE)
    changed = body[:place] + bytes([data.draw(st.integers(0, 255))]) + body[place + 1 :]
    with contextlib.suppress(BadRequest):
        parse_form(changed, TYPE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        part("a", b"b"),  # no final boundary
        part("a", b"b") + b"--x-",
        part("a", b"b") + b"--x--\r\nmore",
        part("a", b"b") + part("a", b"c") + b"--x--",
        b"--x\r\n\r\n\r\ndata\r\n--x--",  # no name
        b"--x\r\nContent-Disposition: form-data\r\n\r\ndata\r\n--x--",
        b'--x\r\nContent-Disposition: attachment; name="a"\r\n\r\ndata\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\ndata\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="a\r\n\r\ndata\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"\r\n\r\nd\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nd\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="a\x00b"\r\n\r\nd\r\n--x--',
        b'--x\r\n folded\r\nContent-Disposition: form-data; name="a"\r\n\r\nd\r\n--x--',
        part("a" * 101, b"b") + b"--x--",
        part("a", b"\xff\xfe") + b"--x--",
        part("a", b"b", extra="Content-Transfer-Encoding: base64\r\n") + b"--x--",
        part("a", b"b", extra="X-Long: " + "y" * 9_000 + "\r\n") + b"--x--",
        b"".join(part(f"n{number}", b"") for number in range(PARTS_MAX + 1)) + b"--x--",
        b"".join(part(f"n{number}", b"") for number in range(10_000)) + b"--x--",
        part("a", b"c" * 1_048_577) + b"--x--",
        part("a", b"\r\n--xy" * (LOOKALIKES_MAX + 1)) + b"--x--",
        b"--x\r\n" * 200_000,
    ],
    ids=range(24),
)
def test_it_refuses_hostile_forms_in_time(body: bytes) -> None:
    assert code_of(body) in ("invalid_multipart", "invalid_value")


@pytest.mark.parametrize(
    "content_type",
    [b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"y" * 71, b"application/json",
     b'multipart/form-data; boundary="a b "', b"multipart/form-data; boundary=\xff", b"multipart/form-data; xboundary=x",
     b"multipart/form-data; boundary=x\r\ny"],
)  # fmt: skip
def test_it_refuses_bad_boundaries(content_type: bytes) -> None:
    assert code_of(part("a", b"b") + b"--x--", content_type) == "invalid_multipart"


def test_it_takes_quoted_boundaries_escapes_lookalikes_and_names_of_browsers() -> None:
    body = part('a\\"b', b"1\r\n--xy\r\n2") + part("f", b"\x00", filename="C:\\fotos\\Praia.JPEG") + b"--x--\r\n"
    form = parse_form(b"\r\n" + body, b'Multipart/Form-Data; charset=utf-8; boundary="x"')
    assert form.texts == [('a"b', "1\r\n--xy\r\n2")]
    assert form.files[0].extension == "jpeg"
    assert form.text('a"b') is not None
    assert form.all_texts("nothing") == []
