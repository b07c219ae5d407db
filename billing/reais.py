"""Amounts of reais as a person in Brazil types them. Pure."""

from __future__ import annotations

import re

from billing.money import BRL, from_brl


def read_reais(text: str) -> int:
    """ "1.234,56", "R$ 500" or "500.00" as a person types it → nanos. Raises ValueError.

    The same on every page, whatever its language: "1,234.56" can only be English and is read, "1,234" could be either and
    is not; "1.234" is a thousand and more, as in Brazil.
    """
    bare = re.sub(r"^R\$|\s", "", text.strip(), flags=re.IGNORECASE)
    if re.fullmatch(r"\d{1,3}(\.\d{3})*(,\d{1,2})?|\d{1,9}(,\d{1,2})?", bare, re.ASCII):
        return from_brl(bare.replace(".", "").replace(",", "."))
    if re.fullmatch(r"\d{1,9}\.\d{1,2}|\d{1,3}(,\d{3}){1,2}\.\d{2}", bare, re.ASCII):
        return from_brl(bare.replace(",", ""))
    raise ValueError(text)


def tell_reais(brl: str) -> str:
    """ "12.060900000" as files and events carry it → `R$ 12,0609`: four decimals, and more where they would hide something."""
    nanos = from_brl(brl)
    whole, decimals = divmod(abs(nanos), BRL)
    digits = f"{decimals:09d}".rstrip("0")
    return f"{'−' if nanos < 0 else ''}R$\u00a0{whole:,}".replace(",", ".") + f",{digits:0<4}"
