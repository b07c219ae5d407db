"""Units in words, as customers and administrators read them: what was used, and what a price is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.utils.translation import gettext, gettext_noop

from billing.figures import tell_count
from billing.pricing import MEDIA

# Of one, and of more. Text tokens have columns of their own wherever usage is shown; these are told where there were any.
_NOUNS = {
    "audio_input_tokens": (gettext_noop("token de áudio na entrada"), gettext_noop("tokens de áudio na entrada")),
    "image_input_tokens": (gettext_noop("token de imagem na entrada"), gettext_noop("tokens de imagem na entrada")),
    "audio_output_tokens": (gettext_noop("token de áudio na saída"), gettext_noop("tokens de áudio na saída")),
    "image_output_tokens": (gettext_noop("token de imagem na saída"), gettext_noop("tokens de imagem na saída")),
    "images": (gettext_noop("imagem"), gettext_noop("imagens")),
    "audio_seconds": (gettext_noop("segundo de áudio"), gettext_noop("segundos de áudio")),
    "characters": (gettext_noop("caractere"), gettext_noop("caracteres")),
    "searches": (gettext_noop("busca"), gettext_noop("buscas")),
}
_PER = {
    ("image", 1): gettext_noop("/imagem"),
    ("audio_second", 1): gettext_noop("/segundo"),
    ("audio_second", 60): gettext_noop("/minuto"),
    ("audio_second", 3_600): gettext_noop("/hora"),
    ("character", 1_000): gettext_noop("/1.000 caracteres"),
    ("character", 1_000_000): gettext_noop("/1M caracteres"),
    ("search", 1): gettext_noop("/busca"),
    ("request", 1): gettext_noop("/requisição"),
}
_PLURALS = {
    "image": gettext_noop("imagens"),
    "audio_second": gettext_noop("segundos de áudio"),
    "character": gettext_noop("caracteres"),
    "search": gettext_noop("buscas"),
    "request": gettext_noop("requisições"),
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
            told.append(f"{tell_count(quantity)} {gettext(one if quantity == 1 else more)}")
    return ", ".join(told)


def tell_per(unit: str, per_units: int) -> str:
    """What a price of so many units is for, to stand after it: `/1M`, `/imagem`, `/hora`."""
    if (known := _PER.get((unit, per_units))) is not None:
        return gettext(known)
    count = "1M" if per_units == 1_000_000 else tell_count(per_units)
    noun = gettext(_PLURALS[unit]) if unit in _PLURALS else ""
    return f"/{count} {noun}".rstrip()
