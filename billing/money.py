"""Nano-reais: every amount of money is an `int`, R$ 1 = 1 000 000 000; no float is accepted or produced anywhere.

Rounding, the only rules of the house:

| what | rule | example |
|---|---|---|
| price of a call | the exact sum over its units, then up to one nano | see `billing/pricing.py` |
| sale price from cost × exchange rate × markup | up to one nano | see `billing/pricebooks.py` |
| volume discount F | down to one nano | see `billing/pricing.py` |
| PIX and card amounts | a whole number of centavos, else refused | `to_centavos(10 * BRL) == 1000` |
| what a person reads | towards zero (a balance is never shown higher than it is) | `format_brl(1_999_999_999)` → `R$ 1,99` |
"""

from __future__ import annotations

from decimal import Decimal

Nanos = int  # an amount of money in nano-reais

BRL = 1_000_000_000
CENTAVO = BRL // 100
_NO_BREAK_SPACE = "\u00a0"


def from_brl(reais: str | Decimal) -> int:
    """Nanos of a decimal amount of reais with at most nine decimals: `from_brl("10.00") == 10 * BRL`.

    Raises TypeError for a float (its decimals are not what was written) and ValueError for what is no such amount.
    """
    if not isinstance(reais, str | Decimal):
        raise TypeError(f"Money comes as str or Decimal, not {type(reais).__name__}.")
    try:
        amount = Decimal(reais)
        if not amount.is_finite():
            raise ValueError
        sign, digits, exponent = amount.as_tuple()
        whole = int("".join(map(str, digits)) or "0")
        shift = int(exponent) + 9
        power: int = 10 ** abs(shift)
        nanos, rest = (whole * power, 0) if shift >= 0 else divmod(whole, power)
        if rest:
            raise ValueError
    except (ArithmeticError, ValueError):
        raise ValueError(f"{reais!r} is no amount of reais with at most nine decimals.") from None
    return -nanos if sign else nanos


def to_brl(nanos: int) -> Decimal:
    """The exact amount in reais: `to_brl(1_500_000_000) == Decimal("1.5")`, always with nine decimals."""
    digits = tuple(map(int, str(abs(nanos))))
    return Decimal((int(nanos < 0), digits, -9))


def from_centavos(centavos: int) -> int:
    return centavos * CENTAVO


def to_centavos(nanos: int) -> int:
    """Whole centavos. Raises ValueError where a fraction of a centavo would be lost: such money can't be paid."""
    centavos, rest = divmod(nanos, CENTAVO)
    if rest:
        raise ValueError(f"{nanos} nanos are not a whole number of centavos.")
    return centavos


def format_brl(nanos: int) -> str:
    """What a person reads: `R$ 1.234,56`, towards zero, U+00A0 after R$ and the minus before it (`−R$ 10,00`)."""
    reais, centavos = divmod(abs(nanos) // CENTAVO, 100)
    sign = "−" if nanos < 0 and (reais or centavos) else ""
    return f"{sign}R${_NO_BREAK_SPACE}{reais:,}".replace(",", ".") + f",{centavos:02d}"


def format_fine_brl(nanos: int, *, is_up: bool = False) -> str:
    """Reais with four decimals, for one call, which costs fractions of a centavo. `is_up` rounds away from zero."""
    units = -(-nanos * 10_000 // BRL) if is_up else nanos * 10_000 // BRL
    whole, part = divmod(units, 10_000)
    return f"R$ {whole:,}".replace(",", ".") + f",{part:04d}"
