"""Amounts of reais in Portuguese words, as a recibo needs them. Pure."""

from __future__ import annotations

_UNITS = (
    "", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove", "dez", "onze", "doze", "treze", "quatorze",
    "quinze", "dezesseis", "dezessete", "dezoito", "dezenove",
)  # fmt: skip
_TENS = ("", "", "vinte", "trinta", "quarenta", "cinquenta", "sessenta", "setenta", "oitenta", "noventa")
_HUNDREDS = (
    "", "cento", "duzentos", "trezentos", "quatrocentos", "quinhentos", "seiscentos", "setecentos", "oitocentos", "novecentos",
)  # fmt: skip
CENTAVOS_MAX = 99_999_999_999  # R$ 999.999.999,99


def spell_brl(centavos: int) -> str:
    """`123456` → "mil duzentos e trinta e quatro reais e cinquenta e seis centavos". Raises ValueError outside 0…CENTAVOS_MAX."""
    if not 0 <= centavos <= CENTAVOS_MAX:
        raise ValueError(f"{centavos} centavos have no words here.")
    reais, rest = divmod(centavos, 100)
    parts = []
    if reais:
        noun = "real" if reais == 1 else "reais"
        joint = "de " if reais % 1_000_000 == 0 else ""  # "um milhão de reais"
        parts.append(f"{spell(reais)} {joint}{noun}")
    if rest or not reais:
        parts.append(f"{spell(rest)} {'centavo' if rest == 1 else 'centavos'}" if rest else "zero real")
    return " e ".join(parts)


def spell(number: int) -> str:
    """A whole number from 0 to 999 999 999, masculine."""
    if number == 0:
        return "zero"
    millions, rest = divmod(number, 1_000_000)
    thousands, ones = divmod(rest, 1_000)
    groups: list[tuple[int, str]] = []
    if millions:
        groups.append((millions, f"{_below_thousand(millions)} {'milhão' if millions == 1 else 'milhões'}"))
    if thousands:
        groups.append((thousands, "mil" if thousands == 1 else f"{_below_thousand(thousands)} mil"))
    if ones:
        groups.append((ones, _below_thousand(ones)))
    text = groups[0][1]
    for at, (value, words) in enumerate(groups[1:], start=1):
        # "e" before the last group where it is one number: below a hundred, or whole hundreds
        is_last = at == len(groups) - 1
        text += f" e {words}" if is_last and (value < 100 or value % 100 == 0) else f" {words}"
    return text


def _below_thousand(number: int) -> str:
    if number == 100:
        return "cem"
    hundreds, rest = divmod(number, 100)
    parts = [_HUNDREDS[hundreds]] if hundreds else []
    if rest >= 20:
        tens, ones = divmod(rest, 10)
        parts.append(_TENS[tens])
        rest = ones
    if rest:
        parts.append(_UNITS[rest])
    return " e ".join(parts)
