"""XML as it travels: gzip, then base64. Bounded on the way in: what comes from outside may be a bomb. Pure."""

from __future__ import annotations

import base64
import binascii
import gzip
import zlib

BYTES_MAX = 2_000_000  # an NFS-e has some 15 kB


def pack(xml: bytes) -> str:
    """The same bytes give the same text, always."""
    return base64.b64encode(gzip.compress(xml, mtime=0)).decode()


def unpack(text: str, *, bytes_max: int = BYTES_MAX) -> bytes:
    """Raises ValueError for what is not base64 of one whole gzip stream, or is larger than `bytes_max` once unpacked."""
    if len(text) > bytes_max * 2:
        raise ValueError("Too large")
    try:
        packed = base64.b64decode("".join(text.split()), validate=True)
        stream = zlib.decompressobj(wbits=31)
        # One byte beyond the bound tells a document that is too large from one that just fits.
        xml = stream.decompress(packed, bytes_max + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ValueError("Not gzip in base64") from error
    if len(xml) > bytes_max:
        raise ValueError("Too large once unpacked")
    if not stream.eof:
        raise ValueError("The gzip stream is cut")
    return xml
