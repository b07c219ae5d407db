"""Labels that a caller puts on a call: usage is added up by them, and budgets are of them. Pure.

They come by the header `X-Tokia-Tags: a,b`, by the body's `tags`, which no provider hears of, or by a list at `metadata.tags`,
which is left in place. A call may have TAGS_MAX of them, whichever way they come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.errors import BadRequest

TAGS_HEADER = b"x-tokia-tags"
TAGS_MAX = 5
_TAG = re.compile(r"[A-Za-z0-9._:/-]{1,64}")


class _Metadata(msgspec.Struct, gc=False):
    tags: Any = None


_decode_metadata = msgspec.json.Decoder(_Metadata).decode


def read_tags(headers: Mapping[bytes, bytes], *, body: Any = None, metadata: bytes = b"") -> tuple[str, ...]:
    """Each once, in the sequence in which they came. `body`: the member `tags`, decoded; `metadata`: that member, as it came.

    Raises BadRequest, naming where they came from."""
    found: dict[str, None] = {}
    if TAGS_HEADER in headers:
        told = [part.strip() for part in headers[TAGS_HEADER].decode("latin-1").split(",")]
        found |= _checked([tag for tag in told if tag], "x-tokia-tags")
    if body is not None:
        found |= _checked(body, "tags")
    if b'"tags"' in metadata:
        listed = _tags_within(metadata)
        if isinstance(listed, list):
            found |= _checked(listed, "metadata.tags")
    if len(found) > TAGS_MAX:
        raise _wrong("tags")
    return tuple(found)


def _tags_within(metadata: bytes) -> Any:
    """None where it is no object: its surface says so."""
    try:
        return _decode_metadata(metadata).tags
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _checked(tags: Any, param: str) -> dict[str, None]:
    is_right = isinstance(tags, list) and len(tags) <= TAGS_MAX
    if not is_right or not all(isinstance(tag, str) and _TAG.fullmatch(tag) for tag in tags):
        raise _wrong(param)
    return dict.fromkeys(tags)


def _wrong(param: str) -> BadRequest:
    return BadRequest(
        f"Valor inválido em '{param}': esperado até {TAGS_MAX} etiquetas de 1 a 64 letras sem acento, algarismos ou . _ : / -.",
        f"Invalid value for '{param}': expected at most {TAGS_MAX} tags of 1 to 64 letters, digits or . _ : / -.",
        param=param,
    )
