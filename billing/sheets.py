"""Tables as a file for a spreadsheet in Brazil: `;` and decimal comma, and no cell that a program would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from django.http import HttpResponse

from billing.money import to_brl

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def sheet(name: str, rows: Iterable[Sequence[str]]) -> HttpResponse:
    """The rows as a download; what others typed goes through `plain` first."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    writer.writerows(rows)
    response = HttpResponse(f"\ufeff{text.getvalue()}", content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    response["Cache-Control"] = "no-store"
    return response


def comma(nanos: int) -> str:
    """Reais with all nine decimals, so that the sheet adds up to the nano."""
    return f"{to_brl(nanos):f}".replace(".", ",")


def plain(text: str) -> str:
    """Text that others typed: a spreadsheet would take some beginnings for a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
