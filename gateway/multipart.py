"""`multipart/form-data` (RFC 7578) as bytes, both ways. Pure; what it reads and writes is never kept.

A body that was read whole, and is bounded, needs no parser with states: the delimiter is looked for with `find`, and files are
views into the body, so an upload is in memory once. What is read is written anew for the upstream, with names that we know, so
nothing of a hostile form's framing reaches it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence

import msgspec

from gateway.errors import BadRequest

PARTS_MAX = 64
HEAD_BYTES_MAX = 4_096  # of one part
TEXT_BYTES_MAX = 1_048_576  # of one field that is no file
NAME_CHARACTERS_MAX = 100
LOOKALIKES_MAX = 1_000  # texts within one part that begin as the delimiter does
_CONTENT_TYPE = re.compile(r"multipart/form-data\s*;(.*)", re.IGNORECASE | re.DOTALL)
_MARKS = r"0-9A-Za-z'()+_,\-./:=?"
_BOUNDARY = re.compile(rf'(?:^|;)\s*boundary=(?:"([{_MARKS} ]{{1,70}})"|([{_MARKS}]{{1,70}}))\s*(?:;|$)', re.IGNORECASE)
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}):[ \t]*([^\r\n\x00]*)")
_PARAMETER = re.compile(r';[ \t]*([A-Za-z*]{1,20})=(?:"((?:[^"\\]|\\.)*)"|([^;" \t]*))[ \t]*')
_EXTENSION = re.compile(r"\.([0-9A-Za-z]{1,5})$")
_TYPE = re.compile(r"[0-9A-Za-z.+-]{1,40}/[0-9A-Za-z.+-]{1,60}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_UNQUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class File(msgspec.Struct, frozen=True):
    """One uploaded file. Upstreams are told its `extension`, never its name, which may say whose it is."""

    field: str
    data: memoryview
    extension: str  # in lower case, may be empty
    content_type: str
    name: str = ""  # as it was uploaded


class Form(msgspec.Struct, frozen=True):
    """Fields in the order in which they came; a name may come again only where it ends with `[]`."""

    texts: list[tuple[str, str]]
    files: list[File]

    def text(self, name: str) -> str | None:
        return next((value for field, value in self.texts if field == name), None)

    def all_texts(self, name: str) -> list[str]:
        return [value for field, value in self.texts if field == name]


def is_form(content_type: bytes) -> bool:
    return content_type.lower().startswith(b"multipart/form-data")


def parse_form(body: bytes, content_type: bytes) -> Form:
    """Raises BadRequest `invalid_multipart`, or naming the field at fault."""
    delimiter = b"--" + _boundary_of(content_type)
    place = 2 if body.startswith(b"\r\n" + delimiter) else 0
    if not body.startswith(delimiter, place):
        raise _malformed("o corpo não começa pelo delimitador", "the body does not begin with the boundary")
    whole = memoryview(body)
    texts: list[tuple[str, str]] = []
    files: list[File] = []
    seen: set[str] = set()
    place += len(delimiter)
    while not body.startswith(b"--", place):
        if len(texts) + len(files) >= PARTS_MAX:
            raise _malformed(f"há mais de {PARTS_MAX} partes", f"there are more than {PARTS_MAX} parts")
        start, name, filename, kind = _read_head(body, place)
        end = _find_end(body, delimiter, start)
        if name in seen and not name.endswith("[]") and (filename is None or name != "image"):
            raise BadRequest(
                f"O campo '{name}' veio duas vezes.", f"The field '{name}' came twice.", param=name, code="invalid_multipart"
            )
        seen.add(name)
        if filename is None:
            texts.append((name, _decode_text(whole[start:end], name)))
        else:
            extension = _EXTENSION.search(filename)
            files.append(File(name, whole[start:end], extension.group(1).lower() if extension else "", kind, filename))
        place = end + 2 + len(delimiter)
    if body[place + 2 :].strip(b" \t\r\n"):
        raise _malformed("há bytes depois do fim", "there are bytes after the end")
    return Form(texts, files)


def _boundary_of(content_type: bytes) -> bytes:
    found = _CONTENT_TYPE.match(content_type.decode("latin-1"))
    boundary = _BOUNDARY.search(found.group(1)) if found else None
    text = (boundary.group(1) or boundary.group(2)) if boundary else ""
    if not text or text.endswith(" "):
        raise _malformed("falta um 'boundary' válido no Content-Type", "the Content-Type has no valid boundary")
    return text.encode()


def _read_head(body: bytes, place: int) -> tuple[int, str, str | None, str]:
    """Where the part's data begin, its name, its file's name (None: it is no file) and its type. `place`: after the delimiter."""
    if not body.startswith(b"\r\n", place):
        raise _malformed("um delimitador está incompleto", "a boundary is incomplete")
    end = body.find(b"\r\n\r\n", place, place + HEAD_BYTES_MAX)
    if end < 0:
        raise _malformed("o cabeçalho de uma parte não termina", "a part's header does not end")
    headers: dict[bytes, bytes] = {}
    for line in body[place + 2 : end].split(b"\r\n"):
        found = _HEADER.fullmatch(line)
        if found is None or found.group(1).lower() in headers:
            raise _malformed("o cabeçalho de uma parte é inválido", "a part's header is invalid")
        headers[found.group(1).lower()] = found.group(2)
    if headers.get(b"content-transfer-encoding", b"binary").strip().lower() not in (b"binary", b"8bit", b"7bit"):
        raise _malformed("Content-Transfer-Encoding não é aceito", "Content-Transfer-Encoding is not accepted")
    name, filename = _read_disposition(headers.get(b"content-disposition", b""))
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().decode("latin-1")
    return end + 4, name, filename, kind.lower() if _TYPE.fullmatch(kind) else ""


def _read_disposition(raw: bytes) -> tuple[str, str | None]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("um nome não está em UTF-8", "a name is not UTF-8") from None
    kind, _, _ = text.partition(";")
    values: dict[str, str] = {}
    place = len(kind)
    while place < len(text):
        found = _PARAMETER.match(text, place)
        if found is None or found.group(1).lower() in values:
            raise _malformed("Content-Disposition é inválido", "Content-Disposition is invalid")
        quoted, bare = found.group(2), found.group(3)
        values[found.group(1).lower()] = bare if quoted is None else quoted.replace('\\"', '"').replace("\\\\", "\\")
        place = found.end()
    name = values.get("name", "")
    if kind.strip().lower() != "form-data" or not name or len(name) > NAME_CHARACTERS_MAX or _CONTROLS.search(name):
        raise _malformed("uma parte não tem nome válido", "a part has no valid name")
    return name, values.get("filename", "file" if "filename*" in values else None)


def _find_end(body: bytes, delimiter: bytes, start: int) -> int:
    """Where a part's data end. A delimiter that goes on as another text is data."""
    mark = b"\r\n" + delimiter
    place = start - 2
    for _ in range(LOOKALIKES_MAX):
        place = body.find(mark, place + 2)
        if place < 0:
            break
        if body[place + len(mark) : place + len(mark) + 2] in (b"\r\n", b"--"):
            return place
    raise _malformed("falta o delimitador final", "the final boundary is missing")


def _decode_text(data: memoryview, name: str) -> str:
    if len(data) > TEXT_BYTES_MAX:
        raise BadRequest(
            f"O campo '{name}' passa de {TEXT_BYTES_MAX} bytes.", f"The field '{name}' exceeds {TEXT_BYTES_MAX} bytes.", param=name
        )
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise BadRequest(
            f"O campo '{name}' não está em UTF-8.", f"The field '{name}' is not UTF-8.", param=name, code="invalid_multipart"
        ) from None


# One per process: it says nothing of a call, and request heads that are the same can be kept. No caller ever sees it.
_BOUNDARY_OUT = secrets.token_hex(16).encode()


def write_form(texts: Iterable[tuple[str, str]], files: Sequence[File]) -> tuple[str, bytes]:
    """The Content-Type and the body for an upstream."""
    parts: list[tuple[bytes, bytes | memoryview]] = [(_head_of(name), value.encode()) for name, value in texts]
    for file in files:
        shown = f"file.{file.extension}" if file.extension else "file"
        kind = file.content_type or "application/octet-stream"
        parts.append((_head_of(file.field) + f'; filename="{shown}"\r\nContent-Type: {kind}'.encode(), file.data))
    boundary = _BOUNDARY_OUT
    while True:
        pieces: list[bytes | memoryview] = []
        for head, data in parts:
            pieces += (b"--", boundary, b"\r\n", head, b"\r\n\r\n", data, b"\r\n")
        body = b"".join([*pieces, b"--", boundary, b"--\r\n"])
        if body.count(boundary) == len(parts) + 1:
            return f"multipart/form-data; boundary={boundary.decode()}", body
        boundary = secrets.token_hex(16).encode()


def _head_of(name: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name.translate(_UNQUOTED)}"'.encode()


def _malformed(message: str, english: str) -> BadRequest:
    return BadRequest(
        f"O formulário multipart é inválido: {message}.", f"Invalid multipart form: {english}.", code="invalid_multipart"
    )
