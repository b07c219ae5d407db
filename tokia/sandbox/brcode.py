"""The bank's own BR Code writer (Manual do BR Code, Banco Central): EMV tag-length-value fields and a CRC.

Tokia has another one, written apart, so that a slip in either is seen by the other's tests.
"""

from __future__ import annotations

import binascii
import unicodedata

ARRANGEMENT = "br.gov.bcb.pix"
LOCATION_CHARS_MAX = 77
NAME_CHARS_MAX = 25
CITY_CHARS_MAX = 15


def dynamic_code(*, location: str, name: str, city: str, amount: str) -> str:
    """The "copia e cola" of a dynamic charge.

    `location` has no scheme; `amount` is reais as the API writes it, "150.00". Raises ValueError when a field does not fit.
    """
    if "://" in location or len(location) > LOCATION_CHARS_MAX:
        raise ValueError("location has no scheme and at most 77 characters")
    fields = [
        _field("00", "01"),
        _field("01", "12"),  # 12: this code is paid once
        _field("26", _field("00", ARRANGEMENT) + _field("25", location)),
        _field("52", "0000"),
        _field("53", "986"),
        _field("54", amount),
        _field("58", "BR"),
        _field("59", _plain(name, NAME_CHARS_MAX)),
        _field("60", _plain(city, CITY_CHARS_MAX)),
        _field("62", _field("05", "***")),
        "6304",
    ]
    code = "".join(fields)
    return f"{code}{binascii.crc_hqx(code.encode('ascii'), 0xFFFF):04X}"


def _field(tag: str, value: str) -> str:
    if not 1 <= len(value) <= 99:
        raise ValueError(f"field {tag} takes 1 to 99 characters")
    return f"{tag}{len(value):02d}{value}"


def _plain(text: str, chars_max: int) -> str:
    """ASCII only: the length of a field counts characters and banks disagree about bytes."""
    decomposed = unicodedata.normalize("NFKD", text)
    kept = "".join(char for char in decomposed if char.isascii() and (char.isalnum() or char in " .,-/&"))
    return kept[:chars_max].strip() or "NAO INFORMADO"[:chars_max]
