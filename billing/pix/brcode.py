"""The "copia e cola" of a charge and its picture. Pure. Source: Manual do BR Code, Banco Central (EMV tag-length-value).

A bank's answer may lack `pixCopiaECola`: then the code is built from the charge's `location`.
"""

from __future__ import annotations

import binascii
import re
import unicodedata

import segno

ARRANGEMENT = "br.gov.bcb.pix"
LOCATION_CHARS_MAX = 77
NAME_CHARS_MAX = 25
CITY_CHARS_MAX = 15
TEMPLATES = {*(f"{tag:02d}" for tag in range(26, 52)), "62", *(f"{tag:02d}" for tag in range(80, 100))}


class BadBrcode(ValueError):
    """Not a BR Code in reais, or its CRC is wrong."""


def dynamic_code(*, location: str, name: str, city: str, amount: str | None = None) -> str:
    """The code of a dynamic charge. `location` has no scheme; `amount` is "150.00" and only informs: the payload rules.

    Raises BadBrcode when a field does not fit.
    """
    if "://" in location or not 1 <= len(location) <= LOCATION_CHARS_MAX:
        raise BadBrcode("location has no scheme and 1 to 77 characters")
    fields = [
        _field("00", "01"),
        _field("01", "12"),
        _field("26", _field("00", ARRANGEMENT) + _field("25", location)),
        _field("52", "0000"),
        _field("53", "986"),
        *([_field("54", amount)] if amount else []),
        _field("58", "BR"),
        _field("59", _plain(name, NAME_CHARS_MAX)),
        _field("60", _plain(city, CITY_CHARS_MAX)),
        _field("62", _field("05", "***")),
    ]
    return with_crc("".join(fields))


def static_code(*, key: str, name: str, city: str) -> str:
    """The code of a static QR without amount."""
    account = _field("00", ARRANGEMENT) + _field("01", key)
    fields = [
        _field("00", "01"), _field("26", account), _field("52", "0000"), _field("53", "986"), _field("58", "BR"),
        _field("59", _plain(name, NAME_CHARS_MAX)), _field("60", _plain(city, CITY_CHARS_MAX)), _field("62", _field("05", "***")),
    ]  # fmt: skip
    return with_crc("".join(fields))


def with_crc(body: str) -> str:
    """CRC-16/CCITT-FALSE over everything, `6304` included, as the last field."""
    return f"{body}6304{crc16(f'{body}6304')}"


def crc16(text: str) -> str:
    return f"{binascii.crc_hqx(text.encode(), 0xFFFF):04X}"


def read_code(code: str) -> dict[str, str | dict[str, str]]:
    """The fields of a code by tag; templates (26-51, 62, 80-99) as fields of their own. Raises BadBrcode."""
    if code[-8:-4] != "6304" or crc16(code[:-4]) != code[-4:].upper():
        raise BadBrcode("the CRC is wrong or not the last field")
    fields: dict[str, str | dict[str, str]] = {
        tag: _fields(value) if tag in TEMPLATES else value for tag, value in _fields(code).items()
    }
    if fields.get("00") != "01" or fields.get("53") != "986" or fields.get("58") != "BR":
        raise BadBrcode("not a BR Code in reais")
    return fields


def qr_svg(code: str) -> str:
    """The QR code as an inline SVG that fills its box: black on white whatever the theme, four modules of quiet zone."""
    drawn: str = segno.make(code, error="m", micro=False).svg_inline(
        border=4, omitsize=True, dark="#000", light="#fff", svgclass="qr"
    )
    return drawn


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        tag, length = text[position : position + 2], text[position + 2 : position + 4]
        if not re.fullmatch(r"\d{4}", tag + length, re.ASCII) or position + 4 + int(length) > len(text):
            raise BadBrcode(f"broken field at {position}")
        found[tag] = text[position + 4 : position + 4 + int(length)]
        position += 4 + int(length)
    return found


def _field(tag: str, value: str) -> str:
    if not 1 <= len(value) <= 99:
        raise BadBrcode(f"field {tag} takes 1 to 99 characters")
    return f"{tag}{len(value):02d}{value}"


def _plain(text: str, chars_max: int) -> str:
    """ASCII only: lengths count characters, and readers disagree about the bytes of others."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9 .,\-/&*]", "", ascii_text).strip()[:chars_max].strip()
