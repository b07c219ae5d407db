"""Tables as a file for a spreadsheet in Brazil: `;` and decimal comma, and no cell that a program would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from django.http import HttpResponse, StreamingHttpResponse

from billing.money import to_brl

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def sheet(name: str, rows: Iterable[Sequence[str]]) -> HttpResponse:
    """The rows as a download; what others typed goes through `plain` first."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    writer.writerows(rows)
    return download(f"{name}.csv", f"\ufeff{text.getvalue()}".encode(), content_type="text/csv; charset=utf-8")


def download(name: str, data: bytes, *, content_type: str) -> HttpResponse:
    """A whole file; no cache keeps it."""
    response = HttpResponse(data, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


def stream(name: str, pieces: Iterator[bytes], *, content_type: str) -> StreamingHttpResponse:
    """A file that leaves as it is made."""
    response = StreamingHttpResponse(pieces, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


def comma(nanos: int) -> str:
    """Reais with all nine decimals, so that the sheet adds up to the nano."""
    return f"{to_brl(nanos):f}".replace(".", ",")


def plain(text: str) -> str:
    """Text that others typed: a spreadsheet would take some beginnings for a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
