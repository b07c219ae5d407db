"""Free text as the standard takes it: Latin-1 without control characters, one blank at a time, none at the edges. Pure.

`TSString` of the official types: `[!-ÿ]{1}[ -ÿ]{0,}[!-ÿ]{1}`. What people type has more: emoji, curly quotes, tabs, other
alphabets. Punctuation is told in its plain form, accents that Latin-1 lacks are taken off ("ő" → "o"), the rest is dropped.
"""

from __future__ import annotations

import unicodedata

_PLAIN = str.maketrans({
    "‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-",
    "−": "-", "…": "...", "•": "-", "€": "EUR", "™": "(TM)", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "œ": "oe", "Œ": "OE",
    "\N{SOFT HYPHEN}": "", "\N{ZERO WIDTH SPACE}": "",
})  # fmt: skip


def clean_text(text: str, *, length_max: int) -> str:
    """What of `text` may stand in a document; empty where nothing may."""
    composed = unicodedata.normalize("NFC", text).translate(_PLAIN)
    kept = "".join(_in_latin_1(character) for character in composed)
    return " ".join(kept.split())[:length_max].rstrip()


def _in_latin_1(character: str) -> str:
    if character.isspace():
        return " "
    if _is_printable(character):
        return character
    return "".join(part for part in unicodedata.normalize("NFKD", character) if _is_printable(part))


def _is_printable(character: str) -> bool:
    return " " <= character <= "~" or "\xa1" <= character <= "\xff"
