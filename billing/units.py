"""Units in words, as customers and administrators read them: what was used, and what a price is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from billing.pricing import MEDIA

# Of one, and of more. Text tokens have columns of their own wherever usage is shown; these are told where there were any.
_NOUNS = {
    "audio_input_tokens": ("token de áudio na entrada", "tokens de áudio na entrada"),
    "image_input_tokens": ("token de imagem na entrada", "tokens de imagem na entrada"),
    "audio_output_tokens": ("token de áudio na saída", "tokens de áudio na saída"),
    "image_output_tokens": ("token de imagem na saída", "tokens de imagem na saída"),
    "images": ("imagem", "imagens"),
    "audio_seconds": ("segundo de áudio", "segundos de áudio"),
    "characters": ("caractere", "caracteres"),
    "searches": ("busca", "buscas"),
}
_PER = {
    ("image", 1): "/imagem",
    ("audio_second", 1): "/segundo",
    ("audio_second", 60): "/minuto",
    ("audio_second", 3_600): "/hora",
    ("character", 1_000): "/1.000 caracteres",
    ("character", 1_000_000): "/1M caracteres",
    ("search", 1): "/busca",
    ("request", 1): "/requisição",
}
_PLURALS = {
    "image": "imagens",
    "audio_second": "segundos de áudio",
    "character": "caracteres",
    "search": "buscas",
    "request": "requisições",
}


def media_of(record: object) -> dict[str, int]:
    """The quantities of a call or a sum of calls that are no text tokens, without those that are zero."""
    return {name: quantity for name, _ in MEDIA if (quantity := getattr(record, name))}


def media_from(quantities: Iterable[int]) -> dict[str, int]:
    """The same from a row that has them in the order of `pricing.MEDIA`."""
    return {name: quantity for (name, _), quantity in zip(MEDIA, quantities, strict=True) if quantity}


def tell_media(quantities: Mapping[str, int]) -> str:
    """`2 imagens, 61 segundos de áudio`; empty where there is nothing to tell."""
    told = []
    for name, (one, more) in _NOUNS.items():
        if quantity := quantities.get(name, 0):
            told.append(f"{quantity:,} {one if quantity == 1 else more}".replace(",", "."))
    return ", ".join(told)


def tell_per(unit: str, per_units: int) -> str:
    """What a price of so many units is for, to stand after it: `/1M`, `/imagem`, `/hora`."""
    if (known := _PER.get((unit, per_units))) is not None:
        return known
    count = "1M" if per_units == 1_000_000 else f"{per_units:,}".replace(",", ".")
    noun = _PLURALS.get(unit, "")
    return f"/{count} {noun}".rstrip()
