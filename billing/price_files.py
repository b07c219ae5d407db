"""A draft's prices as a file for a spreadsheet, and back: the same lines and the same two cells as on the page (`price_cells`)."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from billing.models import Price
from billing.money import to_brl
from billing.price_cells import Cells, cells_of, write_number
from billing.price_changes import PriceChange
from billing.price_grid import CellError
from billing.price_margins import LineMargin
from billing.sheets import plain

BYTES_MAX = 1_000_000
ROWS_MAX = 5_000
ERRORS_MAX = 50
HEADS = (
    "modelo", "unidade", "por", "provedor", "modelo no provedor", "custo US$", "câmbio", "preço R$", "multiplicador", "fixo",
    "margem %", "em vigor R$", "variação %",
)  # fmt: skip
_COLUMNS = {"modelo": "route", "unidade": "unit", "preco": "amount", "preco r$": "amount", "multiplicador": "markup"}


class UnreadableFile(ValueError):
    """Not a table that can be read at all; the message says why."""


@dataclass(slots=True)
class FileReading:
    """`typed` by the line's id; `lines`: where in the file each stood."""

    typed: dict[int, Cells] = field(default_factory=dict)
    lines: dict[int, int] = field(default_factory=dict)
    errors: list[CellError] = field(default_factory=list)


def rows_of(
    prices: Sequence[Price], *, rate: Decimal | None, judged: Sequence[LineMargin], changes: Mapping[tuple[str, str], PriceChange]
) -> Iterable[list[str]]:
    """The heading and one row a line. What is read back are modelo, unidade, preço R$ and multiplicador; the rest is to look at."""
    yield list(HEADS)
    for price, margin in zip(prices, judged, strict=True):
        cells, change = cells_of(price), changes[price.route_name, price.unit]
        yield [
            plain(price.route_name), price.get_unit_display(), margin.per.removeprefix("/"), plain(price.provider_name),
            plain(price.upstream_model), write_number(price.cost_usd), write_number(rate), cells.amount, cells.markup,
            "não" if cells.markup else "sim", "" if margin.margin_bps is None else write_number(Decimal(margin.margin_bps) / 100),
            "" if change.old_nanos is None else write_number(to_brl(change.old_nanos)),
            "" if change.percent is None else write_number(change.percent),
        ]  # fmt: skip


def read_file(data: bytes, prices: Sequence[Price]) -> FileReading:
    """Each row's cells by the draft's line that it names. Rows that are not there change nothing. Raises UnreadableFile."""
    table = _table(data)
    columns = {_COLUMNS[_bare(head)]: at for at, head in enumerate(table[0]) if _bare(head) in _COLUMNS}
    if not {"route", "unit"} <= columns.keys() or not {"amount", "markup"} & columns.keys():
        raise UnreadableFile("A primeira linha precisa ter as colunas modelo, unidade e preço R$ ou multiplicador.")
    known = {(price.route_name, _bare(name)): price for price in prices for name in (price.unit, price.get_unit_display())}
    reading = FileReading()
    for line, row in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        cells = {name: row[at].strip() if at < len(row) else "" for name, at in columns.items()}
        route = cells["route"].removeprefix("'")
        price = known.get((route, _bare(cells["unit"])))
        if price is None:
            told = f"{route or 'sem modelo'}, {cells['unit'] or 'sem unidade'}"[:140]
            reading.errors.append(CellError(0, "", told, "não existe neste rascunho.", line))
        elif price.pk in reading.typed:
            told = f"{route}, {cells['unit']}"
            reading.errors.append(CellError(price.pk, "", told, f"já apareceu na linha {reading.lines[price.pk]}.", line))
        else:
            shown = cells_of(price)
            reading.typed[price.pk] = Cells(cells.get("amount", shown.amount), cells.get("markup", shown.markup))
            reading.lines[price.pk] = line
    if not reading.typed and not reading.errors:
        raise UnreadableFile("O arquivo não tem nenhuma linha de preço.")
    return reading


def _table(data: bytes) -> list[list[str]]:
    """Rows of text: UTF-8 or what Excel writes in Brazil; the delimiter is the one the heading has most of."""
    if len(data) > BYTES_MAX:
        raise UnreadableFile("O arquivo passa de 1 MB.")
    if data.startswith(b"PK"):
        raise UnreadableFile("Isto é uma planilha do Excel: salve como CSV (separado por ponto e vírgula) e importe de novo.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if "\0" in text or not text.strip():
        raise UnreadableFile("O arquivo está vazio ou não é um CSV.")
    heading = text.split("\n", 1)[0]
    delimiter = max(";,\t", key=heading.count)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UnreadableFile("O arquivo não é um CSV bem formado: confira as aspas.") from error
    if len(table) > ROWS_MAX + 1:
        raise UnreadableFile(f"O arquivo passa de {ROWS_MAX} linhas.")
    return table


def _bare(text: str) -> str:
    """Small letters without accents, to compare headings and units by."""
    flat = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(char for char in flat if not unicodedata.combining(char))
