"""A draft's prices as a spreadsheet (`price_cells`): read as a whole, then written as a whole or not at all.

Only drafts are ever written: what is in force stands until a draft is published, by the margin guard, the notice period and the
second administrator that stand there (`pricebooks`, `approvals`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from django.db import transaction

from accounts.models import User
from billing import pricebooks
from billing.models import Price, PriceVersion
from billing.price_cells import BadCell, Cells, Edit, put, read_cells
from billing.price_changes import cost_of_line
from billing.price_margins import amount_for, digest_of
from billing.pricebooks import PriceRefused

REASON_LENGTH_MIN = 10


@dataclass(frozen=True, slots=True)
class CellError:
    """One cell that can't be taken; `line` is the file's, 0 on the page."""

    price_id: int
    cell: str  # "amount", "markup"
    name: str  # "openai/gpt-5, entrada"
    message: str
    line: int = 0

    def __str__(self) -> str:
        return f"{f'Linha {self.line}: ' if self.line else ''}{self.name}{': ' if self.name else ''}{self.message}"


class CellsRefused(PriceRefused):
    """Some cells can't be taken, and so none was."""

    code = "price_cells_refused"
    status = 400

    def __init__(self, errors: Sequence[CellError]) -> None:
        many = len(errors) > 1
        super().__init__(f"{len(errors)} {'valores precisam' if many else 'valor precisa'} de correção. Nada foi salvo.")
        self.errors = list(errors)


class DraftMoved(PriceRefused):
    """Somebody else changed the draft since it was shown."""

    code = "price_draft_moved"

    def __init__(self) -> None:
        super().__init__("Este rascunho mudou enquanto você editava. Nada foi salvo: abra a grade de novo e refaça a mudança.")


@dataclass(slots=True)
class Reading:
    """What came of reading cells: the lines as they would be, unsaved, which of them changed, and what is wrong."""

    prices: list[Price]
    changed: set[int] = field(default_factory=set)  # ids
    errors: list[CellError] = field(default_factory=list)


def name_of(price: Price) -> str:
    return f"{price.route_name}, {price.get_unit_display().lower()}"


def lines_of(version: PriceVersion) -> list[Price]:
    """A version's lines by model, its units in their usual sequence."""
    order = [unit for unit, _ in Price._meta.get_field("unit").choices or ()]
    return sorted(Price.objects.filter(version=version), key=lambda price: (price.route_name, order.index(price.unit)))


def work_out(
    prices: Sequence[Price],
    typed: Mapping[int, Cells],
    *,
    rate: Decimal | None,
    reason: str = "",
    lines: Mapping[int, int] | None = None,
) -> Reading:
    """Copies of the lines with what was typed (by the line's id), at the draft's rate. A changed price below its cost takes the
    reason; without one it is an error. `lines`: where in the file each stood."""
    reading = Reading([copy.copy(price) for price in prices])
    for price in reading.prices:
        if price.pk not in typed:
            continue
        try:
            edit = read_cells(price, typed[price.pk])
            if edit is not None:
                _take(edit, price, rate=rate, reason=reason)
                reading.changed.add(price.pk)
        except BadCell as bad:
            reading.errors.append(CellError(price.pk, bad.cell, name_of(price), bad.message, (lines or {}).get(price.pk, 0)))
    return reading


def save_cells(
    version: PriceVersion,
    typed: Mapping[int, Cells],
    *,
    by: User,
    reason: str = "",
    digest: str | None = None,
    lines: Mapping[int, int] | None = None,
) -> int:
    """Write what was typed into a draft and compute it again at the current exchange rate; how many lines changed.

    `digest`: of the draft as it was shown. Raises CellsRefused, DraftMoved, PriceRefused for what is no draft, ExchangeRateStale;
    then nothing is written.
    """
    with transaction.atomic():
        locked = pricebooks.lock_draft(version)
        prices = lines_of(locked)
        if digest is not None and digest != digest_of(prices):
            raise DraftMoved
        rate = locked.exchange_rate.rate if locked.exchange_rate else None
        reading = work_out(prices, typed, rate=rate, reason=reason, lines=lines)
        if reading.errors:
            raise CellsRefused(reading.errors)
        if reading.changed:
            fields = ["override_nanos", "markup", "override_reason", "amount_nanos"]
            Price.objects.bulk_update([price for price in reading.prices if price.pk in reading.changed], fields)
            pricebooks.add_author(version, user=by)
            pricebooks.recompute(version)
    return len(reading.changed)


def _take(edit: Edit, price: Price, *, rate: Decimal | None, reason: str) -> None:
    put(edit, price)
    if price.override_nanos is not None:
        price.amount_nanos = price.override_nanos
    elif price.cost_usd is None or price.markup is None or rate is None:
        raise BadCell("markup", "não há custo ou câmbio para calcular: só um preço fixo.")
    else:
        price.amount_nanos = amount_for(price.cost_usd, rate, price.markup)
    if price.amount_nanos >= cost_of_line(price, rate):
        price.override_reason = ""
    elif len(reason.strip()) >= REASON_LENGTH_MIN:
        price.override_reason = reason.strip()[:200]
    elif not price.override_reason.strip():
        cell = "amount" if edit.amount_nanos is not None else "markup"
        raise BadCell(cell, f"fica abaixo do custo: escreva o motivo no campo “Motivo”, com {REASON_LENGTH_MIN} letras ou mais.")
