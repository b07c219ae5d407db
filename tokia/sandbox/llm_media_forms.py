"""Forms with files as the providers read them: strict, whole, and by another way than Tokia's own parser."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import HTTP

from tokia.sandbox.asgi import Request
from tokia.sandbox.llm_refusals import ProviderError


@dataclass
class Upload:
    name: str
    filename: str
    content_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass
class Form:
    fields: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)  # names that end with []
    files: list[Upload] = field(default_factory=list)

    def flat(self) -> dict[str, str | list[str] | dict[str, str]]:
        """Fields as an API sees them: `a[]` are lists, `a[b]` objects."""
        flat: dict[str, str | list[str] | dict[str, str]] = {**self.lists}
        for name, value in self.fields.items():
            outer, _, inner = name.partition("[")
            if inner:
                inside = flat.setdefault(outer, {})
                assert isinstance(inside, dict)
                inside[inner.rstrip("]")] = value
            else:
                flat[name] = value
        return flat


def read_form(request: Request) -> Form:
    """Raises ProviderError."""
    head = _parse(b"Content-Type: " + request.headers.get("content-type", "").encode("latin-1"))
    boundary = head.get_param("boundary")
    if head.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise ProviderError(415, "Unsupported Media Type: send multipart/form-data.")
    mark = b"--" + boundary.encode()
    pieces = (b"\r\n" + request.body).split(b"\r\n" + mark)
    if len(pieces) < 3 or pieces[0] != b"" or pieces[-1] not in (b"--\r\n", b"--"):
        raise ProviderError(400, "Could not parse multipart form")
    form = Form()
    for piece in pieces[1:-1]:
        raw, separator, data = piece.partition(b"\r\n\r\n")
        if not separator or not raw.startswith(b"\r\n"):
            raise ProviderError(400, "Could not parse multipart form")
        _take(form, _parse(raw[2:]), data)
    return form


def _parse(head: bytes) -> Message:
    return BytesHeaderParser(policy=HTTP.clone(utf8=True)).parsebytes(head + b"\r\n\r\n")


def _take(form: Form, head: Message, data: bytes) -> None:
    name = head.get_param("name", header="content-disposition")
    filename = head.get_param("filename", header="content-disposition")
    if not isinstance(name, str) or head.get_content_disposition() != "form-data":
        raise ProviderError(400, "Could not parse multipart form")
    if isinstance(filename, str):
        form.files.append(Upload(name, filename, head.get_content_type(), data))
    elif name.endswith("[]"):
        form.lists.setdefault(name[:-2], []).append(data.decode())
    elif name in form.fields:
        raise ProviderError(400, f"Duplicate parameter: '{name}'.", param=name)
    else:
        form.fields[name] = data.decode()
