"""The two cells of a line of prices, as people type them on the page or in a spreadsheet. Nothing here reads or writes rows.

A line is priced by its multiplier (cost × exchange rate × multiplier) or fixed in reais. Who types a price fixes it; who types a
multiplier, or empties a fixed price, lets it follow the cost again. What comes back as it was shown changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from billing.models import Price
from billing.money import BRL, from_brl, to_brl

AMOUNT_MAX = 1_000_000 * BRL
MARKUP_MAX = Decimal("999.999")
PERCENT_MIN, PERCENT_MAX = Decimal(-99), Decimal(1_000)
MILLI = Decimal("0.001")
_NUMBER = re.compile(r"-?\d{1,3}(\.\d{3})+(,\d{1,12})?|-?\d{1,12}([.,]\d{1,12})?", re.ASCII)


class BadCell(ValueError):
    """This can't stand in this cell ("amount" or "markup"); the message goes on after the line's name."""

    def __init__(self, cell: str, message: str) -> None:
        super().__init__(message)
        self.cell, self.message = cell, message


@dataclass(frozen=True, slots=True)
class Cells:
    """What stands in the two cells of a line."""

    amount: str  # reais per `per_units`
    markup: str  # empty: the price is fixed


@dataclass(frozen=True, slots=True)
class Edit:
    """What a person wants of one line: a fixed price, or another multiplier; neither: that it follows its cost again."""

    amount_nanos: int | None = None
    markup: Decimal | None = None


def cells_of(price: Price) -> Cells:
    """As the page and the file show a line."""
    is_fixed = price.override_nanos is not None or price.markup is None
    return Cells(amount=write_number(to_brl(price.amount_nanos)), markup="" if is_fixed else write_number(price.markup))


def write_number(number: Decimal | None) -> str:
    """With a decimal comma, two decimals or as many as there are: 18,14 · 0,2722 · 2,50. Empty for None."""
    if number is None:
        return ""
    whole, _, decimals = f"{number:f}".partition(".")
    return f"{whole},{decimals.rstrip('0'):0<2}"


def read_number(text: str) -> Decimal | None:
    """Reads 18,14 · 1.234,56 · R$ 18,14 · 18.14 · 2,5×; None where it is empty. Raises ValueError for what is no number, and for
    1.234, which is one number to a program and another one to a person."""
    bare = re.sub(r"^R\$|[×%]$|\s", "", text.strip())
    if not bare:
        return None
    if not _NUMBER.fullmatch(bare) or re.fullmatch(r"-?[1-9]\d{0,2}\.\d{3}", bare):
        raise ValueError(text)
    return Decimal(bare.replace(".", "").replace(",", ".") if "," in bare or bare.count(".") > 1 else bare)


def read_cells(price: Price, typed: Cells) -> Edit | None:
    """What a person changed of a line; None where nothing. Raises BadCell."""
    shown = cells_of(price)
    amount, markup = _read("amount", typed.amount), _read("markup", typed.markup)
    is_priced, is_marked = amount != read_number(shown.amount), markup != read_number(shown.markup)
    if is_priced and is_marked and amount is not None and markup is not None:
        raise BadCell("amount", "mude o preço ou o multiplicador, não os dois: um decide o outro.")
    if is_marked and markup is not None:
        return _mark(price, markup)
    if is_priced and amount is not None:
        return Edit(amount_nanos=_nanos(amount))
    if is_priced or is_marked:  # emptied
        if is_marked or price.override_nanos is None or price.markup is None or price.cost_usd is None:
            raise BadCell("amount" if is_priced else "markup", "fica sem preço: digite um preço fixo ou um multiplicador.")
        return Edit()
    return None


def raise_by(price: Price, percent: Decimal) -> Cells:
    """A line's cells with so many percent more (or less): of its multiplier, to a thousandth; of a fixed price, up to the nano.
    Raises BadCell."""
    shown = cells_of(price)
    if shown.markup:
        markup = (price.markup or Decimal(0)) * (100 + percent) / 100
        return Cells(shown.amount, write_number(_bounded(markup.quantize(MILLI, rounding=ROUND_HALF_UP))))
    exact = price.amount_nanos * (100 + percent) / 100
    nanos = int(exact.to_integral_value(rounding="ROUND_CEILING"))
    return Cells(write_number(to_brl(_nanos(to_brl(nanos)))), "")


def put(edit: Edit, price: Price) -> None:
    """The wish on the row, which nobody has saved; its amount is computed after."""
    price.override_nanos = edit.amount_nanos
    if edit.markup is not None:
        price.markup = edit.markup


def _read(cell: str, text: str) -> Decimal | None:
    try:
        return read_number(text)
    except ValueError:
        example = "reais, como 18,14" if cell == "amount" else "um número, como 1,35"
        raise BadCell(cell, f"“{text.strip()[:30]}” não é um valor: escreva {example} (mil é 1000 ou 1.000,00).") from None


def _mark(price: Price, markup: Decimal) -> Edit:
    if price.cost_usd is None:
        raise BadCell("markup", "não tem custo conhecido: só um preço fixo.")
    if markup != markup.quantize(MILLI):
        raise BadCell("markup", "o multiplicador tem até três decimais.")
    return Edit(markup=_bounded(markup))


def _bounded(markup: Decimal) -> Decimal:
    if not 0 < markup <= MARKUP_MAX:
        raise BadCell("markup", "o multiplicador fica entre 0,001 e 999,999.")
    return markup


def _nanos(amount: Decimal) -> int:
    try:
        nanos = from_brl(amount)
    except ValueError:
        raise BadCell("amount", "um preço tem até nove decimais.") from None
    if not 0 <= nanos <= AMOUNT_MAX:
        raise BadCell("amount", "um preço fica entre R$ 0,00 e R$ 1.000.000,00.")
    return nanos
